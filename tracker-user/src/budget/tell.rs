//! Telling that a threshold was crossed: a webhook, a command.

use std::{
    fmt, io,
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri, header::CONTENT_TYPE};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{ClientConfig, RootCertStore};

use crate::export::add_host_roots;

/// How long a webhook may take to answer, and a command to end.
const WEBHOOK_TAKES: Duration = Duration::from_secs(10);
const COMMAND_TAKES: Duration = Duration::from_secs(30);
/// Between two looks at whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Where a command finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why nobody was told. Not to whom: the address of a webhook is a secret, often.
#[derive(Debug)]
pub(super) struct Untold(String);

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Untold {
    fn because(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// Posts `event`, a JSON object, to a URL.
pub(super) fn webhook(runtime: &tokio::runtime::Handle, url: &Uri, event: &[u8]) -> Result<(), Untold> {
    let mut roots = RootCertStore::empty();
    if url.scheme_str() == Some("https") {
        add_host_roots(&mut roots);
    }
    let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(Untold::because)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let request = Request::post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::copy_from_slice(event)))
        .map_err(Untold::because)?;
    let answer = async {
        let client = Client::builder(TokioExecutor::new()).build(connector);
        tokio::time::timeout(WEBHOOK_TAKES, client.request(request)).await
    };
    match runtime.block_on(answer) {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
        Ok(Ok(answer)) => Err(Untold(format!("it answers {}", answer.status()))),
        Ok(Err(error)) => Err(Untold::because(error)),
        Err(_) => Err(Untold(format!("no answer within {WEBHOOK_TAKES:?}"))),
    }
}

/// Runs a program with `event` on its standard input, as the user that this program runs as, with nothing of
/// its environment; one that takes too long is killed.
pub(super) fn command(command: &[String], event: &[u8]) -> Result<(), Untold> {
    run(command, event, COMMAND_TAKES)
}

fn run(command: &[String], event: &[u8], patience: Duration) -> Result<(), Untold> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Untold::because)?;
    // It fits into a pipe, so that a program that does not read holds nobody up.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(event));
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(Some(status)) => return Err(Untold(format!("it ends with {status}"))),
            Ok(None) if Instant::now() < until => thread::sleep(LOOK_EVERY),
            outcome => {
                let killed = child.kill().and_then(|()| child.wait());
                let cause = outcome.err().or(killed.err()).map(|error| format!(": {error}"));
                return Err(Untold(format!("it does not end{}", cause.unwrap_or_default())));
            }
        }
    }
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Untold::because(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> Result<(), String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&command, b"{\"budget\":\"b\"}", patience).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_reads_the_event_and_may_not_take_for_ever() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let minute = Duration::from_secs(60);
        sh(&format!("cat > {}", file.path().display()), minute).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"{\"budget\":\"b\"}");
        assert_eq!(sh("exit 0", minute), Ok(()), "it need not read");
        assert!(sh("test -z \"$HOME\"", minute).is_ok(), "the environment is not its");
        assert!(sh("exit 3", minute).unwrap_err().contains("3"));
        assert_eq!(sh("exec sleep 60", Duration::from_millis(100)), Err("it does not end".to_owned()));
        assert!(run(&["/nonexistent".to_owned()], b"", minute).is_err());
    }
}
