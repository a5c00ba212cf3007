//! Requests to the stack of a service, without the network.

use std::{hint::black_box, rc::Rc};

use axum::{
    body::Body,
    http::{HeaderName, Request, StatusCode, header, request::Parts},
};
use service::server::HttpService;
use tokio::runtime::Runtime;

use crate::TIMES;

/// A stack, and a request that it serves a thousand times.
pub(crate) struct Traffic {
    /// The loop over the requests. It is boxed, because the type of a stack has no name.
    answer: Box<dyn FnMut()>,
    request: Rc<Parts>,
}

impl Traffic {
    /// Builds a request with the headers of an ordinary client and the given ones.
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
        // The first requests pay one-time costs: a connection, an entry, each series.
        Self { answer, request }.answer()
    }

    /// Serves the requests. The count includes the copies of the request, which stand for parsing
    /// it.
    pub(crate) fn answer(mut self) -> Self {
        (self.answer)();
        self
    }

    /// Copies the requests and does nothing else.
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

/// Builds a runtime with one thread, so that nothing runs beside the measured code.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
