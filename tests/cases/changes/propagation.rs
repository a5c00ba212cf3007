//! Changes reach every entry that is made of the parameter, on every replica of both services.

use std::time::Duration;

use e2e::{
    change_queue::{change, create, messages, reader, send, url},
    engine::Engine,
    fleet::{Fleet, reads, start_replicas},
    moto::{Aws, REGION},
    proxy::{Answer, Fault},
    service::{Service, main_api},
};
use reqwest::Method;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::until;

/// The time limit for steps that take a second or two, on a machine that is busy with other work. It
/// is far below the lifetime of an entry.
const LIMIT: Duration = Duration::from_secs(20);

/// Three replicas of aux-service with a queue, and a main-api in front of each.
struct Replicas {
    fleet: Fleet,
    gateways: Vec<Service>,
}

impl Replicas {
    async fn start() -> Self {
        let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
        create(&aws, 30).await;
        let setup = e2e::fleet::replica(&aws.proxy.url, &engine.url())
            .with("CHANGE_QUEUE_URL", &url(&aws))
            .with("PARAMETER_PREFIXES", "/app,/new");
        let replicas = start_replicas(3, &setup).await;
        let mut gateways = Vec::new();
        for replica in &replicas {
            gateways.push(gateway(replica).await);
        }
        Self { fleet: Fleet { replicas, aws, engine }, gateways }
    }

    fn all(&self) -> impl Iterator<Item = &Service> {
        self.fleet.replicas.iter().chain(&self.gateways)
    }

    /// Reports a change of a parameter through the queue.
    async fn report(&self, name: &str, operation: &str) {
        send(&self.fleet.aws, &[change(name, operation)]).await;
    }

    /// Waits until every service has this number of waiting requests.
    async fn until_waiting(&self, number: usize) {
        for service in self.all() {
            until_waiting(service, number).await;
        }
    }
}

/// Starts a main-api with a cache that follows the changes of this aux-service.
async fn gateway(aux: &Service) -> Service {
    let gateway = main_api(&aux.url).with("CACHE", "on").start().await;
    let follows = async || gateway.get("/readyz").await.ok()["dependencies"]["changes"] == "ok";
    until(LIMIT, "main-api follows the changes", follows).await;
    gateway
}

async fn until_waiting(service: &Service, number: usize) {
    let line = format!("waiting_requests{{kind=\"wait\"}} {number}\n");
    let waiting = async || service.get("/metrics").await.body.contains(&line);
    until(LIMIT, &format!("{} has {line}", service.name), waiting).await;
}

/// Waits until a request gets this status, and returns the body. An entry with another result would
/// be used for a minute.
async fn until_status(service: &Service, path: &str, status: u16) -> String {
    let mut body = String::new();
    let reached = async || {
        let reply = service.get(path).await;
        body = reply.body;
        reply.status == status
    };
    until(LIMIT, &format!("{} has {status} for {path}", service.name), reached).await;
    body
}

/// Waits until the body of a response has a text.
async fn until_contains(service: &Service, path: &str, text: &str) {
    let has = async || service.get(path).await.body.contains(text);
    until(LIMIT, &format!("{} has {text} in {path}", service.name), has).await;
}

/// Starts a request at a service that waits until the response for a path changes.
async fn start_wait(waits: &mut JoinSet<(u16, String)>, service: &Service, path: &str) {
    let current = service.get(path).await;
    assert_eq!(current.status, 200, "{}", current.body);
    let tag = current.header("etag").expect("it has a tag").to_owned();
    let url = format!("{}{path}", service.url);
    waits.spawn(async move {
        let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=18")];
        let reply = e2e::http::send(Method::GET, &url, &headers).await;
        assert_eq!(reply.header("preference-applied"), Some("wait=18"));
        (reply.status, reply.body)
    });
}

#[tokio::test]
async fn a_change_reaches_all_waiting_clients_of_all_replicas_with_one_call_a_name_and_path() {
    let replicas = Replicas::start().await;
    let aws = &replicas.fleet.aws;
    aws.put("/app/key", "hush: first").await;
    aws.put("/app/other", "hush: another").await;
    let mut waits = JoinSet::new();
    for service in replicas.all() {
        for path in ["/param/app/key", "/parameter/app/key", "/values/app"] {
            start_wait(&mut waits, service, path).await;
        }
    }
    replicas.until_waiting(3).await;
    let count = || (reads(&aws.proxy).len(), aws.proxy.calls("GetParametersByPath"));
    let (names, paths) = count();

    aws.put("/app/key", "hush: second").await;
    let reported = Instant::now();
    replicas.report("/app/key", "Update").await;
    while let Some(wait) = waits.join_next().await {
        let (status, body) = wait.unwrap();
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("hush: second"), "{body}");
    }
    eprintln!("the last client got the change after {:?}", reported.elapsed());
    assert_eq!(count(), (names + 1, paths + 1), "one call a name and a path for all replicas");
    for service in replicas.all() {
        let body = service.get("/param/app/key").await;
        assert_eq!(body.ok()["value"], "hush: second");
        let cache_status = body.header("cache-status").unwrap();
        let own = cache_status.rsplit(", ").next().unwrap();
        assert!(own.contains("; hit; ttl="), "{cache_status}");
    }
    assert_eq!(count(), (names + 1, paths + 1));
    until(LIMIT, "the message is deleted", async || messages(aws).await == 0).await;
}

