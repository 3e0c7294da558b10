//! What runs containers: a server in a mount namespace of its own, and of which nothing is left.

use std::{
    ffi::OsString,
    fs, iter,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{cgroup::Cgroup, child::Child, client};

/// How long it may take to be there, on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// Longest life of one in a test.
const LIFE: Duration = Duration::from_secs(300);

/// What a server and its containers have of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its network. Processes are in a namespace of their own, and end with the server.
    Network,
    /// Its processes and its cgroups, which `--pid host` means, and networks that the engine makes: for a test
    /// that has [left](crate::network::leave) the machine's.
    Host,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    // Kills what is left, and goes with it.
    cgroup: Above,
    /// Where the server itself is, below that.
    _home: Option<Cgroup>,
    folder: tempfile::TempDir,
}

/// The cgroup above those of its containers.
#[derive(Debug)]
struct Above(String);

impl Server {
    /// Starts what `command` makes of a folder for all that it keeps, in which the OCI runtime lies as
    /// `runtime`.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub(crate) fn start(reach: Reach, command: impl FnOnce(&Path) -> Result<Vec<OsString>>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("llm-tracker-runtime-").tempdir()?;
        fs::copy(client::script_path("oci_runtime.py"), folder.path().join("runtime"))?;
        // Another one of this process must not be killed with it.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let cgroup = Above(format!("/llm-tracker-e2e-{}-{number}", std::process::id()));
        let (mut server, home) = match reach {
            Reach::Network => (with_cgroup2(&["--pid", "--fork", "--kill-child", "--mount-proc"]), None),
            Reach::Host => {
                let mut server = Command::new("/usr/bin/unshare");
                server.args(["--mount", "--fork", "--kill-child"]);
                let home = Cgroup::new(&format!("{}/server", cgroup.0))?;
                home.holds(&mut server)?;
                (server, Some(home))
            }
        };
        server.args(command(folder.path())?);
        Ok(Self { child: Child::spawn(server, LIFE)?, cgroup, _home: home, folder })
    }

    /// Waits until it answers.
    ///
    /// # Errors
    ///
    /// Where it does not; says what it said.
    pub(crate) fn wait_until(&mut self, answers: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + READY;
        while !answers(self) {
            ensure!(self.child.is_running()?, "it ended: {}", self.child.stderr()?);
            ensure!(Instant::now() < deadline, "it is not there: {}", self.child.stderr()?);
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// A path in its folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path of a cgroup of its containers.
    pub(crate) fn cgroup(&self, below: &str) -> String {
        format!("{}/{below}", self.cgroup.0)
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        // The unified hierarchy, or beside it those of version 1.
        let root = PathBuf::from("/sys/fs/cgroup");
        let others = fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path());
        let cgroups: Vec<_> = iter::once(root.clone())
            .chain(others)
            .map(|hierarchy| hierarchy.join(self.0.trim_start_matches('/')))
            .filter(|cgroup| cgroup.exists())
            .collect();
        for cgroup in &cgroups {
            // Only the unified one can.
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        }
        for cgroup in cgroups {
            // A process that was killed is taken out of it when all its probes are.
            for _ in 0..500 {
                remove(&cgroup);
                if !cgroup.exists() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Removes a cgroup and those below it, as far as they are empty.
fn remove(cgroup: &Path) {
    let Ok(entries) = fs::read_dir(cgroup) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    // What still runs keeps it.
    let _ = fs::remove_dir(cgroup);
}

/// Runs the arguments that it is given in a mount namespace, and those that `unshare` is told besides, with the
/// unified cgroup hierarchy where programs look for it.
pub(crate) fn with_cgroup2(namespaces: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/unshare");
    command.arg("--mount").args(namespaces).args(["/bin/sh", "-ec"]);
    command.arg(
        "test -e /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 none /sys/fs/cgroup\n\
         exec \"$@\"",
    );
    command.arg("sh");
    command
}
