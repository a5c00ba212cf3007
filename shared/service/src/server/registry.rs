//! The open connections of a listener: how many there may be, and how long each may take.
//!
//! At capacity, a new connection evicts the least useful ones, so half-open connections, however
//! many, cannot lock out probes or clients.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{task::AbortHandle, time::Instant};

use super::connection::Activity;
use crate::observe::metrics::CONNECTIONS_OPEN;

/// The interval at which [`Registry::sweep`] must be called. The limits of phases are counted in it.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// At capacity, this share of the connections is evicted at once, so that not every new connection
/// has to search for candidates.
const EVICTED_SHARE: usize = 32;

/// Cloning is shallow.
#[derive(Clone)]
pub(super) struct Registry(Arc<Inner>);

struct Inner {
    capacity: usize,
    clock: Arc<AtomicU32>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    newest: u64,
    by_id: HashMap<u64, Connection>,
    /// Evictions since the last sweep.
    evicted: usize,
}

struct Connection {
    activity: Arc<Activity>,
    /// Set once the task is spawned.
    task: Option<AbortHandle>,
}

impl Registry {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Arc::new(Inner { capacity, clock: Arc::default(), open: Mutex::default() }))
    }

    /// The activity of a connection that is about to be [spawned](Self::spawn).
    pub(super) fn activity(
        &self,
        close_at: Option<Instant>,
        draining: &Arc<AtomicBool>,
    ) -> Arc<Activity> {
        Activity::new(Arc::clone(&self.0.clock), close_at, Arc::clone(draining))
    }

    /// Runs a connection in a task of its own. At capacity it evicts others, and if all others wait
    /// for responses, the connection is dropped.
    ///
    /// The lock is never held while a task is spawned or aborted: a runtime that shuts down drops
    /// the connection at once, in this thread, and its end takes the lock.
    pub(super) fn spawn(
        &self,
        activity: Arc<Activity>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let (id, evicted) = self.0.open.lock().admit(activity, self.0.capacity);
        for task in evicted {
            task.abort();
        }
        let Some(id) = id else { return };
        let deregister = DeregisterOnDrop { registry: Arc::clone(&self.0), id };
        // Not in an async block, which would have room for the connection twice.
        let task = tokio::spawn(connection.map(move |()| drop(deregister)));
        // The task may have ended by now, and its entry with it.
        if let Some(connection) = self.0.open.lock().by_id.get_mut(&id) {
            connection.task = Some(task.abort_handle());
        }
    }

    /// Whether a connection is open on which no whole request has arrived yet.
    pub(super) fn awaits_first_request(&self) -> bool {
        self.0.open.lock().by_id.values().any(|connection| connection.activity.is_unused())
    }

    /// Brings the gauge of open connections up to date. To be called before each scrape.
    pub(super) fn gauge(self) -> impl Fn() + Send + Sync + 'static {
        let gauge = metrics::gauge!(CONNECTIONS_OPEN);
        move || gauge.set(self.0.open.lock().by_id.len() as f64)
    }

    /// Closes the connections that have exceeded the time of their phase.
    pub(super) fn sweep(&self, draining: bool) {
        let now = self.0.clock.fetch_add(1, Relaxed) + 1;
        let (overdue, evicted) = {
            let mut open = self.0.open.lock();
            let overdue = open.by_id.values().filter(|it| it.activity.is_overdue(now, draining));
            let overdue: Vec<_> = overdue.filter_map(|it| it.task.clone()).collect();
            (overdue, std::mem::take(&mut open.evicted))
        };
        for task in overdue {
            task.abort();
        }
        if evicted > 0 {
            let capacity = self.0.capacity;
            tracing::warn!(
                evicted,
                capacity,
                "too many connections, so idle or new ones were closed"
            );
        }
    }
}

impl Open {
    /// Enters a connection and returns its id, `None` if there is no room for it, and the tasks of
    /// the connections that it evicts.
    fn admit(
        &mut self,
        activity: Arc<Activity>,
        capacity: usize,
    ) -> (Option<u64>, Vec<AbortHandle>) {
        let candidates = if self.by_id.len() < capacity {
            Vec::new()
        } else {
            self.eviction_candidates(capacity.div_ceil(EVICTED_SHARE))
        };
        let evicted = candidates.iter().filter_map(|id| self.by_id.remove(id)?.task).collect();
        self.evicted += candidates.len();
        if self.by_id.len() >= capacity {
            self.evicted += 1;
            return (None, evicted);
        }
        self.newest += 1;
        self.by_id.insert(self.newest, Connection { activity, task: None });
        (Some(self.newest), evicted)
    }

    fn eviction_candidates(&self, count: usize) -> Vec<u64> {
        let rank = |(id, connection): (&u64, &Connection)| {
            connection.task.as_ref()?;
            Some((connection.activity.eviction_rank()?, *id))
        };
        let mut ranks: Vec<_> = self.by_id.iter().filter_map(rank).collect();
        if count < ranks.len() {
            ranks.select_nth_unstable(count);
            ranks.truncate(count);
        }
        ranks.into_iter().map(|(_, id)| id).collect()
    }
}

/// Removes a connection from the registry, however it ends.
struct DeregisterOnDrop {
    registry: Arc<Inner>,
    id: u64,
}

impl Drop for DeregisterOnDrop {
    fn drop(&mut self) {
        let removed = self.registry.open.lock().by_id.remove(&self.id);
        // Dropped without the lock.
        drop(removed);
    }
}

#[cfg(test)]
mod tests;
