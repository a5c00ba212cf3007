//! The reads that replicas save each other, counted on the connection to AWS.

use std::time::Duration;

use e2e::{
    client::Client,
    engine::Engine,
    fleet::{Fleet, replica, start_replicas},
    moto::Aws,
    proxy::Fault,
    service::Service,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::until;

/// The number of names, and the most reads of them that one TTL may cost the whole fleet.
const NAMES: usize = 200;
const READS: usize = NAMES * 11 / 10;

/// A TTL that is longer than it takes to request all names of all replicas.
const TTL: Duration = Duration::from_secs(6);

/// Stores all names in AWS and returns their paths.
async fn stock(aws: &Aws) -> Vec<String> {
    let mut paths = Vec::new();
    for number in 0..NAMES {
        aws.put(&format!("/app/{number}"), &format!("hush {number}")).await;
        paths.push(format!("/param/app/{number}"));
    }
    paths
}

/// Requests every path of every replica, each replica in an order of its own and with four clients
/// at a time.
async fn request_all(replicas: &[Service], paths: &[String]) {
    let mut clients = JoinSet::new();
    for replica in replicas {
        let mut paths = paths.to_vec();
        fastrand::shuffle(&mut paths);
        for paths in paths.chunks(paths.len().div_ceil(4)) {
            let (mut client, paths) = (Client::of(&replica.url), paths.to_vec());
            clients.spawn(async move {
                for path in paths {
                    let response = client.get(&path).await.unwrap();
                    assert_eq!(response.status, 200, "{path}: {response:?}");
                    let value = format!("\"hush {}\"", &path["/param/app/".len()..]);
                    assert!(response.body.contains(&value), "{path}: {response:?}");
                }
            });
        }
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_read_each_name_once_and_once_again_in_the_next_ttl() {
    let ttl = humantime::format_duration(TTL).to_string();
    let fleet = Fleet::with(3, |replica| {
        replica.with("CACHE_TTL", &ttl).with("CACHE_STALE_WHILE_REVALIDATE", "0s")
    })
    .await;
    let paths = stock(&fleet.aws).await;
    for round in 1..=2 {
        let before = fleet.reads().len();
        request_all(&fleet.replicas, &paths).await;
        let loaded = Instant::now();
        let reads = fleet.reads().len() - before;
        eprintln!("round {round}: {reads} reads of {NAMES} names by three replicas");
        assert!((NAMES..=READS).contains(&reads), "round {round}: {reads} reads");
        until(loaded + TTL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_refresh_each_stale_name_once() {
    let ttl = humantime::format_duration(TTL).to_string();
    let fleet = Fleet::with(3, |replica| replica.with("CACHE_TTL", &ttl)).await;
    let paths = stock(&fleet.aws).await;
    request_all(&fleet.replicas, &paths).await;
    let loaded = Instant::now();
    let cold = fleet.reads().len();
    until(loaded + TTL).await;
    // Each response is stale and starts a refresh in the background.
    request_all(&fleet.replicas, &paths).await;
    let refreshed = async {
        while fleet.reads().len() < cold + NAMES {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), refreshed).await.expect("every name is refreshed");
    request_all(&fleet.replicas, &paths).await;
    let reads = fleet.reads().len() - cold;
    eprintln!("refreshes: {reads} reads of {NAMES} names by three replicas");
    assert!(reads <= READS, "{reads} reads");
}

/// Requests a path of all replicas at the same time, checks that their responses are equal, and
/// returns the status.
async fn request_at_once(fleet: &Fleet, path: &str) -> u16 {
    let mut requests = JoinSet::new();
    for replica in &fleet.replicas {
        let url = format!("{}{path}", replica.url);
        requests.spawn(async move { e2e::http::get(&url).await });
    }
    let replies = requests.join_all().await;
    for reply in &replies {
        assert_eq!(reply.status, replies[0].status, "{reply:?}");
        if reply.status == 200 {
            assert_eq!(reply.body, replies[0].body);
        }
    }
    replies[0].status
}

#[tokio::test]
async fn a_list_and_a_negative_entry_are_loaded_once_for_the_fleet() {
    let fleet = Fleet::start(3).await;
    fleet.aws.put("/app/key", "hush: a value").await;
    fleet.aws.create_bucket("fleet-sharing").await;
    // The delay lets all requests of a path arrive during its load.
    fleet.aws.proxy.fail_all(Fault::Delay(Duration::from_millis(500)));
    for (path, operation, status) in [
        ("/params", "DescribeParameters", 200),
        ("/values/app", "GetParametersByPath", 200),
        ("/buckets", "ListBuckets", 200),
        ("/param/app/none", "GetParameter", 404),
    ] {
        for _ in 0..2 {
            assert_eq!(request_at_once(&fleet, path).await, status, "{path}");
        }
        assert_eq!(fleet.aws.proxy.calls(operation), 1, "{path}");
    }
}

#[tokio::test]
async fn the_routes_of_a_parameter_share_one_entry_across_replicas() {
    let fleet = Fleet::start(3).await;
    fleet.aws.put("/app/key", "hush: a value").await;
    let [a, b, c] = &fleet.replicas[..] else { panic!("there are three") };
    assert_eq!(a.get("/param/app/key").await.ok()["value"], "hush: a value");
    assert_eq!(b.get("/parameter/app/key").await.ok()["parameter"]["value"], "hush: a value");
    assert_eq!(c.get("/param/app/key").await.ok()["value"], "hush: a value");
    assert_eq!(fleet.reads(), ["/app/key"]);
}

/// Each change of these settings makes another deployment, whose records are its own.
#[tokio::test]
async fn deployments_with_other_settings_never_read_each_others_records() {
    let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
    aws.put("/app/key", "hush: a value").await;
    let setup = replica(&aws.proxy.url, &engine.url());
    let first = start_replicas(1, &setup).await;
    first[0].get("/param/app/key").await.ok();
    let mut reads = 1;
    for (name, value) in [
        ("SHARED_CACHE_PREFIX", "staging/aux-service"),
        ("PARAMETER_PREFIXES", "/app"),
        ("ALLOW_SECURE_STRINGS", "true"),
        ("AWS_REGION", "us-east-1"),
    ] {
        let changed = setup.clone().with(name, value);
        let others = start_replicas(2, &changed).await;
        for other in &others {
            // moto has the parameter in one region only.
            let expected = if name == "AWS_REGION" { 404 } else { 200 };
            assert_eq!(other.get("/param/app/key").await.status, expected, "{name}");
        }
        reads += 1;
        assert_eq!(e2e::fleet::reads(&aws.proxy).len(), reads, "{name}={value}");
    }
    // The first deployment still has its own record.
    start_replicas(1, &setup).await[0].get("/param/app/key").await.ok();
    assert_eq!(e2e::fleet::reads(&aws.proxy).len(), reads);
}

/// Two accounts on one engine: the prefix alone keeps them apart where their endpoints are equal.
#[tokio::test]
async fn two_prefixes_on_one_engine_keep_two_accounts_apart() {
    let engine = Engine::start().await;
    let mut deployments = Vec::new();
    for prefix in ["production", "staging"] {
        let aws = Aws::start().await;
        aws.put("/app/key", &format!("hush: {prefix}")).await;
        let setup = replica(&aws.proxy.url, &engine.url()).with("SHARED_CACHE_PREFIX", prefix);
        deployments.push((prefix, start_replicas(2, &setup).await, aws));
    }
    for (prefix, replicas, _) in &deployments {
        for replica in replicas {
            let value = replica.get("/param/app/key").await.ok()["value"].clone();
            assert_eq!(value, format!("hush: {prefix}"));
        }
        assert!(!engine.keys(&format!("{prefix}:")).await.is_empty(), "{prefix}");
    }
    for (prefix, _, aws) in &deployments {
        assert_eq!(e2e::fleet::reads(&aws.proxy).len(), 1, "{prefix}");
    }
}
