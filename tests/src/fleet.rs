//! A fleet: replicas of aux-service that share one engine, and one account of AWS.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    engine::Engine,
    moto::Aws,
    proxy::Proxy,
    service::{self, Service, Setup},
};

/// The time limit for steps that take a second or two, on a machine that is busy with other work.
const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Fleet {
    pub replicas: Vec<Service>,
    pub aws: Aws,
    pub engine: Engine,
}

impl Fleet {
    /// Starts this number of replicas.
    pub async fn start(size: usize) -> Self {
        Self::with(size, |replica| replica).await
    }

    /// Starts this number of replicas with changed settings.
    pub async fn with(size: usize, settings: impl Fn(Setup) -> Setup) -> Self {
        let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
        let setup = settings(replica(&aws.proxy.url, &engine.url()));
        let replicas = start_replicas(size, &setup).await;
        Self { replicas, aws, engine }
    }

    /// Returns the names that the fleet has read from AWS so far.
    pub fn reads(&self) -> Vec<String> {
        reads(&self.aws.proxy)
    }
}

/// Settings of a replica for the AWS and the engine with these URLs. The shared cache has a long
/// timeout, so that a busy machine does not look like a slow engine, and no quota is in the way.
pub fn replica(aws_url: &str, engine_url: &str) -> Setup {
    service::aux_at(aws_url)
        .with("CACHE", "on")
        .with("SHARED_CACHE_URL", engine_url)
        .with("SHARED_CACHE_TIMEOUT", "2s")
        .with("SHARED_AWS_RATE_GET", "10000")
        .with("SHARED_AWS_RATE_LIST", "10000")
}

/// Starts this number of replicas with the same settings, and waits until they use the engine.
pub async fn start_replicas(size: usize, setup: &Setup) -> Vec<Service> {
    let mut replicas = Vec::new();
    for _ in 0..size {
        replicas.push(setup.clone().start().await);
    }
    for replica in &replicas {
        reports(replica, "ok").await;
    }
    replicas
}

/// Returns the state of the shared cache in a replica's readiness, which is always 200.
pub async fn state(replica: &Service) -> Value {
    let ready = replica.get("/readyz").await;
    ready.ok()["dependencies"]["shared_cache"].clone()
}

/// Waits until a replica reports this state of the shared cache.
pub async fn reports(replica: &Service, wanted: &str) {
    let poll = async {
        while state(replica).await != wanted {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let reported = timeout(TIMEOUT, poll).await;
    assert!(reported.is_ok(), "the shared cache never became {wanted:?} for {}", replica.url);
}

/// Returns the names that AWS was asked for, in the order of the calls. Each is a read, also one of
/// several names in a call.
pub fn reads(proxy: &Proxy) -> Vec<String> {
    let body = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap_or_default();
    let mut names = Vec::new();
    for request in proxy.all_requests() {
        let body = body(&request.body);
        let read = match request.call() {
            "GetParameter" => json!([body["Name"]]),
            "GetParameters" => body["Names"].clone(),
            _ => continue,
        };
        let read = read.as_array().expect("the call has names").iter();
        names.extend(read.filter_map(Value::as_str).map(str::to_owned));
    }
    names
}
