//! Where answers come from: the daemon, or the file that it writes. What is shown does not depend on it.

use std::path::Path;

use anyhow::Result;

use super::DEFAULT_LEDGER;
use crate::{
    api::{Calls, Client, ClientError},
    config::Config,
    ledger::{Answer, Ledger, LedgerError, Question, StoredCall},
};

/// How long the daemon may take to store what has happened, seconds.
const SETTLE: u32 = 10;

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
    pub(super) fn report(&mut self, Question { span, by, conditions }: &Question) -> Result<Answer> {
        match self {
            Self::Daemon(client) => Ok(client.report(*span, by, conditions)?),
            Self::File(ledger) => Ok(Answer::new(by, &ledger.report(*span, by, conditions)?)),
        }
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
}

/// This file, or the one that the configuration has.
pub(super) fn ledger(file: Option<&Path>, config: &Config) -> Result<Ledger, LedgerError> {
    let configured = config.ledger.file.as_deref();
    Ledger::open(file.or(configured).unwrap_or_else(|| Path::new(DEFAULT_LEDGER)))
}
