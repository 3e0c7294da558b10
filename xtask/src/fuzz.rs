//! The fuzz targets: built for coverage with whatever Rust there is, and run for a while.
//!
//! What cargo-fuzz does for a nightly compiler and a sanitizer is done here without either: libFuzzer's
//! own instrumentation is a code generation option of every compiler, and safe code has little use for
//! a sanitizer. Corpora and findings lie where cargo-fuzz has them, so that both can be used.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::context::Context;
use crate::process::{self, output, progress};
use crate::{kernel, packages};

/// Instrumentation as libFuzzer wants it.
const RUSTFLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What one input may take: seconds, MiB, bytes.
const LIMITS: &[&str] = &["-timeout=10", "-rss_limit_mb=1024", "-max_len=8192"];

/// Builds the targets and runs the one called `target`, or each of them in turn, for `seconds` in all.
/// `args` are for libFuzzer, which then runs nothing else: a file that was found, for one.
///
/// # Errors
/// When they do not build, and when one finds something.
pub(crate) fn run(
    context: &Context,
    target: Option<&str>,
    seconds: u32,
    args: &[OsString],
) -> anyhow::Result<()> {
    let targets = targets(context)?;
    let chosen: Vec<_> = targets.iter().filter(|name| target.is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are: {}", targets.join(", "));
    }
    kernel::build(context)?; // The daemon's library embeds it.
    packages::ensure(context, "the fuzz targets", packages::FUZZ)?;
    let crate_folder = context.fuzz_crate();
    let folder = context.target().join("fuzz");
    // Named, so that build scripts are compiled without the flags.
    let host =
        output(Command::new("rustc").args(["--print", "host-tuple"])).context("rustc does not answer")?;
    let mut build = context.cargo();
    build.args(["build", "--release", "--bins", "--target", &host, "--target-dir"]).arg(&folder);
    build.arg("--manifest-path").arg(crate_folder.join("Cargo.toml"));
    build.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", RUSTFLAGS.join(" "));
    process::run("the build of the fuzz targets", &mut build)?;

    let share = (seconds / chosen.len() as u32).max(1);
    for name in chosen {
        let mut fuzzer = Command::new(folder.join(&host).join("release").join(name));
        fuzzer.current_dir(context.root()).args(LIMITS);
        let artifacts = crate_folder.join("artifacts").join(name);
        fs::create_dir_all(&artifacts)?;
        fuzzer.arg(format!("-artifact_prefix={}/", context.relative(&artifacts).display()));
        if args.is_empty() {
            progress("Fuzzing", format_args!("{name}, {share} s"));
            let (corpus, seeds) = (crate_folder.join("corpus").join(name), folder.join("seeds").join(name));
            fs::create_dir_all(&corpus)?;
            fs::create_dir_all(&seeds)?;
            fuzzer.args([&corpus, &seeds]).env("LLM_TRACKER_FUZZ_SEEDS", &seeds);
            fuzzer.args([
                format!("-max_total_time={share}").as_str(),
                "-verbosity=0",
                "-print_final_stats=1",
            ]);
        }
        process::run(&format!("fuzz target {name}"), fuzzer.args(args))
            .with_context(|| format!("the input is in {}", context.relative(&artifacts).display()))?;
    }
    Ok(())
}

/// Their names: a file each.
fn targets(context: &Context) -> anyhow::Result<Vec<String>> {
    let folder = context.fuzz_crate().join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
