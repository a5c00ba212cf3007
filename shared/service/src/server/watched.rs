//! The keys that requests wait for. Each has one task that keeps its entry fresh and passes on each
//! new response, however many requests wait.

use std::{collections::HashMap, sync::Arc, time::Duration};

use cache::{Mode, Served, Subscription};
use parking_lot::Mutex;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    cached_routes::{CachedRoutes, Query},
    request::Deadline,
};
use crate::contract::{problem::Problem, routes::RouteId};

/// The pause before an entry that is not fresh is looked at again. The cache decides how often it is
/// loaded.
const POLL: Duration = Duration::from_secs(1);

/// The shortest pause. A fresh entry may become stale in this moment.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// The upper bound of the pause after a failure. It doubles with each further failure.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The newest response for a key, or its failure.
pub(crate) type Latest = Arc<Result<Served, Problem>>;

/// The keys that requests wait for. Cloning is shallow.
#[derive(Clone)]
pub(crate) struct Watched(Arc<Inner>);

struct Inner {
    cached: Arc<dyn CachedRoutes>,
    request_timeout: Duration,
    by_key: Mutex<HashMap<String, watch::Sender<Latest>>>,
}

impl Watched {
    pub(crate) fn new(cached: Arc<dyn CachedRoutes>, request_timeout: Duration) -> Self {
        Self(Arc::new(Inner { cached, request_timeout, by_key: Mutex::default() }))
    }

    /// Follows the responses for a key, from `current` on. Returns `None` if nothing can report a
    /// change of the key, because the cache is off.
    pub(crate) fn follow(
        &self,
        route: RouteId,
        key: &str,
        current: &Served,
    ) -> Option<watch::Receiver<Latest>> {
        if let Some(sender) = self.0.by_key.lock().get(key) {
            return Some(join(sender, current));
        }
        let events = self.0.cached.subscribe(key)?;
        let receiver = {
            let mut by_key = self.0.by_key.lock();
            // Another request may have been first.
            if let Some(sender) = by_key.get(key) {
                return Some(join(sender, current));
            }
            let (sender, receiver) = watch::channel(Arc::new(Ok(current.clone())));
            by_key.insert(key.to_owned(), sender);
            receiver
        };
        tokio::spawn(self.clone().keep_fresh(route, key.to_owned(), events));
        Some(receiver)
    }

    /// Keeps the entry of a key fresh, until no request waits for it any more.
    async fn keep_fresh(self, route: RouteId, key: String, mut events: Subscription) {
        let (mut failures, mut stale) = (0, 0);
        loop {
            let latest = self.load(route, &key).await;
            failures = if latest.is_ok() { 0 } else { failures + 1 };
            stale = if is_fresh(&latest) { 0 } else { stale + 1 };
            let pause = pause_after(&latest, failures);
            if !self.publish(&key, latest) {
                return;
            }
            // The first load of a stale entry is its refresh. The event of a further load may be that
            // this task has just made another one, to no avail: only time helps, or a change.
            let awaits_load = failures == 0 && stale <= 1;
            let event = async {
                match awaits_load {
                    true => events.event().await,
                    false => events.change().await,
                }
            };
            select! {
                () = event => {}
                () = sleep(pause) => {}
                () = self.abandoned(&key) => if self.forget(&key) { return },
            }
        }
    }

    async fn load(&self, route: RouteId, key: &str) -> Latest {
        let now = Instant::now();
        if let Some(found) = self.0.cached.lookup(key, now) {
            return Arc::new(found);
        }
        let deadline = Deadline(now + self.0.request_timeout);
        let query = Query { route, key: key.to_owned(), mode: Mode::Normal, deadline };
        Arc::new(self.0.cached.respond(query).await)
    }

    /// Passes on a response, and wakes the waiting requests if it differs from the previous one.
    /// Returns `false`, and forgets the key, if no request waits for it.
    fn publish(&self, key: &str, latest: Latest) -> bool {
        if self.forget(key) {
            return false;
        }
        let by_key = self.0.by_key.lock();
        let Some(sender) = by_key.get(key) else { return false };
        sender.send_if_modified(|previous| {
            let differs = tag(previous) != tag(&latest) || latest.is_err();
            *previous = latest;
            differs
        });
        true
    }

    /// Forgets a key if no request waits for it. Returns whether it did.
    fn forget(&self, key: &str) -> bool {
        let mut by_key = self.0.by_key.lock();
        let is_abandoned = by_key.get(key).is_some_and(watch::Sender::is_closed);
        if is_abandoned {
            by_key.remove(key);
        }
        is_abandoned
    }

    /// Waits until no request waits for a key.
    async fn abandoned(&self, key: &str) {
        let sender = self.0.by_key.lock().get(key).cloned();
        if let Some(sender) = sender {
            sender.closed().await;
        }
    }
}

/// Follows a key that has a task already. The response of the request is newer than a failure.
fn join(sender: &watch::Sender<Latest>, current: &Served) -> watch::Receiver<Latest> {
    sender.send_if_modified(|latest| {
        let failed = latest.is_err();
        if failed {
            *latest = Arc::new(Ok(current.clone()));
        }
        failed
    });
    sender.subscribe()
}

fn tag(latest: &Latest) -> Option<cache::http::EntityTag> {
    (**latest).as_ref().ok().and_then(|served| served.body().etag())
}

fn is_fresh(latest: &Latest) -> bool {
    (**latest).as_ref().is_ok_and(|served| !served.fresh_for().is_zero())
}

/// Returns the time after which an entry must be looked at again if nothing happens to it.
fn pause_after(latest: &Latest, failures: u32) -> Duration {
    match &**latest {
        Ok(served) if is_fresh(latest) => served.fresh_for().max(MIN_PAUSE),
        Ok(_) => POLL,
        Err(problem) => {
            let backoff = POLL.saturating_mul(1 << failures.min(8)).min(MAX_PAUSE);
            let demanded = problem.retry_after.unwrap_or_default().min(MAX_PAUSE);
            // Jitter spreads keys that failed together.
            backoff.max(demanded).mul_f64(0.5 + 0.5 * fastrand::f64())
        }
    }
}
