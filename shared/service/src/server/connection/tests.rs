use std::{convert::Infallible, time::Duration};

use axum::http::{Request, Response};
use futures_util::{Stream, StreamExt, stream};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::sleep,
};

use super::*;

fn activity() -> Arc<Activity> {
    Activity::new(Arc::default(), None, Arc::default())
}

/// A client, and the server's end of its connection, whose buffer holds 64 bytes.
fn connection() -> (DuplexStream, TokioIo<ActivityIo<TokioIo<DuplexStream>>>) {
    let (client, server) = duplex(64);
    (client, TokioIo::new(ActivityIo::new(TokioIo::new(server), activity())))
}

fn body(activity: &Arc<Activity>) -> ResponseBody {
    ResponseBody::new(Body::empty(), Arc::clone(activity))
}

#[test]
fn each_phase_but_processing_has_a_limit() {
    for (phase, used, limit) in [
        (Phase::Idle, false, HEADER_TIMEOUT),
        (Phase::ReadingHead, false, HEADER_TIMEOUT),
        (Phase::ReadingHead, true, HEADER_TIMEOUT),
        (Phase::Idle, true, IDLE_TIMEOUT),
        (Phase::Writing, true, WRITE_TIMEOUT),
        (Phase::Lingering, true, LINGER_TIMEOUT),
    ] {
        let activity = activity();
        activity.used.store(used, Relaxed);
        activity.enter(phase);
        assert!(!activity.is_overdue(limit, false), "{phase:?} for {limit} s is allowed");
        assert!(activity.is_overdue(limit + 1, false), "{phase:?} for longer is not");
    }
    let activity = activity();
    activity.request_received(false);
    assert!(!activity.is_overdue(10 * IDLE_TIMEOUT, true), "the request's deadline ends it");
}

#[test]
fn a_drain_does_not_wait_for_half_a_header() {
    let activity = activity();
    activity.read();
    assert!(!activity.is_overdue(1, true));
    assert!(activity.is_overdue(2, true));
}

#[tokio::test]
async fn a_response_that_the_client_does_not_read_is_not_idle() {
    let (mut client, mut server) = connection();
    let activity = Arc::clone(&server.inner().activity);
    client.write_all(b"GET").await.expect("open");
    server.read_u8().await.expect("open");
    assert_eq!(activity.phase(), Phase::ReadingHead);
    activity.request_received(false);
    let ended = body(&activity);

    let response = tokio::spawn(async move {
        server.write_all(&[0; 100]).await.expect("open");
        drop(ended);
        server.flush().await.expect("open");
    });
    tokio::task::yield_now().await;
    assert_eq!(activity.phase(), Phase::Writing);
    client.read_exact(&mut [0; 100]).await.expect("open");
    response.await.expect("written");
    assert_eq!(activity.phase(), Phase::Idle);
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_overdue_while_it_reads() {
    let (mut client, mut server) = connection();
    let activity = Arc::clone(&server.inner().activity);
    activity.request_received(false);
    let response = tokio::spawn(async move { server.write_all(&[0; 1000]).await });
    for _ in 0..10 {
        tokio::task::yield_now().await;
        assert_eq!(activity.phase(), Phase::Writing);
        activity.clock.fetch_add(WRITE_TIMEOUT, Relaxed);
        assert!(!activity.is_overdue(activity.clock.load(Relaxed), false));
        client.read_exact(&mut [0; 64]).await.expect("open");
    }
    tokio::task::yield_now().await;
    activity.clock.fetch_add(WRITE_TIMEOUT + 1, Relaxed);
    assert!(activity.is_overdue(activity.clock.load(Relaxed), false));
    response.abort();
}

#[tokio::test]
async fn a_flush_between_two_frames_is_not_the_end_of_the_response() {
    let (mut client, mut server) = connection();
    let activity = Arc::clone(&server.inner().activity);
    activity.request_received(false);
    let body = body(&activity);
    for _ in 0..2 {
        server.write_all(b"a frame").await.expect("open");
        server.flush().await.expect("open");
        client.read_exact(&mut [0; 7]).await.expect("open");
        assert_eq!(activity.phase(), Phase::Processing);
        assert_eq!(activity.eviction_rank(), None, "a stream is no candidate for eviction");
    }
    drop(body);
    server.flush().await.expect("open");
    assert_eq!(activity.phase(), Phase::Idle);
}

#[tokio::test]
async fn a_flush_does_not_end_the_next_request() {
    let (_client, mut server) = connection();
    let activity = Arc::clone(&server.inner().activity);
    activity.request_received(false);
    drop(body(&activity));
    // hyper parses a pipelined request before it flushes the response to the one before.
    activity.request_received(false);
    server.flush().await.expect("open");
    assert_eq!(activity.phase(), Phase::Processing);
}

#[tokio::test]
async fn the_rest_of_an_unwanted_body_is_read_within_bounds() {
    let (client, mut server) = connection();
    server.inner().activity.request_received(true);
    let (mut response, mut request) = tokio::io::split(client);
    let sender = tokio::spawn(async move {
        let mut sent = 0;
        while request.write_all(&[0; 64]).await.is_ok() {
            sent += 64;
        }
        sent
    });
    server.shutdown().await.expect("within bounds");
    assert_eq!(response.read(&mut [0; 1]).await.expect("open"), 0, "the client sees the end first");
    drop(server);
    let sent = sender.await.expect("no panic");
    assert!((LINGER_BYTES..2 * LINGER_BYTES).contains(&sent), "{sent} bytes");
}

/// A client that has requested a stream of these frames, the activity of its connection, and the
/// connection itself.
async fn stream_of(
    frames: impl Stream<Item = &'static str> + Send + 'static,
) -> (DuplexStream, Arc<Activity>, JoinHandle<hyper::Result<()>>) {
    let (mut client, server) = duplex(1024);
    let activity = activity();
    let io = ActivityIo::new(TokioIo::new(server), Arc::clone(&activity));
    let body = Mutex::new(Some(Body::from_stream(frames.map(Ok::<_, Infallible>))));
    let served = Arc::clone(&activity);
    let service = service_fn(move |_: Request<Incoming>| {
        served.request_received(false);
        let body = body.lock().take().expect("one request");
        let response = Response::new(ResponseBody::new(body, Arc::clone(&served)));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = tokio::spawn(http1::Builder::new().serve_connection(io, service));
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    (client, activity, connection)
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_overdue() {
    let (_client, activity, connection) = stream_of(stream::repeat("a frame")).await;
    while activity.phase() != Phase::Writing {
        tokio::task::yield_now().await;
    }
    activity.clock.fetch_add(WRITE_TIMEOUT, Relaxed);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!activity.is_overdue(activity.clock.load(Relaxed), false));
    activity.clock.fetch_add(1, Relaxed);
    assert!(activity.is_overdue(activity.clock.load(Relaxed), false));
    connection.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_sends_a_comment_now_and_then_is_neither_overdue_nor_evicted() {
    let comments = stream::unfold((), async |()| {
        sleep(Duration::from_secs(15)).await;
        Some((":\n\n", ()))
    });
    let (mut client, activity, connection) = stream_of(comments).await;
    for _ in 0..40 {
        let mut part = [0; 1024];
        assert!(client.read(&mut part).await.expect("open") > 0);
        tokio::task::yield_now().await;
        assert_eq!(activity.phase(), Phase::Processing);
        activity.clock.fetch_add(15, Relaxed);
        assert!(!activity.is_overdue(activity.clock.load(Relaxed), true));
        assert_eq!(activity.eviction_rank(), None);
    }
    connection.abort();
}
