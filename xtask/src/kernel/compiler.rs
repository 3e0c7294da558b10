//! A Rust compiler that can build `core` for BPF.
//!
//! No toolchain ships `core` for BPF, so it is compiled along (`-Z build-std`), which takes the
//! standard library's source and a compiler that allows `-Z`: a nightly, or any with
//! `RUSTC_BOOTSTRAP=1`. Tried in this order: rustup's nightly, the toolchain that runs this
//! program, the distribution's.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow};

use crate::context::Context;
use crate::packages;
use crate::process::{is_root, on_path, output};

/// The oldest compiler that builds the kernel side (edition 2024, aya-ebpf 0.2).
const OLDEST: (u32, u32) = (1, 88);

/// The distribution's compiler.
const DISTRIBUTION: &str = "/usr/bin/rustc";

/// A compiler, its cargo, and what decides how its output is linked.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// The compiler.
    pub(crate) rustc: PathBuf,
    /// The cargo beside it.
    pub(crate) cargo: PathBuf,
    /// The major version of the LLVM inside; the linker has to match it.
    pub(crate) llvm: u32,
    version: String,
}

impl Compiler {
    /// The cargo-clippy beside the compiler.
    pub(crate) fn clippy(&self) -> Option<PathBuf> {
        let beside = |name| Some(self.rustc.with_file_name(name)).filter(|path| path.is_file());
        beside("clippy-driver").and_then(|_| beside("cargo-clippy"))
    }

    /// Whether it comes from distribution packages.
    pub(crate) fn is_distribution(&self) -> bool {
        self.rustc == Path::new(DISTRIBUTION)
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (rustc {}, LLVM {})", self.rustc.display(), self.version, self.llvm)
    }
}

/// Finds a compiler, or installs the distribution's where that is allowed.
///
/// # Errors
/// When there is none and none can be installed; the message says what to type.
pub(crate) fn find(context: &Context) -> anyhow::Result<Compiler> {
    if let Some(compiler) = candidates().iter().find_map(|rustc| inspect(rustc)) {
        return Ok(compiler);
    }
    if packages::can_install(context) {
        let known = || packages::KERNEL_COMPILER.iter().all(|package| packages::has_candidate(package));
        if !known() {
            packages::update()?;
        }
        if known() {
            packages::install("the kernel side's compiler", packages::KERNEL_COMPILER)?;
            return inspect(Path::new(DISTRIBUTION)).with_context(|| {
                format!("{DISTRIBUTION} is installed, but cannot compile for BPF: no source, or too old")
            });
        }
    }
    Err(anyhow!(advice()))
}

fn candidates() -> Vec<PathBuf> {
    let nightly = on_path("rustup")
        .and_then(|rustup| {
            output(Command::new(rustup).args(["run", "nightly", "rustc", "--print", "sysroot"]))
        })
        .map(|sysroot| Path::new(&sysroot).join("bin/rustc"));
    // Cargo says where it is; in a toolchain, the compiler is beside it.
    let own = env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name("rustc"));
    nightly.into_iter().chain(own).chain([DISTRIBUTION.into()]).collect()
}

/// What `rustc` is, if it can be used: new enough, with the library's source, with a cargo.
fn inspect(rustc: &Path) -> Option<Compiler> {
    let cargo = rustc.with_file_name("cargo");
    if !cargo.is_file() {
        return None;
    }
    let description = output(rustc_command(rustc).arg("-vV"))?;
    let Described { version, release, llvm } = describe(&description)?;
    let sysroot = output(rustc_command(rustc).args(["--print", "sysroot"]))?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    let usable = release >= OLDEST && source.is_file();
    usable.then(|| Compiler { rustc: rustc.into(), cargo, llvm, version: version.into() })
}

fn rustc_command(rustc: &Path) -> Command {
    let mut command = Command::new(rustc);
    // Cargo's, for the toolchain that runs this program; another one might load the wrong libraries.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

#[derive(Debug, PartialEq)]
struct Described<'a> {
    version: &'a str,
    release: (u32, u32),
    llvm: u32,
}

/// Reads the output of `rustc -vV`.
fn describe(output: &str) -> Option<Described<'_>> {
    let field = |name: &str| output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let version = field("release")?;
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    let release = (numbers.next()?, numbers.next()?);
    let llvm = field("LLVM version")?.split('.').next()?.parse().ok()?;
    Some(Described { version, release, llvm })
}

fn advice() -> String {
    let sudo = if is_root() { "" } else { "sudo " };
    format!(
        "no Rust compiler here can build the kernel side (tracker-ebpf): it takes version {}.{} or \
         newer with the source of the standard library. Type one of:\n    \
         rustup toolchain install nightly --component rust-src\n    \
         {sudo}apt-get install {}    (Debian)\n\
         and then the same command again",
        OLDEST.0,
        OLDEST.1,
        packages::KERNEL_COMPILER.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_release_and_nightly() {
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                      host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8";
        assert_eq!(describe(debian), Some(Described { version: "1.96.0", release: (1, 96), llvm: 22 }));

        let nightly = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nrelease: 1.97.0-nightly\n\
                       LLVM version: 22.1.5";
        let described = describe(nightly).unwrap();
        assert_eq!((described.release, described.llvm), ((1, 97), 22));

        assert_eq!(describe("release: 1.97.0"), None);
        assert_eq!(describe(""), None);
    }
}
