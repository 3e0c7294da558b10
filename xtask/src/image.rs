//! The container image, without a container engine: what `deploy/container/Dockerfile` makes of a daemon
//! that is built, as an OCI image layout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::Context;
use crate::packages;
use crate::process;

/// Its only tag in the layout.
const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The same as in the Dockerfile.
const CONFIG: &[&str] = &[
    "--config.label=org.opencontainers.image.title=llm-tracker",
    "--config.label=org.opencontainers.image.description=Sees every LLM call that a Linux host makes",
    "--config.label=org.opencontainers.image.licenses=MIT OR Apache-2.0",
    "--config.exposedports=9435",
    "--config.entrypoint=/usr/bin/llm-tracker",
    "--config.cmd=run",
];

/// Makes the image of `binary`; the path of the layout.
///
/// # Errors
/// When something that this needs cannot be had, or the image cannot be made.
pub(crate) fn layout(context: &Context, binary: &Path) -> anyhow::Result<PathBuf> {
    packages::ensure(context, "the container image", packages::IMAGE)?;
    let target = context.root().join("target");
    let (root, layout) = (target.join("image-root"), target.join("image"));
    let mut script = Command::new(context.root().join("deploy/container/root.sh"));
    process::run("root.sh", script.arg(binary).arg(&root))?;
    if layout.exists() {
        fs::remove_dir_all(&layout)?;
    }
    let image = format!("{}:{TAG}", layout.display());
    umoci(Command::new("umoci").args(["init", "--layout"]).arg(&layout))?;
    umoci(Command::new("umoci").args(["new", "--image", &image]))?;
    umoci(Command::new("umoci").args(["insert", "--rootless", "--image", &image]).arg(&root).arg("/"))?;
    umoci(Command::new("umoci").args(["config", "--image", &image]).args(CONFIG))?;
    umoci(Command::new("umoci").args(["gc", "--layout"]).arg(&layout))?; // What the steps before the last left.
    Ok(layout)
}

fn umoci(command: &mut Command) -> anyhow::Result<()> {
    process::run("umoci", command)
}
