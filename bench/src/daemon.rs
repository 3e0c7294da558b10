//! The daemon as a child, built for release, seen from outside: its metrics, memory and CPU time.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{self, Resident};

/// Where `cargo xtask build` leaves the daemon, from the workspace's root.
pub const BINARY: &str = "target/release/llm-tracker";

/// The daemon's counter of plaintext that was lost on the way up.
pub const LOST_BYTES: &str = "llm_tracker_lost_bytes_total";

/// The daemon's counter of plaintext that passed the probes of connections that are not ignored.
pub const KERNEL_BYTES: &str = "llm_tracker_kernel_bytes_total";
/// The daemon's counter of connections by verdict.
pub const DECIDED: &str = "llm_tracker_connections_decided_total";

/// Seconds of a day.
pub const DAY: f64 = 86_400.0;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(60);

/// A running daemon.
pub struct Daemon {
    child: Child,
    address: SocketAddr,
    stopped: bool,
    /// Its log and its events.
    directory: tempfile::TempDir,
}

impl Daemon {
    /// Starts `binary` and waits until it says that it is ready.
    ///
    /// # Errors
    /// Where it does not start; the end of its log is in the message.
    pub fn start(binary: &Path) -> Result<Self> {
        ensure!(binary.is_file(), "{} is missing: run `cargo xtask build` first", binary.display());
        let directory = tempfile::tempdir()?;
        let address = free_address()?;
        let log = File::create(directory.path().join("log"))?;
        let child = Command::new(binary)
            .arg("run")
            .arg("--events")
            .arg(directory.path().join("events"))
            .arg("--metrics-listen")
            .arg(address.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut daemon = Self { child, address, stopped: false, directory };
        let deadline = Instant::now() + START;
        loop {
            if get(address, "/readyz").is_ok() {
                return Ok(daemon);
            }
            if daemon.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("the daemon is not ready:\n{}", daemon.log());
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// All that it has logged.
    #[must_use]
    pub fn whole_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn log(&self) -> String {
        let log = self.whole_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The number of lines in its event log that contain all of `texts`.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn events_with(&self, texts: &[&str]) -> Result<usize> {
        Ok(self.events()?.lines().filter(|line| texts.iter().all(|text| line.contains(text))).count())
    }

    /// Its event log.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn events(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.directory.path().join("events"))?)
    }

    /// Its metrics at this moment.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&get(self.address, "/metrics")?))
    }

    /// Its resident memory.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn resident(&self) -> Result<Resident> {
        process::resident(self.child.id())
    }

    /// Time it has spent on a CPU since its start.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.child.id())
    }

    /// Stops it as a service manager would.
    ///
    /// # Errors
    /// Where it does not end well.
    pub fn stop(mut self) -> Result<()> {
        self.stopped = true;
        process::terminate(&mut self.child, STOP).with_context(|| format!("stop the daemon:\n{}", self.log()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.stopped {
            let _ = process::terminate(&mut self.child, STOP);
        }
    }
}

/// When a daemon with this log has hooked the file whose path ends so, seconds of the day.
#[must_use]
pub fn hooked_at(log: &str, file: &str) -> Option<f64> {
    let line = log.lines().find(|line| line.contains(" hooked ") && line.contains(&format!("{file}\"")))?;
    let (_, time) = line.split_once('T')?;
    let (time, _) = time.split_once('Z')?;
    time.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

/// A loopback address that was free a moment ago.
///
/// # Errors
/// Where there is no loopback.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path} answered {:?}", answer.lines().next());
    Ok(answer)
}

/// A scrape: each series by its text before the value.
#[derive(Debug, Default)]
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            series
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
                .collect(),
        )
    }

    /// How many series about calls there are.
    #[must_use]
    pub fn series(&self) -> usize {
        self.0.keys().filter(|series| !series.starts_with("llm_tracker_")).count()
    }

    /// The series that have grown since an earlier scrape, and by how much.
    #[must_use]
    pub fn grown_since(&self, before: &Self) -> BTreeMap<&str, f64> {
        let grown = |(series, value): (&String, &f64)| value - before.0.get(series).unwrap_or(&0.0);
        let grown = self.0.iter().map(|it| (it.0.as_str(), grown(it)));
        grown.filter(|(_, grown)| *grown > 0.0).collect()
    }

    /// The sum of all series of a name whose labels contain `label` (empty: all).
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        self.0
            .iter()
            .filter(|(series, _)| {
                let (base, labels) = series.split_once('{').unwrap_or((series, ""));
                base == name && labels.contains(label)
            })
            .map(|(_, value)| value)
            .sum()
    }
}

/// The daemon's binary: `given`, else the one in this workspace.
#[must_use]
pub fn binary(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(BINARY))
}

#[cfg(test)]
mod tests {
    use super::{Metrics, hooked_at};

    #[test]
    fn the_log_tells_when_a_file_was_hooked() {
        let log =
            "2026-01-02T03:04:05.500000Z  INFO hooked object=\"/tmp/x/n5x7/libssl.so.3\" stack=\"openssl\"\n";
        assert_eq!(hooked_at(log, "/n5x7/libssl.so.3"), Some(3.0 * 3600.0 + 4.0 * 60.0 + 5.5));
        assert_eq!(hooked_at(log, "/n5x8/libssl.so.3"), None);
        assert_eq!(hooked_at(log, "/n5x7/libssl.so"), None);
        assert_eq!(hooked_at(&log.replace(" hooked", " unhooked"), "/n5x7/libssl.so.3"), None);
    }

    #[test]
    fn series_are_summed_by_name_and_label() {
        let metrics = Metrics::parse("# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\nab 5\n");
        assert_eq!(metrics.sum("a", ""), 7.0);
        assert_eq!(metrics.sum("a", "x=\"2\""), 4.0);
        assert_eq!(metrics.sum("ab", ""), 5.0);
    }
}
