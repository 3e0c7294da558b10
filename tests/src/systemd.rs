//! A real systemd as process 1, of a container whose root is a copy of this machine's.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    child::{Child, Finished},
    client::LIMIT,
    container::{Service, crun},
    overlay::{Overlay, as_root},
};

/// What systemd itself takes, and what a unit of ours may be given.
const CAPABILITIES: [&str; 17] = [
    "CAP_AUDIT_WRITE",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_PERFMON",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
];

/// A booted machine. It goes, with everything that runs on it, when this is dropped.
#[derive(Debug)]
pub struct Systemd {
    service: Service,
    _folder: tempfile::TempDir,
}

impl Systemd {
    /// Boots it, without the services of this machine.
    ///
    /// # Errors
    ///
    /// Where it does not come up.
    pub fn boot(overlay: &Overlay) -> Result<Self> {
        // An image that machines are made of may forbid packages to start what they install.
        overlay.run("rm -f /usr/sbin/policy-rc.d")?;
        let folder = tempfile::Builder::new().prefix("llm-tracker-systemd-").tempdir()?;
        let console = folder.path().join("console");
        fs::write(&console, "")?;
        let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        // No rlimits: some hosts do not let their root raise any. Of the kernel's nothing can be written that
        // is not the container's own.
        let namespaces =
            ["pid", "ipc", "uts", "mount", "network", "cgroup"].map(|kind| json!({"type": kind}));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "rlimits": [],
                "args": ["/lib/systemd/systemd", "--unit=basic.target", "--log-target=console"],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=crun"],
                "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            },
            "root": {"path": overlay.root()},
            "mounts": [
                mount("/proc", "proc", &[]), mount("/sys", "sysfs", &["ro"]), mount("/sys/fs/cgroup", "cgroup", &["rw"]),
                mount("/dev", "tmpfs", &["mode=755"]), mount("/run", "tmpfs", &["mode=755"]), mount("/tmp", "tmpfs", &[]),
                {"destination": "/dev/console", "type": "bind", "source": console, "options": ["bind", "rw"]},
            ],
            "linux": {
                "namespaces": namespaces,
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"],
            },
        });
        fs::write(folder.path().join("config.json"), config.to_string())?;
        let id = format!("llm-tracker-systemd-{}", std::process::id());
        let command = overlay.within(&crun(folder.path(), &id));
        let booted = Self { service: Service::start(command, &id, LIMIT * 5)?, _folder: folder };
        let deadline = Instant::now() + LIMIT;
        while booted.run("systemctl is-active --quiet basic.target").is_err() {
            ensure!(Instant::now() < deadline, "it does not come up: {}", fs::read_to_string(&console)?);
            thread::sleep(Duration::from_millis(100));
        }
        Ok(booted)
    }

    /// Runs a shell script on it, to its end.
    ///
    /// # Errors
    ///
    /// Where the script fails.
    pub fn run(&self, script: &str) -> Result<Finished> {
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--target", &self.service.pid().to_string()]);
        command.args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "/bin/sh", "-ec", script]);
        as_root(&mut command);
        Child::spawn(command, LIMIT * 3)?.wait()?.success()
    }

    /// Turns it off.
    ///
    /// # Errors
    ///
    /// Where it does not go.
    pub fn power_off(self) -> Result<()> {
        // Who asks may be gone before the answer comes.
        let _ = self.run("systemctl poweroff");
        self.service.wait().map(drop)
    }
}
