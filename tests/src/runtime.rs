//! What runs containers: a server in mount and process namespaces of its own, so that everything that it has
//! started ends with it and nothing of it is left.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{child::Child, client};

/// How long it may take to be there, on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// Longest life of one in a test.
const LIFE: Duration = Duration::from_secs(300);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    // Goes when everything in it has been killed.
    cgroup: Above,
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
    pub(crate) fn start(command: impl FnOnce(&Path) -> Result<Vec<OsString>>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("llm-tracker-runtime-").tempdir()?;
        fs::copy(client::script_path("oci_runtime.py"), folder.path().join("runtime"))?;
        let mut server = with_cgroup2(&["--pid", "--fork", "--kill-child", "--mount-proc"]);
        server.args(command(folder.path())?);
        let cgroup = Above(format!("/llm-tracker-e2e-{}", std::process::id()));
        Ok(Self { child: Child::spawn(server, LIFE)?, folder, cgroup })
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
        for hierarchy in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            let cgroup = PathBuf::from(format!("{hierarchy}{}", self.0));
            // A process that was killed is taken out of it a moment later.
            for _ in 0..50 {
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
