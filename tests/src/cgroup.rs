//! Cgroups of the kernel's unified hierarchy, named as systemd or a container runtime would name them.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// A cgroup with those above it. What was made of it goes when this is dropped.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// What was not there before, outermost first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes the cgroup of that path.
    ///
    /// # Errors
    ///
    /// Where there is no unified hierarchy, or it may not be written to.
    pub fn new(path: &str) -> Result<Self> {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let mount = mounts.iter().map(Path::new).find(|mount| mount.join("cgroup.controllers").exists());
        let mut directory = mount.context("no cgroup v2 hierarchy is mounted")?.to_owned();
        let mut made = Vec::new();
        for component in path.split('/').filter(|component| !component.is_empty()) {
            directory.push(component);
            if !directory.exists() {
                fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
                made.push(directory.clone());
            }
        }
        Ok(Self { directory, made })
    }

    /// Has the program run in it from its start on.
    ///
    /// # Errors
    ///
    /// Where the cgroup takes no processes.
    pub fn holds(&self, command: &mut Command) -> Result<()> {
        let processes = File::options().write(true).open(self.directory.join("cgroup.procs"))?;
        // SAFETY: one system call on a file that was opened before the fork.
        unsafe {
            command.pre_exec(move || (&processes).write_all(b"0"));
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            // A process that has ended is taken out of it a moment later.
            for _ in 0..50 {
                if fs::remove_dir(directory).is_ok() || !directory.exists() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