#[tokio::test]
async fn a_deleted_parameter_is_gone_at_once_and_never_served_again() {
    let replicas = Replicas::start().await;
    let aws = &replicas.fleet.aws;
    aws.put("/app/key", "hush: first").await;
    let mut waits = JoinSet::new();
    for service in replicas.all() {
        start_wait(&mut waits, service, "/param/app/key").await;
    }
    replicas.until_waiting(1).await;
    aws.ssm("DeleteParameter", serde_json::json!({ "Name": "/app/key" })).await;
    replicas.report("/app/key", "Delete").await;
    while let Some(wait) = waits.join_next().await {
        assert_eq!(wait.unwrap().0, 404);
    }

    // A parameter whose deletion cannot be confirmed is not served either.
    aws.put("/app/key", "hush: second").await;
    replicas.report("/app/key", "Create").await;
    for service in replicas.all() {
        until_status(service, "/param/app/key", 200).await;
    }
    let failure = Answer::new(500, "application/x-amz-json-1.1", "{}");
    aws.proxy.fail_all(failure);
    replicas.report("/app/key", "Delete").await;
    for service in replicas.all() {
        until_status(service, "/param/app/key", 502).await;
    }
}

/// The account of the service is unknown until a parameter has been read by its name.
#[tokio::test]
async fn a_parameter_that_is_read_by_its_arn_is_gone_at_once_too() {
    let replicas = Replicas::start().await;
    let aws = &replicas.fleet.aws;
    aws.put("/app/key", "hush: first").await;
    let path = format!("/param/arn:aws:ssm:{REGION}:{}:parameter/app/key", aws.account());
    for service in replicas.all() {
        service.get(&path).await.ok();
    }
    aws.ssm("DeleteParameter", serde_json::json!({ "Name": "/app/key" })).await;
    replicas.report("/app/key", "Delete").await;
    for service in replicas.all() {
        until_status(service, &path, 404).await;
    }
}

#[tokio::test]
async fn a_created_parameter_is_found_at_once_in_every_list() {
    let replicas = Replicas::start().await;
    let aws = &replicas.fleet.aws;
    aws.put("/app/key", "hush: first").await;
    for service in replicas.all() {
        until_status(service, "/param/new/key", 404).await;
        assert!(!until_status(service, "/params", 200).await.contains("/new/key"));
        assert!(!until_status(service, "/values/new", 200).await.contains("/new/key"));
    }
    aws.put("/new/key", "hush: second").await;
    replicas.report("/new/key", "Create").await;
    for service in replicas.all() {
        assert!(until_status(service, "/param/new/key", 200).await.contains("hush: second"));
        // A list that took long to load is not loaded again at once.
        until_contains(service, "/params", "/new/key").await;
        until_contains(service, "/values/new", "hush: second").await;
    }
}

#[tokio::test]
async fn a_moved_label_changes_the_entry_of_that_label() {
    let replicas = Replicas::start().await;
    let aws = &replicas.fleet.aws;
    for (version, value) in [(1, "hush: first"), (2, "hush: second")] {
        aws.put("/app/key", value).await;
        aws.label("/app/key", version, if version == 1 { "green" } else { "blue" }).await;
    }
    let mut waits = JoinSet::new();
    for service in replicas.all() {
        start_wait(&mut waits, service, "/param/app/key:green").await;
    }
    replicas.until_waiting(1).await;
    aws.label("/app/key", 2, "green").await;
    replicas.report("/app/key", "LabelParameterVersion").await;
    while let Some(wait) = waits.join_next().await {
        let (status, body) = wait.unwrap();
        assert!(status == 200 && body.contains("hush: second"), "{status} {body}");
    }
}

#[tokio::test]
async fn a_changed_entry_is_served_stale_while_its_source_fails() {
    let replicas = Replicas::start().await;
    let aws = &replicas.fleet.aws;
    aws.put("/app/key", "hush: first").await;
    for service in replicas.all() {
        service.get("/param/app/key").await.ok();
    }
    aws.proxy.fail_all(Answer::new(500, "application/x-amz-json-1.1", "{}"));
    replicas.report("/app/key", "Update").await;
    for service in replicas.all() {
        let stale = async || {
            let reply = service.get("/param/app/key").await;
            assert_eq!(reply.ok()["value"], "hush: first");
            reply.header("cache-control").unwrap().starts_with("max-age=0")
        };
        until(LIMIT, &format!("{} expires the entry", service.name), stale).await;
    }
    aws.proxy.heal();
    aws.put("/app/key", "hush: second").await;
    for service in replicas.all() {
        let fresh = async || service.get("/param/app/key").await.ok()["value"] == "hush: second";
        until(2 * LIMIT, &format!("{} is fresh again", service.name), fresh).await;
    }
}

