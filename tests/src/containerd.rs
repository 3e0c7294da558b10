//! A real containerd, with its own `ctr` and the Container Runtime Interface that Kubernetes uses.
//!
//! It is in mount and process namespaces of its own: the unified cgroup hierarchy is where it looks for
//! it, and everything that it has started ends with it. Its containers are crun's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    child::{self, Child, Finished},
    client,
    standin::StandIn,
};

/// The image that pods are made of.
pub const IMAGE: &str = "standin.example/client:1";
/// How long it may take to be there, on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// Longest life of one in a test.
const LIFE: Duration = Duration::from_secs(300);

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    _child: Child,
    folder: tempfile::TempDir,
    /// The cgroup above those of its containers.
    cgroup: String,
}

impl Containerd {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("llm-tracker-containerd-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        fs::copy(client::script_path("oci_runtime.py"), at("runtime"))?;
        let config = format!(
            "version = 2\n\
             root = {root:?}\n\
             state = {state:?}\n\
             [grpc]\n\
             address = {socket:?}\n\
             [plugins.'io.containerd.grpc.v1.cri']\n\
             sandbox_image = {IMAGE:?}\n\
             restrict_oom_score_adj = true\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd]\n\
             snapshotter = 'native'\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\n\
             runtime_type = 'io.containerd.runc.v2'\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\n\
             BinaryName = {runtime:?}\n",
            root = at("root"),
            state = at("state"),
            socket = at("state/containerd.sock"),
            runtime = at("runtime"),
        );
        fs::write(at("config.toml"), config)?;
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh", "-ec"]);
        command.arg(
            "test -e /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 none /sys/fs/cgroup\n\
             containerd --config \"$1\"",
        );
        command.arg("sh").arg(at("config.toml"));
        let child = Child::spawn(command, LIFE)?;
        let cgroup = format!("/llm-tracker-e2e-{}", std::process::id());
        let containerd = Self { _child: child, folder, cgroup };
        let deadline = Instant::now() + READY;
        while containerd.ctr(&["version"]).is_err() {
            ensure!(Instant::now() < deadline, "containerd is not there: {}", containerd._child.stderr()?);
            thread::sleep(Duration::from_millis(100));
        }
        Ok(containerd)
    }

    /// Its socket, beside which its state is.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("state/containerd.sock")
    }

    /// The path of a cgroup of its containers.
    #[must_use]
    pub fn cgroup(&self, below: &str) -> String {
        format!("{}/{below}", self.cgroup)
    }

    /// Runs `ctr` with these arguments, to its end.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn ctr(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new("/usr/bin/ctr");
        command.arg("--address").arg(self.socket()).args(arguments);
        Child::spawn(command, client::LIMIT)?.wait()?.success()
    }

    /// Runs `command` in a root folder, by `ctr run` with these further options, to its end.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn run(
        &self,
        namespace: &str,
        options: &[&str],
        root: &Path,
        id: &str,
        command: &[String],
    ) -> Result<Finished> {
        let (root, runtime) = (root.to_string_lossy(), self.folder.path().join("runtime"));
        let runtime = runtime.to_string_lossy();
        let mut arguments = vec![
            "--namespace",
            namespace,
            "run",
            "--rm",
            "--rootfs",
            "--net-host",
            "--runc-binary",
            &*runtime,
        ];
        arguments.extend_from_slice(options);
        arguments.extend([&*root, id]);
        arguments.extend(command.iter().map(String::as_str));
        self.ctr(&arguments)
    }

    /// Makes [`IMAGE`] of a root folder.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn import(&self, root: &Path) -> Result<()> {
        let archive = self.folder.path().join("image.tar");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(client::script_path("oci_image.py")).arg(root).arg(IMAGE).arg(&archive);
        command.args(["/usr/bin/sleep", "120"]);
        child::output(command, client::LIMIT)?;
        self.ctr(&["--namespace", "k8s.io", "images", "import", &archive.to_string_lossy()])?;
        Ok(())
    }

    /// Runs a pod as `pod.py` describes it, to its end, and returns the id of its container.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn pod(&self, standin: &StandIn, pod: &Value) -> Result<String> {
        let socket = self.socket();
        let command = client::python(standin, "pod.py", &[&socket.to_string_lossy(), &pod.to_string()])?;
        Ok(child::output(command, 3 * client::LIMIT)?.trim().to_owned())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for hierarchy in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            remove_cgroups(Path::new(&format!("{hierarchy}{}", self.cgroup)));
        }
    }
}

/// Removes a cgroup and those below it, as far as they are empty.
fn remove_cgroups(cgroup: &Path) {
    let Ok(entries) = fs::read_dir(cgroup) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_cgroups(&entry.path());
    }
    // What still runs keeps it.
    let _ = fs::remove_dir(cgroup);
}
