//! Which requests are LLM calls, to whom, and in which dialect.
//!
//! The knowledge is in the rows of [`endpoints`](super::endpoints) and [`vendors`](super::vendors); here is only how a request's head
//! is matched with them.

use std::{
    borrow::Cow,
    sync::{PoisonError, RwLock},
};

use super::{
    counted::Counted,
    dialect::{Compiled, Dialect, Quirks},
    endpoints::{ENDPOINTS, NEIGHBOURS, SHAPES, SOCKETS, TASKS},
    estimate::Estimates,
    gateway::Gateway,
    realtime::{self, Speech},
    retries::Retries,
    vendors::VENDORS,
    wire_text,
};
use crate::{pattern, stream::RequestHead};

/// The value of `gen_ai.provider.name` for a recognised call to a host that no row names.
pub(super) const UNKNOWN: &str = "unknown";

/// A provider of LLMs: a row of the catalog.
#[derive(Debug)]
pub(super) struct Vendor {
    /// OTel `gen_ai.provider.name` where one exists, else a stable lower-case name.
    pub(super) provider: &'static str,
    /// Its hosts. A `*` stands for anything; `*:port` is any host at that port.
    pub(super) hosts: &'static [&'static str],
    /// Beginnings, without the first slash, of the paths that belong to the LLM API, where the hosts
    /// serve other things too; empty: all do.
    pub(super) under: &'static [&'static str],
    /// Endpoints that only this provider has, beside [`ENDPOINTS`].
    pub(super) endpoints: &'static [Endpoint],
    /// Where it departs from the dialects.
    pub(super) quirks: Quirks,
    /// Beginnings of the paths, as above, at which calls are paid by a subscription whatever the credential.
    pub(super) subscriptions: &'static [&'static str],
}

/// A path and what a request to it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint {
    /// The path's end. `{model}` stands for the model, two of them for one with a slash in its name,
    /// `{}` for any segment.
    pub(super) path: &'static str,
    /// Which requests are meant.
    pub(super) method: Method,
    /// How its bodies are read; `None` when it is no call.
    pub(super) dialect: Option<&'static Dialect>,
    /// OTel `gen_ai.operation.name`, or a stable word where it has none.
    pub(super) operation: &'static str,
    /// The model's name may say more about the operation.
    pub(super) any_task: bool,
}

/// Which requests to a path are meant, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// `POST`: makes a response.
    Post,
    /// `POST` to a response that was made before.
    PostAgain,
    /// `GET` of a response that was made before.
    Get,
}

/// A path and what a WebSocket there is.
#[derive(Debug)]
pub(super) struct Socket {
    /// The path's end, and the operation.
    pub(super) endpoint: Endpoint,
    /// What is spoken.
    pub(super) speech: Speech,
}

/// A conversation's place in the catalog.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketRoute {
    pub(super) provider: &'static str,
    pub(super) operation: &'static str,
    pub(super) speech: Speech,
    pub(super) quirks: Quirks,
    /// Host and path are a provider's; elsewhere the messages have to agree that these are calls.
    pub(super) certain: bool,
}

/// What a request is to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// An LLM call, as far as its head tells.
    Call,
    /// No call, but a request to an LLM API: calls may follow on the same connection.
    Related,
    /// Its path could not be read (HTTP/2 from the middle of a connection): the bodies have to tell.
    Unclear,
    /// Nothing to do with LLMs.
    Unrelated,
}

/// A call's place in the catalog.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) provider: &'static str,
    pub(super) operation: &'static str,
    /// The model, where the path names it.
    pub(super) model: Option<String>,
    pub(super) quirks: Quirks,
    /// Host and path are a provider's; elsewhere the bodies have to agree that this is a call.
    pub(super) certain: bool,
    /// It asks for a response that was made before.
    pub(super) poll: bool,
    dialect: usize,
}

