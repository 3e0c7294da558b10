//! nginx, which ends TLS with libssl in front of a plain port.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{child::Child, daemon::free_address, standin::StandIn};

/// A running nginx of one process. It stops when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts it with the stand-in's certificate.
    ///
    /// # Errors
    ///
    /// Where it does not come up.
    pub fn start(standin: &StandIn) -> Result<Self> {
        Self::start_with(standin, standin.plain_address(), "")
    }

    /// The same in front of another server.
    ///
    /// # Errors
    ///
    /// Where it does not come up.
    pub fn start_before(server: SocketAddr, standin: &StandIn) -> Result<Self> {
        Self::start_with(standin, server, "")
    }

    /// The same, offering HTTP/2 to its clients.
    ///
    /// # Errors
    ///
    /// Where it does not come up.
    pub fn start_http2(standin: &StandIn) -> Result<Self> {
        Self::start_with(standin, standin.plain_address(), "http2")
    }

    fn start_with(standin: &StandIn, plain: SocketAddr, protocol: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("llm-tracker-nginx-").tempdir()?;
        let address = free_address()?;
        let identity = standin.identity();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; client_max_body_size 64m;
               client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
               fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
               server {{
                 listen {address} ssl {protocol};
                 ssl_certificate {certificate}; ssl_certificate_key {key};
                 location / {{
                   proxy_pass http://{plain}; proxy_http_version 1.1;
                   proxy_set_header Host $http_host; proxy_set_header Connection \"\";
                   proxy_buffering off;
                 }}
               }}
             }}",
            folder = folder.path().display(),
            certificate = identity.certificate().display(),
            key = identity.key().display(),
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        let mut child = Child::spawn(command, Duration::from_secs(600))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            ensure!(child.is_running()?, "nginx ended; it said: {}", child.stderr()?);
            ensure!(Instant::now() < deadline, "nginx does not listen; it said: {}", child.stderr()?);
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { child, address, _folder: folder })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// `https://localhost:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}
