//! A real Prometheus scrapes the daemon under load. What it holds then is the stand-in's account; every
//! rule and every query of the dashboards in `deploy/` has an answer there.

use std::{
    collections::BTreeMap,
    fs,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    container::Bundle,
    daemon::Daemon,
    machine, metrics,
    prometheus::{Element, Prometheus, deploy, promtool},
    proxy::Proxy,
    scenario::{Scenario, mark},
    standin::{Served, StandIn},
};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// The calls of this run, in Prometheus' words.
fn ours() -> String {
    format!("gen_ai_request_model=~\"standin-.*-tag{}.*\"", mark())
}

#[test]
fn promtool_agrees_with_what_is_deployed() -> Result<()> {
    promtool(&["check", "config", "prometheus.yml"], "")?;
    promtool(&["check", "rules", "limits.yml", "rules.yml", "alerts.yml"], "")?;
    promtool(&["test", "rules", "rules_test.yml"], "")?;
    // A rule that nobody tests could say anything.
    let tests = fs::read_to_string(deploy("prometheus/rules_test.yml"))?;
    let alerts = fs::read_to_string(deploy("prometheus/alerts.yml"))?;
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        ensure!(tests.contains(&format!("alertname: {alert}\n        exp_alerts")), "no test of {alert}");
    }
    Ok(())
}

#[test]
fn a_server_that_scrapes_under_load_agrees_with_the_stand_in() -> Result<()> {
    let standin = StandIn::start()?;
    let proxy = Proxy::start(&standin)?;
    let mut daemon = Daemon::start_with(
        r#"[metrics]
        labels = [
            "process", "cgroup", "container", "user", {from = "uid", name = "team", map = [["0", "operators"]]},
            {from = "uid", name = "namespace", map = [["0", "ns"]]}, {from = "process", name = "agent"},
            {from = "process", name = "workload"},
        ]"#,
        "info",
    )?;
    let prometheus = Prometheus::start(daemon.metrics_address())?;
    let load = Load::new(&standin, &proxy)?;
    // A series has to be there before its increase can be seen.
    for _ in 0..2 {
        load.run()?;
        let served = standin.served();
        daemon.wait_for(served.len(), |call| call.role == "client" && call.is_of_this_run())?;
        Account::of(&served).has_come(&prometheus)?;
        thread::sleep(Duration::from_secs(2));
    }
    Account::of(&standin.served()).agrees(&prometheus)?;
    let page = daemon.metrics()?.text;
    let said = promtool(&["check", "metrics"], &page)?;
    ensure!(said.stdout.is_empty() && said.stderr.is_empty(), "{}{}", said.stdout, said.stderr);

    rules_have_values(&prometheus)?;
    for dashboard in ["host", "fleet"] {
        Dashboard::load(dashboard)?.has_data(&prometheus)?;
    }
    ensure!(prometheus.log()?.is_empty(), "{}", prometheus.log()?);
    daemon.stop()?;
    Ok(())
}

/// A strict parser understands the page in OpenMetrics, and a server that scrapes it finds a call by its
/// exemplar.
#[test]
fn an_exemplar_names_a_call() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let prometheus = Prometheus::start(daemon.metrics_address())?;
    let slow = Scenario { wait: Some(30), delay: Some(20), ..Scenario::new(11, 22) };
    let client = client::run_curl(&standin, CHAT, &client::chat_stream(&slow.ours("exemplar").model()))?;
    let call = daemon.wait_for_one(client.pid)?;
    let expected = BTreeMap::from([("response_id".to_owned(), call.response_id.context("no id")?)]);
    for metric in ["duration", "time_to_first_chunk"] {
        let selector = format!("gen_ai_client_operation_{metric}_seconds_bucket{{{}}}", ours());
        let deadline = Instant::now() + Duration::from_secs(30);
        while !prometheus.exemplars(&selector)?.contains(&expected) {
            ensure!(
                Instant::now() < deadline,
                "no exemplar of {metric}: {:?}",
                prometheus.exemplars(&selector)?
            );
            thread::sleep(Duration::from_millis(200));
        }
    }
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let (status, head, page) = metrics::get_as(daemon.metrics_address(), "/metrics", accept)?;
    ensure!(status == 200 && head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    let mut parser = Command::new(machine::python()?);
    parser.arg(client::script_path("open_metrics.py"));
    let said = Child::spawn_with_input(parser, page.as_bytes(), LIMIT)?.wait()?.success()?;
    ensure!(said.stdout.contains("exemplars") && !said.stdout.contains(" 0 exemplars"), "{}", said.stdout);
    ensure!(prometheus.log()?.is_empty(), "{}", prometheus.log()?);
    daemon.stop()?;
    Ok(())
}

