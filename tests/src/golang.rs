//! Programs in Go, built from `tests/clients/go` with releases of several years.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;

use crate::{child::Child, client, machine, server::Server, standin::StandIn};

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

/// The client, pointed at a server with the stand-in's certificate.
#[must_use]
pub fn client(standin: &StandIn, program: &Path, flags: Flags<'_>, url: &str, model: &str) -> Command {
    let mut command = client::command(standin, program);
    command.args(flags).args([url, model]);
    command
}

/// The server, in front of the stand-in's plain port.
///
/// # Errors
///
/// Where it does not come up.
pub fn server(standin: &StandIn, program: &Path) -> Result<Server> {
    let identity = standin.identity();
    let mut command = client::command(standin, program);
    command.args([identity.certificate(), identity.key()]);
    command.arg(format!("http://{}", standin.plain_address()));
    Server::start(command)
}
