//! The read-through cache: the source is asked once, however many callers wait, and its answers
//! stand in for it when it fails.
//!
//! An answer is *fresh* for its lifetime; then *stale* and answered at once while one refresh
//! runs in the background; then a *last resort* that is answered only if the source fails; then
//! gone. [`Freshness`](crate::http_cache::Freshness) holds these limits; nothing older than its
//! bound is ever answered. What a failed load does is up to the error's [`Disposition`].
//!
//! ```
//! use std::time::Duration;
//! use shared::cache::{Answer, Cache, CacheableError, Disposition, Loaded, Mode, Settings};
//! use shared::http_cache::Freshness;
//!
//! #[derive(Clone, Debug)]
//! enum Error { NoSuchParameter, Denied, Unreachable }
//!
//! impl CacheableError for Error {
//!     fn disposition(&self) -> Disposition {
//!         match self {
//!             Self::NoSuchParameter => Disposition::Negative { ttl: Duration::from_secs(10) },
//!             Self::Denied => Disposition::Definitive,
//!             Self::Unreachable => Disposition::Transient,
//!         }
//!     }
//!
//!     fn heap_bytes(&self) -> usize {
//!         0
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let cache = Cache::<Error>::new(Settings {
//!     name: "parameters",
//!     hop: "aux-service",
//!     max_bytes: 64 << 20,
//! });
//! let request = http::HeaderMap::new();
//!
//! // Nearly every request ends here, without a task and without waiting.
//! let found = match cache.lookup("/app/name", tokio::time::Instant::now()) {
//!     Some(found) => found,
//!     None => cache
//!         .get("/app/name", Mode::Normal, |attempt| async move {
//!             // This runs in a task of its own, which outlives the caller and inherits nothing
//!             // from it but its request id.
//!             // `attempt.urgency` is what a quota decides by.
//!             let answer = Answer::json(&"what the source says").expect("a string is JSON");
//!             let minute = Duration::from_secs(60);
//!             Ok(Loaded::new(answer, Freshness::new(minute, minute, 60 * minute).jittered(0.1)))
//!         })
//!         .await,
//! };
//!
//! let response = found.expect("the source answers").response(&request);
//! assert_eq!(response.headers()["cache-status"], "aux-service; fwd=miss; stored");
//! # });
//! ```
//!
//! # Who gets what
//!
//! | kept | the load | answer | outcome |
//! |---|---|---|---|
//! | fresh | – | kept | `hit` |
//! | stale | one, in the background | kept | `stale` |
//! | last resort | succeeds | new | `miss`, or `coalesced` for those who joined it |
//! | last resort, or any with [`Mode::Revalidate`] | fails for now | kept | `stale_error` (`hit` where still fresh) |
//! | nothing | succeeds, or learns that there is no such thing | new | `miss` or `coalesced` |
//! | "no such thing" | – | that | `negative` |
//! | nothing | fails | the error | `error` |
//!
//! A request whose future is dropped before it has its answer is not counted; the load goes on.

use std::sync::Arc;

mod answer;
mod entry;
mod flight;
mod load;
mod metrics;
mod negative;
mod served;
mod spaces;
mod store;

use http::HeaderMap;
use tokio::time::Instant;

use entry::Entry;
use flight::Landed;
use metrics::{Evictions, Metrics};
use spaces::{Boarding, Look, Spaces};

use crate::{
    http_cache::{Forward, Handling, forces_revalidation},
    telemetry::RequestContext,
};

pub use answer::Answer;
pub use load::{Attempt, CacheableError, Disposition, Loaded, Previous, Urgency};
pub use metrics::{Outcome, SERVED_AGE, SERVED_AGE_BUCKETS};
pub use served::{Cause, Failed, Served};

/// A handle: cloning it shares what is kept.
#[derive(Clone)]
pub struct Cache<E> {
    hop: &'static str,
    metrics: Arc<Metrics>,
    /// `None` while the cache is off.
    spaces: Option<Arc<Spaces<E>>>,
}

/// What a cache is called, and how much it may hold.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The value of the metrics' label `cache`.
    pub name: &'static str,
    /// The service, as `Cache-Status` names it: a token (RFC 9110, 5.6.2).
    pub hop: &'static str,
    /// For keys, bodies, headers and bookkeeping together. An eighth of it is set apart for
    /// negative answers, so that made-up names cannot push real ones out.
    pub max_bytes: u64,
}

/// Whether an entry of the cache is good enough for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Normal,
    /// A load is made even if the entry is fresh. If the load fails, the entry is served.
    Revalidate,
}

