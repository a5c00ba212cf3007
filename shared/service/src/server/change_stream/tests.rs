use axum::{
    Router,
    body::{Body, BodyDataStream},
    http::Request,
};
use futures_util::StreamExt;
use tokio::time::{advance, timeout};
use tower::ServiceExt;

use super::*;

struct Service {
    log: ChangeLog,
    waits: Waits,
}

impl Service {
    fn new(max_waiting: usize) -> Self {
        Self { log: ChangeLog::new("start"), waits: Waits::new(max_waiting) }
    }

    async fn send(&self, request: axum::http::request::Builder) -> Response {
        let handler = change_stream(self.log.clone(), self.waits.clone());
        let router = Router::new().route("/changes", handler);
        let request = request.body(Body::empty()).expect("a request");
        router.oneshot(request).await.expect("a Router never fails")
    }

    async fn get(&self, query: &str) -> Response {
        self.send(Request::get(format!("/changes{query}"))).await
    }

    async fn open(&self, last_id: Option<&str>) -> BodyDataStream {
        let mut request = Request::get("/changes");
        if let Some(id) = last_id {
            request = request.header(LAST_EVENT_ID, id);
        }
        let response = self.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().into_data_stream()
    }

    fn publish(&self, id: &str, name: &str, deleted: bool) {
        self.log.publish([ChangeEvent { id: id.into(), name: name.into(), deleted }]);
    }
}

/// Reads the next event or comment.
async fn next(body: &mut BodyDataStream) -> Option<String> {
    let frame = timeout(2 * MAX_AGE, body.next()).await.expect("not silent for so long")?;
    Some(String::from_utf8(frame.expect("a stream has no errors").to_vec()).expect("text"))
}

/// The seconds of the `retry` in an event.
fn retry_of(event: &str) -> u64 {
    let retry = event.lines().find_map(|line| line.strip_prefix("retry: "));
    retry.expect("the event has a pause").parse().expect("milliseconds")
}

#[tokio::test]
async fn a_stream_sends_its_position_and_then_the_changes() {
    let service = Service::new(10);
    let response = service.get("").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut body = response.into_body().into_data_stream();
    assert_eq!(next(&mut body).await.as_deref(), Some("id: start\nretry: 1000\n\n"));
    service.publish("1", "/app/x", false);
    service.publish("2", "/app/y", true);
    let changed = "id: 1\ndata: {\"name\":\"/app/x\"}\n\n";
    assert_eq!(next(&mut body).await.as_deref(), Some(changed));
    let deleted = "id: 2\ndata: {\"name\":\"/app/y\",\"deleted\":true}\n\n";
    assert_eq!(next(&mut body).await.as_deref(), Some(deleted));
}

#[tokio::test]
async fn a_stream_continues_behind_the_last_event_or_begins_with_a_reset() {
    let service = Service::new(10);
    service.publish("1", "/a", false);
    service.publish("2", "/b", false);
    let mut resumed = service.open(Some("1")).await;
    assert_eq!(next(&mut resumed).await.as_deref(), Some("id: 1\nretry: 1000\n\n"));
    assert_eq!(next(&mut resumed).await.as_deref(), Some("id: 2\ndata: {\"name\":\"/b\"}\n\n"));
    let mut unknown = service.open(Some("another")).await;
    let reset = "event: reset\nid: 2\ndata: {}\nretry: 1000\n\n";
    assert_eq!(next(&mut unknown).await.as_deref(), Some(reset));
}

#[tokio::test]
async fn a_path_limits_the_stream_with_or_without_its_slashes() {
    for query in ["?path=/app/", "?path=app", "?a=b&path=%2Fapp", "?path=/app&_=1"] {
        let service = Service::new(10);
        let mut body = service.get(query).await.into_body().into_data_stream();
        next(&mut body).await;
        service.publish("1", "/apple", false);
        service.publish("2", "/app/x", false);
        let event = next(&mut body).await.expect("an event");
        assert!(event.contains("\"/app/x\""), "{query}: {event}");
    }
    for query in ["", "?", "?path=", "?path=/", "?other=/app"] {
        let service = Service::new(10);
        let mut body = service.get(query).await.into_body().into_data_stream();
        next(&mut body).await;
        service.publish("1", "/apple", false);
        assert!(next(&mut body).await.expect("an event").contains("/apple"), "{query}");
    }
}

