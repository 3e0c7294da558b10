//! Waiting for what is about to happen.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

/// How often it is looked.
const POLL: Duration = Duration::from_millis(20);

/// Looks until there is something, which it returns.
///
/// # Errors
///
/// `complaint`, where there is nothing after `within`; and what goes wrong with looking.
pub fn until<T>(complaint: &str, within: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < within, "{complaint}, after {within:?}");
        thread::sleep(POLL);
    }
}
