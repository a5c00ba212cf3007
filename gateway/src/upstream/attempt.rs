//! One attempt of a call: sends the request and receives the whole response.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Error, Middleware, Next};
use service::{
    auth::TokenSource,
    contract::ssm::SECURITY_TOKEN,
    observe::{context::RequestContext, trace::Span},
    server::EXPECTED_TIMEOUT,
};
use tokio::time::timeout;
use url::Url;

use super::{
    body,
    breaker::{Refused, Verdict},
    call::Call,
    circuits::Circuits,
    connections::Connections,
    envelope::content_type_of,
    failure::Failure,
    metrics::{self, OK, OkMetrics},
    validate::{Received, validate_response},
};

/// The initial capacity for the headers of a request, so that the map does not grow.
const HEADERS: usize = 8;

/// The bounds of the margin between an attempt's timeout and that of aux-service.
const MIN_MARGIN: Duration = Duration::from_millis(20);
const MAX_MARGIN: Duration = Duration::from_millis(200);

/// The layer that makes one attempt: circuit breaker, then timeout, then HTTP. The timeout covers
/// the response's body and its validation, so a response that stalls, breaks off or is invalid
/// fails here, where the circuit breaker sees it and a retry can help.
pub(crate) struct Attempt {
    pub(crate) circuits: Circuits,
    pub(crate) connections: Connections,
    /// The longest time of an attempt. A call's deadline may shorten it.
    pub(crate) timeout: Duration,
    /// The token for aux-service.
    pub(crate) token: Option<TokenSource>,
    /// Our version, which each of our bodies contains.
    pub(crate) version: String,
    pub(crate) ok_metrics: OkMetrics,
}

#[async_trait::async_trait]
impl Middleware for Attempt {
    // `next` would send on the one client that the middleware wraps. An attempt is sent on the next
    // client in turn instead, so this layer is the last one.
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        _next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        self.run(request, *Call::of(extensions)).await.map_err(Error::middleware)
    }
}

impl Attempt {
    async fn run(&self, mut request: Request, call: Call) -> Result<Response, Failure> {
        let permit = self.circuits.acquire(call.route).map_err(|Refused { retry_after }| {
            let failure = Failure::Refused { retry_after };
            metrics::attempts(call.route, failure.outcome()).increment(1);
            failure
        })?;
        let mut timer = self.ok_metrics.start(call.route);
        let remaining = call.deadline.saturating_duration_since(timer.started);
        let limit = self.timeout.min(remaining);
        let mut span = Span::client(|| format!("{} {}", request.method(), call.route.label()));
        let headers = request.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(
            EXPECTED_TIMEOUT,
            HeaderValue::from(expected_timeout(limit).as_millis() as u64),
        );
        if let Some(token) = &self.token {
            // aux-service accepts the token in the header that a client of the route would use.
            if call.route.route().is_aws() {
                headers.insert(SECURITY_TOKEN, token.session_token());
            } else {
                headers.insert(header::AUTHORIZATION, token.header());
            }
        }
        if let Some(context) = RequestContext::current() {
            span.context(context).inject(headers);
        }

        let result = match timeout(limit, self.exchange(request, call)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::TimedOut(limit)),
        };

        timer.outcome = result.as_ref().map_or_else(Failure::outcome, |_| OK);
        span.set_attribute("outcome", timer.outcome);
        if let Err(failure) = &result {
            span.fail("");
            // A retry or a stale entry may hide this failure, so no other line reports it.
            let cause = failure.source().map(ToString::to_string);
            tracing::debug!(route = call.route.label(), %failure, cause, "an attempt failed");
        }
        match &result {
            Ok(_) => permit.record(Verdict::Success),
            // The close of an idle connection shows nothing about aux-service, so there is no
            // verdict. A reset after a slow wait does, so the dropped permit counts it.
            Err(Failure::Reset(_)) => drop(permit),
            Err(failure) if failure.demands_wait() => permit.ignore(),
            // The caller gave less time than an attempt may take, and callers with short deadlines
            // must not open the circuit for all. Without a verdict the permit decides by the
            // elapsed time.
            Err(Failure::TimedOut(_)) if limit < self.timeout => drop(permit),
            Err(failure) => permit.record(verdict(failure)),
        }
        result
    }

    /// Sends the request, reads the response to its end, and returns it with our own body.
    async fn exchange(&self, request: Request, call: Call) -> Result<Response, Failure> {
        let url = request.url().clone();
        let conditional = request.headers().contains_key(header::IF_NONE_MATCH);
        let mut response = self.connections.send(request).await?;
        let received = body::read(&mut response)
            .await
            .map_err(|error| Failure::Unreachable(error.without_url().into()))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let received = Received {
            conditional,
            status,
            headers: &headers,
            content_type: content_type_of(call.route),
            body: received.as_deref(),
        };
        let body = validate_response(received, |body| (call.transform)(body, &self.version))?;
        Ok(response_of(url, status, headers, body))
    }
}

/// Builds a response from its parts. Removes the headers that describe the upstream's body, because
/// our body differs.
fn response_of(url: Url, status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Response {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    // Without a URL, reqwest would parse a placeholder.
    let response = http::Response::builder().status(status).url(url).body(body);
    let mut response = response.expect("a status and a URL are valid parts");
    *response.headers_mut() = headers;
    response.into()
}

/// The time that aux-service has for its response: the attempt's timeout less a margin for the way
/// back. The margin is a tenth, at least 20 ms and at most 200 ms. With equal timers, the attempt
/// would time out just before the response of aux-service arrives.
fn expected_timeout(limit: Duration) -> Duration {
    let margin = (limit / 10).clamp(MIN_MARGIN, MAX_MARGIN);
    // A very short attempt keeps half of its time for aux-service.
    limit.saturating_sub(margin).max(limit / 2)
}

/// The verdict of the circuit on a failure. The verdict depends on aux-service only, which works
/// when it reports a problem of AWS: an open circuit would only hide its stale entries. It also
/// works when one request has no valid response, because the next request may have one.
fn verdict(failure: &Failure) -> Verdict {
    match failure {
        _ if failure.is_client_error() => Verdict::Success,
        Failure::TooLarge => Verdict::Success,
        Failure::Problem(problem) if problem.shielded => Verdict::Success,
        _ if failure.is_throttled() => Verdict::Throttled,
        Failure::Problem(problem) if problem.code.starts_with("aws-") => Verdict::Success,
        Failure::Problem(problem) if problem.is_final() => Verdict::Success,
        _ => Verdict::Failure,
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    /// A secret must not be copied into memory that nothing wipes.
    #[tokio::test]
    async fn a_body_is_not_copied_on_its_way_through_the_layers() {
        let body = Bytes::from_owner(Zeroizing::new(b"hunter2".to_vec()));
        let place = body.as_ptr();
        let url = Url::parse("http://aux-service/").expect("a URL");
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(3));
        let response = response_of(url, StatusCode::OK, headers, body);
        assert_eq!(response.content_length(), Some(7), "the length is that of our body");
        let read = response.bytes().await.expect("the body is in memory");
        assert_eq!((read.as_ptr(), &*read), (place, &b"hunter2"[..]));
    }
}
