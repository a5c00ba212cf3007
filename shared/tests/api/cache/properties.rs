//! Random sequences of requests, failures and invalidations, on a clock that jumps.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use proptest::prelude::*;
use tokio::{task::JoinSet, time::Instant};

use super::*;

const KEYS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Says {
    Answer { old: u64, storable: bool },
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
    /// A request. If it needs a load, the load takes `millis` and ends with `says`.
    Ask {
        key: usize,
        forced: bool,
        millis: u64,
        says: Says,
    },
    Wait {
        millis: u64,
    },
    /// All waiting requests are dropped.
    Leave,
    Invalidate {
        key: usize,
    },
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        4 => (0..100_u64, prop::bool::weighted(0.9))
            .prop_map(|(old, storable)| Says::Answer { old, storable }),
        1 => Just(Says::Error(Failure::NotFound)),
        1 => Just(Says::Error(Failure::Denied)),
        3 => Just(Says::Error(Failure::Down)),
        1 => Just(Says::Panic),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KEYS, prop::bool::weighted(0.1), 0..3000_u64, says())
            .prop_map(|(key, forced, millis, says)| Step::Ask { key, forced, millis, says }),
        4 => prop_oneof![0..2000_u64, 0..90_000_u64, 500_000..800_000_u64]
            .prop_map(|millis| Step::Wait { millis }),
        1 => Just(Step::Leave),
        1 => (0..KEYS).prop_map(|key| Step::Invalidate { key }),
    ]
}

/// The upstream's record of its responses and their times. The test compares the cache's responses
/// with it.
#[derive(Default)]
struct Truth {
    serial: AtomicU64,
    keys: Mutex<HashMap<usize, Key>>,
    said: Mutex<HashMap<u64, Said>>,
}

#[derive(Default)]
struct Key {
    under_way: Option<u64>,
    /// The number of invalidations. A load that began before the last one does not count.
    epoch: u64,
    /// Responses below this serial have been refused, dropped or replaced.
    valid_from: u64,
    not_found_at: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Said {
    at: Instant,
    old: Duration,
}

impl Truth {
    /// Creates a load that records its result and the time.
    fn load(
        self: &Arc<Self>,
        key: usize,
        millis: u64,
        says: Says,
    ) -> impl FnOnce(Attempt) -> Load + Send + 'static + use<> {
        let truth = Arc::clone(self);
        move |_| {
            Box::pin(async move {
                let serial = truth.serial.fetch_add(1, SeqCst) + 1;
                let epoch = truth.key(key, |key| {
                    assert_eq!(key.under_way.replace(serial), None, "two loads of one key");
                    key.epoch
                });
                sleep(Duration::from_millis(millis)).await;
                truth.key(key, |key| {
                    if key.epoch != epoch {
                        return;
                    }
                    key.under_way = None;
                    match says {
                        Says::Answer { .. } | Says::Error(Failure::Denied) => {
                            key.valid_from = serial;
                            key.not_found_at = None;
                        }
                        Says::Error(Failure::NotFound) => {
                            key.valid_from = serial;
                            key.not_found_at = Some(Instant::now());
                        }
                        Says::Error(Failure::Down) | Says::Panic => {}
                    }
                });
                truth.say(serial, says)
            })
        }
    }

    fn say(&self, serial: u64, says: Says) -> std::result::Result<Loaded, Error> {
        match says {
            Says::Answer { old, storable } => {
                let old = Duration::from_secs(old);
                self.said.lock().insert(serial, Said { at: Instant::now(), old });
                let mut loaded = Loaded::new(Answer::json(&serial).unwrap(), freshness());
                loaded.freshness.age_at_load = old;
                loaded.storable = storable;
                Ok(loaded)
            }
            Says::Error(Failure::NotFound) => Err(Error::NotFound),
            Says::Error(Failure::Denied) => Err(Error::Denied),
            Says::Error(Failure::Down) => Err(Error::Down),
            Says::Panic => std::panic::resume_unwind(Box::new("as told")),
        }
    }

    fn key<R>(&self, key: usize, act: impl FnOnce(&mut Key) -> R) -> R {
        act(self.keys.lock().entry(key).or_default())
    }
}

/// Sends one request and compares its response with the record.
async fn ask(cache: Cache<Error>, truth: Arc<Truth>, step: Step) {
    let Step::Ask { key, forced, millis, says } = step else { return };
    let valid_from = truth.key(key, |key| key.valid_from);
    let load = truth.load(key, millis, says);
    let mode = if forced { Mode::Revalidate } else { Mode::Normal };
    let asked_at = Instant::now();
    let result = cache.get(&key.to_string(), mode, load).await;
    let now = Instant::now();
    let served = match result {
        Ok(served) => served,
        Err(failed) => {
            if failed.outcome() == Outcome::Negative {
                assert_eq!(failed.cause, Cause::Error(Error::NotFound));
                let known_for = now - truth.key(key, |key| key.not_found_at).unwrap();
                assert!(known_for < NEGATIVE_TTL);
                assert_eq!(failed.expires_in, Some(NEGATIVE_TTL - known_for));
            }
            return;
        }
    };
    let serial: u64 = serde_json::from_slice(served.answer().body()).unwrap();
    let said = truth.said.lock()[&serial];
    let age = said.old + (now - said.at);
    assert_eq!(served.age(), age, "the age that is told is the true one");
    assert!(serial >= valid_from, "answered {serial}, refused or replaced before {valid_from}");
    match served.outcome() {
        Outcome::Hit => assert!(age < FRESH_FOR),
        Outcome::Stale => {
            assert!((FRESH_FOR..FRESH_FOR + STALE_FOR).contains(&age));
            assert_eq!(now, asked_at, "a stale answer is not waited for");
        }
        Outcome::StaleError => {
            assert!((FRESH_FOR..FRESH_FOR + LAST_RESORT_FOR).contains(&age));
        }
        Outcome::Miss | Outcome::Coalesced => {
            assert!(said.at >= asked_at, "it was loaded for this")
        }
        Outcome::Negative | Outcome::Bypass | Outcome::Error => panic!("not with an answer"),
    }
}

/// Runs every task until it waits for time to pass.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn play(steps: Vec<Step>) {
    let (cache, truth) = (cache(), Arc::new(Truth::default()));
    let mut requests = JoinSet::new();
    for step in steps {
        match step {
            Step::Ask { .. } => {
                requests.spawn(ask(cache.clone(), Arc::clone(&truth), step));
                settle().await;
            }
            Step::Wait { millis } => sleep(Duration::from_millis(millis)).await,
            Step::Leave => requests.abort_all(),
            Step::Invalidate { key } => {
                truth.key(key, |key| {
                    key.epoch += 1;
                    key.under_way = None;
                    key.not_found_at = None;
                    key.valid_from = truth.serial.load(SeqCst) + 1;
                });
                cache.invalidate(&key.to_string());
            }
        }
        while let Some(request) = requests.try_join_next() {
            judge(request);
        }
    }
    while let Some(request) = requests.join_next().await {
        judge(request);
    }
}

fn judge(request: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = request
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_sequence_of_events_makes_the_cache_lie(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(steps));
    }
}
