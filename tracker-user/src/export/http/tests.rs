use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
    task::JoinHandle,
};

mod web;

use super::*;
use crate::{
    api,
    export::{Format, PrometheusConfig, Sink as _},
    record::tests::full,
};

struct Served {
    address: SocketAddr,
    metrics: Arc<PrometheusSink>,
    ready: Readiness,
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

fn serve(max_connections: usize) -> Served {
    serve_with(max_connections, WebConfig::default())
}

fn serve_with(max_connections: usize, web: WebConfig) -> Served {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = HttpServer::bind(HttpConfig { listen, web: Arc::new(web), max_connections }).unwrap();
    let address = server.local_addr().unwrap();
    let (metrics, ready) = (Arc::new(PrometheusSink::new(PrometheusConfig::default())), Readiness::default());
    let (stop, stopped) = oneshot::channel();
    let stopped = async { stopped.await.unwrap_or_default() };
    let pages = pages(&metrics, &ready);
    let server = tokio::spawn(server.serve(pages, stopped));
    Served { address, metrics, ready, stop, server }
}

fn pages(metrics: &Arc<PrometheusSink>, ready: &Readiness) -> Pages {
    let api = Api::new(api::Access::default());
    Pages { metrics: Arc::clone(metrics), ready: ready.clone(), api }
}

/// Sends text and reads until the server closes.
async fn talk(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = timeout(Duration::from_secs(10), read).await.expect("the server closes");
    String::from_utf8(answer).unwrap()
}

async fn request(address: SocketAddr, method: &str, path: &str) -> String {
    talk(address, &format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn every_path_has_its_answer() {
    let served = serve(8);
    served.metrics.record(&full());
    let get = async |path: &str| request(served.address, "GET", path).await;
    let metrics = get("/metrics?x=1").await;
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(metrics.contains("\nllm_calls_total{"));
    let index = get("/").await;
    assert!(
        index.contains("<a href=\"/metrics\">")
            && index.contains("content-security-policy: default-src 'none'; ")
    );
    assert!(get("/healthz").await.ends_with("\r\n\r\nok\n"));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 503 "));
    served.ready.set(true);
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200 "));
    assert!(get("/nothing").await.starts_with("HTTP/1.1 404 "));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let refusal = request(served.address, method, "/metrics").await;
        assert!(refusal.starts_with("HTTP/1.1 405 ") && refusal.contains("allow: GET, HEAD\r\n"), "{method}");
    }
    let head = request(served.address, "HEAD", "/healthz").await;
    assert!(head.contains("content-length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn heads_are_bounded() {
    let served = serve(8);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    assert!(talk(served.address, &long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS + 1));
    assert!(talk(served.address, &many).await.starts_with("HTTP/1.1 431 "));
    assert!(talk(served.address, "\u{16}\u{3}\u{1} this is TLS\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn connections_are_bounded_and_those_refused_counted() {
    let served = serve(2);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        held.push(stream);
    }
    let mut refused = TcpStream::connect(served.address).await.unwrap();
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)), "closed at once");
    assert!(served.metrics.render(Format::Text).contains("llm_tracker_http_connections_refused_total 1\n"));
    drop(held);
    let mut answer = String::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        if stream.read_to_string(&mut answer).await.is_ok() && !answer.is_empty() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(answer.starts_with("HTTP/1.1 200 "), "there is room again");
}

#[tokio::test]
async fn a_stop_is_soon_and_frees_the_address() {
    let served = serve(8);
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    served.stop.send(()).unwrap();
    timeout(Duration::from_secs(3), served.server).await.expect("soon").unwrap().unwrap();
    HttpServer::bind(HttpConfig::new(served.address, Arc::default())).unwrap();
}

#[tokio::test]
async fn what_cannot_be_bound_is_a_sentence_with_advice() {
    let served = serve(8);
    let message = |address: SocketAddr| {
        HttpServer::bind(HttpConfig::new(address, Arc::default())).unwrap_err().to_string()
    };
    let taken = message(served.address);
    assert!(taken.contains("in use") && taken.contains("--metrics-listen"), "{taken}");
    let foreign = message(SocketAddr::from(([192, 0, 2, 1], 0)));
    assert!(foreign.contains("does not have the address"), "{foreign}");
}

#[tokio::test]
async fn a_body_is_refused() {
    let served = serve(8);
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
        let refusal = talk(served.address, &request).await;
        assert!(refusal.starts_with("HTTP/1.1 413 "), "{refusal}");
    }
    let empty = "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(talk(served.address, empty).await.starts_with("HTTP/1.1 200 "));
}

/// A client's end with little room, the task of the connection, and what closes it.
fn connected() -> (tokio::io::DuplexStream, JoinHandle<()>, watch::Sender<()>) {
    let (client, server) = tokio::io::duplex(64);
    let served = serve(8);
    let site = Site::new(pages(&served.metrics, &Readiness::default()), Arc::default());
    let (closing, closed) = watch::channel(());
    let peer = Peer::of_tcp(served.address, served.address);
    (client, tokio::spawn(connection(server, site, peer, closed)), closing)
}

#[test]
fn one_host_is_one_whichever_way_it_comes() {
    let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
    assert!(same("192.0.2.1", "::ffff:192.0.2.1") && same("2001:db8::1", "2001:db8::2"));
    assert!(!same("192.0.2.1", "192.0.2.2") && !same("2001:db8::1", "2001:db8:0:1::1"));
}

/// Who asks for pages and takes a byte now and then holds neither memory nor a place for long.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_sent_away() {
    let (mut client, connection, _closing) = connected();
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let begun = tokio::time::Instant::now();
    let mut byte = [0; 1];
    while let Ok(1) = client.read(&mut byte).await {
        sleep(Duration::from_secs(1)).await;
    }
    connection.await.unwrap();
    let took = begun.elapsed();
    assert!(took >= TAKEN_WITHIN && took < TAKEN_WITHIN * 4, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_closed_behind_its_last_answer() {
    let (mut client, connection, _closing) = connected();
    let begun = tokio::time::Instant::now();
    // The answer to a request, so many bytes a second.
    let mut ask = async |bytes: usize| {
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let (mut answer, mut some) = (Vec::new(), vec![0; bytes]);
        while !answer.ends_with(b"\r\n\r\nok\n") {
            let read = client.read(&mut some).await.unwrap();
            assert!(read > 0, "cut off after {:?}: {}", begun.elapsed(), String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&some[..read]);
            sleep(Duration::from_secs(1)).await;
        }
    };
    while begun.elapsed() < LIFETIME - Duration::from_secs(5) {
        ask(64).await;
    }
    ask(8).await;
    connection.await.unwrap();
    let took = begun.elapsed();
    assert!(took > LIFETIME + FINISH_WITHIN && took < LIFETIME + TAKEN_WITHIN, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_writer_is_sent_away() {
    let (mut client, connection, _closing) = connected();
    let begun = tokio::time::Instant::now();
    for byte in b"GET /metrics HTTP/1.1\r\nHost: a-name-that-takes-its-time\r\n\r\n" {
        if client.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(2)).await;
    }
    connection.await.unwrap();
    assert!(begun.elapsed() < HEAD_WITHIN * 2, "{:?}", begun.elapsed());
}
