//! The loads in progress: at most one per key, shared by all requests for the key.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{entry::Entry, load::Priority, negative::Negative};

/// The outcome of a load, shared by all requests that wait for it.
pub(crate) enum LoadOutcome<E> {
    Loaded {
        entry: Arc<Entry>,
        stored: bool,
    },
    Negative {
        negative: Arc<Negative<E>>,
        stored: bool,
    },
    /// The error is valid for this key: [`Disposition::Definitive`](crate::Disposition::Definitive).
    Refused(E),
    /// The error may pass: [`Disposition::Transient`](crate::Disposition::Transient).
    Failed(E),
    Panicked,
}

/// The identity of a load. Unlike [`InFlightLoad`], it does not keep the outcome in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoadId(u64);

/// A load in progress that requests can wait for.
#[derive(Clone)]
pub(crate) struct InFlightLoad<E> {
    pub(crate) id: LoadId,
    pub(crate) priority: Priority,
    outcome: watch::Receiver<Option<Arc<LoadOutcome<E>>>>,
    started_at: Instant,
}

/// The sender of a load's outcome.
pub(crate) type OutcomeSender<E> = watch::Sender<Option<Arc<LoadOutcome<E>>>>;

impl<E> InFlightLoad<E> {
    /// Waits for the end of the load.
    pub(crate) async fn wait(mut self) -> Arc<LoadOutcome<E>> {
        // `LoadGuard` sends an outcome before it drops the sender: its `Drop` sends `Panicked`.
        let outcome = self.outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Arc::new(LoadOutcome::Panicked))
    }

    /// Waits for the end of the load until a deadline. Returns `None` at the deadline.
    pub(crate) async fn wait_until(self, deadline: Instant) -> Option<Arc<LoadOutcome<E>>> {
        timeout_at(deadline, self.wait()).await.ok()
    }

    /// Returns whether the load has taken longer already than a request with this deadline can
    /// wait, so that the request would probably wait in vain.
    pub(crate) fn outlasts(&self, deadline: Instant) -> bool {
        let now = Instant::now();
        now.saturating_duration_since(self.started_at) >= deadline.saturating_duration_since(now)
    }
}

/// The loads in progress by their key.
pub(crate) struct InFlight<E> {
    loads: HashMap<Arc<str>, InFlightLoad<E>>,
    last_id: u64,
}

impl<E: Clone> InFlight<E> {
    pub(crate) fn new() -> Self {
        Self { loads: HashMap::new(), last_id: 0 }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&InFlightLoad<E>> {
        self.loads.get(key)
    }

    /// Registers the load of a key. The key must have no load in progress.
    pub(crate) fn start(
        &mut self,
        key: Arc<str>,
        priority: Priority,
    ) -> (InFlightLoad<E>, OutcomeSender<E>) {
        let (sender, outcome) = watch::channel(None);
        self.last_id += 1;
        let id = LoadId(self.last_id);
        let load = InFlightLoad { id, priority, outcome, started_at: Instant::now() };
        self.loads.insert(key, load.clone());
        (load, sender)
    }

    /// Returns whether the result of a load may be stored. After [`detach`](Self::detach) it may
    /// not.
    pub(crate) fn is_current(&self, key: &str, load: LoadId) -> bool {
        self.loads.get(key).is_some_and(|current| current.id == load)
    }

    /// Removes a load and returns whether its result may be stored.
    pub(crate) fn finish(&mut self, key: &str, load: &InFlightLoad<E>) -> bool {
        let is_current = self.is_current(key, load.id);
        if is_current {
            self.loads.remove(key);
        }
        is_current
    }

    /// Detaches a load from its key. Requests that already wait still get its result; the next
    /// request starts a new load.
    pub(crate) fn detach(&mut self, key: &str) {
        self.loads.remove(key);
    }
}
