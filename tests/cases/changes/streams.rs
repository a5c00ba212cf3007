//! Streams of changes: the same events with the same ids at every replica of both services.

use std::time::Duration;

use e2e::{
    change_queue::{change, create, send, url},
    engine::Engine,
    events::Events,
    fleet::{replica, reports, start_replicas},
    moto::Aws,
    service::{Service, main_api},
};
use serde_json::json;
use tokio::time::timeout;

use super::until;

/// The time limit for steps that take a second or two, on a machine that is busy with other work.
const LIMIT: Duration = Duration::from_secs(20);

struct Replicas {
    aws: Aws,
    engine: Engine,
    aux: Vec<Service>,
    gateway: Service,
}

impl Replicas {
    async fn start() -> Self {
        let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
        create(&aws, 30).await;
        let setup = replica(&aws.proxy.url, &engine.url())
            .with("CHANGE_QUEUE_URL", &url(&aws))
            .with("PARAMETER_PREFIXES", "/app");
        let aux = start_replicas(2, &setup).await;
        let gateway = main_api(&aux[0].url).with("CACHE", "on").start().await;
        let replicas = Self { aws, engine, aux, gateway };
        replicas.follow().await;
        replicas
    }

    fn all(&self) -> [&Service; 3] {
        [&self.aux[0], &self.aux[1], &self.gateway]
    }

    /// Waits until every service passes on the changes of the others.
    async fn follow(&self) {
        let mut number = 0;
        for service in self.all() {
            let mut stream = Events::open(&service.url, "", None).await;
            let arrived = async {
                loop {
                    number += 1;
                    self.report(&format!("/app/start/{number}"), "Update").await;
                    if let Ok(event) = timeout(Duration::from_secs(2), stream.next()).await
                        && event.kind == "message"
                    {
                        return;
                    }
                }
            };
            timeout(LIMIT, arrived).await.expect("a change arrives");
        }
        // The changes of this start are over.
        self.report("/app/last", "Update").await;
    }

    async fn report(&self, name: &str, operation: &str) {
        send(&self.aws, &[change(name, operation)]).await;
    }

    /// Opens a stream at each service, and reads it up to the end of the start.
    async fn streams(&self, path: &str) -> Vec<Events> {
        let mut streams = Vec::new();
        for service in self.all() {
            streams.push(Events::open(&service.url, path, None).await);
        }
        streams
    }
}

/// Reads a stream up to the event of a name, and returns the event's id and data.
async fn event_of(stream: &mut Events, name: &str) -> (String, serde_json::Value) {
    loop {
        let event = stream.next().await;
        if event.data["name"] == name {
            return (event.id, event.data);
        }
    }
}

#[tokio::test]
async fn every_replica_reports_the_same_events_with_the_same_ids() {
    let replicas = Replicas::start().await;
    let mut streams = replicas.streams("").await;
    replicas.report("/app/key", "Update").await;
    replicas.report("/other/key", "Update").await;
    replicas.report("/app/gone", "Delete").await;
    let mut found = Vec::new();
    for stream in &mut streams {
        found.push([event_of(stream, "/app/key").await, event_of(stream, "/app/gone").await]);
    }
    assert!(found.iter().all(|events| *events == found[0]), "{found:?}");
    assert_eq!(found[0][0].1, json!({ "name": "/app/key" }));
    assert_eq!(found[0][1].1, json!({ "name": "/app/gone", "deleted": true }));
}

#[tokio::test]
async fn a_stream_of_a_path_reports_nothing_else() {
    let replicas = Replicas::start().await;
    let mut streams = replicas.streams("?path=/app/one/").await;
    for name in ["/app/two/key", "/app/onetwo", "/app/one/key"] {
        replicas.report(name, "Update").await;
    }
    for stream in &mut streams {
        assert_eq!(stream.next_name().await, "/app/one/key");
    }
}

#[tokio::test]
async fn a_client_resumes_at_another_replica_and_misses_nothing() {
    let replicas = Replicas::start().await;
    let mut streams = replicas.streams("").await;
    replicas.report("/app/first", "Update").await;
    let mut last_id = String::new();
    for stream in &mut streams {
        last_id = event_of(stream, "/app/first").await.0;
    }
    drop(streams);
    replicas.report("/app/second", "Update").await;
    // A replica that starts now knows the earlier changes too.
    let setup = replica(&replicas.aws.proxy.url, &replicas.engine.url());
    let setup = setup.with("PARAMETER_PREFIXES", "/app");
    let newcomer = start_replicas(1, &setup).await.remove(0);
    let known = async || {
        let mut stream = Events::open(&newcomer.url, "", Some(&last_id)).await;
        stream.next().await.kind == "message"
    };
    until(LIMIT, "the newcomer reads the stream", known).await;
    for service in replicas.all().into_iter().chain([&newcomer]) {
        let mut stream = Events::open(&service.url, "", Some(&last_id)).await;
        assert_eq!(stream.next_name().await, "/app/second", "{}", service.name);
    }
}

#[tokio::test]
async fn an_unknown_position_is_a_reset() {
    let replicas = Replicas::start().await;
    for service in replicas.all() {
        let mut stream = Events::open(&service.url, "", Some("1-1-0")).await;
        let event = stream.next().await;
        assert_eq!((event.kind.as_str(), event.data), ("reset", json!({})), "{}", service.name);
        replicas.report("/app/key", "Update").await;
        event_of(&mut stream, "/app/key").await;
    }
}

/// An engine that restarts has lost the stream, so some changes may be missing.
#[tokio::test]
async fn after_a_gap_streams_get_a_reset_and_entries_are_refreshed() {
    let mut replicas = Replicas::start().await;
    replicas.aws.put("/app/key", "hush: first").await;
    for service in replicas.all() {
        service.get("/param/app/key").await.ok();
    }
    let mut streams = replicas.streams("").await;
    replicas.engine.kill();
    for aux in &replicas.aux {
        reports(aux, "degraded").await;
    }
    // No replica learns of this change.
    replicas.aws.put("/app/key", "hush: second").await;
    replicas.engine.restart().await;
    for stream in &mut streams {
        let reset = async { while stream.next().await.kind != "reset" {} };
        timeout(2 * LIMIT, reset).await.expect("a reset arrives");
    }
    for service in replicas.all() {
        let fresh = async || service.get("/param/app/key").await.ok()["value"] == "hush: second";
        until(LIMIT, &format!("{} refreshes its entry", service.name), fresh).await;
    }
}
