//! A fleet that starts while AWS is unreachable, with the engine as its only memory.

use std::time::Duration;

use e2e::{
    engine::Engine,
    fleet::{replica, start_replicas},
    http,
    moto::Aws,
    proxy::Fault,
    service::{self, Service, Setup},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Loaded, stored, until};

/// Three replicas of each service. Each main-api has an aux-service of its own.
struct Services {
    aux: Vec<Service>,
    main: Vec<Service>,
}

impl Services {
    async fn start(setup: &Setup) -> Self {
        let aux = start_replicas(3, setup).await;
        let mut main = Vec::new();
        for aux in &aux {
            main.push(service::main_api(&aux.url).with("CACHE", "on").start().await);
        }
        Self { aux, main }
    }

    /// Requests a path of all six at the same time. Returns the responses with the times of the
    /// requests, and with the resolution of their ages: main-api knows the age of an entry from
    /// aux-service's header only, which has whole seconds.
    async fn get(&self, path: &str) -> Vec<(Instant, http::Reply, Duration)> {
        let mut requests = JoinSet::new();
        let second = Duration::from_secs(1);
        let with = |resolution| move |service| (service, resolution);
        let (aux, main) =
            (self.aux.iter().map(with(Duration::ZERO)), self.main.iter().map(with(second)));
        for (service, resolution) in aux.chain(main) {
            let url = format!("{}{path}", service.url);
            requests.spawn(async move {
                let asked = Instant::now();
                (asked, http::get(&url).await, resolution)
            });
        }
        requests.join_all().await
    }
}

/// Settings for entries that are fresh for a second and then usable only if AWS fails.
fn soon_stale(aws: &Aws, engine: &Engine) -> Setup {
    replica(&aws.proxy.url, &engine.url())
        .with("CACHE_TTL", "1s")
        .with("CACHE_STALE_WHILE_REVALIDATE", "0s")
        .with("CACHE_NEGATIVE_TTL", "60s")
}

/// Stores parameters and a bucket, and returns the paths of all entries.
async fn stock(aws: &Aws, bucket: &str) -> Vec<String> {
    let mut paths = ["/params", "/values/app", "/buckets"].map(str::to_owned).to_vec();
    for number in 0..20 {
        aws.put(&format!("/app/{number}"), &format!("hush {number}")).await;
        paths.push(format!("/param/app/{number}"));
    }
    paths.push("/parameter/app/0".to_owned());
    aws.create_bucket(bucket).await;
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_restarts_without_aws_answers_every_known_name_stale_and_with_its_age() {
    let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
    let paths = stock(&aws, "fleet-restart").await;
    let setup = soon_stale(&aws, &engine);
    let services = Services::start(&setup).await;
    let mut known = Vec::new();
    // One replica loads everything.
    let loaded = Loaded::by(async {
        for path in &paths {
            known.push(services.main[0].get(path).await.ok());
        }
        services.main[0].get("/param/app/none").await.problem(404, "parameter-not-found");
    })
    .await;

    stored(&engine).await;
    aws.proxy.fail_all(Fault::Reset);
    drop(services);
    until(loaded.to + Duration::from_secs(2)).await;
    let services = Services::start(&setup).await;
    for (path, known) in paths.iter().zip(&known) {
        for (asked, reply, _) in services.get(path).await {
            let body = reply.ok();
            for member in ["value", "parameter", "parameters", "values", "buckets"] {
                assert_eq!(body.get(member), known.get(member), "{reply:?}");
            }
            loaded.check_age(&reply, asked);
            let status = reply.header("cache-status").unwrap();
            assert!(status.contains("detail=stale-if-error"), "{status}");
            assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
        }
    }
    for (_, reply, _) in services.get("/param/app/none").await {
        reply.problem(404, "parameter-not-found");
    }
    for (_, reply, _) in services.get("/param/app/unheard-of").await {
        reply.problem(502, "aws-unavailable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replica_answers_from_the_shared_cache_beyond_the_bound() {
    let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
    let paths = stock(&aws, "fleet-bound").await;
    let setup = soon_stale(&aws, &engine).with("CACHE_STALE_IF_ERROR", "7s");
    let bound = Duration::from_secs(8);
    let services = Services::start(&setup).await;
    let loaded = Loaded::by(async {
        for path in &paths {
            services.main[0].get(path).await.ok();
        }
    })
    .await;
    stored(&engine).await;
    aws.proxy.fail_all(Fault::Reset);
    drop(services);
    let services = Services::start(&setup).await;
    let mut answered = 0;
    while loaded.to.elapsed() < bound + Duration::from_secs(2) {
        for path in ["/param/app/1", "/parameter/app/0", "/params", "/values/app", "/buckets"] {
            for (asked, reply, resolution) in services.get(path).await {
                let age = asked.duration_since(loaded.to);
                assert!(reply.status != 200 || age < bound + resolution, "{age:?} old: {reply:?}");
                answered += usize::from(reply.status == 200);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(answered >= 30, "every path was answered within the bound: {answered}");
    for (_, reply, _) in services.get("/param/app/1").await {
        reply.problem(502, "aws-unavailable");
    }
    let mut records = engine.keys("").await;
    let others = [":probe", ":changes"];
    records.retain(|key| !key.contains(":quota:") && !others.iter().any(|end| key.ends_with(end)));
    assert_eq!(records, Vec::<String>::new(), "no record outlives its bound");
}
