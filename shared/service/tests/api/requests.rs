//! Requests to the HTTP stack: the responses to every kind of request, their order, and their
//! metrics.

use std::{fs, sync::atomic::Ordering::SeqCst, time::Duration};

use cache::http::EntityTag;
use proptest::{prelude::*, test_runner::TestRunner};
use service::observe::metrics::Exporter;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    time::{Instant, sleep, timeout},
};

use crate::harness::{
    FRAME_INTERVAL, LARGE, Server, TIMEOUT, assert_problem, assert_status, closing, eventually,
    head, keeping, rest,
};

/// One response on a connection.
#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

/// Parses the responses on a connection. `with_body` states whether each response has a body.
fn responses(stream: &str, with_body: &[bool]) -> Vec<Response> {
    let mut responses = Vec::new();
    let mut rest = stream;
    while let Some((head, after)) = rest.split_once("\r\n\r\n") {
        let status = head[9..12].parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let chunked = head.lines().any(|line| line == "transfer-encoding: chunked");
        let (body, after) = if status == 304 || with_body.get(responses.len()) == Some(&false) {
            (String::new(), after)
        } else if chunked {
            dechunk(after)
        } else {
            let (body, after) = after.split_at(length.unwrap().parse().unwrap());
            (body.to_owned(), after)
        };
        responses.push(Response { status, head: head.replace("\r\n", "\n"), body });
        rest = after;
    }
    assert_eq!(rest, "", "a whole number of responses");
    responses
}

fn dechunk(mut rest: &str) -> (String, &str) {
    let mut body = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        let (chunk, after) = after.split_at(length);
        rest = after.strip_prefix("\r\n").unwrap();
        if length == 0 {
            return (body, rest);
        }
        body += chunk;
    }
}

fn with(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n")
}

/// A request, the status of its response and the end of its body.
type Exchange = (String, u16, &'static str);

/// Returns every kind of request that leaves its connection open.
fn exchanges() -> Vec<Exchange> {
    let etag = EntityTag::of(b"\"a\"").header();
    let etag = etag.to_str().unwrap();
    let small = |headers: &str| with("/param/small", headers);
    let get = keeping;
    vec![
        (get("/param/small"), 200, "\"a\""),
        (get("/param/medium"), 200, "xxx\""),
        (get("/param/large"), 200, "xxx\""),
        (get("/param/secret"), 200, "hunter2"),
        (get("/values/small"), 200, "\"a\""),
        (get("/param//small"), 200, "\"a\""),
        (get("/param/smal%6c"), 200, "\"a\""),
        (get("/param/%2Fsmall"), 200, "\"a\""),
        (get("/param/small?x=1"), 200, "\"a\""),
        (get("http://a/param/small"), 200, "\"a\""),
        (get("/param/remembered-404"), 404, "}"),
        (get("/param/unknown"), 404, "}"),
        (get("/param/"), 404, "}"),
        (get("/param/%ff"), 400, "}"),
        (get("/param/broken"), 502, "}"),
        (get("/param/panic"), 500, "}"),
        (get("/param/late"), 200, "\"a\""),
        (get("/param/late-large"), 200, "xxx\""),
        (small(&format!("if-none-match: {etag}")), 304, ""),
        (small(&format!("If-None-Match: \"other\" , W/{etag}")), 304, ""),
        (small("if-none-match: \"other\"\r\nif-none-match: *"), 304, ""),
        (small("if-none-match: \"other\""), 200, "\"a\""),
        (small("cache-control: no-cache"), 200, "\"a\""),
        (small("x-envoy-expected-rq-timeout-ms: 0"), 200, "\"a\""),
        (small("x-envoy-expected-rq-timeout-ms: soon"), 200, "\"a\""),
        (with("/param/late", "x-envoy-expected-rq-timeout-ms: 1"), 500, "}"),
        (with("/param/late", "if-none-match: *"), 304, ""),
        (with("/param/secret", "if-none-match: *"), 200, "hunter2"),
        ("\r\nGET /param/small HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 200, "\"a\""),
        ("GET /param/small HTTP/1.1\nhost: a\n\n".to_owned(), 200, "\"a\""),
        ("GET /param/small HTTP/1.1\r\n\r\n".to_owned(), 400, "}"),
        ("GET /param/small HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(), 400, "}"),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400, "}"),
        ("POST /param/small HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 405, "}"),
        ("DELETE /status HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 405, "}"),
        (get("/hello"), 200, "hello"),
        (get("/status"), 200, "status"),
        (get("/panic"), 500, "}"),
        (get("/no/such/route"), 404, "}"),
    ]
}