/// All providers, endpoints and dialects, compiled once and shared by all connections.
#[derive(Debug)]
pub struct Catalog {
    dialects: Vec<Compiled>,
    gateways: RwLock<Vec<Gateway>>,
    counted: Counted,
    retries: Retries,
    realtime: realtime::Tables,
    estimates: RwLock<Estimates>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalog {
    /// Compiles the tables.
    #[must_use]
    pub fn new() -> Self {
        let mut dialects: Vec<Compiled> = Vec::new();
        let of_shapes = SHAPES.iter().map(|&(dialect, _)| dialect);
        for dialect in endpoints().filter_map(|endpoint| endpoint.dialect).chain(of_shapes) {
            if !dialects.iter().any(|known| std::ptr::eq(known.dialect, dialect)) {
                dialects.push(Compiled::new(dialect));
            }
        }
        Self {
            dialects,
            realtime: realtime::Tables::new(),
            gateways: RwLock::default(),
            counted: Counted::default(),
            retries: Retries::default(),
            estimates: RwLock::default(),
        }
    }

    /// The same with an operator's own gateways.
    #[must_use]
    pub fn with_gateways(self, gateways: Vec<Gateway>) -> Self {
        self.set_gateways(gateways);
        self
    }

    /// The same with estimates of that kind.
    #[must_use]
    pub fn with_estimates(self, estimates: Estimates) -> Self {
        self.set_estimates(estimates);
        self
    }

    /// Which calls' tokens are estimated.
    pub(super) fn estimates(&self) -> Estimates {
        *self.estimates.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, the tokens of other calls are estimated; of calls under way, as it was at their start.
    pub fn set_estimates(&self, estimates: Estimates) {
        *self.estimates.write().unwrap_or_else(PoisonError::into_inner) = estimates;
    }

    /// Puts other gateways in the place of those that were there, for all requests from now on.
    pub fn set_gateways(&self, gateways: Vec<Gateway>) {
        *self.gateways.write().unwrap_or_else(PoisonError::into_inner) = gateways;
    }

    /// What the request with this head is.
    #[must_use]
    pub fn interest(&self, head: &RequestHead) -> Interest {
        if self.route(head).is_some() || Self::socket(head).is_some() {
            return Interest::Call;
        }
        if is_unclear(head) {
            return Interest::Unclear;
        }
        let related = match (self.gateway(head, |_| true), vendor(head)) {
            (true, _) => true,
            (false, Some(vendor)) => vendor.covers(&head.path),
            (false, None) => {
                ENDPOINTS.iter().chain(NEIGHBOURS).any(|endpoint| endpoint.matches(&head.path).is_some())
            }
        };
        if related { Interest::Related } else { Interest::Unrelated }
    }

    /// Where the call with this head belongs; `None` when it is no call.
    pub(super) fn route(&self, head: &RequestHead) -> Option<Route> {
        if !matches!(&*head.method, "POST" | "GET") {
            return None;
        }
        let mut found = None;
        self.gateway(head, |gateway| {
            found = gateway.route(head).map(|(name, endpoint, model)| (name, endpoint, model, true));
            found.is_some()
        });
        if let Some((provider, endpoint, model, certain)) = found {
            return self.route_to(provider, endpoint, model, Quirks::default(), certain);
        }
        let vendor = vendor(head);
        let own = vendor.map_or(&[][..], |vendor| vendor.endpoints);
        let (endpoint, model) = find(own.iter().chain(ENDPOINTS), head)?;
        let provider = vendor.map_or(UNKNOWN, |vendor| vendor.provider);
        let quirks = vendor.map_or_else(Quirks::default, |vendor| vendor.quirks);
        let certain = vendor.is_some_and(|vendor| vendor.covers(&head.path));
        self.route_to(provider, endpoint, model, quirks, certain)
    }

    fn route_to(
        &self,
        provider: &'static str,
        endpoint: Endpoint,
        model: Option<String>,
        quirks: Quirks,
        certain: bool,
    ) -> Option<Route> {
        let wanted = endpoint.dialect?;
        let dialect = self.dialects.iter().position(|known| std::ptr::eq(known.dialect, wanted))?;
        let task = model.as_deref().filter(|_| endpoint.any_task).and_then(task);
        Some(Route {
            provider,
            operation: task.unwrap_or(endpoint.operation),
            model,
            quirks,
            certain,
            poll: endpoint.method != Method::Post,
            dialect,
        })
    }

    /// Whether a gateway is meant by the request, of those that fit its host.
    fn gateway(&self, head: &RequestHead, mut meant: impl FnMut(&Gateway) -> bool) -> bool {
        let gateways = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
        gateways.iter().any(|gateway| gateway.serves(head) && meant(gateway))
    }

    /// Where a call belongs whose path could not be read: to one of these, if its bodies say so.
    /// Empty where the head does tell.
    pub(super) fn routes_by_shape(&self, head: &RequestHead) -> impl Iterator<Item = Route> {
        let vendor = vendor(head);
        let shapes = if is_unclear(head) { SHAPES } else { &[] };
        shapes.iter().filter_map(move |&(wanted, operation)| {
            Some(Route {
                provider: vendor.map_or(UNKNOWN, |vendor| vendor.provider),
                operation,
                model: None,
                poll: false,
                quirks: vendor.map_or_else(Quirks::default, |vendor| vendor.quirks),
                certain: false,
                dialect: self.dialects.iter().position(|known| std::ptr::eq(known.dialect, wanted))?,
            })
        })
    }

    /// Where the WebSocket that this head asks for belongs; `None` when it is not an LLM's.
    pub(super) fn socket(head: &RequestHead) -> Option<SocketRoute> {
        if !head.asks_for_websocket() {
            return None;
        }
        let Socket { endpoint, speech } =
            SOCKETS.iter().find(|socket| socket.endpoint.matches(&head.path).is_some())?;
        let vendor = vendor(head);
        Some(SocketRoute {
            provider: vendor.map_or(UNKNOWN, |vendor| vendor.provider),
            operation: endpoint.operation,
            speech: *speech,
            quirks: vendor.map_or_else(Quirks::default, |vendor| vendor.quirks),
            certain: vendor.is_some_and(|vendor| vendor.covers(&head.path)),
        })
    }

    /// The tables that the messages of WebSockets are read by.
    pub(super) const fn realtime(&self) -> &realtime::Tables {
        &self.realtime
    }

    /// The tables that a route's bodies are read by.
    pub(super) fn compiled(&self, route: &Route) -> &Compiled {
        &self.dialects[route.dialect]
    }

    /// Which requests have failed.
    pub(super) const fn retries(&self) -> &Retries {
        &self.retries
    }

    /// Which responses have been counted.
    pub(super) const fn counted(&self) -> &Counted {
        &self.counted
    }
}

/// Every endpoint of the tables.
pub(super) fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    VENDORS.iter().flat_map(|vendor| vendor.endpoints).chain(ENDPOINTS)
}

/// The first endpoint that the request fits, and the model its path names.
pub(super) fn find<'a>(
    endpoints: impl Iterator<Item = &'a Endpoint>,
    head: &RequestHead,
) -> Option<(Endpoint, Option<String>)> {
    let get = head.method == "GET";
    endpoints
        .filter(|endpoint| get == (endpoint.method == Method::Get))
        .find_map(|endpoint| Some((*endpoint, endpoint.matches(&head.path)?)))
}

