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
    docs, fast_path,
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
        .with_state(service.clone())
        .merge(docs::routes(&openapi::document(&config.aux_version)));
    let limits = Stack {
        request_timeout: config.request_timeout,
        too_slow: || Error::AwsTimeout(None).problem(),
        fast_path: Some(fast_path::Answers {
            routes: &["/param/{*name}", "/values/{*path}", "/buckets", "/params"],
            ready: Box::new({
                let answers = answers.clone();
                move |path, now| answers.ready(path, now)
            }),
            ask: Box::new(move |path, _| {
                let (service, path) = (service.clone(), path.to_owned());
                Box::pin(async move {
                    let question = service.question(&path)?;
                    service.0.answers.answer(question, &HeaderMap::new()).await
                })
            }),
        }),
    };
    exporter.before_scrape(move || answers.sync());
    let public = stack(routes, &config.common, exporter, limits);
    App { public, dependencies: Arc::new(move || inventory.health()) }
}

async fn buckets(State(service): State<Service>, request: HeaderMap) -> Answered {
    service.answer(Question::Buckets, &request).await
}

async fn params(State(service): State<Service>, request: HeaderMap) -> Answered {
    service.answer(Question::Parameters, &request).await
}

async fn param(State(service): State<Service>, request: HeaderMap, name: MaybeText) -> Answered {
    service.answer(service.parameter(&text(name)?)?, &request).await
}

async fn values(State(service): State<Service>, request: HeaderMap, path: MaybeText) -> Answered {
    service.answer(service.values(&text(path)?)?, &request).await
}

impl Service {
    async fn answer(&self, question: Question, request: &HeaderMap) -> Answered {
        Ok(self.0.answers.answer(question, request).await?.response(request))
    }

    /// What a plain path of one of the routes asks for.
    fn question(&self, path: &str) -> Result<Question, Error> {
        match path {
            "/buckets" => Ok(Question::Buckets),
            "/params" => Ok(Question::Parameters),
            _ => match path.strip_prefix("/param/") {
                Some(name) => self.parameter(name),
                None => self.values(path.strip_prefix("/values/").unwrap_or_default()),
            },
        }
    }

    fn parameter(&self, name: &str) -> Result<Question, Error> {
        let name = ParameterName::parse(name).map_err(Error::InvalidParameterName)?;
        if !self.0.prefixes.allow(name.bare()) {
            return Err(Error::ParameterNotAllowed);
        }
        Ok(Question::Parameter(name))
    }

    fn values(&self, path: &str) -> Result<Question, Error> {
        let path = ParameterPath::parse(path).map_err(Error::InvalidParameterName)?;
        if !self.0.prefixes.allow_some_below(&path) {
            return Err(Error::ParameterNotAllowed);
        }
        Ok(Question::Values(path))
    }
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
