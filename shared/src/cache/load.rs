//! What a load is told, what it yields, and what its errors mean.

use std::time::Duration;

use super::Answer;
use crate::http_cache::Freshness;

/// What a load is told of the request that it is made for.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What is kept so far, for a conditional request.
    pub previous: Option<Previous>,
    /// What depends on it: a quota serves the greater urgency first.
    pub urgency: Urgency,
}

/// In ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody waits: the stale answer has been given.
    Refresh,
    /// Somebody waits, and gets what is kept if this fails.
    Revalidation,
    /// Somebody waits, and gets an error if this fails.
    Miss,
}

/// The answer that a load may renew: `Loaded::new(previous.answer, freshness)`.
#[derive(Clone, Debug)]
pub struct Previous {
    pub answer: Answer,
    /// What [`Loaded::validator`] was.
    pub validator: Option<Box<[u8]>>,
}

/// What a load yields when the source has answered.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub answer: Answer,
    pub freshness: Freshness,
    /// `false` keeps it out of the cache, and out of those behind us too.
    pub storable: bool,
    /// The source's own `ETag`, given back to the next load of this key. Like what follows in memory
    /// of its own: a header value is a part of a connection's buffer, and would keep all of that.
    pub validator: Option<Box<[u8]>>,
    /// The `Cache-Status` that it came with.
    pub cache_status: Option<Box<str>>,
}

impl Loaded {
    /// What comes straight from the origin, to be kept.
    pub fn new(answer: Answer, freshness: Freshness) -> Self {
        Self { answer, freshness, storable: true, validator: None, cache_status: None }
    }
}

/// An error of a load, shared by all who waited for it.
pub trait CacheableError: Clone + Send + Sync + 'static {
    /// What it says about the key.
    fn disposition(&self) -> Disposition;

    /// The memory behind this error, on the heap. Made-up names are kept with it: what is
    /// left out here is left out of the bound.
    fn heap_bytes(&self) -> usize;
}

/// What an error says about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// There is no such thing: what was kept is dropped, and this is remembered.
    Negative { ttl: Duration },
    /// The source has answered, and says no: what was kept is dropped.
    Definitive,
    /// The source has not answered: what was kept is as good as it was.
    Transient,
}
