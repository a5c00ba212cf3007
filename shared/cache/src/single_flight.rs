//! The loads in progress: at most one per key, shared by all requests for the key.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{effect::Effect, entry::Entry, load::Priority, negative::Negative};

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

/// A load in progress that requests can wait for.
#[derive(Clone)]
pub(crate) struct InFlightLoad<E> {
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
    loads: HashMap<Arc<str>, Registered<E>>,
}

struct Registered<E> {
    load: InFlightLoad<E>,
    effect: Effect,
}

impl<E: Clone> InFlight<E> {
    pub(crate) fn new() -> Self {
        Self { loads: HashMap::new() }
    }

    /// Returns the load of a key, and the effect of the changes since its start on its result.
    pub(crate) fn get(&self, key: &str) -> Option<(&InFlightLoad<E>, Effect)> {
        let Registered { load, effect } = self.loads.get(key)?;
        Some((load, *effect))
    }

    /// Registers the load of a key. The key must have no load in progress.
    pub(crate) fn start(
        &mut self,
        key: Arc<str>,
        priority: Priority,
    ) -> (InFlightLoad<E>, OutcomeSender<E>) {
        let (sender, outcome) = watch::channel(None);
        let load = InFlightLoad { priority, outcome, started_at: Instant::now() };
        self.loads.insert(key, Registered { load: load.clone(), effect: Effect::Keep });
        (load, sender)
    }

    /// Removes the load of a key. Returns the effect of the changes since its start on its result.
    pub(crate) fn finish(&mut self, key: &str) -> Effect {
        self.loads.remove(key).map_or(Effect::Keep, |registered| registered.effect)
    }

    /// Notes a change. The greatest effect of several changes applies to the result of a load.
    pub(crate) fn apply(&mut self, effect: impl Fn(&str) -> Effect) {
        for (key, registered) in &mut self.loads {
            registered.effect = registered.effect.max(effect(key));
        }
    }
}
