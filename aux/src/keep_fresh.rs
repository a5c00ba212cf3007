//! The tasks that keep the entries of the warm-up fresh.
//!
//! Their loads have the priority of refreshes, so they leave part of the quota to requests. The
//! service is ready when each entry has its first result, or after `WARM_UP_TIMEOUT`: a service that
//! waited longer for AWS could not serve other names either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    store::{CachedStore, StoreQuery},
    warm_up::{Item, WarmUp},
};

/// The part of its lifetime after which a kept entry is refreshed, so that no request finds it
/// stale.
const REFRESH_AT: f64 = 0.9;

/// The pause after a failed load. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The upper bound of the pause after a failed load.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Starts to load the items and to keep them fresh. Sets `started` when each item has its first
/// result, at the latest after `limit`. The tasks run as long as the process.
pub(crate) fn start(
    warm_up: &WarmUp,
    store: &CachedStore,
    limit: Duration,
    started: Arc<AtomicBool>,
) {
    let started_at = Instant::now();
    let items = warm_up.items().len();
    // Each task holds a sender until its first result, so the channel ends after the last of them.
    let (sender, mut pending) = mpsc::channel::<()>(1);
    for item in warm_up.items() {
        tokio::spawn(keep_fresh(store.clone(), query_of(item), sender.clone()));
    }
    drop(sender);
    tokio::spawn(async move {
        let complete = timeout_at(started_at + limit, pending.recv()).await.is_ok();
        let elapsed_ms = started_at.elapsed().as_millis() as u64;
        if complete {
            tracing::info!(items, elapsed_ms, "warm-up complete");
        } else {
            tracing::warn!(items, elapsed_ms, "warm-up timed out; its loads continue");
        }
        started.store(true, Relaxed);
    });
}

fn query_of(item: &Item) -> StoreQuery {
    match item {
        Item::Name(name) => StoreQuery::Parameter(name.clone()),
        Item::Path(path) => StoreQuery::Values(path.clone()),
    }
}

/// Loads an entry again and again, each time before it becomes stale. Drops `pending` at the first
/// result: an entry, or an error that will not pass.
async fn keep_fresh(store: CachedStore, query: StoreQuery, pending: mpsc::Sender<()>) {
    let mut pending = Some(pending);
    let mut failures = 0;
    loop {
        let pause = match store.refresh(query.clone()).await {
            Ok(fresh_for) => {
                failures = 0;
                drop(pending.take());
                fresh_for.mul_f64(REFRESH_AT).max(FIRST_PAUSE)
            }
            Err(problem) => {
                if !problem.retryable && pending.take().is_some() {
                    tracing::warn!(code = %problem.code, "an item of the warm-up cannot be loaded");
                }
                let backoff = FIRST_PAUSE.saturating_mul(1 << failures.min(8)).min(MAX_PAUSE);
                failures += 1;
                let demanded = problem.retry_after.unwrap_or_default();
                // Jitter spreads items that failed together.
                backoff.mul_f64(0.5 + 0.5 * fastrand::f64()).max(demanded)
            }
        };
        sleep(pause).await;
    }
}
