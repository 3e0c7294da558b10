//! clippy, and the policy on dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::Context;
use crate::kernel;
use crate::process::{self, on_path, progress};
use crate::tool::Tool;

/// What cargo-deny looks at. Not `advisories`: they take a database from the network, and news in
/// it would fail a change that has nothing to do with it. `cargo deny check advisories` reads them.
const DENY_CHECKS: &[&str] = &["bans", "licenses", "sources"];

/// Lints the workspace, the fuzz targets and the kernel side.
///
/// # Errors
/// When clippy finds something.
pub(crate) fn clippy(context: &Context) -> anyhow::Result<()> {
    kernel::build(context)?;
    progress("Linting", format_args!("the workspace"));
    let mut cargo = context.cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]);
    process::run("clippy", &mut cargo)?;
    progress("Linting", format_args!("the fuzz targets"));
    let mut cargo = context.cargo();
    cargo.args(["clippy", "--all-targets", "--target-dir"]).arg(context.target());
    cargo.arg("--manifest-path").arg(context.fuzz_crate().join("Cargo.toml"));
    process::run("clippy", cargo.args(["--", "-Dwarnings"]))?;
    kernel::clippy(context)
}

/// Holds the dependencies of all three workspaces against `deny.toml`.
///
/// # Errors
/// When cargo-deny finds something, or cannot be had.
pub(crate) fn deny(context: &Context) -> anyhow::Result<()> {
    let program = cargo_deny(context)?;
    let run = |manifest: &Path, lints: &[&str]| {
        progress("Checking", format_args!("the dependencies of {}", context.relative(manifest).display()));
        let mut deny = Command::new(&program);
        deny.current_dir(context.root()).arg("--manifest-path").arg(manifest);
        deny.arg("--config").arg(context.root().join("deny.toml"));
        deny.args(["--all-features", "check", "--hide-inclusion-graph"]).args(lints);
        process::run("cargo-deny", deny.args(DENY_CHECKS))
    };
    run(&context.root().join("Cargo.toml"), &["--deny", "unmatched-skip"])?;
    // Most of the exceptions are for dependencies that the others do not have.
    for folder in [context.kernel_crate(), context.fuzz_crate()] {
        run(&folder.join("Cargo.toml"), &["--allow", "unmatched-skip"])?;
    }
    Ok(())
}

fn cargo_deny(context: &Context) -> anyhow::Result<PathBuf> {
    if let Some(program) = on_path("cargo-deny") {
        return Ok(program);
    }
    let tool = Tool { name: "cargo-deny", version: "0.20.2", variant: None };
    // Unoptimised it is built in a third of the time, and still checks in a second.
    tool.build(context, |cargo| {
        cargo.arg("--debug");
    })
}
