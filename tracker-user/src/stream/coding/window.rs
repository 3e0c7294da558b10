//! What the windows of all decompressors take together.
//!
//! A few bytes make a window of megabytes, and one connection of HTTP/2 may have a thousand bodies open:
//! without a bound a hostile server could make this program take all memory. gzip and deflate are not
//! counted, their windows have 32 KiB.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes at a time, for all connections. Bodies beyond that are not decoded, and counted as such.
const MOST: usize = 1 << 30;

static ALL: Budget = Budget { held: AtomicUsize::new(0), most: MOST };

struct Budget {
    held: AtomicUsize,
    most: usize,
}

/// A window that may be allocated; given back when dropped.
pub(super) struct Window {
    bytes: usize,
    of: &'static Budget,
}

impl Window {
    /// One of so many bytes; `None` where the others leave no room for it.
    pub(super) fn take(bytes: usize) -> Option<Self> {
        Self::take_of(&ALL, bytes)
    }

    fn take_of(of: &'static Budget, bytes: usize) -> Option<Self> {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= of.most);
        of.held.fetch_update(Relaxed, Relaxed, fits).ok()?;
        Some(Self { bytes, of })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Relaxed);
    }
}

/// The window's size that a brotli stream begins with, bytes (RFC 7932, section 9.1).
pub(super) const fn of_brotli(first: u8) -> usize {
    let bits = match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, _, _) => 16,
        (_, 0, 0) => 17,
        (_, 0, more) => 8 + more,
        (_, more, _) => 17 + more,
    };
    1 << bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_given_until_there_is_no_room_and_taken_back() {
        static FEW: Budget = Budget { held: AtomicUsize::new(0), most: 100 };
        let large = Window::take_of(&FEW, 80);
        assert!(large.is_some());
        assert!(Window::take_of(&FEW, 21).is_none());
        let small = Window::take_of(&FEW, 20);
        assert!(small.is_some() && Window::take_of(&FEW, usize::MAX).is_none());
        drop(large);
        assert!(Window::take_of(&FEW, 80).is_some());
        drop(small);
        assert_eq!(FEW.held.load(Relaxed), 0);
    }

    #[test]
    fn brotli_says_its_window_in_the_first_bits() {
        // The table of RFC 7932, section 9.1.
        for (bits, first) in
            [(16, 0b0), (17, 0b000_0001), (18, 0b0011), (24, 0b1111), (10, 0b010_0001), (15, 0b111_0001)]
        {
            assert_eq!(of_brotli(first), 1 << bits, "{first:b}");
        }
    }
}
