//! Authentication: a request without an accepted bearer token gets 401.

use axum::{
    body::Body,
    http::{Method, Request, Response},
};
use tower_http::validate_request::ValidateRequest;

use super::request::RequestInfo;
use crate::{auth::TokenVerifier, contract::routes::Tag};

/// The accepted tokens. Without any, every request passes.
#[derive(Clone)]
pub(crate) struct Authenticate(pub(crate) Option<TokenVerifier>);

impl<B> ValidateRequest<B> for Authenticate {
    type ResponseBody = Body;

    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<Body>> {
        match &self.0 {
            Some(tokens) if !needs_no_token(request) => tokens.check(request.headers()),
            _ => Ok(()),
        }
    }
}

fn needs_no_token<B>(request: &Request<B>) -> bool {
    let route = request.extensions().get::<RequestInfo>().and_then(|info| info.route);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    reads && route.is_some_and(|route| route.route().tag == Tag::Pages)
}
