//! A query becomes a response that is ready to send: from the cache, or with a call to the
//! backend (AWS or memory).

use std::{pin::Pin, sync::Arc, time::Duration};

use cache::{
    Cache, CacheableError, CachedBody, Disposition, LoadContext, Loaded, Mode, Served, Settings,
    Subscription,
};
use service::{
    config::Switch, contract::problem::Problem, observe::context::RequestContext, server::Deadline,
};
use tokio::time::Instant;

mod lists;
mod keys;
mod changes;
mod differences;
mod loader;

pub use self::changes::Changes;
use self::{
    changes::Current,
    differences::{deletion, differences},
    keys::{key_of, parameter_key, record_key},
    lists::LoadingLists,
    loader::{Load, Loader},
};
use crate::{
    backend::ParameterStore,
    batch::GroupMember,
    config::Config,
    error::Error,
    fleet::{Demand, Fleet, Scope, SharedChanges},
    name::ParameterName,
    parameter::{PathQuery, SecretForm},
    progress::ListProgress,
    record::Record,
};

/// The name of this service in `Cache-Status`.
const HOP: &str = "aux-service";

/// The time before a request's deadline at which it stops waiting for a list.
const DEADLINE_MARGIN: Duration = Duration::from_millis(20);

/// A query of the public API whose name or path is valid.
#[derive(Clone, Debug)]
pub enum StoreQuery {
    /// The names of all buckets.
    Buckets,
    /// The names and descriptions of all parameters.
    Parameters,
    /// One parameter.
    Parameter(ParameterName, SecretForm),
    /// The parameters below a path.
    Values(PathQuery),
}

impl StoreQuery {
    /// Whether the response is a list, which may take longer to load than a request may take.
    fn is_list(&self) -> bool {
        match self {
            Self::Buckets | Self::Parameters | Self::Values(_) => true,
            Self::Parameter(..) => false,
        }
    }

    /// Whether this kind of record answers the query.
    fn is_answered_by(&self, record: &Record) -> bool {
        matches!(
            (self, record),
            (Self::Buckets, Record::Buckets(_))
                | (Self::Parameters, Record::Parameters(_))
                | (Self::Parameter(..), Record::Parameter(_))
                | (Self::Values(_), Record::Values(_))
        )
    }

    /// Whether the query names a parameter without its account, which is then that of this service.
    fn has_no_account(&self) -> bool {
        matches!(self, Self::Parameter(name, _) if name.account().is_none())
    }

    /// The form in which the query reads SecureStrings.
    fn form(&self) -> SecretForm {
        match self {
            Self::Parameter(_, form) | Self::Values(PathQuery { form, .. }) => *form,
            Self::Buckets | Self::Parameters => SecretForm::Value,
        }
    }

