//! The format of every error: `application/problem+json` (RFC 9457).
//!
//! A handler returns a [`Problem`], and layer *problems* renders its body. The layer also converts
//! bare errors (the router's 404 and 405, an extractor's 400, a panic's 500). On the route of AWS's
//! protocol the same problems are sent in AWS's form; see [`ssm`](super::ssm).

use std::{borrow::Cow, error::Error as StdError, ops::RangeInclusive, sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cache::{
    Failed,
    http::{Freshness, NO_STORE},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of every error body.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The error as the client sees it (RFC 9457). The details for the operator are in the log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:problem:<code>`: RFC 9457 requires an identifier, not necessarily a page.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// A short summary, the same for every problem with this code.
    pub title: Cow<'static, str>,
    /// The HTTP status of the response.
    pub status: u16,
    /// An explanation of this occurrence, limited to facts that the client may know.
    pub detail: Cow<'static, str>,
    /// A stable code for programs.
    pub code: Cow<'static, str>,
    /// Whether the same request may succeed a little later.
    pub retryable: bool,
    /// The `x-request-id` of the request, for a search in the logs.
    pub request_id: String,
    /// Whether the local quota limiter rejected the call before it reached AWS. Absent when
    /// `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shielded: bool,
    /// The progress of a list that is still loading. Absent in every other problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The error of AWS's protocol, if the problem alone does not determine it. It is sent only
    /// from service to service, as the answer to a request in that protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub aws_error: Option<AwsError>,
    /// One sentence, for earlier clients of this API that read this member.
    pub error: Cow<'static, str>,

    /// The pause before a retry, sent as `Retry-After` in whole seconds, rounded up.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// The time for which caches may store the error, sent as `max-age`. Without it the error is
    /// sent with `no-store`.
    #[serde(skip)]
    pub max_age: Option<Duration>,
    /// The `Cache-Status` header that a cache on the path has set.
    #[serde(skip)]
    pub cache_status: Option<HeaderValue>,
    /// The underlying error, for the log. It never reaches the client.
    #[serde(skip)]
    pub cause: Option<Cause>,
}

/// The part of a list that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// The number of pages.
    pub pages: usize,
    /// The number of names in these pages, before names outside `PARAMETER_PREFIXES` are left out.
    pub names: usize,
}

/// An error as AWS's protocol has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsError {
    /// The code on which SDKs act, such as `ParameterVersionNotFound`.
    pub code: Cow<'static, str>,
    pub message: Cow<'static, str>,
}

/// The codes of all problems of both services, each with the statuses that it may have. A code never
/// changes its meaning, and `docs/reference.md` describes each.
pub const CODES: [(&str, RangeInclusive<u16>); 27] = [
    ("invalid-parameter-name", 400..=400),
    ("unauthorized", 401..=401),
    ("parameter-not-allowed", 403..=403),
    ("secure-string-not-allowed", 403..=403),
    ("aws-access-denied", 403..=403),
    ("parameter-not-found", 404..=404),
    ("not-found", 404..=404),
    ("method-not-allowed", 405..=405),
    ("request-timeout", 408..=408),
    ("payload-too-large", 413..=413),
    ("parameter-unreadable", 422..=422),
    ("bad-request", 400..=499),
    ("aws-credentials", 502..=502),
    ("aws-unavailable", 502..=502),
    ("aws-refused", 502..=502),
    ("answer-too-large", 502..=502),
    ("upstream-unavailable", 502..=502),
    ("overloaded", 503..=503),
    ("aws-throttled", 503..=503),
    ("list-loading", 503..=503),
    ("circuit-open", 503..=503),
    ("starting", 503..=503),
    ("draining", 503..=503),
    ("aws-timeout", 504..=504),
    ("upstream-timeout", 504..=504),
    ("loop-detected", 508..=508),
    ("internal", 500..=599),
];

/// Upper bound for an upstream's `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Reads the seconds of `Retry-After`, at most an hour. The other form of the header, a date, is
/// not supported: it depends on two clocks.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// The underlying error. It is shared, because one failed call may fail many waiting requests.
pub type Cause = Arc<dyn StdError + Send + Sync>;

