//! The state of a cache: its entries, its loads in progress, and the transitions between them.
//!
//! A load begins and ends under one lock, which covers both the entries and the loads in progress,
//! so that no request sees an intermediate state. Lookups read the entries without that lock.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Mode, Outcome,
    entry::Entry,
    flight::{Flight, Flights, Landed, Waiters},
    load::{Attempt, CacheableError, Disposition, Loaded, Urgency},
    metrics::Evictions,
    negative::Negative,
    served::{Cause, Failed, Served},
    store::Store,
};
use crate::http_cache::{Forward, Handling, State};

/// The divisor of `max_bytes` that bounds negative entries, so that made-up names fill at most an
/// eighth.
const NEGATIVE_SHARE: u64 = 8;

pub(super) struct Spaces<E> {
    hop: &'static str,
    answers: Store<Entry>,
    negatives: Store<Negative<E>>,
    flights: Mutex<Flights<E>>,
}

/// The outcome of a lookup.
pub(super) enum Look<E> {
    Answer(Served),
    /// A stale entry that the cache serves now. Its refresh is due.
    Refresh(Served),
    NoSuchThing(Failed<E>),
    Load {
        previous: Option<Arc<Entry>>,
        why: Forward,
    },
}

/// The decision about the load that a request needs.
pub(super) enum Boarding<E: CacheableError> {
    /// The request needs no load any more.
    Settled(Result<Served, Failed<E>>),
    /// The request gets a stale entry and begins its refresh.
    Refresh(Served, Landing<E>),
    /// The request begins a load and waits for it.
    Lead(Landing<E>, Forward),
    /// The request waits for a load in progress. The urgency is the request's own.
    Join(Flight<E>, Urgency, Forward),
}

impl<E: CacheableError> Spaces<E> {
    pub(super) fn new(hop: &'static str, max_bytes: u64, evictions: Evictions) -> Self {
        let negative_bytes = max_bytes / NEGATIVE_SHARE;
        Self {
            hop,
            answers: Store::new(max_bytes - negative_bytes, evictions.clone()),
            negatives: Store::new(negative_bytes, evictions),
            flights: Mutex::new(Flights::new()),
        }
    }

    /// Returns the entry or negative entry under a key if no load is due.
    pub(super) fn ready(&self, key: &str, now: Instant) -> Option<Result<Served, Failed<E>>> {
        match self.look(key, Mode::Normal, now) {
            Look::Answer(served) => Some(Ok(served)),
            Look::NoSuchThing(failed) => Some(Err(failed)),
            Look::Refresh(_) | Look::Load { .. } => None,
        }
    }

    /// Classifies an entry for a request that demands no revalidation. Returns `None` for an
    /// expired entry.
    fn look_at(&self, entry: Arc<Entry>, now: Instant) -> Option<Look<E>> {
        let serve = |entry, outcome, handling| Served::new(entry, self.hop, outcome, handling, now);
        Some(match entry.state(now) {
            State::Fresh => Look::Answer(serve(entry, Outcome::Hit, Handling::Hit)),
            State::Stale => {
                let rests = entry.rests(now);
                let served = serve(entry, Outcome::Stale, Handling::Hit);
                if rests { Look::Answer(served) } else { Look::Refresh(served) }
            }
            State::LastResort if entry.rests(now) => {
                let handling = Handling::Fallback { tried: None };
                Look::Answer(serve(entry, Outcome::StaleError, handling))
            }
            State::LastResort => Look::Load { previous: Some(entry), why: Forward::Stale },
            State::Gone => return None,
        })
    }

    pub(super) fn look(&self, key: &str, mode: Mode, now: Instant) -> Look<E> {
        let entry = self.answers.get(key);
        if mode == Mode::Revalidate {
            let previous = entry.filter(|entry| entry.state(now) != State::Gone);
            return Look::Load { previous, why: Forward::Request };
        }
        if let Some(look) = entry.and_then(|entry| self.look_at(entry, now)) {
            return look;
        }
        match self.negatives.get(key).and_then(|negative| Some((negative.left(now)?, negative))) {
            Some((left, negative)) => Look::NoSuchThing(Failed {
                cause: Cause::Error(negative.error.clone()),
                expires_in: Some(left),
                hop: self.hop,
                outcome: Outcome::Negative,
                handling: Handling::Hit,
            }),
            None => Look::Load { previous: None, why: Forward::Miss },
        }
    }

    /// Repeats the lookup under the lock, so that no load can end meanwhile, and begins or joins a
    /// load.
    pub(super) fn board(self: &Arc<Self>, key: &str, mode: Mode) -> Boarding<E> {
        let mut flights = self.flights.lock();
        let under_way = flights.get(key).cloned();
        match (self.look(key, mode, Instant::now()), under_way) {
            (Look::Answer(served), _) | (Look::Refresh(served), Some(_)) => {
                Boarding::Settled(Ok(served))
            }
            (Look::NoSuchThing(failed), _) => Boarding::Settled(Err(failed)),
            (Look::Refresh(served), None) => {
                let previous = Some(Arc::clone(served.entry()));
                let landing = self.begin(&mut flights, key, previous, Urgency::Refresh);
                Boarding::Refresh(served, landing)
            }
            (Look::Load { previous, why }, under_way) => {
                let urgency = match previous {
                    Some(_) => Urgency::Revalidation,
                    None => Urgency::Miss,
                };
                match under_way {
                    Some(flight) => Boarding::Join(flight, urgency, why),
                    None => Boarding::Lead(self.begin(&mut flights, key, previous, urgency), why),
                }
            }
        }
    }

