//! What a request gets: an answer with its age, or why there is none.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::{Answer, Outcome, entry::Entry};
use crate::{
    http_cache::{Freshness, Handling, Telling},
    problem::Problem,
};

/// An answer, and how old it was when it was given.
#[derive(Clone)]
pub struct Served {
    entry: Arc<Entry>,
    hop: &'static str,
    outcome: Outcome,
    handling: Handling,
    age: Duration,
}

impl Served {
    pub(super) fn new(
        entry: Arc<Entry>,
        hop: &'static str,
        outcome: Outcome,
        handling: Handling,
        now: Instant,
    ) -> Self {
        let age = entry.age(now);
        Self { entry, hop, outcome, handling, age }
    }

    /// The HTTP response: 200 with the body, or 304 where the client has it already.
    pub fn response(&self, request: &HeaderMap) -> Response {
        self.entry.head().response(self.telling(), self.answer().body(), request)
    }

    /// For an answer that is made of several: this one's way, our hop included.
    pub fn cache_status(&self) -> HeaderValue {
        self.telling().cache_status(self.entry.head().upstream)
    }

    pub fn answer(&self) -> &Answer {
        self.entry.answer()
    }

    /// Counted from the origin's answer, across all hops.
    pub fn age(&self) -> Duration {
        self.age
    }

    pub fn freshness(&self) -> &Freshness {
        self.entry.freshness()
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    fn telling(&self) -> Telling<'static> {
        let ttl = match self.freshness().lifetime.checked_sub(self.age) {
            Some(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            None => {
                let over = self.age.saturating_sub(self.freshness().lifetime);
                let seconds = over.as_secs() + u64::from(over.subsec_nanos() > 0);
                i64::try_from(seconds).map_or(i64::MIN, |seconds| -seconds)
            }
        };
        Telling { hop: self.hop, handling: self.handling, age: self.age.as_secs(), ttl }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub struct Failed<E> {
    pub cause: Cause<E>,
    /// How long "there is no such thing" holds: what a 404's `max-age` says.
    /// `None` for every other failure: nobody may keep it.
    pub expires_in: Option<Duration>,
    pub(super) hop: &'static str,
    pub(super) outcome: Outcome,
    pub(super) handling: Handling,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause<E> {
    /// What the load yielded.
    Error(E),
    /// The load ended without a result: it panicked, or the process is shutting down.
    Panicked,
}

/// As the error says. Only a 404 goes out with the time for which it is remembered: no other
/// error may be kept by anyone.
impl<E: Into<Problem>> From<Failed<E>> for Problem {
    fn from(failed: Failed<E>) -> Self {
        let (remembered, cache_status) = (failed.expires_in, Some(failed.cache_status()));
        let problem = match failed.cause {
            Cause::Error(error) => error.into(),
            Cause::Panicked => Self::internal(),
        };
        let max_age = remembered.filter(|_| problem.status() == StatusCode::NOT_FOUND);
        Self { max_age, cache_status, ..problem }
    }
}

impl<E> Failed<E> {
    /// The header `Cache-Status` of the error's response.
    pub fn cache_status(&self) -> HeaderValue {
        let ttl = self.expires_in.map_or(0, |left| left.as_secs());
        let ttl = i64::try_from(ttl).unwrap_or(i64::MAX);
        Telling { hop: self.hop, handling: self.handling, age: 0, ttl }.cache_status(None)
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}
