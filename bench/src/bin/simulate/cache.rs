//! A cache of one process, as the crate `cache` has it: entries, negative entries, and at most one
//! load for each key.

use std::collections::HashMap;

use crate::{
    Seconds,
    freshness::{Freshness, State},
};

/// The pause after the first failed load. It doubles with each further failure.
const FIRST_PAUSE: Seconds = 1.0;
const LONGEST_PAUSE: Seconds = 30.0;

/// The priority of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// No request waits.
    Refresh,
    /// A request waits, and the cache has an entry to fall back on.
    WithFallback,
    /// A request waits and has no entry.
    Miss,
}

/// A value as AWS returned it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    /// The number of changes before the read.
    pub(crate) version: u32,
    /// The time of the read.
    pub(crate) read_at: Seconds,
}

/// A value and its limits, as a load brings them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) value: Value,
    /// The time from which this cache counts the age.
    pub(crate) born: Seconds,
    pub(crate) freshness: Freshness,
    /// The time of the change that has outdated the value.
    pub(crate) outdated_at: Option<Seconds>,
}

/// The result of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loading {
    Value(Loaded),
    /// There is no such parameter. The error is remembered for this time.
    NotFound {
        ttl: Seconds,
    },
    /// A failure that passes.
    Failed(Failure),
}

/// The reason for a failed load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The quota shield has no token before this time has passed.
    Refused { retry_after: Seconds },
    /// AWS throttled the call.
    Throttled,
    /// AWS did not answer.
    Unavailable,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Hit,
    /// A stale entry, while a refresh runs.
    Stale,
    /// A stale entry, because the load failed.
    StaleIfError,
    Negative,
    /// The result of a load that this request started.
    Miss,
    /// The result of a load that another request started.
    Coalesced,
    Error,
}

/// A response of this cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) outcome: Outcome,
    /// What the caller gets: a value with the limits of the entry, or the error.
    pub(crate) result: Loading,
}

/// The step after a lookup.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// The request is served.
    Served(Served),
    /// The request is served, and its refresh is to be started.
    ServedAndRefresh(Served),
    /// The request waits, and its load is to be started.
    StartLoad(Priority),
    /// The request waits for a load in progress.
    Joined,
}

struct Entry {
    loaded: Loaded,
    failures: u8,
    backoff_until: Seconds,
}

struct Load<W> {
    priority: Priority,
    waiting: Vec<(W, Outcome, Priority)>,
    /// Requests that arrived after a change, and wait for the end of this load only.
    after_change: Vec<W>,
    /// The time of a change during the load.
    changed_at: Option<Seconds>,
}

/// The cache of a process. `W` identifies a waiting request.
pub(crate) struct Cache<W> {
    entries: Vec<Option<Entry>>,
    /// The end of each negative entry.
    negatives: Vec<Seconds>,
    loads: HashMap<u32, Load<W>>,
}

/// The requests at the end of a load.
pub(crate) struct Ended<W> {
    pub(crate) served: Vec<(W, Served)>,
    /// Requests that look the key up again.
    pub(crate) again: Vec<W>,
    /// Whether the load found another value than the entry had, and no known change explains it.
    pub(crate) found_change: bool,
}

