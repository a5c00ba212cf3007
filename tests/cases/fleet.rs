//! Replicas as one: a shared cache and a shared quota on a real engine.

mod ages;
mod dumps;
mod faults;
mod lists;
mod locks;
mod quota;
mod restart;
mod sharing;
mod start;
mod telemetry;
mod topologies;
mod trust;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use e2e::{
    engine::Engine,
    fake_aws::{FakeAws, Reply, parameter},
    http::Reply as Response,
    refusals,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

/// Returns the age of a response in seconds.
fn age(reply: &Response) -> u64 {
    let age = reply.header("age").and_then(|age| age.parse().ok());
    age.unwrap_or_else(|| panic!("there is no age: {reply:?}"))
}

/// Waits until all loads of the fleet have stored their records, which follows the responses.
async fn stored(engine: &Engine) {
    let stored = async {
        while !engine.keys("#lock").await.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), stored).await.expect("every load stores its record");
}

/// Waits until this time. The services use clocks of their own, so the time must really pass.
async fn until(time: Instant) {
    tokio::time::sleep_until(time).await;
}

/// A load of an entry: it began and ended between these times.
#[derive(Clone, Copy, Debug)]
struct Loaded {
    from: Instant,
    to: Instant,
}

impl Loaded {
    /// Makes a load happen, and returns its times.
    async fn by(load: impl Future) -> Self {
        let from = Instant::now();
        load.await;
        Self { from, to: Instant::now() }
    }

    /// Checks that a response has the true age of the entry, in whole seconds.
    #[track_caller]
    fn check_age(self, reply: &Response, asked: Instant) {
        let youngest = asked.duration_since(self.to).as_secs();
        let oldest = self.from.elapsed().as_secs() + 1;
        let age = age(reply);
        assert!(
            (youngest..=oldest).contains(&age),
            "the age must be between {youngest} and {oldest}: {reply:?}"
        );
    }
}

/// An AWS with every parameter, which counts the reads of each name.
struct EveryName {
    aws: FakeAws,
    reads: Arc<Mutex<HashMap<String, usize>>>,
}

impl EveryName {
    /// Starts an AWS that takes this time for each call.
    async fn start(delay: Duration) -> Self {
        let reads = Arc::<Mutex<HashMap<String, usize>>>::default();
        let counted = Arc::clone(&reads);
        let aws = FakeAws::start(move |call| {
            let parameters = |names: &[Value]| -> Vec<Value> {
                let mut counted = counted.lock().unwrap();
                let names = names.iter().map(|name| name.as_str().unwrap());
                names
                    .inspect(|&name| *counted.entry(name.to_owned()).or_default() += 1)
                    .map(parameter)
                    .collect()
            };
            let body = match call.operation.as_str() {
                "GetParameter" => {
                    json!({ "Parameter": parameters(std::slice::from_ref(&call.body["Name"]))[0] })
                }
                "GetParameters" => {
                    json!({ "Parameters": parameters(call.body["Names"].as_array().unwrap()) })
                }
                _ => return refusals::ssm_denied().into(),
            };
            Reply::json(&body).after(delay)
        })
        .await;
        Self { aws, reads }
    }

    fn reads(&self, name: &str) -> usize {
        self.reads.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}
