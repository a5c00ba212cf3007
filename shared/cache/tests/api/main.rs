//! Tests of the public API. Tests that depend on time pause the clock.
#![allow(clippy::unwrap_used)]

mod lookups;
mod negatives;
mod coalescing;
mod deadlines;
mod changes;
mod subscriptions;
mod offers;
mod combined;
mod headers;
mod bounds;
mod secrets;
mod counting;
mod properties;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use cache::{
    Cache, CacheableError, CachedBody, Cause, Disposition, Effect, Failed, LoadContext, Loaded,
    Mode, Outcome, Priority, Served, Settings, http::Freshness,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Duration of a call to the upstream.
pub(crate) const LATENCY: Duration = Duration::from_millis(50);
pub(crate) const NEGATIVE_TTL: Duration = Duration::from_secs(10);

pub(crate) const FRESH_FOR: Duration = Duration::from_secs(60);
pub(crate) const STALE_FOR: Duration = Duration::from_secs(30);
pub(crate) const STALE_IF_ERROR_FOR: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    NotFound,
    Denied,
    Down,
    /// The error of a request whose deadline has ended.
    Late,
}

impl CacheableError for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::NotFound => Disposition::Negative { ttl: NEGATIVE_TTL },
            Self::Denied => Disposition::Definitive,
            Self::Down | Self::Late => Disposition::Transient,
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
    Freshness::new(FRESH_FOR, STALE_FOR, STALE_IF_ERROR_FOR)
}

pub(crate) fn loaded(text: &str) -> Loaded {
    Loaded::new(CachedBody::json(&text).unwrap(), freshness())
}

/// A fake upstream that records its calls.
#[derive(Clone, Default)]
pub(crate) struct Upstream(Arc<Mutex<Vec<LoadContext>>>);

impl Upstream {
    /// Creates a load that takes [`LATENCY`] and returns this result.
    pub(crate) fn load(
        &self,
        result: std::result::Result<Loaded, Error>,
    ) -> impl FnOnce(LoadContext) -> Load + Send + 'static + use<> {
        let contexts = Arc::clone(&self.0);
        move |context| {
            contexts.lock().push(context);
            Box::pin(async move {
                sleep(LATENCY).await;
                result
            })
        }
    }

    pub(crate) fn panics(&self) -> impl FnOnce(LoadContext) -> Load + Send + 'static + use<> {
        let contexts = Arc::clone(&self.0);
        move |context| {
            contexts.lock().push(context);
            Box::pin(async {
                sleep(LATENCY).await;
                std::panic::resume_unwind(Box::new("without the noise of a panic's message"))
            })
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn last_context(&self) -> LoadContext {
        self.0.lock().last().unwrap().clone()
    }

    pub(crate) fn priorities(&self) -> Vec<Priority> {
        self.0.lock().iter().map(|context| context.priority).collect()
    }

    pub(crate) async fn get(
        &self,
        cache: &Cache<Error>,
        result: std::result::Result<&str, Error>,
    ) -> Result {
        cache.get("key", Mode::Normal, self.load(result.map(loaded))).await
    }
}

/// Returns the text of a response, or the cause of a failure, and the outcome.
pub(crate) fn summary(result: &Result) -> (String, Outcome) {
    match result {
        Ok(served) => (serde_json::from_slice(served.body().bytes()).unwrap(), served.outcome()),
        Err(failed) => (format!("{:?}", failed.cause), failed.outcome()),
    }
}

pub(crate) fn ok(text: &str, outcome: Outcome) -> (String, Outcome) {
    (text.to_owned(), outcome)
}

pub(crate) fn error(error: Error, outcome: Outcome) -> (String, Outcome) {
    (format!("{:?}", Cause::Error(error)), outcome)
}

/// Applies a change with this effect to the key of [`Upstream::get`].
pub(crate) fn change(cache: &Cache<Error>, effect: Effect) {
    cache.apply(|key| if key == "key" { effect } else { Effect::Keep });
}
