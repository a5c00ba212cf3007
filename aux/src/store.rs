//! A query becomes a response that is ready to send: from the cache, or with a call to the
//! backend (AWS or memory).

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use cache::{
    Cache, CacheableError, CachedBody, Disposition, LoadContext, Loaded, Mode, Priority, Served,
    Settings, http::Freshness,
};
use serde::Serialize;
use service::{
    config::Switch,
    contract::{
        problem::Problem,
        wire::{Buckets, Parameters, Values, Versioned},
    },
    observe::context::RequestContext,
    server::Deadline,
};
use tokio::time::Instant;

mod lists;

use self::lists::LoadingLists;
use crate::{
    backend::{ListProgress, ParameterStore},
    config::Config,
    error::Error,
    name::{Malformed, ParameterName, ParameterPath, Prefixes},
    parameter::{Parameter, PathValues},
    record::value_body,
};

/// The time before a request's deadline at which it stops waiting for a list.
const DEADLINE_MARGIN: Duration = Duration::from_millis(20);

/// A query of the public API whose name or path is valid.
#[derive(Clone, Debug)]
pub enum StoreQuery {
    /// The names of all buckets.
    Buckets,
    /// The names of all parameters.
    Parameters,
    /// One parameter.
    Parameter(ParameterName),
    /// The parameters below a path.
    Values(ParameterPath),
}

impl StoreQuery {
    /// Whether the response is a list, which may take longer to load than a request may take.
    fn is_list(&self) -> bool {
        match self {
            Self::Buckets | Self::Parameters | Self::Values(_) => true,
            Self::Parameter(_) => false,
        }
    }

    /// The cache key: the path of the query in its simplest form. Equal queries have equal keys,
    /// and different queries have different keys.
    fn key(&self) -> String {
        match self {
            Self::Buckets => "/buckets".to_owned(),
            Self::Parameters => "/params".to_owned(),
            Self::Parameter(name) => format!("/param{}", name.path()),
            Self::Values(path) => format!("/values{}", path.as_str()),
        }
    }
}

type BoxedLoad = Pin<Box<dyn Future<Output = Result<Loaded, LoadError>> + Send>>;

/// The response cache in front of the backend. Cloning is shallow.
#[derive(Clone)]
pub struct CachedStore {
    cache: Cache<LoadError>,
    loader: Arc<Loader>,
    lists: LoadingLists,
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
    /// The account of this service, learned from the first parameter that has an ARN. AWS reports
    /// it nowhere else without one more call and one more permission.
    own_account: OnceLock<String>,
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
            // AWS reported that the parameter is a SecureString or has no text. Repeated calls for
            // it would cost as much quota as calls for unknown names, so these errors become
            // negative entries too.
            Error::ParameterNotFound
            | Error::SecureStringNotAllowed
            | Error::ParameterUnreadable => Disposition::Negative { ttl: self.negative_ttl },
            Error::InvalidParameterName(_)
            | Error::RefusedParameterName(_)
            | Error::ParameterNotAllowed
            | Error::AwsAccessDenied(_) => Disposition::Definitive,
            // The reason of a refusal is unknown, so it replaces no entry that is still usable.
            Error::AwsRefused(_)
            | Error::AwsThrottled { .. }
            | Error::AwsCredentials { .. }
            | Error::AwsUnavailable(_)
            | Error::AwsTimeout(_)
            | Error::ListLoading { .. } => Disposition::Transient,
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
            own_account: OnceLock::new(),
        };
        Self { cache, loader: Arc::new(loader), lists: LoadingLists::default() }
    }

    /// Returns the entry from the cache, or loads it. Concurrent requests for one entry share a
    /// load.
    ///
    /// A list may load for minutes. A request that would outlast its deadline gets the previous
    /// list, if that is usable, or else the progress of the load.
    pub async fn get(
        &self,
        query: StoreQuery,
        mode: Mode,
        Deadline(deadline): Deadline,
    ) -> Result<Served, Problem> {
        let (key, is_list) = (query.key(), query.is_list());
        let load = self.load_of(query, &key);
        if !is_list {
            return Ok(self.cache.get(&key, mode, load).await?);
        }
        let late = || LoadError { error: self.lists.late(&key), negative_ttl: Duration::ZERO };
        // Without the margin, the layer that enforces the deadline could respond first.
        let deadline = deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(deadline);
        Ok(self.cache.get_until(&key, mode, deadline, late, load).await?)
    }

    /// Loads an entry although no request waits for it. Returns the time for which it is fresh.
    pub async fn refresh(&self, query: StoreQuery) -> Result<Duration, Problem> {
        let key = query.key();
        let served = self.cache.refresh(&key, self.load_of(query, &key)).await?;
        Ok(served.freshness().lifetime.saturating_sub(served.age()))
    }

    /// Returns the load of a query. It runs in a task of its own, as part of the request that
    /// started it.
    fn load_of(
        &self,
        query: StoreQuery,
        key: &str,
    ) -> impl FnOnce(LoadContext) -> BoxedLoad + Send + 'static + use<> {
        let (loader, lists, key) = (Arc::clone(&self.loader), self.lists.clone(), key.to_owned());
        let request_context = RequestContext::current();
        move |context: LoadContext| {
            Box::pin(RequestContext::restore(request_context, async move {
                if query.is_list() {
                    let progress = lists.start(key);
                    loader.load(&query, context.priority, &progress).await
                } else {
                    loader.load(&query, context.priority, &ListProgress::default()).await
                }
            }))
        }
    }

    /// Looks up a cache key without waiting and without a call.
    pub fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Problem>> {
        Some(self.cache.lookup(key, now)?.map_err(Problem::from))
    }

    /// Returns the account of this service, once a response has shown it.
    pub fn own_account(&self) -> Option<&str> {
        self.loader.own_account.get().map(String::as_str)
    }

    /// Checks that an ARN names the region of this service.
    pub fn check_region(&self, name: &ParameterName) -> Result<(), Error> {
        self.loader.check_region(name)
    }

    /// Updates the gauges of the cache.
    pub fn sync(&self) {
        self.cache.sync();
    }
}

