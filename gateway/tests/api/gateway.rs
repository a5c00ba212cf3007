//! main-api on a socket, as its clients see it.

use std::time::Duration;

use clap::Parser;
use main_api::{api, config::Config, upstream::Upstream};
use reqwest::header::HeaderMap;
use serde_json::Value;
use service::{config::Validate, observe::metrics::Exporter, server};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::aux_double::Aux;

pub(crate) struct Gateway {
    url: String,
    client: reqwest::Client,
    /// Ends the server when it is dropped.
    _stop: oneshot::Sender<()>,
}

/// The response that a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// The body as it arrived.
    pub(crate) text: String,
    pub(crate) elapsed: Duration,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// Checks that the response is a complete error of AWS's protocol.
    #[track_caller]
    pub(crate) fn assert_aws_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["__type"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("x-amzn-errortype"), Some(code));
        assert_eq!(self.header("content-type"), Some("application/x-amz-json-1.1"));
        assert_eq!(self.header("x-amzn-requestid"), self.header("x-request-id"));
        assert!(self.body["message"].is_string(), "{self:?}");
    }

    /// Checks that the response is a complete and consistent problem.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["request_id"].as_str(), self.header("x-request-id"));
    }
}

impl Gateway {
    /// Starts main-api in front of `aux`, without a cache, so that each request is a call. Timeouts
    /// are the product's defaults unless a test is about time, so that a busy machine does not fail
    /// it.
    pub(crate) async fn before(aux: &Aux, flags: &[&str]) -> Self {
        Self::start(&aux.url(), flags).await
    }

    pub(crate) async fn start(aux_url: &str, flags: &[&str]) -> Self {
        Self::launch(aux_url, flags, false).await
    }

    /// Starts main-api in front of an `aux` whose changes it follows, with a cache unless a flag says
    /// otherwise.
    pub(crate) async fn following(aux: &Aux, flags: &[&str]) -> Self {
        let flags = if flags.contains(&"--cache=off") {
            flags.to_vec()
        } else {
            [&["--cache=on"], flags].concat()
        };
        Self::launch(&aux.url(), &flags, true).await
    }

    async fn launch(aux_url: &str, flags: &[&str], follows: bool) -> Self {
        let aux_url = format!("--aux-url={aux_url}");
        let mut arguments = vec!["main-api", &aux_url];
        if !flags.iter().any(|flag| flag.starts_with("--cache=")) {
            arguments.push("--cache=off");
        }
        arguments.extend_from_slice(flags);
        let config = Config::try_parse_from(arguments).expect("the flags are right");
        config.check().expect("the flags agree");

        let exporter = Exporter::install("main-api", "0.0.0").expect("one recorder");
        let upstream = Upstream::new(&config).expect("a client");
        if follows {
            upstream.follow_changes().expect("a client");
        }
        let app = api::app(&config, upstream, &exporter);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            let common = &config.common;
            server::serve(common, listener, None, app, exporter, stopped).await;
        });
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url, client, _stop: stop }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        answer(Instant::now(), self.send(path, headers).await).await
    }

    /// Sends a request in AWS's protocol.
    pub(crate) async fn ssm(&self, operation: &str, body: &str) -> Answer {
        self.ssm_with(operation, body, &[]).await
    }

    pub(crate) async fn ssm_with(
        &self,
        operation: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let started = Instant::now();
        let mut request = ssm_request(&self.client, &self.url, operation, body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(started, request.send().await.expect("main-api always answers")).await
    }

    /// Returns the status alone, for responses without a body.
    pub(crate) async fn status_with(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.send(path, headers).await.status().as_u16()
    }

    async fn send(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.client.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("main-api always answers")
    }

    /// Opens a stream of changes.
    pub(crate) async fn changes(&self, last_id: Option<&str>) -> Changes {
        let headers: Vec<_> = last_id.map(|id| ("last-event-id", id)).into_iter().collect();
        Changes { response: self.send("/changes", &headers).await, text: String::new() }
    }

    /// Sends a request with another method, or for a page. Returns the response's head.
    pub(crate) async fn head_of(&self, method: &str, path: &str) -> reqwest::Response {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.send().await.expect("main-api always answers")
    }

    /// Returns the state of the circuit from `/readyz`.
    pub(crate) async fn circuit(&self) -> String {
        let ready = self.get("/readyz").await;
        assert_eq!(ready.status, 200, "an outage of aux-service takes no traffic away");
        ready.body["dependencies"]["circuit_breaker"].as_str().expect("a state").to_owned()
    }
}

/// A stream of changes, as a client of main-api reads it.
pub(crate) struct Changes {
    response: reqwest::Response,
    /// The bytes behind the latest event.
    text: String,
}

impl Changes {
    /// Waits for the next event, and returns its lines.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                return event;
            }
            let chunk = timeout(Duration::from_secs(10), self.response.chunk()).await;
            let chunk = chunk.expect("an event").expect("an open stream").expect("no end");
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

/// Builds a request in AWS's protocol.
pub(crate) fn ssm_request(
    client: &reqwest::Client,
    url: &str,
    operation: &str,
    body: &str,
) -> reqwest::RequestBuilder {
    client
        .post(url)
        .header("x-amz-target", format!("AmazonSSM.{operation}"))
        .header("content-type", "application/x-amz-json-1.1")
        .body(body.to_owned())
}

async fn answer(started: Instant, response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("main-api's answers are whole text");
    let elapsed = started.elapsed();
    let body = serde_json::from_str(&text).expect("main-api answers JSON");
    Answer { status, headers, body, text, elapsed }
}