    fn begin(
        self: &Arc<Self>,
        flights: &mut Flights<E>,
        key: &str,
        previous: Option<Arc<Entry>>,
        urgency: Urgency,
    ) -> Landing<E> {
        let key: Arc<str> = key.into();
        let (flight, waiters) = flights.begin(Arc::clone(&key), urgency);
        Landing { spaces: Arc::clone(self), key, flight, previous, waiters, landed: false }
    }

    /// Returns the entry that the cache serves when the upstream has failed. The entry is looked up
    /// again, because it may have been dropped, replaced or expired during the call.
    pub(super) fn fallback(&self, key: &str, tried: Forward) -> Option<Served> {
        let entry = self.answers.get(key)?;
        let now = Instant::now();
        let outcome = match entry.state(now) {
            State::Fresh => Outcome::Hit,
            State::Stale | State::LastResort => Outcome::StaleError,
            State::Gone => return None,
        };
        let handling = Handling::Fallback { tried: Some(tried) };
        Some(Served::new(entry, self.hop, outcome, handling, now))
    }

    pub(super) fn invalidate(&self, key: &str) {
        let mut flights = self.flights.lock();
        flights.forget(key);
        self.answers.remove(key);
        self.negatives.remove(key);
    }

    pub(super) fn settle(&self) {
        self.answers.settle();
        self.negatives.settle();
    }

    pub(super) fn entries(&self) -> u64 {
        self.answers.entries() + self.negatives.entries()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.answers.bytes() + self.negatives.bytes()
    }
}

/// The guard of a load. Dropping it without a result reports a panic to the waiting requests.
pub(super) struct Landing<E: CacheableError> {
    spaces: Arc<Spaces<E>>,
    key: Arc<str>,
    flight: Flight<E>,
    previous: Option<Arc<Entry>>,
    waiters: Waiters<E>,
    landed: bool,
}

impl<E: CacheableError> Landing<E> {
    pub(super) fn flight(&self) -> Flight<E> {
        self.flight.clone()
    }

    pub(super) fn attempt(&self) -> Attempt {
        let previous = self.previous.as_ref().map(|entry| entry.as_previous());
        Attempt { previous, urgency: self.flight.urgency }
    }

    pub(super) fn land(mut self, result: Result<Loaded, E>) {
        let now = Instant::now();
        match result {
            Ok(loaded) => {
                let entry = Arc::new(Entry::new(Arc::clone(&self.key), loaded, now));
                self.finish(|spaces, key, counts| {
                    let mut stored = false;
                    if counts && entry.is_storable() {
                        stored = spaces.answers.insert(Arc::clone(&entry));
                    } else if counts {
                        spaces.answers.remove(key);
                    }
                    if counts {
                        spaces.negatives.remove(key);
                    }
                    Landed::Answer { entry, stored }
                });
            }
            Err(error) => match error.disposition() {
                Disposition::Negative { ttl } => {
                    let negative = Arc::new(Negative::new(Arc::clone(&self.key), error, ttl, now));
                    self.finish(|spaces, key, counts| {
                        let stored = counts && !ttl.is_zero() && {
                            // Insert before removing the entry: a lookup reads the entries first,
                            // so it finds one of the two.
                            spaces.negatives.insert(Arc::clone(&negative))
                        };
                        if counts {
                            spaces.answers.remove(key);
                        }
                        Landed::Negative { negative, stored }
                    });
                }
                Disposition::Definitive => self.finish(|spaces, key, counts| {
                    if counts {
                        spaces.answers.remove(key);
                        spaces.negatives.remove(key);
                    }
                    Landed::Refused(error)
                }),
                Disposition::Transient => self.fail(Landed::Failed(error)),
            },
        }
    }

    fn fail(&mut self, landed: Landed<E>) {
        let previous = self.previous.clone();
        self.finish(|_, _, _| {
            if let Some(entry) = previous {
                entry.refresh_failed(Instant::now());
            }
            landed
        });
    }

    /// Updates the store before it wakes the waiting requests, so that a request that has seen the
    /// result also finds it cached.
    fn finish(&mut self, keep: impl FnOnce(&Spaces<E>, &str, bool) -> Landed<E>) {
        self.landed = true;
        let landed = {
            let mut flights = self.spaces.flights.lock();
            let counts = flights.end(&self.key, &self.flight);
            keep(&self.spaces, &self.key, counts)
        };
        self.waiters.send_replace(Some(Arc::new(landed)));
        // Without this call, moka would evict entries beyond the bound only some writes later.
        // Large responses that arrive together could take many times the bound until then.
        self.spaces.settle();
    }
}

impl<E: CacheableError> Drop for Landing<E> {
    fn drop(&mut self) {
        if !self.landed {
            self.fail(Landed::Panicked);
        }
    }
}
