//! What a machine needs for these tests, in one place, and the Python environment.

use std::{
    fs,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::child::Child;

/// Programs that the tests start, and Debian's package for each.
pub const NEEDS: [(&str, &str); 8] = [
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/python3", "python3-venv"),
    ("/usr/sbin/nginx", "nginx"),
    ("/usr/bin/crun", "crun"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/mount", "mount"),
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
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);

    let folder = target_folder().join("e2e");
    fs::create_dir_all(&folder)?;
    let _lock = lock(&folder.join("venv.lock"))?;
    let wanted = fs::read_to_string(crate_folder().join("requirements.txt"))?;
    let environment = folder.join("venv");
    let interpreter = environment.join("bin/python3");
    let stamp = environment.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && interpreter.exists() {
        return Ok(interpreter);
    }
    eprintln!("making a Python environment in {} ...", environment.display());
    run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    run(Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
        .arg(crate_folder().join("requirements.txt")))?;
    fs::write(stamp, wanted)?;
    Ok(interpreter)
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
fn lock(path: &Path) -> Result<fs::File> {
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
