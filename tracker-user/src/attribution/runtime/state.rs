//! What runtimes leave on disk: names without a socket.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Answer, Error, Question, Runtime, description::Description, grpc::NERDCTL_NAME, kubernetes, limited,
};
use crate::attribution::origin::Container;

/// containerd's namespaces that are looked into.
const MAX_NAMESPACES: usize = 64;

/// The annotations that containerd's CRI writes (`pkg/cri/annotations`), and the kubelet's labels that say
/// the same.
const CRI_ANNOTATIONS: [(&str, &str); 4] = [
    ("io.kubernetes.cri.container-name", kubernetes::CONTAINER_NAME),
    ("io.kubernetes.cri.sandbox-name", kubernetes::POD_NAME),
    ("io.kubernetes.cri.sandbox-namespace", kubernetes::POD_NAMESPACE),
    ("io.kubernetes.cri.sandbox-uid", kubernetes::POD_UID),
];
/// Annotations with the image's name: containerd's and CRI-O's.
const IMAGE_NAME: [&str; 2] = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"];
/// CRI-O's with its digest.
const IMAGE_REF: &str = "io.kubernetes.cri-o.ImageRef";

/// The part of an OCI runtime's `config.json` that is of interest.
#[derive(Deserialize)]
struct Oci {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    linux: Linux,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(default)]
    cgroups_path: String,
}

impl Oci {
    fn description(self) -> Description {
        let mut labels = self.annotations;
        for (annotation, label) in CRI_ANNOTATIONS {
            if let Some(value) = labels.get(annotation).cloned() {
                labels.insert(label.to_owned(), value);
            }
        }
        let first = |names: &[&str]| names.iter().find_map(|name| labels.get(*name).cloned());
        Description {
            name: first(&[NERDCTL_NAME]),
            image: first(&IMAGE_NAME),
            image_id: first(&[IMAGE_REF]),
            labels,
            pod: None,
        }
    }
}

/// The folder with a bundle for each task of containerd's: `io.containerd.runtime.v2.task` in its state.
#[derive(Clone, Debug)]
pub(super) struct Bundles {
    pub(super) folder: PathBuf,
}

impl Bundles {
    /// containerd's namespace of a container that runs.
    pub(super) fn namespace(&self, id: &str) -> Option<String> {
        if !is_name(id) {
            return None;
        }
        let namespaces = self.folder.read_dir().ok()?.flatten().take(MAX_NAMESPACES);
        namespaces
            .filter(|namespace| namespace.path().join(id).is_dir())
            .find_map(|namespace| namespace.file_name().into_string().ok())
    }

    /// The container whose cgroup is `path` or an ancestor of it, where its author gave it a name for an
    /// id: `ctr run IMAGE NAME` makes it the cgroup `/NAMESPACE/NAME`.
    pub(super) fn container(&self, path: &str) -> Option<Container> {
        // Most hosts have none; one system call finds that out.
        self.folder.is_dir().then_some(())?;
        path.split('/').filter(|component| is_name(component)).rev().find_map(|id| {
            let config: Oci =
                json(&self.folder.join(self.namespace(id)?).join(id).join("config.json")).ok()?;
            let rest = path.strip_prefix(&config.linux.cgroups_path)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| Container {
                id: id.to_owned(),
                name: Some(id.to_owned()),
                runtime: Some("containerd"),
                ..Container::default()
            })
        })
    }
}

impl Runtime for Bundles {
    fn describe<'a>(&'a self, Question { id, .. }: &'a Question) -> Answer<'a> {
        Box::pin(async move {
            let Some(namespace) = self.namespace(id) else { return Ok(None) };
            let config: Oci = json(&self.folder.join(namespace).join(id).join("config.json"))?;
            Ok(Some(config.description()))
        })
    }
}

/// CRI-O's folder with the configuration of each container.
#[derive(Debug)]
pub(super) struct Crio {
    pub(super) folder: PathBuf,
}

impl Runtime for Crio {
    fn describe<'a>(&'a self, Question { id, .. }: &'a Question) -> Answer<'a> {
        Box::pin(async move {
            if !is_name(id) {
                return Ok(None);
            }
            let config: Oci = json(&self.folder.join(id).join("userdata/config.json"))?;
            Ok(Some(config.description()))
        })
    }
}

/// Docker's folder with a file for each container.
#[derive(Debug)]
pub(super) struct Docker {
    pub(super) folder: PathBuf,
}

/// The part of `config.v2.json` that is of interest.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerFile {
    name: String,
    #[serde(default)]
    image: Option<String>,
    config: DockerConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Runtime for Docker {
    fn describe<'a>(&'a self, Question { id, .. }: &'a Question) -> Answer<'a> {
        Box::pin(async move {
            if !is_name(id) {
                return Ok(None);
            }
            let DockerFile { name, image, config } = json(&self.folder.join(id).join("config.v2.json"))?;
            Ok(Some(Description {
                name: Some(name.trim_start_matches('/').to_owned()),
                image: config.image,
                image_id: image,
                labels: config.labels.unwrap_or_default(),
                pod: None,
            }))
        })
    }
}

/// The list of containers that Podman and CRI-O keep (`containers.json` of containers/storage). It has no
/// labels.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) file: PathBuf,
}

#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON again.
    #[serde(default)]
    metadata: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    image_name: Option<String>,
    image_id: Option<String>,
}

impl Runtime for Storage {
    fn describe<'a>(&'a self, Question { id, .. }: &'a Question) -> Answer<'a> {
        Box::pin(async move {
            let stored: Vec<Stored> = json(&self.file)?;
            let Some(found) = stored.into_iter().find(|it| it.id == *id) else { return Ok(None) };
            let metadata: Option<Metadata> = serde_json::from_str(&found.metadata).ok();
            let (image, image_id) = metadata.map_or((None, None), |it| (it.image_name, it.image_id));
            let name = found.names.into_iter().next();
            Ok(Some(Description { name, image, image_id, ..Description::default() }))
        })
    }
}

fn json<T: DeserializeOwned>(file: &std::path::Path) -> Result<T, Error> {
    serde_json::from_slice(&limited::read(file)?).map_err(|error| Error::Failed(error.to_string()))
}

/// A name that cannot lead out of a folder.
fn is_name(id: &str) -> bool {
    !matches!(id, "" | "." | "..") && !id.contains('/')
}
