//! The stream of aux-service's changes: its effect on the cache and on main-api's own streams, and
//! its faults.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    aux_double::{Act, Aux, CHANGES, JSON, Reply, Seen, bytes, problem, response},
    gateway::{Answer, Gateway},
};

/// The position at which every stream of the double begins.
const POSITION: &str = "id: p1\nretry: 100\n\n";

/// Starts an aux-service whose values change and whose streams a test scripts.
struct Scene {
    aux: Aux,
    values: Values,
}

/// The value of each parameter that does not fail.
#[derive(Clone)]
struct Values(Arc<Mutex<Result<&'static str, u16>>>);

impl Values {
    fn set(&self, value: Result<&'static str, u16>) {
        *self.0.lock() = value;
    }

    /// The response to any request but that of a stream. It is fresh for an hour.
    fn reply(&self) -> Reply {
        match *self.0.lock() {
            Ok(value) => {
                let tag = format!("\"{value}\"");
                let cache_control =
                    "max-age=3600, stale-while-revalidate=3600, stale-if-error=3600";
                let headers = [JSON, ("cache-control", cache_control), ("etag", &tag)];
                response(200, &headers, &format!(r#"{{"version":"1","value":"{value}"}}"#))
            }
            Err(404) => problem(404, "parameter-not-found", false, &[]),
            Err(status) => problem(status, "aws-unavailable", true, &[]),
        }
    }
}

impl Scene {
    /// `streams` responds to the requests for `/changes`, which it gets with their number.
    async fn new(mut streams: impl FnMut(usize, &Seen) -> Reply + Send + 'static) -> Self {
        let values = Values(Arc::new(Mutex::new(Ok("old"))));
        let (served, mut opened) = (values.clone(), 0);
        let aux = Aux::with_changes(move |seen| {
            if seen.path != CHANGES {
                return served.reply();
            }
            opened += 1;
            streams(opened - 1, seen)
        })
        .await;
        Self { aux, values }
    }

    /// Each stream sends its position, and these events after the signal.
    async fn with_events(events: &str) -> (Self, watch::Sender<bool>) {
        let (go, when) = signal();
        let (mut when, events) = (Some(when), chunk(events));
        let scene = Self::new(move |_, _| {
            let mut reply = stream(POSITION);
            reply.extend(when.take());
            reply.extend([events.clone(), Act::Stall]);
            reply
        })
        .await;
        (scene, go)
    }

    /// The requests for `/changes` so far.
    fn streams(&self) -> Vec<Seen> {
        self.aux.seen().into_iter().filter(|seen| seen.path == CHANGES).collect()
    }

    /// The number of all other requests so far.
    fn loads(&self) -> usize {
        self.aux.calls() - self.streams().len()
    }

    /// The positions that the requests for streams name.
    fn last_ids(&self) -> Vec<Option<String>> {
        let ids = self.streams().into_iter().map(|s| s.header("last-event-id").map(str::to_owned));
        ids.collect()
    }

    /// Waits for the `count`-th stream.
    async fn until_streams(&self, count: usize) {
        eventually("a stream is requested", || self.streams().len() >= count).await;
    }
}

/// A signal for which a stream waits before its next event.
fn signal() -> (watch::Sender<bool>, Act) {
    let (sender, receiver) = watch::channel(false);
    (sender, Act::Until(receiver))
}

/// The head of a stream's response, and its first events.
fn stream(events: &str) -> Reply {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    vec![Act::Send(head.into()), chunk(events)]
}

/// More events of a stream.
fn chunk(events: &str) -> Act {
    Act::Send(format!("{:x}\r\n{events}\r\n", events.len()).into_bytes())
}

/// The end of a stream in order.
fn last_chunk() -> Act {
    Act::Send(b"0\r\n\r\n".to_vec())
}

fn changed(id: &str, name: &str) -> String {
    format!("id: {id}\ndata: {{\"name\":\"{name}\"}}\n\n")
}

async fn eventually(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[track_caller]
fn assert_value(answer: &Answer, value: &str) {
    assert_eq!((answer.status, answer.body["value"].as_str()), (200, Some(value)), "{answer:?}");
}

/// Waits until main-api has read the position of the stream: it then has the same one.
async fn until_following(gateway: &Gateway, id: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let wanted = format!("id: {id}\nretry: 1000");
    while gateway.changes(None).await.next().await != wanted {
        assert!(Instant::now() < deadline, "main-api does not follow");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_change_expires_the_entries_that_it_concerns_and_reaches_the_clients() {
    let (scene, go) = Scene::with_events(&changed("c1", "/app/x")).await;
    let gateway = Gateway::following(&scene.aux, &[]).await;
    until_following(&gateway, "p1").await;
    let mut changes = gateway.changes(None).await;
    assert_eq!(changes.next().await, "id: p1\nretry: 1000");
    let paths = ["/param/app/x", "/param/app/x:3", "/param/other"];
    for path in paths {
        assert_value(&gateway.get(path).await, "old");
    }
    gateway.ssm("GetParameter", r#"{"Name":"app/x"}"#).await;
    let loads = scene.loads();

    scene.values.set(Ok("new"));
    go.send_replace(true);
    assert_eq!(changes.next().await, "id: c1\ndata: {\"name\":\"/app/x\"}");
    for path in ["/param/app/x", "/param/app/x:3"] {
        assert_value(&gateway.get(path).await, "new");
    }
    assert_value(&gateway.get("/param/other").await, "old");
    assert_eq!(scene.loads(), loads + 2);
    // A client of another replica of main-api resumes here.
    let mut resumed = gateway.changes(Some("p1")).await;
    assert_eq!(resumed.next().await, "id: p1\nretry: 1000");
    assert_eq!(resumed.next().await, "id: c1\ndata: {\"name\":\"/app/x\"}");
}

/// The stream and the response may come from two replicas, and one may be a moment behind the other.
#[tokio::test]
async fn a_response_that_may_be_from_before_the_change_is_requested_again() {
    let (scene, go) = Scene::with_events(&changed("c1", "/app/x")).await;
    let gateway = Gateway::following(&scene.aux, &[]).await;
    until_following(&gateway, "p1").await;
    assert_value(&gateway.get("/param/app/x").await, "old");
    go.send_replace(true);
    until_following(&gateway, "c1").await;
    assert_value(&gateway.get("/param/app/x").await, "old");
    // The entry is stale: it is served once more, and refreshed. The response is still the old one.
    let loads = scene.loads();
    assert_value(&gateway.get("/param/app/x").await, "old");
    eventually("the entry is refreshed", || scene.loads() == loads + 1).await;
    scene.values.set(Ok("new"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while gateway.get("/param/app/x").await.body["value"] != "new" {
        assert!(Instant::now() < deadline, "the entry stays old");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_changed_entry_is_served_when_aux_service_fails_and_a_deleted_one_is_not() {
    let deleted = "id: c2\ndata: {\"name\":\"/gone\",\"deleted\":true}\n\n";
    let (scene, go) = Scene::with_events(&(changed("c1", "/app/x") + deleted)).await;
    let gateway = Gateway::following(&scene.aux, &[]).await;
    until_following(&gateway, "p1").await;
    for path in ["/param/app/x", "/param/gone"] {
        assert_value(&gateway.get(path).await, "old");
    }
    scene.values.set(Err(502));
    go.send_replace(true);
    until_following(&gateway, "c2").await;
    let answer = gateway.get("/param/app/x").await;
    assert_value(&answer, "old");
    assert!(answer.header("cache-status").expect("a header").contains("stale"), "{answer:?}");
    gateway.get("/param/gone").await.assert_problem(502, "aws-unavailable");
}

#[tokio::test]
async fn a_created_parameter_is_found_at_once() {
    let (scene, go) = Scene::with_events(&changed("c1", "/app/x")).await;
    scene.values.set(Err(404));
    let gateway = Gateway::following(&scene.aux, &[]).await;
    until_following(&gateway, "p1").await;
    assert_eq!(gateway.get("/param/app/x").await.status, 404);
    scene.values.set(Ok("new"));
    go.send_replace(true);
    until_following(&gateway, "c1").await;
    assert_value(&gateway.get("/param/app/x").await, "new");
}

#[tokio::test]
async fn a_stream_that_is_cut_off_is_resumed_without_a_loss_and_without_a_reset() {
    let (cut, when) = signal();
    let mut when = Some(when);
    let scene = Scene::new(move |number, _| match number {
        0 => {
            let mut reply = stream(&(POSITION.to_owned() + &changed("c1", "/app/x")));
            reply.extend(when.take());
            reply.push(Act::Reset);
            reply
        }
        _ => {
            let mut reply = stream("id: c1\n\n");
            reply.extend([chunk(&changed("c2", "/app/y")), Act::Stall]);
            reply
        }
    })
    .await;
    let gateway = Gateway::following(&scene.aux, &[]).await;
    until_following(&gateway, "c1").await;
    let mut changes = gateway.changes(None).await;
    changes.next().await;
    for path in ["/param/app/y", "/param/other"] {
        assert_value(&gateway.get(path).await, "old");
    }
    scene.values.set(Ok("new"));
    cut.send_replace(true);
    assert_eq!(changes.next().await, "id: c2\ndata: {\"name\":\"/app/y\"}");
    assert_value(&gateway.get("/param/app/y").await, "new");
    let other = gateway.get("/param/other").await;
    assert_value(&other, "old");
    assert!(other.header("cache-status").expect("a header").contains("hit"), "{other:?}");
    assert_eq!(scene.last_ids(), [None, Some("c1".to_owned())]);
}

#[tokio::test]
async fn a_reset_makes_every_entry_stale_and_reaches_the_clients() {
    for number_of_reset in [0, 1] {
        let (go, when) = signal();
        let mut when = Some(when);
        // The reset comes within a stream, or begins the next one.
        let scene = Scene::new(move |number, _| {
            let mut reply = if number == 0 {
                let mut reply = stream(POSITION);
                reply.extend(when.take());
                if number_of_reset == 1 {
                    reply.push(last_chunk());
                    return reply;
                }
                reply
            } else {
                stream(":\n\n")
            };
            reply.extend([chunk("event: reset\nid: r1\ndata: {}\n\n"), Act::Stall]);
            reply
        })
        .await;
        let gateway = Gateway::following(&scene.aux, &[]).await;
        until_following(&gateway, "p1").await;
        let mut changes = gateway.changes(None).await;
        changes.next().await;
        assert_value(&gateway.get("/param/a").await, "old");
        let loads = scene.loads();
        scene.values.set(Ok("new"));
        go.send_replace(true);
        assert_eq!(changes.next().await, "event: reset\nid: r1\ndata: {}");
        // A stale entry is served at once, and refreshed in the background.
        let stale = gateway.get("/param/a").await;
        assert_value(&stale, "old");
        eventually("the entry is refreshed", || scene.loads() == loads + 1).await;
        let deadline = Instant::now() + Duration::from_secs(10);
        while gateway.get("/param/a").await.body["value"] != "new" {
            assert!(Instant::now() < deadline, "the new value is stored");
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(scene.loads(), loads + 1);
    }
}

#[tokio::test]
async fn a_stream_that_ends_in_order_is_resumed_after_the_pause_that_it_asks_for() {
    let scene = Scene::new(|number, _| match number {
        0 => {
            let mut reply = stream(POSITION);
            reply.extend([chunk("id: p2\nretry: 1500\n\n"), last_chunk()]);
            reply
        }
        _ => [stream("id: p2\n\n"), vec![Act::Stall]].concat(),
    })
    .await;
    let gateway = Gateway::following(&scene.aux, &[]).await;
    scene.until_streams(2).await;
    let streams = scene.streams();
    let pause = streams[1].at - streams[0].at;
    assert!((1400..4000).contains(&pause.as_millis()), "{pause:?}");
    assert_eq!(scene.last_ids(), [None, Some("p2".to_owned())]);
    drop(gateway);
}

#[tokio::test]
async fn an_invalid_event_is_passed_over_and_every_entry_counts_as_changed() {
    for garbage in [
        "id: c1\ndata: {\"name\":7}\n\n",
        "data: {\"name\":\"/a\"}\n\n",
        "id: c1\ndata: \u{0}\n\n",
        "event: reset\ndata: {}\n\n",
    ] {
        let (go, when) = signal();
        let mut when = Some(when);
        let scene = Scene::new(move |number, _| match number {
            0 => {
                let mut reply = stream(POSITION);
                reply.extend(when.take());
                reply.extend([chunk(garbage), Act::Stall]);
                reply
            }
            _ => [stream("id: p2\n\n"), vec![Act::Stall]].concat(),
        })
        .await;
        let gateway = Gateway::following(&scene.aux, &[]).await;
        until_following(&gateway, "p1").await;
        assert_value(&gateway.get("/param/a").await, "old");
        let loads = scene.loads();
        go.send_replace(true);
        until_following(&gateway, "p2").await;
        assert_eq!(scene.last_ids(), [None, None], "{garbage}");
        gateway.get("/param/a").await;
        eventually("the entry is refreshed", || scene.loads() == loads + 1).await;
    }
}

#[tokio::test]
async fn an_event_without_end_ends_the_connection() {
    let endless = Act::Send("x".repeat(4096).into_bytes());
    let scene = Scene::new(move |number, _| {
        let mut reply = stream(POSITION);
        if number == 0 {
            // A chunk of a gigabyte, of which 40 MB are sent.
            reply.push(Act::Send(b"40000000\r\ndata: ".to_vec()));
            reply.extend(std::iter::repeat_n(endless.clone(), 10_000));
        }
        reply.push(Act::Stall);
        reply
    })
    .await;
    let _gateway = Gateway::following(&scene.aux, &[]).await;
    scene.until_streams(2).await;
    let first = scene.streams()[0].connection;
    eventually("the connection is closed", || !scene.aux.is_open(first)).await;
}

#[tokio::test]
async fn a_response_that_is_no_stream_is_retried_with_pauses_and_does_no_harm() {
    let replies: [fn() -> Reply; 4] = [
        || response(200, &[("content-type", "text/html")], "<p>"),
        || response(503, &[JSON], "{}"),
        || vec![Act::Send(bytes(302, &[("location", "http://127.0.0.1:1/")], 0, ""))],
        || vec![Act::Reset],
    ];
    for reply in replies {
        let scene = Scene::new(move |number, _| match number {
            0..3 => reply(),
            _ => [stream(POSITION), vec![Act::Stall]].concat(),
        })
        .await;
        let gateway = Gateway::following(&scene.aux, &[]).await;
        assert_value(&gateway.get("/param/a").await, "old");
        until_following(&gateway, "p1").await;
        assert_eq!(scene.streams().len(), 4);
        assert_eq!(gateway.get("/readyz").await.body["dependencies"]["changes"], "ok");
    }
}

#[tokio::test]
async fn a_refusal_is_retried_much_later() {
    for status in [404, 401, 403] {
        let scene = Scene::new(move |_, _| problem(status, "not-found", false, &[])).await;
        let gateway = Gateway::following(&scene.aux, &[]).await;
        scene.until_streams(1).await;
        for _ in 0..20 {
            assert_value(&gateway.get("/param/a").await, "old");
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((scene.streams().len(), scene.loads()), (1, 1));
    }
}

#[tokio::test]
async fn main_api_follows_for_its_clients_even_without_a_cache() {
    let scene = Scene::new(|_, _| {
        let events = POSITION.to_owned() + &changed("c1", "/a");
        [stream(&events), vec![Act::Stall]].concat()
    })
    .await;
    let gateway = Gateway::following(&scene.aux, &["--cache=off"]).await;
    until_following(&gateway, "c1").await;
    let mut changes = gateway.changes(Some("p1")).await;
    changes.next().await;
    assert_eq!(changes.next().await, "id: c1\ndata: {\"name\":\"/a\"}");
}

#[tokio::test]
async fn the_request_for_a_stream_has_the_token_of_aux_service() {
    let file = std::env::temp_dir().join(format!("aux-token-{}", std::process::id()));
    std::fs::write(&file, "a-token-of-sixteen-characters\n").expect("a file");
    let scene = Scene::new(|_, _| [stream(POSITION), vec![Act::Stall]].concat()).await;
    let flag = format!("--aux-token-file={}", file.display());
    let _gateway = Gateway::following(&scene.aux, &[&flag]).await;
    scene.until_streams(1).await;
    let request = &scene.streams()[0];
    assert_eq!(request.header("authorization"), Some("Bearer a-token-of-sixteen-characters"));
    assert_eq!(request.header("accept"), Some("text/event-stream"));
    std::fs::remove_file(&file).expect("the file is there");
}

/// A client that connects before main-api follows must not resume at a position of no other replica.
#[tokio::test]
async fn a_client_that_connects_before_the_first_stream_gets_a_reset() {
    let (go, when) = signal();
    let mut when = Some(when);
    let scene = Scene::new(move |_, _| {
        let mut reply: Reply = when.take().into_iter().collect();
        reply.extend(stream(POSITION));
        reply.push(Act::Stall);
        reply
    })
    .await;
    let gateway = Gateway::following(&scene.aux, &[]).await;
    let mut early = gateway.changes(None).await;
    let own = early.next().await;
    assert!(own.starts_with("id: ") && !own.contains("p1"), "{own}");
    go.send_replace(true);
    assert_eq!(early.next().await, "event: reset\nid: p1\ndata: {}");
}

#[tokio::test]
async fn changes_that_arrive_together_are_applied_together() {
    let (go, when) = signal();
    let mut when = Some(when);
    let events: String = (0..1000).map(|id| changed(&format!("c{id}"), "/app/x")).collect();
    let scene = Scene::new(move |_, _| {
        let mut reply = stream(POSITION);
        reply.extend(when.take());
        reply.extend([chunk(&events), Act::Stall]);
        reply
    })
    .await;
    let gateway = Gateway::following(&scene.aux, &[]).await;
    until_following(&gateway, "p1").await;
    assert_value(&gateway.get("/param/app/x").await, "old");
    scene.values.set(Ok("new"));
    let mut changes = gateway.changes(None).await;
    changes.next().await;
    go.send_replace(true);
    for id in 0..1000 {
        assert!(changes.next().await.starts_with(&format!("id: c{id}\n")));
    }
    assert_value(&gateway.get("/param/app/x").await, "new");
}
