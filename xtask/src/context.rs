//! Where things are in this checkout, and what the person allowed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// One invocation of `cargo xtask`.
pub(crate) struct Context {
    root: PathBuf,
    /// Whether missing packages and tools may be installed (`--no-install` says no).
    pub(crate) install: bool,
}

impl Context {
    /// # Errors
    /// When the crate that this program was compiled from is not inside a workspace.
    pub(crate) fn new(install: bool) -> anyhow::Result<Self> {
        // Cargo sets the variable for `cargo xtask`; the compiled-in value serves a direct start.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().context("xtask is not inside the workspace")?.to_path_buf();
        Ok(Self { root, install })
    }

    /// The workspace's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `path` as a person in the workspace's root would type it.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// The kernel side's crate, a workspace of its own.
    pub(crate) fn kernel_crate(&self) -> PathBuf {
        self.root.join("tracker-ebpf")
    }

    /// The fuzz targets' crate, a workspace of its own.
    pub(crate) fn fuzz_crate(&self) -> PathBuf {
        self.root.join("fuzz")
    }

    /// Everything that belongs to the kernel object. Not under `CARGO_TARGET_DIR`: the daemon's
    /// build script has to find it without being told.
    pub(crate) fn kernel_target(&self) -> PathBuf {
        self.root.join("target/bpf")
    }

    /// The finished kernel object, which `tracker-user/build.rs` embeds.
    pub(crate) fn kernel_object(&self) -> PathBuf {
        self.kernel_target().join("llm-tracker.bpf.o")
    }

    /// Where tools that had to be built are kept: `target/tools`, or `LLM_TRACKER_TOOLS` to share
    /// them between checkouts.
    pub(crate) fn tools(&self) -> PathBuf {
        env::var_os("LLM_TRACKER_TOOLS").map_or_else(|| self.root.join("target/tools"), PathBuf::from)
    }

    /// Where cargo leaves what it builds for the host.
    pub(crate) fn target(&self) -> PathBuf {
        let chosen = env::var_os("CARGO_TARGET_DIR").or_else(|| env::var_os("CARGO_BUILD_TARGET_DIR"));
        self.root.join(chosen.map_or_else(|| "target".into(), PathBuf::from))
    }

    /// The cargo that runs this xtask, to be run in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        cargo
    }
}
