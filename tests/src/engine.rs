//! Real Docker and real Podman: a server each with the API that its own command line speaks.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    child, client, machine,
    runtime::{Reach, Server},
};

const PODMAN: &str = "/usr/bin/podman";
/// Where they listen, in their folder.
const SOCKET: &str = "engine.sock";

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    server: Server,
    /// Its command line, told where the server is.
    client: Vec<OsString>,
}

impl Engine {
    /// Starts Docker. It touches no network of the machine's.
    ///
    /// # Errors
    ///
    /// Where it cannot be had or started.
    pub fn docker(reach: Reach) -> Result<Self> {
        let docker = machine::docker()?;
        let server = Server::start(reach, |folder| {
            let at = |name: &str| folder.join(name);
            let mut config = serde_json::json!({
                "data-root": at("data"), "exec-root": at("exec"), "pidfile": at("pid"),
                "deprecated-key-path": at("key.json"),
                "hosts": [format!("unix://{}", at(SOCKET).display())],
                "iptables": false, "ip6tables": false, "ip-forward": false, "storage-driver": "vfs",
                "userland-proxy-path": docker.join("usr/sbin/docker-proxy"),
                "exec-opts": ["native.cgroupdriver=cgroupfs"],
                "runtimes": {"plain": {"path": at("runtime")}}, "default-runtime": "plain",
            });
            if reach == Reach::Network {
                config["bridge"] = "none".into();
            }
            fs::write(at("config.json"), config.to_string())?;
            let command =
                [docker.join("usr/sbin/dockerd").into(), "--config-file".into(), at("config.json").into()];
            Ok(leaving_nothing(&command))
        })?;
        let client = vec![docker.join("usr/bin/docker").into(), "--host".into(), address(&server)];
        Self { server, client }.ready()
    }

    /// Starts Podman.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn podman(reach: Reach) -> Result<Self> {
        let server = Server::start(reach, |folder| {
            let at = |name: &str| folder.join(name);
            let config = format!(
                "[engine]\n\
                 cgroup_manager = 'cgroupfs'\n\
                 events_logger = 'file'\n\
                 runtime = 'plain'\n\
                 static_dir = {fixed:?}\n\
                 tmp_dir = {temporary:?}\n\
                 [engine.runtimes]\n\
                 plain = [{runtime:?}]\n\
                 [network]\n\
                 network_config_dir = {networks:?}\n",
                fixed = at("static"),
                temporary = at("tmp"),
                runtime = at("runtime"),
                networks = at("networks"),
            );
            fs::write(at("containers.conf"), config)?;
            let storage = format!(
                "[storage]\ndriver = 'vfs'\ngraphroot = {:?}\nrunroot = {:?}\n",
                at("storage"),
                at("run")
            );
            fs::write(at("storage.conf"), storage)?;
            let set = |variable: &str, file: &str| format!("{variable}={}", at(file).display()).into();
            Ok(leaving_nothing(&[
                "/usr/bin/env".into(),
                set("CONTAINERS_CONF", "containers.conf"),
                set("CONTAINERS_STORAGE_CONF", "storage.conf"),
                set("TMPDIR", ""),
                PODMAN.into(),
                "system".into(),
                "service".into(),
                "--time=0".into(),
                format!("unix://{}", at(SOCKET).display()).into(),
            ]))
        })?;
        let client = vec![PODMAN.into(), "--remote".into(), "--url".into(), address(&server)];
        Self { server, client }.ready()
    }

    fn ready(mut self) -> Result<Self> {
        let client = &self.client;
        self.server.wait_until(|server| run(server, client, &["version"]).is_ok())?;
        Ok(self)
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.server.at(SOCKET)
    }

    /// Makes an image of a root folder.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn import(&self, root: &Path, image: &str) -> Result<()> {
        let archive = self.server.at("image.tar");
        let mut tar = Command::new("/usr/bin/tar");
        tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(root).arg(".");
        child::output(tar, client::LIMIT)?;
        self.tell(&["import", &archive.to_string_lossy(), image]).map(drop)
    }

    /// Builds the image that a file tells of.
    ///
    /// # Errors
    ///
    /// Where it cannot be built.
    pub fn build(&self, file: &str, context: &Path, image: &str) -> Result<()> {
        let path = self.server.at("Dockerfile");
        fs::write(&path, file)?;
        let [path, context] = [&path, context].map(|path| path.to_string_lossy().into_owned());
        self.tell(&["build", "--file", &path, "--tag", image, &context]).map(drop)
    }

    /// Starts a container on the host's network with these further options, and returns its id.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn run(&self, name: &str, options: &[&str], image: &str, command: &[String]) -> Result<String> {
        let mut arguments = vec!["--detach", "--network", "host", "--name", name];
        arguments.extend_from_slice(options);
        arguments.push(image);
        arguments.extend(command.iter().map(String::as_str));
        self.run_as(&arguments)
    }

    /// Starts a container with these arguments of `run`, and returns what that says: the id of one that is
    /// detached.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn run_as(&self, arguments: &[&str]) -> Result<String> {
        // As Docker names it by default: so the engine that it belongs to can be told.
        let cgroup = self.server.cgroup("docker");
        Ok(self.tell(&[&["run", "--cgroup-parent", &cgroup], arguments].concat())?.trim().to_owned())
    }

    /// What its command line says, told this.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        run(&self.server, &self.client, arguments)
    }
}

/// A server that finds nothing where it would leave something on the host.
fn leaving_nothing(server: &[OsString]) -> Vec<OsString> {
    let script = "mount -t tmpfs none /run\nmount -t tmpfs none /var/lib\nexec \"$@\"";
    let mut command: Vec<OsString> = ["/bin/sh", "-ec", script, "sh"].map(OsString::from).into();
    command.extend_from_slice(server);
    command
}

fn address(server: &Server) -> OsString {
    format!("unix://{}", server.at(SOCKET).display()).into()
}

/// Runs its command line with these arguments, to its end.
fn run(server: &Server, client: &[OsString], arguments: &[&str]) -> Result<String> {
    // Nothing is read from, nor left in, the home of whoever runs this.
    let mut command = Command::new("/usr/bin/env");
    command.arg(format!("HOME={}", server.at("").display()));
    // Debian's Docker builds by itself; what a newer one would do it with is another package.
    command.arg("DOCKER_BUILDKIT=0").args(client).args(arguments);
    child::output(command, client::LIMIT)
}
