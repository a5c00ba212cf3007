//! The routes, and how aux-service's answers become ours.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::de::DeserializeOwned;
use shared::{
    cache::Served,
    docs, fast_path,
    http::{Deadline, Stack, stack},
    http_cache::NO_STORE,
    metrics::Exporter,
    page::page,
    problem::Problem,
    routes::RouteId,
    server::App,
    status::Reporter,
    telemetry,
    wire::{Aggregated, Buckets, Inventory, Parameters},
};
use tokio::time::{Instant, timeout_at};

use crate::{config::Config, error::Error, openapi, status::Status, upstream::Upstream};

type Answered = Result<Response, Problem>;

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
        fast_path: Some(fast_path::Answers {
            routes: &["/param/{*name}", "/values/{*path}", "/buckets", "/params"],
            ready: Box::new({
                let gateway = gateway.clone();
                move |path, now| gateway.0.upstream.ready(path, now)
            }),
            ask: Box::new({
                let gateway = gateway.clone();
                move |path, deadline| {
                    let gateway = gateway.clone();
                    let (route, name) = plain(path);
                    let name = name.map(str::to_owned);
                    Box::pin(async move {
                        gateway.0.upstream.answer(route, name, deadline, &HeaderMap::new()).await
                    })
                }
            }),
        }),
    };
    let public = stack(routes, &config.common, exporter, limits);
    exporter.before_scrape({
        let gateway = gateway.clone();
        move || gateway.0.upstream.refresh_metrics()
    });
    App { public, dependencies: Arc::new(move || gateway.0.upstream.health()) }
}

// The routes take the whole request: an extractor of headers would copy them.

async fn buckets(
    State(gateway): State<Gateway>,
    deadline: Extension<Deadline>,
    request: Request,
) -> Answered {
    gateway.answer(RouteId::Buckets, None, *deadline, request.headers()).await
}

async fn params(
    State(gateway): State<Gateway>,
    deadline: Extension<Deadline>,
    request: Request,
) -> Answered {
    gateway.answer(RouteId::Params, None, *deadline, request.headers()).await
}

/// aux-service knows what a name may be, so even one that is missing is its to judge.
async fn param(
    State(gateway): State<Gateway>,
    deadline: Extension<Deadline>,
    name: MaybeText,
    request: Request,
) -> Answered {
    gateway.answer(RouteId::Param, Some(rooted(name)?), *deadline, request.headers()).await
}

async fn values(
    State(gateway): State<Gateway>,
    deadline: Extension<Deadline>,
    path: MaybeText,
    request: Request,
) -> Answered {
    gateway.answer(RouteId::Values, Some(rooted(path)?), *deadline, request.headers()).await
}

/// Both lists at the same time, each with its own outcome, under one deadline.
async fn inventory(
    State(gateway): State<Gateway>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    request: Request,
) -> Answered {
    let Parts { version, upstream, .. } = &*gateway.0;
    let remaining = deadline.saturating_duration_since(Instant::now());
    let deadline = Deadline(deadline - remaining / TO_ASSEMBLE);
    let (buckets, parameters) = tokio::join!(
        by(deadline, upstream.answer(RouteId::Buckets, None, deadline, request.headers())),
        by(deadline, upstream.answer(RouteId::Params, None, deadline, request.headers())),
    );
    let buckets = buckets.map(|served| parse::<Buckets>(&served));
    let parameters = parameters.map(|served| parse::<Parameters>(&served));
    let versions = [
        buckets.as_ref().ok().map(|part| &part.aux_version),
        parameters.as_ref().ok().map(|part| &part.aux_version),
    ];
    let Some(aux_version) = versions.into_iter().flatten().next().cloned() else {
        return Err(worst(buckets.err().into_iter().chain(parameters.err())));
    };

    let mut errors = BTreeMap::new();
    for (part, problem) in
        [("buckets", buckets.as_ref().err()), ("parameters", parameters.as_ref().err())]
    {
        if let Some(problem) = problem {
            let problem = Problem { request_id: telemetry::request_id(), ..problem.clone() };
            errors.insert(part.to_owned(), problem);
        }
    }
    let body = Inventory {
        buckets: buckets.ok().map(|part| part.body.buckets),
        parameters: parameters.ok().map(|part| part.body.parameters),
        errors,
    };
    let answer = Aggregated { main_version: version.clone(), aux_version, body };
    // Its parts are kept here, each for its own time; the whole of them has none.
    Ok(([(header::CACHE_CONTROL, NO_STORE)], Json(answer)).into_response())
}

/// The part of the time that is kept back: a list that hangs until the last moment would otherwise
/// take the other one with it, since the whole request ends at that moment too.
const TO_ASSEMBLE: u32 = 20;

/// A part, unless it is not there by then.
async fn by(
    Deadline(deadline): Deadline,
    part: impl Future<Output = Result<Served, Problem>>,
) -> Result<Served, Problem> {
    match timeout_at(deadline, part).await {
        Ok(part) => part,
        Err(_) => Err(Error::UpstreamTimeout.problem()),
    }
}

/// What an answer of ours was made of.
fn parse<T: DeserializeOwned>(served: &Served) -> Aggregated<T> {
    serde_json::from_slice(served.answer().body()).expect("its body is this type's JSON")
}

async fn status(State(gateway): State<Gateway>, deadline: Extension<Deadline>) -> Json<Status> {
    let Parts { upstream, reporter, .. } = &*gateway.0;
    let aux_service = upstream.status(*deadline).await;
    let aux_service = aux_service.map_err(|error| error.problem());
    Json(Status::of(reporter, upstream.health(), aux_service))
}

impl Gateway {
    async fn answer(
        &self,
        route: RouteId,
        name: Option<String>,
        deadline: Deadline,
        request: &HeaderMap,
    ) -> Answered {
        Ok(self.0.upstream.answer(route, name, deadline, request).await?.response(request))
    }
}

/// What a plain path of one of these routes asks for.
fn plain(path: &str) -> (RouteId, Option<&str>) {
    match path {
        "/buckets" => (RouteId::Buckets, None),
        "/params" => (RouteId::Params, None),
        _ => match path.strip_prefix("/param") {
            Some(name) => (RouteId::Param, Some(name)),
            None => (RouteId::Values, path.strip_prefix("/values")),
        },
    }
}

/// Of several errors the one with the highest status, and of equals the first.
fn worst(errors: impl Iterator<Item = Problem>) -> Problem {
    errors
        .reduce(|worst, other| if other.status > worst.status { other } else { worst })
        .expect("without an answer there is an error")
}

/// A name or path with its leading slash, to be sent as a single segment: `..` has no meaning in
/// it.
fn rooted(text: MaybeText) -> Result<String, Error> {
    match text {
        Ok(None) => Ok("/".to_owned()),
        Ok(Some(Path(text))) if text.starts_with('/') => Ok(text),
        Ok(Some(Path(text))) => Ok(format!("/{text}")),
        Err(_) => Err(Error::UndecodableName),
    }
}