impl<W> Cache<W> {
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            entries: std::iter::repeat_with(|| None).take(keys).collect(),
            negatives: vec![0.0; keys],
            loads: HashMap::new(),
        }
    }

    /// Looks a key up for a request, which waits in the cache unless it is served.
    pub(crate) fn request(&mut self, key: u32, waiter: W, now: Seconds) -> Step {
        let entry = self.entries[key as usize].as_ref();
        let mut fallback = false;
        if let Some(entry) = entry {
            let serve = |outcome| Served { outcome, result: Loading::Value(entry.loaded) };
            let backs_off = now < entry.backoff_until;
            match entry.state(now) {
                State::Fresh => return Step::Served(serve(Outcome::Hit)),
                State::Stale if backs_off || self.loads.contains_key(&key) => {
                    return Step::Served(serve(Outcome::Stale));
                }
                State::Stale => {
                    let served = serve(Outcome::Stale);
                    self.loads.insert(key, Load::new(Priority::Refresh));
                    return Step::ServedAndRefresh(served);
                }
                State::StaleIfError if backs_off => {
                    return Step::Served(serve(Outcome::StaleIfError));
                }
                State::StaleIfError => fallback = true,
                State::Expired => {}
            }
        }
        let negative = self.negatives[key as usize];
        if !fallback && now < negative {
            let result = Loading::NotFound { ttl: negative - now };
            return Step::Served(Served { outcome: Outcome::Negative, result });
        }
        let priority = if fallback { Priority::WithFallback } else { Priority::Miss };
        match self.loads.get_mut(&key) {
            Some(load) if load.changed_at.is_some() => {
                load.after_change.push(waiter);
                Step::Joined
            }
            Some(load) => {
                load.waiting.push((waiter, Outcome::Coalesced, priority));
                Step::Joined
            }
            None => {
                let mut load = Load::new(priority);
                load.waiting.push((waiter, Outcome::Miss, priority));
                self.loads.insert(key, load);
                Step::StartLoad(priority)
            }
        }
    }

    /// Stores a stale value that serves if the load of its key fails, unless the entry is as young.
    pub(crate) fn offer(&mut self, key: u32, offered: Loaded) {
        let slot = &mut self.entries[key as usize];
        let is_younger = slot.as_ref().is_none_or(|entry| offered.born > entry.loaded.born + 1.0);
        if is_younger && self.loads.get(&key).is_some_and(|load| load.changed_at.is_none()) {
            *slot = Some(Entry::new(offered));
        }
    }

    /// Ends the load of a key with its result. `random` is between 0 and 1.
    pub(crate) fn complete(
        &mut self,
        key: u32,
        result: Loading,
        now: Seconds,
        random: f64,
    ) -> Ended<W> {
        let load = self.loads.remove(&key).expect("only a load that was started ends");
        let slot = &mut self.entries[key as usize];
        let mut found_change = false;
        match result {
            Loading::Value(loaded) => {
                let mut entry = Entry::new(loaded);
                if let Some(previous) = slot {
                    found_change = previous.loaded.value.version != loaded.value.version
                        && previous.loaded.outdated_at.is_none()
                        && load.changed_at.is_none();
                }
                if let Some(changed_at) = load.changed_at {
                    entry.outdate(changed_at);
                }
                *slot = Some(entry);
                self.negatives[key as usize] = 0.0;
            }
            Loading::NotFound { ttl } => {
                *slot = None;
                self.negatives[key as usize] =
                    if load.changed_at.is_none() { now + ttl } else { 0.0 };
            }
            Loading::Failed(_) => {
                if let (Some(entry), None) = (slot, load.changed_at) {
                    entry.record_failed_load(now, random);
                }
            }
        }
        let mut ended = Ended { served: Vec::new(), again: load.after_change, found_change };
        for (waiter, outcome, priority) in load.waiting {
            let served = match result {
                Loading::Value(_) | Loading::NotFound { .. } => Served { outcome, result },
                Loading::Failed(_) => match self.fallback(key, now) {
                    Some(served) => served,
                    // The load had a lower priority, so the quota may have refused it.
                    None if load.priority < priority => {
                        ended.again.push(waiter);
                        continue;
                    }
                    None => Served { outcome: Outcome::Error, result },
                },
            };
            ended.served.push((waiter, served));
        }
        ended
    }

    /// Applies a change of a parameter.
    pub(crate) fn apply_change(&mut self, key: u32, now: Seconds) {
        if let Some(load) = self.loads.get_mut(&key) {
            load.changed_at = Some(now);
        }
        if let Some(entry) = &mut self.entries[key as usize] {
            entry.outdate(now);
        }
        self.negatives[key as usize] = 0.0;
    }

    /// Returns the priority of the load of a key.
    pub(crate) fn priority_of(&self, key: u32) -> Priority {
        self.loads[&key].priority
    }

    /// Returns the time of the change that has outdated an entry.
    pub(crate) fn outdated_at(&self, key: u32) -> Option<Seconds> {
        self.entries[key as usize].as_ref()?.loaded.outdated_at
    }

    fn fallback(&self, key: u32, now: Seconds) -> Option<Served> {
        let entry = self.entries[key as usize].as_ref()?;
        let outcome = match entry.state(now) {
            State::Fresh => Outcome::Hit,
            State::Stale | State::StaleIfError => Outcome::StaleIfError,
            State::Expired => return None,
        };
        Some(Served { outcome, result: Loading::Value(entry.loaded) })
    }
}

impl<W> Load<W> {
    fn new(priority: Priority) -> Self {
        Self { priority, waiting: Vec::new(), after_change: Vec::new(), changed_at: None }
    }
}

impl Entry {
    fn new(loaded: Loaded) -> Self {
        Self { loaded, failures: 0, backoff_until: 0.0 }
    }

    fn state(&self, now: Seconds) -> State {
        self.loaded.freshness.state(now - self.loaded.born)
    }

    fn outdate(&mut self, changed_at: Seconds) {
        self.loaded.freshness = self.loaded.freshness.only_if_error();
        self.loaded.outdated_at = Some(changed_at);
        (self.failures, self.backoff_until) = (0, 0.0);
    }