#[track_caller]
fn assert_answers(exchanges: &[Exchange], responses: &[Response]) {
    assert_eq!(responses.len(), exchanges.len() + 1);
    for ((request, status, end), response) in exchanges.iter().zip(responses) {
        assert_eq!(response.status, *status, "{request}{response:?}");
        assert!(response.body.ends_with(end), "{request}{response:?}");
        let problem = response.has("content-type: application/problem+json");
        assert_eq!(problem, *status >= 400, "{request}{response:?}");
        assert!(response.has("x-content-type-options: nosniff"), "{request}{response:?}");
        assert!(response.head.contains("\nx-request-id: "), "{request}{response:?}");
    }
    assert_eq!(responses[exchanges.len()].body, "hello");
}

#[tokio::test]
async fn each_kind_of_request_gets_its_response() {
    let server = Server::start(&[]).await;
    for exchange in exchanges() {
        let stream = exchange.0.clone() + &closing("/hello", "");
        assert_answers(&[exchange], &responses(&server.send(&stream).await, &[]));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_with_any_split_of_their_bytes() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(&[]));
    let requests = prop::collection::vec(prop::sample::select(exchanges()), 0..12);
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    let config = ProptestConfig {
        cases: 100,
        failure_persistence: None,
        // A missing response costs a whole timeout in each iteration.
        max_shrink_iters: 16,
        ..Default::default()
    };
    TestRunner::new(config)
        .run(&(requests, cuts), |(requests, cuts)| {
            let bytes: String = requests.iter().map(|(request, ..)| request.as_str()).collect();
            let bytes = bytes + &closing("/hello", "");
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let stream = runtime.block_on(async {
                let mut stream = server.connect().await;
                for cut in cuts.windows(2) {
                    stream.write_all(&bytes.as_bytes()[cut[0]..cut[1]]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                rest(&mut stream).await
            });
            assert_answers(&requests, &responses(&stream, &[]));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_request_with_a_body_is_the_last_one_of_its_connection() {
    let server = Server::start(&[]).await;
    for (request, status) in [
        ("GET /param/small HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", 200),
        (
            "POST /hello HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            405,
        ),
        (
            "POST /param/small HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\nexpect: 100-continue\r\n\r\n",
            405,
        ),
    ] {
        let response = server.send(request).await;
        assert_status(&response, status);
        assert!(response.contains("connection: close\r\n"), "{response}");
    }
}

#[tokio::test]
async fn head_gets_the_header_of_get_and_no_body() {
    let server = Server::start(&[]).await;
    for (path, length) in [("/param/small", 3), ("/param/late", 3), ("/hello", 5)] {
        let head = keeping(path).replace("GET", "HEAD");
        let stream = server.send(&(head + &keeping(path) + &closing("/hello", ""))).await;
        let [head, get, last] = &responses(&stream, &[false])[..] else { panic!("{stream}") };
        assert!(head.has(&format!("content-length: {length}")), "{head:?}");
        assert_eq!((head.status, get.status, last.body.as_str()), (200, 200, "hello"));
        let names = |response: &Response| {
            let names = response.head.lines().skip(1).map(|line| line.split(':').next().unwrap());
            let mut names: Vec<_> = names.map(str::to_owned).collect();
            names.sort();
            names
        };
        assert_eq!(names(head), names(get), "{path}");
    }
    let head = keeping("/param/remembered-404").replace("GET", "HEAD") + &closing("/hello", "");
    let stream = server.send(&head).await;
    assert_eq!(responses(&stream, &[false])[0].status, 404);
}

#[tokio::test]
async fn a_method_that_a_route_does_not_take_is_refused_with_allow() {
    let server = Server::start(&[]).await;
    for path in ["/param/small", "/param/", "/buckets", "/status"] {
        let refused = server.send(&closing(path, "").replace("GET", "PUT")).await;
        assert_problem(&refused, 405, "method-not-allowed");
        assert!(refused.contains("allow: GET,HEAD\r\n"), "{refused}");
    }
}

#[tokio::test]
async fn a_streamed_response_keeps_its_framing_and_its_place_before_pipelined_requests() {
    let server = Server::start(&["--max-in-flight=1"]).await;
    let mut stream = server.connect().await;
    let pipelined = keeping("/stream") + &keeping("/param/small") + &keeping("/param/late");
    let started = Instant::now();
    stream.write_all((pipelined + &closing("/hello", "")).as_bytes()).await.unwrap();
    let first = head(&mut stream).await;
    assert!(started.elapsed() < FRAME_INTERVAL, "the head does not wait for the last frame");
    let stream = first + &rest(&mut stream).await;
    let responses = responses(&stream, &[]);
    let bodies: Vec<_> = responses.iter().map(|response| response.body.as_str()).collect();
    assert_eq!(bodies, ["frame 0\nframe 1\nframe 2\n", "\"a\"", "\"a\"", "hello"]);
    assert!(started.elapsed() >= 2 * FRAME_INTERVAL);
}

/// With one request allowed, the listener accepts 1,025 connections.
#[tokio::test]
async fn a_connection_between_two_frames_is_not_taken_for_an_idle_one() {
    let server = Server::start(&["--max-in-flight=1"]).await;
    let mut streaming = server.connect().await;
    streaming.write_all(closing("/stream", "").as_bytes()).await.unwrap();
    let first = head(&mut streaming).await;
    let mut idle = Vec::new();
    for _ in 0..1200 {
        idle.push(server.connect().await);
    }
    let stream = first + &rest(&mut streaming).await;
    assert_eq!(responses(&stream, &[])[0].body, "frame 0\nframe 1\nframe 2\n");
    let (evicted, _) =
        timeout(TIMEOUT, idle[0].read(&mut [0; 1])).await.map(|read| (read, ())).unwrap();
    assert_eq!(evicted.unwrap_or(0), 0, "an idle connection made room");
}

#[tokio::test]
async fn a_client_that_is_slow_to_read_gets_every_response_whole() {
    let server = Server::start(&[]).await;
    let mut stream = server.connect().await;
    let (mut reader, mut writer) = stream.split();
    let count = 300;
    let requests = (keeping("/param/large") + &keeping("/hello")).repeat(count);
    let requests = requests + &closing("/hello", "");
    let reads = async {
        sleep(Duration::from_millis(300)).await;
        let mut text = String::new();
        timeout(TIMEOUT, reader.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    };
    let (sent, text) = tokio::join!(writer.write_all(requests.as_bytes()), reads);
    sent.unwrap();
    let responses = responses(&text, &[]);
    assert_eq!(responses.len(), 2 * count + 1);
    for pair in responses.chunks_exact(2) {
        assert_eq!((pair[0].body.len(), pair[1].body.as_str()), (LARGE + 2, "hello"));
    }
}

#[tokio::test]
async fn a_header_may_arrive_byte_by_byte_and_a_response_does_not_wait_for_half_of_the_next() {
    let server = Server::start(&[]).await;
    let mut stream = server.connect().await;
    for byte in keeping("/param/small").into_bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_status(&head(&mut stream).await, 200);
    let half = keeping("/param/small") + "GET /param/small HT";
    stream.write_all(half.as_bytes()).await.unwrap();
    assert_status(&head(&mut stream).await, 200);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_which_is_counted_as_499() {
    let exporter = Exporter::install("test", "1").unwrap();
    let server = Server::start(&[]).await;
    let value = |series: &str| {
        let (_, text) = exporter.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)).map(str::trim);
        line.map_or(0, |count| count.parse().unwrap())
    };
    let left = r#"axum_http_requests_total{method="GET",status="499",endpoint="/values/{path}"}"#;
    let pending = r#"axum_http_requests_pending{method="GET",endpoint="/values/{path}"}"#;
    let mut stream = server.connect().await;
    stream.write_all(keeping("/values/never").as_bytes()).await.unwrap();
    eventually("the load waits", async || server.waiting.load(SeqCst) == 1).await;
    assert_eq!(value(pending), 1);
    drop(stream);
    eventually("its future is dropped", async || server.waiting.load(SeqCst) == 0).await;
    eventually("it is counted", async || value(left) == 1).await;
    assert_eq!(value(pending), 0);
}

#[tokio::test]
async fn a_client_without_a_token_learns_nothing_about_the_cache() {
    let path = std::env::temp_dir().join(format!("tokens-{}", std::process::id()));
    fs::write(&path, "the-right-token-0123456789\n").unwrap();
    let server = Server::start(&[&format!("--auth-token-file={}", path.display())]).await;
    fs::remove_file(&path).unwrap();
    for (token, status) in [
        ("Bearer the-right-token-0123456789", 200),
        ("bearer the-right-token-0123456789", 200),
        ("Bearer the-wrong-token-0123456789", 401),
        ("the-right-token-0123456789", 401),
        ("Bearer the-right-token-0123456789\r\nauthorization: x", 401),
    ] {
        let request = closing("/param/small", &format!("authorization: {token}\r\n"));
        assert_status(&server.send(&request).await, status);
    }
    // An unknown path needs a token, too. Only a page can be read without one.
    assert_problem(&server.get("/nowhere").await, 401, "unauthorized");
    let without = async |path| {
        let refused = server.get(path).await;
        assert_problem(&refused, 401, "unauthorized");
        refused.len()
    };
    let (cached, unknown) = (without("/param/small").await, without("/param/xyzzy").await);
    assert_eq!(cached, unknown, "both refusals look the same");
    assert_eq!(server.loads.load(SeqCst), 0);
    // A client with a token may demand a revalidation.
    let headers = "authorization: Bearer the-right-token-0123456789\r\ncache-control: no-cache\r\n";
    assert_status(&server.send(&closing("/param/small", headers)).await, 200);
    assert_eq!(server.loads.load(SeqCst), 1);
}

#[tokio::test]
async fn an_open_service_ignores_a_demand_for_revalidation() {
    let server = Server::start(&[]).await;
    let response = server.send(&closing("/param/small", "cache-control: no-cache\r\n")).await;
    assert_status(&response, 200);
    assert_eq!(server.loads.load(SeqCst), 0);
}

#[tokio::test]
async fn a_hit_is_shed_too_while_too_many_requests_are_open() {
    let server = Server::start(&["--max-in-flight=1"]).await;
    let mut open = server.connect().await;
    open.write_all(keeping("/param/never").as_bytes()).await.unwrap();
    eventually("the load waits", async || server.waiting.load(SeqCst) == 1).await;
    for path in ["/param/late", "/param/small", "/hello"] {
        assert_problem(&server.get(path).await, 503, "overloaded");
    }
    drop(open);
    eventually("its permit is free", async || server.get("/hello").await.ends_with("hello")).await;
    for _ in 0..3 {
        assert_status(&server.get("/param/late").await, 200);
    }
}

#[tokio::test]
async fn a_drain_answers_what_is_open_and_closes_its_connection() {
    for delay in ["0s", "1s"] {
        let server = Server::start(&[&format!("--shutdown-delay={delay}")]).await;
        let mut stream = server.connect().await;
        stream.write_all(keeping("/param/late-large").as_bytes()).await.unwrap();
        // The response to this request shows that the previous request has arrived, too.
        assert_status(&server.get("/hello").await, 200);
        server.stop.send(()).unwrap();
        let response = rest(&mut stream).await;
        assert_status(&response, 200);
        assert!(response.contains("connection: close") && response.len() > LARGE, "{delay}");
    }
}

#[tokio::test]
async fn a_drain_closes_the_connections_of_hits_too() {
    let server = Server::start(&["--shutdown-delay=1s"]).await;
    let mut stream = server.connect().await;
    stream.write_all(keeping("/param/small").as_bytes()).await.unwrap();
    assert!(!head(&mut stream).await.contains("connection: close"));
    server.stop.send(()).unwrap();
    tokio::task::yield_now().await;
    stream.write_all(keeping("/param/small").as_bytes()).await.unwrap();
    let response = rest(&mut stream).await;
    assert_status(&response, 200);
    assert!(response.contains("connection: close"), "{response}");
}

/// Sends one request after another. Returns the lifetime of the connection and the number of its
/// responses.
async fn lifetime(stream: &mut TcpStream, path: &str) -> (Duration, usize) {
    let started = Instant::now();
    for responses in 1.. {
        stream.write_all(keeping(path).as_bytes()).await.unwrap();
        let head = head(stream).await;
        assert_status(&head, 200);
        if head.contains("connection: close") {
            assert_eq!(rest(stream).await, "", "nothing follows it");
            return (started.elapsed(), responses);
        }
        sleep(Duration::from_millis(10)).await;
    }
    unreachable!("a connection of a maximum age ends")
}

#[tokio::test]
async fn the_first_response_after_the_maximum_age_closes_its_connection() {
    let server = Server::start(&["--max-connection-age=500ms"]).await;
    for path in ["/param/small", "/hello"] {
        let mut stream = server.connect().await;
        let (lifetime, responses) = lifetime(&mut stream, path).await;
        assert!(lifetime >= Duration::from_millis(390) && responses > 2, "{lifetime:?}");
    }
    // The idle timeout closes an idle connection. The maximum age does not, because that could lose
    // a request in transit.
    let mut idle = server.connect().await;
    idle.write_all(keeping("/hello").as_bytes()).await.unwrap();
    assert!(!head(&mut idle).await.contains("connection: close"));
    sleep(Duration::from_millis(1500)).await;
    idle.write_all(keeping("/hello").as_bytes()).await.unwrap();
    let last = head(&mut idle).await;
    assert_status(&last, 200);
    assert!(last.contains("connection: close"), "{last}");
}

#[tokio::test]
async fn an_age_of_zero_is_no_maximum() {
    let server = Server::start(&["--max-connection-age=0s"]).await;
    let mut stream = server.connect().await;
    for _ in 0..20 {
        stream.write_all(keeping("/param/small").as_bytes()).await.unwrap();
        assert!(!head(&mut stream).await.contains("connection: close"));
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_response_is_counted_once_whichever_way_it_is_counted() {
    let exporter = Exporter::install("test", "1").unwrap();
    let server = Server::start(&[]).await;
    let counts = || {
        let (_, text) = exporter.render();
        let lines = text.lines().filter(|line| line.starts_with("axum_http_requests_"));
        let counts = lines.filter(|line| line.contains("_total{") || line.contains("_count{"));
        let counts = counts.map(|line| line.rsplit_once(' ').unwrap());
        let counts = counts.map(|(series, count)| (series.to_owned(), count.parse().unwrap()));
        counts.collect::<std::collections::HashMap<String, u64>>()
    };
    // No other test of this program sends HEAD to this route or gets a 304 from it.
    let etag = format!("if-none-match: {}", EntityTag::of(b"\"a\"").header().to_str().unwrap());
    let requests = keeping("/values/small").replace("GET", "HEAD")
        + &with("/values/small", &etag).repeat(3)
        + &keeping("/values/panic").repeat(2)
        + &closing("/livez", "");
    let before = counts();
    server.send(&requests).await;
    let after = counts();
    for (method, status, count) in [("HEAD", "200", 1), ("GET", "304", 3), ("GET", "500", 2)] {
        for name in ["total", "duration_seconds_count"] {
            let series = format!(
                r#"axum_http_requests_{name}{{method="{method}",status="{status}",endpoint="/values/{{path}}"}}"#
            );
            let difference = after[&series] - before.get(&series).copied().unwrap_or(0);
            assert_eq!(difference, count, "{series}");
        }
    }
    assert!(!after.keys().any(|series| series.contains("livez")), "probes are not counted");
}