#[tokio::test]
async fn a_malformed_query_or_path_is_rejected() {
    let service = Service::new(10);
    for (query, code) in [
        ("?path=/a&path=/b", "bad-request"),
        ("?path=%ff", "bad-request"),
        ("?path=a%20b", "invalid-parameter-name"),
        ("?path=//", "invalid-parameter-name"),
        ("?path=/a/../b", "invalid-parameter-name"),
    ] {
        let response = service.get(query).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let problem = response.extensions().get::<Problem>().expect("a problem");
        assert_eq!(problem.code, code, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_events_sends_a_comment_every_fifteen_seconds() {
    let service = Service::new(10);
    let mut body = service.open(None).await;
    next(&mut body).await;
    for _ in 0..3 {
        let started = Instant::now();
        assert_eq!(next(&mut body).await.as_deref(), Some(":\n\n"));
        assert_eq!(started.elapsed().as_secs(), 15);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_ten_minutes_or_a_little_earlier_with_its_position() {
    let mut ages = Vec::new();
    for _ in 0..20 {
        let service = Service::new(10);
        let (mut body, started) = (service.open(None).await, Instant::now());
        service.publish("1", "/a", false);
        let mut last = String::new();
        while let Some(event) = next(&mut body).await {
            last = event;
        }
        assert_eq!(last, "retry: 1000\nid: 1\n\n");
        ages.push(started.elapsed().as_secs());
    }
    assert!(ages.iter().all(|age| (480..=600).contains(age)), "{ages:?}");
    ages.sort_unstable();
    ages.dedup();
    assert!(ages.len() > 5, "the ages differ");
}

#[tokio::test]
async fn a_drain_ends_every_stream_with_a_pause_of_its_own() {
    let service = Service::new(100);
    let mut pauses = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..30 {
        let mut body = service.open(None).await;
        next(&mut body).await;
        bodies.push(body);
    }
    service.waits.end();
    for mut body in bodies {
        let event = next(&mut body).await.expect("a last event");
        assert!(event.contains("id: start"), "{event}");
        assert_eq!(next(&mut body).await, None);
        pauses.push(retry_of(&event));
    }
    assert!(pauses.iter().all(|pause| (1000..=5000).contains(pause)), "{pauses:?}");
    pauses.sort_unstable();
    pauses.dedup();
    assert!(pauses.len() > 10, "the pauses differ");
}

/// The client would otherwise take the position for its own, and never learn of the gap.
#[tokio::test]
async fn a_drain_does_not_hide_a_reset() {
    let service = Service::new(10);
    service.waits.end();
    let mut body = service.open(Some("another")).await;
    let event = next(&mut body).await.expect("a last event");
    assert!(!event.contains("id:"), "{event}");
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn a_stream_that_falls_behind_ends() {
    let service = Service::new(10);
    let mut body = service.open(None).await;
    next(&mut body).await;
    for id in 0..5000 {
        service.publish(&id.to_string(), "/a", false);
    }
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn each_stream_has_a_place_until_its_body_is_dropped() {
    let service = Service::new(2);
    let (first, _second) = (service.open(None).await, service.open(None).await);
    let refused = service.get("").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.extensions().get::<Problem>().expect("a problem").code, "overloaded");
    drop(first);
    let head = service.send(Request::head("/changes")).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()["content-type"], "text/event-stream");
    let mut body = head.into_body().into_data_stream();
    assert_eq!(next(&mut body).await, None, "a HEAD has no body");
    drop(service.open(None).await);
}

/// An event that comes just before the end of a stream is sent, or the last position is before it.
#[tokio::test(start_paused = true)]
async fn the_last_position_is_that_of_the_last_event_that_was_sent() {
    let service = Service::new(10);
    let mut body = service.open(None).await;
    next(&mut body).await;
    service.publish("1", "/a", false);
    advance(MAX_AGE).await;
    let event = next(&mut body).await.expect("an event");
    assert_eq!(event, "retry: 1000\nid: start\n\n");
}
