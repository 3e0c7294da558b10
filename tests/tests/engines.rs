//! The container image, run by Docker and by Podman with what `deploy/README.md` says, word for word.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    container::{Bundle, two_calls},
    containerd::IMAGE,
    daemon::{self, SOON},
    engine::Engine,
    machine,
    metrics::{self, Metrics},
    network, packed,
    prometheus::deploy,
    runtime::Reach,
    scenario::Scenario,
    standin::StandIn,
    wait,
};

/// What the command of `deploy/README.md` calls the container and the image.
const NAME: &str = "llm-tracker";
/// Where it lets the metrics be read.
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9435);

#[test]
fn docker_runs_it_as_documented() -> Result<()> {
    machine::docker()?; // It is fetched over the network that is left.
    runs_as_documented(Engine::docker, "docker")
}

#[test]
fn podman_runs_it_as_documented() -> Result<()> {
    runs_as_documented(Engine::podman, "podman")
}

fn runs_as_documented(start: impl FnOnce(Reach) -> Result<Engine>, runtime: &str) -> Result<()> {
    let image = packed::image()?;
    let _exclusive = machine::Exclusive::take()?;
    network::leave()?;
    let standin = StandIn::start()?;
    let _resident = daemon::resident()?;
    let engine = start(Reach::Host)?;
    engine.build(&last_stage()?, &image.path().join(packed::BUNDLE).join("rootfs"), NAME)?;

    // Where no engine is on a host, so that nobody is asked but this one.
    let socket = format!("{}:/engine.sock", engine.socket().display());
    let mut arguments = vec![
        "--env",
        "LLM_TRACKER_METRICS_LABELS=[\"process\", \"container_name\", \"runtime\"]",
        "--env",
        "LLM_TRACKER_ATTRIBUTION_CONTAINER_SOCKETS=[\"docker:///engine.sock\"]",
        "--volume",
        &socket,
    ];
    let mut command = documented()?;
    let version = engine.tell(&["version", "--format", "{{.Client.Version}}"])?;
    let major: u32 = version.split('.').next().unwrap_or_default().parse()?;
    if runtime == "docker" && major < 23 {
        command = by_older_docker(&command)?;
    }
    arguments.extend(command.split_whitespace());
    engine.run_as(&arguments)?;
    let said = || engine.tell(&["logs", NAME]);
    wait::until("it is not ready", SOON, || {
        Ok(metrics::get(METRICS, "/readyz").ok().filter(|it| it.0 == 200))
    })
    .with_context(|| format!("{:?}", said()))?;

    let [outside, inside] = ["outside", "inside"]
        .map(|tag| Scenario::new(120, 45).tag(format!("{runtime}-{tag}-{}", std::process::id())).model());
    Child::spawn(client::curl(&standin, "/v1/chat/completions", &client::chat(&outside)), LIMIT)?
        .wait()?
        .success()?;
    let bundle = Bundle::new("unused", &standin, &[])?;
    engine.import(&bundle.root(), IMAGE)?;
    engine.run("client", &[], IMAGE, &two_calls(&standin, &inside))?;
    for (model, container, runtime) in [(outside, "", ""), (inside, "client", runtime)] {
        let labels = [
            ("gen_ai_request_model", model.as_str()),
            ("process", "curl"),
            ("container_name", container),
            ("runtime", runtime),
        ];
        let read = || Metrics::parse(&metrics::get(METRICS, "/metrics")?.1);
        let tokens = |kind| -> Result<f64> {
            Ok(read()?.sum("llm_tokens_total", &[labels.as_slice(), &[("type", kind)]].concat()))
        };
        let output =
            wait::until("a call is not seen", SOON, || Ok(Some(tokens("output")?).filter(|it| *it > 0.0)))
                .with_context(|| format!("{labels:?}\n{:?}\n{:?}", read().map(|it| it.text), said()))?;
        assert_eq!((tokens("input")?, output), (120.0, 45.0), "of {labels:?}");
    }

    let doctor = engine.tell(&["exec", NAME, "llm-tracker", "doctor"])?;
    ensure!(doctor.contains("llm-tracker can run here"), "{doctor}");
    // Then it is killed, and its status another.
    engine.tell(&["stop", "--time", "5", NAME])?;
    let status = engine.tell(&["inspect", "--format", "{{.State.ExitCode}}", NAME])?;
    ensure!(status.trim() == "0", "it ended with {status}; it said: {}", said()?);
    Ok(())
}

/// What the build of the image ends with: everything before it is to make a root folder, which is there.
fn last_stage() -> Result<String> {
    let file = fs::read_to_string(deploy("container/Dockerfile"))?;
    let at = file.rfind("\nFROM ").context("no stages")?;
    Ok(format!("FROM scratch AS build\nCOPY . /image/\n{}", &file[at..]))
}

/// The arguments of `docker run` in `deploy/README.md`.
fn documented() -> Result<String> {
    let text = fs::read_to_string(deploy("README.md"))?;
    let (_, command) = text.split_once("\n# docker run ").context("no command")?;
    let (command, _) = command.split_once("\n```").context("no end")?;
    Ok(command.replace("\\\n", " "))
}

/// The same for a Docker before 23, as `deploy/README.md` says.
fn by_older_docker(documented: &str) -> Result<String> {
    let unknown = ["BPF", "PERFMON", "CHECKPOINT_RESTORE"].map(|name| format!("--cap-add {name} "));
    ensure!(unknown.iter().all(|option| documented.contains(option)), "{documented}");
    let known = unknown.iter().fold(documented.to_owned(), |command, option| command.replace(option, ""));
    Ok(format!("--cap-add SYS_ADMIN {known}"))
}
