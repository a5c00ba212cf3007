//! A small HTTP client, and answers that are easy to make claims about.

use std::time::Duration;

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

use crate::MARK;

/// Longer than any deadline of these tests, so that a service that hangs fails a test, and not its run.
const PATIENCE: Duration = Duration::from_secs(20);

/// One answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// What was asked: for the messages of failed tests.
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

pub async fn get(url: &str) -> Reply {
    send(Method::GET, url, &[]).await
}

/// Sends one request, on a connection of its own, and reads the whole answer.
pub async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> Reply {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .expect("a client without TLS needs nothing that could be missing");
    let mut request = client.request(method.clone(), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap_or_else(|error| panic!("{method} {url}: {error:?}"));
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.text().await.unwrap_or_else(|error| panic!("{method} {url}: {error:?}"));
    let reply = Reply { request: format!("{method} {url}"), status, headers, body };
    reply.keeps_secrets();
    reply
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        self.json()
    }

    /// The body of an error, after checking all that every error promises.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        check_problem(&problem);
        assert_eq!(problem["status"], status, "{self:?}");
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{self:?}");
        assert!(
            self.header("cache-control").is_some(),
            "an error says how long it holds: {self:?}"
        );
        if status == 503 {
            let pause = self.header("retry-after").map(str::parse::<u32>);
            assert!(matches!(pause, Some(Ok(1..))), "a 503 says when to try again: {self:?}");
        }
        problem
    }

    /// A value may be in the body of a success only, and never in a header.
    fn keeps_secrets(&self) {
        let shown = format!("{:?}", self.headers);
        assert!(!shown.contains(MARK), "a header shows a secret: {self:?}");
        assert!(
            self.status < 400 || !self.body.contains(MARK),
            "an error shows a secret: {self:?}"
        );
    }
}

/// The members that every problem has, wherever it stands.
#[track_caller]
pub fn check_problem(problem: &Value) {
    for member in ["type", "title", "detail", "code", "request_id", "error"] {
        let text = problem[member].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "`{member}` is missing, empty or no text: {problem}");
    }
    assert!(problem["status"].is_u64(), "{problem}");
    assert!(problem["retryable"].is_boolean(), "{problem}");
}
