//! A real Prometheus server, and `promtool`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    child::{Child, Finished},
    daemon::free_address,
    machine, metrics,
};

/// How long it may take to start, on a slow and busy machine.
const READY: Duration = Duration::from_secs(60);
/// How long it may take until a scrape shows what has to be there.
const SOON: Duration = Duration::from_secs(30);
/// Longest life of a server in a test.
const LIFE: Duration = Duration::from_secs(600);

/// One element of an answer: its labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// All labels, the name of the metric among them.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// A running Prometheus, which scrapes one daemon every second with the rules of `deploy/prometheus`. It
/// is killed and its data are gone when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Where it is not installed or does not come up.
    pub fn start(target: SocketAddr) -> Result<Self> {
        Self::start_with(target, "")
    }

    /// The same with more settings of the job, indented as they are in the example.
    ///
    /// # Errors
    ///
    /// Where it is not installed or does not come up.
    pub fn start_with(target: SocketAddr, job: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("llm-tracker-prometheus-").tempdir()?;
        let config = fs::read_to_string(deploy("prometheus/prometheus.yml"))?;
        let config = [
            ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
            ("evaluation_interval: 30s", "evaluation_interval: 1s".to_owned()),
            ("127.0.0.1:9435", target.to_string()),
            ("    honor_labels: true\n", format!("    honor_labels: true\n{job}")),
            ("  - limits.yml", format!("  - {}", deploy("prometheus/limits.yml").display())),
            ("  - rules.yml", format!("  - {}", deploy("prometheus/rules.yml").display())),
            ("  - alerts.yml", format!("  - {}", deploy("prometheus/alerts.yml").display())),
        ]
        .into_iter()
        .try_fold(config, |config, (from, to)| {
            ensure!(config.contains(from), "the example has no `{from}`");
            Ok(config.replacen(from, &to, 1))
        })?;
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config)?;
        let address = free_address()?;
        let mut command = Command::new("/usr/bin/prometheus");
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .arg("--log.level=warn");
        let mut child = Child::spawn(command, LIFE)?;
        let deadline = Instant::now() + READY;
        while !metrics::get(address, "/-/ready").is_ok_and(|(status, _)| status == 200) {
            ensure!(child.is_running()?, "Prometheus ended; it said: {}", child.stderr()?);
            ensure!(Instant::now() < deadline, "Prometheus is not ready; it said: {}", child.stderr()?);
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { child, address, _folder: folder })
    }

    /// The value of an expression now.
    ///
    /// # Errors
    ///
    /// Where it is not one, or is neither a vector nor a scalar.
    pub fn query(&self, expression: &str) -> Result<Vec<Element>> {
        let data = self.api("query", &[("query", expression)])?;
        let element = |labels: &Value, value: &Value| {
            Ok(Element {
                labels: serde_json::from_value(labels.clone())?,
                value: value[1].as_str().context("no value")?.parse()?,
            })
        };
        match data["resultType"].as_str() {
            Some("scalar") => Ok(vec![element(&serde_json::json!({}), &data["result"])?]),
            Some("vector") => {
                let results = data["result"].as_array().context("no results")?;
                results.iter().map(|result| element(&result["metric"], &result["value"])).collect()
            }
            other => bail!("`{expression}` is a {other:?}"),
        }
    }

    /// The exemplars of the last hour of the series in an expression: their labels.
    ///
    /// # Errors
    ///
    /// Where it is no expression.
    pub fn exemplars(&self, expression: &str) -> Result<Vec<BTreeMap<String, String>>> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let (start, end) = ((now - 3600).to_string(), (now + 60).to_string());
        let data = self.api("query_exemplars", &[("query", expression), ("start", &start), ("end", &end)])?;
        let series = data.as_array().context("no series")?.iter();
        let exemplars = series.filter_map(|series| series["exemplars"].as_array()).flatten();
        exemplars.map(|exemplar| Ok(serde_json::from_value(exemplar["labels"].clone())?)).collect()
    }

    /// The values of a label of the series that `matching` picks.
    ///
    /// # Errors
    ///
    /// Where it is no selector.
    pub fn label_values(&self, label: &str, matching: &str) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.api(&format!("label/{label}/values"), &[("match[]", matching)])?)?)
    }

    /// All rules that it has loaded, in the form of its API.
    ///
    /// # Errors
    ///
    /// Where it does not answer.
    pub fn rules(&self) -> Result<Vec<Value>> {
        let data = self.api("rules", &[])?;
        let groups = data["groups"].as_array().context("no groups")?;
        Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
    }

    /// Waits until an expression has this value.
    ///
    /// # Errors
    ///
    /// Where it has another one for too long.
    pub fn wait_for(&self, expression: &str, expected: f64) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let found = self.query(expression)?;
            if matches!(found.as_slice(), [one] if (one.value - expected).abs() < 1e-9) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "`{expression}` is {found:?}, not {expected}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Its log.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn log(&self) -> Result<String> {
        self.child.stderr()
    }

    fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut url = format!("/api/v1/{path}?");
        for (name, value) in parameters {
            write!(url, "{}={}&", percent_encoded(name), percent_encoded(value))?;
        }
        let (status, body) = metrics::get(self.address, &url)?;
        let mut answer: Value = serde_json::from_str(&body).with_context(|| format!("{status}: {body}"))?;
        ensure!(answer["status"] == "success", "{path} of {parameters:?}: {body}");
        Ok(answer["data"].take())
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A file of `deploy/`.
#[must_use]
pub fn deploy(file: &str) -> PathBuf {
    machine::crate_folder().with_file_name("deploy").join(file)
}

/// `promtool`, in the folder of the rules, with something to read.
///
/// # Errors
///
/// Where it cannot be started, or complains.
pub fn promtool(arguments: &[&str], input: &str) -> Result<Finished> {
    let mut command = Command::new("/usr/bin/promtool");
    command.args(arguments).current_dir::<&Path>(&deploy("prometheus"));
    let finished = Child::spawn_with_input(command, input.as_bytes(), READY)?.wait()?.success();
    finished.with_context(|| format!("promtool {}", arguments.join(" ")))
}
