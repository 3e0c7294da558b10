use std::net::TcpListener;

use super::*;
use crate::{export::PrometheusConfig, record::tests::full};

fn start(more: &str, address: &str) -> (OtlpSink, Arc<PrometheusSink>) {
    let config = format!("endpoint = \"http://{address}\"\nmax_queue = 8\n{more}");
    let prometheus = Arc::new(PrometheusSink::new(PrometheusConfig::default()));
    let sink = OtlpSink::start(&toml::from_str(&config).unwrap(), &prometheus).unwrap().unwrap();
    (sink, prometheus)
}

fn lost(sink: &OtlpSink) -> u64 {
    (0..Loss::NAMES.len()).map(|reason| sink.stats.losses.of(reason)).sum()
}

/// Records many calls while nobody takes one, and stops.
async fn nobody_takes(sink: &OtlpSink) {
    let begun = std::time::Instant::now();
    for _ in 0..1000 {
        sink.record(&full());
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "whoever records waits for nobody");
    assert!(sink.stats.losses.of(Loss::QueueFull as usize) >= 1000 - 2 * 8);
    sink.shutdown(Duration::from_millis(300)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "a stop does not wait longer than it was told");
    sink.record(&full());
    assert_eq!((lost(sink), sink.stats.spans.load(Ordering::Relaxed)), (1001, 0));
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_no_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for protocol in ["http/protobuf", "grpc"] {
        let more = format!("timeout_seconds = 600\nprotocol = \"{protocol}\"");
        let (sink, _) = start(&more, &listener.local_addr().unwrap().to_string());
        nobody_takes(&sink).await;
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_spans_and_no_time() {
    // Bound and not listening, so that nobody else has it either.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    for protocol in ["http/protobuf", "grpc"] {
        let (sink, prometheus) = start(&format!("protocol = \"{protocol}\""), &address);
        nobody_takes(&sink).await;
        let page = prometheus.render(crate::export::Format::Text);
        let tries = "llm_tracker_otlp_requests_total{signal=\"traces\",outcome=\"retried\"} ";
        let tries = page.lines().find_map(|line| line.strip_prefix(tries)).unwrap();
        assert!(tries.parse::<u64>().unwrap() >= 1, "{protocol}: {page}");
    }
}
