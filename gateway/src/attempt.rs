//! One attempt: a request out, the whole answer in, and what that came to.

use std::{error::Error as _, sync::OnceLock, time::Duration};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Error, Middleware, Next, Result};
use reqwest_retry::RetryError;
use shared::{
    auth::Token, problem::Problem, server::EXPECTED_TIMEOUT, telemetry::RequestContext, trace::Span,
};
use tokio::time::{Instant, timeout};
use url::{Position, Url};
use zeroize::Zeroizing;

use crate::{
    aggregate::{Aggregate, Body},
    breaker::{Breaker, Refused, Verdict},
    kept::{Came, Kept},
};

/// A larger answer than this is not read to its end: no list or set of values of a sane account
/// comes near it, and a broken upstream must not fill our memory.
pub(crate) const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// As many headers as we send, without growing.
const HEADERS: usize = 8;

const REQUESTS: &str = "upstream_requests_total";
const DURATION: &str = "upstream_request_duration_seconds";

/// What every layer must know of the call that it serves: in the request's extensions.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// The template of the route, for metrics.
    pub(crate) route: &'static str,
    /// Nobody waits for an answer after this.
    pub(crate) deadline: Instant,
    /// Makes ours of the body of a 200, into the extensions of its response. This happens within
    /// the attempt, so that nonsense is the attempt's failure.
    pub(crate) aggregate: Aggregate,
}

impl Call {
    pub(crate) fn of(extensions: &Extensions) -> &Self {
        extensions.get().expect("every request to aux-service carries its call")
    }
}

/// Why an attempt brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Refused(Refused),
    #[error("aux-service cannot be reached, or broke off")]
    Unreachable(#[source] Error),
    #[error("aux-service did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("aux-service answered {status} with {what}")]
    Nonsense { status: StatusCode, what: &'static str },
    #[error("aux-service answered with the problem {}", .0.code)]
    Problem(Box<Problem>),
}

/// Unwraps it from what the layers have wrapped it in.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let error = match error {
            Error::Reqwest(error) => return Self::Unreachable(Error::Reqwest(error.without_url())),
            Error::Middleware(error) => error,
        };
        match error.downcast() {
            Ok(RetryError::Error(inner) | RetryError::WithRetries { err: inner, .. }) => {
                inner.into()
            }
            Err(error) => match error.downcast() {
                Ok(failure) => failure,
                Err(error) => Self::Unreachable(Error::Middleware(error)),
            },
        }
    }
}

impl Failure {
    /// Finds the failure in what the layers have wrapped it in.
    pub(crate) fn of(error: &Error) -> Option<&Self> {
        let Error::Middleware(error) = error else { return None };
        match error.downcast_ref() {
            Some(RetryError::Error(inner) | RetryError::WithRetries { err: inner, .. }) => {
                Self::of(inner)
            }
            None => error.downcast_ref(),
        }
    }