    fn record_failed_load(&mut self, now: Seconds, random: f64) {
        let pause = (FIRST_PAUSE * f64::from(1_u32 << self.failures.min(8))).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.backoff_until = now + pause * (0.5 + 0.5 * random);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Freshness = Freshness { lifetime: 60.0, while_revalidate: 60.0, if_error: 3600.0 };

    fn value(at: Seconds) -> Loading {
        let value = Value { version: 0, read_at: at };
        Loading::Value(Loaded { value, born: at, freshness: RULES, outdated_at: None })
    }

    /// A cache with one key, loaded at time 0.
    fn filled() -> Cache<u8> {
        let mut cache = Cache::new(1);
        assert_eq!(cache.request(0, 1, 0.0), Step::StartLoad(Priority::Miss));
        assert_eq!(cache.complete(0, value(0.0), 0.0, 0.0).served.len(), 1);
        cache
    }

    fn outcome(step: Step) -> Outcome {
        match step {
            Step::Served(served) | Step::ServedAndRefresh(served) => served.outcome,
            step => panic!("not served: {step:?}"),
        }
    }

    #[test]
    fn concurrent_requests_for_a_missing_key_share_one_load() {
        let mut cache = Cache::new(1);
        assert_eq!(cache.request(0, 1, 0.0), Step::StartLoad(Priority::Miss));
        assert_eq!(cache.request(0, 2, 0.1), Step::Joined);
        let served = cache.complete(0, value(0.2), 0.2, 0.0).served;
        let outcomes: Vec<_> = served.iter().map(|(id, served)| (*id, served.outcome)).collect();
        assert_eq!(outcomes, [(1, Outcome::Miss), (2, Outcome::Coalesced)]);
    }

    #[test]
    fn a_stale_entry_is_served_and_refreshed_once() {
        let mut cache = filled();
        assert_eq!(outcome(cache.request(0, 1, 59.0)), Outcome::Hit);
        assert!(matches!(cache.request(0, 1, 61.0), Step::ServedAndRefresh(_)));
        assert!(matches!(cache.request(0, 1, 61.0), Step::Served(_)));
        cache.complete(0, value(61.1), 61.1, 0.0);
        assert_eq!(outcome(cache.request(0, 1, 62.0)), Outcome::Hit);
    }

    #[test]
    fn an_entry_beyond_its_time_for_refreshes_serves_only_if_the_load_fails() {
        let mut cache = filled();
        assert_eq!(cache.request(0, 1, 130.0), Step::StartLoad(Priority::WithFallback));
        let failed = Loading::Failed(Failure::Unavailable);
        let ended = cache.complete(0, failed, 130.1, 1.0);
        assert_eq!(ended.served[0].1.outcome, Outcome::StaleIfError);
        assert_eq!(outcome(cache.request(0, 1, 131.0)), Outcome::StaleIfError);
        assert_eq!(cache.request(0, 1, 131.2), Step::StartLoad(Priority::WithFallback));
    }

    #[test]
    fn an_expired_entry_is_a_miss_and_a_failure_is_an_error() {
        let mut cache = filled();
        assert_eq!(cache.request(0, 1, 3661.0), Step::StartLoad(Priority::Miss));
        let ended = cache.complete(0, Loading::Failed(Failure::Throttled), 3661.0, 0.0);
        assert_eq!(ended.served[0].1.outcome, Outcome::Error);
    }

    #[test]
    fn the_pause_after_failures_doubles_up_to_half_a_minute() {
        let mut cache = filled();
        let mut now = 61.0;
        let pauses: Vec<_> = (0..7)
            .map(|_| {
                assert!(matches!(cache.request(0, 1, now), Step::ServedAndRefresh(_)));
                cache.complete(0, Loading::Failed(Failure::Unavailable), now, 1.0);
                let until = cache.entries[0].as_ref().expect("kept").backoff_until;
                let pause = until - now;
                // The entry stays stale in this test.
                cache.entries[0].as_mut().expect("kept").loaded.born += pause;
                now = until;
                pause
            })
            .collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
    }

    #[test]
    fn a_missing_parameter_is_remembered() {
        let mut cache = Cache::new(1);
        cache.request(0, 1, 0.0);
        let ended = cache.complete(0, Loading::NotFound { ttl: 10.0 }, 0.0, 0.0);
        assert_eq!(ended.served[0].1.outcome, Outcome::Miss);
        assert_eq!(outcome(cache.request(0, 1, 9.0)), Outcome::Negative);
        assert_eq!(cache.request(0, 1, 11.0), Step::StartLoad(Priority::Miss));
    }

    #[test]
    fn a_change_ends_the_use_of_an_entry_and_of_a_load_in_progress() {
        let mut cache = filled();
        assert!(matches!(cache.request(0, 1, 61.0), Step::ServedAndRefresh(_)));
        cache.apply_change(0, 61.1);
        assert_eq!(cache.request(0, 2, 61.2), Step::Joined);
        let ended = cache.complete(0, value(61.1), 61.3, 0.0);
        assert_eq!((ended.served.len(), ended.again), (0, vec![2]));
        assert_eq!(cache.request(0, 2, 61.3), Step::StartLoad(Priority::WithFallback));
    }

    #[test]
    fn a_request_that_joined_a_refresh_repeats_a_refused_load() {
        let mut cache = filled();
        assert!(matches!(cache.request(0, 1, 119.0), Step::ServedAndRefresh(_)));
        cache.entries[0] = None;
        assert_eq!(cache.request(0, 2, 119.0), Step::Joined);
        let refused = Loading::Failed(Failure::Refused { retry_after: 1.0 });
        assert_eq!(cache.complete(0, refused, 119.0, 0.0).again, [2]);
    }

    #[test]
    fn another_value_at_a_refresh_is_a_change() {
        let mut cache = filled();
        cache.request(0, 1, 61.0);
        let Loading::Value(mut loaded) = value(61.0) else { unreachable!() };
        loaded.value.version = 1;
        assert!(cache.complete(0, Loading::Value(loaded), 61.0, 0.0).found_change);
    }
}