impl Problem {
    /// Creates a problem that is not retryable. Its code is one of [`CODES`]. `detail` is also the text
    /// of the member `error`.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let detail = detail.into();
        debug_assert!(
            CODES
                .iter()
                .any(|(known, statuses)| *known == code && statuses.contains(&status.as_u16())),
            "CODES does not have {code} with {status}"
        );
        Self {
            kind: format!("urn:problem:{code}").into(),
            title: title.into(),
            status: status.as_u16(),
            error: detail.clone(),
            detail,
            code: code.into(),
            retryable: false,
            request_id: String::new(),
            shielded: false,
            progress: None,
            aws_error: None,
            retry_after: None,
            max_age: None,
            cache_status: None,
            cause: None,
        }
    }

    /// Marks the problem as retryable: the same request may succeed a little later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Marks the problem as retryable and sets the pause before the retry.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self.retryable()
    }

    /// Attaches the underlying error for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: Cause) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Sets the error of AWS's protocol.
    #[must_use]
    pub fn aws(mut self, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        self.aws_error = Some(AwsError { code: code.into(), message: message.into() });
        self
    }

    /// Reads `Retry-After` and the freshness from the headers of a received response.
    #[must_use]
    pub fn with_headers(mut self, headers: &HeaderMap) -> Self {
        self.retry_after = retry_after(headers);
        self.max_age =
            Freshness::read(headers, Duration::ZERO).map(|freshness| freshness.remaining());
        self
    }

    /// Returns the HTTP status, or 500 if the number is invalid. Only a problem from another
    /// service can contain an invalid number.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Whether the problem belongs to this request and will not pass. An `internal` problem is a bug
    /// of the service, so it is not final in this sense.
    pub fn is_final(&self) -> bool {
        !self.retryable && self.code != "internal"
    }

    /// The problem of a name that no SSM parameter can have.
    pub fn invalid_parameter_name(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-parameter-name",
            "Invalid parameter name",
            detail,
        )
    }

    /// The problem of a request without a bearer token.
    pub fn missing_token() -> Self {
        Self::unauthorized(
            "This service needs a bearer token: send it as `Authorization: Bearer <token>`.",
        )
    }

    /// The problem of a request with a bearer token that is not accepted.
    pub fn wrong_token() -> Self {
        Self::unauthorized(
            "This service does not accept this bearer token; ask its operator for a current one.",
        )
    }

    fn unauthorized(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not authorised", detail)
    }

    /// The problem of a request beyond `MAX_IN_FLIGHT`.
    pub fn overloaded() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests at once",
            "More requests are in progress than this service allows; try again in a second.",
        )
        .retry_after(Duration::from_secs(1))
    }

    /// The problem of `/readyz` after the shutdown has begun.
    pub fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "Draining",
            "This process is about to end and takes no more traffic.",
        )
        .retryable()
    }

    /// The problem of `/readyz` before the start is complete.
    pub fn starting() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            "Starting",
            "This process still loads the entries that its configuration names.",
        )
        .retry_after(Duration::from_secs(1))
    }

    /// The problem of a panic or of another internal bug.
    pub fn internal() -> Self {
        Self::from(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Writes the headers of the problem's response and returns its body.
    pub(crate) fn render(&self, headers: &mut HeaderMap) -> Vec<u8> {
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        self.render_headers(headers);
        serde_json::to_vec(self).expect("a problem is strings and numbers")
    }

    /// Writes the headers that do not depend on the format of the body.
    pub(super) fn render_headers(&self, headers: &mut HeaderMap) {
        let cache_control = match self.max_age {
            Some(age) => HeaderValue::try_from(format!("max-age={}", age.as_secs()))
                .expect("digits are a header value"),
            None => NO_STORE,
        };
        headers.insert(header::CACHE_CONTROL, cache_control);
        if let Some(pause) = self.retry_after {
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(status) = &self.cache_status {
            headers.insert(header::CACHE_STATUS, status.clone());
        }
    }
}

/// Converts an error of a request in AWS's protocol. Its own message goes to the client.
impl From<AwsError> for Problem {
    fn from(error: AwsError) -> Self {
        let problem = Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "Bad Request",
            "AWS's protocol does not allow this request.",
        );
        Self { aws_error: Some(error), ..problem }
    }
}

/// Converts a bare error status to a problem.
impl From<StatusCode> for Problem {
    fn from(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => {
                Self::new(status, "not-found", "No such route", "There is no such route.")
            }
            StatusCode::METHOD_NOT_ALLOWED => Self::new(
                status,
                "method-not-allowed",
                "Method not allowed",
                "This route does not accept this method; `Allow` names those that it accepts.",
            ),
            StatusCode::INTERNAL_SERVER_ERROR => Self::new(
                status,
                "internal",
                "Internal error",
                "The service failed in a way that it did not foresee.",
            ),
            _ => {
                let title = status.canonical_reason().unwrap_or("Error");
                let code = if status.is_client_error() { "bad-request" } else { "internal" };
                Self::new(status, code, title, format!("{title}."))
            }
        }
    }
}

/// Converts a failure of a cache as its error does. Only a 404 carries the remaining lifetime of its
/// negative entry, because no cache may store another error.
impl<E: Into<Self>> From<Failed<E>> for Problem {
    fn from(failed: Failed<E>) -> Self {
        let (remaining, cache_status) = (failed.expires_in, Some(failed.cache_status()));
        let problem = match failed.cause {
            cache::Cause::Error(error) => error.into(),
            cache::Cause::Panicked => Self::internal(),
        };
        let max_age = remaining.filter(|_| problem.status() == StatusCode::NOT_FOUND);
        Self { max_age, cache_status, ..problem }
    }
}

impl IntoResponse for Problem {
    /// Returns a response without a body. Layer *problems* adds the body to every error response.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_problem_of_an_upstream_becomes_a_well_formed_response(
            text in "\\PC{0,40}",
            status in any::<u16>(),
            retry_after in "[0-9]{0,25}|[ -~]{0,12}",
        ) {
            let sent = serde_json::json!({
                "type": text, "title": text, "status": status, "detail": text, "code": text,
                "retryable": true, "request_id": text, "error": text,
            });
            let problem: Problem = serde_json::from_value(sent.clone()).expect("every member");
            let mut headers = HeaderMap::new();
            let value = HeaderValue::try_from(&retry_after).expect("printable");
            headers.insert(header::RETRY_AFTER, value);
            let problem = problem.with_headers(&headers);
            let mut headers = HeaderMap::new();
            let body = problem.render(&mut headers);

            let pause = headers.get(header::RETRY_AFTER).map(|value| value.to_str().expect("text"));
            let seconds = retry_after.parse::<u64>().ok();
            let expected = seconds.map(|seconds| seconds.clamp(1, LONGEST_PAUSE.as_secs()).to_string());
            prop_assert_eq!(pause, expected.as_deref());
            prop_assert_eq!(&headers[header::CACHE_CONTROL], "no-store");
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).expect("JSON"), sent);
        }

        #[test]
        fn the_parser_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(serde_json::from_slice::<Problem>(&bytes).is_err());
        }
    }
}
