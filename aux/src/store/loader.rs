//! The load of an entry: finds its record in the shared cache or calls the backend, and builds the
//! body of the response.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use cache::{CacheableError, Disposition, LoadContext, Loaded, Priority, http::Freshness};
use service::config::Switch;
use tokio::time::Instant;

use super::{LoadError, StoreQuery, keys::record_key};
use crate::{
    backend::ParameterStore,
    batch::GroupMember,
    config::Config,
    error::Error,
    fleet::{Claim, Demand, Lock, SharedCache, SharedRecord, Wait},
    name::{Malformed, ParameterName, Prefixes},
    parameter::{Parameter, PathQuery, PathValues, SecretForm},
    progress::ListProgress,
    record::Record,
};

/// A list is loaded again because of a change after this many times the duration of its load. Without
/// an interval, a large list with frequent changes would use up the quota.
const LOADS_PER_INTERVAL: u32 = 10;

/// Loads entries.
pub(super) struct Loader {
    version: String,
    backend: Arc<dyn ParameterStore>,
    prefixes: Prefixes,
    allow_secure_strings: bool,
    /// The lifetime of entries, absent while the cache is off, so that clients do not store a
    /// response either.
    freshness: Option<Freshness>,
    jitter: f64,
    negative_ttl: Duration,
    /// The records that all replicas share. Absent without an engine.
    shared: Option<SharedCache>,
    /// The account of this service, learned from the first parameter that has an ARN. AWS reports
    /// it nowhere else without one more call and one more permission.
    own_account: OnceLock<String>,
}

/// One load.
pub(super) struct Load<'a> {
    pub(super) query: &'a StoreQuery,
    pub(super) progress: &'a ListProgress,
    pub(super) demand: Demand,
    /// The deadline of the request that started the load; absent if no request waits.
    pub(super) deadline: Option<Instant>,
}

impl Loader {
    pub(super) fn new(
        config: &Config,
        backend: Arc<dyn ParameterStore>,
        shared: Option<SharedCache>,
    ) -> Self {
        let is_on = config.common.cache == Switch::On;
        Self {
            version: config.aux_version.clone(),
            backend,
            prefixes: config.parameter_prefixes.clone(),
            allow_secure_strings: config.allow_secure_strings,
            freshness: is_on.then(|| {
                Freshness::new(
                    config.cache_ttl,
                    config.cache_stale_while_revalidate,
                    config.cache_stale_if_error,
                )
            }),
            jitter: config.cache_ttl_jitter,
            negative_ttl: if is_on { config.cache_negative_ttl } else { Duration::ZERO },
            shared,
            own_account: OnceLock::new(),
        }
    }

    pub(super) fn own_account(&self) -> Option<&str> {
        self.own_account.get().map(String::as_str)
    }

    /// Loads an entry, from the shared cache or from the backend. `member` is the place of this load
    /// among those that start together with it.
    pub(super) async fn load(
        &self,
        load: &Load<'_>,
        member: Option<GroupMember>,
        context: &LoadContext,
    ) -> Result<Loaded, LoadError> {
        // Ciphertexts stay with this replica.
        let shared = self.shared.as_ref().filter(|_| load.query.form() == SecretForm::Value);
        let Some(shared) = shared else {
            let record = self.fetch(load, context.priority, member).await;
            return self.loaded(load, record.as_ref());
        };
        let decode = |record: &SharedRecord| self.decode(load, record);
        let offer =
            |stale: Result<Loaded, LoadError>| drop(stale.map(|found| context.offer(found)));
        // A list may load for minutes, and a second load of it would cost as much of the quota.
        let until = load.deadline.filter(|_| !load.query.is_list()).map(halfway);
        let wait = Wait { until, progress: load.progress };
        let (lock, has_stale) =
            match shared.claim(&record_key(load.query), load.demand, wait, decode, offer).await {
                Claim::Found(result) => return result,
                Claim::Load { lock, has_stale } => (lock, has_stale),
            };
        let priority = match context.priority {
            Priority::Miss if has_stale => Priority::WithFallback,
            priority => priority,
        };
        let fetch = self.fetch(load, priority, member);
        let record = match &lock {
            Some(lock) => lock.hold(load.progress, fetch).await,
            None => fetch.await,
        };
        let loaded = self.loaded(load, record.as_ref());
        if let Some(lock) = lock {
            share(lock, record, &loaded);
        }
        loaded
    }

