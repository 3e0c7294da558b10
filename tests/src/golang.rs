//! Programs in Go, built from `tests/clients/go` with releases of several years.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    child::Child,
    client::{self, LIMIT},
    daemon::Daemon,
    machine,
    standin::StandIn,
};

/// Releases that the programs are built with: the newest, and the oldest that can be had.
pub const RELEASES: [&str; 2] = ["1.27.3", "1.21.13"];

/// How a program is built, as `go build` is told.
pub type Flags<'a> = &'a [&'a str];

/// Builds one of the programs in `tests/clients/go` into `folder`.
///
/// # Errors
///
/// Where the release cannot be had, or the program does not compile.
pub fn build(release: &str, program: &str, flags: Flags<'_>, folder: &Path) -> Result<PathBuf> {
    let output = folder.join(format!("go-{program}"));
    let mut command = Command::new(machine::go(release)?);
    command
        .current_dir(machine::crate_folder().join("clients/go"))
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOTELEMETRY", "off")
        .env("GOFLAGS", "")
        .env("GOCACHE", machine::target_folder().join("e2e/go-cache"))
        .args(["build", "-o"])
        .arg(&output)
        .args(flags)
        .arg(format!("./{program}"));
    Child::spawn(command, Duration::from_secs(300))?.wait()?.success()?;
    Ok(output)
}

/// Has a program hooked before it is used: starts it, and waits until the daemon says so. It idles until
/// what is returned is dropped.
///
/// # Errors
///
/// Where the daemon does not hook it soon.
pub fn hooked(daemon: &mut Daemon, program: &Path) -> Result<Child> {
    let mut command = Command::new(program);
    command.arg("-idle").env_clear();
    let child = Child::spawn(command, 10 * LIMIT)?;
    daemon.wait_until_hooked(&program.display().to_string())?;
    Ok(child)
}

/// The client, pointed at a server with the stand-in's certificate.
#[must_use]
pub fn client(standin: &StandIn, program: &Path, flags: Flags<'_>, url: &str, model: &str) -> Command {
    let mut command = client::command(standin, program);
    command.args(flags).args([url, model]);
    command
}

/// The server, in front of the stand-in's plain port.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Where it does not come up.
    pub fn start(standin: &StandIn, program: &Path) -> Result<Self> {
        let identity = standin.identity();
        let mut command = client::command(standin, program);
        command.args([identity.certificate(), identity.key()]);
        command.arg(format!("http://{}", standin.plain_address()));
        let mut child = Child::spawn(command, 2 * LIMIT)?;
        loop {
            let stdout = child.stdout()?;
            if let Some(line) = stdout.strip_suffix('\n') {
                let address = line.parse().with_context(|| format!("{line:?} is no address"))?;
                return Ok(Self { child, address });
            }
            ensure!(child.is_running()?, "{}", child.stderr()?);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}