/// Clients that run beside each other and leave nothing out that is on a dashboard.
struct Load<'a> {
    standin: &'a StandIn,
    proxy: &'a Proxy,
    /// Path and body of one `curl` each.
    requests: Vec<(&'static str, Value)>,
    paid: Value,
    container: Bundle,
    streams: String,
}

impl<'a> Load<'a> {
    fn new(standin: &'a StandIn, proxy: &'a Proxy) -> Result<Self> {
        let slow = |scenario: Scenario| Scenario { wait: Some(30), delay: Some(20), ..scenario };
        let failing =
            |status| Scenario { status: Some(status), ..Scenario::new(5, 6) }.ours("failing").model();
        let mut no_usage = client::chat_stream(&slow(Scenario::new(70, 80)).ours("silent").model());
        no_usage["stream_options"] = Value::Null;
        let cached = slow(Scenario::new(5000, 210).cached(4000).created(300)).ours("cached").model();
        let requests = vec![
            (CHAT, client::chat(&Scenario::new(120, 45).cached(40).ours("plain").model())),
            (
                CHAT,
                client::chat_stream(&slow(Scenario::new(900, 310).reasoning(250)).ours("thinking").model()),
            ),
            (CHAT, no_usage),
            (CHAT, client::chat(&failing(429))),
            (CHAT, client::chat(&failing(500))),
            ("/v1/messages", client::messages(&cached, true)),
            ("/v1/messages", client::messages(&failing(529), false)),
            (
                "/v1/embeddings",
                json!({"model": Scenario::new(33, 0).ours("embedding").model(), "input": client::PROMPT}),
            ),
        ];
        let paid =
            client::chat(&Scenario { cost: Some(1250), ..Scenario::new(1000, 100) }.ours("paid").model());
        let boxed = client::chat(&Scenario::new(77, 7).ours("boxed").model());
        // A second in vain: time for the daemon to hook a libssl that it has never seen.
        let in_vain = ["--silent", "--retry", "1", "--retry-delay", "1", "--retry-connrefused"];
        let mut arguments: Vec<_> =
            in_vain.iter().chain(&["http://127.0.0.1:9/", "--next"]).map(|it| (*it).to_owned()).collect();
        arguments.extend(client::curl_arguments(&format!("{}{CHAT}", standin.url()), &boxed));
        let container = Bundle::new(&format!("prometheus-{}", process::id()), standin, &arguments)?;
        let streams = slow(Scenario::new(17, 23)).ours("n").model();
        Ok(Self { standin, proxy, requests, paid, container, streams })
    }

    /// A client that asks again what has failed, word for word.
    fn stubborn(&self) -> Command {
        let failing =
            client::chat(&Scenario { status: Some(503), ..Scenario::new(5, 6) }.ours("failing").model());
        let mut command = client::curl(self.standin, CHAT, &failing);
        command.arg("--next");
        command.args(client::curl_arguments(&format!("{}{CHAT}", self.standin.url()), &failing));
        command
    }

