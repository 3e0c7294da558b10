//! The metrics address under a web configuration, asked by clients that know nothing of us: `curl` with a
//! certificate and a password, and Prometheus.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    child::{Child, Finished},
    client::LIMIT,
    daemon::{SOON, free_address, resident},
    machine::{self, Exclusive},
    prometheus::Prometheus,
    tls::Identity,
};

const PASSWORD: &str = "scrape-password";
/// bcrypt's of it, by libxcrypt.
const HASH: &str = "$2b$04$eBAUd8aATQTh2oJpqlQZ..e.YuPRubp2Vj96eCmUMOha1xTXw8F7W";

/// `curl`, which trusts the authority and nothing else.
fn curl(identity: &Identity, address: SocketAddr, arguments: &[&str]) -> Result<Finished> {
    let mut command = Command::new("/usr/bin/curl");
    command.env_clear().args(["--silent", "--show-error", "--max-time", "20", "--cacert"]);
    command.arg(identity.authority()).args(arguments);
    command.arg(format!("https://{address}/metrics"));
    Child::spawn(command, LIMIT)?.wait()
}

/// The same with the client's certificate.
fn curl_with_certificate(identity: &Identity, address: SocketAddr, user: &str) -> Result<Finished> {
    let (certificate, key) = (identity.client_certificate(), identity.client_key());
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    curl(
        identity,
        address,
        &["--cert", &certificate, "--key", &key, "--user", user, "--write-out", "%{http_code}"],
    )
}

#[test]
fn curl_with_a_certificate_and_prometheus_with_a_password() -> Result<()> {
    let identity = Identity::new()?;
    let folder = tempfile::tempdir()?;
    let web = folder.path().join("web.yml");
    let tls = format!(
        "tls_server_config:\n  cert_file: {}\n  key_file: {}\n",
        identity.certificate().display(),
        identity.key().display()
    );
    let mutual = format!(
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {}\n",
        identity.authority().display()
    );
    let users = format!("basic_auth_users:\n  prometheus: {HASH}\n");
    fs::write(&web, format!("{tls}{mutual}{users}"))?;

    let _exclusive = Exclusive::take()?;
    let _resident = resident()?;
    let address = free_address()?;
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(["run", "--metrics-listen", &address.to_string(), "--metrics-web-config"]).arg(&web);
    let daemon = Child::spawn(command, 4 * LIMIT)?;
    let begun = Instant::now();
    while !daemon.stderr()?.contains("metrics at https://") {
        ensure!(begun.elapsed() < LIMIT, "not ready; it said: {}", daemon.stderr()?);
        thread::sleep(Duration::from_millis(50));
    }

    let user = format!("prometheus:{PASSWORD}");
    let good = curl_with_certificate(&identity, address, &user)?.success()?;
    ensure!(
        good.stdout.ends_with("200") && good.stdout.contains("llm_tracker_build_info"),
        "{}",
        good.stdout
    );
    let wrong = curl_with_certificate(&identity, address, "prometheus:guess")?.success()?;
    ensure!(wrong.stdout.ends_with("401") && !wrong.stdout.contains("llm_tracker"), "{}", wrong.stdout);
    let without = curl(&identity, address, &["--user", &user])?;
    ensure!(!without.status.success() && without.stdout.is_empty(), "{}", without.stdout);

    // What it says changes while it runs: certificates are no longer asked for.
    fs::write(&web, format!("{tls}{users}"))?;
    let job = format!(
        "    scheme: https\n    tls_config:\n      ca_file: {}\n    basic_auth:\n      username: prometheus\n      \
         password: {PASSWORD}\n",
        identity.authority().display()
    );
    thread::sleep(Duration::from_secs(1));
    let prometheus = Prometheus::start_with(address, &job)?;
    prometheus.wait_for("up{job=\"llm-tracker\"}", 1.0)?;
    prometheus.wait_for("count(llm_tracker_build_info)", 1.0)?;

    // The daemon speaks TLS itself, and is none of its own business.
    let log = daemon.stderr()?;
    ensure!(!log.lines().any(|line| line.contains("object=") && line.contains("llm-tracker")), "{log}");
    daemon.signal(libc::SIGTERM)?;
    let ended = Instant::now();
    daemon.wait()?.success()?;
    ensure!(ended.elapsed() < SOON);
    Ok(())
}

#[test]
fn what_everybody_can_read_is_warned_of() -> Result<()> {
    let _exclusive = Exclusive::take()?;
    let port = free_address()?.port();
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(["run", "--metrics-listen", &format!("0.0.0.0:{port}")]);
    let daemon = Child::spawn(command, LIMIT)?;
    let begun = Instant::now();
    while !daemon.stderr()?.contains("watching") {
        ensure!(begun.elapsed() < LIMIT, "not ready; it said: {}", daemon.stderr()?);
        thread::sleep(Duration::from_millis(50));
    }
    let log = daemon.stderr()?;
    ensure!(log.contains("WARN") && log.contains("metrics.web_config"), "{log}");
    daemon.signal(libc::SIGTERM)?;
    daemon.wait()?.success()?;
    Ok(())
}