    /// Whether the same call may well succeed a moment later. A refusal by the breaker is final:
    /// retrying it would defeat it. So is nonsense, unless its status says that something between
    /// us and aux-service speaks, such as a mesh.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Unreachable(_) | Self::TimedOut(_) => true,
            Self::Nonsense { status, .. } => is_transient(*status),
            Self::Problem(problem) => problem.retryable && is_transient(problem.status()),
        }
    }

    /// Whether aux-service did its work, and refused the request for what it is.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status().is_client_error())
    }

    /// The pause that aux-service asks for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            Self::Refused(_) | Self::Unreachable(_) | Self::TimedOut(_) | Self::Nonsense { .. } => {
                None
            }
        }
    }

    fn is_throttled(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.code == "aws-throttled")
    }

    /// Whether time ran out, here or at aux-service.
    fn is_late(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Problem(problem) => problem.status() == StatusCode::GATEWAY_TIMEOUT,
            Self::Refused(_) | Self::Unreachable(_) | Self::Nonsense { .. } => false,
        }
    }

    /// The label `outcome` of `upstream_requests_total`.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(_) => "circuit_open",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timeout",
            Self::Nonsense { .. } => "invalid",
            Self::Problem(_) if self.is_answer() => "client_error",
            Self::Problem(_) if self.is_throttled() => "throttled",
            Self::Problem(_) => "server_error",
        }
    }

    /// The circuit judges aux-service, which does its work when it tells what is wrong with AWS:
    /// an open circuit would only hide the stale answers that it still has.
    fn verdict(&self) -> Verdict {
        match self {
            _ if self.is_answer() => Verdict::Success,
            Self::Problem(problem) if problem.shielded => Verdict::Success,
            _ if self.is_throttled() => Verdict::Throttled,
            Self::Problem(problem) if problem.code.starts_with("aws-") => Verdict::Success,
            _ => Verdict::Failure,
        }
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The layers below retry: circuit breaker, then the timeout of one attempt, then HTTP.
pub(crate) struct Attempt {
    pub(crate) breaker: Breaker,
    pub(crate) kept: Kept,
    pub(crate) timeout: Duration,
    /// What aux-service wants to be shown.
    pub(crate) token: Option<Token>,
    /// Our build, for the answers.
    pub(crate) version: String,
    pub(crate) successes: Successes,
}

#[async_trait::async_trait]
impl Middleware for Attempt {
    async fn handle(&self, req: Request, ext: &mut Extensions, next: Next<'_>) -> Result<Response> {
        self.run(req, ext, next).await.map_err(Error::middleware)
    }
}

impl Attempt {
    async fn run(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> std::result::Result<Response, Failure> {
        let call = *Call::of(extensions);
        let permit = self.breaker.acquire().map_err(|refused| {
            requests(call.route, "circuit_open").increment(1);
            Failure::Refused(refused)
        })?;
        let mut measured = Measured {
            successes: &self.successes,
            route: call.route,
            started: Instant::now(),
            outcome: "abandoned",
        };
        let remaining = call.deadline.saturating_duration_since(measured.started);
        let patience = self.timeout.min(remaining);
        let mut span = Span::client(|| format!("GET {}", call.route));
        let headers = request.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(EXPECTED_TIMEOUT, HeaderValue::from(patience.as_millis() as u64));
        if let Some(token) = &self.token {
            headers.insert(header::AUTHORIZATION, token.header());
        }
        if let Some(context) = RequestContext::current() {
            span.within(context).inject(headers);
        }

        let exchange = async {
            let url = request.url().clone();
            let conditional = request.headers().contains_key(header::IF_NONE_MATCH);
            let answer = self.exchange(request, &mut *extensions, next).await?;
            let aggregate = |theirs: &[u8]| (call.aggregate)(theirs, &self.version);
            if let Some(ours) = judge(&answer, conditional, aggregate)? {
                extensions.insert(ours);
            }
            Ok(answer.without_body(url))
        };
        let result = match timeout(patience, exchange).await {
            Ok(result) => result,
            Err(_) => {
                self.kept.forget();
                Err(Failure::TimedOut(patience))
            }
        };

        measured.outcome = result.as_ref().map_or_else(Failure::outcome, |_| OK);
        span.tell("outcome", measured.outcome);
        if let Err(failure) = &result {
            span.fail("");
            // What a retry or a stale answer makes good is told nowhere else.
            let cause = failure.source().map(ToString::to_string);
            tracing::debug!(route = call.route, %failure, cause, "an attempt failed");
        }
        match &result {
            Ok(_) => permit.judge(Verdict::Success),
            // The caller gave less time than an attempt may take. Whether that was too little is
            // not known, and callers in a hurry must not open the circuit for all: the permit
            // decides by how slow it was.
            Err(failure) if failure.is_late() && patience < self.timeout => drop(permit),
            Err(failure) => permit.judge(failure.verdict()),
        }
        result
    }
}

/// What aux-service answered, whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `None` if it is too large.
    pub(crate) body: Option<Bytes>,
}

impl Answer {
    /// The response as the layers above want it.
    fn without_body(self, url: Url) -> Response {
        // Without a URL, reqwest would parse one that it makes up.
        let response = http::Response::builder().status(self.status).url(url);
        let response = response.body(Bytes::new()).expect("every part of it is one already");
        let mut response = Response::from(response);
        *response.headers_mut() = self.headers;
        response
    }
}

impl Attempt {
    /// Sends the request and reads the answer to its end: an answer that breaks off or stalls must
    /// fail here, where the breaker sees it and a retry can help, and not in front of the client.
    async fn exchange(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> std::result::Result<Answer, Failure> {
        if let Some(answer) = self.exchange_over_kept(&request).await? {
            return Ok(answer);
        }
        let broken = |error: Error| Failure::Unreachable(error.without_url());
        let mut response = next.run(request, extensions).await.map_err(broken)?;
        let body = read(&mut response).await.map_err(|error| broken(error.into()))?;
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status: response.status(), headers, body })
    }

    /// The same over a connection that is kept; `None` if reqwest has to ask.
    async fn exchange_over_kept(
        &self,
        request: &Request,
    ) -> std::result::Result<Option<Answer>, Failure> {
        let broken = |error| Failure::Unreachable(Error::middleware(error));
        if request.method() != Method::GET || request.body().is_some() {
            return Ok(None);
        }
        let Some(mut connection) = self.kept.take() else { return Ok(None) };
        let path = &request.url()[Position::BeforePath..];
        let request = self.kept.request(path, request.headers());
        match connection.ask(&request).await.map_err(broken)? {
            Came::Answer(answer) => {
                self.kept.give_back(connection);
                Ok(Some(answer))
            }
            // Its close and the request have met, or so it seems: aux-service has always answered
            // here. That is no failure of the attempt, since every connection has to be closed some
            // time, and to ask again does no harm (RFC 9112, 9.3.1).
            Came::Nothing if connection.used => Ok(None),
            Came::Nothing => Err(broken(std::io::ErrorKind::UnexpectedEof.into())),
            Came::Unclear => {
                tracing::debug!("an answer is not plain, so all are read by reqwest for a while");
                self.kept.rest();
                Ok(None)
            }
        }
    }
}

