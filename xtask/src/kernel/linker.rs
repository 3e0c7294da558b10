//! `bpf-linker`, which turns the compiler's LLVM bitcode into a BPF object.
//!
//! It has to be linked with the LLVM that the compiler uses (or a newer one, which reads older
//! bitcode). In order: `BPF_LINKER`, one that was built here for that LLVM, one on the `PATH`, one
//! built now.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::compiler::Compiler;
use crate::context::Context;
use crate::packages;
use crate::process::{on_path, output};
use crate::tool::Tool;

/// The version that is built when there is none.
const VERSION: &str = "0.13.0";

/// The newest LLVM that this version can be linked with.
const NEWEST_LLVM: u32 = 23;

/// An installed LLVM with its headers and libraries.
struct Llvm {
    major: u32,
    prefix: PathBuf,
}

/// Finds the linker for what `compiler` makes, or builds it.
///
/// # Errors
/// When there is none and it cannot be built; the message says what to type.
pub(crate) fn find(context: &Context, compiler: &Compiler) -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os("BPF_LINKER").map(PathBuf::from) {
        if !named.is_file() {
            bail!("BPF_LINKER names {}, which is no file", named.display());
        }
        return Ok(named);
    }
    let supported = compiler.llvm..=NEWEST_LLVM;
    let built = supported.clone().map(|major| tool(major).path(context)).find(|path| path.is_file());
    if let Some(linker) = built.or_else(|| on_path("bpf-linker")) {
        return Ok(linker);
    }

    let llvm = llvm(context, compiler)?;
    tool(llvm.major).build(context, |cargo| {
        let bin = llvm.prefix.join("bin");
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([bin].into_iter().chain(env::split_paths(&path)));
        cargo.args(["--no-default-features", "--features", &format!("llvm-{}", llvm.major)]);
        cargo.env("LLVM_PREFIX", &llvm.prefix);
        if let Ok(path) = path {
            cargo.env("PATH", path);
        }
    })
}

fn tool(llvm: u32) -> Tool {
    Tool { name: "bpf-linker", version: VERSION, variant: Some(format!("llvm-{llvm}")) }
}

/// An LLVM to link the linker with, installed now if it may be.
fn llvm(context: &Context, compiler: &Compiler) -> anyhow::Result<Llvm> {
    if let Some(llvm) = installed_llvm(compiler.llvm) {
        return Ok(llvm);
    }
    let package = format!("llvm-{}-dev", compiler.llvm);
    if compiler.llvm <= NEWEST_LLVM && packages::can_install(context) {
        if !packages::has_candidate(&package) {
            packages::update()?;
        }
        if packages::has_candidate(&package) {
            packages::install("bpf-linker", &[&package, "g++"])?;
            return installed_llvm(compiler.llvm)
                .with_context(|| format!("{package} is installed, but its llvm-config is not to be found"));
        }
    }
    bail!(
        "bpf-linker is not on the PATH, and building it takes LLVM {} with its headers \
         (for {}). Install a published binary of bpf-linker, or type:\n    \
         sudo apt-get install {package} g++    (Debian)\n\
         and then the same command again; an LLVM elsewhere is found by LLVM_PREFIX",
        compiler.llvm,
        compiler.rustc.display(),
    )
}

/// The LLVM nearest to version `wanted` and not older: `LLVM_PREFIX`, Debian's folders, or the
/// `llvm-config` on the `PATH`.
fn installed_llvm(wanted: u32) -> Option<Llvm> {
    let named = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let folders = (wanted..=NEWEST_LLVM).map(|major| PathBuf::from(format!("/usr/lib/llvm-{major}")));
    let on_path = || {
        let prefix = output(Command::new(on_path("llvm-config")?).arg("--prefix"))?;
        Some(PathBuf::from(prefix))
    };
    let usable = |prefix: PathBuf| {
        let major = major(&prefix).filter(|major| (wanted..=NEWEST_LLVM).contains(major))?;
        Some(Llvm { major, prefix })
    };
    named.into_iter().chain(folders).find_map(usable).or_else(|| on_path().and_then(usable))
}

/// The major version of the LLVM at `prefix`, if its headers are there too.
fn major(prefix: &Path) -> Option<u32> {
    if !prefix.join("include/llvm-c").exists() {
        return None;
    }
    let version = output(Command::new(prefix.join("bin/llvm-config")).arg("--version"))?;
    version.split('.').next()?.parse().ok()
}