impl Loader {
    async fn load(
        &self,
        query: &StoreQuery,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Loaded, LoadError> {
        let result = match query {
            StoreQuery::Buckets => {
                self.buckets(priority, progress).await.map(LoadedBody::non_empty)
            }
            StoreQuery::Parameters => {
                self.parameters(priority, progress).await.map(LoadedBody::non_empty)
            }
            StoreQuery::Parameter(name) => {
                self.parameter(name, priority).await.map(LoadedBody::non_empty)
            }
            StoreQuery::Values(path) => self.values(path, priority, progress).await,
        };
        match (result, self.freshness) {
            (Ok(LoadedBody { body, empty: false }), Some(freshness)) => {
                let freshness = freshness.loaded_over(progress.age());
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

    async fn buckets(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<CachedBody, Error> {
        let buckets = self.backend.buckets(priority, progress).await?;
        Ok(self.public_json(Buckets { buckets }))
    }

    async fn parameters(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<CachedBody, Error> {
        let mut parameters = self.backend.parameters(priority, progress).await?;
        parameters.retain(|name| self.prefixes.allow(name));
        Ok(self.public_json(Parameters { parameters }))
    }

    /// Learns the account of this service from a parameter that was read by its plain name.
    fn learn_account(&self, parameter: &Parameter) {
        if let Some(account) = parameter.details.account() {
            self.own_account.get_or_init(|| account.to_owned());
        }
    }

    /// Checks that an ARN names the region of the backend, which reads no other.
    fn check_region(&self, name: &ParameterName) -> Result<(), Error> {
        match (name.region(), self.backend.region()) {
            (Some(named), Some(own)) if named != own => {
                Err(Error::InvalidParameterName(Malformed::OtherRegion))
            }
            _ => Ok(()),
        }
    }

    async fn parameter(
        &self,
        name: &ParameterName,
        priority: Priority,
    ) -> Result<CachedBody, Error> {
        // AWS reads a secret with decryption only, so no call is necessary.
        if name.is_secret_reference() && !self.allow_secure_strings {
            return Err(Error::SecureStringNotAllowed);
        }
        self.check_region(name)?;
        let parameter = self.backend.parameter(name, priority).await?;
        if name.account().is_none() {
            self.learn_account(&parameter);
        }
        if parameter.secure && !self.allow_secure_strings {
            return Err(Error::SecureStringNotAllowed);
        }
        Ok(value_body(&self.version, &parameter))
    }

    async fn values(
        &self,
        path: &ParameterPath,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<LoadedBody, Error> {
        let PathValues { mut readable, unreadable: mut omitted } =
            self.backend.values(path, priority, progress).await?;
        if let Some(parameter) = readable.first() {
            self.learn_account(parameter);
        }
        readable.retain(|parameter| self.prefixes.allow(&parameter.name));
        omitted.retain(|name| self.prefixes.allow(name));
        let (mut values, mut confidential) = (BTreeMap::new(), false);
        for parameter in &readable {
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

#[cfg(test)]
mod tests;
