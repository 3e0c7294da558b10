//! Text in pieces of any size, a number out.

use crate::{merge::tokens, split};

/// Text that is kept at most. A piece that is as long is cut.
const WINDOW: usize = 1024;

/// So much is counted in full. Of what is longer one window in eight is counted, and fewer the longer it
/// gets; each stands for what was skipped before it. A megabyte costs no more than 110 KiB.
const WHOLE: u64 = 32 * 1024;
const SKIP: u64 = 7 * WINDOW as u64;
/// At most such a part of the text so far is skipped at once.
const SKIP_PART: u64 = 32;

/// Counts the tokens of one text. What comes out does not depend on how the text is cut into pieces.
#[derive(Clone)]
pub struct Counter {
    window: Box<[u8; WINDOW]>,
    /// Bytes in the window.
    len: usize,
    /// Bytes so far.
    length: u64,
    tokens: u64,
    /// Bytes that were skipped and that no tokens stand for yet.
    skipped: u64,
    /// Bytes that will be skipped.
    skip: u64,
}

impl Default for Counter {
    fn default() -> Self {
        Self { window: Box::new([0; WINDOW]), len: 0, length: 0, tokens: 0, skipped: 0, skip: 0 }
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
            if self.skip > 0 {
                let skipped = text.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.skip -= skipped as u64;
                self.skipped += skipped as u64;
                self.length += skipped as u64;
                text = &text[skipped..];
                continue;
            }
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
        // What was skipped last is like all that came before it.
        let counted = self.length - self.skipped;
        self.tokens.saturating_add(part(self.skipped, self.tokens, counted))
    }

    /// Counts the pieces in the window, and keeps the last one unless it is known to be whole.
    fn drain(&mut self, ends: bool) {
        let window = &self.window[..self.len];
        let (mut at, mut found) = (0, 0);
        while at < window.len() {
            let end = at + split::piece(&window[at..]);
            if !ends && end + split::LOOKAHEAD > window.len() {
                break;
            }
            found += tokens(&window[at..end]);
            at = end;
        }
        // The last piece fills the window, or what follows it will be skipped.
        let long = !ends && self.length + self.len as u64 >= WHOLE;
        if long || at == 0 && self.len == WINDOW {
            found += tokens(&window[at..]);
            at = self.len;
        }
        if long {
            found += part(self.skipped, found, at as u64);
            self.skipped = 0;
            self.skip = SKIP.max(self.length / SKIP_PART);
        }
        self.tokens += found;
        self.length += at as u64;
        self.window.copy_within(at..self.len, 0);
        self.len -= at;
    }
}

/// The tokens of `bytes` where there are `tokens` in `of`.
fn part(bytes: u64, tokens: u64, of: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(tokens) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}
