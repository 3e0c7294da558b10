//! The machine as it is, in a copy of which nothing comes back: an overlay over `/`.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::Result;

use crate::child::{Child, Finished};

/// Longest life of a command in it.
const LIFE: Duration = Duration::from_secs(300);

/// What commands have changed in it, until this is dropped.
#[derive(Debug)]
pub struct Overlay {
    folder: tempfile::TempDir,
}

impl Overlay {
    /// Makes one in which nothing is changed yet.
    ///
    /// # Errors
    ///
    /// Where there is no room for it.
    pub fn new() -> Result<Self> {
        // In memory, because it must not lie within what it lies over.
        let folder = tempfile::Builder::new().prefix("llm-tracker-overlay-").tempdir_in("/dev/shm")?;
        for name in ["upper", "work", "root"] {
            fs::create_dir(folder.path().join(name))?;
        }
        Ok(Self { folder })
    }

    /// Its root folder, where [`within`](Self::within) has mounted it.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// `command` in a mount namespace that has it at [`root`](Self::root).
    #[must_use]
    pub fn within(&self, command: &Command) -> Command {
        let mut within = Command::new("/usr/bin/unshare");
        within.args(["--mount", "/bin/sh", "-ec"]);
        within.arg(
            "cd \"$1\"; shift
            mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
            exec \"$@\"",
        );
        within.arg("sh").arg(self.folder.path()).arg(command.get_program()).args(command.get_args());
        within
    }

    /// Runs a shell script as root of it, to its end. Of the machine's own mounts it has none but its
    /// devices, so that a service manager that runs on the machine is not there.
    ///
    /// # Errors
    ///
    /// Where the script fails.
    pub fn run(&self, script: &str) -> Result<Finished> {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--pid", "--fork", "/bin/sh", "-ec"]);
        command.arg(
            "mount -t proc proc root/proc
            mount --rbind /dev root/dev
            mount -t tmpfs tmpfs root/run
            exec chroot root /bin/sh -ec \"$1\"",
        );
        let mut command = self.within(command.args(["sh", script]));
        as_root(&mut command);
        Child::spawn(command, LIFE)?.wait()?.success()
    }
}

/// The environment of an administrator who cannot be asked anything.
pub(crate) fn as_root(command: &mut Command) {
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
}
