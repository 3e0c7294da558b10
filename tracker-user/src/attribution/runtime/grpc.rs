//! The Container Runtime Interface, which Kubernetes asks containerd and CRI-O by, and containerd's own.
//!
//! Only the fields that are wanted, with their numbers from the published definitions: Kubernetes'
//! `cri-api/pkg/apis/runtime/v1/api.proto` (`v1alpha2` numbers them alike) and containerd's
//! `api/services/containers/v1/containers.proto`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    future::ready,
    io,
    path::{Path, PathBuf},
};

use hyper::{Uri, http::uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use prost::Message;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::AsciiMetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{
    Answer, Error, Question, Runtime,
    description::{Description, Pod},
    limited::{self, MAX_ANSWER},
    state,
};

/// Versions of the CRI: the second is what containerd before 1.6 and CRI-O before 1.20 speak.
const CRI: [[&str; 3]; 2] = [
    [
        "/runtime.v1.RuntimeService/ListContainers",
        "/runtime.v1.RuntimeService/ListPodSandbox",
        "/runtime.v1.RuntimeService/ContainerStatus",
    ],
    [
        "/runtime.v1alpha2.RuntimeService/ListContainers",
        "/runtime.v1alpha2.RuntimeService/ListPodSandbox",
        "/runtime.v1alpha2.RuntimeService/ContainerStatus",
    ],
];

/// The CRI at a socket.
#[derive(Debug)]
pub(super) struct Cri {
    pub(super) socket: PathBuf,
}

impl Runtime for Cri {
    fn describe<'a>(&'a self, question: &'a Question) -> Answer<'a> {
        Box::pin(async move {
            let mut client = Client::connect(&self.socket).await?;
            let mut refused = None;
            for version in CRI {
                match client.cri(version, &question.id).await {
                    Err(status) if status.code() == Code::Unimplemented => refused = Some(status),
                    answer => return Ok(answer?),
                }
            }
            refused.map_or(Ok(None), |status| Err(Error::from(status)))
        })
    }
}

/// containerd's own interface: also for what `ctr` and `nerdctl` run.
#[derive(Debug)]
pub(super) struct Containerd {
    pub(super) socket: PathBuf,
    /// Its state on disk, which says in which namespace of containerd's a container is.
    pub(super) bundles: state::Bundles,
}

impl Runtime for Containerd {
    fn describe<'a>(&'a self, question: &'a Question) -> Answer<'a> {
        Box::pin(async move {
            let Some(namespace) = self.bundles.namespace(&question.id) else { return Ok(None) };
            let namespace = AsciiMetadataValue::try_from(namespace)
                .map_err(|_| Error::Failed("a namespace that cannot be said".to_owned()))?;
            let mut client = Client::connect(&self.socket).await?;
            let mut request = Request::new(ById { id: question.id.clone() });
            request.metadata_mut().insert("containerd-namespace", namespace);
            let found: Got<OwnContainer> =
                client.ask("/containerd.services.containers.v1.Containers/Get", request).await?;
            Ok(found.container.map(|it| Description {
                name: it.labels.get(NERDCTL_NAME).cloned(),
                image: Some(it.image),
                image_id: None,
                labels: it.labels.into_iter().collect(),
                pod: None,
            }))
        })
    }
}

/// What `nerdctl --name` leaves.
pub(super) const NERDCTL_NAME: &str = "nerdctl/name";

struct Client(Grpc<Channel>);

impl Client {
    async fn connect(socket: &Path) -> Result<Self, Error> {
        // Connected here, so that a socket that is missing is told from one that does not work.
        let mut stream = Some(limited::connect(socket, None).await?);
        let connect = move |_: Uri| {
            let stream = stream.take().map(TokioIo::new);
            ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        };
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(connect))
            .await?;
        Ok(Self(Grpc::new(channel).max_decoding_message_size(MAX_ANSWER)))
    }

    async fn ask<Q, A>(&mut self, path: &'static str, request: Request<Q>) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Q, A>::default();
        Ok(self.0.unary(request, PathAndQuery::from_static(path), codec).await?.into_inner())
    }

    /// The container of this id, and the pod that it is in.
    async fn cri(&mut self, paths: [&'static str; 3], id: &str) -> Result<Option<Description>, Status> {
        let [containers, sandboxes, status] = paths;
        let by_id = |id: &str| Request::new(Filtered { filter: Some(ById { id: id.to_owned() }) });
        let listed: Listed<CriContainer> = self.ask(containers, by_id(id)).await?;
        let Some(container) = listed.items.into_iter().find(|it| it.id == id) else { return Ok(None) };
        let listed: Listed<Sandbox> = self.ask(sandboxes, by_id(&container.pod_sandbox_id)).await?;
        let sandbox = listed.items.into_iter().find(|it| it.id == container.pod_sandbox_id);
        // The list has the image as the kubelet asked for it, by its digest; its status has the name.
        let image = match self.ask(status, Request::new(ById { id: id.to_owned() })).await {
            Ok(Got::<CriStatus> { container }) => container,
            Err(_) => None,
        };
        let (image, image_id) = match image {
            Some(CriStatus { image, image_ref }) => (image, image_ref),
            None => (container.image, container.image_ref),
        };
        Ok(Some(Description {
            name: container.metadata.map(|it| it.name),
            image: image.map(|it| it.image),
            image_id: Some(image_id),
            labels: container.labels.into_iter().collect(),
            pod: sandbox.and_then(|sandbox| {
                let SandboxMetadata { name, uid, namespace } = sandbox.metadata?;
                Some(Pod { name, namespace, uid, labels: BTreeMap::from_iter(sandbox.labels) })
            }),
        }))
    }
}

/// `ContainerStatusRequest`, `ContainerFilter`, `PodSandboxFilter` and containerd's
/// `GetContainerRequest`: each begins with the id.
#[derive(Clone, PartialEq, Message)]
struct ById {
    #[prost(string, tag = "1")]
    id: String,
}

/// `ListContainersRequest`, `ListPodSandboxRequest`.
#[derive(Clone, PartialEq, Message)]
struct Filtered {
    #[prost(message, optional, tag = "1")]
    filter: Option<ById>,
}

/// `ListContainersResponse`, `ListPodSandboxResponse`.
#[derive(Message)]
struct Listed<T: Message + Default + Debug> {
    #[prost(message, repeated, tag = "1")]
    items: Vec<T>,
}

/// `ContainerStatusResponse` and containerd's `GetContainerResponse`.
#[derive(Message)]
struct Got<T: Message + Default + Debug> {
    #[prost(message, optional, tag = "1")]
    container: Option<T>,
}

/// `Container` of the CRI.
#[derive(Clone, PartialEq, Message)]
struct CriContainer {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    image: Option<ImageSpec>,
    #[prost(string, tag = "5")]
    image_ref: String,
    #[prost(map = "string, string", tag = "8")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

/// `ContainerStatus`.
#[derive(Clone, PartialEq, Message)]
struct CriStatus {
    #[prost(message, optional, tag = "8")]
    image: Option<ImageSpec>,
    #[prost(string, tag = "9")]
    image_ref: String,
}

/// `PodSandbox`.
#[derive(Clone, PartialEq, Message)]
struct Sandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<SandboxMetadata>,
    #[prost(map = "string, string", tag = "5")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

/// containerd's `Container`.
#[derive(Clone, PartialEq, Message)]
struct OwnContainer {
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "3")]
    image: String,
}
