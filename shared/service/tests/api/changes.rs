//! Streams of changes on real sockets: their places, their end at a drain, and slow clients.

use std::{fs, time::Duration};

use service::changes::ChangeEvent;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::harness::{
    Server, TIMEOUT, assert_problem, assert_status, closing, eventually, head, keeping, rest,
};

/// The end of a chunked body.
const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

fn event(id: usize, name: &str) -> ChangeEvent {
    ChangeEvent { id: id.to_string().into(), name: name.into(), deleted: false }
}

/// Opens a stream, and reads its beginning up to the position.
async fn open(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(keeping("/changes").as_bytes()).await.unwrap();
    let text = head(&mut stream).await;
    assert_status(&text, 200);
    if !text.contains("retry:") {
        until(&mut stream, "retry:").await;
    }
    stream
}

/// Reads until a text has arrived. Returns everything that was read.
async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut part = [0; 4096];
        let length = timeout(TIMEOUT, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(length > 0, "the connection ended, after: {text}");
        text += std::str::from_utf8(&part[..length]).unwrap();
    }
    text
}

/// Reads until a short text has arrived, and drops what was read.
async fn read_past(stream: &mut TcpStream, wanted: &str) {
    let (mut tail, mut part) = (String::new(), vec![0; 64 << 10]);
    while !tail.contains(wanted) {
        let length = timeout(TIMEOUT, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(length > 0, "the connection ended");
        let start = tail.len().saturating_sub(wanted.len());
        tail = tail.split_off(start) + std::str::from_utf8(&part[..length]).unwrap();
    }
}

#[tokio::test]
async fn a_change_reaches_every_open_stream_at_once() {
    let server = Server::start(&[]).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(open(&server).await);
    }
    let started = Instant::now();
    server.changes.publish([event(1, "/app/x")]);
    for stream in &mut streams {
        let text = until(stream, "\n\n").await;
        assert!(text.contains("id: 1\ndata: {\"name\":\"/app/x\"}\n\n"), "{text}");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_drain_ends_two_hundred_streams_within_a_second_and_in_order() {
    let server = Server::start(&[]).await;
    server.changes.publish([event(7, "/a")]);
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let mut stream = open(&server).await;
        clients.spawn(async move { rest(&mut stream).await });
    }
    let stopped_at = Instant::now();
    server.stop.send(()).unwrap();
    let mut pauses = Vec::new();
    while let Some(text) = clients.join_next().await {
        let text = text.unwrap();
        assert!(text.ends_with(LAST_CHUNK), "{text:?}");
        assert!(text.contains("\nid: 7\n"), "{text:?}");
        let retry = text.lines().find_map(|line| line.strip_prefix("retry: ")).unwrap();
        pauses.push(retry.parse::<u64>().unwrap());
    }
    timeout(TIMEOUT, server.ended).await.unwrap().unwrap();
    let elapsed = stopped_at.elapsed();
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    assert!(pauses.iter().all(|pause| (1000..=5000).contains(pause)), "{pauses:?}");
    let mean = pauses.iter().sum::<u64>() / pauses.len() as u64;
    assert!((2500..3500).contains(&mean), "the clients spread: {mean} ms");
}

#[tokio::test]
async fn a_stream_beyond_the_places_is_refused_until_another_one_ends() {
    // A stream takes no place of the other requests.
    let server = Server::start(&["--max-waiting=2", "--max-in-flight=1"]).await;
    let (first, _second) = (open(&server).await, open(&server).await);
    assert_problem(&server.get("/changes").await, 503, "overloaded");
    assert_status(&server.get("/hello").await, 200);
    drop(first);
    eventually("the place is free", || async {
        let mut stream = server.connect().await;
        stream.write_all(keeping("/changes").as_bytes()).await.unwrap();
        head(&mut stream).await.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test]
async fn a_head_ends_at_once_and_its_connection_takes_another_request() {
    let server = Server::start(&["--max-waiting=1"]).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(b"HEAD /changes HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let text = head(&mut stream).await;
        assert_status(&text, 200);
        assert!(text.contains("content-type: text/event-stream\r\n"), "{text}");
        assert!(text.contains("x-accel-buffering: no\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }
    stream.write_all(closing("/hello", "").as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.ends_with("hello"));
}

#[tokio::test]
async fn a_stream_needs_the_token_and_a_well_formed_path() {
    let file = std::env::temp_dir().join(format!("changes-token-{}", std::process::id()));
    fs::write(&file, "a-token-of-sixteen-characters\n").unwrap();
    let server = Server::start(&[&format!("--auth-token-file={}", file.display())]).await;
    assert_problem(&server.get("/changes").await, 401, "unauthorized");
    let answer = server.get_with("/changes?path=a%20b", "a-token-of-sixteen-characters").await;
    assert_problem(&answer, 400, "invalid-parameter-name");
    fs::remove_file(&file).unwrap();
}

/// A client that reads nothing fills the buffers of the kernel, and then its stream stands still. It
/// falls behind the history, so it ends when the client reads again.
#[tokio::test]
async fn a_slow_client_gets_the_end_of_its_stream_and_costs_no_memory() {
    let server = Server::start(&[]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(server.address).await.unwrap();
    slow.write_all(closing("/changes", "").as_bytes()).await.unwrap();
    assert_status(&head(&mut slow).await, 200);
    let mut fast = open(&server).await;

    let name = format!("/{}", "a".repeat(2000));
    let published = 20_000;
    for id in 1..=published {
        server.changes.publish([event(id, &name)]);
        // The history holds the last few hundred of these events. A client that reads gets all.
        if id % 100 == 0 {
            read_past(&mut fast, &format!("id: {id}\n")).await;
        }
    }

    let received = rest(&mut slow).await;
    assert!(received.ends_with(LAST_CHUNK), "{}", &received[received.len() - 100..]);
    let sent = published * name.len();
    assert!(received.len() < sent / 8, "{} of {sent} bytes were stored", received.len());
}
