//! Where answers come from: the daemon, or the file that it writes.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::DEFAULT_LEDGER;
use crate::{
    api::{Calls, Client, ClientError},
    config::Config,
    ledger::{Condition, Dimension, Ledger, LedgerError, Report, Span, StoredCall},
};

/// How long the daemon may take to store what has happened, seconds.
const SETTLE: u32 = 10;

/// A daemon that runs, or a file.
#[derive(Debug)]
pub(super) enum Source {
    Daemon(Client),
    File(PathBuf, Ledger),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The daemon's word.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The file's.
    #[error(transparent)]
    File(#[from] LedgerError),
}

impl Source {
    /// This file, if there is one; else the daemon, if one runs; else the file that the configuration has.
    pub(super) fn open(file: Option<&Path>, config: &Config) -> Result<Self, SourceError> {
        if let Some(socket) = config.api.socket().filter(|_| file.is_none()) {
            match Client::connect(socket) {
                Err(ClientError::NoDaemon(_)) => {}
                client => return Ok(Self::Daemon(client?)),
            }
        }
        let configured = config.ledger.file.as_deref();
        let file = file.or(configured).unwrap_or_else(|| Path::new(DEFAULT_LEDGER));
        Ok(Self::File(file.to_owned(), Ledger::open(file)?))
    }

    /// The daemon, asked to wait until all that has happened is stored; whether it is.
    pub(super) fn settled(config: &Config) -> Result<(Self, bool), SourceError> {
        let socket = config.api.socket().ok_or_else(|| ClientError::NoDaemon(config.api.socket.clone()))?;
        let mut client = Client::connect(socket)?;
        let parameters = [("settle", SETTLE.to_string()), ("limit", "1".to_owned())];
        let Calls { settled, .. } = client.get("/api/v1/calls", &parameters)?;
        Ok((Self::Daemon(client), settled == Some(true)))
    }

    pub(super) fn report(
        &mut self,
        span: Span,
        dimensions: &[Dimension],
        conditions: &[Condition],
    ) -> Result<Report, SourceError> {
        match self {
            Self::Daemon(client) => Ok(client.report(span, dimensions, conditions)?),
            Self::File(_, ledger) => Ok(ledger.report(span, dimensions, conditions)?),
        }
    }

    pub(super) fn calls(
        &mut self,
        span: Span,
        conditions: &[Condition],
        most: u32,
    ) -> Result<Vec<StoredCall>, SourceError> {
        match self {
            Self::Daemon(client) => Ok(client.calls(span, conditions, most)?),
            Self::File(_, ledger) => Ok(ledger.calls(span, conditions, most)?),
        }
    }
}

/// What was looked through.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon(_) => f.write_str("of those that the daemon shows you"),
            Self::File(file, _) => write!(f, "in {}", file.display()),
        }
    }
}
