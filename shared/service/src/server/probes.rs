//! Probes and `/metrics`: on a listener of their own, or on the public one before the public API.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::{
    Json,
    extract::State,
    http::Request,
    response::{IntoResponse, Response},
    routing::get,
};
use pin_project_lite::pin_project;
use serde_json::{Value, json};
use tower::Service;

use super::{
    request::ResponseResult,
    stack::{HttpService, PublicApi, probe_stack},
};
use crate::{
    contract::{
        problem::Problem,
        routes::{PROBES, RouteId},
    },
    observe::metrics::Exporter,
};

/// The state of everything that a service depends on, for `/readyz`. It must not block or call out.
pub type Dependencies = Arc<dyn Fn() -> Value + Send + Sync>;

#[derive(Clone)]
struct Readiness {
    started: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    dependencies: Dependencies,
}

pub(super) fn probes(
    started: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    exporter: &Exporter,
    dependencies: Dependencies,
) -> impl PublicApi {
    let readiness = Readiness { started, draining, dependencies };
    probe_stack(PROBES.router(|route| match route {
        RouteId::Readyz => get(ready).with_state(readiness.clone()),
        RouteId::Metrics => {
            let exporter = exporter.clone();
            get(async move || exporter.render())
        }
        _ => get(alive),
    }))
}

/// Returns 200 while the process runs.
async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Returns 503 only while the process starts or drains. If an outage of AWS changed it, the load
/// balancer would remove every replica, and no client would get stale responses.
async fn ready(State(readiness): State<Readiness>) -> Response {
    if readiness.draining.load(Relaxed) {
        return Problem::draining().into_response();
    }
    if !readiness.started.load(Relaxed) {
        return Problem::starting().into_response();
    }
    let body = json!({ "status": "ready", "dependencies": (readiness.dependencies)() });
    Json(body).into_response()
}

/// Probes and the public API on one listener.
#[derive(Clone)]
pub(super) struct ProbesFirst<P, S> {
    pub(super) probes: P,
    pub(super) api: S,
}

impl<P, S, B> Service<Request<B>> for ProbesFirst<P, S>
where
    P: HttpService<B>,
    S: HttpService<B>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = EitherFuture<P::Future, S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both services are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match PROBES.parse_path(request.uri().path()) {
            Some(_) => EitherFuture::Probe { inner: self.probes.call(request) },
            None => EitherFuture::Api { inner: self.api.call(request) },
        }
    }
}

pin_project! {
    #[project = EitherProjection]
    pub(super) enum EitherFuture<P, S> {
        Probe { #[pin] inner: P },
        Api { #[pin] inner: S },
    }
}

impl<P: Future<Output = ResponseResult>, S: Future<Output = ResponseResult>> Future
    for EitherFuture<P, S>
{
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        match self.project() {
            EitherProjection::Probe { inner } => inner.poll(cx),
            EitherProjection::Api { inner } => inner.poll(cx),
        }
    }
}
