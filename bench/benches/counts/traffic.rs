//! Requests to the stack of a service, without the network.

use std::{hint::black_box, rc::Rc};

use axum::{
    body::Body,
    http::{HeaderName, Method, Request, StatusCode, header, request::Parts},
};
use service::server::HttpService;
use tokio::runtime::Runtime;

use crate::TIMES;

/// A stack, and a request that it serves a thousand times.
pub(crate) struct Traffic {
    /// The loop over the requests. It is boxed, because the type of a stack has no name.
    answer: Box<dyn FnMut()>,
    request: Rc<Sent>,
}

/// A request, and its body.
struct Sent {
    parts: Parts,
    body: &'static str,
}

impl Traffic {
    /// Builds a request with the headers of an ordinary client and the given ones.
    pub(crate) fn new(
        runtime: Runtime,
        api: impl HttpService<Body> + 'static,
        path: &str,
        headers: &[(HeaderName, &str)],
        expected: StatusCode,
    ) -> Self {
        Self::of(Method::GET, runtime, api, path, headers, "", expected)
    }

    /// Builds a request with a body, like [`new`](Self::new).
    pub(crate) fn posted(
        runtime: Runtime,
        api: impl HttpService<Body> + 'static,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &'static str,
        expected: StatusCode,
    ) -> Self {
        Self::of(Method::POST, runtime, api, path, headers, body, expected)
    }

    fn of(
        method: Method,
        runtime: Runtime,
        mut api: impl HttpService<Body> + 'static,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &'static str,
        expected: StatusCode,
    ) -> Self {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "main-api.main-api:6000")
            .header(header::USER_AGENT, "curl/8.14.1")
            .header(header::ACCEPT, "*/*");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let request = Rc::new(Sent { parts, body });
        let sent = Rc::clone(&request);
        let answer = Box::new(move || {
            runtime.block_on(async {
                for _ in 0..TIMES {
                    let Ok(response) = api.call(copy(&sent)).await;
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

fn copy(Sent { parts, body }: &Sent) -> Request<Body> {
    let body = if body.is_empty() { Body::empty() } else { Body::from(*body) };
    Request::from_parts(black_box(parts).clone(), body)
}

/// Builds a runtime with one thread, so that nothing runs beside the measured code.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
