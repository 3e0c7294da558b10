//! What a daemon that runs has found out about TLS stacks: the doctor sees no traffic itself.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// A daemon on this machine answers at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// More than the daemon ever says.
const MAX_ANSWER: u64 = 64 << 20;
const GAUGE: &str = "llm_tracker_tls_objects{";

/// What is known of the stacks, a line for each kind of state; `None` where no daemon answers.
pub(super) fn stacks(mut address: SocketAddr) -> Option<Vec<String>> {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).ok()?;
    answer.contains("llm_tracker_build_info").then(|| parse(&answer))
}

fn parse(answer: &str) -> Vec<String> {
    let mut lines: Vec<String> = answer
        .lines()
        .filter_map(|line| {
            let (labels, count) = line.strip_prefix(GAUGE)?.rsplit_once("} ")?;
            let label = |name: &str| {
                let found = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix('='));
                found.map(|value| value.trim_matches('"')).unwrap_or_default()
            };
            let because = match (label("state"), label("reason")) {
                (_, "") => String::new(),
                (state, reason) if state == reason => String::new(),
                (_, reason) => format!(" ({reason})"),
            };
            Some(format!("{}: {count} {}{because}", label("stack"), label("state")))
        })
        .collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauge_in_words() {
        let answer = "# TYPE llm_tracker_tls_objects gauge\n\
            llm_tracker_tls_objects{reason=\"\",stack=\"openssl\",state=\"verified\"} 2\n\
            llm_tracker_tls_objects{reason=\"refuted\",stack=\"boringssl\",state=\"refuted\"} 1\n\
            llm_tracker_tls_objects{reason=\"no_probe_point\",stack=\"gnutls\",state=\"not_hooked\"} 1\n\
            llm_tracker_tls_object_processes{reason=\"\",stack=\"openssl\",state=\"verified\"} 9\n";
        let expected =
            ["boringssl: 1 refuted", "gnutls: 1 not_hooked (no_probe_point)", "openssl: 2 verified"];
        assert_eq!(parse(answer), expected);
    }

    #[test]
    fn nobody_there_is_no_error() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(stacks(free), None);
    }
}
