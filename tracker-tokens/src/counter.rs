//! Text in pieces of any size, a number out.

use crate::{merge::tokens, split};

/// Text that is kept at most. A piece that is as long is cut.
const WINDOW: usize = 1024;

/// Counts the tokens of one text. What comes out does not depend on how the text is cut into pieces.
#[derive(Clone)]
pub struct Counter {
    window: Box<[u8; WINDOW]>,
    /// Bytes in the window.
    len: usize,
    tokens: u64,
}

impl Default for Counter {
    fn default() -> Self {
        Self { window: Box::new([0; WINDOW]), len: 0, tokens: 0 }
    }
}

impl std::fmt::Debug for Counter {
    /// Numbers only: the window has text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Counter {
    /// Takes the next piece.
    #[inline]
    pub fn push(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            let take = text.len().min(WINDOW - self.len);
            self.window[self.len..self.len + take].copy_from_slice(&text[..take]);
            self.len += take;
            text = &text[take..];
            if self.len == WINDOW {
                self.drain(false);
            }
        }
    }

    /// The text ends here, and what follows is another one: no token spans the two.
    pub fn boundary(&mut self) {
        self.drain(true);
    }

    /// The number of tokens so far; the text is taken to end here.
    #[must_use]
    pub fn tokens(&mut self) -> u64 {
        self.drain(true);
        self.tokens
    }

    /// The number of tokens if the text ended here; it may go on as if nobody had asked.
    #[must_use]
    pub fn so_far(&mut self) -> u64 {
        self.drain(false);
        let mut rest = &self.window[..self.len];
        let mut count = self.tokens;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(split::piece(rest));
            count += tokens(piece);
            rest = after;
        }
        count
    }

    /// Counts the pieces in the window, and keeps the last one unless it is known to be whole.
    fn drain(&mut self, ends: bool) {
        let window = &self.window[..self.len];
        let mut at = 0;
        while at < window.len() {
            let end = at + split::piece(&window[at..]);
            if !ends && end + split::LOOKAHEAD > window.len() {
                break;
            }
            self.tokens += tokens(&window[at..end]);
            at = end;
        }
        // The last piece fills the window.
        if at == 0 && self.len == WINDOW {
            self.tokens += tokens(window);
            at = self.len;
        }
        self.window.copy_within(at..self.len, 0);
        self.len -= at;
    }
}
