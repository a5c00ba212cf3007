//! The state of a cache: its entries, its loads in progress, and the transitions between them.
//!
//! A load starts and ends under one lock, which covers both the entries and the loads in progress,
//! so that no request sees an intermediate state. Lookups read the entries without that lock.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    Mode, Outcome,
    effect::Effect,
    entry::Entry,
    http::{Forward, Handling, State},
    load::{CacheableError, Disposition, LoadContext, Loaded, Priority},
    metrics::Evictions,
    negative::Negative,
    served::{Cause, Failed, Served},
    single_flight::{InFlight, InFlightLoad, LoadOutcome, OutcomeSender},
    store::{CacheValue, Store},
    subscription::{Subscription, Subscriptions},
};

/// The divisor of `max_bytes` that bounds negative entries, so that made-up names fill at most an
/// eighth.
const NEGATIVE_SHARE: u64 = 8;

/// Two ages that differ by less belong to one response. Its age is measured anew with each offer.
const SAME_AGE: Duration = Duration::from_secs(1);

pub(crate) struct CacheInner<E> {
    hop: &'static str,
    entries: Store<Entry>,
    negatives: Store<Negative<E>>,
    in_flight: Mutex<InFlight<E>>,
    subscriptions: Subscriptions,
}

/// The outcome of a lookup.
pub(crate) enum Lookup<E> {
    Hit(Served),
    /// A stale entry that the cache serves now. Its refresh is due.
    Refresh(Served),
    NegativeHit(Failed<E>),
    /// A load is due. The cache may serve the stored entry if the load fails.
    Load {
        stored: Option<Arc<Entry>>,
        reason: Forward,
    },
}

/// The decision about the load that a request needs.
pub(crate) enum LoadDecision<E: CacheableError> {
    /// The request needs no load any more.
    Served(Result<Served, Failed<E>>),
    /// The request gets a stale entry and starts its refresh.
    Refresh(Served, LoadGuard<E>),
    /// The request starts a load and waits for it.
    StartLoad(LoadGuard<E>, Forward),
    /// The request waits for a load in progress. The priority is the request's own.
    AwaitLoad(InFlightLoad<E>, Priority, Forward),
    /// The request waits for the end of a load that may have read outdated data, and then looks the
    /// key up again. Two loads of one key never run at once.
    AwaitEnd(InFlightLoad<E>, Forward),
}

/// The decision about a refresh that no request waits for.
pub(crate) enum RefreshDecision<E: CacheableError> {
    StartLoad(LoadGuard<E>),
    AwaitLoad(InFlightLoad<E>),
}

impl<E: CacheableError> CacheInner<E> {
    pub(crate) fn new(hop: &'static str, max_bytes: u64, evictions: Evictions) -> Self {
        let negative_bytes = max_bytes / NEGATIVE_SHARE;
        Self {
            hop,
            entries: Store::new(max_bytes - negative_bytes, evictions.clone()),
            negatives: Store::new(negative_bytes, evictions),
            in_flight: Mutex::new(InFlight::new()),
            subscriptions: Subscriptions::default(),
        }
    }

    /// Returns the entry or negative entry under a key if no load is due.
    pub(crate) fn lookup_hit(&self, key: &str, now: Instant) -> Option<Result<Served, Failed<E>>> {
        match self.lookup(key, Mode::Normal, now) {
            Lookup::Hit(served) => Some(Ok(served)),
            Lookup::NegativeHit(failed) => Some(Err(failed)),
            Lookup::Refresh(_) | Lookup::Load { .. } => None,
        }
    }

    /// Classifies an entry for a request that demands no revalidation. Returns `None` for an
    /// expired entry.
    fn classify(&self, entry: Arc<Entry>, now: Instant) -> Option<Lookup<E>> {
        let serve = |entry, outcome, handling| Served::new(entry, self.hop, outcome, handling, now);
        Some(match entry.state(now) {
            State::Fresh => Lookup::Hit(serve(entry, Outcome::Hit, Handling::Hit)),
            State::Stale => {
                let is_backing_off = entry.is_backing_off(now);
                let served = serve(entry, Outcome::Stale, Handling::Hit);
                if is_backing_off { Lookup::Hit(served) } else { Lookup::Refresh(served) }
            }
            State::StaleIfError if entry.is_backing_off(now) => {
                let handling = Handling::Fallback { tried: None };
                Lookup::Hit(serve(entry, Outcome::StaleError, handling))
            }
            State::StaleIfError => Lookup::Load { stored: Some(entry), reason: Forward::Stale },
            State::Expired => return None,
        })
    }

    pub(crate) fn lookup(&self, key: &str, mode: Mode, now: Instant) -> Lookup<E> {
        let entry = self.entries.get(key);
        if mode == Mode::Revalidate {
            let stored = entry.filter(|entry| entry.state(now) != State::Expired);
            return Lookup::Load { stored, reason: Forward::Request };
        }
        if let Some(lookup) = entry.and_then(|entry| self.classify(entry, now)) {
            return lookup;
        }
        let negative = self.negatives.get(key);
        match negative.and_then(|negative| Some((negative.remaining(now)?, negative))) {
            Some((remaining, negative)) => Lookup::NegativeHit(Failed {
                cause: Cause::Error(negative.error.clone()),
                expires_in: Some(remaining),
                hop: self.hop,
                outcome: Outcome::Negative,
                handling: Handling::Hit,
            }),
            None => Lookup::Load { stored: None, reason: Forward::Miss },
        }
    }

