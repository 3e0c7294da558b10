//! What a runtime says about a container, and what is kept of it.

use std::collections::{BTreeMap, BTreeSet};

use super::kubernetes;
use crate::attribution::origin::{Container, Workload};

/// Longest name and value, bytes. (An image's name with registry and digest takes about 200.)
const MAX_TEXT: usize = 512;

/// In a runtime's words. It lives for one question, within the bound on what a runtime may send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) name: Option<String>,
    pub(super) image: Option<String>,
    pub(super) image_id: Option<String>,
    /// The container's labels, or annotations where the runtime keeps the same there.
    pub(super) labels: BTreeMap<String, String>,
    /// The sandbox that it runs in, where the runtime knows of such.
    pub(super) pod: Option<Pod>,
}

/// A pod in a CRI runtime's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) labels: BTreeMap<String, String>,
}

/// What is kept: bounded, and only the labels that the operator picked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Details {
    name: Option<String>,
    image: Option<String>,
    image_id: Option<String>,
    pod: Option<String>,
    pod_uid: Option<String>,
    namespace: Option<String>,
    workload: Option<Workload>,
    labels: BTreeMap<String, String>,
}

impl Details {
    /// Of a description, with these labels. `in_pod`: the cgroup says that a kubelet made the container.
    /// Else nothing that labels say of Kubernetes counts: they come with any image.
    pub(super) fn new(description: Description, picked: &BTreeSet<String>, in_pod: bool) -> Self {
        let Description { name, image, image_id, labels, pod } = description;
        let said = |label| labels.get(label).filter(|_| in_pod).cloned();
        let (pod, namespace, uid, pod_labels) = match pod {
            Some(Pod { name, namespace, uid, labels }) => (Some(name), Some(namespace), Some(uid), labels),
            None => (
                said(kubernetes::POD_NAME),
                said(kubernetes::POD_NAMESPACE),
                said(kubernetes::POD_UID),
                labels.clone(),
            ),
        };
        let pod = text(pod);
        Self {
            name: text(said(kubernetes::CONTAINER_NAME).or(name)),
            image: text(image),
            image_id: text(image_id),
            pod_uid: text(uid),
            namespace: text(namespace),
            workload: pod.as_deref().and_then(|pod| kubernetes::workload(pod, &pod_labels)),
            pod,
            labels: picked
                .iter()
                .filter_map(|label| {
                    let value = labels.get(label).or_else(|| pod_labels.get(label))?;
                    Some((label.clone(), text(Some(value.clone()))?))
                })
                .collect(),
        }
    }

    /// Adds what the cgroup path did not tell.
    pub(super) fn fill(&self, container: &mut Container) {
        let Self { name, image, image_id, pod, pod_uid, namespace, workload, labels } = self.clone();
        let Container { id: _, runtime: _, labels: its_labels, .. } = container;
        *its_labels = labels;
        container.name = name.or(container.name.take());
        container.image = image;
        container.image_id = image_id;
        container.pod = pod;
        container.pod_uid = container.pod_uid.take().or(pod_uid);
        container.namespace = namespace;
        container.workload = workload;
    }
}

/// Empty is not known; what is too long is cut.
fn text(value: Option<String>) -> Option<String> {
    let mut value = value.filter(|value| !value.is_empty())?;
    value.truncate((0..=MAX_TEXT).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0));
    Some(value)
}
