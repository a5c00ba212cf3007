//! A read-through cache. Concurrent lookups of a key share one call to the upstream, and stored
//! entries replace its responses when it fails.
//!
//! An entry is *fresh* within its lifetime. It is then *stale*: the cache serves it at once while
//! one refresh runs in the background. After that, the cache serves it only if the upstream fails
//! (`stale-if-error`). At its bound it *expires* and is never served again.
//! [`Freshness`](crate::http::Freshness) holds these limits. The error's [`Disposition`] decides the
//! effect of a failed load.
//!
//! The cache is bounded in bytes. It builds complete HTTP responses with `Age`, `Cache-Control`,
//! `ETag` and `Cache-Status`. Module [`mod@http`] holds these headers and needs no cache.
//!
//! ```
//! use std::time::Duration;
//!
//! use cache::{
//!     Cache, CacheableError, CachedBody, Disposition, Loaded, Mode, Settings, http::Freshness,
//! };
//!
//! #[derive(Clone, Debug)]
//! enum Error {
//!     NotFound,
//!     Denied,
//!     Unreachable,
//! }
//!
//! impl CacheableError for Error {
//!     fn disposition(&self) -> Disposition {
//!         match self {
//!             Self::NotFound => Disposition::Negative { ttl: Duration::from_secs(10) },
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
//!     name: "names",
//!     hop: "example",
//!     max_bytes: 64 << 20,
//! });
//! let request = http::HeaderMap::new();
//!
//! // Nearly every request ends here, without a task and without waiting.
//! let found = match cache.lookup("/names/1", tokio::time::Instant::now()) {
//!     Some(found) => found,
//!     None => cache
//!         .get("/names/1", Mode::Normal, |context| async move {
//!             // While the cache is on, this code runs in its own task, which outlives the caller.
//!             // A quota limiter decides by `context.priority`.
//!             let body = CachedBody::json(&"the value").expect("a string is JSON");
//!             let minute = Duration::from_secs(60);
//!             Ok(Loaded::new(body, Freshness::new(minute, minute, 60 * minute).jittered(0.1)))
//!         })
//!         .await,
//! };
//!
//! let response = found.expect("the load succeeds").response(&request);
//! assert_eq!(response.headers()["cache-status"], "example; fwd=miss; stored");
//! # });
//! ```
//!
//! # Outcomes
//!
//! | entry | load | response | outcome |
//! |---|---|---|---|
//! | fresh | – | the entry | `hit` |
//! | stale | one, in the background; none in the pause after a failed load | the entry | `stale` |
//! | usable for `stale-if-error` | succeeds | the new entry | `miss`, or `coalesced` for requests that joined the load |
//! | usable for `stale-if-error`, or any with [`Mode::Revalidate`] | fails temporarily | the entry | `stale_error` (`hit` if still fresh) |
//! | usable for `stale-if-error`, or any with [`Mode::Revalidate`] | outlasts the deadline of [`Cache::get_until`] | the entry | `stale_error` (`hit` if still fresh) |
//! | usable for `stale-if-error`, in the pause after a failed load | – | the entry | `stale_error` |
//! | none, and the load offers a stale one ([`LoadContext::offer`]) | fails temporarily, or outlasts the deadline | the offered entry | `stale_error` |
//! | none | succeeds, or reports "not found" | the result | `miss` or `coalesced` |
//! | negative | – | the stored "not found" | `negative` |
//! | none | fails | the error | `error` |
//! | none | outlasts the deadline of [`Cache::get_until`] | an error of the caller | `error` |
//! | the cache is off | succeeds, or reports "not found" | the result | `bypass` |
//! | the cache is off | fails | the error | `error` |
//!
//! A request whose future is dropped before its result is not counted. The load continues, unless
//! the cache is off.
//!
//! # Tasks
//!
//! While the cache is on, a load runs in a task of its own, so it does not inherit the caller's
//! task-locals. A caller that needs them sets them in the future of its load.
//!
//! # Metrics
//!
//! The crate records `cache_requests_total`, `cache_entries`, `cache_bytes`,
//! `cache_evictions_total` and [`SERVED_AGE`] with the facade of crate `metrics`. Install a recorder
//! before you create a cache, because the cache resolves its handles once.

