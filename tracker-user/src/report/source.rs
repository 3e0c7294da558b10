//! Where answers come from: the daemon, or the file that it writes. What is shown does not depend on it.

use std::{path::Path, thread, time::Duration};

use anyhow::{Result, bail};

use super::DEFAULT_LEDGER;
use crate::{
    api::{Calls, Client, ClientError, MAX_LAST, Report},
    budget::Budget,
    config::Config,
    ledger::{Answer, Ledger, LedgerError, Question, StoredCall},
};

/// How long the daemon may take to store what has happened, seconds.
const SETTLE: u32 = 10;
/// Between two looks into a file, whose calls are followed.
const LOOK: Duration = Duration::from_millis(500);
/// Between two tries to reach a daemon that has gone.
const AGAIN: Duration = Duration::from_secs(1);
/// Calls that are taken at once from a file.
const AT_ONCE: u32 = 1000;

/// A daemon that runs, or a file.
#[derive(Debug)]
pub(super) enum Source {
    Daemon(Client),
    File(Ledger),
}

impl Source {
    /// This file, if there is one; else the daemon, if one runs; else the file that the configuration has.
    pub(super) fn open(file: Option<&Path>, config: &Config) -> Result<Self> {
        if let Some(socket) = config.api.socket().filter(|_| file.is_none()) {
            match Client::connect(socket) {
                Err(ClientError::NoDaemon(_)) => {}
                client => return Ok(Self::Daemon(client?)),
            }
        }
        Ok(Self::File(ledger(file, config)?))
    }

    /// The daemon, asked to wait until all that has happened is stored; whether it is.
    pub(super) fn settled(config: &Config) -> Result<(Self, bool)> {
        let socket = config.api.socket().ok_or_else(|| ClientError::NoDaemon(config.api.socket.clone()))?;
        let mut client = Client::connect(socket)?;
        let parameters = [("settle", SETTLE.to_string()), ("limit", "1".to_owned())];
        let Calls { settled, .. } = client.get("/api/v1/calls", &parameters)?;
        Ok((Self::Daemon(client), settled == Some(true)))
    }

    /// What was looked through.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Daemon(_) => "what the daemon shows you".to_owned(),
            Self::File(ledger) => ledger.path().display().to_string(),
        }
    }

    /// Adds calls up.
    pub(super) fn report(&mut self, question: &Question) -> Result<Answer> {
        Ok(self.report_with(question, &[])?.answer)
    }

    /// The same, and how far budgets are used: the daemon's, or, where it is a file that answers, these.
    pub(super) fn report_with(
        &mut self,
        Question { span, by, conditions }: &Question,
        budgets: &[Budget],
    ) -> Result<Report> {
        let ledger = match self {
            Self::Daemon(client) => return Ok(client.report(*span, by, conditions)?),
            Self::File(ledger) => ledger,
        };
        let answer = Answer::new(by, &ledger.report(*span, by, conditions)?);
        let now = jiff::Timestamp::now();
        let used = budgets.iter().map(|budget| Ok(budget.used(now, ledger)?.into()));
        Ok(Report { answer, budgets: used.collect::<Result<_>>()?, budgets_not_shown: None, settled: None })
    }

    /// The latest calls that fit a question, at most `most`, in order. What tells groups apart does not matter.
    pub(super) fn calls(
        &mut self,
        Question { span, conditions, .. }: &Question,
        most: u32,
    ) -> Result<Vec<StoredCall>> {
        match self {
            Self::Daemon(client) => Ok(client.calls(*span, conditions, most)?),
            Self::File(ledger) => Ok(ledger.calls(*span, conditions, most)?),
        }
    }

    /// Hands the latest `most` calls that fit to `take`, of which there may be none, and then those that come,
    /// until it fails. A daemon that goes is waited for.
    pub(super) fn follow(
        self,
        question: &Question,
        most: u32,
        take: impl FnMut(&[StoredCall]) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Daemon(_) if most > MAX_LAST => {
                bail!("the daemon can be followed from its latest {MAX_LAST} calls on: -n {MAX_LAST}")
            }
            Self::Daemon(client) => follow_daemon(client, question, most, take),
            Self::File(ledger) => follow_file(&ledger, question, most, take),
        }
    }
}

fn follow_file(
    ledger: &Ledger,
    Question { span, conditions, .. }: &Question,
    most: u32,
    mut take: impl FnMut(&[StoredCall]) -> Result<()>,
) -> Result<()> {
    let (mut calls, mut number) = ledger.calls_and_number(*span, conditions, most)?;
    loop {
        take(&calls)?;
        if calls.len() < AT_ONCE as usize {
            thread::sleep(LOOK);
        }
        (calls, number) = ledger.calls_after(number, conditions, AT_ONCE)?;
    }
}

fn follow_daemon(
    client: Client,
    Question { span, conditions, .. }: &Question,
    most: u32,
    mut take: impl FnMut(&[StoredCall]) -> Result<()>,
) -> Result<()> {
    let socket = client.socket().to_owned();
    let mut following = client.follow(*span, conditions, most, None)?;
    loop {
        let gone = loop {
            match following.receive() {
                Ok(Some(calls)) => take(&calls)?,
                Ok(None) => break "the daemon has stopped".to_owned(),
                Err(error @ ClientError::Connection { .. }) => break error.to_string(),
                Err(error) => return Err(error.into()),
            }
        };
        eprintln!("llm-tracker: {gone}: waiting for it");
        let behind = following.last_event_id().map(str::to_owned);
        following = loop {
            thread::sleep(AGAIN);
            let again = Client::connect(&socket)
                .and_then(|client| client.follow(*span, conditions, most, behind.as_deref()));
            match again {
                Ok(following) => break following,
                // It is not there yet, or not ready.
                Err(ClientError::NoDaemon(_) | ClientError::Connection { .. }) => {}
                Err(ClientError::Refused { status, .. }) if status.is_server_error() => {}
                Err(error) => return Err(error.into()),
            }
        };
    }
}

/// This file, or the one that the configuration has.
pub(super) fn ledger(file: Option<&Path>, config: &Config) -> Result<Ledger, LedgerError> {
    let configured = config.ledger.file.as_deref();
    Ledger::open(file.or(configured).unwrap_or_else(|| Path::new(DEFAULT_LEDGER)))
}
