//! The container image, run by a real runtime with what the DaemonSet gives it, and nothing else.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use llm_tracker_tests::{
    child::{Child, output},
    client::{self, LIMIT},
    container::{Service, crun},
    daemon::{self, SOON},
    kubernetes::{of_kind, resources},
    machine,
    metrics::Metrics,
    packed,
    prometheus::deploy,
    scenario::Scenario,
    standin::StandIn,
};
use serde_json::{Value, json};

#[test]
fn run_as_the_daemon_set_has_it_run_it_sees_the_host() -> Result<()> {
    let image = packed::image()?;
    let manifests = resources(&deploy("kubernetes"))?;
    let _exclusive = machine::Exclusive::take()?;
    let _resident = daemon::resident()?;
    let standin = StandIn::start()?;

    let pod = Pod::start(image, &manifests)?;
    pod.wait_until_ready()?;
    let model = Scenario::new(120, 45).cached(40).tag(format!("image{}", std::process::id())).model();
    for _ in 0..3 {
        let request = client::curl(&standin, "/v1/chat/completions", &client::chat(&model));
        Child::spawn(request, LIMIT)?.wait()?.success()?;
    }
    let expected = [
        ("gen_ai_request_model", model.as_str()),
        ("process", "curl"),
        ("user", "root"),
        // The node's own path of it, not the one that it has in the view of the daemon's container.
        ("cgroup", &own_cgroup()?),
    ];
    let deadline = Instant::now() + SOON;
    while pod.metrics()?.sum("llm_calls_total", &expected) < 3.0 {
        ensure!(
            Instant::now() < deadline,
            "{}\nnot seen: {expected:?}\n{}",
            pod.metrics()?.text,
            pod.service.log()?
        );
        thread::sleep(Duration::from_millis(100));
    }
    let metrics = pod.metrics()?;
    let tokens = |kind| {
        let labels: Vec<_> = expected.into_iter().chain([("type", kind)]).collect();
        metrics.sum("llm_tokens_total", &labels)
    };
    ensure!(
        (tokens("input"), tokens("cache_read"), tokens("output")) == (360.0, 120.0, 135.0),
        "{}",
        metrics.text
    );
    pod.stop()
}

/// The path in the unified hierarchy of this process, which its children have too.
fn own_cgroup() -> Result<String> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).context("no unified hierarchy")?;
    Ok(path.to_owned())
}

/// What a kubelet makes of the DaemonSet's pod, with one container.
struct Pod {
    service: Service,
    ports: Value,
    _folder: tempfile::TempDir,
}

impl Pod {
    fn start(folder: tempfile::TempDir, manifests: &[Value]) -> Result<Self> {
        let bundle = folder.path().join(packed::BUNDLE);
        let spec = &of_kind(manifests, "DaemonSet")?["spec"]["template"]["spec"];
        let container = &spec["containers"][0];
        let mut config: Value = serde_json::from_str(&fs::read_to_string(bundle.join("config.json"))?)?;
        configure(&mut config, spec, container)?;
        let mounts = config["mounts"].as_array_mut().context("no mounts")?;
        mounts.retain(|it| it["destination"] != "/sys/fs/cgroup");
        for mount in container["volumeMounts"].as_array().context("no volumes")? {
            let source = volume(spec, mount["name"].as_str().context("no name")?, manifests, folder.path())?;
            let access = if mount["readOnly"] == true { "ro" } else { "rw" };
            let options = ["rbind", "rprivate", access];
            mounts.push(json!({
                "destination": mount["mountPath"], "type": "bind", "source": source, "options": options,
            }));
        }
        fs::write(bundle.join("config.json"), config.to_string())?;

        let id = format!("llm-tracker-image-{}", std::process::id());
        let service = Service::start(crun(&bundle, &id), &id, LIMIT * 5)?;
        Ok(Self { service, ports: container["ports"].clone(), _folder: folder })
    }

    /// What it answers, asked from its own network.
    fn get(&self, path: &str) -> Result<String> {
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--net", "--target", &self.service.pid().to_string(), "curl", "--silent", "--fail"]);
        command.arg(format!("http://127.0.0.1:{}{path}", self.ports[0]["containerPort"]));
        output(command, LIMIT)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while self.get("/readyz").is_err() {
            ensure!(Instant::now() < deadline, "it is not ready; it said: {}", self.service.log()?);
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.get("/metrics")?)
    }

    fn stop(self) -> Result<()> {
        self.service.signal("TERM")?;
        self.service.wait()?.success().map(drop)
    }
}

/// Gives the container what its pod says, and takes what it does not.
fn configure(config: &mut Value, spec: &Value, container: &Value) -> Result<()> {
    let security = &container["securityContext"];
    let process = &mut config["process"];
    let mut arguments = vec![process["args"][0].clone()];
    arguments.extend(container["args"].as_array().context("no arguments")?.iter().cloned());
    process["args"] = json!(arguments);
    process["terminal"] = json!(false);
    let environment = process["env"].as_array_mut().context("no environment")?;
    environment.push(json!("LLM_TRACKER_METRICS_LABELS=[\"process\", \"user\", \"cgroup\"]"));
    process["user"]["uid"] = security["runAsUser"].clone();
    process["noNewPrivileges"] = json!(security["allowPrivilegeEscalation"] == false);
    // None of them may be raised on a host whose root is not allowed to.
    process["rlimits"] = json!([]);
    ensure!(security["capabilities"]["drop"] == json!(["ALL"]), "it keeps capabilities");
    let added = security["capabilities"]["add"].as_array().context("no capabilities")?;
    let added: Vec<_> = added.iter().filter_map(Value::as_str).map(|name| format!("CAP_{name}")).collect();
    process["capabilities"] = json!({"bounding": added, "effective": added, "permitted": added});
    config["root"]["readonly"] = security["readOnlyRootFilesystem"].clone();

    let linux = &mut config["linux"];
    linux["resources"] = json!({});
    let namespaces = linux["namespaces"].as_array_mut().context("no namespaces")?;
    namespaces.retain(|it| it["type"] != "pid" && it["type"] != "cgroup");
    ensure!(spec["hostPID"] == true, "it does not see the node's processes");
    // As runtimes do on hosts with cgroup v2.
    namespaces.push(json!({"type": "cgroup"}));
    Ok(())
}

/// Where on the host a volume of the pod is.
fn volume(spec: &Value, name: &str, manifests: &[Value], folder: &Path) -> Result<String> {
    let volumes = spec["volumes"].as_array().context("no volumes")?;
    let volume = volumes.iter().find(|it| it["name"] == name).with_context(|| format!("no volume {name}"))?;
    if let Some(path) = volume["hostPath"]["path"].as_str() {
        return Ok(path.to_owned());
    }
    let config_map = of_kind(manifests, "ConfigMap")?;
    if volume["configMap"]["name"] != config_map["metadata"]["name"] {
        bail!("{volume} is of a kind that this test does not know");
    }
    let folder = folder.join(name);
    fs::create_dir(&folder)?;
    for (file, content) in config_map["data"].as_object().context("no data")? {
        fs::write(folder.join(file), content.as_str().context("no text")?)?;
    }
    Ok(folder.to_str().context("not a path in UTF-8")?.to_owned())
}
