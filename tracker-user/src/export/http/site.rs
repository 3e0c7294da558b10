//! What is answered to a request, or why it is not.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ACCEPT, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue,
        RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
    },
};
use tokio::sync::Semaphore;

use super::{Pages, WebConfig, auth::Answer, index, web_config::Loaded};
use crate::{
    api::{self, Body, Peer, Problem},
    export::Format,
};

/// Pages that are made at a time: they take memory and a processor.
const PAGES: usize = 2;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// What all connections have in common.
pub(super) struct Site {
    pub(super) pages: Pages,
    pub(super) web: Arc<WebConfig>,
    being_made: Semaphore,
}

impl Site {
    pub(super) fn new(pages: Pages, web: Arc<WebConfig>) -> Arc<Self> {
        Arc::new(Self { pages, web, being_made: Semaphore::new(PAGES) })
    }
}

/// All that a client says it accepts.
fn accepted(headers: &HeaderMap) -> String {
    let lines: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

pub(super) async fn respond(request: Request<Incoming>, site: &Site, peer: &Peer) -> Response<Body> {
    let web = site.web.current();
    let is_api = request.uri().path().starts_with(api::PREFIX);
    // The kernel has said who is at the socket, and what others need passwords for is not there.
    let on_socket = peer.is_on_socket();
    let refusal = if on_socket { None } else { unauthorized(&request, &web).await };
    let mut response = match refusal.or_else(|| unwanted(&request)) {
        Some(refusal) => refusal.response(is_api),
        None if is_api => site.pages.api.answer(&request, peer).await,
        None if on_socket => Problem::not_found().response(),
        None => answer(&request, site).await,
    };
    response.headers_mut().extend(web.headers.clone());
    response
}

/// Why a request is not answered, and a header that goes with it.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    text: &'static str,
    header: (HeaderName, &'static str),
}

impl Refusal {
    /// In the words of who has asked.
    fn response(self, is_api: bool) -> Response<Body> {
        let Self { status, kind, text, header: (name, value) } = self;
        let mut response = if is_api {
            Problem::new(status, kind, text).response()
        } else {
            page(status, TEXT, format!("{text}\n"))
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}

async fn unauthorized(request: &Request<Incoming>, web: &Loaded) -> Option<Refusal> {
    let users = web.users.as_ref().filter(|_| !web.excluded.iter().any(|it| it == request.uri().path()))?;
    match users.check(request.headers().get(AUTHORIZATION)).await {
        Answer::Right => None,
        Answer::Wrong => Some(Refusal {
            status: StatusCode::UNAUTHORIZED,
            kind: "unauthorized",
            text: "unauthorized",
            header: (WWW_AUTHENTICATE, "Basic"),
        }),
        Answer::Busy => Some(Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "busy",
            text: "too many passwords",
            header: (RETRY_AFTER, "10"),
        }),
    }
}

fn unwanted(request: &Request<Incoming>) -> Option<Refusal> {
    let headers = request.headers();
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    match *request.method() {
        Method::GET | Method::HEAD if has_body => Some(Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            kind: "body",
            text: "no body is wanted",
            header: (CONNECTION, "close"),
        }),
        Method::GET | Method::HEAD => None,
        _ => Some(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            kind: "method",
            text: "only GET and HEAD",
            header: (ALLOW, "GET, HEAD"),
        }),
    }
}

async fn answer(request: &Request<Incoming>, site: &Site) -> Response<Body> {
    let Pages { metrics, ready, api: _ } = &site.pages;
    match request.uri().path() {
        "/metrics" => {
            // Never closed; an error would let one page more be made.
            let _turn = site.being_made.acquire().await;
            let metrics = Arc::clone(metrics);
            let format = Format::accepted(&accepted(request.headers()));
            // Thousands of series take a while; other tasks of this thread go on meanwhile.
            match tokio::task::spawn_blocking(move || metrics.render(format)).await {
                Ok(text) => page(StatusCode::OK, format.content_type(), text),
                Err(error) => {
                    tracing::error!(%error, "the metrics page could not be made");
                    page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics page could not be made\n")
                }
            }
        }
        "/healthz" => page(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" if ready.get() => page(StatusCode::OK, TEXT, "ready\n"),
        "/readyz" => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n"),
        "/" => index::protected(page(StatusCode::OK, HTML, index::PAGE)),
        _ => page(StatusCode::NOT_FOUND, TEXT, "not found\n"),
    }
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = api::response(content_type, Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response
}
