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
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    backoff::backoff,
    batch::{GroupMember, MAX_BATCH},
    parameter::{PathQuery, SecretForm},
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
///
/// Names are loaded in groups that share calls, one group after another, so that a long list of
/// them neither falls apart into single calls nor competes with requests for the quota.
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
    let turn = Arc::new(Semaphore::new(1));
    for queries in groups(warm_up) {
        let group = Group { store: store.clone(), queries, turn: Arc::clone(&turn) };
        tokio::spawn(group.keep_fresh(sender.clone()));
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

/// The names in groups of the size of a batch, which costs one call, and each path on its own.
fn groups(warm_up: &WarmUp) -> Vec<Vec<StoreQuery>> {
    let (mut names, mut groups) = (Vec::new(), Vec::new());
    for item in warm_up.items() {
        match item {
            Item::Name(name) => names.push(StoreQuery::Parameter(name.clone(), SecretForm::Value)),
            Item::Path(path) => {
                groups.push(vec![StoreQuery::Values(PathQuery::all_below(path.clone()))])
            }
        }
    }
    groups.extend(names.chunks(MAX_BATCH).map(<[StoreQuery]>::to_vec));
    groups
}

/// Entries that are loaded together.
struct Group {
    store: CachedStore,
    queries: Vec<StoreQuery>,
    /// The turn to load. One group has it at a time.
    turn: Arc<Semaphore>,
}

/// The result of a load of a group.
struct Round {
    /// The queries that failed for a passing reason.
    failed: Vec<StoreQuery>,
    /// The longest pause that a failure demands.
    pause: Duration,
    /// Whether the quota limiter alone refused the loads.
    refused: bool,
    /// The shortest time for which a loaded entry is fresh.
    fresh_for: Option<Duration>,
}

impl Group {
    /// Loads the entries again and again, each time before they become stale. Drops `pending` when
    /// each has its first result: an entry, or an error that will not pass.
    async fn keep_fresh(self, pending: mpsc::Sender<()>) {
        let mut pending = Some(pending);
        let (mut due, mut failures) = (self.queries.clone(), 0);
        loop {
            let round = self.load(due).await;
            let pause = if round.failed.is_empty() {
                drop(pending.take());
                failures = 0;
                due = self.queries.clone();
                let fresh_for = round.fresh_for.filter(|fresh_for| !fresh_for.is_zero());
                fresh_for.unwrap_or(MAX_PAUSE).mul_f64(REFRESH_AT).max(FIRST_PAUSE)
            } else {
                due = round.failed;
                failures += 1;
                backoff(failures, FIRST_PAUSE, MAX_PAUSE).max(round.pause)
            };
            sleep(pause).await;
        }
    }

    /// Loads these entries in one turn. If the quota limiter refuses some, the turn lasts until it
    /// has room for them, so that the group stays together.
    async fn load(&self, mut due: Vec<StoreQuery>) -> Round {
        let _turn = self.turn.acquire().await.expect("nothing closes the semaphore");
        let mut fresh_for: Option<Duration> = None;
        loop {
            let mut round = self.load_once(due).await;
            fresh_for = [fresh_for, round.fresh_for].into_iter().flatten().min();
            round.fresh_for = fresh_for;
            if round.failed.is_empty() || !round.refused {
                return round;
            }
            sleep(round.pause).await;
            due = round.failed;
        }
    }

    async fn load_once(&self, due: Vec<StoreQuery>) -> Round {
        let mut loads = JoinSet::new();
        let members = GroupMember::group(due.len());
        for (query, member) in due.into_iter().zip(members) {
            let store = self.store.clone();
            loads.spawn(async move { (store.refresh(query.clone(), member).await, query) });
        }
        let mut round =
            Round { failed: Vec::new(), pause: Duration::ZERO, refused: true, fresh_for: None };
        while let Some(result) = loads.join_next().await {
            // A load that panicked has been logged, and it is not repeated in this round.
            let Ok((result, query)) = result else { continue };
            match result {
                Ok(fresh) => {
                    round.fresh_for = Some(round.fresh_for.map_or(fresh, |least| least.min(fresh)));
                }
                Err(problem) if problem.retryable => {
                    round.refused &= problem.shielded;
                    round.pause = round.pause.max(problem.retry_after.unwrap_or_default());
                    round.failed.push(query);
                }
                Err(problem) => {
                    tracing::warn!(code = %problem.code, "an item of the warm-up cannot be loaded");
                }
            }
        }
        round
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_loaded_in_groups_and_paths_alone() {
        let names: Vec<_> = (0..25).map(|number| format!("/app/{number}")).collect();
        let warm_up: WarmUp = format!("/path/,{}", names.join(",")).parse().expect("valid");
        let sizes: Vec<_> = groups(&warm_up).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 10, 10, 5]);
    }
}
