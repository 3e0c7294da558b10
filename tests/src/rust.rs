//! A client and a server in Rust, built from `tests/clients/rust` with one cryptographic library or another.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use serde_json::Value;

use crate::{child::Child, client, machine, standin::StandIn};

/// What rustls is built on.
#[derive(Clone, Copy, Debug)]
pub enum Library {
    /// aws-lc, its default.
    AwsLc,
    /// ring.
    Ring,
}

/// Builds the program, stripped.
///
/// # Errors
///
/// Where a crate cannot be had, or it does not compile.
pub fn build(library: Library) -> Result<PathBuf> {
    let feature = match library {
        Library::AwsLc => "aws-lc",
        Library::Ring => "ring",
    };
    let target = machine::target_folder().join("e2e").join(format!("rust-{feature}"));
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command
        .current_dir(machine::crate_folder().join("clients/rust"))
        .args(["build", "--quiet", "--release", "--locked", "--features", feature, "--target-dir"])
        .arg(&target);
    Child::spawn(command, Duration::from_secs(900))?.wait()?.success()?;
    Ok(target.join("release/rust-tls"))
}

/// The client, which sends these bodies one after the other on one connection.
#[must_use]
pub fn client(
    standin: &StandIn,
    program: &Path,
    address: SocketAddr,
    path: &str,
    bodies: &[Value],
) -> Command {
    let mut command = client::command(standin, program);
    command.arg("client").arg(standin.identity().authority()).args([&address.to_string(), path]);
    command.args(bodies.iter().map(Value::to_string));
    command
}

/// The server, in front of the stand-in's plain port.
#[must_use]
pub fn server(standin: &StandIn, program: &Path) -> Command {
    let identity = standin.identity();
    let mut command = client::command(standin, program);
    command.arg("server").args([identity.certificate(), identity.key()]);
    command.arg(standin.plain_address().to_string());
    command
}
