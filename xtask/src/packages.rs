//! Distribution packages: the lists of what is needed, and their installation with apt.
//!
//! Only apt is driven. Elsewhere nothing is installed and nothing is checked: what is then missing
//! shows where it is used.

use std::io;
use std::process::{Command, Stdio};

use anyhow::bail;

use crate::context::Context;
use crate::process::{self, is_root, on_path, output, progress};

/// A compiler for the kernel side: Debian's newest Rust, and the source of its `core`.
pub(crate) const KERNEL_COMPILER: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// clippy for that compiler.
pub(crate) const KERNEL_CLIPPY: &[&str] = &["rust-web-clippy"];

/// Programs that the tests, the demo and the benchmarks start, and what the tests are built with.
pub(crate) const TEST: &[&str] = &[
    "ca-certificates",
    "crun",         // a real OCI container
    "curl",         // a client
    "iproute2",     // network namespaces of the tests' own
    "libssl-dev",   // programs that call libssl as an application does
    "mount",        // cgroup2 and bpffs in a private mount namespace
    "nginx-light",  // a server that ends TLS with libssl
    "openssl",      // a client, and throw-away certificates
    "procps",       // `pgrep`
    "python3-venv", // the providers' Python SDKs, in an environment of their own
    "systemd",      // as the first process of a container, and its tools, which judge the unit
    "util-linux",   // `unshare`, `setpriv`
    "wget",         // a client of GnuTLS
    "xz-utils",     // symbols compressed as Fedora does
];

/// What only the tests start. Under systemd these packages start their servers, on ports 9090 and 8428: nothing
/// that only wants to be shown something should have them installed.
pub(crate) const TEST_ONLY: &[&str] = &[
    "containerd",       // real pods
    "iptables",         // published ports of Podman's containers
    "podman",           // an engine without a server
    "prometheus",       // a real server that scrapes the daemon, and `promtool`
    "runc",             // real OCI containers where cgroups are of both versions
    "victoria-metrics", // a store that others write to
];

/// What a Debian package is made with.
pub(crate) const DEB: &[&str] = &[
    "binutils", // `strip`
    "dpkg-dev", // the libraries that it depends on
    "xz-utils",
];

/// What a container image is made with, where there is no engine.
pub(crate) const IMAGE: &[&str] = &["binutils", "ca-certificates", "umoci"];

/// What libFuzzer is compiled with.
pub(crate) const FUZZ: &[&str] = &["g++"];

/// Sees to it that `packages` are installed, for `purpose` ("the tests").
///
/// # Errors
/// When some are missing and may not or cannot be installed; the message says what to type.
pub(crate) fn ensure(context: &Context, purpose: &str, packages: &[&str]) -> anyhow::Result<()> {
    let missing = match missing(packages) {
        Some(missing) if !missing.is_empty() => missing,
        Some(_) | None => return Ok(()),
    };
    if !can_install(context) {
        bail!(
            "{purpose} need packages that are not installed. Type:\n    sudo apt-get install {}",
            missing.join(" ")
        );
    }
    install(purpose, &missing)
}

/// Whether this run may and can install packages.
pub(crate) fn can_install(context: &Context) -> bool {
    context.install && is_root() && on_path("apt-get").is_some()
}

/// Installs `packages` with apt, which shows its progress on stderr.
///
/// # Errors
/// When apt fails, also after it has read the archive's lists anew.
pub(crate) fn install(purpose: &str, packages: &[&str]) -> anyhow::Result<()> {
    progress("Installing", format_args!("{} (for {purpose})", packages.join(" ")));
    if !packages.iter().all(|package| has_candidate(package)) {
        update()?;
    } else if apt_install(packages).is_ok() {
        return Ok(());
    } else {
        // Old lists name versions that the archive no longer has.
        update()?;
    }
    apt_install(packages)
}

/// Whether apt, with the lists it has, knows a version of `package` to install.
pub(crate) fn has_candidate(package: &str) -> bool {
    output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C")).is_some_and(|policy| {
        policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate: ")).any(|it| it != "(none)")
    })
}

/// Reads the archive's package lists anew.
///
/// # Errors
/// When apt fails.
pub(crate) fn update() -> anyhow::Result<()> {
    progress("Updating", format_args!("the package lists"));
    process::run("apt-get update", &mut apt(&["update"]))
}

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    // What somebody has chosen instead, as another packaging of the same program, is not taken from them.
    let mut command = apt(&["install", "-y", "--no-install-recommends", "--no-remove"]);
    process::run("apt-get install", command.args(packages))
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(io::stderr());
    command
}

/// Those of `packages` that are not installed; `None` where there is no dpkg to ask.
fn missing<'a>(packages: &[&'a str]) -> Option<Vec<&'a str>> {
    // It exits with 1 when it does not know one of them, and still lists the others.
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .args(packages)
        .output()
        .ok()?;
    let listed = String::from_utf8_lossy(&query.stdout);
    let installed =
        |package: &str| listed.lines().any(|line| line.strip_prefix("installed ") == Some(package));
    Some(packages.iter().copied().filter(|package| !installed(package)).collect())
}
