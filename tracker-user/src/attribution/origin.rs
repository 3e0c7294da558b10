//! Who made a call.

use serde::Serialize;

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

/// The container a process runs in, as far as its cgroup path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// `docker`, `containerd`, `podman`, `cri-o`, `crun`, `runc`, `lxc`, `systemd-nspawn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<&'static str>,
    /// Kubernetes pod uid.
    #[serde(rename = "pod", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
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
}