    fn run(&self) -> Result<()> {
        let Self { standin, proxy, requests, paid, container, streams } = self;
        // Many at once in the background, while others come and go.
        let many = Child::spawn(client::python(standin, "streams.py", &["50", streams])?, LIMIT)?;
        for _ in 0..4 {
            let mut commands: Vec<_> =
                requests.iter().map(|(path, body)| client::curl(standin, path, body)).collect();
            commands.push(client::curl_by_real_name(
                standin,
                "openrouter.ai",
                "/api/v1/chat/completions",
                paid,
            ));
            let mut served = client::command(standin, "/usr/bin/curl");
            served.args(client::curl_arguments(
                &format!("{}{CHAT}", proxy.url()),
                &client::chat_stream(
                    &Scenario { delay: Some(5), ..Scenario::new(11, 12) }.ours("served").model(),
                ),
            ));
            commands.push(served);
            commands.push(self.stubborn());
            let running =
                commands.into_iter().map(|it| Child::spawn(it, LIMIT)).collect::<Result<Vec<_>>>()?;
            for child in running {
                child.wait()?.success()?;
            }
        }
        container.run()?.wait()?.success()?;
        many.wait()?.success()?;
        Ok(())
    }
}

/// What the stand-in has answered, added up.
#[derive(Debug)]
struct Account {
    /// By expression.
    expected: Vec<(String, f64)>,
}

impl Account {
    fn of(served: &[Served]) -> Self {
        let (ours, calls) = (ours(), served.len() as f64);
        // The team is the daemon's word, not the target's.
        let mut expected = ["", "team=\"operators\"", "user=\"root\"", "instance!=\"\""]
            .map(|label| (format!("sum(llm_calls_total{{{ours},{label}}})"), calls))
            .to_vec();
        let mut by_status = BTreeMap::<u16, usize>::new();
        let mut by_model = BTreeMap::<&str, usize>::new();
        for answer in served {
            *by_status.entry(answer.scenario.status.unwrap_or(200)).or_default() += 1;
            *by_model.entry(&answer.model).or_default() += 1;
        }
        for (status, count) in by_status {
            expected.push((format!("sum(llm_calls_total{{{ours},status=\"{status}\"}})"), count as f64));
        }
        for (model, count) in by_model {
            let calls = format!(
                "sum(gen_ai_client_operation_duration_seconds_count{{gen_ai_request_model=\"{model}\"}})"
            );
            expected.push((calls, count as f64));
        }
        let reported: Vec<_> = served.iter().filter(|answer| answer.reports_usage).collect();
        let tokens =
            |of: fn(&Scenario) -> u64| reported.iter().map(|it| of(&it.scenario)).sum::<u64>() as f64;
        // What was estimated is no part of the account.
        let labels = |kind| format!("{ours},type=\"{kind}\",usage_source=\"reported\"");
        for (kind, sum) in [
            ("input", tokens(|it| it.input)),
            ("cache_read", tokens(|it| it.cached.unwrap_or(0))),
            ("cache_creation", tokens(|it| it.created.unwrap_or(0))),
            ("output", tokens(|it| it.output)),
            ("reasoning", tokens(|it| it.reasoning.unwrap_or(0))),
        ] {
            expected.push((format!("sum(llm_tokens_total{{{}}})", labels(kind)), sum));
        }
        let cost = tokens(|it| it.cost.unwrap_or(0)) / 1e6;
        expected.push((format!("sum(llm_cost_usd_total{{{ours}}})"), cost));
        let repeated = served.iter().filter(|it| it.scenario.status == Some(503)).count() as f64 / 2.0;
        expected.push((format!("sum(llm_retries_total{{{ours}}})"), repeated));
        let streamed =
            |answer: &&Served| answer.streaming && answer.scenario.status.is_none_or(|status| status < 400);
        let chunks = "gen_ai_client_operation_time_to_first_chunk_seconds_count";
        expected.push((format!("sum({chunks}{{{ours}}})"), served.iter().filter(streamed).count() as f64));
        Self { expected }
    }

    /// Waits until Prometheus has scraped what was counted.
    fn has_come(&self, prometheus: &Prometheus) -> Result<()> {
        self.expected.iter().try_for_each(|(expression, value)| prometheus.wait_for(expression, *value))
    }

