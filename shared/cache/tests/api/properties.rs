//! Random sequences of requests, failures and changes, on a clock that jumps.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use proptest::prelude::*;
use tokio::{task::JoinSet, time::Instant};

use super::*;

const KEYS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Reply {
    Response { old: u64, storable: bool },
    Error(Failure),
    Panic,
}

#[derive(Clone, Copy, Debug)]
enum Failure {
    NotFound,
    Denied,
    Down,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request that waits for `patience` at most. If it needs a load, the load takes `millis` and
    /// ends with `reply`.
    Request {
        key: usize,
        forced: bool,
        patience: Option<u64>,
        millis: u64,
        reply: Reply,
    },
    Wait {
        millis: u64,
    },
    /// All waiting requests are dropped.
    DropRequests,
    Change {
        key: usize,
        effect: Effect,
    },
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        4 => (0..100_u64, prop::bool::weighted(0.9))
            .prop_map(|(old, storable)| Reply::Response { old, storable }),
        1 => Just(Reply::Error(Failure::NotFound)),
        1 => Just(Reply::Error(Failure::Denied)),
        3 => Just(Reply::Error(Failure::Down)),
        1 => Just(Reply::Panic),
    ]
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![Just(Effect::MarkStale), Just(Effect::Expire), Just(Effect::Drop)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KEYS, prop::bool::weighted(0.1), prop::option::of(0..2000_u64), 0..3000_u64, reply())
            .prop_map(|(key, forced, patience, millis, reply)| {
                Step::Request { key, forced, patience, millis, reply }
            }),
        4 => prop_oneof![0..2000_u64, 0..90_000_u64, 500_000..800_000_u64]
            .prop_map(|millis| Step::Wait { millis }),
        1 => Just(Step::DropRequests),
        1 => (0..KEYS, effect()).prop_map(|(key, effect)| Step::Change { key, effect }),
    ]
}

/// The upstream's record of its responses and their times. The test compares the cache's responses
/// with it.
#[derive(Default)]
struct Record {
    serial: AtomicU64,
    keys: Mutex<HashMap<usize, Key>>,
    sent: Mutex<HashMap<u64, Sent>>,
}

#[derive(Default)]
struct Key {
    in_progress: Option<u64>,
    /// The number of changes. A load that started before the last one may have read old data.
    epoch: u64,
    /// Responses below this serial have been refused, dropped or replaced.
    valid_from: u64,
    /// Responses below this serial are not fresh, because of a change.
    fresh_from: u64,
    /// Responses below this serial serve only after a failure, because of a change.
    stale_from: u64,
    not_found_at: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    old: Duration,
}

impl Record {
    /// Creates a load that records its result and the time.
    fn load(
        self: &Arc<Self>,
        key: usize,
        millis: u64,
        reply: Reply,
    ) -> impl FnOnce(LoadContext) -> Load + Send + 'static + use<> {
        let record = Arc::clone(self);
        move |_| {
            Box::pin(async move {
                let serial = record.serial.fetch_add(1, SeqCst) + 1;
                let epoch = record.key(key, |key| {
                    assert_eq!(key.in_progress.replace(serial), None, "two loads of one key");
                    key.epoch
                });
                sleep(Duration::from_millis(millis)).await;
                record.key(key, |key| {
                    key.in_progress = None;
                    match reply {
                        Reply::Response { .. } | Reply::Error(Failure::Denied) => {
                            key.valid_from = key.valid_from.max(serial);
                            key.not_found_at = None;
                        }
                        Reply::Error(Failure::NotFound) => {
                            key.valid_from = key.valid_from.max(serial);
                            key.not_found_at = (key.epoch == epoch).then(Instant::now);
                        }
                        Reply::Error(Failure::Down) | Reply::Panic => {}
                    }
                });
                record.finish(serial, reply)
            })
        }
    }

    fn finish(&self, serial: u64, reply: Reply) -> std::result::Result<Loaded, Error> {
        match reply {
            Reply::Response { old, storable } => {
                let old = Duration::from_secs(old);
                self.sent.lock().insert(serial, Sent { at: Instant::now(), old });
                let mut loaded = Loaded::new(CachedBody::json(&serial).unwrap(), freshness());
                loaded.freshness.age_at_load = old;
                loaded.storable = storable;
                Ok(loaded)
            }
            Reply::Error(Failure::NotFound) => Err(Error::NotFound),
            Reply::Error(Failure::Denied) => Err(Error::Denied),
            Reply::Error(Failure::Down) => Err(Error::Down),
            Reply::Panic => std::panic::resume_unwind(Box::new("as planned")),
        }
    }

    fn key<R>(&self, key: usize, act: impl FnOnce(&mut Key) -> R) -> R {
        act(self.keys.lock().entry(key).or_default())
    }
}