impl Mode {
    /// The mode that a request's `Cache-Control` demands of a cache that trusts its client.
    pub fn of_request(request: &HeaderMap, trusted: bool) -> Self {
        if trusted && forces_revalidation(request) { Self::Revalidate } else { Self::Normal }
    }
}

/// What is kept.
#[derive(Clone, Debug)]
pub struct Stats {
    pub entries: u64,
    pub bytes: u64,
}

impl<E: CacheableError> Cache<E> {
    pub fn new(settings: Settings) -> Self {
        let Settings { name, hop, max_bytes } = settings;
        let spaces = Spaces::new(hop, max_bytes, Evictions::new(name));
        Self { hop, metrics: Arc::new(Metrics::new(name)), spaces: Some(Arc::new(spaces)) }
    }

    /// A cache that keeps nothing and lets every request through. `max_bytes` has no meaning.
    pub fn off(settings: Settings) -> Self {
        Evictions::new(settings.name);
        let metrics = Arc::new(Metrics::new(settings.name));
        Self { hop: settings.hop, metrics, spaces: None }
    }

    /// Looks up a key without waiting and without a load: a fresh entry, a negative entry, or a stale
    /// entry while its refresh backs off. `None`: the response is for [`get`](Self::get) to give.
    ///
    /// The outcome is counted, so the caller must send the result.
    pub fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Failed<E>>> {
        let found = self.spaces.as_ref()?.ready(key, now)?;
        self.count(&found);
        Some(found)
    }

