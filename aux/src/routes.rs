//! The routes: what is asked, and whether it may be.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::HeaderMap,
    response::Response,
    routing::get,
};
use shared::{
    docs,
    fast_path::Hits,
    http::{Stack, stack},
    metrics::Exporter,
    problem::Problem,
    server::App,
    status::Reporter,
};

use crate::{
    answers::{Answers, Question},
    config::Config,
    error::Error,
    inventory::Inventory,
    name::{Malformed, ParameterName, ParameterPath, Prefixes},
    openapi,
    status::Status,
};

type Answered = Result<Response, Problem>;

/// What follows the route's own segment: nothing, a text, or bytes that are none.
type MaybeText = Result<Option<Path<String>>, PathRejection>;

/// Cloning is shallow.
#[derive(Clone)]
struct Service(Arc<Parts>);

struct Parts {
    answers: Answers,
    inventory: Arc<dyn Inventory>,
    prefixes: Prefixes,
    reporter: Reporter,
}

/// The public API above an inventory.
pub fn app(config: &Config, inventory: Arc<dyn Inventory>, exporter: &Exporter) -> App {
    let answers = Answers::new(config, Arc::clone(&inventory));
    let service = Service(Arc::new(Parts {
        answers: answers.clone(),
        inventory: Arc::clone(&inventory),
        prefixes: config.parameter_prefixes.clone(),
        reporter: Reporter::new("aux-service", &config.aux_version, &config.common, exporter),
    }));
    let routes = Router::new()
        .route("/buckets", get(buckets))
        .route("/params", get(params))
        .route("/param/", get(param))
        .route("/param/{*name}", get(param))
        .route("/values/", get(values))
        .route("/values/{*path}", get(values))
        .route("/status", get(status))
        .with_state(service)
        .merge(docs::routes(&openapi::document(&config.aux_version)));
    let limits = Stack {
        request_timeout: config.request_timeout,
        too_slow: || Error::AwsTimeout(None).problem(),
        hits: Some(Hits {
            routes: &["/param/{*name}", "/values/{*path}", "/buckets", "/params"],
            ready: Box::new({
                let answers = answers.clone();
                move |path, now| answers.ready(path, now)
            }),
        }),
    };
    exporter.before_scrape(move || answers.sync());
    let public = stack(routes, &config.common, exporter, limits);
    App { public, dependencies: Arc::new(move || inventory.health()) }
}

async fn buckets(State(service): State<Service>, request: HeaderMap) -> Answered {
    service.0.answers.answer(Question::Buckets, &request).await
}

async fn params(State(service): State<Service>, request: HeaderMap) -> Answered {
    service.0.answers.answer(Question::Parameters, &request).await
}

async fn param(State(service): State<Service>, request: HeaderMap, name: MaybeText) -> Answered {
    let name = ParameterName::parse(&text(name)?).map_err(Error::InvalidParameterName)?;
    if !service.0.prefixes.allow(name.bare()) {
        return Err(Error::ParameterNotAllowed.into());
    }
    service.0.answers.answer(Question::Parameter(name), &request).await
}

async fn values(State(service): State<Service>, request: HeaderMap, path: MaybeText) -> Answered {
    let path = ParameterPath::parse(&text(path)?).map_err(Error::InvalidParameterName)?;
    if !service.0.prefixes.allow_some_below(&path) {
        return Err(Error::ParameterNotAllowed.into());
    }
    service.0.answers.answer(Question::Values(path), &request).await
}

async fn status(State(service): State<Service>) -> Json<Status> {
    let Parts { reporter, inventory, .. } = &*service.0;
    Json(Status::of(reporter, inventory.health(), inventory.quota()))
}

/// Percent-encoding that is no UTF-8 is no name either.
fn text(path: MaybeText) -> Result<String, Error> {
    match path {
        Ok(text) => Ok(text.map(|Path(text)| text).unwrap_or_default()),
        Err(_) => Err(Error::InvalidParameterName(Malformed::BadCharacter)),
    }
}
