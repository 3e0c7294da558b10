//! The workload that owns a pod, told from what its controller wrote on it.
//!
//! The kubelet does not know who owns a pod, and the API server is not asked: the labels that the
//! controllers set are enough. The first rule that fits decides.
//!
//! | label | set by | workload |
//! |---|---|---|
//! | `statefulset.kubernetes.io/pod-name` | StatefulSet | the pod's name without its ordinal |
//! | `batch.kubernetes.io/job-name`, `job-name` | Job | its value; of a name that ends in the minute that it was due, the CronJob before it |
//! | `pod-template-hash` | Deployment | the pod's name without its own suffix and this hash |
//! | `controller-revision-hash` | DaemonSet (a StatefulSet has the first label, too) | the pod's name without its own suffix |
//!
//! Sources: `pkg/controller` of Kubernetes (`deployment/sync.go`, `daemon`, `statefulset`, `cronjob/utils.go`)
//! and "Well-Known Labels, Annotations and Taints" of its documentation.

use std::collections::BTreeMap;

use crate::attribution::origin::Workload;

/// Labels that the kubelet has the runtime put on each container of a pod.
pub(super) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub(super) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(super) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(super) const POD_UID: &str = "io.kubernetes.pod.uid";

/// The workload that owns the pod of this name with these labels.
pub(super) fn workload(pod: &str, labels: &BTreeMap<String, String>) -> Option<Workload> {
    let found = |kind, name: &str| (!name.is_empty()).then(|| Workload { kind, name: name.to_owned() });
    let label = |name: &str| labels.get(name).map(String::as_str);
    if label("statefulset.kubernetes.io/pod-name").is_some() {
        let (name, ordinal) = pod.rsplit_once('-')?;
        return found("statefulset", name).filter(|_| is_number(ordinal));
    }
    if let Some(job) = label("batch.kubernetes.io/job-name").or_else(|| label("job-name")) {
        return match job.rsplit_once('-') {
            // Minutes since 1970: eight digits from 1989 to 2160. Releases before 1.21 wrote seconds.
            Some((cron, due)) if is_number(due) && matches!(due.len(), 8 | 10) => found("cronjob", cron),
            _ => found("job", job),
        };
    }
    let owner = without_suffix(pod)?;
    if let Some(hash) = label("pod-template-hash") {
        return found("deployment", owner.strip_suffix(hash)?.strip_suffix('-')?);
    }
    label("controller-revision-hash").and_then(|_| found("daemonset", owner))
}

/// A pod's name without the five characters that the API server appends to what a controller asks for.
fn without_suffix(pod: &str) -> Option<&str> {
    let (owner, suffix) = pod.rsplit_once('-')?;
    (suffix.len() == 5).then_some(owner)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_leaves_its_mark() {
        /// A pod's name, its labels, its workload.
        type Row = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>);
        #[rustfmt::skip]
        let rows: &[Row] = &[
            ("web-7d4b9c6f5b-x2x7z", &[("pod-template-hash", "7d4b9c6f5b"), ("app", "web")], Some("deployment/web")),
            ("a-b-7d4b9c6f5b-x2x7z", &[("pod-template-hash", "7d4b9c6f5b")], Some("deployment/a-b")),
            // A ReplicaSet that somebody made by hand, with a label that belongs to something else.
            ("web-x2x7z", &[("pod-template-hash", "7d4b9c6f5b")], None),
            ("db-12", &[("statefulset.kubernetes.io/pod-name", "db-12"), ("controller-revision-hash", "db-5f4")], Some("statefulset/db")),
            ("agent-x2x7z", &[("controller-revision-hash", "6c9f8d"), ("pod-template-generation", "1")], Some("daemonset/agent")),
            ("train-abcde", &[("job-name", "train")], Some("job/train")),
            ("train-0-abcde", &[("batch.kubernetes.io/job-name", "train"), ("job-name", "other")], Some("job/train")),
            ("nightly-29381760-abcde", &[("batch.kubernetes.io/job-name", "nightly-29381760")], Some("cronjob/nightly")),
            ("run-2024-abcde", &[("job-name", "run-2024")], Some("job/run-2024")),
            // By hand, static, or with somebody else's labels only.
            ("shell", &[("app", "shell")], None),
            ("etcd-node1", &[("component", "etcd")], None),
            ("db", &[("statefulset.kubernetes.io/pod-name", "db")], None),
            ("-7d4b9c6f5b-x2x7z", &[("pod-template-hash", "7d4b9c6f5b")], None),
            ("", &[("controller-revision-hash", "1")], None),
        ];
        for (pod, labels, expected) in rows {
            let labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(workload(pod, &labels).map(String::from).as_deref(), *expected, "{pod}");
        }
    }
}
