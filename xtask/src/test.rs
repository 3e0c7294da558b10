//! The test suite.

use std::ffi::OsString;
use std::process::Command;

use crate::build::{self, Profile};
use crate::context::Context;
use crate::packages;
use crate::process::{self, is_root, output, progress};

/// Runs all tests, those included that attach probes to the running kernel, or those that `args`
/// select. Examples in the documentation run with the full suite only.
///
/// The tests find the daemon in `LLM_TRACKER_BIN`: the release binary, which is what users run.
///
/// # Errors
/// When something that the tests need cannot be had, and when a test fails.
pub(crate) fn run(context: &Context, args: &[OsString]) -> anyhow::Result<()> {
    let binary = build::build(context, Profile::Release)?;
    packages::ensure(context, "the tests", &[packages::TEST, packages::TEST_ONLY].concat())?;
    if !context.root().join("../shared/wire").is_dir() {
        progress(
            "Note",
            format_args!("../shared/wire is not there: tests on the recorded provider bodies need it"),
        );
    }
    if !is_root() {
        progress("Note", format_args!("not root: tests that attach probes cannot run"));
    }

    // Before the others, so that their totals are what the run ends with.
    let documentation = if args.is_empty() {
        process::run("a documentation test", context.cargo().args(["test", "--doc", "--workspace"]))
    } else {
        Ok(())
    };
    let mut runner = runner(context);
    let tests = process::run("a test", runner.args(args).env("LLM_TRACKER_BIN", binary));
    tests.and(documentation)
}

/// cargo-nextest where it is installed, else `cargo test`; either goes on after a failure.
fn runner(context: &Context) -> Command {
    let mut cargo = context.cargo();
    if output(context.cargo().args(["nextest", "--version"])).is_some() {
        cargo.args(["nextest", "run"]);
    } else {
        cargo.args(["test", "--lib", "--bins", "--tests"]);
    }
    cargo.args(["--workspace", "--no-fail-fast"]);
    cargo
}
