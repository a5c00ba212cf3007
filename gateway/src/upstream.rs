//! The client of aux-service.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::{Bytes, BytesMut};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde::de::DeserializeOwned;
use shared::{
    auth::Token,
    http::{Deadline, EXPECTED_TIMEOUT},
    problem::{self, Problem},
    telemetry::RequestContext,
};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::{config::Config, error::Error};

/// More than this is no answer of aux-service: a hundred thousand names fit.
const LARGEST_BODY: usize = 32 << 20;

/// Cloning is shallow.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: ClientWithMiddleware,
    base: Url,
    token: Option<Token>,
    degraded: Arc<AtomicBool>,
}

/// A successful answer.
#[derive(Debug)]
pub struct Answer<T> {
    pub body: T,
    pub headers: HeaderMap,
}

#[derive(Debug, thiserror::Error)]
enum Nonsense {
    #[error("the answer has more than {LARGEST_BODY} bytes")]
    TooLarge,
    #[error("the answer has status {0} and is no problem")]
    UnexpectedStatus(StatusCode),
    #[error("the answer is not what this route answers, in column {0}")]
    UnexpectedBody(usize),
}

impl Upstream {
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            // Inside a cluster a proxy of the environment would only be in the way.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(config.attempt_timeout)
            .timeout(config.attempt_timeout)
            .tcp_nodelay(true)
            .http1_only()
            .build()?;
        Ok(Self {
            client: ClientBuilder::new(client).build(),
            base: config.aux_url.clone(),
            token: config.aux_token_file.as_ref().map(Token::follow),
            degraded: Arc::default(),
        })
    }

    /// Asks aux-service. The path is given in segments, so that no name can lead out of its route.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        deadline: Deadline,
    ) -> Result<Answer<T>, Error> {
        let attempt = timeout_at(deadline.0, self.attempt(path, deadline));
        let result = attempt.await.unwrap_or(Err(Error::UpstreamTimeout));
        let degraded =
            matches!(result, Err(Error::UpstreamUnavailable(_) | Error::UpstreamTimeout));
        self.degraded.store(degraded, Relaxed);
        result
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        path: &[&str],
        deadline: Deadline,
    ) -> Result<Answer<T>, Error> {
        let mut headers = HeaderMap::new();
        if let Some(context) = RequestContext::current() {
            context.inject(&mut headers);
        }
        if let Some(token) = &self.token {
            headers.insert(header::AUTHORIZATION, token.header());
        }
        let remaining = deadline.0.saturating_duration_since(Instant::now()).as_millis();
        headers.insert(
            EXPECTED_TIMEOUT,
            HeaderValue::from(u64::try_from(remaining).unwrap_or(u64::MAX)),
        );

        let request = self.client.get(self.url(path)).headers(headers);
        let response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response).await?;

        if status == StatusCode::OK {
            return match serde_json::from_slice(&body) {
                Ok(body) => Ok(Answer { body, headers }),
                // The parser's message may quote the answer, and with it a value.
                Err(error) => Err(nonsense(Nonsense::UnexpectedBody(error.column()))),
            };
        }
        let told = headers.get(header::CONTENT_TYPE) == Some(&problem::CONTENT_TYPE);
        match serde_json::from_slice::<Problem>(&body) {
            // Where aux-service refuses our token, nothing is wrong with the client's.
            Ok(problem)
                if told
                    && problem.status == status.as_u16()
                    && status != StatusCode::UNAUTHORIZED =>
            {
                Err(Error::Problem(Box::new(problem.with_headers(&headers))))
            }
            _ => Err(nonsense(Nonsense::UnexpectedStatus(status))),
        }
    }

    /// What `/readyz` tells of aux-service.
    pub fn health(&self) -> serde_json::Value {
        serde_json::json!({ "aux-service": if self.degraded.load(Relaxed) { "degraded" } else { "ok" } })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("the configuration accepts only http URLs, which have a path")
            .pop_if_empty()
            .extend(path);
        url
    }
}

async fn read(mut response: reqwest::Response) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(error.into()))? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(nonsense(Nonsense::TooLarge));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn nonsense(what: Nonsense) -> Error {
    Error::UpstreamUnavailable(Arc::new(what))
}

fn failed(error: reqwest_middleware::Error) -> Error {
    match error {
        reqwest_middleware::Error::Reqwest(error) if error.is_timeout() => Error::UpstreamTimeout,
        // The URL holds a parameter's name.
        reqwest_middleware::Error::Reqwest(error) => {
            Error::UpstreamUnavailable(Arc::new(error.without_url()))
        }
        reqwest_middleware::Error::Middleware(error) => {
            Error::UpstreamUnavailable(Arc::from(error.into_boxed_dyn_error()))
        }
    }
}
