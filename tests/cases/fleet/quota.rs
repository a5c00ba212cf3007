//! The quota of the account, which all replicas share: counted on the connection to AWS.

use std::time::Duration;

use e2e::{
    client::Client,
    engine::Engine,
    fleet::{replica, reports, start_replicas},
    moto::Aws,
    proxy::Proxy,
    refusals,
    service::Service,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::EveryName;

/// The rate of the account, and the share of each replica while the engine is unreachable.
const FLEET_RATE: f64 = 20.0;
const REPLICA_RATE: f64 = 5.0;

/// The window of the bound.
const WINDOW: Duration = Duration::from_secs(10);

/// The calls that a busy machine may move from one window to another: a call reaches AWS some time
/// after the quota has granted it.
const SLACK: f64 = 10.0;

/// Replicas with credentials of their own, by which the proxy before AWS tells them apart.
struct Quota {
    replicas: Vec<Service>,
    proxy: Proxy,
    engine: Engine,
    _aws: EveryName,
}

impl Quota {
    async fn start(size: usize) -> Self {
        let (aws, engine) =
            tokio::join!(EveryName::start(Duration::from_millis(20)), Engine::start());
        let proxy = Proxy::before(&aws.aws.url).await;
        let mut replicas = Vec::new();
        for number in 0..size {
            let setup = replica(&proxy.url, &engine.url())
                .with("AWS_ACCESS_KEY_ID", &access_key(number))
                .with("SHARED_AWS_RATE_GET", &FLEET_RATE.to_string())
                .with("AWS_RATE_GET", &REPLICA_RATE.to_string());
            replicas.extend(start_replicas(1, &setup).await);
        }
        Self { replicas, proxy, engine, _aws: aws }
    }

    /// Returns the times of the calls, of one replica or of all.
    fn calls(&self, replica: Option<usize>) -> Vec<Instant> {
        let key = replica.map(access_key).unwrap_or_default();
        let requests = self.proxy.all_requests().into_iter();
        requests
            .filter(|request| {
                request.header("authorization").is_some_and(|text| text.contains(&key))
            })
            .map(|request| request.at)
            .collect()
    }

    /// Keeps this many replicas under load for this time. The clients request new names only, and
    /// far more than the quota allows.
    async fn load(&self, size: usize, time: Duration) {
        let end = Instant::now() + time;
        let mut clients = JoinSet::new();
        for replica in &self.replicas[..size] {
            for client in 0..6 {
                let mut connection = Client::of(&replica.url);
                clients.spawn(async move {
                    while Instant::now() < end {
                        let path = format!("/param/load/{client}/{}", fastrand::u64(..));
                        let response = connection.get(&path).await.unwrap();
                        let refused = response.body.contains("aws-throttled");
                        assert!(response.status == 200 || refused, "{response:?}");
                        sleep(Duration::from_millis(20)).await;
                    }
                });
            }
        }
        clients.join_all().await;
    }
}

fn access_key(number: usize) -> String {
    format!("AKIAREPLICA{number}")
}

/// Returns the largest number of calls in any window.
fn most_in_a_window(calls: &[Instant]) -> usize {
    let mut calls = calls.to_vec();
    calls.sort();
    let in_window = |(index, first): (usize, &Instant)| {
        calls[index..].iter().take_while(|call| **call < *first + WINDOW).count()
    };
    calls.iter().enumerate().map(in_window).max().unwrap_or_default()
}

/// Returns the number of calls a second since this time.
fn rate_since(calls: &[Instant], start: Instant) -> f64 {
    let count = calls.iter().filter(|call| **call >= start).count();
    count as f64 / start.elapsed().as_secs_f64()
}

/// The most calls that a rate allows in a window.
fn bound(rate: f64) -> f64 {
    rate * WINDOW.as_secs_f64() + rate + SLACK
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_under_load_uses_the_rate_of_the_whole_account() {
    let quota = Quota::start(3).await;
    let start = Instant::now();
    quota.load(1, Duration::from_secs(12)).await;
    let calls = quota.calls(None);
    let (rate, most) = (rate_since(&calls, start), most_in_a_window(&calls));
    eprintln!("one replica: {rate:.1} calls a second, at most {most} in ten seconds");
    assert!(rate > 0.85 * FLEET_RATE, "{rate}");
    assert!(most as f64 <= bound(FLEET_RATE), "{most}");
}

/// The engine is killed and comes back during the load, and no window has more calls for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_keep_to_the_rate_together_and_to_their_shares_without_the_engine() {
    let mut quota = Quota::start(3).await;
    let start = Instant::now();
    quota.load(3, Duration::from_secs(11)).await;
    let shared = rate_since(&quota.calls(None), start);

    quota.engine.kill();
    for replica in &quota.replicas {
        reports(replica, "degraded").await;
    }
    let alone = Instant::now();
    quota.load(3, Duration::from_secs(11)).await;
    for number in 0..3 {
        let calls: Vec<_> =
            quota.calls(Some(number)).into_iter().filter(|call| *call >= alone).collect();
        let (rate, most) = (rate_since(&calls, alone), most_in_a_window(&calls));
        eprintln!(
            "replica {number} alone: {rate:.1} calls a second, at most {most} in ten seconds"
        );
        assert!(most as f64 <= bound(REPLICA_RATE), "replica {number}: {most}");
        assert!(rate > 0.7 * REPLICA_RATE, "replica {number}: {rate}");
    }

    quota.engine.restart().await;
    for replica in &quota.replicas {
        reports(replica, "ok").await;
    }
    quota.load(3, Duration::from_secs(6)).await;
    let most = most_in_a_window(&quota.calls(None));
    eprintln!("three replicas: {shared:.1} calls a second, at most {most} in any ten seconds");
    assert!(shared > 0.85 * FLEET_RATE, "{shared}");
    assert!(most as f64 <= bound(FLEET_RATE), "{most}");
}

/// The other replica waits or is refused. In both cases AWS is left alone for a while, although the
/// bucket had tokens before.
#[tokio::test]
async fn a_call_that_aws_throttles_empties_the_bucket_of_all_replicas() {
    let quota = Quota::start(2).await;
    let [first, second] = &quota.replicas[..] else { panic!("there are two") };
    second.get("/param/app/1").await.ok();
    // A second fills the bucket.
    sleep(Duration::from_secs(1)).await;
    quota.proxy.fail_nth("GetParameter", 2, refusals::ssm_throttled());
    first.get("/param/app/2").await.problem(503, "aws-throttled");
    // The replica empties the bucket in the background.
    let emptied = async {
        let stored = "shared_cache_requests_total{operation=\"quota\",outcome=\"stored\"} 1\n";
        while !first.get("/metrics").await.body.contains(stored) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), emptied).await.expect("the bucket is emptied");
    let recovers = async {
        while second.get("/param/app/3").await.status != 200 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), recovers).await.expect("the bucket refills");
    let calls = quota.calls(None);
    let pause = calls[2].duration_since(calls[1]);
    assert!(pause > Duration::from_millis(800), "{pause:?} after a throttled call");
}

