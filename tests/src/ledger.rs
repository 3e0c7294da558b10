//! A ledger: the daemon that stores calls in it, and what the command line says of them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    child,
    daemon::{Daemon, SOON},
    machine,
    scenario::mark,
    wait,
};

/// How long a question may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The calls of this test run that are [tagged so](crate::scenario::Scenario::ours), as a condition.
#[must_use]
pub fn of_this_run() -> String {
    format!("request_model=*{}*", mark())
}

/// A ledger of one test's.
#[derive(Debug)]
pub struct Ledger {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Ledger {
    /// One that is not there yet, in a folder that is.
    ///
    /// # Errors
    ///
    /// Where there can be no folder.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("ledger.db");
        Ok(Self { folder, file })
    }

    /// The database.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The folder that it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A configuration with it, and with what else there is to say.
    #[must_use]
    pub fn config(&self, more: &str) -> String {
        format!("[ledger]\nfile = {:?}\n{more}", self.file)
    }

    /// A daemon that stores calls in it.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start_with`].
    pub fn daemon(&self) -> Result<Daemon> {
        Daemon::start_with(&self.config(""), "info")
    }

    /// A command of `llm-tracker` that is about it.
    ///
    /// # Errors
    ///
    /// Where there is no `llm-tracker`.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(machine::daemon_binary()?);
        command.args(arguments).arg("--ledger").arg(&self.file);
        Ok(command)
    }

    /// What such a command says.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        child::output(self.command(arguments)?, LIMIT)
    }

    /// What `report` says with these arguments.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub fn report(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask(&[&["report", "--json"], arguments].concat())?)?)
    }

    /// Waits until so many calls are stored of those that a condition picks: other programs on the host may make
    /// some.
    ///
    /// # Errors
    ///
    /// Where they are not [soon](SOON).
    pub fn wait_for(&self, daemon: &Daemon, calls: u64, condition: &str) -> Result<()> {
        let stored = || -> Result<Option<()>> {
            let total = &self.report(&["--where", condition])?["total"]["calls"];
            Ok((total.as_u64() >= Some(calls)).then_some(()))
        };
        wait::until("calls are not stored", SOON, stored).with_context(|| daemon.losses())
    }
}
