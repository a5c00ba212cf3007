//! Faults of the engine: no request fails for one, none waits long for one, and sharing begins
//! again by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use e2e::{
    MARK,
    client::Client,
    engine::{Engine, Garbage},
    fleet::{replica, reports, start_replicas},
    relay::Relay,
    service::{Service, Setup},
};
use redis::cmd;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::EveryName;

/// The timeout of the shared cache. It is far longer than anything else that a request waits for,
/// so that a request that waits for it twice is seen.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The time of a request without an engine, on a machine that is busy with other work.
const ALLOWANCE: Duration = Duration::from_millis(800);

/// The lifetime of entries: the load requests some names again and again, and each replica has to
/// load them again and again.
const TTL: Duration = Duration::from_millis(500);

/// The time limit for steps that take a second or two.
const LIMIT: Duration = Duration::from_secs(30);

/// A fleet of two replicas on an AWS with every parameter.
struct Trial {
    engine: Engine,
    relay: Relay,
    replicas: Vec<Service>,
    aws: EveryName,
    proofs: usize,
}

impl Trial {
    /// Starts a fleet that shares what it loads.
    async fn start() -> Self {
        Self::with(|engine, _, aws| settings(&aws.aws.url, &engine.url())).await
    }

    /// Starts a fleet like [`start`](Self::start) that reaches its engine through a relay.
    async fn behind_a_relay() -> Self {
        Self::with(|_, relay, aws| settings(&aws.aws.url, &format!("redis://{}", relay.address)))
            .await
    }

    async fn with(setup: impl Fn(&Engine, &Relay, &EveryName) -> Setup) -> Self {
        let (aws, engine) =
            tokio::join!(EveryName::start(Duration::from_millis(5)), Engine::start());
        let relay = Relay::before(&engine.address()).await;
        let replicas = start_replicas(2, &setup(&engine, &relay, &aws)).await;
        let mut trial = Self { engine, relay, replicas, aws, proofs: 0 };
        trial.shares().await;
        trial
    }

    /// Checks that the replicas share a load.
    async fn shares(&mut self) {
        self.proofs += 1;
        let name = format!("/proof/{}", self.proofs);
        for replica in &self.replicas {
            replica.get(&format!("/param{name}")).await.ok();
        }
        assert_eq!(self.aws.reads(&name), 1, "the replicas do not share their loads");
    }

    /// Waits until all replicas report this state of the shared cache.
    async fn report(&self, state: &str) {
        for replica in &self.replicas {
            reports(replica, state).await;
        }
    }

    /// Requests new names, and a few names that all clients request.
    fn load(&self) -> Load {
        Load::start(&self.replicas, 2)
    }

    /// Checks that the fleet recovers by itself and that no request of the load suffered.
    async fn recovers(mut self, load: Load) {
        self.report("ok").await;
        self.shares().await;
        load.serves(100).await;
        load.end().await;
        self.report("ok").await;
        self.shares().await;
        for replica in &self.replicas {
            assert!(!replica.log().contains("panicked"), "{}", replica.log());
        }
    }
}

fn settings(aws_url: &str, engine_url: &str) -> Setup {
    let duration = |duration| humantime::format_duration(duration).to_string();
    replica(aws_url, engine_url)
        .with("SHARED_CACHE_TIMEOUT", &duration(TIMEOUT))
        .with("CACHE_TTL", &duration(TTL))
        .with("CACHE_STALE_WHILE_REVALIDATE", "0s")
}

/// Requests of several clients for as long as a fault and its end take.
struct Load {
    ends: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: JoinSet<Duration>,
}

