//! The protocol without a client library.

use serde_json::{Value, json};

use super::{Question, Settings};
use crate::http;

pub(super) struct Client {
    settings: Settings,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone() }
    }

    pub(super) async fn ask(&self, question: &Question) -> Value {
        let mut input = question.input.clone();
        let mut items = Vec::new();
        loop {
            let mut result = self.call(&question.operation, &input).await;
            if !question.pages || result.get("error").is_some() {
                return result;
            }
            let page = result["output"]["Parameters"].as_array().cloned();
            items.extend(page.expect("a list has parameters"));
            match result["output"]["NextToken"].take() {
                Value::Null => return json!({ "output": { "Parameters": items } }),
                token => input["NextToken"] = token,
            }
        }
    }

    async fn call(&self, operation: &str, input: &Value) -> Value {
        let token = self.settings.session_token.as_deref();
        let reply = post(&self.settings.url, operation, &input.to_string(), token).await;
        if reply.status == 200 {
            return json!({ "output": reply.json() });
        }
        json!({ "error": { "code": code(&reply), "status": reply.status } })
    }
}

/// Sends a body of any kind to an operation.
pub async fn post(
    url: &str,
    operation: &str,
    body: &str,
    session_token: Option<&str>,
) -> http::Reply {
    let target = format!("AmazonSSM.{operation}");
    let mut headers = vec![
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", &*target),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/eu-west-2/ssm/aws4_request, SignedHeaders=host, Signature=0",
        ),
    ];
    headers.extend(session_token.map(|token| ("x-amz-security-token", token)));
    http::post(url, &headers, body).await
}

/// Returns the code of an error: `__type` without its namespace, as SDKs read it.
pub fn code(reply: &http::Reply) -> Option<String> {
    let body: Value = serde_json::from_str(&reply.body).ok()?;
    let kind = body["__type"].as_str()?;
    Some(kind.rsplit('#').next().unwrap_or(kind).to_owned())
}
