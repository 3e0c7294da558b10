//! An operator's own gateways: hosts in front of LLMs that no table can know.
//!
//! ```toml
//! [[gateway]]
//! name = "corp"
//! hosts = ["llm.corp.example", "*.llm.corp.example", "10.0.3.7:8000"]
//! # Only where the paths are the gateway's own; those of the known APIs are known.
//! paths = ["/team/*/models/{model}/ask"]
//! dialect = "openai.chat"
//! ```

use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::{
    catalog::{Endpoint, Method, endpoints, find, host_matches, path_matches},
    dialect::Dialect,
    endpoints::ENDPOINTS,
};
use crate::stream::RequestHead;

/// Longest name, host or path pattern.
const MAX_TEXT: usize = 256;

/// A text that is kept for good. (Serde would borrow a plain reference from the configuration.)
type Kept = &'static str;

/// One `[[gateway]]` of the configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Gateway {
    name: Kept,
    hosts: Vec<HostPattern>,
    own: Option<Own>,
}

/// Paths that only this gateway has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    paths: Vec<PathPattern>,
    dialect: DialectName,
    operation: Kept,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: Name,
    hosts: Vec<HostPattern>,
    #[serde(default)]
    paths: Vec<PathPattern>,
    dialect: Option<DialectName>,
}

/// What is wrong with a gateway.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The name cannot be a label.
    #[error("a gateway's name is made of 1 to 64 letters, digits, `.`, `-` and `_`")]
    Name,
    /// There is no host.
    #[error("a gateway needs at least one host")]
    NoHost,
    /// A host is not one.
    #[error(
        "a host is a name or an address, lower case, with a port after `:` if it matters and at most one `*`; `*` alone would be every host"
    )]
    Host,
    /// A path is not one.
    #[error("a path has segments between slashes, of which each may be `*`, and one may end in `{{model}}`")]
    Path,
    /// There is no such dialect.
    #[error("there is no dialect of that name; there are {}", dialects().map(|dialect| dialect.name).collect::<Vec<_>>().join(", "))]
    Dialect,
    /// Paths without a dialect, or a dialect without paths.
    #[error("`paths` and `dialect` belong together: the one says where, the other what is spoken there")]
    Half,
}

/// The name, kept for good: names are few, and calls carry them about.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Name(Kept);

impl TryFrom<String> for Name {
    type Error = GatewayError;

    fn try_from(name: String) -> Result<Self, GatewayError> {
        static NAMES: Mutex<Vec<Kept>> = Mutex::new(Vec::new());
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(GatewayError::Name);
        }
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.iter().find(|known| **known == name) {
            return Ok(Self(known));
        }
        let kept: Kept = Box::leak(name.into_boxed_str());
        names.push(kept);
        Ok(Self(kept))
    }
}

/// A host, with its port if that matters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct HostPattern {
    host: String,
    port: Option<u16>,
}

impl TryFrom<String> for HostPattern {
    type Error = GatewayError;

    fn try_from(text: String) -> Result<Self, GatewayError> {
        // The colons of an IPv6 address are inside brackets.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| GatewayError::Host)?))
            }
            _ => (&*text, None),
        };
        let fits = |c: char| {
            c.is_ascii_lowercase()
                || c.is_ascii_digit()
                || matches!(c, '.' | '-' | '_' | '*' | '[' | ']' | ':')
        };
        let alone = host == "*" && port.is_none();
        if host.is_empty()
            || host.len() > MAX_TEXT
            || alone
            || !host.chars().all(fits)
            || host.matches('*').count() > 1
        {
            return Err(GatewayError::Host);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// A path in the notation of the tables.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct PathPattern(String);

impl TryFrom<String> for PathPattern {
    type Error = GatewayError;

    fn try_from(path: String) -> Result<Self, GatewayError> {
        let fits = |segment: &str| {
            let rest = segment.strip_prefix("{model}").unwrap_or(segment);
            !segment.is_empty() && (segment == "*" || !rest.contains(['*', '{', '}', '?', '#', ' ']))
        };
        let relative = path.strip_prefix('/').unwrap_or(&path);
        if path.len() > MAX_TEXT || !relative.split('/').all(fits) {
            return Err(GatewayError::Path);
        }
        let segments: Vec<_> =
            path.split('/').map(|segment| if segment == "*" { "{}" } else { segment }).collect();
        Ok(Self(segments.join("/")))
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct DialectName(&'static Dialect);

impl PartialEq for DialectName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for DialectName {}

impl TryFrom<String> for DialectName {
    type Error = GatewayError;

    fn try_from(name: String) -> Result<Self, GatewayError> {
        dialects().find(|dialect| dialect.name == name).map(Self).ok_or(GatewayError::Dialect)
    }
}

/// The dialects that have a name, without repeats.
fn dialects() -> impl Iterator<Item = &'static Dialect> {
    let mut seen = Vec::new();
    endpoints().filter_map(|endpoint| endpoint.dialect).filter(move |dialect| {
        let new = !dialect.name.is_empty() && !seen.contains(&dialect.name);
        seen.push(dialect.name);
        new
    })
}

impl TryFrom<Fields> for Gateway {
    type Error = GatewayError;

    fn try_from(fields: Fields) -> Result<Self, GatewayError> {
        let Fields { name: Name(name), hosts, paths, dialect } = fields;
        if hosts.is_empty() {
            return Err(GatewayError::NoHost);
        }
        let own = match (paths.is_empty(), dialect) {
            (true, None) => None,
            (false, Some(dialect)) => {
                let meant = |endpoint: &&Endpoint| {
                    endpoint.dialect.is_some_and(|known| std::ptr::eq(known, dialect.0))
                };
                let operation = endpoints().find(meant).map_or("chat", |endpoint| endpoint.operation);
                Some(Own { paths, dialect, operation })
            }
            _ => return Err(GatewayError::Half),
        };
        Ok(Self { name, hosts, own })
    }
}

impl Gateway {
    /// Whether the request goes to one of its hosts.
    pub(super) fn serves(&self, head: &RequestHead) -> bool {
        let Some(host) = head.host.as_deref() else { return false };
        self.hosts.iter().any(|pattern| {
            pattern.port.is_none_or(|port| head.port == Some(port))
                && (pattern.host == "*" || host_matches(&pattern.host, host, head.port))
        })
    }

    /// What the request to one of its hosts is: its name, the endpoint, and the model in the path.
    pub(super) fn route(&self, head: &RequestHead) -> Option<(&'static str, Endpoint, Option<String>)> {
        if let Some(own) = self.own.as_ref().filter(|_| head.method == "POST")
            && let Some(model) = own.paths.iter().find_map(|path| path_matches(&path.0, &head.path))
        {
            let endpoint = Endpoint {
                path: "",
                method: Method::Post,
                dialect: Some(own.dialect.0),
                operation: own.operation,
                any_task: false,
            };
            return Some((self.name, endpoint, model));
        }
        let (endpoint, model) = find(ENDPOINTS.iter(), head)?;
        Some((self.name, endpoint, model))
    }
}