impl Load {
    /// One of this number of requests is for a new name, and the others are for a few names that all
    /// clients request.
    fn start(replicas: &[Service], one_of: usize) -> Self {
        let (ends, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for (index, replica) in replicas.iter().enumerate() {
            for client in 0..3 {
                let url = replica.url.clone();
                let name = format!("/load/{index}/{client}");
                let (ends, served) = (Arc::clone(&ends), Arc::clone(&served));
                clients.spawn(requests(url, name, one_of, ends, served));
            }
        }
        Self { ends, served, clients }
    }

    /// Waits until this number of requests has been served from now on.
    async fn serves(&self, count: usize) {
        let goal = self.served.load(SeqCst) + count;
        let served = async {
            while self.served.load(SeqCst) < goal && !self.clients.is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, served).await.expect("the fleet serves requests");
    }

    /// Ends the load, and returns the time of the longest request.
    async fn end(self) -> Duration {
        self.ends.store(true, SeqCst);
        let longest = self.clients.join_all().await.into_iter().max().unwrap();
        eprintln!("{} requests, the longest took {longest:?}", self.served.load(SeqCst));
        longest
    }
}

/// Sends requests one after another, checks each response, and returns the time of the longest.
async fn requests(
    url: String,
    name: String,
    one_of: usize,
    ends: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
) -> Duration {
    let mut client = Client::of(&url);
    let mut longest = Duration::ZERO;
    for number in 0_usize.. {
        if ends.load(SeqCst) {
            break;
        }
        let name = match number % one_of {
            0 => format!("{name}/{number}"),
            _ => format!("/hot/{}", number / one_of % 5),
        };
        let start = Instant::now();
        let response = client.get(&format!("/param{name}")).await;
        let took = start.elapsed();
        let response = response.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(response.status, 200, "{name} after {took:?}: {response:?}");
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(body["value"], format!("{MARK}: {name}"));
        assert!(took < TIMEOUT + ALLOWANCE, "{name} took {took:?}");
        longest = longest.max(took);
        served.fetch_add(1, SeqCst);
        sleep(Duration::from_millis(20)).await;
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_engine_fails_no_request_and_is_used_again_when_it_is_back() {
    let mut trial = Trial::start().await;
    let load = trial.load();
    load.serves(50).await;
    trial.engine.kill();
    trial.report("degraded").await;
    load.serves(200).await;
    trial.report("degraded").await;
    trial.engine.restart().await;
    trial.recovers(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_engine_fails_no_request_and_is_used_again_when_it_continues() {
    let trial = Trial::start().await;
    let load = trial.load();
    load.serves(50).await;
    trial.engine.stop();
    trial.report("degraded").await;
    load.serves(200).await;
    trial.report("degraded").await;
    trial.engine.resume();
    trial.recovers(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_restarts_empty_fails_no_request() {
    let mut trial = Trial::start().await;
    let load = trial.load();
    for _ in 0..3 {
        load.serves(50).await;
        trial.engine.restart().await;
    }
    trial.recovers(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_loses_its_scripts_and_its_keys_fails_no_request() {
    let trial = Trial::start().await;
    let load = trial.load();
    for _ in 0..5 {
        load.serves(20).await;
        trial.engine.run::<()>(cmd("SCRIPT").arg("FLUSH")).await;
        trial.engine.run::<()>(cmd("FLUSHALL").arg("SYNC")).await;
    }
    for replica in &trial.replicas {
        assert!(!replica.log().contains("does not work"), "the engine worked: {}", replica.log());
    }
    trial.recovers(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_engine_fails_no_request_and_is_used_again_when_it_has_memory() {
    let trial = Trial::start().await;
    let load = trial.load();
    load.serves(50).await;
    trial.engine.fill().await;
    trial.report("degraded").await;
    load.serves(200).await;
    trial.report("degraded").await;
    trial.engine.empty_out().await;
    trial.recovers(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_suddenly_requires_a_password_fails_no_request() {
    let mut trial = Trial::start().await;
    let load = trial.load();
    load.serves(50).await;
    trial.engine.require_password("hush").await;
    trial.report("degraded").await;
    load.serves(200).await;
    trial.report("degraded").await;
    trial.engine.require_no_password().await;
    trial.recovers(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_refuses_writes_fails_no_request() {
    let trial = Trial::start().await;
    let load = trial.load();
    load.serves(50).await;
    trial.engine.refuse_writes().await;
    trial.report("degraded").await;
    load.serves(200).await;
    trial.report("degraded").await;
    trial.engine.accept_writes().await;
    trial.recovers(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_behind_a_slow_link_fails_no_request() {
    let trial = Trial::behind_a_relay().await;
    let load = trial.load();
    load.serves(50).await;
    trial.relay.delay(TIMEOUT * 3 / 2);
    trial.report("degraded").await;
    load.serves(200).await;
    trial.report("degraded").await;
    trial.relay.heal();
    trial.recovers(load).await;
}

/// Each command is within the timeout, and all commands of one request together are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_commands_of_a_request_together_take_no_longer_than_the_timeout() {
    let trial = Trial::behind_a_relay().await;
    // No request waits for the load of another replica.
    let load = Load::start(&trial.replicas, 1);
    load.serves(50).await;
    trial.relay.delay(TIMEOUT * 7 / 10);
    load.serves(50).await;
    let longest = load.end().await;
    assert!(longest < TIMEOUT + ALLOWANCE / 4, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_breaks_again_and_again_fails_no_request() {
    let trial = Trial::behind_a_relay().await;
    let load = trial.load();
    for _ in 0..10 {
        load.serves(20).await;
        trial.relay.cut();
        load.serves(20).await;
        trial.relay.heal();
    }
    trial.relay.cut();
    trial.report("degraded").await;
    trial.relay.heal();
    trial.recovers(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_filled_with_garbage_fails_no_request_and_answers_none() {
    let trial = Trial::start().await;
    let load = trial.load();
    for garbage in Garbage::ALL {
        for _ in 0..5 {
            load.serves(15).await;
            trial.engine.overwrite_with(garbage).await;
        }
    }
    // The garbage without an expiry stays until the replicas replace it.
    trial.report("ok").await;
    let reads =
        |trial: &Trial| (0..5).map(|hot| trial.aws.reads(&format!("/hot/{hot}"))).sum::<usize>();
    load.serves(100).await;
    let (before, start) = (reads(&trial), Instant::now());
    while start.elapsed() < TTL * 4 {
        load.serves(10).await;
    }
    // Without sharing, two replicas would read each name twice a TTL. Entries live up to a tenth
    // shorter than the TTL.
    let most = 5.0 * (1.0 + start.elapsed().as_secs_f64() / (TTL.as_secs_f64() * 0.9));
    let read = reads(&trial) - before;
    assert!(read as f64 <= most, "the names are shared again: {read} reads, at most {most}");
    trial.recovers(load).await;
}
