//! The result of a request to the cache: a response with its age, or a failure with its cause.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::time::Instant;

use crate::{
    Outcome,
    body::CachedBody,
    entry::Entry,
    http::{Freshness, Handling, ResponseMeta, matches_if_none_match},
    load::Loaded,
};

/// A response, and its age at the time of the request.
#[derive(Clone)]
pub struct Served {
    entry: Arc<Entry>,
    hop: &'static str,
    outcome: Outcome,
    handling: Handling,
    age: Duration,
    /// The body to send instead of the entry's.
    representation: Option<CachedBody>,
}

impl Served {
    pub(crate) fn new(
        entry: Arc<Entry>,
        hop: &'static str,
        outcome: Outcome,
        handling: Handling,
        now: Instant,
    ) -> Self {
        let age = entry.age(now);
        Self { entry, hop, outcome, handling, age, representation: None }
    }

    /// Returns a response that is made of several responses of one cache. It is as old as the oldest
    /// of them, and fresh and usable for as long as all of them are. `expires_in` is the shortest
    /// remaining lifetime of the negative entries that it is made of, too.
    pub fn combined(
        hop: &'static str,
        parts: &[Self],
        expires_in: Option<Duration>,
        body: CachedBody,
        now: Instant,
    ) -> Self {
        let age = parts.iter().map(|part| part.age).max().unwrap_or_default();
        let shortest = |limit: fn(&Freshness) -> Duration| {
            let left = parts.iter().map(|part| limit(part.freshness()).saturating_sub(part.age));
            left.chain(expires_in).min().unwrap_or_default()
        };
        let fresh = shortest(|freshness| freshness.lifetime);
        let until = |limit| shortest(limit).saturating_sub(fresh);
        let freshness = Freshness {
            lifetime: age.saturating_add(fresh),
            stale_while_revalidate: until(|freshness| {
                freshness.lifetime.saturating_add(freshness.stale_while_revalidate)
            }),
            stale_if_error: until(Freshness::bound),
            age_at_load: age,
        };
        let storable = parts.iter().all(|part| part.entry.is_shareable());
        let loaded = Loaded { storable, ..Loaded::new(body, freshness) };
        let worst = parts.iter().max_by_key(|part| part.handling.severity());
        let (outcome, handling) =
            worst.map_or((Outcome::Negative, Handling::Hit), |part| (part.outcome, part.handling));
        Self::new(Arc::new(Entry::new("".into(), loaded, now)), hop, outcome, handling, now)
    }

    /// Builds the HTTP response: 200 with the body, or 304 if the client already has the body.
    pub fn response(&self, request: &HeaderMap) -> Response<Bytes> {
        self.entry.head(self.body()).response(self.meta(), self.body().bytes(), request)
    }

    /// Returns the `Cache-Status` of this part of a composed response, including this cache's
    /// member.
    pub fn cache_status(&self) -> HeaderValue {
        self.meta().cache_status(self.entry.head(self.body()).upstream)
    }

    /// Returns the body and its content type and tag.
    pub fn body(&self) -> &CachedBody {
        self.representation.as_ref().unwrap_or_else(|| self.entry.body())
    }

    /// Returns the same response with another body, made of the entry's body and its
    /// [annotation](CachedBody::annotation). Age, freshness and outcome stay those of the entry, so
    /// several representations of one thing share a load.
    #[must_use]
    pub fn represented_by(mut self, body: CachedBody) -> Self {
        self.representation = Some(body);
        self
    }

    /// Returns the same response at a later time, with the age that it has then.
    #[must_use]
    pub fn at(mut self, now: Instant) -> Self {
        self.age = self.entry.age(now);
        self
    }

    /// Returns the time for which the response was still fresh at the request; zero if it was stale.
    pub fn fresh_for(&self) -> Duration {
        self.freshness().lifetime.saturating_sub(self.age)
    }

    /// Whether the client has the body already, so that the response is 304 (RFC 9110, 13.1.2).
    pub fn is_known_to(&self, request: &HeaderMap) -> bool {
        self.body().etag().is_some_and(|tag| matches_if_none_match(request, tag))
    }

    /// Returns the age since the origin's response, across all hops.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Returns the limits on the age of the response.
    pub fn freshness(&self) -> &Freshness {
        self.entry.freshness()
    }

    /// Returns the outcome under which the request is counted.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    fn meta(&self) -> ResponseMeta<'static> {
        let ttl = match self.freshness().lifetime.checked_sub(self.age) {
            Some(remaining) => i64::try_from(remaining.as_secs()).unwrap_or(i64::MAX),
            None => {
                let over = self.age.saturating_sub(self.freshness().lifetime);
                let seconds = over.as_secs() + u64::from(over.subsec_nanos() > 0);
                i64::try_from(seconds).map_or(i64::MIN, |seconds| -seconds)
            }
        };
        ResponseMeta { hop: self.hop, handling: self.handling, age: self.age.as_secs(), ttl }
    }
}

/// A failure, and its cause.
#[derive(Clone, Debug)]
pub struct Failed<E> {
    /// The error of the load, or its panic.
    pub cause: Cause<E>,
    /// The remaining lifetime of a negative entry, sent as the `max-age` of a 404. Any other
    /// failure has no lifetime, because no cache may store it.
    pub expires_in: Option<Duration>,
    pub(crate) hop: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) handling: Handling,
}

/// The cause of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause<E> {
    /// The load returned an error.
    Error(E),
    /// The load ended without a result: it panicked, or the process is shutting down.
    Panicked,
}

impl<E> Failed<E> {
    /// Returns the `Cache-Status` header of the error's response.
    pub fn cache_status(&self) -> HeaderValue {
        let ttl = self.expires_in.map_or(0, |remaining| remaining.as_secs());
        let ttl = i64::try_from(ttl).unwrap_or(i64::MAX);
        ResponseMeta { hop: self.hop, handling: self.handling, age: 0, ttl }.cache_status(None)
    }

    /// Returns the outcome under which the request is counted.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}
