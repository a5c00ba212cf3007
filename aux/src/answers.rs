//! Turns a query into a response that is ready to send: from the cache, or with a call to the
//! backend (AWS or memory).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cache::{
    Cache, CacheableError, CachedBody, Disposition, LoadContext, Loaded, Mode, Priority, Served,
    Settings, http::Freshness,
};
use serde::Serialize;
use service::{
    config::Switch,
    contract::{
        problem::Problem,
        wire::{Buckets, Parameters, Value, Values, Versioned},
    },
    observe::context::RequestContext,
};
use tokio::time::Instant;

use crate::{
    config::Config,
    error::Error,
    inventory::Inventory,
    name::{ParameterName, ParameterPath, Prefixes},
};

/// A query of the public API whose name or path is valid.
#[derive(Clone, Debug)]
pub enum Question {
    Buckets,
    Parameters,
    Parameter(ParameterName),
    Values(ParameterPath),
}

impl Question {
    /// The cache key: the path of the query in its simplest form. Equal queries have equal keys,
    /// and different queries have different keys.
    fn key(&self) -> String {
        match self {
            Self::Buckets => "/buckets".to_owned(),
            Self::Parameters => "/params".to_owned(),
            Self::Parameter(name) => format!("/param{}", name.as_str()),
            Self::Values(path) => format!("/values{}", path.as_str()),
        }
    }
}

/// The response cache in front of the backend. Cloning is shallow.
#[derive(Clone)]
pub struct Answers {
    cache: Cache<Failure>,
    source: Arc<Source>,
}

struct Source {
    version: String,
    inventory: Arc<dyn Inventory>,
    prefixes: Prefixes,
    allow_secure_strings: bool,
    /// The lifetime of entries, absent while the cache is off, so that clients do not store a
    /// response either.
    freshness: Option<Freshness>,
    jitter: f64,
    negative_ttl: Duration,
}

/// An error, and the lifetime of its entry if it becomes a negative entry.
#[derive(Clone, Debug)]
struct Failure {
    error: Error,
    negative_ttl: Duration,
}

/// A result of the backend, and whether it is empty.
struct Found {
    body: CachedBody,
    empty: bool,
}

impl Found {
    fn something(body: CachedBody) -> Self {
        Self { body, empty: false }
    }
}

impl CacheableError for Failure {
    fn disposition(&self) -> Disposition {
        match self.error {
            // AWS reported that the parameter is a SecureString. Repeated calls for it would cost
            // as much quota as calls for unknown names, so this error becomes a negative entry too.
            Error::ParameterNotFound | Error::SecureStringNotAllowed => {
                Disposition::Negative { ttl: self.negative_ttl }
            }
            Error::InvalidParameterName(_)
            | Error::RefusedParameterName(_)
            | Error::ParameterNotAllowed
            | Error::AwsAccessDenied(_) => Disposition::Definitive,
            Error::AwsThrottled { .. }
            | Error::AwsCredentials(_)
            | Error::AwsUnavailable(_)
            | Error::AwsTimeout(_) => Disposition::Transient,
        }
    }

    fn heap_bytes(&self) -> usize {
        // Errors that become negative entries own no heap memory.
        0
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        failure.error.problem()
    }
}

impl Answers {
    pub fn new(config: &Config, inventory: Arc<dyn Inventory>) -> Self {
        let settings = Settings {
            name: "answers",
            hop: "aux-service",
            max_bytes: config.common.cache_max_bytes.as_u64(),
        };
        let cache = match config.common.cache {
            Switch::On => Cache::new(settings),
            Switch::Off => Cache::off(settings),
        };
        let source = Source {
            version: config.aux_version.clone(),
            inventory,
            prefixes: config.parameter_prefixes.clone(),
            allow_secure_strings: config.allow_secure_strings,
            freshness: (config.common.cache == Switch::On).then(|| {
                Freshness::new(
                    config.cache_ttl,
                    config.cache_stale_while_revalidate,
                    config.cache_stale_if_error,
                )
            }),
            jitter: config.cache_ttl_jitter,
            negative_ttl: match config.common.cache {
                Switch::On => config.cache_negative_ttl,
                Switch::Off => Duration::ZERO,
            },
        };
        Self { cache, source: Arc::new(source) }
    }

