//! The loads in progress: at most one per key, shared by all requests for the key.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

use super::{entry::Entry, load::Urgency, negative::Negative};

/// The outcome of a load, shared by all requests that wait for it.
pub(super) enum Landed<E> {
    Answer {
        entry: Arc<Entry>,
        stored: bool,
    },
    Negative {
        negative: Arc<Negative<E>>,
        stored: bool,
    },
    /// The upstream has responded and refused the request.
    Refused(E),
    /// The upstream has not responded.
    Failed(E),
    Panicked,
}

/// A load in progress that requests can wait for.
#[derive(Clone)]
pub(super) struct Flight<E> {
    number: u64,
    pub(super) urgency: Urgency,
    landed: watch::Receiver<Option<Arc<Landed<E>>>>,
}

/// The sender of a load's outcome.
pub(super) type Waiters<E> = watch::Sender<Option<Arc<Landed<E>>>>;

impl<E> Flight<E> {
    pub(super) async fn landed(mut self) -> Arc<Landed<E>> {
        // `Landing` sends an outcome before it drops the sender: its `Drop` sends `Panicked`.
        let landed = self.landed.wait_for(Option::is_some).await;
        landed.ok().and_then(|landed| landed.clone()).unwrap_or_else(|| Arc::new(Landed::Panicked))
    }
}

pub(super) struct Flights<E> {
    under_way: HashMap<Arc<str>, Flight<E>>,
    begun: u64,
}

impl<E: Clone> Flights<E> {
    pub(super) fn new() -> Self {
        Self { under_way: HashMap::new(), begun: 0 }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Flight<E>> {
        self.under_way.get(key)
    }

    /// Begins the load of a key. The key must have no load in progress.
    pub(super) fn begin(&mut self, key: Arc<str>, urgency: Urgency) -> (Flight<E>, Waiters<E>) {
        let (waiters, landed) = watch::channel(None);
        self.begun += 1;
        let flight = Flight { number: self.begun, urgency, landed };
        self.under_way.insert(key, flight.clone());
        (flight, waiters)
    }

    /// Ends a load and returns whether its result may be stored. After [`forget`](Self::forget) it
    /// may not.
    pub(super) fn end(&mut self, key: &str, flight: &Flight<E>) -> bool {
        let counts = self.under_way.get(key).is_some_and(|it| it.number == flight.number);
        if counts {
            self.under_way.remove(key);
        }
        counts
    }

    /// Detaches a load from its key. Requests that already wait still get its result; the next
    /// request begins a new load.
    pub(super) fn forget(&mut self, key: &str) {
        self.under_way.remove(key);
    }
}
