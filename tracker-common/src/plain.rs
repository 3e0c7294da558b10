//! Values that may be read from any bytes.

use core::mem::size_of;

/// Types that any sequence of bytes of their size is a valid value of.
///
/// # Safety
///
/// The type is `#[repr(C)]`, has no padding, and is made of integers only.
pub unsafe trait Plain: Copy {
    /// Reads a value from the start of `bytes`, at any alignment, and returns it with the rest;
    /// `None` where there are too few bytes.
    fn read_from(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(size_of::<Self>())?;
        // SAFETY: `head` has exactly the size of `Self`, and any bytes are a valid `Self`.
        let value = unsafe { head.as_ptr().cast::<Self>().read_unaligned() };
        Some((value, rest))
    }
}
