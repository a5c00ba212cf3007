//! Authentication: a request without an accepted token gets 401. The token is a bearer token, and on
//! AWS's protocol the session token: its `Authorization` holds a signature.

use axum::{
    body::Body,
    http::{Method, Request, Response},
    response::IntoResponse,
};
use tower_http::validate_request::ValidateRequest;

use super::request::RequestInfo;
use crate::{
    auth::TokenVerifier,
    contract::{
        routes::{Route, Tag},
        ssm,
    },
};

/// The accepted tokens. Without any, every request passes.
#[derive(Clone)]
pub(crate) struct Authenticate(pub(crate) Option<TokenVerifier>);

impl<B> ValidateRequest<B> for Authenticate {
    type ResponseBody = Body;

    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<Body>> {
        let route = request.extensions().get::<RequestInfo>().and_then(|info| info.route);
        // Before the token: aux-service would take a refusal for wrong credentials of AWS.
        if let Some(Route { tag: Tag::Aws, .. }) = route.map(|id| id.route())
            && let Some(problem) = ssm::refuse_own_call(request.headers())
        {
            return Err(problem.into_response());
        }
        let Some(tokens) = &self.0 else { return Ok(()) };
        match route.map(|id| id.route()) {
            Some(Route { tag: Tag::Pages, .. }) if reads(request) => Ok(()),
            Some(Route { tag: Tag::Aws, .. }) => tokens.check_session_token(request.headers()),
            _ => tokens.check(request.headers()),
        }
    }
}

fn reads<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}
