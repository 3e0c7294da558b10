//! Containers and pods by the names that people use, told by a real containerd, Docker and Podman.

use std::{
    collections::BTreeMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    compare::all_exact,
    container::{Bundle, copy_program, two_calls},
    containerd::{Containerd, IMAGE},
    daemon::{Daemon, SOON},
    engine::Engine,
    machine::Exclusive,
    runtime::Reach,
    scenario::Scenario,
    standin::StandIn,
};
use serde_json::json;

const POD_UID: &str = "0f4e0b1c-3c5e-4b1f-8a53-1c2d3e4f5a6b";

/// A stand-in, a daemon that knows of a runtime's socket, and a root folder for containers.
struct Host {
    standin: StandIn,
    daemon: Daemon,
    bundle: Bundle,
}

impl Host {
    /// The machine is taken before the runtime is started, whose programs use TLS themselves.
    fn start(machine: Exclusive, socket: &str, filters: &str) -> Result<Self> {
        let standin = StandIn::start()?;
        let config = format!(
            "[attribution]\n\
             container_sockets = [{socket:?}]\n\
             container_labels = [\"tier\"]\n\
             [metrics]\n\
             labels = [\"container_name\", \"image\", \"pod\", \"namespace\", \"workload\",\n\
                       {{from = \"container_label:team\", name = \"team\"}}]\n\
             {filters}"
        );
        let daemon = Daemon::start_alone(machine, &config, "info")?;
        let bundle = Bundle::new("unused", &standin, &[])?;
        copy_program(&bundle.root(), Path::new("/usr/bin/sleep"))?;
        Ok(Self { standin, daemon, bundle })
    }

    /// With a containerd.
    fn with_containerd() -> Result<(Self, Containerd)> {
        let machine = Exclusive::take()?;
        let containerd = Containerd::start()?;
        Ok((
            Self::start(machine, &format!("containerd://{}", containerd.socket().display()), "")?,
            containerd,
        ))
    }

    fn call(&mut self, model: &str) -> Result<CallLine> {
        let call =
            self.daemon.wait_for(1, |call| call.model.as_deref() == Some(model))?.pop().context("no call")?;
        all_exact(std::slice::from_ref(&call), &self.standin)?;
        Ok(call)
    }

    /// The labels that say whose a call was, of its output tokens.
    fn labels(&self, model: &str) -> Result<BTreeMap<String, String>> {
        let metrics = self.daemon.metrics()?;
        let labels = [("gen_ai_request_model", model), ("type", "output")];
        Ok(metrics.select("llm_tokens_total", &labels).next().context("no tokens")?.labels.clone())
    }
}

