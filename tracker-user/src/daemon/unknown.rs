//! Hosts that speak a known dialect and that nobody has named, so that the operator can.

use crate::export::Sample;

/// Hosts that are told apart; further ones are counted together.
const MAX: usize = 64;

/// Calls by host, of those whose provider is unknown.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnknownHosts {
    calls: Vec<(String, u64)>,
    others: u64,
}

impl UnknownHosts {
    /// Counts a call to this host if its provider is unknown.
    pub(super) fn count(&mut self, provider: &str, host: Option<&str>) {
        if provider != "unknown" {
            return;
        }
        let host = host.unwrap_or_default();
        if let Some((_, calls)) = self.calls.iter_mut().find(|(known, _)| known == host) {
            *calls += 1;
        } else if self.calls.len() < MAX {
            self.calls.push((host.to_owned(), 1));
        } else {
            self.others += 1;
        }
    }

    /// As samples.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        let others = (self.others > 0).then(|| ("other".to_owned(), self.others));
        self.calls.iter().cloned().chain(others).map(|(host, calls)| {
            Sample::counter(
                "llm_tracker_unknown_host_calls_total",
                "LLM calls to hosts that are no known provider's; the configuration can name them as gateways.",
                calls,
            )
            .label("host", host)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_bounded() {
        let mut unknown = UnknownHosts::default();
        for n in 0..MAX + 10 {
            unknown.count("unknown", Some(&format!("host-{n}")));
        }
        unknown.count("unknown", Some("host-0"));
        unknown.count("unknown", None);
        unknown.count("openai", Some("api.openai.com"));
        assert_eq!(unknown.samples().count(), MAX + 1);
        assert_eq!((unknown.calls[0].1, unknown.others), (2, 11));
    }
}
