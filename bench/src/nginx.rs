//! An nginx of our own on loopback, and two ways to load it.
//!
//! `wrk` is itself a libssl program, so host-wide probes cost both sides, as they would on a host
//! that runs client and server. The rustls client leaves nginx as the only one that is probed.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};

use crate::{daemon, libssl::Identity, process, traffic};

/// Size of the file that is served, bytes.
pub const FILE_SIZE: usize = 16 << 10;

/// What the clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `GET` of a plain file.
    File,
    /// `POST` of a chat completion, answered with JSON of the file's size.
    Completion,
}

/// A running nginx.
pub struct Nginx {
    child: Child,
    stopped: bool,
    /// Where it listens.
    pub address: SocketAddr,
    directory: tempfile::TempDir,
    client: Arc<ClientConfig>,
}

const CONFIGURATION: &str = "
daemon off;
worker_processes 1;
user root;
pid nginx.pid;
error_log error.log;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 100000000;
    server {
        listen ADDRESS ssl;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        root DIRECTORY;
        location = /file { default_type application/octet-stream; }
        location = /v1/chat/completions { default_type application/json; error_page 405 =200 $uri; }
    }
}
";

impl Nginx {
    /// Starts one worker that serves a file of 16 KiB over TLS.
    ///
    /// # Errors
    /// Where nginx is not installed or does not listen.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        let identity = Identity::generate()?;
        let address = daemon::free_address()?;
        let configuration = CONFIGURATION
            .replace("ADDRESS", &address.to_string())
            .replace("DIRECTORY", &root.display().to_string());
        fs::write(root.join("nginx.conf"), configuration)?;
        fs::write(root.join("certificate.pem"), identity.certified.cert.pem())?;
        fs::write(root.join("key.pem"), identity.certified.signing_key.serialize_pem())?;
        fs::write(root.join("file"), vec![b'.'; FILE_SIZE])?;
        fs::create_dir_all(root.join("v1/chat"))?;
        let frame = traffic::openai_json(0).len();
        let mut completion = traffic::openai_json(FILE_SIZE - frame - 32);
        // White space may end a JSON text: the sizes are equal to the byte.
        completion.push_str(&" ".repeat(FILE_SIZE.saturating_sub(completion.len())));
        fs::write(root.join("v1/chat/completions"), completion)?;
        let child = Command::new("nginx")
            .args(["-p", &format!("{}/", root.display()), "-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .spawn()
            .context("start nginx: is it installed?")?;
        let mut trusted = RootCertStore::empty();
        trusted.add(identity.certified.cert.der().clone())?;
        let client = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        let nginx = Self { child, stopped: false, address, directory, client: Arc::new(client) };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            ensure!(Instant::now() < deadline, "nginx does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    /// Requests a second of `wrk` with one thread and `connections` kept-alive connections.
    ///
    /// # Errors
    /// Where `wrk` is not installed or saw errors.
    pub fn wrk(&self, ask: Ask, connections: usize, duration: Duration) -> Result<f64> {
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{connections}"), &format!("-d{}s", duration.as_secs().max(1))]);
        if ask == Ask::Completion {
            let script = self.directory.path().join("post.lua");
            fs::write(&script, WRK_POST)?;
            command.arg("-s").arg(script);
        }
        command.arg(format!("https://{}{}", self.address, ask.path()));
        let output = command.output().context("start wrk: is it installed?")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
            "wrk failed: {text}"
        );
        let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        Ok(rate.context("wrk printed no rate")?.trim().parse()?)
    }

    /// Requests a second of `connections` threads, each with one kept-alive connection of rustls.
    ///
    /// # Errors
    /// Where a request fails.
    pub fn rustls(&self, ask: Ask, connections: usize, duration: Duration) -> Result<f64> {
        let start = Instant::now();
        let requests = thread::scope(|scope| -> Result<u64> {
            let threads: Vec<_> =
                (0..connections).map(|_| scope.spawn(|| self.request_until(ask, start + duration))).collect();
            let mut sum = 0;
            for thread in threads {
                sum += thread.join().map_err(|_| anyhow::anyhow!("a client thread panicked"))??;
            }
            Ok(sum)
        })?;
        Ok(requests as f64 / start.elapsed().as_secs_f64())
    }

    fn request_until(&self, ask: Ask, deadline: Instant) -> Result<u64> {
        let connection = ClientConnection::new(Arc::clone(&self.client), ServerName::try_from("localhost")?)?;
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut stream = BufReader::with_capacity(32 << 10, StreamOwned::new(connection, socket));
        let request = match ask {
            Ask::File => b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            Ask::Completion => traffic::request("api.openai.com", ask.path(), COMPLETION_BODY),
        };
        let mut body = vec![0; FILE_SIZE];
        let mut requests = 0;
        while Instant::now() < deadline {
            stream.get_mut().write_all(&request)?;
            let mut line = String::new();
            stream.read_line(&mut line)?;
            ensure!(line.starts_with("HTTP/1.1 200"), "nginx answered {line:?}");
            while line != "\r\n" {
                line.clear();
                ensure!(stream.read_line(&mut line)? > 0, "nginx closed the connection");
            }
            stream.read_exact(&mut body)?;
            requests += 1;
        }
        Ok(requests)
    }

    /// Stops it.
    ///
    /// # Errors
    /// Where it does not end well.
    pub fn stop(mut self) -> Result<()> {
        self.stopped = true;
        process::terminate(&mut self.child, Duration::from_secs(10)).context("stop nginx")
    }

    /// The directory of its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if !self.stopped {
            let _ = process::terminate(&mut self.child, Duration::from_secs(10));
        }
    }
}

impl Ask {
    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::File => "GET of a file",
            Self::Completion => "POST of a chat completion",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::File => "/file",
            Self::Completion => "/v1/chat/completions",
        }
    }
}

const COMPLETION_BODY: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Count."}]}"#;

/// The same request for wrk.
const WRK_POST: &str = r#"
wrk.method = "POST"
wrk.body = '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Count."}]}'
wrk.headers["Host"] = "api.openai.com"
wrk.headers["Content-Type"] = "application/json"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_both_kinds() {
        if Command::new("nginx").arg("-v").output().is_err() {
            eprintln!("skipped: nginx is not installed");
            return;
        }
        let nginx = Nginx::start().unwrap();
        for ask in [Ask::File, Ask::Completion] {
            assert!(nginx.rustls(ask, 2, Duration::from_millis(200)).unwrap() > 0.0);
        }
        nginx.stop().unwrap();
    }
}
