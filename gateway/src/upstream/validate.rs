//! Decides whether a response is one that aux-service sends, and makes our body out of it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use service::contract::problem::{self, Problem};

use super::{envelope::Body, failure::Failure};

/// A response as it arrived.
pub(crate) struct Received<'a> {
    /// Whether the request had a validator, so that a 304 is a response to it.
    pub(crate) conditional: bool,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    /// The content type of a 200 of the route.
    pub(crate) content_type: HeaderValue,
    /// The body, unless it is larger than the client reads.
    pub(crate) body: Option<&'a [u8]>,
}

/// Validates the response and converts the body of a 200. A 304 has no body to convert.
///
/// # Errors
///
/// [`Failure::Problem`] if aux-service responded with one, [`Failure::TooLarge`] for a body that was
/// not read, [`Failure::Busy`] if a proxy demands a wait, else [`Failure::InvalidResponse`].
pub(crate) fn validate_response(
    Received { conditional, status, headers, content_type, body }: Received<'_>,
    transform: impl Fn(&[u8]) -> Option<Body>,
) -> Result<Bytes, Failure> {
    let invalid = |reason| Failure::InvalidResponse { status, reason };
    if status == StatusCode::NOT_MODIFIED && conditional {
        return Ok(Bytes::new());
    }
    let Some(body) = body else { return Err(Failure::TooLarge) };
    let is_of_type = |expected: HeaderValue| {
        media_type(headers).as_bytes().eq_ignore_ascii_case(expected.as_bytes())
    };
    if status == StatusCode::OK {
        if !is_of_type(content_type) {
            return Err(invalid("no JSON"));
        }
        let body = transform(body).ok_or_else(|| invalid("JSON of another route"))?;
        return Ok(Bytes::from_owner(body));
    }
    if !is_of_type(problem::CONTENT_TYPE) {
        return Err(busy(status, headers).unwrap_or_else(|| invalid("no problem body")));
    }
    if !status.is_client_error() && !status.is_server_error() {
        return Err(invalid("a problem with a status below 400"));
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if problem.status != status.as_u16() => {
            Err(invalid("a problem whose status differs from the response's"))
        }
        // The client's own token is not at fault.
        Ok(_) if status == StatusCode::UNAUTHORIZED => {
            Err(invalid("a 401, which refuses main-api's own token"))
        }
        Ok(problem) => Err(Failure::Problem(Box::new(problem.with_headers(headers)))),
        Err(_) => Err(invalid("an unreadable problem")),
    }
}

/// The failure if something between the services demands a wait.
fn busy(status: StatusCode, headers: &HeaderMap) -> Option<Failure> {
    let retry_after = problem::retry_after(headers);
    // A date in the header is no pause that this client reads, but it demands a wait as well.
    let demands = headers.contains_key(header::RETRY_AFTER);
    let waits = status == StatusCode::SERVICE_UNAVAILABLE && demands;
    (waits || status == StatusCode::TOO_MANY_REQUESTS)
        .then_some(Failure::Busy { status, retry_after })
}

/// The media type without its parameters; empty if the header is missing.
fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}