#[tokio::test]
async fn a_load_that_began_before_a_change_is_stored_on_no_replica() {
    let replicas = Replicas::start().await;
    let aws = &replicas.fleet.aws;
    aws.put("/app/key", "hush: first").await;
    // The response of AWS is the one from before the change.
    aws.proxy.fail_nth("GetParameter", 1, Fault::Hold(Duration::from_secs(3)));
    let slow = {
        let url = format!("{}/param/app/key", replicas.fleet.replicas[0].url);
        tokio::spawn(async move { e2e::http::get(&url).await.ok()["value"].clone() })
    };
    until(LIMIT, "the load begins", async || !reads(&aws.proxy).is_empty()).await;
    aws.put("/app/key", "hush: second").await;
    let changes = |service: &Service| {
        let metrics = format!("{}/metrics", service.url);
        async move {
            let metrics = e2e::http::get(&metrics).await.body;
            let mut lines = metrics.lines().filter(|line| line.starts_with("changes_total{"));
            lines.any(|line| !line.ends_with(" 0"))
        }
    };
    replicas.report("/app/key", "Update").await;
    for service in &replicas.fleet.replicas {
        until(LIMIT, "each replica learns of the change", async || changes(service).await).await;
    }
    assert!(!slow.is_finished(), "the load outlasts the change");
    for service in replicas.all() {
        assert_eq!(service.get("/param/app/key").await.ok()["value"], "hush: second");
    }
    slow.await.unwrap();
    for service in replicas.all() {
        assert_eq!(service.get("/param/app/key").await.ok()["value"], "hush: second");
    }
}

#[tokio::test]
async fn without_a_queue_a_refresh_of_one_replica_tells_all_others() {
    let fleet = Fleet::with(3, |replica| replica.with("CACHE_TTL", "2s")).await;
    fleet.aws.put("/app/key", "hush: first").await;
    let gateway = gateway(&fleet.replicas[0]).await;
    let services: Vec<_> = fleet.replicas.iter().chain([&gateway]).collect();
    let mut waits = JoinSet::new();
    for service in &services {
        start_wait(&mut waits, service, "/param/app/key").await;
        start_wait(&mut waits, service, "/values/app").await;
    }
    for service in &services {
        until_waiting(service, 2).await;
    }
    fleet.aws.put("/app/key", "hush: second").await;
    let changed = Instant::now();
    while let Some(wait) = waits.join_next().await {
        let (status, body) = wait.unwrap();
        assert!(status == 200 && body.contains("hush: second"), "{status} {body}");
    }
    eprintln!("the last client got the change after {:?}", changed.elapsed());
}

#[tokio::test]
async fn a_deletion_that_a_refresh_finds_concerns_each_version_on_each_replica() {
    let fleet = Fleet::with(2, |replica| replica.with("CACHE_TTL", "2s")).await;
    fleet.aws.put("/app/key", "hush: first").await;
    for replica in &fleet.replicas {
        replica.get("/param/app/key").await.ok();
    }
    sleep(Duration::from_secs(1)).await;
    for replica in &fleet.replicas {
        replica.get("/param/app/key:1").await.ok();
    }
    fleet.aws.ssm("DeleteParameter", serde_json::json!({ "Name": "/app/key" })).await;
    until_status(&fleet.replicas[0], "/param/app/key", 404).await;
    for replica in &fleet.replicas {
        until_status(replica, "/param/app/key:1", 404).await;
        until_status(replica, "/param/app/key", 404).await;
    }
}

#[tokio::test]
async fn one_replica_without_a_shared_cache_learns_of_changes_too() {
    let aws = Aws::start().await;
    create(&aws, 30).await;
    let aux = reader(&aws).start().await;
    let gateway = gateway(&aux).await;
    aws.put("/app/key", "hush: first").await;
    let mut waits = JoinSet::new();
    for service in [&aux, &gateway] {
        start_wait(&mut waits, service, "/param/app/key").await;
    }
    for service in [&aux, &gateway] {
        until_waiting(service, 1).await;
    }
    aws.put("/app/key", "hush: second").await;
    send(&aws, &[change("/app/key", "Update")]).await;
    while let Some(wait) = waits.join_next().await {
        let (status, body) = wait.unwrap();
        assert!(status == 200 && body.contains("hush: second"), "{status} {body}");
    }
    assert_eq!(reads(&aws.proxy).len(), 2, "one call for each value");
}
