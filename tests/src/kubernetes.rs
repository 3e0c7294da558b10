//! What `deploy/kubernetes` says, as `kubectl` renders it and the schemas allow it.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{child::Child, machine};

/// How long a look at some manifests may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The versions of Kubernetes whose schemas everything has to fit: the oldest that has all the fields
/// (`appArmorProfile`), and the newest that the validator knows.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// The resources of a kustomization: valid ones.
///
/// # Errors
///
/// Where it cannot be rendered, or one of them does not fit its schema.
pub fn resources(kustomization: &Path) -> Result<Vec<Value>> {
    let mut kubectl = Command::new(machine::kubernetes_packages()?.join("kubectl"));
    // Everything in it comes from the folder: nothing is fetched.
    kubectl.arg("kustomize").arg(kustomization).args(["--load-restrictor", "LoadRestrictionsNone"]);
    let rendered = Child::spawn(kubectl, LIMIT)?.wait()?.success()?;
    valid(&rendered.stdout)
}

/// The resources of a manifest in YAML: valid ones.
///
/// # Errors
///
/// Where one of them does not fit its schema.
pub fn valid(manifest: &str) -> Result<Vec<Value>> {
    let scripts = machine::crate_folder().join("kubernetes");
    let mut core = Command::new(machine::python()?);
    core.arg(scripts.join("core.py")).args(VERSIONS);
    let checked = Child::spawn_with_input(core, manifest.as_bytes(), LIMIT)?.wait()?.success()?;
    let resources: Vec<Value> = serde_json::from_str(&checked.stdout)?;

    let is_operators =
        |it: &&Value| it["apiVersion"].as_str().is_some_and(|it| it.starts_with("monitoring."));
    let operators: Vec<_> = resources.iter().filter(is_operators).collect();
    let mut operator = Command::new(machine::node()?);
    operator.arg(scripts.join("operator.mjs")).arg(machine::kubernetes_packages()?.join("node_modules"));
    let input = serde_json::to_string(&operators)?;
    let checked = Child::spawn_with_input(operator, input.as_bytes(), LIMIT)?.wait()?.success()?;
    ensure!(checked.stdout.lines().count() == operators.len(), "{}", checked.stdout);
    Ok(resources)
}

/// The only resource of a kind.
///
/// # Errors
///
/// Where there is none.
pub fn of_kind<'a>(resources: &'a [Value], kind: &str) -> Result<&'a Value> {
    resources.iter().find(|it| it["kind"] == kind).with_context(|| format!("there is no {kind}"))
}