/// The operation that a model's name tells of.
fn task(model: &str) -> Option<&'static str> {
    TASKS.iter().find(|(part, _)| model.contains(part)).map(|&(_, operation)| operation)
}

/// Whether the path is missing; a method that could be read has to be a call's.
fn is_unclear(head: &RequestHead) -> bool {
    head.path.is_empty() && (head.method.is_empty() || head.method == "POST")
}

fn vendor(head: &RequestHead) -> Option<&'static Vendor> {
    let host = head.host.as_deref()?;
    VENDORS.iter().find(|vendor| vendor.hosts.iter().any(|pattern| host_matches(pattern, host, head.port)))
}

/// Whether a call is paid by the month and not by itself, as far as its head tells.
pub(super) fn is_by_subscription(head: &RequestHead) -> bool {
    let path = head.path.trim_start_matches('/');
    let paid = |vendor: &Vendor| vendor.subscriptions.iter().any(|prefix| path.starts_with(prefix));
    head.subscription || vendor(head).is_some_and(paid)
}

impl Vendor {
    /// Whether the path is one of the LLM API's and not another product's.
    fn covers(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        self.under.is_empty() || self.under.iter().any(|prefix| path.starts_with(prefix))
    }
}

pub(super) fn host_matches(pattern: &str, host: &str, port: Option<u16>) -> bool {
    if let Some(wanted) = pattern.strip_prefix("*:") {
        return port.is_some_and(|port| wanted.parse() == Ok(port));
    }
    pattern::fits(pattern, host)
}

impl Endpoint {
    /// Whether the path ends like this endpoint's; if so, the model it names, if it names one.
    #[expect(clippy::option_option, reason = "no match, a match, and a match with a model are three things")]
    fn matches(&self, path: &str) -> Option<Option<String>> {
        path_matches(self.path, path)
    }
}

/// Whether a path ends like a pattern; if so, the model it names, if it names one. A pattern that
/// begins with a slash is the whole path.
#[expect(clippy::option_option, reason = "no match, a match, and a match with a model are three things")]
pub(super) fn path_matches(pattern: &str, path: &str) -> Option<Option<String>> {
    let mut model: Option<String> = None;
    // Doubled and trailing slashes occur and mean nothing.
    let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty());
    for wanted in pattern.trim_start_matches('/').rsplit('/') {
        let segment = decode(segments.next()?);
        if let Some(rest) = wanted.strip_prefix("{model}") {
            let name = segment.strip_suffix(rest).filter(|name| !name.is_empty())?;
            model = Some(match model {
                None => wire_text(name),
                Some(end) => wire_text(&format!("{name}/{end}")),
            });
        } else if wanted != "{}" && wanted != segment {
            return None;
        }
    }
    (!pattern.starts_with('/') || segments.next().is_none()).then_some(model)
}

/// Undoes percent-encoding; a segment that is not UTF-8 then is left as it was.
fn decode(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|&b| (b as char).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(segment), Cow::Owned)
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
