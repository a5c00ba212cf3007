//! One error format: a response that is an error leaves this layer as a problem (RFC 9457).

use axum::{
    body::{Body, HttpBody},
    http::Response,
};
use bytes::Bytes;
use tower::BoxError;

use crate::contract::problem::ensure_problem;

/// The function of the layer, for `ServiceBuilder::map_response`.
pub(crate) fn problems<B>(response: Response<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut response = response.map(Body::new);
    ensure_problem(&mut response);
    response
}
