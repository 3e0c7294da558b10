//! Who made a call.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::session::Session;

/// The process behind a connection. Absent fields could not be learnt before it was gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// `comm`, at most 15 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Path of the executable as the process sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Real user id in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Name of that user in the host's user database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// The container a process runs in: its cgroup path tells that there is one, its runtime the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// What the operator, or the pod's author, calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The image's name as the runtime knows it: `nginx:1.29`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image's digest, in the runtime's words: OTel's `container.image.id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// `docker`, `containerd`, `podman`, `cri-o`, `crun`, `runc`, `lxc`, `systemd-nspawn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<&'static str>,
    /// The Kubernetes pod's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The Kubernetes pod's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What the pod is run for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// The labels of container and pod that the operator picked, and no other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What owns a pod. Written as kubectl takes it: `deployment/web`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Workload {
    /// `deployment`, `statefulset`, `daemonset`, `job`, `cronjob`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl From<Workload> for String {
    fn from(workload: Workload) -> Self {
        workload.to_string()
    }
}

/// The login that a process descends from. It stays the same through `su` and `sudo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Login {
    /// Who logged in: the audit login uid, else the owner of the user slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Name of that user in the host's user database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The session: that of its `session-N.scope`, else the audit session. The login manager takes the
    /// number of the one for the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// An agent or a CI job: the root of a tree of processes, all of which work for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// The name of the entry in the list of agents that it fits, never its arguments.
    pub name: String,
    /// Thread group id of the root; it may have exited since.
    pub pid: u32,
}

/// Everything that says whose call it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The process.
    pub process: Process,
    /// The id of its cgroup while that has no path: who made the call may be gone before it can be told.
    #[serde(skip)]
    pub cgroup_id: Option<u64>,
    /// cgroup path: v2, or v1 where the host is hybrid and v2 says only `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The container, where the process is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// systemd unit, as `systemctl` takes it: of the user's manager where it is in one, else of the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// systemd slice of the host's manager; absent for the root slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Who logged in, where somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// What it works for, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// What it is run for, where its environment says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}
