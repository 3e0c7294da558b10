//! Fetches releases from npm's registry into `target/agents`, where they stay.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{child, machine};

use crate::catalogue::{Agent, Package};

/// Longest that npm may take for one release: hundreds of megabytes.
const LIMIT: Duration = Duration::from_secs(600);

/// This processor as Node calls it.
pub(crate) const ARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "x64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

/// Which releases of an agent are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) pinned: bool,
    pub(crate) newest: bool,
}

/// One release of an agent, on the disk.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) agent: &'static Agent,
    pub(crate) version: String,
    pub(crate) pinned: bool,
    pub(crate) newest: bool,
    /// The folder with its packages.
    pub(crate) modules: PathBuf,
}

/// Every wanted release; the same one once.
///
/// # Errors
///
/// Where the registry does not answer, or has not got it.
pub(crate) fn releases(agent: &'static Agent, wanted: Wanted) -> Result<Vec<Release>> {
    let Package { pinned, released_as, .. } = agent.package;
    let newest = wanted.newest.then(|| newest(released_as)).transpose()?;
    let mut versions = Vec::new();
    if wanted.pinned {
        versions.push(pinned.to_owned());
    }
    versions.extend(newest.clone().filter(|newest| !versions.contains(newest)));
    let release = |version: String| {
        Ok(Release {
            agent,
            pinned: version == pinned,
            newest: newest.as_ref() == Some(&version),
            modules: fetch(agent, &version)?,
            version,
        })
    };
    versions.into_iter().map(release).collect()
}

fn newest(package: &str) -> Result<String> {
    let mut npm = npm()?;
    npm.args(["view", &here(package), "version"]);
    let version = child::output(npm, LIMIT)?.trim().to_owned();
    let numeric = version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains(['/', ' ', '\n']);
    ensure!(numeric, "npm names no newest release of {package}, but {version:?}");
    Ok(version)
}

/// Its `node_modules`. A release that is there is complete: it got its name at the end.
fn fetch(agent: &Agent, version: &str) -> Result<PathBuf> {
    let folder = machine::target_folder().join("agents").join(here(agent.package.name)).join(version);
    let modules = folder.join("node_modules");
    if modules.exists() {
        return Ok(modules);
    }
    eprintln!("fetching {} {version} ...", here(agent.package.name));
    let unfinished = folder.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    let named =
        |package: &Package, version: &str| here(&format!("{}@{version}{}", package.name, package.suffix));
    let mut npm = npm()?;
    // No script of a package runs here, in the host's network.
    npm.args(["install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--force"])
        .args(["--loglevel=error", "--prefix"])
        .arg(&unfinished)
        .arg(named(&agent.package, version))
        .args(agent.beside.iter().map(|package| named(package, package.pinned)));
    child::output(npm, LIMIT).with_context(|| format!("cannot fetch {} {version}", agent.title))?;
    fs::rename(&unfinished, &folder)?;
    Ok(modules)
}

/// `{arch}` filled in.
pub(crate) fn here(text: &str) -> String {
    text.replace("{arch}", ARCH).replace("{machine}", std::env::consts::ARCH)
}

/// npm where it is installed, else that of the tests' Node.
fn npm() -> Result<Command> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&paths).map(|folder| folder.join("npm"));
    match found.find(|path| Path::is_file(path)) {
        Some(npm) => Ok(Command::new(npm)),
        None => machine::npm(),
    }
}
