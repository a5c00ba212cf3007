//! Requests to a router, as `shared::server` puts them to it, without the network.

use std::hint::black_box;

use axum::{
    Router,
    body::Body,
    http::{HeaderName, Request, StatusCode, header, request::Parts},
};
use tokio::runtime::Runtime;
use tower::Service;

use crate::TIMES;

/// A router, and the request that it is about to answer a thousand times.
pub(crate) struct Traffic {
    pub(crate) runtime: Runtime,
    router: Router,
    request: Parts,
    expected: StatusCode,
}

impl Traffic {
    /// A request with the headers that a client sends, and those that are given.
    pub(crate) fn new(
        runtime: Runtime,
        router: Router,
        path: &str,
        headers: &[(HeaderName, &str)],
        expected: StatusCode,
    ) -> Self {
        let mut request = Request::get(path)
            .header(header::HOST, "main-api.main-api:6000")
            .header(header::USER_AGENT, "curl/8.14.1")
            .header(header::ACCEPT, "*/*");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let (request, ()) = request.body(()).expect("a request").into_parts();
        let traffic = Self { runtime, router: router.with_state(()), request, expected };
        // The first requests pay for what all others find: a connection, an entry, each series.
        traffic.answer()
    }

    /// Answers it. What it costs to copy the request is in the count, as part of what it costs to
    /// read one: were all of them there before, none could have the memory that another gave back.
    pub(crate) fn answer(self) -> Self {
        self.runtime.block_on(async {
            for _ in 0..TIMES {
                let Ok(response) = self.router.clone().call(self.request()).await;
                assert_eq!(black_box(response).status(), self.expected);
            }
        });
        self
    }

    /// Does no more than copy it.
    pub(crate) fn copy(self) -> Self {
        for _ in 0..TIMES {
            black_box(self.request());
        }
        self
    }

    fn request(&self) -> Request<Body> {
        Request::from_parts(black_box(&self.request).clone(), Body::empty())
    }
}

/// One thread, so that nothing goes on beside what is measured.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