    /// The path whose values the query reads; empty for other queries.
    fn path(&self) -> &str {
        match self {
            Self::Values(query) => query.path.as_str(),
            Self::Buckets | Self::Parameters | Self::Parameter(..) => "",
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
    changes: Changes,
}

/// An error, and the lifetime of its entry if it becomes a negative entry.
#[derive(Clone, Debug)]
struct LoadError {
    error: Error,
    negative_ttl: Duration,
}

impl CacheableError for LoadError {
    fn disposition(&self) -> Disposition {
        match self.error {
            // AWS reported that the parameter is a SecureString or has no text. Repeated calls for
            // it would cost as much quota as calls for unknown names, so these errors become
            // negative entries too.
            Error::ParameterNotFound
            | Error::ParameterVersionNotFound
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
    pub fn new(config: &Config, backend: Arc<dyn ParameterStore>, fleet: Option<&Fleet>) -> Self {
        let settings = Settings {
            name: "answers",
            hop: HOP,
            max_bytes: config.common.cache_max_bytes.as_u64(),
        };
        let cache = match config.common.cache {
            Switch::On => Cache::new(settings),
            Switch::Off => Cache::off(settings),
        };
        let shared_cache = fleet.map(|fleet| {
            fleet.cache(&Scope {
                region: backend.region().unwrap_or("embedded"),
                origin: backend.origin(),
                prefixes: &config.parameter_prefixes.to_string(),
                allow_secure_strings: config.allow_secure_strings,
            })
        });
        // No window of staleness is longer than that of errors.
        let bound = config.cache_ttl.saturating_add(config.cache_stale_if_error);
        let shared_changes = shared_cache.clone().map(|cache| SharedChanges::new(cache, bound));
        let changes =
            Changes::new(cache.clone(), config.parameter_prefixes.clone(), shared_changes);
        changes.follow();
        let loader = Arc::new(Loader::new(config, backend, shared_cache));
        Self { cache, loader, lists: LoadingLists::default(), changes }
    }

    /// Returns the changes that this replica learns of.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Returns the entry from the cache, or loads it. Concurrent requests for one entry share a
    /// load.
    ///
    /// A load may take longer than a request: a list loads for minutes, and the load of another
    /// replica may fail late. A request that would outlast its deadline gets the stale entry, if
    /// there is one, or else an error: for a list, the progress of its load.
    pub async fn get(
        &self,
        query: StoreQuery,
        mode: Mode,
        deadline: Deadline,
    ) -> Result<Served, Problem> {
        self.get_in_group(query, mode, deadline, None).await
    }

    /// Returns one of several entries that are read together, like [`get`](Self::get). Their misses
    /// share a call.
    pub async fn get_in_group(
        &self,
        query: StoreQuery,
        mode: Mode,
        Deadline(deadline): Deadline,
        member: Option<GroupMember>,
    ) -> Result<Served, Problem> {
        let key = key_of(&query);
        let demand = match mode {
            Mode::Normal => Demand::Fresh,
            Mode::Revalidate => Demand::NewLoad,
        };
        let load = self.load_of(query, &key, demand, Some(deadline), member);
        let late = || LoadError { error: self.lists.late(&key), negative_ttl: Duration::ZERO };
        // Without the margin, the layer that enforces the deadline could respond first.
        let deadline = deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(deadline);
        Ok(self.cache.get_until(&key, mode, deadline, late, load).await?)
    }

    /// Loads one of several entries although no request waits for them, so that they stay fresh.
    /// Returns the time for which it is fresh.
    pub async fn refresh(
        &self,
        query: StoreQuery,
        member: GroupMember,
    ) -> Result<Duration, Problem> {
        let key = key_of(&query);
        let load = self.load_of(query, &key, Demand::Young, None, Some(member));
        let served = self.cache.refresh(&key, load).await?;
        Ok(served.freshness().lifetime.saturating_sub(served.age()))
    }

    /// Returns the load of a query. It runs in a task of its own, as part of the request that
    /// started it.
    fn load_of(
        &self,
        query: StoreQuery,
        key: &str,
        demand: Demand,
        deadline: Option<Instant>,
        member: Option<GroupMember>,
    ) -> impl FnOnce(LoadContext) -> BoxedLoad + Send + 'static + use<> {
        let (store, key) = (self.clone(), key.to_owned());
        let request_context = RequestContext::current();
        move |context: LoadContext| {
            Box::pin(RequestContext::restore(request_context, async move {
                let progress = query.is_list().then(|| store.lists.start(key.clone()));
                let unlisted = ListProgress::default();
                let progress = progress.as_deref().unwrap_or(&unlisted);
                let load = Load { query: &query, progress, demand, deadline };
                let started = Instant::now();
                let result = store.loader.load(&load, member, &context).await;
                store.report_changes(&query, key, started, &context, &result);
                result
            }))
        }
    }

    /// Publishes the changes that a load has found, once its entry is stored.
    fn report_changes(
        &self,
        query: &StoreQuery,
        key: String,
        started: Instant,
        context: &LoadContext,
        result: &Result<Loaded, LoadError>,
    ) {
        // A known change was published already.
        let Some(stored) = context.stored.as_ref().filter(|it| it.outdated_at.is_none()) else {
            return;
        };
        let changes = match result {
            Ok(loaded) => differences(query, &stored.body, &loaded.body),
            Err(failed) => deletion(query, &failed.error),
        };
        let Some(mut events) = self.cache.subscribe(&key).filter(|_| !changes.is_empty()) else {
            return;
        };
        let loaded = result.as_ref().ok();
        let age = loaded.map_or(Duration::ZERO, |loaded| loaded.freshness.age_at_load);
        // Another replica has loaded the record, at a time that is not known exactly.
        let shared = loaded.is_some_and(|loaded| loaded.cache_status.is_some());
        let resource = shared.then(|| record_key(query).resource);
        let (store, current) = (self.clone(), Current { key, resource });
        tokio::spawn(async move {
            // The end of this load.
            events.event().await;
            store.changes.publish_found(changes, started.elapsed() + age, current).await;
        });
    }

    /// Looks up the entry of one parameter without waiting and without a call.
    pub fn lookup_parameter(
        &self,
        name: &ParameterName,
        form: SecretForm,
        now: Instant,
    ) -> Option<Result<Served, Problem>> {
        self.lookup(&parameter_key(name, form), now)
    }

    /// Whether the cache has an entry of one parameter that may still be served.
    pub fn holds_parameter(&self, name: &ParameterName, form: SecretForm) -> bool {
        self.cache.holds(&parameter_key(name, form))
    }

    /// Combines the entries of several parameters into one response; see [`Served::combined`].
    pub fn combine(parts: &[Served], expires_in: Option<Duration>, body: CachedBody) -> Served {
        Served::combined(HOP, parts, expires_in, body, Instant::now())
    }

    /// Looks up a cache key without waiting and without a call.
    pub fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Problem>> {
        Some(self.cache.lookup(key, now)?.map_err(Problem::from))
    }

    /// Subscribes to the events of an entry; see [`Cache::subscribe`].
    pub fn subscribe(&self, key: &str) -> Option<Subscription> {
        self.cache.subscribe(key)
    }

    /// Returns the account of this service, once a response has shown it.
    pub fn own_account(&self) -> Option<&str> {
        self.loader.own_account()
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

#[cfg(test)]
mod tests;