    /// Calls the backend. Leaves out what this service may not show.
    async fn fetch(
        &self,
        load: &Load<'_>,
        priority: Priority,
        member: Option<GroupMember>,
    ) -> Result<Record, Error> {
        let progress = load.progress;
        match load.query {
            StoreQuery::Buckets => {
                self.backend.buckets(priority, progress).await.map(Record::Buckets)
            }
            StoreQuery::Parameters => {
                let mut found = self.backend.parameters(priority, progress).await?;
                found.retain(|metadata| self.prefixes.allow(&metadata.name));
                Ok(Record::Parameters(found))
            }
            StoreQuery::Parameter(name, form) => {
                self.fetch_parameter(name, *form, priority, member).await.map(Record::Parameter)
            }
            StoreQuery::Values(query) => {
                self.fetch_values(query, priority, progress).await.map(Record::Values)
            }
        }
    }

    async fn fetch_parameter(
        &self,
        name: &ParameterName,
        form: SecretForm,
        priority: Priority,
        member: Option<GroupMember>,
    ) -> Result<Parameter, Error> {
        // AWS reads a secret with decryption only, so no call is necessary.
        if name.is_secret_reference() && !self.allow_secure_strings {
            return Err(Error::SecureStringNotAllowed);
        }
        self.check_region(name)?;
        let mut parameter = self.backend.parameter(name, form, priority, member).await?;
        shown_as(form, &mut parameter);
        if name.account().is_none() {
            self.learn_account(&parameter);
        }
        if parameter.secure && !self.allow_secure_strings {
            return Err(Error::SecureStringNotAllowed);
        }
        Ok(parameter)
    }

