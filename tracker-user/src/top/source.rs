//! The daemon, as `top` asks it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{api::Client, config::Config, live::Snapshot};

/// A daemon's socket, and a connection to it, where there is one.
#[derive(Debug)]
pub(super) struct Source {
    socket: Option<PathBuf>,
    client: Option<Client>,
}

impl Source {
    pub(super) fn of(config: &Config) -> Self {
        Self { socket: config.api.socket().map(Path::to_owned), client: None }
    }

    /// What there is to see now.
    pub(super) fn fetch(&mut self) -> Result<Snapshot> {
        // It closes connections now and then.
        if let Some(mut client) = self.client.take()
            && let Ok(snapshot) = ask(&mut client)
        {
            self.client = Some(client);
            return Ok(snapshot);
        }
        let socket = self.socket.as_deref().context("`api.socket` is empty: there is nobody to ask")?;
        let mut client =
            Client::connect(socket).context("no daemon answers (`llm-tracker run` starts one)")?;
        let snapshot = ask(&mut client)?;
        self.client = Some(client);
        Ok(snapshot)
    }
}

fn ask(client: &mut Client) -> Result<Snapshot> {
    Ok(client.get("/api/v1/live", &[])?)
}
