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
use hyper::{Request, StatusCode, Uri, header::CONTENT_TYPE};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Runtime;

use crate::export::add_host_roots;

/// How long a webhook may take to answer, and a command to end.
const WEBHOOK_TAKES: Duration = Duration::from_secs(10);
/// Before a webhook that did not take the event is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
const COMMAND_TAKES: Duration = Duration::from_secs(30);
/// Between two looks at whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Where a command finds other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why nobody was told. Not to whom: the address of a webhook is a secret, often.
#[derive(Debug)]
pub(super) struct Untold {
    why: String,
    /// Surely it was not taken, and may be another time.
    again: bool,
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Untold {
    fn because(cause: impl fmt::Display) -> Self {
        Self { why: cause.to_string(), again: false }
    }
}

/// Posts `event`, a JSON object, to a URL; again, where the server is not there or says that it could not take it.
pub(super) fn webhook(runtime: &Runtime, url: &Uri, event: &[u8]) -> Result<(), Untold> {
    let mut roots = RootCertStore::empty();
    if url.scheme_str() == Some("https") {
        add_host_roots(&mut roots);
    }
    runtime.block_on(persist(url, event, &roots, &PAUSES, WEBHOOK_TAKES))
}

async fn persist(
    url: &Uri,
    event: &[u8],
    roots: &RootCertStore,
    pauses: &[Duration],
    patience: Duration,
) -> Result<(), Untold> {
    for pause in pauses {
        match post(url, event, roots, patience).await {
            Err(untold) if untold.again => tokio::time::sleep(*pause).await,
            outcome => return outcome,
        }
    }
    post(url, event, roots, patience).await
}

async fn post(url: &Uri, event: &[u8], roots: &RootCertStore, patience: Duration) -> Result<(), Untold> {
    let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(Untold::because)?
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let request = Request::post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::copy_from_slice(event)))
        .map_err(Untold::because)?;
    let client = Client::builder(TokioExecutor::new()).build(connector);
    match tokio::time::timeout(patience, client.request(request)).await {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
        Ok(Ok(answer)) => {
            let status = answer.status();
            let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            Err(Untold { why: format!("it answers {status}"), again })
        }
        Ok(Err(error)) => Err(Untold { again: error.is_connect(), ..Untold::because(error) }),
        Err(_) => Err(Untold::because(format!("no answer within {patience:?}"))),
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
            Ok(Some(status)) => return Err(Untold::because(format!("it ends with {status}"))),
            Ok(None) if Instant::now() < until => thread::sleep(LOOK_EVERY),
            outcome => {
                let killed = child.kill().and_then(|()| child.wait());
                let cause = outcome.err().or(killed.err()).map(|error| format!(": {error}"));
                return Err(Untold::because(format!("it does not end{}", cause.unwrap_or_default())));
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
    use std::{
        io::{BufRead as _, BufReader, Read},
        net::{SocketAddr, TcpListener},
        sync::{Arc, Mutex},
    };

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivatePkcs8KeyDer};

    use super::*;

    const EVENT: &[u8] = b"{\"budget\":\"b\"}";
    const SECRET: &str = "/hooks/T0-s3cret";
    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server that answers one request after the other with these statuses, and then no more.
    struct Hook {
        address: SocketAddr,
        /// The first line and the body of each request.
        heard: Arc<Mutex<Vec<(String, String)>>>,
    }

    impl Hook {
        fn start(statuses: &'static [u16], tls: Option<Arc<ServerConfig>>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let heard = Arc::new(Mutex::new(Vec::new()));
            let noted = Arc::clone(&heard);
            thread::spawn(move || {
                let mut silent = Vec::new();
                let mut statuses = statuses.iter();
                while let Ok((stream, _)) = listener.accept() {
                    let status = statuses.next();
                    let held = stream.try_clone().unwrap();
                    let request = match &tls {
                        Some(tls) => {
                            let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                            serve(StreamOwned::new(connection, stream), status)
                        }
                        None => serve(stream, status),
                    };
                    // One that is not answered stays open.
                    silent.extend(status.is_none().then_some(held));
                    noted.lock().unwrap().extend(request);
                }
            });
            Self { address, heard }
        }

        async fn told(&self, scheme: &str, roots: &RootCertStore) -> Result<(), String> {
            let url = format!("{scheme}://localhost:{}{SECRET}?token=s3cret", self.address.port());
            let pauses = [Duration::ZERO; 2];
            let outcome = persist(&url.parse().unwrap(), EVENT, roots, &pauses, PATIENCE).await;
            outcome.map_err(|untold| untold.to_string())
        }

        fn requests(&self) -> usize {
            self.heard.lock().unwrap().len()
        }
    }

    /// Reads a request and answers it; absent where there is none.
    fn serve(mut stream: impl Read + io::Write, status: Option<&u16>) -> Option<(String, String)> {
        let mut reader = BufReader::new(&mut stream);
        let (mut head, mut line) = (Vec::new(), String::new());
        while reader.read_line(&mut line).ok()? > 2 {
            head.push(std::mem::take(&mut line).to_ascii_lowercase());
        }
        let length =
            head.iter().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
        assert!(head.iter().any(|line| line.trim_end() == "content-type: application/json"), "{head:?}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if let Some(status) = status {
            let answer = format!("HTTP/1.1 {status} Any\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).ok()?;
            stream.flush().ok()?;
        }
        Some((head.first()?.trim_end().to_owned(), String::from_utf8(body).ok()?))
    }

    #[tokio::test]
    async fn a_webhook_gets_the_event_and_is_tried_again_where_it_did_not_take_it() {
        let roots = RootCertStore::empty();
        for (statuses, requests, outcome) in [
            (&[204][..], 1, Ok(())),
            (&[503, 429, 200], 3, Ok(())),
            (&[500, 500, 500, 200], 3, Err("it answers 500 Internal Server Error")),
            (&[403, 200], 1, Err("it answers 403 Forbidden")),
        ] {
            let hook = Hook::start(statuses, None);
            assert_eq!(hook.told("http", &roots).await, outcome.map_err(str::to_owned), "{statuses:?}");
            // Answered before it is noted.
            while hook.requests() < requests {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let heard = hook.heard.lock().unwrap().clone();
            let line = format!("post {}?token=s3cret http/1.1", SECRET.to_ascii_lowercase());
            assert_eq!(heard, vec![(line, String::from_utf8_lossy(EVENT).into_owned()); requests]);
        }
    }

    #[tokio::test]
    async fn nobody_waits_long_and_no_address_is_said() {
        let roots = RootCertStore::empty();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url: Uri = format!("http://{gone}{SECRET}").parse().unwrap();
        let pauses = [Duration::ZERO; 2];
        let down = persist(&url, EVENT, &roots, &pauses, PATIENCE).await.unwrap_err();
        assert!(down.again && !down.to_string().contains("s3cret"), "{down}");

        let silent = Hook::start(&[], None);
        let url: Uri = format!("http://{}{SECRET}", silent.address).parse().unwrap();
        let slow = persist(&url, EVENT, &roots, &pauses, Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(slow.to_string(), "no answer within 300ms");
        assert!(!slow.again, "it may have taken it");
    }

    #[tokio::test]
    async fn a_webhook_over_tls_has_to_prove_who_it_is() {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into(),
            );
        let hook = Hook::start(&[200; 4], Some(Arc::new(config.unwrap())));
        let refused = hook.told("https", &RootCertStore::empty()).await.unwrap_err();
        assert!(!refused.contains("s3cret") && hook.requests() == 0, "{refused}");
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        assert_eq!(hook.told("https", &roots).await, Ok(()));
    }

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