/// Sends one request and compares its response with the record.
async fn request(cache: Cache<Error>, record: Arc<Record>, step: Step) {
    let Step::Request { key, forced, patience, millis, reply } = step else { return };
    let [valid_from, fresh_from, stale_from] =
        record.key(key, |key| [key.valid_from, key.fresh_from, key.stale_from]);
    let load = record.load(key, millis, reply);
    let mode = if forced { Mode::Revalidate } else { Mode::Normal };
    let requested_at = Instant::now();
    let result = match patience {
        None => cache.get(&key.to_string(), mode, load).await,
        Some(patience) => {
            let deadline = requested_at + Duration::from_millis(patience);
            cache.get_until(&key.to_string(), mode, deadline, || Error::Late, load).await
        }
    };
    let now = Instant::now();
    let waited = now - requested_at;
    // A timer of tokio may fire a millisecond late.
    let limit = patience.map(|patience| Duration::from_millis(patience + 1));
    assert!(limit.is_none_or(|limit| waited <= limit), "it waited for {waited:?} of {limit:?}");
    let served = match result {
        Ok(served) => served,
        Err(failed) => {
            if failed.cause == Cause::Error(Error::Late) {
                assert!(waited >= Duration::from_millis(patience.unwrap()), "not before its time");
            }
            if failed.outcome() == Outcome::Negative {
                assert_eq!(failed.cause, Cause::Error(Error::NotFound));
                let known_for = now - record.key(key, |key| key.not_found_at).unwrap();
                assert!(known_for < NEGATIVE_TTL);
                assert_eq!(failed.expires_in, Some(NEGATIVE_TTL - known_for));
            }
            return;
        }
    };
    let serial: u64 = serde_json::from_slice(served.body().bytes()).unwrap();
    let sent = record.sent.lock()[&serial];
    let age = sent.old + (now - sent.at);
    assert_eq!(served.age(), age, "the age is correct");
    assert!(serial >= valid_from, "served {serial}, refused or replaced before {valid_from}");
    // A change during the request counts too.
    let is_stale = age >= FRESH_FOR || serial < record.key(key, |key| key.fresh_from);
    match served.outcome() {
        Outcome::Hit => assert!(age < FRESH_FOR && serial >= fresh_from),
        Outcome::Stale => {
            assert!(is_stale && age < FRESH_FOR + STALE_FOR && serial >= stale_from);
            assert_eq!(now, requested_at, "a stale entry is served without waiting");
        }
        Outcome::StaleError => {
            assert!(is_stale && age < FRESH_FOR + STALE_IF_ERROR_FOR);
        }
        Outcome::Miss | Outcome::Coalesced => {
            assert!(sent.at >= requested_at, "it was loaded for this request")
        }
        Outcome::Negative | Outcome::Bypass | Outcome::Error => {
            panic!("no response has this outcome")
        }
    }
}

/// Runs every task until it waits for time to pass.
async fn run_until_idle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn run(steps: Vec<Step>) {
    let (cache, record) = (cache(), Arc::new(Record::default()));
    let mut requests = JoinSet::new();
    for step in steps {
        match step {
            Step::Request { .. } => {
                requests.spawn(request(cache.clone(), Arc::clone(&record), step));
                run_until_idle().await;
            }
            Step::Wait { millis } => sleep(Duration::from_millis(millis)).await,
            Step::DropRequests => requests.abort_all(),
            Step::Change { key: changed, effect } => {
                let next = record.serial.load(SeqCst) + 1;
                record.key(changed, |key| {
                    key.epoch += 1;
                    key.not_found_at = None;
                    key.fresh_from = next;
                    if effect >= Effect::Expire {
                        key.stale_from = next;
                    }
                    if effect == Effect::Drop {
                        key.valid_from = next;
                    }
                });
                let changed = changed.to_string();
                cache.apply(|key| if key == changed { effect } else { Effect::Keep });
            }
        }
        while let Some(request) = requests.try_join_next() {
            resume_panic(request);
        }
    }
    while let Some(request) = requests.join_next().await {
        resume_panic(request);
    }
}

fn resume_panic(request: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = request
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_response_is_consistent_with_the_record(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
