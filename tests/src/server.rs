//! Servers built for the tests: they end TLS, hand requests on to the stand-in, and say where they listen.

use std::{net::SocketAddr, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{child::Child, client::LIMIT, daemon::Daemon};

/// A running server. It stops when this is dropped.
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
    pub fn start(command: Command) -> Result<Self> {
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
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://localhost:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

/// Starts a program built for the tests, client or server, and has it do nothing until what is returned is
/// dropped.
///
/// # Errors
///
/// Where it cannot be started.
pub fn idle(program: &Path) -> Result<Child> {
    let mut command = Command::new(program);
    command.arg("-idle").env_clear();
    Child::spawn(command, 10 * LIMIT)
}

/// The same, and waits until the daemon says that it is hooked: what is started then is seen from its first call.
///
/// # Errors
///
/// Where the daemon does not hook it soon.
pub fn hooked(daemon: &mut Daemon, program: &Path) -> Result<Child> {
    let child = idle(program)?;
    daemon.wait_until_hooked(&program.display().to_string())?;
    Ok(child)
}