    async fn fetch_values(
        &self,
        query: &PathQuery,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<PathValues, Error> {
        let mut found = self.backend.values(query, priority, progress).await?;
        found.readable.iter_mut().for_each(|parameter| shown_as(query.form, parameter));
        if let Some(parameter) = found.readable.first() {
            self.learn_account(parameter);
        }
        found.readable.retain(|parameter| self.prefixes.allow(&parameter.name));
        found.unreadable.retain(|name| self.prefixes.allow(name));
        if !self.allow_secure_strings {
            let secure = found.readable.extract_if(.., |parameter| parameter.secure);
            found.unreadable.extend(secure.map(|parameter| parameter.name));
        }
        Ok(found)
    }

    /// Builds the entry of a record, or the error of a failed load.
    fn loaded(
        &self,
        load: &Load<'_>,
        record: Result<&Record, &Error>,
    ) -> Result<Loaded, LoadError> {
        let record = record
            .map_err(|error| LoadError { error: error.clone(), negative_ttl: self.negative_ttl })?;
        let body = record.body(&self.version, load.query.path());
        let age = load.progress.age();
        Ok(match self.freshness_of(record, age) {
            Some(freshness) => Loaded {
                min_interval: age.saturating_mul(LOADS_PER_INTERVAL),
                ..Loaded::new(body, freshness.jittered(self.jitter))
            },
            None => Loaded { storable: false, ..Loaded::new(body, Freshness::default()) },
        })
    }

    /// Returns the limits of a record whose load took this long; `None` while the cache is off.
    fn freshness_of(&self, record: &Record, load: Duration) -> Option<Freshness> {
        let freshness = self.freshness?;
        Some(match record.is_empty_path() {
            true => Freshness::new(self.negative_ttl, Duration::ZERO, Duration::ZERO),
            false => freshness.loaded_over(load),
        })
    }

    /// Builds the entry of a record in the shared cache, or the error of a negative one. Returns
    /// `None` for a record that is expired by this replica's own limits, or that is none.
    fn decode(&self, load: &Load<'_>, shared: &SharedRecord) -> Option<Result<Loaded, LoadError>> {
        // The limits of this replica hold too: other replicas may have longer ones.
        let Some(record) = serde_json::from_slice::<Option<Record>>(&shared.body).ok()? else {
            // A stale negative record is of no use.
            let left = shared.lifetime.min(self.negative_ttl).saturating_sub(shared.age);
            let negative = LoadError { error: Error::ParameterNotFound, negative_ttl: left };
            return (!left.is_zero() && !shared.outdated).then_some(Err(negative));
        };
        if !load.query.is_answered_by(&record) {
            return None;
        }
        let own = self.freshness_of(&record, shared.load)?;
        let bound = shared.bound.min(own.bound());
        let lifetime = shared.lifetime.min(own.lifetime).min(bound);
        if shared.age >= bound {
            return None;
        }
        if let Record::Parameter(parameter) = &record
            && load.query.has_no_account()
        {
            self.learn_account(parameter);
        }
        let freshness = Freshness {
            lifetime,
            stale_while_revalidate: shared
                .stale_while_revalidate
                .min(own.stale_while_revalidate)
                .min(bound - lifetime),
            stale_if_error: bound - lifetime,
            age_at_load: shared.age,
        };
        let freshness = if shared.outdated { freshness.only_if_error() } else { freshness };
        let ttl = lifetime.as_secs_f64() - shared.age.as_secs_f64();
        let cache_status = format!("shared-cache; hit; ttl={ttl:.0}");
        let body = record.body(&self.version, load.query.path());
        let loaded = Loaded::new(body, freshness);
        let min_interval = shared.load.saturating_mul(LOADS_PER_INTERVAL);
        Some(Ok(Loaded { cache_status: Some(cache_status.into()), min_interval, ..loaded }))
    }

    /// Learns the account of this service from a parameter that was read by its plain name.
    fn learn_account(&self, parameter: &Parameter) {
        if let Some(account) = parameter.details.account() {
            self.own_account.get_or_init(|| account.to_owned());
        }
    }

    /// Checks that an ARN names the region of the backend, which reads no other.
    pub(super) fn check_region(&self, name: &ParameterName) -> Result<(), Error> {
        match (name.region(), self.backend.region()) {
            (Some(named), Some(own)) if named != own => {
                Err(Error::InvalidParameterName(Malformed::OtherRegion))
            }
            _ => Ok(()),
        }
    }
}

/// Notes whether the value of a parameter is a secret. A ciphertext is none.
fn shown_as(form: SecretForm, parameter: &mut Parameter) {
    parameter.secure &= form == SecretForm::Value;
}

/// Stores the result of a load in the shared cache if other replicas may use it, and releases the
/// lock.
fn share(lock: Lock, record: Result<Record, Error>, loaded: &Result<Loaded, LoadError>) {
    let (record, freshness) = match (record, loaded) {
        (Ok(record), Ok(loaded)) if record.is_public() => (Some(record), loaded.freshness),
        (Err(Error::ParameterNotFound), Err(failed)) => {
            (None, Freshness::new(failed.negative_ttl, Duration::ZERO, Duration::ZERO))
        }
        (_, Err(failed)) if failed.disposition() == Disposition::Transient => {
            return lock.release(false);
        }
        _ => return lock.release(true),
    };
    lock.store(Instant::now(), move || SharedRecord {
        body: serde_json::to_vec(&record).expect("strings and numbers are JSON"),
        lifetime: freshness.lifetime,
        stale_while_revalidate: freshness.stale_while_revalidate,
        bound: freshness.bound(),
        // The load took as long as its first part is old.
        load: freshness.age_at_load,
        age: freshness.age_at_load,
        outdated: false,
    });
}

/// Returns the point in time at which half of the time until a deadline has passed. The other half
/// is left for a call of this replica.
fn halfway(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}