    /// Once nothing is on its way any more.
    fn agrees(&self, prometheus: &Prometheus) -> Result<()> {
        for (expression, expected) in &self.expected {
            let found = prometheus.query(expression)?;
            ensure!(
                matches!(found.as_slice(), [one] if (one.value - expected).abs() < 1e-9),
                "`{expression}` is {found:?}, not {expected}"
            );
        }
        Ok(())
    }
}

/// Whether there is anything to be drawn.
fn is_data(elements: &[Element]) -> bool {
    elements.iter().any(|element| element.value.is_finite())
}

/// Every rule is evaluated without an error, and every recording rule has a value.
fn rules_have_values(prometheus: &Prometheus) -> Result<()> {
    let rules = prometheus.rules()?;
    ensure!(rules.len() > 40, "only {} rules are loaded", rules.len());
    for rule in rules {
        ensure!(rule["health"] == "ok", "{rule}");
        let name = rule["name"].as_str().context("a rule without a name")?;
        if rule["type"] == "recording" {
            ensure!(is_data(&prometheus.query(name)?), "{name} has no value: {}", rule["query"]);
        }
    }
    Ok(())
}

/// A dashboard of `deploy/grafana`.
struct Dashboard {
    name: &'static str,
    model: Value,
}

impl Dashboard {
    fn load(name: &'static str) -> Result<Self> {
        let text = fs::read_to_string(deploy(&format!("grafana/{name}.json")))?;
        Ok(Self { name, model: serde_json::from_str(&text)? })
    }

    /// Every panel that asks for something, those in folded rows too.
    fn panels<'a>(&'a self) -> Vec<&'a Value> {
        let of = |value: &'a Value| value["panels"].as_array().into_iter().flatten();
        of(&self.model)
            .flat_map(|it| std::iter::once(it).chain(of(it)))
            .filter(|it| it["type"] != "row")
            .collect()
    }

    /// Asks Prometheus everything that Grafana would ask it.
    fn has_data(&self, prometheus: &Prometheus) -> Result<()> {
        let Self { name, model } = self;
        let variables = model["templating"]["list"].as_array().context("no variables")?;
        for variable in variables.iter().filter(|it| it["type"] == "query") {
            let query = variable["query"]["query"].as_str().context("no query")?;
            let (matching, label) = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')')?.rsplit_once(", "))
                .with_context(|| format!("{name}: `{query}` is not understood"))?;
            let values = prometheus.label_values(label, &expanded(matching))?;
            ensure!(!values.is_empty(), "{name}: `{query}` has no value");
        }
        let panels = self.panels();
        ensure!(panels.len() > 8, "{name} has only {} panels", panels.len());
        for panel in panels {
            let title = panel["title"].as_str().context("a panel without a title")?;
            let targets = panel["targets"].as_array().context("a panel without queries")?;
            ensure!(!targets.is_empty(), "{name}: {title} asks for nothing");
            for target in targets {
                let expression = expanded(target["expr"].as_str().context("no expression")?);
                ensure!(!expression.contains('$'), "{name}: {title}: a variable is left in {expression}");
                let deadline = Instant::now() + Duration::from_secs(5);
                while !is_data(&prometheus.query(&expression).with_context(|| title.to_owned())?) {
                    ensure!(Instant::now() < deadline, "{name}: {title}: no data for {expression}");
                    thread::sleep(Duration::from_millis(500));
                }
            }
        }
        Ok(())
    }
}

/// An expression with Grafana's variables replaced as Grafana would, everything being chosen.
fn expanded(expression: &str) -> String {
    let all = ["job", "team", "instance", "provider", "model"];
    let expression =
        expression.replace("$__rate_interval", "2m").replace("$__range", "5m").replace("$__interval", "15s");
    all.iter().fold(expression, |expression, name| expression.replace(&format!("${name}"), ".*"))
}
