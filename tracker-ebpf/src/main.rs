//! The kernel side of llm-tracker.
//!
//! Probes in TLS libraries follow each call that moves plaintext from its entry ([`transfer`]; [`go`]
//! for Go) to its return, count what it really moved on its connection ([`connection`]), and copy that into
//! the ring buffer ([`deliver`]). [`aead`] does the same for a library that knows only keys and
//! records. [`process`] reports programs that start and end.
//!
//! # The preemption law
//!
//! Since Linux 6.0 uprobe programs can be preempted, so nothing may be kept per CPU: a program that
//! resumes may find another's data there. That includes the private stack that Linux 6.13 and later
//! give a program with a frame of 64 bytes or more, and which it takes for safe. Therefore:
//!
//! - no per-CPU map; a call's scratch memory is a map value that belongs to its thread or goroutine ([`call`]);
//! - counters are atomic;
//! - no function has a frame above 48 bytes (`cargo xtask build` checks the object). So values are
//!   filled in place in maps and in the ring, and functions that would grow their caller's frame
//!   are `#[inline(never)]`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // Atomic addition; see `atomic`.

mod aead;
mod atomic;
mod call;
mod connection;
mod deliver;
mod go;
mod log;
mod maps;
mod process;
mod registers;
mod transfer;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program that could get here.
    loop {}
}

/// Some helpers are for GPL-compatible programs only; the kernel accepts this form of MIT.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
