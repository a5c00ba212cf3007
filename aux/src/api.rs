//! The routes of aux-service. They validate the name or path of a request and query the cache.

use std::sync::{Arc, atomic::AtomicBool};

use axum::{Json, extract::RawQuery, routing::get};
use cache::Subscription;
use service::{
    contract::{
        openapi::handlers,
        problem::Problem,
        routes::{RouteId, Routes},
        ssm::Request,
        status::{History, Reporter},
    },
    observe::metrics::Exporter,
    server::{
        App, CachedRoutes, PublicApi, Query, ResponseFuture, SsmQuery, StackConfig, Waits,
        change_stream, stack,
    },
};
use tokio::time::Instant;

mod access;
mod ssm;
pub mod openapi;
pub mod status;

use self::{access::Access, ssm::SsmApi};

use crate::{
    backend::{BackendParts, ParameterStore, QueueHealth},
    change::ChangeSource,
    config::Config,
    error::Error,
    fleet::Fleet,
    keep_fresh,
    parameter::{PathQuery, SecretForm},
    record::as_record,
    store::{CachedStore, StoreQuery},
};
use status::{Sample, Status};

/// The public routes of aux-service, in descending order of traffic.
pub const ROUTES: Routes = Routes(&[
    RouteId::Param,
    RouteId::Parameter,
    RouteId::Values,
    RouteId::Params,
    RouteId::Buckets,
    RouteId::Changes,
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
    ChangeSource::describe_metric();
    exporter.before_scrape({
        let store = store.clone();
        move || store.sync()
    });
    let started = Arc::new(AtomicBool::new(config.warm_up.is_empty()));
    if !config.warm_up.is_empty() {
        keep_fresh::start(&config.warm_up, &store, config.warm_up_timeout, Arc::clone(&started));
    }
    let reporter = Arc::new(Reporter::new(
        "aux-service",
        &config.aux_version,
        config.common.cache_bytes(),
        exporter,
    ));
    let history = History::start({
        let (reporter, backend, fleet) =
            (Arc::clone(&reporter), Arc::clone(&backend), fleet.clone());
        move || Sample::take(&reporter, backend.quota(), fleet.as_ref())
    });
    let queue = change_queue.map(|queue| queue.start(Arc::new(store.changes().clone())));
    let health = {
        let (backend, fleet) = (Arc::clone(&backend), fleet.clone());
        move || health(&*backend, fleet.as_ref(), queue.as_ref())
    };
    let status = {
        let health = health.clone();
        get(async move |RawQuery(query): RawQuery| {
            let history = history.for_query(query.as_deref());
            Json(Status::of(&reporter, health(), backend.quota(), fleet.as_ref(), history))
        })
    };
    let (document, page) = handlers(&openapi::document(&config.aux_version));
    let waits = Waits::new(config.common.max_waiting);
    let changes = store.changes().log().clone();
    let others = ROUTES.router(|route| match route {
        RouteId::Changes => change_stream(changes.clone(), waits.clone()),
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
        waits: waits.clone(),
        timed_out: || Error::AwsTimeout(None).problem(),
    };
    let api = stack(config_of_stack, &config.common, exporter);
    App { api, dependencies: Arc::new(health), waits, started }
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

/// The key of the entry that serves a record. Both routes of a parameter share one entry: that of
/// `/param`. Returns `None` for the key of another route.
fn entry_of_record(key: &str) -> Option<String> {
    let name = RouteId::Parameter.parameter(key)?;
    Some(format!("{}{name}", RouteId::Param.base()))
}

impl CachedRoutes for CachedApi {
    fn lookup(&self, key: &str, now: Instant) -> Option<Result<cache::Served, Problem>> {
        let store = &self.access.store;
        // The cache holds no entry outside the prefixes, so a lookup needs no check.
        match entry_of_record(key) {
            Some(entry) => Some(store.lookup(&entry, now)?.map(as_record)),
            None => store.lookup(key, now),
        }
    }

    fn subscribe(&self, key: &str) -> Option<Subscription> {
        let entry = entry_of_record(key);
        self.access.store.subscribe(entry.as_deref().unwrap_or(key))
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
