//! The credentials of all calls to AWS: loaded beside the calls, once for all of them, and replaced
//! before they expire.
//!
//! The SDK would load them inside the attempt of a call. A provider slower than that attempt would
//! then never deliver, because each attempt starts another load. So a task of this module loads
//! them, with a timeout of its own, and calls wait for it before their own timeouts begin.
//!
//! Imports go one way: `chain` → `load_error` → `exchange`.

use std::{
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

mod chain;
mod exchange;
mod load_error;

use self::{
    chain::{CredentialSource, DefaultChain},
    load_error::LoadError,
};
use super::{metrics, panics::catch_panic};
use crate::error::Error;

/// The time before the expiry at which credentials are replaced. A shorter lifetime is replaced
/// after half of it.
const LEAD: Duration = Duration::from_secs(15 * 60);

/// The minimum pause between two loads.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The pause before the second load after a failure. It doubles with each further failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// The upper bound of the pause after failures that pass by themselves.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// The upper bound of the pause after failures that last until the configuration changes.
const MAX_BACKOFF_DEFINITIVE: Duration = Duration::from_secs(60);

/// The minimum time between a load and another one that a rejection by AWS causes. Credentials that
/// are wrong for good would otherwise cost a load a second.
const REJECTION_PAUSE: Duration = Duration::from_secs(10);

/// The part of a pause that is random, so that replicas do not load at the same time.
const JITTER: f64 = 0.1;

/// The current credentials, and the task that loads them. Clones share both.
#[derive(Clone)]
pub(super) struct CredentialCache(Arc<Shared>);

struct Shared {
    state: watch::Sender<State>,
    /// Wakes the task when a call needs a load.
    demand: Notify,
    /// Whether AWS rejected the credentials after they were loaded.
    rejected: AtomicBool,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    /// The reason for the failure of the last load; absent if it succeeded.
    failure: Option<LoadError>,
    /// The end of the last load.
    loaded_at: Option<Instant>,
}

/// Loaded credentials.
#[derive(Debug)]
struct Current {
    credentials: Credentials,
    /// Their expiry on the clock of this process; absent if they never expire.
    expires_at: Option<Instant>,
}

impl Current {
    fn new(credentials: Credentials) -> Self {
        let remaining = |expiry: SystemTime| {
            let remaining = expiry.duration_since(SystemTime::now()).unwrap_or_default();
            Instant::now().checked_add(remaining)
        };
        let expires_at = credentials.expiry().and_then(remaining);
        Self { credentials, expires_at }
    }

    fn is_usable(&self) -> bool {
        self.expires_at.is_none_or(|expiry| Instant::now() < expiry)
    }

    /// Returns the pause before the load of the next credentials, or `None` if these never expire.
    fn refresh_after(&self) -> Option<Duration> {
        let remaining = self.expires_at?.saturating_duration_since(Instant::now());
        let pause = remaining.saturating_sub(LEAD).max(remaining / 2);
        Some(jittered(pause).max(MIN_PAUSE))
    }
}

impl State {
    fn usable(&self) -> Option<&Credentials> {
        self.current.as_ref().filter(|current| current.is_usable()).map(|it| &it.credentials)
    }
}

impl CredentialCache {
    /// Starts the first load, so that it does not delay the first request.
    pub(super) fn start(sdk: &SdkConfig, timeout: Duration) -> Self {
        Self::of(DefaultChain::new(sdk), timeout)
    }

    fn of(source: impl CredentialSource, timeout: Duration) -> Self {
        let cache = Self(Arc::new(Shared {
            state: watch::Sender::default(),
            demand: Notify::new(),
            rejected: AtomicBool::new(false),
            timeout,
        }));
        tokio::spawn(cache.clone().keep_loaded(source));
        cache
    }

    /// Waits until a call can be signed. Returns the error of the last load if it failed, without a
    /// wait for the next one, and an error after the timeout.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        if self.0.state.borrow().usable().is_some() {
            return Ok(());
        }
        let mut states = self.0.state.subscribe();
        let wait = async {
            loop {
                {
                    let state = states.borrow_and_update();
                    if state.usable().is_some() {
                        return Ok(());
                    }
                    // The task is loading, or it waits for the end of a pause.
                    self.0.demand.notify_one();
                    if let Some(failure) = &state.failure {
                        return Err(failure.clone());
                    }
                }
                if states.changed().await.is_err() {
                    return Err(LoadError::passing("their loading has ended"));
                }
            }
        };
        let timed_out = || Err(LoadError::timed_out(self.0.timeout));
        let result = timeout(self.0.timeout, wait).await.unwrap_or_else(|_| timed_out());
        result.map_err(|failure| Error::AwsCredentials {
            retryable: failure.passing,
            cause: Arc::new(failure),
        })
    }

    /// Records that AWS rejected the credentials. They are loaded again, because they may have been
    /// rotated.
    pub(super) fn rejected(&self) {
        self.0.rejected.store(true, Relaxed);
        let loaded_at = self.0.state.borrow().loaded_at;
        if loaded_at.is_some_and(|at| at.elapsed() >= REJECTION_PAUSE) {
            self.0.demand.notify_one();
        }
    }

    /// Records that AWS accepted the credentials.
    pub(super) fn accepted(&self) {
        if self.0.rejected.load(Relaxed) {
            self.0.rejected.store(false, Relaxed);
        }
    }

    /// Whether the last load failed, AWS rejected the credentials, or they have expired.
    pub(super) fn is_degraded(&self) -> bool {
        let state = self.0.state.borrow();
        let expired = state.current.as_ref().is_some_and(|current| !current.is_usable());
        state.failure.is_some() || expired || self.0.rejected.load(Relaxed)
    }

    /// Returns the expiry of the credentials as a timestamp (RFC 3339). Absent if there are none, or
    /// if they never expire.
    pub(super) fn expiry(&self) -> Option<String> {
        self.0.state.borrow().current.as_ref()?.credentials.expiry().and_then(timestamp)
    }

    /// Loads credentials, replaces them before they expire, and repeats failed loads.
    async fn keep_loaded(self, source: impl CredentialSource) {
        let mut failures = 0;
        loop {
            let loaded = timeout(self.0.timeout, catch_panic(source.load())).await;
            let loaded = match loaded {
                Ok(Ok(result)) => result.map(Current::new),
                Ok(Err(panicked)) => Err(LoadError::passing(panicked.to_string())),
                Err(_) => Err(LoadError::timed_out(self.0.timeout)),
            };
            let pause = match &loaded {
                Ok(current) => {
                    failures = 0;
                    current.refresh_after()
                }
                Err(failure) => {
                    failures += 1;
                    Some(backoff(failures, failure.passing))
                }
            };
            self.publish(loaded, pause);
            let earliest = Instant::now() + MIN_PAUSE;
            tokio::select! {
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                () = self.demanded(earliest) => {}
            }
        }
    }

    /// Waits until a call needs a load, and at least until `earliest`.
    async fn demanded(&self, earliest: Instant) {
        loop {
            self.0.demand.notified().await;
            // A demand of the time before the last load may have been met by it.
            let usable = self.0.state.borrow().usable().is_some();
            if !usable || self.is_degraded() {
                return sleep_until(earliest).await;
            }
        }
    }

    fn publish(&self, loaded: Result<Current, LoadError>, pause: Option<Duration>) {
        let before = self.0.state.borrow().failure.clone();
        match &loaded {
            Ok(current) => {
                let expiry = current.credentials.expiry();
                metrics::record_credentials_expiry(expiry);
                let expiry = expiry.and_then(timestamp);
                tracing::info!(expiry, "AWS credentials loaded");
            }
            Err(failure) if before.as_ref() == Some(failure) => {
                tracing::debug!(reason = %failure, "AWS credentials still cannot be loaded");
            }
            Err(failure) => {
                tracing::warn!(
                    reason = %failure,
                    next_load_in = pause.map(tracing::field::debug),
                    "AWS credentials cannot be loaded"
                );
            }
        }
        self.0.state.send_modify(|state| {
            state.loaded_at = Some(Instant::now());
            match loaded {
                Ok(current) => {
                    let replaced = state.current.as_ref().map(|it| &it.credentials);
                    if replaced != Some(&current.credentials) {
                        self.0.rejected.store(false, Relaxed);
                    }
                    state.current = Some(current);
                    state.failure = None;
                }
                // Credentials that have not expired remain in use.
                Err(failure) => state.failure = Some(failure),
            }
        });
    }
}

/// Formats a time as in RFC 3339. Returns `None` after the year 9999, which the format cannot hold.
fn timestamp(time: SystemTime) -> Option<String> {
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_seconds(time)).ok()?;
    Some(text)
}

/// Returns the pause after this many failures in a row.
fn backoff(failures: u32, passing: bool) -> Duration {
    let longest = if passing { MAX_BACKOFF } else { MAX_BACKOFF_DEFINITIVE };
    let doubled = FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16));
    jittered(doubled.min(longest))
}

/// Shortens a pause at random.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - JITTER * fastrand::f64())
}

/// The SDK gets the current credentials at once. It needs no cache of its own.
impl ProvideCredentials for CredentialCache {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        // Credentials may expire between `ready` and the signature. AWS then rejects the call.
        let current = self.0.state.borrow().current.as_ref().map(|it| it.credentials.clone());
        future::ProvideCredentials::ready(
            current.ok_or_else(CredentialsError::not_loaded_no_source),
        )
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CredentialCache")
    }
}

#[cfg(test)]
pub(super) use self::tests::Script;

#[cfg(test)]
mod tests;
