//! Requests with `Prefer: wait`.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use crate::harness::{
    LoadError, Server, TIMEOUT, assert_problem, assert_status, closing, eventually, head, rest,
};

const PATH: &str = "/param/changing";

/// Returns the value of a header.
fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let lines = response.lines().take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.split_once(": "))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Returns the tag of the current response.
async fn current_tag(server: &Server) -> String {
    let response = server.get(PATH).await;
    assert_status(&response, 200);
    header(&response, "etag").expect("it has a tag").to_owned()
}

/// A request that waits for another response than the one with this tag.
fn waiting(tag: &str, seconds: u64) -> String {
    closing(PATH, &format!("if-none-match: {tag}\r\nprefer: wait={seconds}\r\n"))
}

/// Sends a request that waits, and returns once it does.
async fn start_waiting(server: &Server, number: usize, request: &str) -> JoinHandle<String> {
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let response = tokio::spawn(async move { rest(&mut stream).await });
    until_waiting(server, number).await;
    response
}

/// Waits until this number of requests wait.
async fn until_waiting(server: &Server, number: usize) {
    let line = format!("waiting_requests{{kind=\"wait\"}} {number}");
    eventually(&line, || async { server.get("/metrics").await.contains(&line) }).await;
}

/// All tests of this process share one recorder, so the gauge counts the requests of all of them.
/// Tests that wait take turns.
async fn turn() -> impl Sized {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

#[tokio::test]
async fn a_wait_ends_with_the_next_response() {
    let _turn = turn().await;
    let server = Server::start(&[]).await;
    let tag = current_tag(&server).await;
    let response = start_waiting(&server, 1, &waiting(&tag, 20)).await;
    sleep(Duration::from_millis(1500)).await;
    assert!(!response.is_finished(), "a refresh without a change ends no wait");
    server.source.change(Ok("second"));
    let response = response.await.unwrap();
    assert_status(&response, 200);
    assert!(response.ends_with("\"second\""), "{response}");
    assert_eq!(header(&response, "preference-applied"), Some("wait=20"));
    assert_eq!(header(&response, "age"), Some("0"));
    until_waiting(&server, 0).await;
}

#[tokio::test]
async fn a_wait_sees_a_change_that_only_a_refresh_finds() {
    let _turn = turn().await;
    let server = Server::start(&[]).await;
    let tag = current_tag(&server).await;
    let response = start_waiting(&server, 1, &waiting(&tag, 20)).await;
    let changed_at = Instant::now();
    server.source.change_silently(Ok("second"));
    assert!(response.await.unwrap().ends_with("\"second\""));
    // The value is fresh for a second.
    assert!(changed_at.elapsed() < TIMEOUT / 2, "{:?}", changed_at.elapsed());
}

#[tokio::test]
async fn a_wait_without_a_change_ends_with_304_at_its_time() {
    let _turn = turn().await;
    let server = Server::start(&[]).await;
    let tag = current_tag(&server).await;
    let caller_waits = "x-envoy-expected-rq-timeout-ms: 1200\r\n";
    for (headers, applied) in [
        (format!("if-none-match: {tag}\r\nprefer: wait=1\r\n"), "wait=1"),
        (format!("if-none-match: \"x\", {tag}\r\nprefer: a, wait=99\r\n{caller_waits}"), "wait=1"),
    ] {
        let sent_at = Instant::now();
        let response = server.send(&closing(PATH, &headers)).await;
        assert_status(&response, 304);
        assert!(sent_at.elapsed() >= Duration::from_secs(1), "{:?}", sent_at.elapsed());
        assert_eq!(header(&response, "preference-applied"), Some(applied));
        assert_eq!(header(&response, "etag"), Some(tag.as_str()));
    }
}

#[tokio::test]
async fn a_request_that_cannot_wait_gets_its_response_at_once() {
    let server = Server::start(&[]).await;
    let tag = current_tag(&server).await;
    for (headers, status) in [
        ("prefer: wait=20\r\n".to_owned(), 200),
        ("prefer: wait=20\r\nif-none-match: \"another\"\r\n".to_owned(), 200),
        (format!("prefer: wait=0\r\nif-none-match: {tag}\r\n"), 304),
        (format!("prefer: wait=soon\r\nif-none-match: {tag}\r\n"), 304),
        (format!("prefer: respond-async\r\nif-none-match: {tag}\r\n"), 304),
    ] {
        let response = timeout(TIMEOUT / 2, server.send(&closing(PATH, &headers))).await.unwrap();
        assert_status(&response, status);
        assert_eq!(header(&response, "preference-applied"), None, "{headers}");
    }
    // A secret has no tag, so its client cannot name the response that it has.
    let secret = closing("/param/secret", "prefer: wait=20\r\nif-none-match: *\r\n");
    assert_status(&timeout(TIMEOUT / 2, server.send(&secret)).await.unwrap(), 200);
    // A list is no route for waits.
    let list = closing("/status", "prefer: wait=20\r\n");
    assert_status(&timeout(TIMEOUT / 2, server.send(&list)).await.unwrap(), 200);
}

#[tokio::test]
async fn a_404_ends_a_wait_and_an_outage_does_not() {
    let _turn = turn().await;
    let server = Server::start(&[]).await;
    let tag = current_tag(&server).await;
    let response = start_waiting(&server, 1, &waiting(&tag, 20)).await;
    server.source.change(Err(LoadError::Broken));
    let loads = server.source.loads();
    eventually("a load fails", || async { server.source.loads() > loads }).await;
    assert!(!response.is_finished());
    server.source.change(Ok("second"));
    assert!(response.await.unwrap().ends_with("\"second\""));

    let tag = current_tag(&server).await;
    let response = start_waiting(&server, 1, &waiting(&tag, 20)).await;
    server.source.change(Err(LoadError::NotFound));
    let response = response.await.unwrap();
    assert_problem(&response, 404, "not-found");
    assert_eq!(header(&response, "preference-applied"), Some("wait=20"));
}

#[tokio::test]
async fn a_wait_takes_a_place_of_max_waiting_and_none_of_max_in_flight() {
    let _turn = turn().await;
    let server = Server::start(&["--max-in-flight=1", "--max-waiting=2"]).await;
    let tag = current_tag(&server).await;
    let first = start_waiting(&server, 1, &waiting(&tag, 20)).await;
    let second = start_waiting(&server, 2, &waiting(&tag, 20)).await;
    let refused = server.send(&waiting(&tag, 20)).await;
    assert_problem(&refused, 503, "overloaded");
    assert!(header(&refused, "retry-after").is_some());
    assert_status(&server.get(PATH).await, 200);
    server.source.change(Ok("second"));
    for response in [first, second] {
        assert_status(&response.await.unwrap(), 200);
    }
    until_waiting(&server, 0).await;
    let tag = current_tag(&server).await;
    assert_status(&server.send(&waiting(&tag, 1)).await, 304);
}

#[tokio::test]
async fn many_waits_for_one_key_make_one_load_a_lifetime() {
    const WAITS: usize = 300;
    let _turn = turn().await;
    let server = Server::start(&[]).await;
    let tag = current_tag(&server).await;
    let mut responses = JoinSet::new();
    for _ in 0..WAITS {
        let mut stream = server.connect().await;
        stream.write_all(waiting(&tag, 20).as_bytes()).await.unwrap();
        responses.spawn(async move { rest(&mut stream).await });
    }
    until_waiting(&server, WAITS).await;
    let (loads, since) = (server.source.loads(), Instant::now());
    sleep(Duration::from_secs(3)).await;
    let made = server.source.loads() - loads;
    let lifetimes = since.elapsed().as_secs() as usize;
    assert!((1..=lifetimes + 1).contains(&made), "{made} loads in {lifetimes} lifetimes");
    server.source.change(Ok("second"));
    while let Some(response) = responses.join_next().await {
        assert!(response.unwrap().ends_with("\"second\""));
    }
    let made = server.source.loads();
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(server.source.loads(), made, "no request waits, so nothing keeps the entry fresh");
}

#[tokio::test]
async fn a_wait_for_an_entry_that_stays_stale_makes_a_load_a_second_and_not_more() {
    let _turn = turn().await;
    let server = Server::start(&[]).await;
    let tag = current_tag(&server).await;
    let response = start_waiting(&server, 1, &waiting(&tag, 20)).await;
    server.source.become_stale();
    let (loads, since) = (server.source.loads(), Instant::now());
    sleep(Duration::from_millis(3500)).await;
    let (made, seconds) = (server.source.loads() - loads, since.elapsed().as_secs() as usize);
    assert!((2..=seconds + 3).contains(&made), "{made} loads in {seconds} s");
    assert!(!response.is_finished());
    server.source.change(Ok("second"));
    assert!(response.await.unwrap().ends_with("\"second\""));
}

#[tokio::test]
async fn changes_end_waits_at_once_while_the_entry_stays_stale() {
    let _turn = turn().await;
    let server = Server::start(&[]).await;
    server.source.become_stale();
    let since = Instant::now();
    for value in ["1", "2", "3", "4", "5", "6"] {
        let tag = current_tag(&server).await;
        let response = start_waiting(&server, 1, &waiting(&tag, 20)).await;
        server.source.change(Ok(value));
        assert!(response.await.unwrap().ends_with(&format!("\"{value}\"")));
    }
    // Between two changes passes less than the second after which a stale entry is loaded again.
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_drain_ends_waits_with_304_and_their_connections() {
    let _turn = turn().await;
    let server = Server::start(&["--shutdown-delay=1s"]).await;
    let tag = current_tag(&server).await;
    let request = waiting(&tag, 20).replace("connection: close\r\n", "");
    let mut open = server.connect().await;
    open.write_all(request.as_bytes()).await.unwrap();
    until_waiting(&server, 1).await;
    let stopped_at = Instant::now();
    server.stop.send(()).unwrap();
    let response = head(&mut open).await;
    assert!(stopped_at.elapsed() >= Duration::from_secs(1), "it waits during the delay");
    assert_status(&response, 304);
    assert_eq!(header(&response, "connection"), Some("close"));
    timeout(TIMEOUT, server.ended).await.unwrap().unwrap();
    assert!(stopped_at.elapsed() < Duration::from_secs(3), "{:?}", stopped_at.elapsed());
}

#[tokio::test]
async fn waits_are_counted_under_a_label_of_their_own() {
    let _turn = turn().await;
    let server = Server::start(&[]).await;
    let tag = current_tag(&server).await;
    let count = |status: &'static str, endpoint: &'static str| {
        let server = &server;
        async move {
            let series = format!("{{method=\"GET\",status=\"{status}\",endpoint=\"{endpoint}\"}}");
            let metrics = server.get("/metrics").await;
            let name = format!("axum_http_requests_total{series} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
            value.map_or(0, |value| value.parse::<u64>().unwrap())
        }
    };
    let before = count("304", "wait").await;
    assert_status(&server.send(&waiting(&tag, 1)).await, 304);
    assert_eq!(count("304", "wait").await, before + 1);

    let before = count("499", "wait").await;
    let mut abandoned = server.connect().await;
    abandoned.write_all(waiting(&tag, 20).as_bytes()).await.unwrap();
    until_waiting(&server, 1).await;
    let pending = "axum_http_requests_pending{method=\"GET\",endpoint=\"wait\"} 1";
    assert!(server.get("/metrics").await.contains(pending));
    drop(abandoned);
    eventually("it is counted", || async { count("499", "wait").await == before + 1 }).await;
    until_waiting(&server, 0).await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("axum_http_requests_pending{method=\"GET\",endpoint=\"wait\"} 0"));
}
