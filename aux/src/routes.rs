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

use crate::{
    answers::{Answers, Question},
    config::Config,
    error::Error,
    inventory::Inventory,
    name::{ParameterName, ParameterPath, Prefixes},
    openapi,
    status::Status,
};

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
    inventory: Arc<dyn Inventory>,
    exporter: &Exporter,
) -> App<impl PublicApi + use<>> {
    let answers = Answers::new(config, Arc::clone(&inventory));
    exporter.before_scrape({
        let answers = answers.clone();
        move || answers.sync()
    });
    let reporter =
        Reporter::new("aux-service", &config.aux_version, config.common.cache_bytes(), exporter);
    let status = {
        let (reporter, inventory) = (Arc::new(reporter), Arc::clone(&inventory));
        get(async move || Json(Status::of(&reporter, inventory.health(), inventory.quota())))
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
        cached: Arc::new(Service { answers, prefixes: config.parameter_prefixes.clone() }),
        others,
        request_timeout: config.request_timeout,
        timed_out: || Error::AwsTimeout(None).problem(),
    };
    let api = stack(config_of_stack, &config.common, exporter);
    App { api, dependencies: Arc::new(move || inventory.health()) }
}

struct Service {
    answers: Answers,
    prefixes: Prefixes,
}

impl CachedRoutes for Service {
    fn lookup(&self, key: &str, now: Instant) -> Option<Result<cache::Served, Problem>> {
        // The cache holds no entry outside the prefixes, so a lookup needs no check.
        self.answers.lookup(key, now)
    }

    fn load(&self, query: Query) -> LoadFuture {
        let question = self.question(&query);
        let answers = self.answers.clone();
        Box::pin(async move { answers.answer(question?, query.mode).await })
    }
}

impl Service {
    fn question(&self, query: &Query) -> Result<Question, Error> {
        let parameter = query.parameter().unwrap_or_default();
        match query.route {
            RouteId::Buckets => Ok(Question::Buckets),
            RouteId::Params => Ok(Question::Parameters),
            RouteId::Values => self.values(parameter),
            _ => self.parameter(parameter),
        }
    }

    fn parameter(&self, name: &str) -> Result<Question, Error> {
        let name = ParameterName::parse(name).map_err(Error::InvalidParameterName)?;
        if !self.prefixes.allow(name.bare()) {
            return Err(Error::ParameterNotAllowed);
        }
        Ok(Question::Parameter(name))
    }

    fn values(&self, path: &str) -> Result<Question, Error> {
        let path = ParameterPath::parse(path).map_err(Error::InvalidParameterName)?;
        if !self.prefixes.allow_some_below(&path) {
            return Err(Error::ParameterNotAllowed);
        }
        Ok(Question::Values(path))
    }
}
