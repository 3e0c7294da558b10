//! Containers that an OCI runtime started by hand.
//!
//! `crun run NAME` without a manager puts the container into a cgroup that is simply called
//! `/NAME`: nothing in the path says container. crun's own record of it does.

use std::{fs::File, io::Read as _, path::Path};

use serde::Deserialize;

use super::origin::Container;

/// A status file has some 500 bytes; descriptors may make it longer.
const MAX_STATUS: u64 = 64 * 1024;

/// The part of crun's status file (`src/libcrun/status.c`) that is of interest.
#[derive(Deserialize)]
struct Status {
    #[serde(rename = "cgroup-path")]
    cgroup_path: String,
}

/// The crun container whose cgroup is `path` or an ancestor of it. `state` is crun's state
/// directory, `/run/crun` unless `crun --root` said otherwise.
pub(super) fn container(state: &Path, path: &str) -> Option<Container> {
    // Most hosts have no crun; one system call finds that out.
    state.is_dir().then_some(())?;
    path.split('/').filter(|component| is_id(component)).rev().find_map(|id| {
        let mut status = String::new();
        let file = File::open(state.join(id).join("status")).ok()?;
        file.take(MAX_STATUS).read_to_string(&mut status).ok()?;
        let status: Status = serde_json::from_str(&status).ok()?;
        let rest = path.strip_prefix(&status.cgroup_path)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| Container {
            id: id.to_owned(),
            name: Some(id.to_owned()),
            runtime: Some("crun"),
            ..Container::default()
        })
    })
}

/// A name that cannot lead out of the state directory.
fn is_id(component: &str) -> bool {
    !matches!(component, "" | "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_own_record_names_the_container() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("mybox");
        std::fs::create_dir(&dir).unwrap();
        let status = r#"{"pid": 14794, "process-start-time": 118871, "cgroup-path": "/mybox", "scope": ""}"#;
        std::fs::write(dir.join("status"), status).unwrap();
        let id = |path| container(state.path(), path).map(|c| (c.id, c.runtime));
        let mybox = Some(("mybox".to_owned(), Some("crun")));
        assert_eq!(id("/mybox"), mybox);
        assert_eq!(id("/mybox/inner"), mybox);
        assert_eq!(id("/other/mybox"), None, "the same name elsewhere is another cgroup");
        assert_eq!(id("/mybox2"), None);
        assert_eq!(id("/"), None);
        assert_eq!(id("/../mybox/.."), None);
    }

    #[test]
    fn garbage_is_no_container() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir(state.path().join("x")).unwrap();
        std::fs::write(state.path().join("x/status"), "{").unwrap();
        assert_eq!(container(state.path(), "/x"), None);
        assert_eq!(container(Path::new("/nonexistent"), "/x"), None);
    }
}
