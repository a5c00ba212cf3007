//! The routes of aux-service. They validate the name or path of a request and query the cache.

use std::sync::{Arc, atomic::AtomicBool};

use async_trait::async_trait;
use axum::{Json, routing::get};
use service::{
    contract::{
        openapi::handlers,
        problem::Problem,
        routes::{RouteId, Routes},
        ssm::Request,
        status::Reporter,
    },
    observe::metrics::Exporter,
    server::{App, CachedRoutes, PublicApi, Query, ResponseFuture, SsmQuery, StackConfig, stack},
};
use tokio::time::Instant;

mod access;
mod ssm;
pub mod openapi;
pub mod status;

use self::{access::Access, ssm::SsmApi};

use crate::{
    backend::{BackendParts, ParameterStore, QueueHealth},
    change::{Change, ChangeSource, NotPublished, PublishChanges},
    config::Config,
    error::Error,
    fleet::Fleet,
    keep_fresh,
    parameter::{PathQuery, SecretForm},
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
    RouteId::SsmGetParameter,
    RouteId::SsmGetParameters,
    RouteId::SsmGetParametersByPath,
    RouteId::SsmDescribeParameters,
    RouteId::SsmOther,
    RouteId::Status,
    RouteId::Docs,
    RouteId::OpenApi,
]);

/// Builds the public API of aux-service on top of a backend.
pub fn app(
    config: &Config,
    backend: BackendParts,
    fleet: Option<Fleet>,
    exporter: &Exporter,
) -> App<impl PublicApi + use<>> {
    let BackendParts { store: backend, change_queue } = backend;
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
    let queue = change_queue.map(|queue| queue.start(Arc::new(LogChanges)));
    let health = {
        let (backend, fleet) = (Arc::clone(&backend), fleet.clone());
        move || health(&*backend, fleet.as_ref(), queue.as_ref())
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
    let access = Access { store, prefixes: Arc::new(config.parameter_prefixes.clone()) };
    let config_of_stack = StackConfig {
        routes: ROUTES,
        endpoint: |path| ROUTES.endpoint(path).to_owned(),
        cached: Arc::new(CachedApi { ssm: SsmApi::new(access.clone()), access }),
        others,
        request_timeout: config.request_timeout,
        timed_out: || Error::AwsTimeout(None).problem(),
    };
    let api = stack(config_of_stack, &config.common, exporter);
    App { api, dependencies: Arc::new(health), started }
}

/// A publisher that writes changes to the log and changes no entry.
struct LogChanges;

#[async_trait]
impl PublishChanges for LogChanges {
    async fn publish(
        &self,
        source: ChangeSource,
        changes: Vec<Change>,
    ) -> Result<(), NotPublished> {
        tracing::debug!(?source, changes = changes.len(), "parameters changed");
        Ok(())
    }
}

/// Returns the recent health of each dependency: of the backend, and of the shared cache and the queue
/// of changes if there are any.
fn health(
    backend: &dyn ParameterStore,
    fleet: Option<&Fleet>,
    queue: Option<&QueueHealth>,
) -> serde_json::Value {
    let mut health = backend.health();
    if let Some(fleet) = fleet {
        health["shared_cache"] = fleet.state().into();
    }
    if let Some(queue) = queue {
        health["change_queue"] = queue.state().into();
    }
    health
}

/// The cacheable routes and AWS's protocol. Cloning is shallow.
#[derive(Clone)]
struct CachedApi {
    access: Access,
    ssm: SsmApi,
}

impl CachedApi {
    /// Validates the name or path of a query, and checks that this service may show it.
    async fn validate(&self, query: &Query) -> Result<StoreQuery, Problem> {
        let parameter = query.parameter().unwrap_or_default();
        match query.route {
            RouteId::Buckets => Ok(StoreQuery::Buckets),
            RouteId::Params => Ok(StoreQuery::Parameters),
            RouteId::Values => {
                let path = self.access.path(parameter)?;
                Ok(StoreQuery::Values(PathQuery::all_below(path)))
            }
            _ => {
                let name = self.access.parameter(parameter, query.mode, query.deadline).await?;
                Ok(StoreQuery::Parameter(name, SecretForm::Value))
            }
        }
    }
}

impl CachedRoutes for CachedApi {
    fn lookup(&self, key: &str, now: Instant) -> Option<Result<cache::Served, Problem>> {
        let store = &self.access.store;
        // The cache holds no entry outside the prefixes, so a lookup needs no check.
        match RouteId::Parameter.parameter(key) {
            // Both routes of a parameter share one entry: the record of `/param`.
            Some(name) => {
                let key = format!("{}{name}", RouteId::Param.base());
                Some(store.lookup(&key, now)?.map(as_record))
            }
            None => store.lookup(key, now),
        }
    }

    fn respond(&self, query: Query) -> ResponseFuture {
        let api = self.clone();
        Box::pin(async move {
            let store_query = api.validate(&query).await?;
            let served = api.access.store.get(store_query, query.mode, query.deadline).await?;
            Ok(if query.route == RouteId::Parameter { as_record(served) } else { served })
        })
    }

    fn lookup_ssm(
        &self,
        request: &Request,
        now: Instant,
    ) -> Option<Result<cache::Served, Problem>> {
        self.ssm.lookup(request, now)
    }

    fn respond_ssm(&self, query: SsmQuery) -> ResponseFuture {
        let api = self.ssm.clone();
        Box::pin(async move { api.respond(query).await })
    }
}
