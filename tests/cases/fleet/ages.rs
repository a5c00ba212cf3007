//! The ages and lifetimes of entries that come from another replica.

use std::time::Duration;

use e2e::{
    MARK,
    engine::Engine,
    files::Files,
    fleet::{Fleet, replica, start_replicas},
    moto::Aws,
    proxy::Fault,
    relay::Relay,
};
use reqwest::Method;
use tokio::time::{Instant, sleep, timeout};

use super::{Loaded, age, until};

#[tokio::test]
async fn an_entry_from_another_replica_has_its_true_age() {
    let fleet = Fleet::start(3).await;
    fleet.aws.put("/app/key", "hush: a value").await;
    fleet.aws.create_bucket("fleet-ages").await;
    let paths = ["/param/app/key", "/params", "/values/app", "/buckets"];
    let load = async {
        for path in paths {
            fleet.replicas[0].get(path).await.ok();
        }
    };
    let loaded = Loaded::by(load).await;
    let calls = fleet.aws.proxy.all_calls();
    for (replica, seconds) in [(&fleet.replicas[1], 2), (&fleet.replicas[2], 4)] {
        until(loaded.to + Duration::from_secs(seconds)).await;
        for path in paths {
            let asked = Instant::now();
            let reply = replica.get(path).await;
            reply.ok();
            loaded.check_age(&reply, asked);
            assert!(age(&reply) >= seconds, "{reply:?}");
        }
    }
    assert_eq!(fleet.aws.proxy.all_calls(), calls);
}

/// A record that takes its time on the way to the engine, or that a stopped engine stores late, is
/// not younger for it.
#[tokio::test]
async fn a_record_that_is_stored_late_has_its_true_age() {
    let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
    let relay = Relay::before(&engine.address()).await;
    let first = replica(&aws.proxy.url, &format!("redis://{}", relay.address));
    let first = start_replicas(1, &first.with("SHARED_CACHE_TIMEOUT", "5s")).await;
    let second = start_replicas(1, &replica(&aws.proxy.url, &engine.url())).await;
    aws.put("/app/key", "hush: a value").await;
    // The first load also sends the scripts to the engine, which takes more round trips.
    first[0].get("/param/app/none").await.problem(404, "parameter-not-found");
    second[0].get("/param/app/none").await.problem(404, "parameter-not-found");
    aws.proxy.fail_all(Fault::Hold(Duration::from_millis(200)));
    let slow_link = async {
        while aws.proxy.calls("GetParameter") == 1 {
            sleep(Duration::from_millis(5)).await;
        }
        relay.delay_requests(Duration::from_millis(1500));
    };
    let loaded = Loaded::by(async {
        let (reply, ()) = tokio::join!(first[0].get("/param/app/key"), slow_link);
        reply.ok();
    })
    .await;
    until(loaded.to + Duration::from_millis(2200)).await;
    let asked = Instant::now();
    let reply = second[0].get("/param/app/key").await;
    assert_eq!(e2e::fleet::reads(&aws.proxy).len(), 2, "the record is stored");
    loaded.check_age(&reply, asked);
}

/// The lifetime begins with the load, and not when a replica takes the entry.
#[tokio::test]
async fn an_entry_from_another_replica_is_fresh_no_longer_than_its_ttl() {
    let ttl = Duration::from_secs(5);
    let fleet = Fleet::with(2, |replica| {
        replica
            .with("CACHE_TTL", "5s")
            .with("CACHE_TTL_JITTER", "0")
            .with("CACHE_STALE_WHILE_REVALIDATE", "0s")
    })
    .await;
    let [first, second] = &fleet.replicas[..] else { panic!("there are two") };
    fleet.aws.put("/app/key", "hush: the first value").await;
    let loaded = Loaded::by(first.get("/param/app/key")).await;
    fleet.aws.put("/app/key", "hush: the second value").await;
    until(loaded.to + ttl * 3 / 5).await;
    let taken = second.get("/param/app/key").await;
    if loaded.from.elapsed() < ttl {
        assert_eq!(taken.ok()["value"], "hush: the first value");
        assert_eq!(fleet.reads().len(), 1);
    }
    until(loaded.to + ttl).await;
    let reloaded = second.get("/param/app/key").await;
    assert_eq!(reloaded.ok()["value"], "hush: the second value");
    assert_eq!(fleet.reads().len(), 2);
}

/// A revalidation skips the lookup. Its result replaces the shared record, so other replicas find
/// it when their own entries expire.
#[tokio::test]
async fn a_revalidation_skips_the_lookup_and_its_result_reaches_the_other_replicas() {
    let ttl = Duration::from_secs(8);
    let token = format!("{MARK}-token-of-clients-0123456789");
    let files = Files::new();
    let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
    let setup = replica(&aws.proxy.url, &engine.url())
        .with("CACHE_TTL", "8s")
        .with("CACHE_TTL_JITTER", "0")
        .with("CACHE_STALE_WHILE_REVALIDATE", "0s")
        .with("AUTH_TOKEN_FILE", &files.write("tokens", &token));
    let replicas = start_replicas(2, &setup).await;
    let bearer = format!("Bearer {token}");
    let get = async |replica: usize, no_cache: bool| {
        let mut headers = vec![("authorization", &*bearer)];
        headers.extend(no_cache.then_some(("cache-control", "no-cache")));
        let reply = replicas[replica].send(Method::GET, "/param/app/key", &headers).await;
        reply.ok()["value"].as_str().unwrap().to_owned()
    };

    aws.put("/app/key", "hush: the first value").await;
    assert_eq!(get(0, false).await, "hush: the first value");
    assert_eq!(get(1, false).await, "hush: the first value");
    let loaded = Instant::now();
    aws.put("/app/key", "hush: the second value").await;
    until(loaded + ttl / 2).await;
    assert_eq!(get(0, true).await, "hush: the second value");
    let arrives = async {
        while get(1, false).await != "hush: the second value" {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(ttl, arrives).await.expect("the entry of the other replica expires");
    assert_eq!(e2e::fleet::reads(&aws.proxy).len(), 2, "the shared record was fresh");
}