use std::sync::Arc;

pub mod http;
mod effect;
mod load;
mod body;
mod outcome;
mod served;
mod inner;
mod single_flight;
mod subscription;
mod store;
mod entry;
mod negative;
mod metrics;
pub mod hex;

use ::http::HeaderMap;
use tokio::time::Instant;

use crate::{
    entry::Entry,
    http::{Forward, Handling, forces_revalidation},
    inner::{CacheInner, LoadDecision, LoadGuard, Lookup, RefreshDecision},
    metrics::{Evictions, Metrics},
    single_flight::{InFlightLoad, LoadOutcome},
};

pub use crate::{
    body::CachedBody,
    effect::Effect,
    load::{CacheableError, Disposition, LoadContext, Loaded, Priority, Stored},
    metrics::{SERVED_AGE, SERVED_AGE_BUCKETS},
    outcome::Outcome,
    served::{Cause, Failed, Served},
    subscription::Subscription,
};

/// A handle of a cache. Clones share the entries.
#[derive(Clone)]
pub struct Cache<E> {
    hop: &'static str,
    metrics: Arc<Metrics>,
    /// Absent while the cache is off.
    inner: Option<Arc<CacheInner<E>>>,
}

/// The name and the memory bound of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The value of the metric label `cache`.
    pub name: &'static str,
    /// The name of the service in `Cache-Status`: a token (RFC 9110, 5.6.2).
    pub hop: &'static str,
    /// Upper bound in bytes of keys, bodies, headers and bookkeeping together. An eighth is
    /// reserved for negative entries, so that requests for made-up names cannot evict real entries.
    pub max_bytes: u64,
}

/// The demand of a request on the cache: any usable entry, or a new load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Any usable entry is served.
    Normal,
    /// A load is made even if the entry is fresh. If the load fails temporarily, the cache serves
    /// the entry.
    Revalidate,
}

impl Mode {
    /// Returns the mode that a request's `Cache-Control` demands. An untrusted client always gets
    /// [`Normal`](Self::Normal).
    pub fn of_request(request: &HeaderMap, trusted: bool) -> Self {
        if trusted && forces_revalidation(request) { Self::Revalidate } else { Self::Normal }
    }
}

/// The size of a cache.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The number of entries, including negative entries.
    pub entries: u64,
    /// Their size in bytes, as counted against [`Settings::max_bytes`].
    pub bytes: u64,
}

impl<E: CacheableError> Cache<E> {
    /// Creates an empty cache.
    pub fn new(settings: Settings) -> Self {
        let Settings { name, hop, max_bytes } = settings;
        let inner = CacheInner::new(hop, max_bytes, Evictions::new(name));
        Self { hop, metrics: Arc::new(Metrics::new(name)), inner: Some(Arc::new(inner)) }
    }

    /// Creates a cache that stores nothing and passes every request to the upstream. It ignores
    /// `max_bytes`.
    pub fn off(settings: Settings) -> Self {
        Evictions::new(settings.name);
        let metrics = Arc::new(Metrics::new(settings.name));
        Self { hop: settings.hop, metrics, inner: None }
    }

    /// Looks up a key without waiting and without a load. Returns a fresh entry, a negative entry,
    /// or a stale entry while its loads back off. Returns `None` if the caller must use
    /// [`get`](Self::get).
    ///
    /// The outcome is counted, so the caller must send the result.
    pub fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Failed<E>>> {
        let found = self.inner.as_ref()?.lookup_hit(key, now)?;
        self.count(&found);
        Some(found)
    }

