//! A real containerd, with its own `ctr` and the Container Runtime Interface that Kubernetes uses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde_json::Value;

use crate::{
    child::{self, Child, Finished},
    client,
    runtime::{Reach, Server},
    standin::StandIn,
};

/// Where it listens, in its folder.
const SOCKET: &str = "state/containerd.sock";
/// The image that pods are made of.
pub const IMAGE: &str = "standin.example/client:1";

/// A running containerd.
#[derive(Debug)]
pub struct Containerd(Server);

impl Containerd {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn start() -> Result<Self> {
        let server = Server::start(Reach::Network, |folder| {
            let at = |name: &str| folder.join(name);
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
                socket = at(SOCKET),
                runtime = at("runtime"),
            );
            fs::write(at("config.toml"), config)?;
            Ok(["containerd".into(), "--config".into(), at("config.toml").into()].into())
        })?;
        let mut containerd = Self(server);
        containerd.0.wait_until(|server| ctr(server, &["version"]).is_ok())?;
        Ok(containerd)
    }

    /// Its socket, beside which its state is.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.at(SOCKET)
    }

    /// The path of a cgroup of its containers.
    #[must_use]
    pub fn cgroup(&self, below: &str) -> String {
        self.0.cgroup(below)
    }

    /// Runs `ctr` with these arguments, to its end.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn ctr(&self, arguments: &[&str]) -> Result<Finished> {
        ctr(&self.0, arguments)
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
        let (root, runtime) = (root.to_string_lossy(), self.0.at("runtime"));
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
        let archive = self.0.at("image.tar");
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

fn ctr(server: &Server, arguments: &[&str]) -> Result<Finished> {
    let mut command = Command::new("/usr/bin/ctr");
    command.arg("--address").arg(server.at(SOCKET)).args(arguments);
    Child::spawn(command, client::LIMIT)?.wait()?.success()
}
