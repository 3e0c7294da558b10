//! The whole build, and starting what was built.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::context::Context;
use crate::{kernel, packages, process};

/// How the host's side is compiled. The kernel side is always optimised: unoptimised, the verifier
/// would refuse it.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Builds the kernel side, then the daemon that embeds it; the daemon's path.
///
/// # Errors
/// When either does not build.
pub(crate) fn build(context: &Context, profile: Profile) -> anyhow::Result<PathBuf> {
    kernel::build(context)?;
    let mut cargo = context.cargo();
    cargo.args(["build", "--package", "tracker-user", "--bins"]);
    let folder = match profile {
        Profile::Debug => "debug",
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
    };
    process::run("the build", &mut cargo)?;
    Ok(context.target().join(folder).join(format!("llm-tracker{EXE_SUFFIX}")))
}

/// Builds, then becomes `llm-tracker run ARGS`.
///
/// # Errors
/// When it does not build or cannot be started; else this does not return.
pub(crate) fn run(context: &Context, args: &[OsString]) -> anyhow::Result<()> {
    let binary = build(context, Profile::Release)?;
    Err(process::replace(Command::new(binary).arg("run").args(args)))
}

/// Builds, then becomes the demo of the `tests` crate.
///
/// # Errors
/// When it does not build or cannot be started; else this does not return.
pub(crate) fn demo(context: &Context, args: &[OsString]) -> anyhow::Result<()> {
    let binary = build(context, Profile::Release)?;
    packages::ensure(context, "the demo's clients", packages::TEST)?;
    let mut cargo = context.cargo();
    cargo.args(["run", "--release", "--package", "llm-tracker-tests", "--bin", "demo", "--"]).args(args);
    Err(process::replace(cargo.env("LLM_TRACKER_BIN", binary)))
}

/// Builds, then becomes the runner of the `agents` crate.
///
/// # Errors
/// When it does not build or cannot be started; else this does not return.
pub(crate) fn agents(context: &Context, args: &[OsString]) -> anyhow::Result<()> {
    let binary = build(context, Profile::Release)?;
    packages::ensure(context, "the agents", packages::TEST)?;
    let mut cargo = context.cargo();
    cargo.args(["run", "--release", "--package", "llm-tracker-agents", "--"]).args(args);
    Err(process::replace(cargo.env("LLM_TRACKER_BIN", binary)))
}
