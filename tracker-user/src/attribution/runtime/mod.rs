//! Names, images, labels and pods of containers, from the runtimes that run them.
//!
//! A cgroup path has an id and no name. The runtimes know the rest: [`SOURCES`] says where each is asked, in
//! order of preference, and what is read from its disk where it cannot be. Nobody waits for a runtime: a
//! container is asked about when it is first seen, on a thread of its own, within bounds on time, memory and
//! questions under way; what it says is there for the calls that finish after it. A container that nobody
//! knows is asked about again, ever more rarely.
//!
//! A user's own sockets are asked about containers in that user's slice only, and no others are asked about
//! those: what a user may name, another's bill must not carry.

mod cache;
mod description;
mod docker;
mod grpc;
mod kubernetes;
mod limited;
mod state;
mod survey;

use std::{
    collections::BTreeSet,
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet};

use cache::Cache;
pub use cache::Counters;
use description::{Description, Details};
pub use survey::{SocketAnswer, SocketReport, survey};

use super::origin::Container;

/// How long one source may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long all of them together may take.
const TIMEOUT_TOTAL: Duration = Duration::from_secs(3);
/// Questions that may wait for their turn.
const MAX_WAITING: usize = 256;
/// Questions under way at once.
const MAX_ASKING: usize = 8;

/// What is asked, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The host's root folder, in which sockets and state are; `None`: that of the host's first process.
    pub root: Option<PathBuf>,
    /// Sockets that are asked before the usual ones.
    pub sockets: Vec<Socket>,
    /// The labels of containers and pods that are kept.
    pub labels: BTreeSet<String>,
}

/// A runtime's socket, where the operator says that it is: `docker:///path`, `cri:///path` or
/// `containerd:///path`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Socket {
    /// What is spoken there.
    pub api: SocketApi,
    /// Its path, as the daemon sees it.
    pub path: PathBuf,
}

/// What a runtime's socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketApi {
    /// Docker's API, which Podman serves too.
    Docker,
    /// Kubernetes' Container Runtime Interface.
    Cri,
    /// That, and containerd's own; its state is in the folder of the socket.
    Containerd,
}

impl TryFrom<String> for Socket {
    type Error = SocketError;

    fn try_from(text: String) -> Result<Self, SocketError> {
        let (api, path) = match text.split_once("://") {
            Some(("docker", path)) => (SocketApi::Docker, path),
            Some(("cri", path)) => (SocketApi::Cri, path),
            Some(("containerd", path)) => (SocketApi::Containerd, path),
            _ => return Err(SocketError(text)),
        };
        if path.starts_with('/') { Ok(Self { api, path: path.into() }) } else { Err(SocketError(text)) }
    }
}

/// What is said is no socket.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no socket: it takes `docker:///path`, Podman's too, `cri:///path` or `containerd:///path`")]
pub struct SocketError(String);

