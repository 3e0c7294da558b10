//! What `cargo xtask` packs for operators.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use crate::{child::Child, machine};

/// How long packing may take where the tool for it has to be built first.
const LIMIT: Duration = Duration::from_secs(600);

/// Packs the daemon under test with `cargo xtask KIND`; where the result is.
///
/// # Errors
///
/// Where it cannot be packed.
pub fn pack(kind: &str) -> Result<PathBuf> {
    let root = machine::crate_folder().parent().context("the crate is in no workspace")?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["xtask", kind]).env("LLM_TRACKER_BIN", machine::daemon_binary()?);
    let packed = Child::spawn(command, LIMIT)?.wait()?.success()?;
    // Its last line is what it has built.
    let last = packed.stderr.lines().last().unwrap_or_default();
    let file = last.trim_start().strip_prefix("Built ").with_context(|| packed.stderr.clone())?;
    Ok(root.join(file))
}
