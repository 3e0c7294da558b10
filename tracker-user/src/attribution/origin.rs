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
}
