//! The kernel side, `tracker-ebpf`: compiled for BPF, checked, and left at
//! `target/bpf/llm-tracker.bpf.o`.
//!
//! Code generation is set in `tracker-ebpf/.cargo/config.toml` and nowhere else, so that a plain
//! `cargo build` or an editor inside that folder does the same. Here the compiler and the linker
//! are chosen.

mod compiler;
mod frames;
mod linker;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, bail};
use object::{Object as _, ObjectSection as _};

use crate::context::Context;
use crate::packages;
use crate::process::{self, progress};
use compiler::Compiler;

/// BPF has the host's byte order.
const TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// The binary of `tracker-ebpf`.
const BINARY: &str = "llm-tracker";

/// Builds the kernel object and checks it.
///
/// # Errors
/// When there is no way to compile it, when it does not compile, and when a stack frame is too
/// large ([`frames`]); a bad object never replaces a good one.
pub(crate) fn build(context: &Context) -> anyhow::Result<PathBuf> {
    let compiler = compiler::find(context)?;
    let linker = linker::find(context, &compiler)?;

    progress("Kernel side", format_args!("with {compiler}"));
    let mut cargo = cargo(context, &compiler, &linker, &compiler.cargo);
    cargo.args(["build", "--release", "--bin", BINARY]);
    target_arguments(&mut cargo, context);
    process::run("the kernel side's build", &mut cargo).inspect_err(|_| {
        if !linker.starts_with(context.tools()) {
            progress("Note", format_args!("{} has to be made for LLVM {}", linker.display(), compiler.llvm));
        }
    })?;

    let built = context.kernel_target().join("cargo").join(TARGET).join("release").join(BINARY);
    let object = context.kernel_object();
    check(&built, context.relative(&object))?;
    install(&built, &object)?;
    Ok(object)
}

/// Lints the kernel side, if its compiler comes with clippy. Needs no linker.
///
/// # Errors
/// When there is no way to compile it, and when clippy finds something.
pub(crate) fn clippy(context: &Context) -> anyhow::Result<()> {
    let compiler = compiler::find(context)?;
    if compiler.clippy().is_none() && compiler.is_distribution() && packages::can_install(context) {
        packages::install("linting the kernel side", packages::KERNEL_CLIPPY)?;
    }
    let Some(clippy) = compiler.clippy() else {
        progress("Skipping", format_args!("clippy on the kernel side: {compiler} comes without it"));
        return Ok(());
    };
    progress("Linting", format_args!("the kernel side with {compiler}"));
    let mut cargo = cargo(context, &compiler, Path::new("bpf-linker"), &clippy);
    cargo.args(["clippy", "--release", "--bin", BINARY]);
    target_arguments(&mut cargo, context);
    process::run("clippy on the kernel side", cargo.args(["--", "-Dwarnings"]))
}

/// `program` (cargo, or cargo-clippy), set up to compile the kernel side with `compiler`.
///
/// `cargo xtask` itself runs in an environment made for the host's toolchain; what of it would
/// reach into this build is taken out.
fn cargo(context: &Context, compiler: &Compiler, linker: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in [
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ] {
        command.env_remove(variable);
    }
    // Meant for the daemon; the object's own profile is part of what makes it pass the verifier.
    for (variable, _) in env::vars_os().filter(|(it, _)| it.as_encoded_bytes().starts_with(b"CARGO_PROFILE_"))
    {
        command.env_remove(variable);
    }
    let linker_variable = format!("CARGO_TARGET_{}_LINKER", TARGET.to_uppercase().replace('-', "_"));
    command
        .current_dir(context.kernel_crate())
        .env("CARGO", &compiler.cargo)
        .env("RUSTC", &compiler.rustc)
        // Allows `-Z` flags on a compiler that is not a nightly.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(linker_variable, linker);
    command
}

fn target_arguments(cargo: &mut Command, context: &Context) {
    cargo
        .args(["-Z", "build-std=core", "--target", TARGET])
        .arg("--target-dir")
        .arg(context.kernel_target().join("cargo"));
}

/// Checks the object at `path`; messages call it `name`.
fn check(path: &Path, name: &Path) -> anyhow::Result<()> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = object::File::parse(&*data).with_context(|| format!("{} is no ELF object", path.display()))?;
    for section in [".BTF", ".BTF.ext"] {
        if file.section_by_name(section).is_none_or(|section| section.size() == 0) {
            bail!("{} has no {section}: it was linked without debug information", name.display());
        }
    }
    let functions =
        frames::functions(&file).with_context(|| format!("stack frames of {}", name.display()))?;
    let report = frames::Report { object: name, functions: &functions };
    if functions.iter().any(|function| function.frame > frames::LIMIT) {
        bail!("{}", report.failure());
    }
    progress("Checked", format_args!("{}", report.summary()));
    Ok(())
}

/// Copies `built` to `object` if it differs: an untouched object leaves the daemon as built.
fn install(built: &Path, object: &Path) -> anyhow::Result<()> {
    let data = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(object).is_ok_and(|before| before == data) {
        return Ok(());
    }
    // Renamed into place, so that a build of the daemon beside this one never embeds a half.
    let partial = object.with_extension("partial");
    fs::write(&partial, data).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, object).with_context(|| format!("cannot write {}", object.display()))
}
