//! Requests to a router, as `shared::server` puts them to it, without the network.

use std::hint::black_box;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use tokio::runtime::Runtime;
use tower::Service;

use crate::TIMES;

/// A thousand requests that are about to be made.
pub(crate) struct Traffic {
    runtime: Runtime,
    router: Router,
    requests: Vec<Request<Body>>,
    expected: StatusCode,
}

impl Traffic {
    /// Requests with the headers that a client sends, and those that are given.
    pub(crate) fn new(
        runtime: Runtime,
        router: Router,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        expected: StatusCode,
    ) -> Self {
        let request = || {
            let mut request = Request::get(path)
                .header(header::HOST, "main-api.main-api:6000")
                .header(header::USER_AGENT, "curl/8.14.1")
                .header(header::ACCEPT, "*/*");
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            request.body(Body::empty()).expect("a request")
        };
        let requests = (0..TIMES).map(|_| request()).collect();
        let mut traffic = Self { runtime, router: router.with_state(()), requests, expected };
        // The first request pays for what is there for all others: metrics get their series.
        let first = request();
        traffic.make(vec![first]);
        traffic
    }

    /// Makes them, one after the other.
    pub(crate) fn all(mut self) -> Self {
        let requests = std::mem::take(&mut self.requests);
        self.make(requests);
        self
    }

    fn make(&mut self, requests: Vec<Request<Body>>) {
        self.runtime.block_on(async {
            for request in requests {
                let Ok(response) = self.router.clone().call(black_box(request)).await;
                assert_eq!(black_box(response).status(), self.expected);
            }
        });
    }
}

/// One thread, so that nothing goes on beside what is measured.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