#[test]
fn a_container_that_ctr_runs_has_its_name_and_labels() -> Result<()> {
    let (mut host, containerd) = Host::with_containerd()?;
    let model = Scenario::new(12, 34).tag("ctr").model();
    let cgroup = containerd.cgroup("box");
    let options = ["--cgroup", &cgroup, "--label", "team=red", "--label", "tier=front", "--label", "other=x"];
    containerd.run("default", &options, &host.bundle.root(), "box", &two_calls(&host.standin, &model))?;

    let call = host.call(&model)?;
    let container = call.container.context("no container")?;
    assert_eq!((container.id.as_str(), container.name.as_deref()), ("box", Some("box")));
    assert_eq!(container.runtime.as_deref(), Some("containerd"));
    let picked = [("team", "red"), ("tier", "front")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(container.labels, BTreeMap::from(picked), "those that were picked, and no other");
    assert_eq!(call.cgroup.as_deref(), Some(cgroup.as_str()));
    assert_eq!(call.process.exe.as_deref(), Some("/usr/bin/curl"));
    let labels = host.labels(&model)?;
    assert_eq!((labels["container_name"].as_str(), labels["team"].as_str()), ("box", "red"));
    host.daemon.stop()?;
    Ok(())
}

#[test]
fn a_container_of_docker_has_its_name_image_and_labels() -> Result<()> {
    named_by_its_engine(Engine::docker, "docker")
}

#[test]
fn a_container_of_podman_has_its_name_image_and_labels() -> Result<()> {
    named_by_its_engine(Engine::podman, "podman")
}

/// Where the daemon asks an engine.
fn address(engine: &Engine) -> String {
    format!("docker://{}", engine.socket().display())
}

/// One call is made beside another container of the same image, so that neither has the other's name.
fn named_by_its_engine(start: impl FnOnce(Reach) -> Result<Engine>, runtime: &str) -> Result<()> {
    let machine = Exclusive::take()?;
    let engine = start(Reach::Network)?;
    let mut host = Host::start(machine, &address(&engine), "")?;
    engine.import(&host.bundle.root(), IMAGE)?;
    let options = ["--label", "team=red", "--label", "tier=front", "--label", "other=x"];
    let (model, other) =
        (Scenario::new(12, 34).tag(runtime).model(), Scenario::new(5, 6).tag("other").model());
    let id = engine.run("box", &options, IMAGE, &two_calls(&host.standin, &model))?;
    engine.run("other", &["--label", "team=blue"], IMAGE, &two_calls(&host.standin, &other))?;

    let call = host.call(&model)?;
    let container = call.container.context("no container")?;
    assert_eq!((&container.id, container.name.as_deref()), (&id, Some("box")));
    assert_eq!(container.runtime.as_deref(), Some(runtime));
    assert_eq!(container.image.as_deref(), Some(IMAGE));
    assert!(container.image_id.is_some_and(|id| id.starts_with("sha256:")));
    let picked = [("team", "red"), ("tier", "front")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(container.labels, BTreeMap::from(picked), "those that were picked, and no other");
    assert!(call.cgroup.is_some_and(|cgroup| cgroup.contains(&id)));
    host.call(&other)?;
    for (model, name, team) in [(model, "box", "red"), (other, "other", "blue")] {
        let labels = host.labels(&model)?;
        assert_eq!([&labels["container_name"], &labels["team"]], [name, team]);
    }
    host.daemon.stop()?;
    Ok(())
}

/// No cgroup has the name: the engine tells it when the container has begun. Calls that end before that are held
/// back; where nobody tells it, a filter by name fits nothing.
#[test]
fn ignored_by_the_name_of_its_container() -> Result<()> {
    let filter = "[[filter]]\naction = \"ignore\"\ncontainer = \"quiet*\"\n";
    let machine = Exclusive::take()?;
    let engine = Engine::docker(Reach::Network)?;
    let mut host = Host::start(machine, &address(&engine), filter)?;
    engine.import(&host.bundle.root(), IMAGE)?;
    let (quiet, loud) = (Scenario::new(3, 4).tag("quiet").model(), Scenario::new(5, 6).tag("loud").model());
    let id = engine.run("quiet-1", &[], IMAGE, &two_calls(&host.standin, &quiet))?;
    engine.run("loud-1", &[], IMAGE, &two_calls(&host.standin, &loud))?;
    host.call(&loud)?;
    let filtered = |host: &Host| -> Result<f64> {
        let metrics = host.daemon.metrics()?;
        let names = ["llm_tracker_calls_filtered_total", "llm_tracker_connections_filtered_total"];
        Ok(names.iter().map(|name| metrics.sum(name, &[])).sum())
    };
    let deadline = Instant::now() + SOON;
    while host.standin.served().len() < 4 || filtered(&host)? == 0.0 {
        ensure!(Instant::now() < deadline, "nothing was filtered: {}", host.daemon.metrics()?.text);
        thread::sleep(Duration::from_millis(50));
    }
    // Longer than anything is held back.
    thread::sleep(Duration::from_secs(2));
    let is_its = |call: &CallLine| call.container.as_ref().is_some_and(|container| container.id == id);
    assert_eq!(host.daemon.calls(is_its)?.len(), 0);
    ensure!(!host.daemon.metrics()?.text.contains(&quiet), "it is in the metrics");
    let machine = host.daemon.stop()?.into_exclusive();

    let mut host = Host::start(machine, "docker:///nowhere.sock", filter)?;
    engine.import(&host.bundle.root(), IMAGE)?;
    engine.run("quiet-2", &[], IMAGE, &two_calls(&host.standin, &quiet))?;
    let container = host.call(&quiet)?.container.context("no container")?;
    assert_eq!((container.runtime.as_deref(), container.name), (Some("docker"), None));
    host.daemon.stop()?;
    Ok(())
}

#[test]
fn what_kubernetes_writes_on_a_container_names_its_pod() -> Result<()> {
    let (mut host, containerd) = Host::with_containerd()?;
    let model = Scenario::new(12, 34).tag("labelled").model();
    let id = "5f".repeat(32);
    let cgroup = containerd.cgroup(&format!("kubepods/burstable/pod{POD_UID}/{id}"));
    let uid = format!("io.kubernetes.pod.uid={POD_UID}");
    let mut options = vec!["--cgroup", &cgroup];
    for label in [
        "io.kubernetes.container.name=app",
        "io.kubernetes.pod.name=db-3",
        "io.kubernetes.pod.namespace=shop",
        &uid,
        "statefulset.kubernetes.io/pod-name=db-3",
    ] {
        options.extend(["--label", label]);
    }
    containerd.run("k8s.io", &options, &host.bundle.root(), &id, &two_calls(&host.standin, &model))?;

    let container = host.call(&model)?.container.context("no container")?;
    assert_eq!((container.id, container.name.as_deref()), (id, Some("app")));
    assert_eq!(container.pod.as_deref(), Some("db-3"));
    assert_eq!(container.pod_uid.as_deref(), Some(POD_UID));
    assert_eq!(container.namespace.as_deref(), Some("shop"));
    assert_eq!(container.workload.as_deref(), Some("statefulset/db"));
    host.daemon.stop()?;
    Ok(())
}

#[test]
fn a_pod_of_the_container_runtime_interface_has_all_its_names() -> Result<()> {
    let (mut host, containerd) = Host::with_containerd()?;
    containerd.import(&host.bundle.root())?;
    let model = Scenario::new(12, 34).tag("pod").model();
    let id = containerd.pod(
        &host.standin,
        &json!({
            "name": "web-7d4b9c6f5b-x2x7z", "namespace": "shop", "uid": POD_UID,
            "cgroup": containerd.cgroup(&format!("kubepods/burstable/pod{POD_UID}")),
            "labels": {"pod-template-hash": "7d4b9c6f5b", "team": "red"},
            "container": "app", "image": IMAGE, "command": two_calls(&host.standin, &model),
        }),
    )?;

    let container = host.call(&model)?.container.context("no container")?;
    assert_eq!((container.id, container.name.as_deref()), (id, Some("app")));
    assert_eq!(container.runtime.as_deref(), Some("containerd"));
    assert_eq!(container.image.as_deref(), Some(IMAGE));
    assert!(container.image_id.is_some_and(|id| id.starts_with("sha256:")));
    assert_eq!(container.pod.as_deref(), Some("web-7d4b9c6f5b-x2x7z"));
    assert_eq!(container.pod_uid.as_deref(), Some(POD_UID));
    assert_eq!(container.namespace.as_deref(), Some("shop"));
    assert_eq!(container.workload.as_deref(), Some("deployment/web"));
    assert_eq!(container.labels, BTreeMap::from([("team".to_owned(), "red".to_owned())]));
    let labels = host.labels(&model)?;
    let label = |name: &str| labels[name].as_str();
    assert_eq!(
        ["container_name", "image", "pod", "namespace", "workload", "team"].map(label),
        ["app", IMAGE, "web-7d4b9c6f5b-x2x7z", "shop", "deployment/web", "red"]
    );
    host.daemon.stop()?;
    Ok(())
}