#[tokio::test]
async fn the_rate_of_lists_belongs_to_the_fleet_too() {
    let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
    aws.create_bucket("fleet-quota").await;
    let setup = replica(&aws.proxy.url, &engine.url())
        .with("CACHE_TTL", "100ms")
        .with("CACHE_STALE_WHILE_REVALIDATE", "0s")
        .with("CACHE_STALE_IF_ERROR", "0s")
        .with("SHARED_AWS_RATE_LIST", "1");
    let replicas = start_replicas(2, &setup).await;
    let (start, mut listed) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(6) {
        for replica in &replicas {
            let reply = replica.get("/buckets").await;
            assert!(reply.status == 200 || reply.body.contains("aws-throttled"), "{reply:?}");
            listed += usize::from(reply.status == 200);
        }
        sleep(Duration::from_millis(50)).await;
    }
    // The burst of a second is one call.
    let (calls, most) = (aws.proxy.calls("ListBuckets"), start.elapsed().as_secs_f64() + 1.0);
    assert!(calls >= 4 && calls as f64 <= most, "{calls} calls, at most {most}");
    assert!(listed >= calls, "replicas share the lists: {listed} responses of {calls} calls");
    // The parameters have a bucket of their own.
    let other = async {
        while replicas[1].get("/params").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(5), other).await.expect("the other bucket has a token");
}
