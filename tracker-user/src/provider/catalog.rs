//! Which requests are LLM calls, to whom, and in which dialect.
//!
//! The knowledge is in the rows of [`vendors`](super::vendors); here is only how a request's head
//! is matched with them.

use std::borrow::Cow;

use super::{
    dialect::{Compiled, Dialect, Quirks},
    realtime::{self, Speech},
    vendors::{ENDPOINTS, NEIGHBOURS, SOCKETS, VENDORS},
    wire_text,
};
use crate::stream::RequestHead;

/// The value of `gen_ai.provider.name` for a recognised call to a host that no row names.
pub(super) const UNKNOWN: &str = "unknown";

/// A provider of LLMs: a row of the catalog.
#[derive(Debug)]
pub(super) struct Vendor {
    /// OTel `gen_ai.provider.name` where one exists, else a stable lower-case name.
    pub(super) provider: &'static str,
    /// Its hosts. One `*` stands for anything; `*:port` is any host at that port.
    pub(super) hosts: &'static [&'static str],
    /// Beginnings, without the first slash, of the paths that belong to the LLM API, where the hosts
    /// serve other things too; empty: all do.
    pub(super) under: &'static [&'static str],
    /// Endpoints that only this provider has, beside [`ENDPOINTS`].
    pub(super) endpoints: &'static [Endpoint],
    /// Where it departs from the dialects.
    pub(super) quirks: Quirks,
}

/// A path and what a `POST` to it is.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The path's end. `{model}` stands for the model, `{}` for any segment.
    pub(super) path: &'static str,
    /// How its bodies are read; `None` when it is no call.
    pub(super) dialect: Option<&'static Dialect>,
    /// OTel `gen_ai.operation.name`.
    pub(super) operation: &'static str,
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
    dialect: usize,
}

/// All providers, endpoints and dialects, compiled once and shared by all connections.
#[derive(Debug)]
pub struct Catalog {
    dialects: Vec<Compiled>,
    realtime: realtime::Tables,
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
        let endpoints = VENDORS.iter().flat_map(|vendor| vendor.endpoints).chain(ENDPOINTS);
        for dialect in endpoints.filter_map(|endpoint| endpoint.dialect) {
            if !dialects.iter().any(|known| std::ptr::eq(known.dialect, dialect)) {
                dialects.push(Compiled::new(dialect));
            }
        }
        Self { dialects, realtime: realtime::Tables::new() }
    }

    /// What the request with this head is.
    #[must_use]
    pub fn interest(&self, head: &RequestHead) -> Interest {
        if self.route(head).is_some() || Self::socket(head).is_some() {
            return Interest::Call;
        }
        let related = match vendor(head) {
            Some(vendor) => vendor.covers(&head.path),
            None => ENDPOINTS.iter().chain(NEIGHBOURS).any(|endpoint| endpoint.matches(&head.path).is_some()),
        };
        if related { Interest::Related } else { Interest::Unrelated }
    }

    /// Where the call with this head belongs; `None` when it is no call.
    pub(super) fn route(&self, head: &RequestHead) -> Option<Route> {
        if head.method != "POST" {
            return None;
        }
        let vendor = vendor(head);
        let own = vendor.map_or(&[][..], |vendor| vendor.endpoints);
        let (endpoint, model) = own
            .iter()
            .chain(ENDPOINTS)
            .find_map(|endpoint| Some((endpoint, endpoint.matches(&head.path)?)))?;
        let wanted = endpoint.dialect?;
        let dialect = self.dialects.iter().position(|known| std::ptr::eq(known.dialect, wanted))?;
        Some(Route {
            provider: vendor.map_or(UNKNOWN, |vendor| vendor.provider),
            operation: endpoint.operation,
            model,
            quirks: vendor.map_or_else(Quirks::default, |vendor| vendor.quirks),
            certain: vendor.is_some_and(|vendor| vendor.covers(&head.path)),
            dialect,
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
}

fn vendor(head: &RequestHead) -> Option<&'static Vendor> {
    let host = head.host.as_deref()?;
    VENDORS.iter().find(|vendor| vendor.hosts.iter().any(|pattern| host_matches(pattern, host, head.port)))
}

impl Vendor {
    /// Whether the path is one of the LLM API's and not another product's.
    fn covers(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        self.under.is_empty() || self.under.iter().any(|prefix| path.starts_with(prefix))
    }
}

fn host_matches(pattern: &str, host: &str, port: Option<u16>) -> bool {
    if let Some(wanted) = pattern.strip_prefix("*:") {
        return port.is_some_and(|port| wanted.parse() == Ok(port));
    }
    match pattern.split_once('*') {
        None => pattern == host,
        Some((start, end)) => {
            host.strip_prefix(start).is_some_and(|rest| rest.len() > end.len() && rest.ends_with(end))
        }
    }
}

impl Endpoint {
    /// Whether the path ends like this endpoint's; if so, the model it names, if it names one.
    #[expect(clippy::option_option, reason = "no match, a match, and a match with a model are three things")]
    fn matches(&self, path: &str) -> Option<Option<String>> {
        let mut model = None;
        // Doubled and trailing slashes occur and mean nothing.
        let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty());
        for wanted in self.path.rsplit('/') {
            let segment = decode(segments.next()?);
            if let Some(rest) = wanted.strip_prefix("{model}") {
                let name = segment.strip_suffix(rest).filter(|name| !name.is_empty())?;
                model = Some(wire_text(name));
            } else if wanted != "{}" && wanted != segment {
                return None;
            }
        }
        Some(model)
    }
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
