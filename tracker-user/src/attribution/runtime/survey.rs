//! Which sockets of runtimes there are, and whether they answer: for whoever wants to know why names are missing.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Config, Error, Place, Question, Runtime, SOURCES, SocketApi, TIMEOUT, docker, grpc, host_root};

/// The most folders of users that are looked into.
const MAX_USERS: usize = 64;
/// What no container is called.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A socket that is there, or that the operator says is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketReport {
    /// Where, as this process sees it.
    pub path: PathBuf,
    /// What came of asking there.
    pub answer: SocketAnswer,
    /// The group that may ask there besides the owner; absent where everybody or nobody else may.
    pub group: Option<String>,
}

/// What came of asking at a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketAnswer {
    /// An answer.
    Answers,
    /// There is no socket, or nobody behind it.
    Nobody,
    /// There is somebody who lets others in, not us.
    Denied,
    /// Something else went wrong, in the runtime's words.
    Failed(String),
}

/// Asks at every socket, the operator's and the usual ones.
///
/// # Errors
/// There can be no clock and no sockets to ask with.
pub fn survey(config: &Config, proc_root: &Path) -> std::io::Result<Vec<SocketReport>> {
    let root = config.root.clone().unwrap_or_else(|| host_root(proc_root));
    let named = config.sockets.iter().map(|socket| (socket.api, socket.path.clone(), None));
    let mut places: Vec<_> = named.collect();
    let users = users(&root.join("run/user"));
    for (_, place) in SOURCES {
        let (api, path) = match place {
            Place::Docker(path) => (SocketApi::Docker, path),
            // containerd's own API is at the same one.
            Place::Cri(path) => (SocketApi::Cri, path),
            _ => continue,
        };
        match path.split_once("UID") {
            Some((before, after)) => places.extend(
                users.iter().map(|user| (api, root.join(format!("{before}{user}{after}")), Some(*user))),
            ),
            None => places.push((api, root.join(path), None)),
        }
    }
    let clock = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let mut seen = BTreeSet::new();
    let mut reports = Vec::new();
    for (number, (api, path, owner)) in places.into_iter().enumerate() {
        let wanted = number < config.sockets.len();
        if (wanted || path.symlink_metadata().is_ok()) && seen.insert(path.clone()) {
            let answer = clock.block_on(ask(api, &path, owner));
            reports.push(SocketReport { group: group(&root, &path), path, answer });
        }
    }
    Ok(reports)
}

/// About a container that there is not, as about any other.
async fn ask(api: SocketApi, path: &Path, owner: Option<u32>) -> SocketAnswer {
    let question = Question { id: NOBODY.to_owned(), runtime: None, user: owner, in_pod: false };
    let socket = path.to_owned();
    let runtime: Box<dyn Runtime> = match api {
        SocketApi::Docker => Box::new(docker::Api { socket, owner }),
        SocketApi::Cri | SocketApi::Containerd => Box::new(grpc::Cri { socket }),
    };
    match tokio::time::timeout(TIMEOUT, runtime.describe(&question)).await {
        // A containerd without Kubernetes' interface still has its own.
        Ok(Ok(_) | Err(Error::Unimplemented)) => SocketAnswer::Answers,
        Ok(Err(Error::Absent)) => SocketAnswer::Nobody,
        Ok(Err(Error::Denied)) => SocketAnswer::Denied,
        Ok(Err(Error::Failed(why))) => SocketAnswer::Failed(why),
        Err(_) => SocketAnswer::Failed("no answer in time".to_owned()),
    }
}

/// The users who have a folder here.
fn users(folder: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(MAX_USERS).collect()
}

/// The group that may write there, where not everybody may: its name or, where it has none, its number.
fn group(root: &Path, path: &Path) -> Option<String> {
    let file = path.metadata().ok()?;
    let (by_group, by_all) = (file.mode() & 0o020 != 0, file.mode() & 0o002 != 0);
    let number = (by_group && !by_all && file.gid() != 0).then(|| file.gid().to_string())?;
    let groups = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&number)).then(|| name.to_owned())
    });
    Some(name.unwrap_or(number))
}
