//! A request for every row of the tables, for whoever has to try all of them: a new row is tried
//! without being told of.

use super::{
    Catalog,
    catalog::{Endpoint, Method, Vendor},
    endpoints::{ENDPOINTS, SOCKETS},
    vendors::VENDORS,
};
use crate::stream::RequestHead;

/// Stands for whatever a pattern leaves open.
const ANY: &str = "m";

impl Catalog {
    /// A head for each endpoint of each provider, and for those that any host may have.
    #[must_use]
    pub fn example_requests() -> Vec<RequestHead> {
        let mut heads: Vec<_> = ENDPOINTS
            .iter()
            .map(|endpoint| head(method(endpoint), "localhost", &[], endpoint.path))
            .collect();
        for Vendor { hosts, under, endpoints, .. } in VENDORS {
            let Some(host) = hosts.first() else { continue };
            let all = endpoints.iter().chain(ENDPOINTS).filter(|endpoint| endpoint.dialect.is_some());
            heads.extend(all.map(|endpoint| head(method(endpoint), host, under, endpoint.path)));
        }
        heads
    }

    /// A head for each WebSocket, at a host that nobody knows and at one of each provider.
    #[must_use]
    pub fn example_sockets() -> Vec<RequestHead> {
        let known = VENDORS.iter().filter_map(|vendor| Some((*vendor.hosts.first()?, vendor.under)));
        let hosts = [("localhost", &[][..])].into_iter().chain(known);
        let heads = hosts.flat_map(|(host, under)| {
            SOCKETS.iter().map(move |socket| RequestHead {
                headers: vec![("upgrade", "websocket".into())],
                ..head("GET", host, under, socket.endpoint.path)
            })
        });
        heads.collect()
    }
}

const fn method(endpoint: &Endpoint) -> &'static str {
    match endpoint.method {
        Method::Get => "GET",
        Method::Post | Method::PostAgain => "POST",
    }
}

fn head(method: &str, host: &str, under: &[&str], path: &str) -> RequestHead {
    let (host, port) = match host.strip_prefix("*:") {
        Some(port) => ("localhost".into(), port.parse().ok()),
        None => (host.replace('*', ANY), None),
    };
    let path = path.replace("{model}", ANY).replace("{}", ANY);
    // A path that begins with a slash is the whole one.
    let path = if path.starts_with('/') {
        path
    } else {
        format!("/{}{path}", under.first().copied().unwrap_or_default())
    };
    RequestHead { method: method.into(), path, host: Some(host), port, ..RequestHead::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Interest;

    #[test]
    fn every_example_is_a_call_to_who_it_is_for() {
        let catalog = Catalog::new();
        let requests = Catalog::example_requests();
        assert!(requests.len() > VENDORS.len() * 20);
        for head in requests {
            // A path that only says that a host serves an LLM is no call.
            let wanted = if head.path.contains("count-tokens") { Interest::Related } else { Interest::Call };
            assert_eq!(catalog.interest(&head), wanted, "{head:?}");
        }
        for head in Catalog::example_sockets() {
            assert_eq!(catalog.interest(&head), Interest::Call, "{head:?}");
        }
        for Vendor { provider, .. } in VENDORS {
            let found = Catalog::example_requests()
                .iter()
                .filter_map(|head| catalog.route(head))
                .any(|route| route.provider == *provider);
            assert!(found, "{provider}");
        }
    }
}
