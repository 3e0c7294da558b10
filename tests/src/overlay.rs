//! The machine as it is, in a copy of which nothing comes back: an overlay over `/`.

use std::{fs, process::Command, time::Duration};

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

    /// Runs a shell script as root of it, to its end. Of the machine's own mounts it has none but its
    /// devices, so that a service manager that runs on the machine is not there.
    ///
    /// # Errors
    ///
    /// Where the script fails.
    pub fn run(&self, script: &str) -> Result<Finished> {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "--pid", "--fork", "/bin/sh", "-ec"]);
        command.arg(
            r#"cd "$1"
            mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
            mount -t proc proc root/proc
            mount --rbind /dev root/dev
            mount -t tmpfs tmpfs root/run
            exec chroot root /bin/sh -ec "$2""#,
        );
        command.arg("sh").arg(self.folder.path()).arg(script);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        Child::spawn(command, LIFE)?.wait()?.success()
    }
}
