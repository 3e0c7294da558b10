//! Docker's API, which Podman serves too.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, query_parameters::ListContainersOptionsBuilder};
use hyper::{
    Uri,
    client::conn::http1,
    header::{HOST, HeaderValue},
    http::uri::PathAndQuery,
};
use hyper_util::rt::TokioIo;

use super::{Answer, Question, Runtime, TIMEOUT, description::Description, limited};

/// One socket.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) socket: PathBuf,
    /// Whose the socket has to be.
    pub(super) owner: Option<u32>,
}

impl Runtime for Api {
    /// `GET /containers/json` with a filter by id: it has all that is wanted of the container's own page.
    fn describe<'a>(&'a self, question: &'a Question) -> Answer<'a> {
        Box::pin(async move {
            // Connected here, so that a socket that is missing is told from one that does not work.
            let connected = Mutex::new(Some(limited::connect(&self.socket, self.owner).await?));
            let send = move |request: BollardRequest| {
                let stream = connected.lock().unwrap_or_else(PoisonError::into_inner).take();
                async move {
                    let stream = stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
                    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                    tokio::spawn(tokio::time::timeout(TIMEOUT, connection));
                    Ok(sender.send_request(of_no_version(request)).await?)
                }
            };
            let address = Some("http://localhost");
            let docker =
                Docker::connect_with_custom_transport(send, address, TIMEOUT.as_secs(), API_DEFAULT_VERSION)?;
            // bollard does not know Podman's word for one that has just ended, `stopped`; those are on disk.
            let alive = ["created", "running", "paused"].map(str::to_owned).to_vec();
            let filters =
                HashMap::from([("id".to_owned(), vec![question.id.clone()]), ("status".to_owned(), alive)]);
            let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
            let listed = docker.list_containers(Some(options)).await?;
            // The filter takes the beginning of an id, too.
            let found = listed.into_iter().find(|it| it.id.as_deref() == Some(&question.id));
            Ok(found.map(|it| Description {
                // `/name`; a link's name for it has two slashes.
                name: it.names.into_iter().flatten().find_map(|name| {
                    let name = name.strip_prefix('/').unwrap_or(&name);
                    (!name.contains('/')).then(|| name.to_owned())
                }),
                image: it.image,
                image_id: it.image_id,
                labels: it.labels.into_iter().flatten().collect(),
                pod: None,
            }))
        })
    }
}

/// The request as a server takes it, without the version before its path: each engine refuses versions
/// that are too new for it, or too old, and answers in its own where none is said.
fn of_no_version(mut request: BollardRequest) -> BollardRequest {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let path = path.strip_prefix(&format!("/v{API_DEFAULT_VERSION}")).unwrap_or(path);
    if let Ok(uri) = path.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    request
}
