//! A query becomes a response that is ready to send: from the cache, or with a call to the
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
    backend::ParameterStore,
    config::Config,
    error::Error,
    name::{ParameterName, ParameterPath, Prefixes},
};

/// A query of the public API whose name or path is valid.
#[derive(Clone, Debug)]
pub enum StoreQuery {
    Buckets,
    Parameters,
    Parameter(ParameterName),
    Values(ParameterPath),
}

impl StoreQuery {
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
pub struct CachedStore {
    cache: Cache<LoadError>,
    loader: Arc<Loader>,
}

/// The load of an entry: calls the backend, filters its result and builds the body.
struct Loader {
    version: String,
    backend: Arc<dyn ParameterStore>,
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
struct LoadError {
    error: Error,
    negative_ttl: Duration,
}

/// A body made of the result of the backend, and whether that result is empty.
struct LoadedBody {
    body: CachedBody,
    empty: bool,
}

impl LoadedBody {
    fn non_empty(body: CachedBody) -> Self {
        Self { body, empty: false }
    }
}

impl CacheableError for LoadError {
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
            | Error::AwsCredentials { .. }
            | Error::AwsUnavailable(_)
            | Error::AwsTimeout(_) => Disposition::Transient,
        }
    }

    fn heap_bytes(&self) -> usize {
        // Errors that become negative entries own no heap memory.
        0
    }
}

impl From<LoadError> for Problem {
    fn from(failed: LoadError) -> Self {
        failed.error.problem()
    }
}

impl CachedStore {
    pub fn new(config: &Config, backend: Arc<dyn ParameterStore>) -> Self {
        let settings = Settings {
            name: "answers",
            hop: "aux-service",
            max_bytes: config.common.cache_max_bytes.as_u64(),
        };
        let cache = match config.common.cache {
            Switch::On => Cache::new(settings),
            Switch::Off => Cache::off(settings),
        };
        let loader = Loader {
            version: config.aux_version.clone(),
            backend,
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
        Self { cache, loader: Arc::new(loader) }
    }

    /// Returns the entry from the cache, or loads it. Concurrent requests for one entry share a
    /// load.
    pub async fn get(&self, query: StoreQuery, mode: Mode) -> Result<Served, Problem> {
        let key = query.key();
        let loader = Arc::clone(&self.loader);
        let request_context = RequestContext::current();
        let load = move |context: LoadContext| {
            // The load runs in a task of its own, as part of the request that started it.
            let loading = async move { loader.load(&query, context.priority).await };
            RequestContext::restore(request_context, loading)
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

impl Loader {
    async fn load(&self, query: &StoreQuery, priority: Priority) -> Result<Loaded, LoadError> {
        let result = match query {
            StoreQuery::Buckets => self.buckets(priority).await.map(LoadedBody::non_empty),
            StoreQuery::Parameters => self.parameters(priority).await.map(LoadedBody::non_empty),
            StoreQuery::Parameter(name) => {
                self.parameter(name, priority).await.map(LoadedBody::non_empty)
            }
            StoreQuery::Values(path) => self.values(path, priority).await,
        };
        match (result, self.freshness) {
            (Ok(LoadedBody { body, empty: false }), Some(freshness)) => {
                Ok(Loaded::new(body, freshness.jittered(self.jitter)))
            }
            // An empty result expires like a negative entry. Otherwise requests for made-up paths
            // would evict useful entries.
            (Ok(LoadedBody { body, empty: true }), Some(_)) => {
                let negative = Freshness::new(self.negative_ttl, Duration::ZERO, Duration::ZERO);
                Ok(Loaded::new(body, negative))
            }
            (Ok(LoadedBody { body, .. }), None) => {
                Ok(Loaded { storable: false, ..Loaded::new(body, Freshness::default()) })
            }
            (Err(error), _) => Err(LoadError { error, negative_ttl: self.negative_ttl }),
        }
    }

    async fn buckets(&self, priority: Priority) -> Result<CachedBody, Error> {
        let buckets = self.backend.buckets(priority).await?;
        Ok(self.public_json(Buckets { buckets }))
    }

    async fn parameters(&self, priority: Priority) -> Result<CachedBody, Error> {
        let mut parameters = self.backend.parameters(priority).await?;
        parameters.retain(|name| self.prefixes.allow(name));
        Ok(self.public_json(Parameters { parameters }))
    }

    async fn parameter(
        &self,
        name: &ParameterName,
        priority: Priority,
    ) -> Result<CachedBody, Error> {
        let parameter = self.backend.parameter(name, priority).await?;
        if parameter.secure && !self.allow_secure_strings {
            return Err(Error::SecureStringNotAllowed);
        }
        let body = Value { value: parameter.value.as_str() };
        Ok(if parameter.secure { self.confidential_json(body) } else { self.public_json(body) })
    }

    async fn values(&self, path: &ParameterPath, priority: Priority) -> Result<LoadedBody, Error> {
        let mut parameters = self.backend.values(path, priority).await?;
        parameters.retain(|parameter| self.prefixes.allow(&parameter.name));
        let (mut values, mut omitted, mut confidential) = (BTreeMap::new(), Vec::new(), false);
        for parameter in &parameters {
            if parameter.secure && !self.allow_secure_strings {
                omitted.push(parameter.name.clone());
            } else {
                confidential |= parameter.secure;
                values.insert(parameter.name.clone(), parameter.value.as_str());
            }
        }
        let empty = values.is_empty() && omitted.is_empty();
        let values = Values { path: path.as_str().to_owned(), values, omitted };
        let body =
            if confidential { self.confidential_json(values) } else { self.public_json(values) };
        Ok(LoadedBody { body, empty })
    }

    fn public_json<T: Serialize>(&self, body: T) -> CachedBody {
        CachedBody::json(&self.versioned(body)).expect("strings are JSON")
    }

    fn confidential_json<T: Serialize>(&self, body: T) -> CachedBody {
        CachedBody::confidential_json(&self.versioned(body)).expect("strings are JSON")
    }

    fn versioned<T>(&self, body: T) -> Versioned<T> {
        Versioned { version: self.version.clone(), body }
    }
}
