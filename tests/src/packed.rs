//! What `cargo xtask` packs for operators.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    child::{self, Child},
    client, machine,
};

/// How long packing may take where the tool for it has to be built first.
const LIMIT: Duration = Duration::from_secs(600);

/// Packs the daemon under test with `cargo xtask KIND`, and lets `take` have the result before anybody else
/// packs another one in its place.
///
/// # Errors
///
/// Where it cannot be packed, and what `take` says.
pub fn pack<T>(kind: &str, take: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let _lock = machine::lock(&machine::target_folder().join(format!("{kind}.lock")))?;
    let root = machine::crate_folder().parent().context("the crate is in no workspace")?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["xtask", kind]).env("LLM_TRACKER_BIN", machine::daemon_binary()?);
    let packed = Child::spawn(command, LIMIT)?.wait()?.success()?;
    // Its last line is what it has built.
    let last = packed.stderr.lines().last().unwrap_or_default();
    let file = last.trim_start().strip_prefix("Built ").with_context(|| packed.stderr.clone())?;
    take(&root.join(file))
}

/// Where [`image`] is, in the folder that it makes.
pub const BUNDLE: &str = "bundle";

/// A folder with the container image of the daemon under test in it, as an OCI runtime takes it: its root is
/// `rootfs`.
///
/// # Errors
///
/// Where it cannot be packed or unpacked.
pub fn image() -> Result<tempfile::TempDir> {
    pack("image", |layout| {
        let folder = tempfile::Builder::new().prefix("llm-tracker-image-").tempdir()?;
        let image = format!("{}:v{}", layout.display(), env!("CARGO_PKG_VERSION"));
        let mut umoci = Command::new("/usr/bin/umoci");
        umoci.args(["unpack", "--image", &image]).arg(folder.path().join(BUNDLE));
        child::output(umoci, client::LIMIT)?;
        Ok(folder)
    })
}