    /// Returns the entry from the cache, or loads it. Concurrent requests for one entry share a
    /// load.
    pub async fn answer(&self, question: Question, mode: Mode) -> Result<Served, Problem> {
        let key = question.key();
        let source = Arc::clone(&self.source);
        let request_context = RequestContext::current();
        let load = move |context: LoadContext| {
            // The load runs in a task of its own, as part of the request that started it.
            let load = async move { source.load(&question, context.priority).await };
            RequestContext::restore(request_context, load)
        };
        Ok(self.cache.get(&key, mode, load).await?)
    }

    /// Looks up a cache key without waiting and without a call.
    pub fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Problem>> {
        Some(self.cache.lookup(key, now)?.map_err(Problem::from))
    }

    /// Updates the gauges of the cache.
    pub fn sync(&self) {
        self.cache.sync();
    }
}

impl Source {
    async fn load(&self, question: &Question, priority: Priority) -> Result<Loaded, Failure> {
        let found = match question {
            Question::Buckets => self.buckets(priority).await.map(Found::something),
            Question::Parameters => self.parameters(priority).await.map(Found::something),
            Question::Parameter(name) => self.parameter(name, priority).await.map(Found::something),
            Question::Values(path) => self.values(path, priority).await,
        };
        match (found, self.freshness) {
            (Ok(Found { body, empty: false }), Some(freshness)) => {
                Ok(Loaded::new(body, freshness.jittered(self.jitter)))
            }
            // An empty result expires like a negative entry. Otherwise requests for made-up paths
            // would evict useful entries.
            (Ok(Found { body, empty: true }), Some(_)) => {
                let briefly = Freshness::new(self.negative_ttl, Duration::ZERO, Duration::ZERO);
                Ok(Loaded::new(body, briefly))
            }
            (Ok(Found { body, .. }), None) => {
                Ok(Loaded { storable: false, ..Loaded::new(body, Freshness::default()) })
            }
            (Err(error), _) => Err(Failure { error, negative_ttl: self.negative_ttl }),
        }
    }

    async fn buckets(&self, priority: Priority) -> Result<CachedBody, Error> {
        let buckets = self.inventory.buckets(priority).await?;
        Ok(self.open(Buckets { buckets }))
    }

    async fn parameters(&self, priority: Priority) -> Result<CachedBody, Error> {
        let mut parameters = self.inventory.parameters(priority).await?;
        parameters.retain(|name| self.prefixes.allow(name));
        Ok(self.open(Parameters { parameters }))
    }

    async fn parameter(
        &self,
        name: &ParameterName,
        priority: Priority,
    ) -> Result<CachedBody, Error> {
        let parameter = self.inventory.parameter(name, priority).await?;
        if parameter.secure && !self.allow_secure_strings {
            return Err(Error::SecureStringNotAllowed);
        }
        let body = Value { value: parameter.value.as_str() };
        Ok(if parameter.secure { self.secret(body) } else { self.open(body) })
    }

    async fn values(&self, path: &ParameterPath, priority: Priority) -> Result<Found, Error> {
        let mut parameters = self.inventory.values(path, priority).await?;
        parameters.retain(|parameter| self.prefixes.allow(&parameter.name));
        let (mut values, mut omitted, mut secret) = (BTreeMap::new(), Vec::new(), false);
        for parameter in &parameters {
            if parameter.secure && !self.allow_secure_strings {
                omitted.push(parameter.name.clone());
            } else {
                secret |= parameter.secure;
                values.insert(parameter.name.clone(), parameter.value.as_str());
            }
        }
        let empty = values.is_empty() && omitted.is_empty();
        let values = Values { path: path.as_str().to_owned(), values, omitted };
        let body = if secret { self.secret(values) } else { self.open(values) };
        Ok(Found { body, empty })
    }

    fn open<T: Serialize>(&self, body: T) -> CachedBody {
        CachedBody::json(&self.versioned(body)).expect("strings are JSON")
    }

    fn secret<T: Serialize>(&self, body: T) -> CachedBody {
        CachedBody::confidential_json(&self.versioned(body)).expect("strings are JSON")
    }

    fn versioned<T>(&self, body: T) -> Versioned<T> {
        Versioned { version: self.version.clone(), body }
    }
}