    /// Repeats the lookup under the lock, so that no load can end meanwhile, and starts or joins a
    /// load.
    pub(crate) fn lookup_or_start_load(self: &Arc<Self>, key: &str, mode: Mode) -> LoadDecision<E> {
        let mut in_flight = self.in_flight.lock();
        let current = in_flight.get(key).map(|(load, effect)| (load.clone(), effect));
        match (self.lookup(key, mode, Instant::now()), current) {
            (Lookup::Hit(served), _) | (Lookup::Refresh(served), Some(_)) => {
                LoadDecision::Served(Ok(served))
            }
            (Lookup::NegativeHit(failed), _) => LoadDecision::Served(Err(failed)),
            (Lookup::Refresh(served), None) => {
                let stored = Some(Arc::clone(served.entry()));
                let guard = self.start(&mut in_flight, key, stored, Priority::Refresh);
                LoadDecision::Refresh(served, guard)
            }
            (Lookup::Load { stored, reason }, current) => {
                let priority = match stored {
                    Some(_) => Priority::WithFallback,
                    None => Priority::Miss,
                };
                match current {
                    Some((load, Effect::Keep | Effect::MarkStale)) => {
                        LoadDecision::AwaitLoad(load, priority, reason)
                    }
                    Some((load, Effect::Expire | Effect::Drop)) => {
                        LoadDecision::AwaitEnd(load, reason)
                    }
                    None => {
                        let guard = self.start(&mut in_flight, key, stored, priority);
                        LoadDecision::StartLoad(guard, reason)
                    }
                }
            }
        }
    }

    /// Starts a refresh, or joins the load of the key that is in progress.
    pub(crate) fn start_refresh(self: &Arc<Self>, key: &str) -> RefreshDecision<E> {
        let mut in_flight = self.in_flight.lock();
        if let Some((load, _)) = in_flight.get(key) {
            return RefreshDecision::AwaitLoad(load.clone());
        }
        let now = Instant::now();
        let stored = self.entries.get(key).filter(|entry| entry.state(now) != State::Expired);
        RefreshDecision::StartLoad(self.start(&mut in_flight, key, stored, Priority::Refresh))
    }

    fn start(
        self: &Arc<Self>,
        in_flight: &mut InFlight<E>,
        key: &str,
        stored: Option<Arc<Entry>>,
        priority: Priority,
    ) -> LoadGuard<E> {
        let key: Arc<str> = key.into();
        let (load, sender) = in_flight.start(Arc::clone(&key), priority);
        LoadGuard { cache: Arc::clone(self), key, load, stored, sender, completed: false }
    }

    /// Stores a response that a load offers, unless the stored entry is as young, or a change during
    /// the load has outdated it.
    fn accept(&self, key: &Arc<str>, offered: Loaded) {
        let now = Instant::now();
        let offered = Arc::new(Entry::new(Arc::clone(key), offered, now));
        let in_flight = self.in_flight.lock();
        // The load is in progress, so its effect is known.
        let is_current = in_flight.get(key).is_some_and(|(_, effect)| effect == Effect::Keep);
        let is_younger = match self.entries.get(key) {
            Some(stored) => offered.age(now) + SAME_AGE < stored.age(now),
            None => true,
        };
        if is_current && is_younger && offered.is_storable() {
            self.entries.insert(offered);
        }
    }

    /// Returns the entry that the cache serves because the load failed, or did not end before the
    /// request's deadline. The entry is looked up again, because it may have been dropped, replaced
    /// or expired during the call.
    pub(crate) fn fallback(&self, key: &str, tried: Forward) -> Option<Served> {
        let entry = self.entries.get(key)?;
        let now = Instant::now();
        let outcome = match entry.state(now) {
            State::Fresh => Outcome::Hit,
            State::Stale | State::StaleIfError => Outcome::StaleError,
            State::Expired => return None,
        };
        let handling = Handling::Fallback { tried: Some(tried) };
        Some(Served::new(entry, self.hop, outcome, handling, now))
    }

