//! Requests to a service's stack, without the network.

use std::{hint::black_box, rc::Rc};

use axum::{
    body::Body,
    http::{HeaderName, Request, StatusCode, header, request::Parts},
};
use shared::server::HttpService;
use tokio::runtime::Runtime;

use crate::TIMES;

/// A stack, and the request that it is about to answer a thousand times.
pub(crate) struct Traffic {
    /// The type of a stack has no name, so the loop over its requests is behind this.
    answer: Box<dyn FnMut()>,
    request: Rc<Parts>,
}

impl Traffic {
    /// A request with the headers of an ordinary client and those that are given.
    pub(crate) fn new(
        runtime: Runtime,
        mut api: impl HttpService<Body> + 'static,
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
        let request = Rc::new(request);
        let parts = Rc::clone(&request);
        let answer = Box::new(move || {
            runtime.block_on(async {
                for _ in 0..TIMES {
                    let Ok(response) = api.call(copy(&parts)).await;
                    assert_eq!(black_box(response).status(), expected);
                }
            });
        });
        // The first requests pay for what all others find: a connection, an entry, each series.
        Self { answer, request }.answer()
    }

    /// Answers it. The copies of the request are in the count, in place of reading it.
    pub(crate) fn answer(mut self) -> Self {
        (self.answer)();
        self
    }

    /// Does no more than copy it.
    pub(crate) fn copy(self) -> Self {
        for _ in 0..TIMES {
            black_box(copy(&self.request));
        }
        self
    }
}

fn copy(parts: &Parts) -> Request<Body> {
    Request::from_parts(black_box(parts).clone(), Body::empty())
}

/// One thread, so that nothing goes on beside what is measured.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
