//! The middleware stack: the one order of layers, for every public request of every service.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::Request,
    response::{IntoResponse, Response},
};
use tower::{Service, ServiceBuilder};
use tower_http::{catch_panic::CatchPanicLayer, validate_request::ValidateRequestHeaderLayer};

use super::{
    authenticate::Authenticate,
    cached_routes::CachedRoutes,
    count::CountLayer,
    deadline::DeadlineLayer,
    dispatch::Dispatch,
    host::ValidHost,
    problems::ProblemsLayer,
    request_log::{RequestKind, RequestLogLayer},
    shed::ShedLayer,
    wait::Waiter,
    waits::Waits,
};
use crate::{
    auth::TokenVerifier,
    config::{AccessLog, Common},
    contract::{
        problem::Problem,
        routes::{PROBES, Routes},
    },
    observe::metrics::Exporter,
};

/// The parts in which the services differ.
pub struct StackConfig {
    pub routes: Routes,
    /// Gives the label `endpoint` of a path: [`Routes::endpoint`]. axum-prometheus takes a plain
    /// function, which cannot capture `routes`.
    pub endpoint: fn(&str) -> String,
    /// The cacheable routes.
    pub cached: Arc<dyn CachedRoutes>,
    /// The other routes: [`Routes::router`].
    pub others: Router,
    pub request_timeout: Duration,
    /// The places for requests that wait for a change.
    pub waits: Waits,
    /// The problem of a request that took longer than its deadline.
    pub timed_out: fn() -> Problem,
}

/// The public API of a service: its routes below the whole stack. Each connection has a clone.
pub trait PublicApi: HttpService<Body, Future: Send> + Clone + Send + 'static {}

impl<S> PublicApi for S where S: HttpService<Body, Future: Send> + Clone + Send + 'static {}

/// A service that responds to every request.
pub trait HttpService<B>: Service<Request<B>, Response = Response, Error = Infallible> {}

impl<S, B> HttpService<B> for S where S: Service<Request<B>, Response = Response, Error = Infallible>
{}

/// Builds the stack. A request passes the layers from top to bottom.
///
/// Every layer is generic over the service below it and has a future with a name, so that the whole
/// stack is one type and a hit boxes no future. `Router::layer` and `axum::middleware::from_fn`
/// box one for each layer.
///
/// Invariant: a layer that can respond is below *count*, so that no response is uncounted, and below
/// *problems*, so that no error has another format.
pub fn stack(config: StackConfig, common: &Common, exporter: &Exporter) -> impl PublicApi + use<> {
    let StackConfig { routes, endpoint, cached, others, request_timeout, waits, timed_out } =
        config;
    let kind = RequestKind { access_log: common.access_log, traffic: true };
    let tokens = common.auth_token_file.as_ref().map(TokenVerifier::watch);
    let waiter = Waiter::new(Arc::clone(&cached), waits, request_timeout);
    ServiceBuilder::new()
        // Outermost: everything below logs with the request's ids.
        .layer(RequestLogLayer { routes, kind })
        .layer(CountLayer::new(exporter.layer(endpoint), routes))
        .layer(ProblemsLayer)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(ValidateRequestHeaderLayer::custom(ValidHost))
        // Before authentication: a refusal must be cheaper than the work it saves.
        .layer(ShedLayer::new(common.max_in_flight))
        // Before the cache: a client without a token learns nothing about its entries.
        .layer(ValidateRequestHeaderLayer::custom(Authenticate(tokens)))
        .layer(DeadlineLayer { request_timeout, timed_out })
        .service(Dispatch::new(cached, others, common.trusts_clients(), waiter))
}

/// Builds the stack of probes and `/metrics`: they are never shed, authenticated or counted.
pub(crate) fn probe_stack(probes: Router) -> impl PublicApi {
    let kind = RequestKind { access_log: AccessLog::Errors, traffic: false };
    ServiceBuilder::new()
        .layer(RequestLogLayer { routes: PROBES, kind })
        .layer(ProblemsLayer)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(ValidateRequestHeaderLayer::custom(ValidHost))
        .service(probes)
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    // The panic's message may quote a value, so the response does not repeat it. The panic hook has
    // logged the place.
    Problem::internal().into_response()
}
