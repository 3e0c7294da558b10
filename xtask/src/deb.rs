//! The Debian package. What is in it, `[package.metadata.deb]` of the daemon's `Cargo.toml` says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::Context as _;

use crate::context::Context;
use crate::packages;
use crate::process::{self, output};
use crate::tool::Tool;

/// The version of cargo-deb that is built where there is none.
const CARGO_DEB: &str = "3.8.0";

/// The workspace's version, and the package's revision of it.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-1");

/// As `[package.metadata.deb]` has it.
const MAINTAINER: &str = "The llm-tracker developers <llm-tracker@packages.invalid>";

/// Makes the package of `binary`; the package's path.
///
/// # Errors
/// When something that this needs cannot be had, or the package cannot be made.
pub(crate) fn package(context: &Context, binary: &Path) -> anyhow::Result<PathBuf> {
    packages::ensure(context, "the Debian package", packages::DEB)?;
    let tool = Tool { name: "cargo-deb", version: CARGO_DEB, variant: None };
    // Unoptimised and without liblzma it is built in a third of the time; `xz` compresses as well.
    let cargo_deb = tool.build(context, |cargo| {
        cargo.args(["--debug", "--no-default-features"]);
    })?;
    stage(context, binary)?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture")).context("no dpkg")?;
    let package = context.root().join(format!("target/debian/llm-tracker_{VERSION}_{architecture}.deb"));
    let mut command = Command::new(cargo_deb);
    command.current_dir(context.root());
    command.args([
        "--quiet",
        "--no-build",
        "--package",
        "tracker-user",
        "--deb-version",
        VERSION,
        "--output",
    ]);
    process::run("cargo-deb", command.arg(&package).stdout(io::stderr()))?;
    Ok(package)
}

/// Lays what the package takes and the repository does not have into `target/package`, which is what the
/// daemon's `Cargo.toml` calls it whatever `CARGO_TARGET_DIR` says.
fn stage(context: &Context, binary: &Path) -> anyhow::Result<()> {
    let folder = context.root().join("target/package");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let stripped = folder.join("llm-tracker");
    process::run("strip", Command::new("strip").arg("-o").arg(&stripped).arg(binary))?;
    let generated = folder.join("generated");
    process::run("llm-tracker generate", Command::new(binary).arg("generate").arg(generated))?;
    Ok(fs::write(folder.join("changelog"), changelog(context)?)?)
}

/// The changelog in Debian's form. It is of the day of the last commit, so that the same commit makes the
/// same file.
fn changelog(context: &Context) -> anyhow::Result<String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%aD"]).current_dir(context.root());
    let date = output(&mut git).or_else(|| output(Command::new("date").arg("-R")));
    Ok(format!(
        "llm-tracker ({VERSION}) unstable; urgency=medium\n\n  * What is new: changelog.gz beside this file.\n\n \
         -- {MAINTAINER}  {}\n",
        date.context("no date")?
    ))
}