    /// Answers from what is kept, or loads it: once for all who ask at the same time.
    ///
    /// The load runs in a task of its own, so it lives on when this future is dropped. While the
    /// cache is off it is its caller's alone, and ends with it.
    pub async fn get<F, Fut>(&self, key: &str, mode: Mode, load: F) -> Result<Served, Failed<E>>
    where
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let result = match &self.spaces {
            Some(spaces) => self.read_through(spaces, key, mode, load).await,
            None => self.bypass(key, load).await,
        };
        self.count(&result);
        result
    }

    fn count(&self, result: &Result<Served, Failed<E>>) {
        match result {
            Ok(served) => self.metrics.served(served.outcome(), served.age()),
            Err(failed) => self.metrics.count(failed.outcome()),
        }
    }

    /// Drops what is kept under a key. A load that is under way still answers those who wait
    /// for it, but is not kept: it may have read what was true before.
    pub fn invalidate(&self, key: &str) {
        if let Some(spaces) = &self.spaces {
            spaces.invalidate(key);
        }
    }

    /// Drops what is past its end, and brings the gauges up to date. To be called every few seconds.
    pub fn sync(&self) {
        if let Some(spaces) = &self.spaces {
            spaces.settle();
        }
        let stats = self.stats();
        // Gauges are floats; both numbers stay far below what one holds exactly.
        self.metrics.entries.set(stats.entries as f64);
        self.metrics.bytes.set(stats.bytes as f64);
    }

    pub fn stats(&self) -> Stats {
        let spaces = self.spaces.as_ref();
        Stats {
            entries: spaces.map_or(0, |spaces| spaces.entries()),
            bytes: spaces.map_or(0, |spaces| spaces.bytes()),
        }
    }

    async fn read_through<F, Fut>(
        &self,
        spaces: &Arc<Spaces<E>>,
        key: &str,
        mode: Mode,
        load: F,
    ) -> Result<Served, Failed<E>>
    where
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        // First without the lock, which most requests do not need.
        match spaces.look(key, mode, Instant::now()) {
            Look::Answer(served) => return Ok(served),
            Look::NoSuchThing(failed) => return Err(failed),
            Look::Refresh(_) | Look::Load { .. } => {}
        }
        let mut may_join_lesser = true;
        loop {
            match spaces.board(key, mode) {
                Boarding::Settled(result) => return result,
                Boarding::Refresh(served, landing) => {
                    take_off(landing, load);
                    return Ok(served);
                }
                Boarding::Lead(landing, why) => {
                    let flight = landing.flight();
                    take_off(landing, load);
                    let landed = flight.landed().await;
                    return self.arrive(spaces, key, &landed, why, false);
                }
                Boarding::Join(flight, urgency, why) => {
                    let lesser = flight.urgency < urgency;
                    let landed = flight.landed().await;
                    let result = self.arrive(spaces, key, &landed, why, true);
                    let failed = matches!(&*landed, Landed::Failed(_) | Landed::Panicked);
                    // A quota may have turned away a load on which nothing depended then; on
                    // this request's own it would have decided otherwise.
                    if result.is_err() && failed && lesser && may_join_lesser {
                        may_join_lesser = false;
                        continue;
                    }
                    return result;
                }
            }
        }
    }

    fn arrive(
        &self,
        spaces: &Spaces<E>,
        key: &str,
        landed: &Landed<E>,
        why: Forward,
        collapsed: bool,
    ) -> Result<Served, Failed<E>> {
        let now = Instant::now();
        let answered = if collapsed { Outcome::Coalesced } else { Outcome::Miss };
        let forwarded = |stored| Handling::Forwarded { why, stored, collapsed };
        let (cause, outcome, expires_in, stored) = match landed {
            Landed::Answer { entry, stored } => {
                let entry = Arc::clone(entry);
                return Ok(Served::new(entry, self.hop, answered, forwarded(*stored), now));
            }
            Landed::Negative { negative, stored } => {
                let cause = Cause::Error(negative.error.clone());
                (cause, answered, negative.left(now), *stored)
            }
            Landed::Refused(error) => (Cause::Error(error.clone()), Outcome::Error, None, false),
            Landed::Failed(_) | Landed::Panicked => {
                if let Some(served) = spaces.fallback(key, why) {
                    return Ok(served);
                }
                let cause = match landed {
                    Landed::Failed(error) => Cause::Error(error.clone()),
                    _ => Cause::Panicked,
                };
                (cause, Outcome::Error, None, false)
            }
        };
        let handling = forwarded(stored);
        Err(Failed { cause, expires_in, hop: self.hop, outcome, handling })
    }

    async fn bypass<F, Fut>(&self, key: &str, load: F) -> Result<Served, Failed<E>>
    where
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let result = load(Attempt { previous: None, urgency: Urgency::Miss }).await;
        let now = Instant::now();
        let why = Forward::Bypass;
        let handling = Handling::Forwarded { why, stored: false, collapsed: false };
        let error = match result {
            Ok(loaded) => {
                let entry = Arc::new(Entry::new(key.into(), loaded, now));
                return Ok(Served::new(entry, self.hop, Outcome::Bypass, handling, now));
            }
            Err(error) => error,
        };
        let (outcome, expires_in) = match error.disposition() {
            Disposition::Negative { ttl } => (Outcome::Bypass, (!ttl.is_zero()).then_some(ttl)),
            Disposition::Definitive | Disposition::Transient => (Outcome::Error, None),
        };
        Err(Failed { cause: Cause::Error(error), expires_in, hop: self.hop, outcome, handling })
    }
}

/// The load's task: whatever ends it lands it.
fn take_off<E, F, Fut>(landing: spaces::Landing<E>, load: F)
where
    E: CacheableError,
    F: FnOnce(Attempt) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
{
    let load = async move {
        let result = load(landing.attempt()).await;
        landing.land(result);
    };
    tokio::spawn(RequestContext::inherit(load));
}