    /// Returns the entry under a key, or loads it. Concurrent requests share one load.
    ///
    /// While the cache is on, the load runs in its own task, so it continues if this future is
    /// dropped. While the cache is off, each request makes its own load, and the load ends with this
    /// future.
    pub async fn get<F, Fut>(&self, key: &str, mode: Mode, load: F) -> Result<Served, Failed<E>>
    where
        F: FnOnce(LoadContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        self.get_with_limit(key, mode, None, load).await
    }

    /// Returns the entry under a key, or loads it, like [`get`](Self::get). Use it for loads that
    /// may take longer than a request.
    ///
    /// At the deadline, the load continues and the request gets the stored entry, if it is usable
    /// for `stale-if-error`, or else the error that `error` returns. A request for a usable entry
    /// does not wait for a load that has taken longer already than the request can wait.
    ///
    /// While the cache is off, no load outlives its request, so the deadline has no effect.
    pub async fn get_until<F, Fut>(
        &self,
        key: &str,
        mode: Mode,
        deadline: Instant,
        error: impl Fn() -> E + Sync,
        load: F,
    ) -> Result<Served, Failed<E>>
    where
        F: FnOnce(LoadContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        self.get_with_limit(key, mode, Some(WaitLimit { deadline, error: &error }), load).await
    }

    async fn get_with_limit<F, Fut>(
        &self,
        key: &str,
        mode: Mode,
        limit: Option<WaitLimit<'_, E>>,
        load: F,
    ) -> Result<Served, Failed<E>>
    where
        F: FnOnce(LoadContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let result = match &self.inner {
            Some(inner) => self.read_through(inner, key, mode, limit, load).await,
            None => self.bypass(key, load).await,
        };
        self.count(&result);
        result
    }

    /// Loads the entry under a key although no request waits for it, or joins a load in progress.
    /// The load has [`Priority::Refresh`], and no request is counted.
    ///
    /// # Errors
    ///
    /// The load failed. A usable entry stays.
    pub async fn refresh<F, Fut>(&self, key: &str, load: F) -> Result<Served, Failed<E>>
    where
        F: FnOnce(LoadContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let Some(inner) = &self.inner else { return self.bypass(key, load).await };
        let (in_flight, collapsed) = match inner.start_refresh(key) {
            RefreshDecision::StartLoad(guard) => {
                let in_flight = guard.in_flight();
                spawn_load(guard, load);
                (in_flight, false)
            }
            RefreshDecision::AwaitLoad(in_flight) => (in_flight, true),
        };
        let outcome = in_flight.wait().await;
        match &*outcome {
            // A fallback to the stored entry would hide the failure.
            LoadOutcome::Failed(error) => Err(self.failed(Cause::Error(error.clone()))),
            LoadOutcome::Panicked => Err(self.failed(Cause::Panicked)),
            outcome => self.result_of(inner, key, outcome, Forward::Request, collapsed),
        }
    }