/// Somebody to ask about a container.
trait Runtime: Debug + Send + Sync {
    /// What it says; `None` where it knows no such container.
    fn describe<'a>(&'a self, question: &'a Question) -> Answer<'a>;
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Option<Description>, Error>> + Send + 'a>>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// There is no such socket or file, or nobody behind it.
    #[error("nobody is there")]
    Absent,
    /// There is somebody, who lets others in.
    #[error("permission denied")]
    Denied,
    /// There is somebody, who is not asked like this.
    #[error("this interface is not implemented")]
    Unimplemented,
    /// There is, and it did not go well.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::Absent,
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<bollard::errors::Error> for Error {
    fn from(error: bollard::errors::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<tonic::transport::Error> for Error {
    fn from(error: tonic::transport::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::NotFound => Self::Absent,
            tonic::Code::Unimplemented => Self::Unimplemented,
            code => Self::Failed(code.description().to_owned()),
        }
    }
}

/// Where to ask.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Docker's API at a socket.
    Docker(&'static str),
    /// The CRI at a socket.
    Cri(&'static str),
    /// containerd's own API at a socket, with the folder of its tasks.
    Containerd(&'static str, &'static str),
    /// Docker's files.
    DockerState(&'static str),
    /// containerd's.
    Bundles(&'static str),
    /// CRI-O's.
    Crio(&'static str),
    /// A list of containers/storage.
    Storage(&'static str),
}

/// Whom it knows, and where to ask. `UID` in a path is the user's whose container it is: such places are
/// asked about the containers of that user, the others about everybody else's.
const SOURCES: &[(&[&str], Place)] = &[
    // It knows the labels of pods, which Docker itself has on another container.
    (DOCKER, Place::Cri("run/cri-dockerd.sock")),
    (DOCKER, Place::Docker("run/docker.sock")),
    (DOCKER, Place::Docker("run/user/UID/docker.sock")),
    (PODMAN, Place::Docker("run/podman/podman.sock")),
    (PODMAN, Place::Docker("run/user/UID/podman/podman.sock")),
    (CONTAINERD, Place::Cri("run/containerd/containerd.sock")),
    (CONTAINERD, Place::Cri("run/k3s/containerd/containerd.sock")),
    (CONTAINERD, Place::Cri("run/k0s/containerd.sock")),
    (CONTAINERD, Place::Cri("var/snap/microk8s/common/run/containerd.sock")),
    (CRI_O, Place::Cri("run/crio/crio.sock")),
    (CONTAINERD, Place::Containerd("run/containerd/containerd.sock", TASKS)),
    // Without a socket.
    (DOCKER, Place::DockerState("var/lib/docker/containers")),
    (CONTAINERD, Place::Bundles(TASKS)),
    (CONTAINERD, Place::Bundles("run/k3s/containerd/io.containerd.runtime.v2.task")),
    (CONTAINERD, Place::Bundles("run/k0s/containerd/io.containerd.runtime.v2.task")),
    (CONTAINERD, Place::Bundles("var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task")),
    (CRI_O, Place::Crio("run/containers/storage/overlay-containers")),
    (PODMAN, Place::Storage("var/lib/containers/storage/overlay-containers/containers.json")),
    (PODMAN, Place::Storage("run/containers/storage/overlay-containers/volatile-containers.json")),
];

const DOCKER: &[&str] = &["docker"];
const PODMAN: &[&str] = &["podman"];
const CONTAINERD: &[&str] = &["containerd"];
const CRI_O: &[&str] = &["cri-o"];
/// containerd's tasks, where it is not a distribution's of Kubernetes.
const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";

impl Socket {
    /// containerd's tasks beside its socket.
    fn bundles(&self) -> Option<state::Bundles> {
        let folder = self.path.with_file_name("io.containerd.runtime.v2.task");
        (self.api == SocketApi::Containerd).then_some(state::Bundles { folder })
    }

    /// Who is asked there, and whether at the socket itself.
    fn runtimes(&self) -> Vec<(bool, Box<dyn Runtime>)> {
        let socket = self.path.clone();
        let mut runtimes: Vec<(bool, Box<dyn Runtime>)> = match self.api {
            SocketApi::Docker => vec![(true, Box::new(docker::Api { socket, owner: None }))],
            SocketApi::Cri | SocketApi::Containerd => vec![(true, Box::new(grpc::Cri { socket }))],
        };
        if let Some(bundles) = self.bundles() {
            let own = grpc::Containerd { socket: self.path.clone(), bundles: bundles.clone() };
            runtimes.extend([(true, Box::new(own) as Box<dyn Runtime>), (false, Box::new(bundles))]);
        }
        runtimes
    }
}

/// A container to ask about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    id: String,
    /// Absent where its cgroup does not tell: everybody is asked.
    runtime: Option<&'static str>,
    /// Whose slice it is in, unless it is root's or the system's.
    user: Option<u32>,
    /// Its cgroup says that a kubelet made it.
    in_pod: bool,
}

impl Question {
    /// `None` where nobody is known who could be asked.
    fn about(container: &Container, cgroup: &str) -> Option<Self> {
        let runtime = container.runtime;
        let known = |runtime| SOURCES.iter().any(|(runtimes, _)| runtimes.contains(&runtime));
        if runtime.is_some_and(|runtime| !known(runtime)) {
            return None;
        }
        let user = cgroup.split('/').find_map(|component| {
            let uid: u32 = component.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()?;
            (uid != 0).then_some(uid)
        });
        Some(Self { id: container.id.clone(), runtime, user, in_pod: container.pod_uid.is_some() })
    }
}

/// What was learnt of one container.
#[derive(Debug)]
struct Outcome {
    details: Option<Details>,
    /// A runtime was asked, and nobody before it failed to answer.
    certain: bool,
    /// Somebody is there and did not answer as they should.
    failed: bool,
}

/// Asks one source after the other.
#[derive(Debug)]
struct Asker {
    root: PathBuf,
    sockets: Vec<Socket>,
    labels: BTreeSet<String>,
}

impl Asker {
    async fn ask(&self, question: &Question) -> Outcome {
        let mut failed = false;
        let deadline = tokio::time::Instant::now() + TIMEOUT_TOTAL;
        for (is_socket, runtime) in self.runtimes(question) {
            let until = deadline.min(tokio::time::Instant::now() + TIMEOUT);
            let why = match tokio::time::timeout_at(until, runtime.describe(question)).await {
                Ok(Ok(Some(description))) => {
                    let details = Details::new(description, &self.labels, question.in_pod);
                    return Outcome { details: Some(details), certain: is_socket && !failed, failed };
                }
                Ok(Ok(None) | Err(Error::Absent)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            failed = true;
            // In its words, which may be many.
            let why: String = why.chars().take(200).collect();
            tracing::debug!(?runtime, why, "a container runtime was asked in vain");
        }
        Outcome { details: None, certain: false, failed }
    }

    /// Who may know, in order of preference, and whether they are asked at a socket.
    fn runtimes(&self, question: &Question) -> impl Iterator<Item = (bool, Box<dyn Runtime>)> + Send + use<> {
        let (runtime, user) = (question.runtime, question.user);
        let usual = SOURCES
            .iter()
            .filter(move |(runtimes, _)| runtime.is_none_or(|runtime| runtimes.contains(&runtime)))
            .filter_map(|(_, place)| place.runtime(&self.root, user));
        self.sockets.iter().flat_map(Socket::runtimes).chain(usual).collect::<Vec<_>>().into_iter()
    }
}

impl Place {
    /// `None` where it is not for containers of this user.
    fn runtime(self, root: &Path, user: Option<u32>) -> Option<(bool, Box<dyn Runtime>)> {
        let path = match self {
            Self::Docker(path) | Self::Cri(path) | Self::Containerd(path, _) => path,
            Self::DockerState(path) | Self::Bundles(path) | Self::Crio(path) | Self::Storage(path) => path,
        };
        let path = match (path.split_once("UID"), user) {
            (Some((before, after)), Some(user)) => root.join(format!("{before}{user}{after}")),
            (None, None) => root.join(path),
            _ => return None,
        };
        Some(match self {
            Self::Docker(_) => (true, Box::new(docker::Api { socket: path, owner: user })),
            Self::Cri(_) => (true, Box::new(grpc::Cri { socket: path })),
            Self::Containerd(_, tasks) => {
                let bundles = state::Bundles { folder: root.join(tasks) };
                (true, Box::new(grpc::Containerd { socket: path, bundles }))
            }
            Self::DockerState(_) => (false, Box::new(state::Docker { folder: path })),
            Self::Bundles(_) => (false, Box::new(state::Bundles { folder: path })),
            Self::Crio(_) => (false, Box::new(state::Crio { folder: path })),
            Self::Storage(_) => (false, Box::new(state::Storage { file: path })),
        })
    }
}

/// The host's root folder: in a container of its own the daemon has another.
fn host_root(proc_root: &Path) -> PathBuf {
    let hosts = proc_root.join("1/root");
    if hosts.join("run").is_dir() { hosts } else { PathBuf::from("/") }
}

/// Knows containers, or finds out.
#[derive(Debug)]
pub(super) struct Runtimes {
    cache: Arc<Cache>,
    questions: mpsc::Sender<Question>,
    bundles: Vec<state::Bundles>,
}

impl Runtimes {
    /// Starts the thread that asks. `proc_root` is where the host's processes are.
    pub(super) fn new(config: Config, proc_root: &Path) -> Self {
        let Config { root, sockets, labels } = config;
        let root = root.unwrap_or_else(|| host_root(proc_root));
        let cache = Arc::new(Cache::default());
        let (questions, inbox) = mpsc::channel(MAX_WAITING);
        let usual = state::Bundles { folder: root.join(TASKS) };
        let bundles = sockets.iter().filter_map(Socket::bundles).chain([usual]).collect();
        let work = work(Arc::new(Asker { root, sockets, labels }), inbox, Arc::clone(&cache));
        let worker =
            move || match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
                Ok(runtime) => runtime.block_on(work),
                Err(error) => tracing::warn!(%error, "{NO_NAMES}"),
            };
        if let Err(error) = thread::Builder::new().name("runtimes".into()).spawn(worker) {
            tracing::warn!(%error, "{NO_NAMES}");
        }
        Self { cache, questions, bundles }
    }

    /// The container of this cgroup, where only its runtime knows that it is one.
    pub(super) fn container(&self, cgroup: &str) -> Option<Container> {
        self.bundles.iter().find_map(|bundles| bundles.container(cgroup))
    }

    /// Adds what is known of a container, and asks about what is not. Says whether there is nothing to wait
    /// for.
    pub(super) fn fill(&self, container: &mut Container, cgroup: &str) -> bool {
        let Some(question) = Question::about(container, cgroup) else { return true };
        let known = self.cache.get(question, |question| self.questions.try_send(question).is_ok());
        if let Some(details) = &known.details {
            details.fill(container);
        }
        known.settled
    }

    /// What was done so far.
    pub(super) fn counters(&self) -> Counters {
        self.cache.counters()
    }
}

const NO_NAMES: &str = "nobody asks container runtimes: calls will carry the containers' ids only";

/// Asks until nobody has questions any more.
async fn work(asker: Arc<Asker>, mut inbox: mpsc::Receiver<Question>, cache: Arc<Cache>) {
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            Some(question) = inbox.recv(), if asking.len() < MAX_ASKING => {
                let (asker, cache) = (Arc::clone(&asker), Arc::clone(&cache));
                asking.spawn(async move {
                    let begun = tokio::time::Instant::now();
                    let outcome = asker.ask(&question).await;
                    let (found, took) = (outcome.details.is_some(), begun.elapsed());
                    tracing::debug!(id = question.id, found, ?took, "asked about a container");
                    cache.answer(&question, outcome);
                });
            }
            Some(_) = asking.join_next() => {}
            else => return,
        }
    }
}

#[cfg(test)]
mod tests;
