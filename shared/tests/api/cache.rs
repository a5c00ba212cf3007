//! Tests of the cache. Tests that depend on time pause the clock.

mod lookups;
mod negatives;
mod coalescing;
mod invalidation;
mod headers;
mod bounds;
mod secrets;
mod counting;
mod properties;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use shared::{
    cache::{
        Answer, Attempt, Cache, CacheableError, Cause, Disposition, Failed, Loaded, Mode, Outcome,
        Served, Settings, Urgency,
    },
    http_cache::Freshness,
};
use tokio::time::{Instant, sleep};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Duration of a call to the upstream.
pub(crate) const LATENCY: Duration = Duration::from_millis(50);
pub(crate) const NEGATIVE_TTL: Duration = Duration::from_secs(10);

pub(crate) const FRESH_FOR: Duration = Duration::from_secs(60);
pub(crate) const STALE_FOR: Duration = Duration::from_secs(30);
pub(crate) const LAST_RESORT_FOR: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    NotFound,
    Denied,
    Down,
}

impl CacheableError for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::NotFound => Disposition::Negative { ttl: NEGATIVE_TTL },
            Self::Denied => Disposition::Definitive,
            Self::Down => Disposition::Transient,
        }
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

pub(crate) type Result = std::result::Result<Served, Failed<Error>>;
type Load = Pin<Box<dyn Future<Output = std::result::Result<Loaded, Error>> + Send>>;

pub(crate) fn cache() -> Cache<Error> {
    cache_of(1 << 20)
}

pub(crate) fn cache_of(max_bytes: u64) -> Cache<Error> {
    Cache::new(Settings { name: "test", hop: "here", max_bytes })
}

pub(crate) fn freshness() -> Freshness {
    Freshness::new(FRESH_FOR, STALE_FOR, LAST_RESORT_FOR)
}

pub(crate) fn loaded(text: &str) -> Loaded {
    Loaded::new(Answer::json(&text).unwrap(), freshness())
}

/// A fake upstream that records its calls.
#[derive(Clone, Default)]
pub(crate) struct Source(Arc<Mutex<Vec<Attempt>>>);

impl Source {
    /// Creates a load that takes [`LATENCY`] and returns this result.
    pub(crate) fn says(
        &self,
        result: std::result::Result<Loaded, Error>,
    ) -> impl FnOnce(Attempt) -> Load + Send + 'static + use<> {
        let asked = Arc::clone(&self.0);
        move |attempt| {
            asked.lock().push(attempt);
            Box::pin(async move {
                sleep(LATENCY).await;
                result
            })
        }
    }

    pub(crate) fn panics(&self) -> impl FnOnce(Attempt) -> Load + Send + 'static + use<> {
        let asked = Arc::clone(&self.0);
        move |attempt| {
            asked.lock().push(attempt);
            Box::pin(async {
                sleep(LATENCY).await;
                std::panic::resume_unwind(Box::new("without the noise of a panic's message"))
            })
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn last_attempt(&self) -> Attempt {
        self.0.lock().last().unwrap().clone()
    }

    pub(crate) fn urgencies(&self) -> Vec<Urgency> {
        self.0.lock().iter().map(|attempt| attempt.urgency).collect()
    }

    pub(crate) async fn get(
        &self,
        cache: &Cache<Error>,
        says: std::result::Result<&str, Error>,
    ) -> Result {
        cache.get("key", Mode::Normal, self.says(says.map(loaded))).await
    }
}

/// Returns the text of a response and its outcome.
pub(crate) fn told(result: &Result) -> (String, Outcome) {
    match result {
        Ok(served) => (serde_json::from_slice(served.answer().body()).unwrap(), served.outcome()),
        Err(failed) => (format!("{:?}", failed.cause), failed.outcome()),
    }
}

pub(crate) fn is(text: &str, outcome: Outcome) -> (String, Outcome) {
    (text.to_owned(), outcome)
}

pub(crate) fn error(error: Error, outcome: Outcome) -> (String, Outcome) {
    (format!("{:?}", Cause::Error(error)), outcome)
}
