//! The locators of TLS functions, on files that are nearly ELF files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker::capture::locate::locate;
use llm_tracker_fuzz::{live, seeds};

/// A locator reads a file a piece at a time.
const MOST_MEMORY: usize = 16 << 20;

fuzz_target!(init: seeds::plant("locate"), |data: &[u8]| {
    let before = live();
    let found = locate(&data);
    assert!(live().saturating_sub(before) <= MOST_MEMORY);
    for hook in found.into_iter().flat_map(|located| located.plan).flat_map(|plan| plan.hooks) {
        assert!(hook.entry_offset < data.len() as u64, "a probe outside of the file");
    }
});