/// Makes ours of the answer, where it has something to make it of: all but an answer that changes
/// nothing. What makes no sense must fail here as well.
fn judge(
    answer: &Answer,
    conditional: bool,
    aggregate: impl Fn(&[u8]) -> Option<Body>,
) -> std::result::Result<Option<Body>, Failure> {
    let Answer { status, ref headers, ref body } = *answer;
    let nonsense = |what| Failure::Nonsense { status, what };
    if status == StatusCode::NOT_MODIFIED && conditional {
        return Ok(None);
    }
    let body = body.as_ref().ok_or_else(|| nonsense("a body that is too large"))?;
    let is_of = |media_type| self::media_type(headers).eq_ignore_ascii_case(media_type);
    if status == StatusCode::OK {
        if !is_of("application/json") {
            return Err(nonsense("a body that is not JSON"));
        }
        let ours = aggregate(body).ok_or_else(|| nonsense("a body of another kind"))?;
        return Ok(Some(ours));
    }
    if !is_of("application/problem+json") {
        return Err(nonsense("a body that is no problem"));
    }
    if !status.is_client_error() && !status.is_server_error() {
        return Err(nonsense("a problem where none can be"));
    }
    match serde_json::from_slice::<Problem>(body) {
        // Where aux-service refuses our token, nothing is wrong with the client's.
        Ok(problem) if problem.status != status.as_u16() || status == StatusCode::UNAUTHORIZED => {
            Err(nonsense("a problem that is not the client's"))
        }
        Ok(problem) => Err(Failure::Problem(Box::new(problem.with_headers(headers)))),
        Err(_) => Err(nonsense("a problem that cannot be read")),
    }
}

/// The whole body, or nothing if it is too large.
async fn read(response: &mut Response) -> reqwest::Result<Option<Bytes>> {
    let announced = response.content_length().unwrap_or(0);
    if announced > LARGEST_BODY as u64 {
        return Ok(None);
    }
    let mut piece = response.chunk().await?;
    // Most come in one piece.
    if piece.as_ref().is_some_and(|piece| piece.len() as u64 == announced) {
        return Ok(piece);
    }
    // aux-service announces its length, so that the buffer never moves and leaves a copy behind.
    let mut whole = Zeroizing::new(Vec::with_capacity(announced as usize));
    while let Some(part) = piece {
        if whole.len() + part.len() > LARGEST_BODY {
            return Ok(None);
        }
        whole.extend_from_slice(&part);
        piece = response.chunk().await?;
    }
    Ok(Some(Bytes::from_owner(whole)))
}

/// Without its parameters, and empty where there is none.
fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Records an attempt when it ends, however it ends.
struct Measured<'a> {
    successes: &'a Successes,
    route: &'static str,
    started: Instant,
    outcome: &'static str,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        if self.outcome == OK {
            self.successes.record(self.route, elapsed);
        } else {
            requests(self.route, self.outcome).increment(1);
            durations(self.route, self.outcome).record(elapsed);
        }
    }
}

/// The outcome of nearly all attempts.
const OK: &str = "ok";

/// The series of each route's attempts that came to [`OK`], at hand from the first of them on: to
/// look a series up by its labels costs as much as to parse the answer.
pub(crate) struct Successes(Vec<(&'static str, OnceLock<(Counter, Histogram)>)>);

impl Successes {
    pub(crate) fn new(routes: &[&'static str]) -> Self {
        Self(routes.iter().map(|route| (*route, OnceLock::new())).collect())
    }

    fn record(&self, route: &'static str, elapsed: Duration) {
        let series = self.0.iter().find(|(known, _)| *known == route);
        let (_, series) = series.expect("every route has its place");
        let (count, duration) = series.get_or_init(|| (requests(route, OK), durations(route, OK)));
        count.increment(1);
        duration.record(elapsed);
    }
}

/// What the metrics of this file and of no other are.
pub(crate) fn describe() {
    describe_counter!(
        REQUESTS,
        "Attempts to ask aux-service, and those that the circuit breaker refused"
    );
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time from the begin of an attempt to the end of its answer"
    );
}

fn requests(route: &'static str, outcome: &'static str) -> Counter {
    counter!(REQUESTS, "route" => route, "outcome" => outcome)
}

fn durations(route: &'static str, outcome: &'static str) -> Histogram {
    histogram!(DURATION, "route" => route, "outcome" => outcome)
}
