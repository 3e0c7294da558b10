//! Atomic words. `core` offers no atomic addition for this target, and its atomic loads need the
//! newest instruction set; these compile to what Linux 5.12 has.

use core::{arch::asm, cell::UnsafeCell};

/// A global word that any program may change at any time.
#[repr(transparent)]
pub(crate) struct Word(UnsafeCell<u64>);

// SAFETY: every access is one instruction on an aligned word.
unsafe impl Sync for Word {}

impl Word {
    pub(crate) const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> u64 {
        // SAFETY: aligned and readable.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn store(&self, value: u64) {
        // SAFETY: aligned and writable.
        unsafe { self.0.get().write_volatile(value) }
    }

    /// Adds `n` and returns the value before.
    #[inline(always)]
    pub(crate) fn fetch_add(&self, n: u64) -> u64 {
        // SAFETY: aligned and writable.
        unsafe { fetch_add(self.0.get(), n) }
    }
}

/// Adds `n` to `*value` and returns the value before.
///
/// # Safety
///
/// `value` is aligned and writable.
#[inline(always)]
pub(crate) unsafe fn fetch_add(value: *mut u64, n: u64) -> u64 {
    let mut n = n;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "{n} = atomic_fetch_add((u64 *)({value} + 0), {n})",
            value = in(reg) value,
            n = inout(reg) n,
            options(nostack),
        );
    }
    n
}

/// Adds `n` to `*value`.
///
/// # Safety
///
/// `value` is aligned and writable.
#[inline(always)]
pub(crate) unsafe fn add(value: *mut u64, n: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "lock *(u64 *)({value} + 0) += {n}",
            value = in(reg) value,
            n = in(reg) n,
            options(nostack),
        );
    }
}
