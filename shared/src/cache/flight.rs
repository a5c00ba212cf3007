//! The loads that are under way: one for a key, whoever asks.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

use super::{entry::Entry, load::Urgency, negative::Negative};

/// How a load ended, for all who wait for it.
pub(super) enum Landed<E> {
    Answer {
        entry: Arc<Entry>,
        stored: bool,
    },
    Negative {
        negative: Arc<Negative<E>>,
        stored: bool,
    },
    /// The source has answered, and says no.
    Refused(E),
    /// The source has not answered.
    Failed(E),
    Panicked,
}

/// A load under way, to wait for.
#[derive(Clone)]
pub(super) struct Flight<E> {
    number: u64,
    pub(super) urgency: Urgency,
    landed: watch::Receiver<Option<Arc<Landed<E>>>>,
}

/// Where a load tells how it ended.
pub(super) type Waiters<E> = watch::Sender<Option<Arc<Landed<E>>>>;

impl<E> Flight<E> {
    pub(super) async fn landed(mut self) -> Arc<Landed<E>> {
        // The sender tells before it goes, whatever happens: a landing that is dropped is a panic.
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

    /// Begins the one load of this key: there must be none under way.
    pub(super) fn begin(&mut self, key: Arc<str>, urgency: Urgency) -> (Flight<E>, Waiters<E>) {
        let (waiters, landed) = watch::channel(None);
        self.begun += 1;
        let flight = Flight { number: self.begun, urgency, landed };
        self.under_way.insert(key, flight.clone());
        (flight, waiters)
    }

    /// Ends it, and says whether its result still counts: after a [`forget`](Self::forget) it does not.
    pub(super) fn end(&mut self, key: &str, flight: &Flight<E>) -> bool {
        let counts = self.under_way.get(key).is_some_and(|it| it.number == flight.number);
        if counts {
            self.under_way.remove(key);
        }
        counts
    }

    /// Leaves a load to those who wait for it already; the next request begins another.
    pub(super) fn forget(&mut self, key: &str) {
        self.under_way.remove(key);
    }
}
