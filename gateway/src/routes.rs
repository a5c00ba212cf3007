//! The routes, and how aux-service's answers become ours.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Serialize, de::DeserializeOwned};
use shared::{
    docs,
    http::{Deadline, Stack, stack},
    metrics::Exporter,
    page::page,
    server::Dependencies,
    status::Reporter,
    telemetry,
    wire::{Aggregated, Buckets, Inventory, Parameters, Value, Values, Versioned},
};

use crate::{
    config::Config,
    error::Error,
    openapi,
    status::Status,
    upstream::{Answer, Upstream},
};

/// What [`shared::server::run`] serves.
pub struct App {
    pub router: Router,
    pub dependencies: Dependencies,
}

type Answered = Result<Response, Error>;

/// What follows the route's own segment: nothing, a text, or bytes that are none.
type MaybeText = Result<Option<Path<String>>, PathRejection>;

/// Cloning is shallow.
#[derive(Clone)]
struct Gateway(Arc<Parts>);

struct Parts {
    version: String,
    upstream: Upstream,
    reporter: Reporter,
}

/// The public API above aux-service.
pub fn app(config: &Config, upstream: Upstream, exporter: &Exporter) -> App {
    let gateway = Gateway(Arc::new(Parts {
        version: config.main_version.clone(),
        upstream,
        reporter: Reporter::new("main-api", &config.main_version, &config.common, exporter),
    }));
    let routes = Router::new()
        .route("/buckets", get(buckets))
        .route("/params", get(params))
        .route("/param/", get(param))
        .route("/param/{*name}", get(param))
        .route("/values/", get(values))
        .route("/values/{*path}", get(values))
        .route("/inventory", get(inventory))
        .route("/status", get(status))
        .with_state(gateway.clone())
        .route("/", get(async || page(include_str!("status.html"))))
        .merge(docs::routes(&openapi::document(&config.main_version)));
    let limits = Stack {
        request_timeout: config.request_timeout,
        too_slow: || Error::UpstreamTimeout.problem(),
    };
    let router = stack(routes, &config.common, exporter, limits);
    App { router, dependencies: Arc::new(move || gateway.0.upstream.health()) }
}

async fn buckets(State(gateway): State<Gateway>, deadline: Extension<Deadline>) -> Answered {
    gateway.answer::<Buckets>(&["buckets"], *deadline).await
}

async fn params(State(gateway): State<Gateway>, deadline: Extension<Deadline>) -> Answered {
    gateway.answer::<Parameters>(&["params"], *deadline).await
}

/// aux-service knows what a name may be, so even one that is missing is its to judge.
async fn param(
    State(gateway): State<Gateway>,
    deadline: Extension<Deadline>,
    name: MaybeText,
) -> Answered {
    gateway.answer::<Value>(&["param", &rooted(name)?], *deadline).await
}

async fn values(
    State(gateway): State<Gateway>,
    deadline: Extension<Deadline>,
    path: MaybeText,
) -> Answered {
    gateway.answer::<Values>(&["values", &rooted(path)?], *deadline).await
}

/// Both lists at the same time, each with its own outcome, under one deadline.
async fn inventory(State(gateway): State<Gateway>, deadline: Extension<Deadline>) -> Answered {
    let upstream = &gateway.0.upstream;
    let (buckets, parameters) = tokio::join!(
        upstream.get::<Versioned<Buckets>>(&["buckets"], *deadline),
        upstream.get::<Versioned<Parameters>>(&["params"], *deadline),
    );
    let versions = [
        buckets.as_ref().ok().map(|answer| &answer.body.version),
        parameters.as_ref().ok().map(|answer| &answer.body.version),
    ];
    let Some(aux_version) = versions.into_iter().flatten().next().cloned() else {
        return Err(worst(buckets.err().into_iter().chain(parameters.err())));
    };

    let mut errors = BTreeMap::new();
    let mut part = |name: &str, error: &Error| {
        let mut problem = error.problem();
        problem.request_id = telemetry::request_id();
        errors.insert(name.to_owned(), problem);
    };
    if let Err(error) = &buckets {
        part("buckets", error);
    }
    if let Err(error) = &parameters {
        part("parameters", error);
    }
    let body = Inventory {
        buckets: buckets.ok().map(|answer| answer.body.body.buckets),
        parameters: parameters.ok().map(|answer| answer.body.body.parameters),
        errors,
    };
    Ok(Json(gateway.aggregate(Versioned { version: aux_version, body })).into_response())
}

async fn status(State(gateway): State<Gateway>, deadline: Extension<Deadline>) -> Json<Status> {
    let Parts { upstream, reporter, .. } = &*gateway.0;
    let aux_service = upstream.get(&["status"], *deadline).await;
    let aux_service = aux_service.map(|answer| answer.body).map_err(|error| error.problem());
    Json(Status::of(reporter, upstream.health(), aux_service))
}

impl Gateway {
    async fn answer<T>(&self, path: &[&str], deadline: Deadline) -> Answered
    where
        T: Serialize + DeserializeOwned,
    {
        let Answer { body, headers } = self.0.upstream.get::<Versioned<T>>(path, deadline).await?;
        let mut response = Json(self.aggregate(body)).into_response();
        if let Some(cache_control) = headers.get(header::CACHE_CONTROL) {
            response.headers_mut().insert(header::CACHE_CONTROL, cache_control.clone());
        }
        Ok(response)
    }

    fn aggregate<T>(&self, Versioned { version, body }: Versioned<T>) -> Aggregated<T> {
        Aggregated { main_version: self.0.version.clone(), aux_version: version, body }
    }
}

/// Of several errors the one with the highest status, and of equals the first.
fn worst(errors: impl Iterator<Item = Error>) -> Error {
    errors
        .reduce(
            |worst, other| {
                if other.problem().status > worst.problem().status { other } else { worst }
            },
        )
        .expect("without an answer there is an error")
}

/// A name or path with its leading slash, to be sent as a single segment: `..` has no meaning in it.
fn rooted(text: MaybeText) -> Result<String, Error> {
    match text {
        Ok(None) => Ok("/".to_owned()),
        Ok(Some(Path(text))) if text.starts_with('/') => Ok(text),
        Ok(Some(Path(text))) => Ok(format!("/{text}")),
        Err(_) => Err(Error::UndecodableName),
    }
}
