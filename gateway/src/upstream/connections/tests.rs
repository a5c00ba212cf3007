//! The race between a new connection and one that another request returns.

use std::{net::SocketAddr, sync::Arc};

use http::Method;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use url::Url;

use super::*;

/// A resolver that resolves every name to one address. Each resolution waits for a permit.
struct SlowResolver {
    started: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
    address: SocketAddr,
}

impl Resolve for SlowResolver {
    fn resolve(&self, _: Name) -> Resolving {
        self.started.fetch_add(1, Relaxed);
        let (permits, address) = (Arc::clone(&self.permits), self.address);
        Box::pin(async move {
            permits.acquire().await.expect("it stays open").forget();
            Ok(Box::new(std::iter::once(address)) as Addrs)
        })
    }
}

async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.expect("a request"));
    }
}

async fn respond(stream: &mut TcpStream) {
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(response).await.expect("the client reads");
}

fn count(scrape: &PrometheusHandle, name: &str) -> u64 {
    let text = scrape.render();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.expect("it exists from the start").parse().expect("a number")
}

/// In this case hyper-util finishes the new connection in a task of its own. The connection counts
/// as opened, and the attempt as one that reused a connection.
#[tokio::test]
async fn an_attempt_reuses_a_connection_that_is_returned_before_its_own_is_open() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    let (started, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(1)));
    let resolver =
        SlowResolver { started: Arc::clone(&started), permits: Arc::clone(&permits), address };
    let client = client().dns_resolver(Arc::new(resolver)).build().expect("a client");
    let connections = Arc::new(Connections::of(vec![client]));
    let send = || {
        let connections = Arc::clone(&connections);
        let url = Url::parse("http://aux-service/").expect("a URL");
        tokio::spawn(async move {
            let response = connections.send(Request::new(Method::GET, url)).await;
            response.expect("a response").bytes().await.expect("a body")
        })
    };

    let first = send();
    let (mut stream, _) = listener.accept().await.expect("a connection");
    read_request(&mut stream).await;
    let second = send();
    while started.load(Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    respond(&mut stream).await;
    first.await.expect("no panic");
    read_request(&mut stream).await;
    respond(&mut stream).await;
    second.await.expect("no panic");
    assert_eq!((count(&scrape, OPENED_TOTAL), count(&scrape, REUSED_TOTAL)), (1, 1));

    permits.add_permits(1);
    listener.accept().await.expect("the connection that was started");
    while count(&scrape, OPENED_TOTAL) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&scrape, REUSED_TOTAL), 1);
}
