//! What `deploy/kubernetes` tells a cluster: rendered, held against the schemas, and against what the rules
//! and the daemon rely on.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::output,
    client::LIMIT,
    kubernetes::{of_kind, resources, valid},
    machine,
    prometheus::deploy,
};
use serde_json::Value;

/// The kustomization with these of its components.
fn with_components(components: &[&str]) -> Result<Vec<Value>> {
    // It may lie anywhere, as an operator's own does; kustomize takes no absolute paths.
    let folder = tempfile::Builder::new().prefix("overlay-").tempdir_in(deploy(""))?;
    let list = |names: &[String]| names.iter().map(|name| format!("  - {name}\n")).collect::<String>();
    let components: Vec<_> = components.iter().map(|name| format!("../kubernetes/{name}")).collect();
    let text =
        format!("resources:\n{}components:\n{}", list(&["../kubernetes".to_owned()]), list(&components));
    fs::write(folder.path().join("kustomization.yaml"), text)?;
    resources(folder.path())
}

#[test]
fn everything_fits_the_schemas() -> Result<()> {
    let plain = resources(&deploy("kubernetes"))?;
    let kinds: Vec<_> = plain.iter().filter_map(|it| it["kind"].as_str()).collect();
    ensure!(kinds == ["Namespace", "ServiceAccount", "ConfigMap", "DaemonSet"], "{kinds:?}");

    let all = with_components(&["prometheus-operator", "cap-sys-admin"])?;
    let monitor = &of_kind(&all, "PodMonitor")?["spec"];
    let daemon_set = of_kind(&all, "DaemonSet")?;
    let pod = &daemon_set["spec"]["template"];
    ensure!(monitor["selector"]["matchLabels"] == pod["metadata"]["labels"], "{monitor} selects no pod");
    let job = monitor["jobLabel"].as_str().context("no job label")?;
    ensure!(pod["metadata"]["labels"][job] == "llm-tracker", "the rules know no other job");
    let endpoint = &monitor["podMetricsEndpoints"][0];
    let container = &pod["spec"]["containers"][0];
    ensure!(container["ports"][0]["name"] == endpoint["port"], "{endpoint} is no port");
    let capabilities = &container["securityContext"]["capabilities"]["add"];
    ensure!(capabilities.as_array().is_some_and(|it| it.contains(&"SYS_ADMIN".into())), "{capabilities}");
    Ok(())
}

#[test]
fn the_daemon_takes_the_configuration() -> Result<()> {
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(["run", "--check-config", "--config"]).arg(deploy("kubernetes/llm-tracker.toml"));
    output(command, LIMIT).map(drop)
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let daemon_set = fs::read_to_string(deploy("kubernetes/daemonset.yaml"))?;
    valid(&daemon_set)?;
    ensure!(valid(&daemon_set.replace("hostPID", "hostPIDs")).is_err(), "an unknown field passes");
    let monitor = fs::read_to_string(deploy("kubernetes/prometheus-operator/podmonitor.yaml"))?;
    valid(&monitor)?;
    ensure!(valid(&monitor.replace("15s", "soon")).is_err(), "a wrong duration passes");
    Ok(())
}

/// As `deploy/README.md` says to.
#[test]
fn the_rules_fit_into_a_prometheus_rule() -> Result<()> {
    for name in ["limits", "rules", "alerts"] {
        let groups = fs::read_to_string(deploy("prometheus").join(Path::new(name).with_extension("yml")))?;
        let indented: String = groups.lines().map(|line| format!("  {line}\n")).collect();
        let head = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:";
        let rule = format!("{head} {{ name: llm-tracker-{name} }}\nspec:\n{indented}");
        let resources = valid(&rule)?;
        let groups = of_kind(&resources, "PrometheusRule")?["spec"]["groups"].as_array();
        ensure!(groups.is_some_and(|groups| !groups.is_empty()), "{resources:?}");
    }
    Ok(())
}
