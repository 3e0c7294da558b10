//! A real OCI container, run by `crun` from a root folder of its own.
//!
//! The root is put together from the host's `curl` and the libraries that it is linked with: copies,
//! so that its libssl is another file than the host's, as an image's would be.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    child::{self, Child, Finished},
    client,
    runtime::with_cgroup2,
    scenario::Scenario,
    standin::StandIn,
};

/// Where the stand-in's authority is in it.
const AUTHORITY: &str = "/etc/ca.pem";

/// A bundle: a root folder and a configuration. It goes when this is dropped.
#[derive(Debug)]
pub struct Bundle {
    folder: tempfile::TempDir,
    id: String,
}

impl Bundle {
    /// Puts together a container called `id` that runs `curl` with these arguments.
    ///
    /// # Errors
    ///
    /// Where the files cannot be copied.
    pub fn new(id: &str, standin: &StandIn, arguments: &[String]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("llm-tracker-container-").tempdir()?;
        let root = folder.path().join("rootfs");
        for directory in ["usr/bin", "usr/lib", "usr/lib64", "etc", "proc", "dev", "tmp"] {
            fs::create_dir_all(root.join(directory))?;
        }
        for directory in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{directory}"), root.join(directory))?;
        }
        copy_program(&root, Path::new("/usr/bin/curl"))?;
        fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/false\n")?;
        fs::copy(standin.identity().authority(), root.join(AUTHORITY.trim_start_matches('/')))?;

        let mut command = vec!["/usr/bin/curl".to_owned()];
        command.extend_from_slice(arguments);
        // No rlimits and no device rules: both need more than some hosts allow their root. The network
        // is the host's, so that loopback is the stand-in's.
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "user": {"uid": 0, "gid": 0}, "args": command, "cwd": "/",
                "env": ["PATH=/usr/bin", "LANG=C.UTF-8", format!("CURL_CA_BUNDLE={AUTHORITY}")],
                "noNewPrivileges": true, "rlimits": [],
            },
            "root": {"path": "rootfs", "readonly": true},
            "hostname": "standin-client",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            ],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]},
        });
        fs::write(folder.path().join("config.json"), config.to_string())?;
        Ok(Self { folder, id: id.to_owned() })
    }

    /// The same with more in its environment: `NAME=value` each.
    ///
    /// # Errors
    ///
    /// Where its configuration cannot be written.
    pub fn with_environment(self, variables: &[&str]) -> Result<Self> {
        let file = self.folder.path().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
        let environment = config["process"]["env"].as_array_mut().context("no environment")?;
        environment.extend(variables.iter().map(|variable| Value::from(*variable)));
        fs::write(file, config.to_string())?;
        Ok(self)
    }

    /// Its root folder.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }

    /// Runs it, in a mount namespace that has the unified cgroup hierarchy where `crun` looks for it.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn run(&self) -> Result<Child> {
        Child::spawn(crun(self.folder.path(), &self.id), client::LIMIT)
    }
}

/// A command for the root folder of a [`Bundle`] that makes two calls: the first gives the daemon a moment with a
/// libssl that it has never seen. What matters is whose call the second is.
#[must_use]
pub fn two_calls(standin: &StandIn, model: &str) -> Vec<String> {
    let url = format!("{}/v1/chat/completions", standin.url());
    let first = Scenario { wait: Some(500), ..Scenario::new(1, 2) }.model();
    let mut command = vec!["/usr/bin/curl".to_owned()];
    for (model, then) in [(first.as_str(), Some("--next")), (model, None)] {
        command.extend(client::curl_arguments(&url, &client::chat(model)));
        command.extend(["--cacert", AUTHORITY].into_iter().chain(then).map(String::from));
    }
    command
}

/// What runs a bundle, in a mount namespace that has the unified cgroup hierarchy where `crun` looks for it.
#[must_use]
pub fn crun(bundle: &Path, id: &str) -> Command {
    let mut command = with_cgroup2(&[]);
    command.args(["crun", "run", "--bundle"]).arg(bundle).arg(id);
    command
}

/// A container that runs until it is told to stop. It is killed when this is dropped.
#[derive(Debug)]
pub struct Service {
    pid: u32,
    crun: Child,
    name: Name,
}

/// What `crun` knows it by.
#[derive(Debug)]
struct Name(String);

impl Service {
    /// Starts what [`crun`] runs under this id, for at most so long.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn start(command: Command, id: &str, limit: Duration) -> Result<Self> {
        let mut service = Self { pid: 0, crun: Child::spawn(command, limit)?, name: Name(id.to_owned()) };
        let deadline = Instant::now() + client::LIMIT;
        while service.pid == 0 {
            ensure!(service.crun.is_running()?, "the container ended; it said: {}", service.log()?);
            ensure!(Instant::now() < deadline, "the container does not start: {}", service.log()?);
            thread::sleep(Duration::from_millis(50));
            // At first there is no such container.
            let Ok(state) = service.name.crun("state", &[]) else { continue };
            let state: Value = serde_json::from_str(&state)?;
            service.pid = state["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        }
        Ok(service)
    }

    /// Its first process, by the host's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written on standard error so far.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn log(&self) -> Result<String> {
        self.crun.stderr()
    }

    /// Sends its first process a signal.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.name.crun("kill", &[signal]).map(drop)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Where that takes too long.
    pub fn wait(self) -> Result<Finished> {
        self.crun.wait()
    }
}

impl Name {
    fn crun(&self, verb: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("/usr/bin/crun");
        command.arg(verb).arg(&self.0).args(arguments);
        child::output(command, client::LIMIT)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.crun("kill", &["KILL"]);
    }
}

/// Copies a program and the libraries that it is linked with to the same places under `root`.
///
/// # Errors
///
/// Where one of them cannot be copied.
pub fn copy_program(root: &Path, program: &Path) -> Result<()> {
    copy_into(root, program)?;
    for library in libraries(program)? {
        copy_into(root, Path::new(&library))?;
    }
    Ok(())
}

/// Paths of the libraries that a program is linked with.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let mut command = Command::new("/usr/bin/ldd");
    command.arg(program);
    let listing = child::output(command, Duration::from_secs(10))?;
    Ok(listing.split_whitespace().filter(|word| word.starts_with('/')).map(String::from).collect())
}

/// Copies a file to the same place under `root`, links resolved.
fn copy_into(root: &Path, file: &Path) -> Result<()> {
    let inside = root.join(file.strip_prefix("/")?);
    let folder = inside.parent().context("a file without a folder")?;
    fs::create_dir_all(folder)?;
    fs::copy(file, &inside).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?)
}