    pub(crate) fn holds(&self, key: &str, now: Instant) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.state(now) != State::Expired)
    }

    /// Applies a change to the loads in progress, to all entries and to all negative entries.
    pub(crate) fn apply(&self, effect: impl Fn(&str) -> Effect) {
        // Loads come first: the result of a load that ends before this is found below.
        self.in_flight.lock().apply(&effect);
        for entry in self.entries.values() {
            let effect = effect(entry.key());
            if effect != Effect::Keep {
                self.replace(&entry, effect);
            }
        }
        for negative in self.negatives.values() {
            if effect(negative.key()) != Effect::Keep {
                self.negatives.remove(negative.key());
            }
        }
        self.subscriptions.wake_all(effect);
    }

    /// Replaces an entry after a change, unless a load that started after the change has replaced
    /// it already.
    fn replace(&self, entry: &Arc<Entry>, effect: Effect) {
        let _in_flight = self.in_flight.lock();
        if self.entries.get(entry.key()).is_some_and(|current| Arc::ptr_eq(&current, entry)) {
            self.store_after(effect, entry, Instant::now());
        }
    }

    /// Stores an entry as it is after a change. Returns whether it is stored.
    fn store_after(&self, effect: Effect, entry: &Arc<Entry>, now: Instant) -> bool {
        let entry = match effect {
            Effect::Keep => Arc::clone(entry),
            Effect::MarkStale => Arc::new(entry.stale(now)),
            Effect::Expire => Arc::new(entry.outdated(now)),
            Effect::Drop => {
                self.entries.remove(entry.key());
                return false;
            }
        };
        self.entries.insert(entry)
    }

    pub(crate) fn subscribe(&self, key: &str) -> Subscription {
        self.subscriptions.subscribe(key)
    }

    pub(crate) fn run_pending_tasks(&self) {
        self.entries.run_pending_tasks();
        self.negatives.run_pending_tasks();
    }

    /// Returns the number of entries and negative entries.
    pub(crate) fn entry_count(&self) -> u64 {
        self.entries.count() + self.negatives.count()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.bytes() + self.negatives.bytes()
    }
}

/// The guard of a load. Dropping it without a result reports a panic to the waiting requests.
pub(crate) struct LoadGuard<E: CacheableError> {
    cache: Arc<CacheInner<E>>,
    key: Arc<str>,
    load: InFlightLoad<E>,
    stored: Option<Arc<Entry>>,
    sender: OutcomeSender<E>,
    completed: bool,
}

impl<E: CacheableError> LoadGuard<E> {
    /// Returns the load for a request that waits for it.
    pub(crate) fn in_flight(&self) -> InFlightLoad<E> {
        self.load.clone()
    }

    pub(crate) fn context(&self) -> LoadContext {
        let stored = self.stored.as_ref().map(|entry| entry.as_stored());
        let (cache, key) = (Arc::clone(&self.cache), Arc::clone(&self.key));
        let offer = Arc::new(move |offered| cache.accept(&key, offered));
        LoadContext { stored, priority: self.load.priority, offer: Some(offer) }
    }

    /// Ends the load with its result.
    pub(crate) fn complete(mut self, result: Result<Loaded, E>) {
        let now = Instant::now();
        match result {
            Ok(loaded) => {
                let entry = Arc::new(Entry::new(Arc::clone(&self.key), loaded, now));
                self.finish(|cache, key, effect| {
                    let stored = entry.is_storable() && cache.store_after(effect, &entry, now);
                    if !stored {
                        cache.entries.remove(key);
                    }
                    cache.negatives.remove(key);
                    LoadOutcome::Loaded { entry, stored }
                });
            }
            Err(error) => match error.disposition() {
                Disposition::Negative { ttl } => {
                    let negative = Arc::new(Negative::new(Arc::clone(&self.key), error, ttl, now));
                    self.finish(|cache, key, effect| {
                        let stored = effect == Effect::Keep && !ttl.is_zero() && {
                            // Insert before removing the entry: a lookup reads the entries first,
                            // so it finds one of the two.
                            cache.negatives.insert(Arc::clone(&negative))
                        };
                        cache.entries.remove(key);
                        LoadOutcome::Negative { negative, stored }
                    });
                }
                Disposition::Definitive => self.finish(|cache, key, _| {
                    cache.entries.remove(key);
                    cache.negatives.remove(key);
                    LoadOutcome::Refused(error)
                }),
                Disposition::Transient => self.fail(LoadOutcome::Failed(error)),
            },
        }
    }

    fn fail(&mut self, outcome: LoadOutcome<E>) {
        self.finish(|cache, key, effect| {
            // The entry is looked up, because the load may have offered it. After a change, the next
            // load must not wait.
            if effect == Effect::Keep
                && let Some(entry) = cache.entries.get(key)
            {
                entry.record_failed_load(Instant::now());
            }
            outcome
        });
    }

    /// Updates the store before it wakes the waiting requests, so that a request that has seen the
    /// result also finds it cached.
    ///
    /// The effect that `update` gets is that of the changes during the load.
    fn finish(&mut self, update: impl FnOnce(&CacheInner<E>, &str, Effect) -> LoadOutcome<E>) {
        self.completed = true;
        let outcome = {
            let mut in_flight = self.cache.in_flight.lock();
            let effect = in_flight.finish(&self.key);
            update(&self.cache, &self.key, effect)
        };
        self.sender.send_replace(Some(Arc::new(outcome)));
        // Without this call, moka would evict entries beyond the bound only some writes later.
        // Large responses that arrive together could take many times the bound until then.
        self.cache.run_pending_tasks();
        self.cache.subscriptions.wake(&self.key);
    }
}

impl<E: CacheableError> Drop for LoadGuard<E> {
    fn drop(&mut self) {
        if !self.completed {
            self.fail(LoadOutcome::Panicked);
        }
    }
}
