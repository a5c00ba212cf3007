//! The figures of a simulation.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;

use crate::{
    Seconds,
    cache::{Failure, Loading, Outcome, Served},
    scenario::Scenario,
};

/// The outcomes, with the names of their share of the clients' requests and of their number in
/// aux-service. The last word is the label that the services' metrics have.
const OUTCOMES: [(Outcome, &str, &str); 7] = [
    (Outcome::Hit, "share hit", "aux hit"),
    (Outcome::Stale, "share stale", "aux stale"),
    (Outcome::StaleIfError, "share stale_error", "aux stale_error"),
    (Outcome::Negative, "share negative", "aux negative"),
    (Outcome::Miss, "share miss", "aux miss"),
    (Outcome::Coalesced, "share coalesced", "aux coalesced"),
    (Outcome::Error, "share error", "aux error"),
];

/// Counts everything since the start of the figures.
#[derive(Clone)]
pub(crate) struct Figures {
    start: Seconds,
    calls: u64,
    names: u64,
    refused: u64,
    throttled: u64,
    failed: u64,
    /// The calls of each second.
    by_second: HashMap<u64, u64>,
    clients: [u64; OUTCOMES.len()],
    aux: [u64; OUTCOMES.len()],
    /// Milliseconds.
    ages: Histogram<u64>,
    /// The time from the change of a name to the last response with the old value.
    last_old: BTreeMap<u32, Seconds>,
    /// The names read before the start, for each name; only with paced clients.
    cold_names: Option<f64>,
}

impl Figures {
    pub(crate) fn new() -> Self {
        Self::starting_at(0.0)
    }

    pub(crate) fn starting_at(start: Seconds) -> Self {
        Self {
            start,
            calls: 0,
            names: 0,
            refused: 0,
            throttled: 0,
            failed: 0,
            by_second: HashMap::new(),
            clients: [0; OUTCOMES.len()],
            aux: [0; OUTCOMES.len()],
            ages: Histogram::new(3).expect("three digits are allowed"),
            last_old: BTreeMap::new(),
            cold_names: None,
        }
    }

    /// Begins again at this time, and remembers the names that were read before.
    pub(crate) fn restart(&mut self, now: Seconds, keys: usize) {
        let cold_names = Some(self.names as f64 / keys as f64);
        *self = Self { cold_names, ..Self::starting_at(now) };
    }

    pub(crate) fn call(&mut self, names: usize, now: Seconds) {
        self.calls += 1;
        self.names += names as u64;
        *self.by_second.entry(now as u64).or_default() += 1;
    }

    pub(crate) fn failed_call(&mut self, failure: Failure) {
        *match failure {
            Failure::Refused { .. } => &mut self.refused,
            Failure::Throttled => &mut self.throttled,
            Failure::Unavailable => &mut self.failed,
        } += 1;
    }

    /// Counts a response of aux-service.
    pub(crate) fn aux_response(&mut self, outcome: Outcome) {
        self.aux[outcome as usize] += 1;
    }

    /// Counts a response that a client gets.
    pub(crate) fn response(
        &mut self,
        key: u32,
        served: &Served,
        now: Seconds,
        scenario: &Scenario,
    ) {
        self.clients[served.outcome as usize] += 1;
        let Loading::Value(loaded) = served.result else { return };
        let age = ((now - loaded.value.read_at) * 1000.0) as u64;
        self.ages.record(age).expect("the histogram grows");
        if loaded.value.version < scenario.version(key, now) {
            let since = now - scenario.change_at.expect("a version has a change");
            self.last_old.insert(key, since);
        }
    }

    /// Returns all figures by name at the end of the simulation. Shares are parts of all requests of
    /// clients, and times are seconds.
    pub(crate) fn named(&self, now: Seconds, scenario: &Scenario) -> BTreeMap<&'static str, f64> {
        let seconds = now - self.start;
        let requests: u64 = self.clients.iter().sum();
        let mut named = BTreeMap::from([
            ("calls", self.calls as f64),
            ("calls a second", self.calls as f64 / seconds),
            (
                "calls of the busiest second",
                self.by_second.values().max().map_or(0.0, |n| *n as f64),
            ),
            ("names", self.names as f64),
            ("names a second", self.names as f64 / seconds),
            (
                "names a name and TTL",
                self.names as f64 / scenario.keys as f64 / seconds * scenario.ttl,
            ),
            ("refused", self.refused as f64),
            ("refused a second", self.refused as f64 / seconds),
            ("throttled", self.throttled as f64),
            ("throttled a second", self.throttled as f64 / seconds),
            ("failed calls", self.failed as f64),
            ("requests", requests as f64),
            ("requests a second", requests as f64 / seconds),
        ]);
        for (outcome, share, aux) in OUTCOMES {
            named.insert(share, self.clients[outcome as usize] as f64 / requests.max(1) as f64);
            named.insert(aux, self.aux[outcome as usize] as f64);
        }
        for (name, quantile) in [("age p50", 0.5), ("age p99", 0.99), ("age max", 1.0)] {
            named.insert(name, self.ages.value_at_quantile(quantile) as f64 / 1000.0);
        }
        if scenario.change_at.is_some() {
            let times: Vec<_> = (0..scenario.change_keys as u32)
                .map(|key| self.last_old.get(&key).copied().unwrap_or(0.0))
                .collect();
            let mean = times.iter().sum::<f64>() / times.len().max(1) as f64;
            named.insert("last old response, mean", mean);
            named.insert("last old response, max", times.iter().copied().fold(0.0, f64::max));
        }
        named.extend(self.cold_names.map(|names| ("names a name, cold", names)));
        named
    }
}
