//! Text that comes in pieces, and of which a part is counted where there is much of it.

use memchr::memchr;
use tracker_tokens::Counter;

use crate::provider::{dialect::Wire, json::Unescape};

/// So much is counted in full, bytes as they stand in the body.
const WHOLE: u64 = 4 * 1024;
/// Of what follows, stretches of this length are counted: many small ones tell more than a few large ones.
const STRETCH: u64 = 64;
/// After each so much is not counted at least,
const SKIP: u64 = 7 * STRETCH;
/// and, of long texts, such a part of what came until then. The cost of a text grows with the logarithm of
/// its length.
const SKIP_PART: u64 = 24;
/// A stretch goes on to a space, for at most so many bytes: a word that is cut would be a token more.
const EDGE: u64 = 32;
/// What was skipped is like so many of the stretches around it.
const NEAR: usize = 6;

/// Counts the tokens of all text of one side of a call. What comes out does not depend on the pieces.
#[derive(Debug)]
pub(super) struct Text {
    counter: Option<Counter>,
    /// Absent where nothing is escaped.
    unescape: Option<Unescape>,
    /// Whether the stretch is passed over.
    skips: bool,
    /// Bytes of the stretch up to its edge, and those that were seen of it.
    length: u64,
    seen: u64,
    /// Bytes of the stretches before it.
    passed: u64,
    /// The tokens of those that were counted, and the same with what was skipped between them.
    found: u64,
    tokens: u64,
    /// Bytes that were skipped since.
    skipped: u64,
    near: Rates,
}

/// Tokens in 64 KiB, by each of the newest stretches.
#[derive(Debug, Default)]
struct Rates {
    newest: [u64; NEAR],
    count: usize,
}

impl Rates {
    fn add(&mut self, tokens: u64, bytes: u64) {
        if let Some(oldest) = self.newest.get_mut(self.count % NEAR) {
            *oldest = (tokens << 16) / bytes.max(1);
            self.count += 1;
        }
    }

    /// Tokens of so many bytes.
    fn part(&self, bytes: u64) -> u64 {
        let sum: u64 = self.newest.iter().sum();
        let share = u128::from(bytes) * u128::from(sum) / self.count.clamp(1, NEAR) as u128;
        u64::try_from(share >> 16).unwrap_or(u64::MAX)
    }
}

impl Default for Text {
    fn default() -> Self {
        Self {
            counter: None,
            unescape: Some(Unescape::default()),
            skips: false,
            length: WHOLE,
            seen: 0,
            passed: 0,
            found: 0,
            tokens: 0,
            skipped: 0,
            near: Rates::default(),
        }
    }
}

impl Text {
    /// Of a body that is written so.
    pub(super) fn of(wire: Wire) -> Self {
        let unescape = (wire == Wire::Json).then(Unescape::default);
        Self { unescape, ..Self::default() }
    }

    /// Takes the next piece, as it stands in the body.
    #[inline]
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = self.length.saturating_sub(self.seen);
            let (room, in_edge) =
                if left > 0 { (left, false) } else { (self.length + EDGE - self.seen, true) };
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let space = if in_edge { memchr(b' ', &bytes[..room]) } else { None };
            let (piece, rest) = bytes.split_at(space.unwrap_or(room));
            self.take(piece);
            if space.is_some() || self.seen >= self.length + EDGE {
                self.turn();
            }
            bytes = rest;
        }
    }

    #[inline]
    fn take(&mut self, piece: &[u8]) {
        self.seen += piece.len() as u64;
        if self.skips {
            return;
        }
        let counter = self.counter.get_or_insert_default();
        match &mut self.unescape {
            Some(unescape) => unescape.push(piece, &mut |text| counter.push(text)),
            None => counter.push(piece),
        }
    }

    /// What follows belongs to another text.
    pub(super) fn boundary(&mut self) {
        self.unescape = self.unescape.map(|_| Unescape::default());
        if let Some(counter) = &mut self.counter {
            counter.boundary();
        }
    }

    /// How many there are, as far as that is known.
    pub(super) fn tokens(&mut self) -> u64 {
        let here = self.in_stretch();
        self.with(here)
    }

    /// The same of a text that goes on.
    pub(super) fn so_far(&mut self) -> u64 {
        let here = self.counter.as_mut().map_or(0, |counter| counter.so_far().saturating_sub(self.found));
        self.with(here)
    }

    /// With so many in this stretch.
    fn with(&self, here: u64) -> u64 {
        let skipped = self.skipped + if self.skips { self.seen } else { 0 };
        self.tokens.saturating_add(here).saturating_add(self.near.part(skipped))
    }

    /// Tokens of the stretch so far.
    fn in_stretch(&mut self) -> u64 {
        self.counter.as_mut().map_or(0, |counter| counter.tokens().saturating_sub(self.found))
    }

    /// A stretch is over.
    fn turn(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        self.passed = self.passed.saturating_add(seen);
        if self.skips {
            self.skipped = seen;
            self.length = STRETCH;
        } else {
            self.boundary();
            let here = self.in_stretch();
            self.near.add(here, seen);
            self.tokens = self.tokens.saturating_add(here).saturating_add(self.near.part(self.skipped));
            self.found += here;
            self.skipped = 0;
            self.length = SKIP.max(self.passed / SKIP_PART);
        }
        self.skips = !self.skips;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 10] =
        ["the", " quick", " brown", " Fox", ",", " \\u00fcberjumps", " 1234", "\\n\\n", " over()", " lazily"];

    /// So many words of a text in no language, one of many.
    fn words(count: usize, text: u32) -> String {
        let mut seed = text;
        let mut word = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            WORDS[(seed >> 24) as usize % WORDS.len()]
        };
        (0..count).map(|_| word()).collect()
    }

    fn count<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut text = Text::default();
        pieces.into_iter().for_each(|piece| text.push(piece));
        text.tokens()
    }

    fn count_all(text: &str) -> u64 {
        let (mut counter, mut unescape) = (Counter::default(), Unescape::default());
        unescape.push(text.as_bytes(), &mut |text| counter.push(text));
        counter.tokens()
    }

    #[test]
    fn of_a_long_text_a_part_stands_for_the_rest() {
        for (number, most) in [(500, 0.0), (10_000, 0.1), (200_000, 0.1)] {
            let errors: Vec<f64> = (0..8)
                .map(|text| {
                    let text = words(number, text);
                    count([text.as_bytes()]) as f64 / count_all(&text) as f64 - 1.0
                })
                .collect();
            assert!(errors.iter().all(|error| error.abs() <= most), "{errors:?}");
            assert!((errors.iter().sum::<f64>() / 8.0).abs() <= most / 4.0, "{errors:?}");
        }
    }

    #[test]
    fn whatever_the_pieces() {
        let text = words(60_000, 7);
        let whole = count([text.as_bytes()]);
        for size in [1, 5, 777, 8192] {
            assert_eq!(count(text.as_bytes().chunks(size)), whole, "{size} at a time");
        }
    }

    #[test]
    fn the_longer_the_less() {
        let text = words(2_000_000, 7);
        let mut taken = Text::default();
        taken.push(text.as_bytes());
        // No token of these words is shorter than a byte.
        assert!(text.len() > 10_000_000 && taken.found < 10_000, "{}", taken.found);
    }
}
