//! A small HTTP client, and responses with assertions.

use std::time::Duration;

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

use crate::MARK;

/// The timeout of a request. It is longer than any deadline of these tests, so that a service that
/// hangs fails its test instead of blocking the run.
const TIMEOUT: Duration = Duration::from_secs(20);

/// One response, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The request, for the messages of failed tests.
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

pub async fn get(url: &str) -> Reply {
    send(Method::GET, url, &[]).await
}

/// Sends one request, on a connection of its own, and reads the whole response.
pub async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> Reply {
    send_body(method, url, headers, String::new()).await
}

/// Sends one request with a body, like [`send`].
pub async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    send_body(Method::POST, url, headers, body.to_owned()).await
}

async fn send_body(method: Method, url: &str, headers: &[(&str, &str)], body: String) -> Reply {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .expect("a client without TLS needs nothing that could be missing");
    let mut request = client.request(method.clone(), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.body(body);
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

    /// Returns the body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        self.json()
    }

    /// Returns the body of an error, after checking the rules for every error.
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

    /// Checks that only the body of a success holds a value, and that no header does.
    fn keeps_secrets(&self) {
        let shown = format!("{:?}", self.headers);
        assert!(!shown.contains(MARK), "a header shows a secret: {self:?}");
        assert!(
            self.status < 400 || !self.body.contains(MARK),
            "an error shows a secret: {self:?}"
        );
    }
}

/// Checks the members that every problem has, also inside of another body.
#[track_caller]
pub fn check_problem(problem: &Value) {
    for member in ["type", "title", "detail", "code", "request_id", "error"] {
        let text = problem[member].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "`{member}` is missing, empty or no text: {problem}");
    }
    assert!(problem["status"].is_u64(), "{problem}");
    assert!(problem["retryable"].is_boolean(), "{problem}");
}