    /// Returns whether the cache has an entry under a key that may still be served, if only after an
    /// error. Nothing is counted.
    pub fn holds(&self, key: &str) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.holds(key, Instant::now()))
    }

    fn failed(&self, cause: Cause<E>) -> Failed<E> {
        let handling =
            Handling::Forwarded { reason: Forward::Request, stored: false, collapsed: false };
        Failed { cause, expires_in: None, hop: self.hop, outcome: Outcome::Error, handling }
    }

    fn count(&self, result: &Result<Served, Failed<E>>) {
        match result {
            Ok(served) => self.metrics.served(served.outcome(), served.age()),
            Err(failed) => self.metrics.count(failed.outcome()),
        }
    }

    /// Applies a change of the upstream's data: `effect` returns its effect on the entry of a key.
    ///
    /// Requests that wait for a load in progress get its result, which may be the old one. Later
    /// requests wait for the end of that load and then start their own. The time that this takes
    /// grows with the number of entries, so changes that arrive together are best applied at once.
    pub fn apply(&self, effect: impl Fn(&str) -> Effect) {
        if let Some(inner) = &self.inner {
            inner.apply(effect);
        }
    }

    /// Subscribes to the events of a key: a load of it ended, or a [change](Self::apply) concerned
    /// it. Returns `None` if the cache is off.
    pub fn subscribe(&self, key: &str) -> Option<Subscription> {
        Some(self.inner.as_ref()?.subscribe(key))
    }

    /// Drops expired entries and updates the gauges. The owner of the cache must call it every few
    /// seconds.
    pub fn sync(&self) {
        if let Some(inner) = &self.inner {
            inner.run_pending_tasks();
        }
        let stats = self.stats();
        // Gauges are floats. Both numbers stay far below the largest integer that a float holds
        // exactly.
        self.metrics.entries.set(stats.entries as f64);
        self.metrics.bytes.set(stats.bytes as f64);
    }

    /// Returns the current size of the cache.
    pub fn stats(&self) -> Stats {
        let inner = self.inner.as_ref();
        Stats {
            entries: inner.map_or(0, |inner| inner.entry_count()),
            bytes: inner.map_or(0, |inner| inner.bytes()),
        }
    }

    async fn read_through<F, Fut>(
        &self,
        inner: &Arc<CacheInner<E>>,
        key: &str,
        mode: Mode,
        limit: Option<WaitLimit<'_, E>>,
        load: F,
    ) -> Result<Served, Failed<E>>
    where
        F: FnOnce(LoadContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        // The first lookup takes no lock. Most requests end with it.
        match inner.lookup(key, mode, Instant::now()) {
            Lookup::Hit(served) => return Ok(served),
            Lookup::NegativeHit(failed) => return Err(failed),
            Lookup::Refresh(_) | Lookup::Load { .. } => {}
        }
        let mut may_retry = true;
        loop {
            match inner.lookup_or_start_load(key, mode) {
                LoadDecision::Served(result) => return result,
                LoadDecision::Refresh(served, guard) => {
                    spawn_load(guard, load);
                    return Ok(served);
                }
                LoadDecision::StartLoad(guard, reason) => {
                    let in_flight = guard.in_flight();
                    spawn_load(guard, load);
                    let outcome = match wait(in_flight, limit.as_ref()).await {
                        Ok(outcome) => outcome,
                        Err(error) => return self.at_deadline(inner, key, reason, false, error),
                    };
                    return self.result_of(inner, key, &outcome, reason, false);
                }
                LoadDecision::AwaitEnd(in_flight, reason) => {
                    let load = (&in_flight, reason);
                    if let Some(served) =
                        self.instead_of_waiting(inner, key, mode, limit.as_ref(), load)
                    {
                        return Ok(served);
                    }
                    if let Err(error) = wait(in_flight, limit.as_ref()).await {
                        return self.at_deadline(inner, key, reason, true, error);
                    }
                }
                LoadDecision::AwaitLoad(in_flight, priority, reason) => {
                    let load = (&in_flight, reason);
                    if let Some(served) =
                        self.instead_of_waiting(inner, key, mode, limit.as_ref(), load)
                    {
                        return Ok(served);
                    }
                    let lower = in_flight.priority < priority;
                    let outcome = match wait(in_flight, limit.as_ref()).await {
                        Ok(outcome) => outcome,
                        Err(error) => return self.at_deadline(inner, key, reason, true, error),
                    };
                    let result = self.result_of(inner, key, &outcome, reason, true);
                    let failed =
                        matches!(&*outcome, LoadOutcome::Failed(_) | LoadOutcome::Panicked);
                    // The load that this request joined had a lower priority, so the quota limiter
                    // may have rejected it. Retry once with the request's own priority.
                    if result.is_err() && failed && lower && may_retry {
                        may_retry = false;
                        continue;
                    }
                    return result;
                }
            }
        }
    }

    /// Returns the stored entry for a request that would probably wait for a load in vain. A request
    /// that demands a revalidation waits nevertheless.
    fn instead_of_waiting(
        &self,
        inner: &CacheInner<E>,
        key: &str,
        mode: Mode,
        limit: Option<&WaitLimit<'_, E>>,
        (in_flight, reason): (&InFlightLoad<E>, Forward),
    ) -> Option<Served> {
        let in_vain = mode == Mode::Normal && in_flight.outlasts(limit?.deadline);
        if in_vain { inner.fallback(key, reason) } else { None }
    }

    /// Returns the result of a request whose deadline has ended before the load.
    fn at_deadline(
        &self,
        inner: &CacheInner<E>,
        key: &str,
        reason: Forward,
        collapsed: bool,
        error: E,
    ) -> Result<Served, Failed<E>> {
        if let Some(served) = inner.fallback(key, reason) {
            return Ok(served);
        }
        let cause = Cause::Error(error);
        let handling = Handling::Forwarded { reason, stored: false, collapsed };
        Err(Failed { cause, expires_in: None, hop: self.hop, outcome: Outcome::Error, handling })
    }

    fn result_of(
        &self,
        inner: &CacheInner<E>,
        key: &str,
        load_outcome: &LoadOutcome<E>,
        reason: Forward,
        collapsed: bool,
    ) -> Result<Served, Failed<E>> {
        let now = Instant::now();
        let served_outcome = if collapsed { Outcome::Coalesced } else { Outcome::Miss };
        let forwarded = |stored| Handling::Forwarded { reason, stored, collapsed };
        let (cause, outcome, expires_in, stored) = match load_outcome {
            LoadOutcome::Loaded { entry, stored } => {
                let entry = Arc::clone(entry);
                return Ok(Served::new(entry, self.hop, served_outcome, forwarded(*stored), now));
            }
            LoadOutcome::Negative { negative, stored } => {
                let cause = Cause::Error(negative.error.clone());
                (cause, served_outcome, negative.remaining(now), *stored)
            }
            LoadOutcome::Refused(error) => {
                (Cause::Error(error.clone()), Outcome::Error, None, false)
            }
            LoadOutcome::Failed(_) | LoadOutcome::Panicked => {
                if let Some(served) = inner.fallback(key, reason) {
                    return Ok(served);
                }
                let cause = match load_outcome {
                    LoadOutcome::Failed(error) => Cause::Error(error.clone()),
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
        F: FnOnce(LoadContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
    {
        let context = LoadContext { stored: None, priority: Priority::Miss, offer: None };
        let result = load(context).await;
        let now = Instant::now();
        let reason = Forward::Bypass;
        let handling = Handling::Forwarded { reason, stored: false, collapsed: false };
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

/// The deadline of a request's wait for a load, and the error of the request at the deadline.
struct WaitLimit<'a, E> {
    deadline: Instant,
    error: &'a (dyn Fn() -> E + Sync),
}

/// Waits for the end of a load. Returns the request's error at its deadline.
async fn wait<E: CacheableError>(
    in_flight: InFlightLoad<E>,
    limit: Option<&WaitLimit<'_, E>>,
) -> Result<Arc<LoadOutcome<E>>, E> {
    match limit {
        None => Ok(in_flight.wait().await),
        Some(WaitLimit { deadline, error }) => {
            in_flight.wait_until(*deadline).await.ok_or_else(error)
        }
    }
}

/// Spawns the load. Dropping the guard reports a failure, so waiting requests wake even if the
/// task panics.
fn spawn_load<E, F, Fut>(guard: LoadGuard<E>, load: F)
where
    E: CacheableError,
    F: FnOnce(LoadContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Loaded, E>> + Send + 'static,
{
    tokio::spawn(async move {
        let result = load(guard.context()).await;
        guard.complete(result);
    });
}
