//! The records that cross the kernel boundary, defined once for both sides.
//!
//! Everything here is `#[repr(C)]`, free of padding holes that the kernel would leave
//! uninitialised, and readable by user space at any alignment.
#![no_std]
