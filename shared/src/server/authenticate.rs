//! Authentication: a request without an accepted bearer token gets 401.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{http::Request, response::Response};
use tower::{Layer, Service};

use super::{request::RequestInfo, respond::Respond};
use crate::{auth::Accepted, routes::Tag};

/// `None`: every request passes.
#[derive(Clone)]
pub(crate) struct AuthenticateLayer(pub(crate) Option<Accepted>);

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate { inner, tokens: self.0.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Authenticate<S> {
    inner: S,
    tokens: Option<Accepted>,
}

impl<S, B> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Respond<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(tokens) = &self.tokens
            && !needs_no_token(&request)
            && let Err(refusal) = tokens.check(request.headers())
        {
            return Respond::refuse(refusal);
        }
        Respond::call(self.inner.call(request))
    }
}

fn needs_no_token<B>(request: &Request<B>) -> bool {
    let route = request.extensions().get::<RequestInfo>().and_then(|info| info.route);
    route.is_some_and(|route| route.route().tag == Tag::Pages)
}
