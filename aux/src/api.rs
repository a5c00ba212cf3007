//! The routes of aux-service. They validate the name or path of a request and query the cache.

use std::sync::Arc;

use axum::{Json, routing::get};
use service::{
    contract::{
        openapi::handlers,
        problem::Problem,
        routes::{RouteId, Routes},
        status::Reporter,
    },
    observe::metrics::Exporter,
    server::{App, CachedRoutes, LoadFuture, PublicApi, Query, StackConfig, stack},
};
use tokio::time::Instant;

pub mod openapi;
pub mod status;

use crate::{
    backend::ParameterStore,
    config::Config,
    error::Error,
    name::{ParameterName, ParameterPath, Prefixes},
    store::{CachedStore, StoreQuery},
};
use status::Status;

/// The public routes of aux-service, in descending order of traffic.
pub const ROUTES: Routes = Routes(&[
    RouteId::Param,
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
    exporter: &Exporter,
) -> App<impl PublicApi + use<>> {
    let store = CachedStore::new(config, Arc::clone(&backend));
    exporter.before_scrape({
        let store = store.clone();
        move || store.sync()
    });
    let reporter =
        Reporter::new("aux-service", &config.aux_version, config.common.cache_bytes(), exporter);
    let status = {
        let (reporter, backend) = (Arc::new(reporter), Arc::clone(&backend));
        get(async move || Json(Status::of(&reporter, backend.health(), backend.quota())))
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
        cached: Arc::new(CachedApi { store, prefixes: config.parameter_prefixes.clone() }),
        others,
        request_timeout: config.request_timeout,
        timed_out: || Error::AwsTimeout(None).problem(),
    };
    let api = stack(config_of_stack, &config.common, exporter);
    App { api, dependencies: Arc::new(move || backend.health()) }
}

/// The cacheable routes.
struct CachedApi {
    store: CachedStore,
    prefixes: Prefixes,
}

impl CachedRoutes for CachedApi {
    fn lookup(&self, key: &str, now: Instant) -> Option<Result<cache::Served, Problem>> {
        // The cache holds no entry outside the prefixes, so a lookup needs no check.
        self.store.lookup(key, now)
    }

    fn load(&self, query: Query) -> LoadFuture {
        let store_query = self.validate(&query);
        let store = self.store.clone();
        Box::pin(async move { store.get(store_query?, query.mode, query.deadline).await })
    }
}

impl CachedApi {
    /// Validates the name or path of a query, and checks that this service may show it.
    fn validate(&self, query: &Query) -> Result<StoreQuery, Error> {
        let parameter = query.parameter().unwrap_or_default();
        match query.route {
            RouteId::Buckets => Ok(StoreQuery::Buckets),
            RouteId::Params => Ok(StoreQuery::Parameters),
            RouteId::Values => self.values(parameter),
            _ => self.parameter(parameter),
        }
    }

    fn parameter(&self, name: &str) -> Result<StoreQuery, Error> {
        let name = ParameterName::parse(name).map_err(Error::InvalidParameterName)?;
        if !self.prefixes.allow(name.bare()) {
            return Err(Error::ParameterNotAllowed);
        }
        Ok(StoreQuery::Parameter(name))
    }

    fn values(&self, path: &str) -> Result<StoreQuery, Error> {
        let path = ParameterPath::parse(path).map_err(Error::InvalidParameterName)?;
        if !self.prefixes.allow_some_below(&path) {
            return Err(Error::ParameterNotAllowed);
        }
        Ok(StoreQuery::Values(path))
    }
}
