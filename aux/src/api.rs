//! The routes of aux-service. They validate the name or path of a request and query the cache.

use std::sync::{Arc, atomic::AtomicBool};

use axum::{Json, routing::get};
use service::{
    contract::{
        openapi::handlers,
        problem::Problem,
        routes::{RouteId, Routes},
        status::Reporter,
    },
    observe::metrics::Exporter,
    server::{App, CachedRoutes, PublicApi, Query, ResponseFuture, StackConfig, stack},
};
use tokio::time::Instant;

pub mod openapi;
pub mod status;

use crate::{
    backend::ParameterStore,
    config::Config,
    error::Error,
    fleet::Fleet,
    keep_fresh,
    name::{ParameterName, ParameterPath, Prefixes},
    record::as_record,
    store::{CachedStore, StoreQuery},
};
use status::Status;

/// The public routes of aux-service, in descending order of traffic.
pub const ROUTES: Routes = Routes(&[
    RouteId::Param,
    RouteId::Parameter,
    RouteId::Values,
    RouteId::Params,
    RouteId::Buckets,
    RouteId::Status,
    RouteId::Docs,
    RouteId::OpenApi,
]);

/// Builds the public API of aux-service on top of a backend.
pub fn app(
    config: &Config,
    backend: Arc<dyn ParameterStore>,
    fleet: Option<Fleet>,
    exporter: &Exporter,
) -> App<impl PublicApi + use<>> {
    let store = CachedStore::new(config, Arc::clone(&backend), fleet.as_ref());
    exporter.before_scrape({
        let store = store.clone();
        move || store.sync()
    });
    let started = Arc::new(AtomicBool::new(config.warm_up.is_empty()));
    if !config.warm_up.is_empty() {
        keep_fresh::start(&config.warm_up, &store, config.warm_up_timeout, Arc::clone(&started));
    }
    let reporter =
        Reporter::new("aux-service", &config.aux_version, config.common.cache_bytes(), exporter);
    let health = {
        let (backend, fleet) = (Arc::clone(&backend), fleet.clone());
        move || health(&*backend, fleet.as_ref())
    };
    let status = {
        let (reporter, health) = (Arc::new(reporter), health.clone());
        get(async move || Json(Status::of(&reporter, health(), backend.quota(), fleet.as_ref())))
    };
    let (document, page) = handlers(&openapi::document(&config.aux_version));
    let others = ROUTES.router(|route| match route {
        RouteId::Status => status.clone(),
        RouteId::OpenApi => document.clone(),
        RouteId::Docs => page.clone(),
        _ => unreachable!("aux-service has no other route that is not cacheable"),
    });
    let config_of_stack = StackConfig {
        routes: ROUTES,
        endpoint: |path| ROUTES.endpoint(path).to_owned(),
        cached: Arc::new(CachedApi {
            store,
            prefixes: Arc::new(config.parameter_prefixes.clone()),
        }),
        others,
        request_timeout: config.request_timeout,
        timed_out: || Error::AwsTimeout(None).problem(),
    };
    let api = stack(config_of_stack, &config.common, exporter);
    App { api, dependencies: Arc::new(health), started }
}

/// Returns the recent health of each dependency: of the backend, and of the shared cache if there is
/// one.
fn health(backend: &dyn ParameterStore, fleet: Option<&Fleet>) -> serde_json::Value {
    let mut health = backend.health();
    if let Some(fleet) = fleet {
        let state = if fleet.is_degraded() { "degraded" } else { "ok" };
        health["shared_cache"] = state.into();
    }
    health
}

/// The cacheable routes. Cloning is shallow.
#[derive(Clone)]
struct CachedApi {
    store: CachedStore,
    prefixes: Arc<Prefixes>,
}

impl CachedRoutes for CachedApi {
    fn lookup(&self, key: &str, now: Instant) -> Option<Result<cache::Served, Problem>> {
        // The cache holds no entry outside the prefixes, so a lookup needs no check.
        match RouteId::Parameter.parameter(key) {
            // Both routes of a parameter share one entry: the record of `/param`.
            Some(name) => {
                let key = format!("{}{name}", RouteId::Param.base());
                Some(self.store.lookup(&key, now)?.map(as_record))
            }
            None => self.store.lookup(key, now),
        }
    }

    fn respond(&self, query: Query) -> ResponseFuture {
        let api = self.clone();
        Box::pin(async move {
            let store_query = api.validate(&query).await?;
            let served = api.store.get(store_query, query.mode, query.deadline).await?;
            Ok(if query.route == RouteId::Parameter { as_record(served) } else { served })
        })
    }
}

impl CachedApi {
    /// Validates the name or path of a query, and checks that this service may show it.
    async fn validate(&self, query: &Query) -> Result<StoreQuery, Problem> {
        let parameter = query.parameter().unwrap_or_default();
        match query.route {
            RouteId::Buckets => Ok(StoreQuery::Buckets),
            RouteId::Params => Ok(StoreQuery::Parameters),
            RouteId::Values => Ok(self.values(parameter)?),
            _ => {
                let name = ParameterName::parse(parameter).map_err(Error::InvalidParameterName)?;
                self.allowed(name, query).await.map(StoreQuery::Parameter)
            }
        }
    }

    /// Returns the name to read, if it may be shown. An ARN of this account becomes its plain name,
    /// so that one parameter has one cache entry. An ARN that only an ARN among the prefixes allows
    /// keeps its own entry, because its plain name may not be shown.
    async fn allowed(&self, name: ParameterName, query: &Query) -> Result<ParameterName, Problem> {
        let Some(account) = name.account() else { return Ok(self.allowed_here(name)?) };
        self.store.check_region(&name)?;
        if self.prefixes.allow_arn(&name) {
            return Ok(name);
        }
        if account.is_empty() {
            return Ok(self.allowed_here(name.within_account())?);
        }
        let may_be_own = self.prefixes.allow(name.bare());
        if self.store.own_account().is_none() && may_be_own && !self.prefixes.allow_everything() {
            // No response has shown the account of this service yet. A parameter of the same name
            // in this account shows it. Its error is the error of this request: an unknown account
            // is no reason for a final refusal.
            let plain = ParameterName::parse(name.bare()).map_err(Error::InvalidParameterName)?;
            let plain = StoreQuery::Parameter(plain);
            let result = self.store.get(plain, query.mode, query.deadline).await;
            if self.store.own_account().is_none() {
                result?;
            }
        }
        match self.store.own_account() {
            Some(own) if own == account => Ok(self.allowed_here(name.within_account())?),
            _ if self.prefixes.allow_everything() => Ok(name),
            _ => Err(Error::ParameterNotAllowed.into()),
        }
    }

    fn allowed_here(&self, name: ParameterName) -> Result<ParameterName, Error> {
        if self.prefixes.allow(name.bare()) { Ok(name) } else { Err(Error::ParameterNotAllowed) }
    }

    fn values(&self, path: &str) -> Result<StoreQuery, Error> {
        let path = ParameterPath::parse(path).map_err(Error::InvalidParameterName)?;
        if !self.prefixes.allow_some_below(&path) {
            return Err(Error::ParameterNotAllowed);
        }
        Ok(StoreQuery::Values(path))
    }
}
