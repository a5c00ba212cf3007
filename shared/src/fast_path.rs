//! The fast path: a plain request is answered straight on its connection.
//!
//! Most requests want what is kept, and finding it costs less than the way there: a request and a
//! response as structures, a router, a stack of layers. So the bytes of a request are looked at
//! before hyper sees them. A plain `GET` of a route that is known here is answered here, with the
//! checks, headers, counts and lines that the layers of [`stack`](crate::http::stack) give: at once
//! where the answer is ready, else when it has come. Whatever else is asked, if only with an unusual
//! header, and whoever may not ask, goes on to hyper as if nobody had looked.
//!
//! `request` tells what is plain, `stream` sits between a connection and hyper, `asking` waits for
//! what is not ready, and here is what is answered. Tests send the same bytes both ways and compare.

mod asking;
mod date;
mod request;
mod stream;

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
};

use axum::http::StatusCode;
use bytes::Bytes;
use metrics::Gauge;
use tokio::{sync::SemaphorePermit, time::Instant};

use crate::{
    cache::Served,
    http::{Deadline, Edge, Gate, NOSNIFF},
    metrics::{self as counts, Answered},
    problem::Problem,
    telemetry,
};

pub(crate) use asking::Asking;
pub(crate) use date::Date;
pub(crate) use request::{Front, Request};
pub(crate) use stream::FastStream;

/// What a service answers to plain requests.
///
/// They are for a path of one of the routes, without a query and with nothing that is
/// percent-encoded, and do not want to have their answer made anew.
pub struct Answers {
    /// As the router has them: `/buckets`, `/param/{*name}`.
    pub routes: &'static [&'static str],
    pub ready: Ready,
    pub ask: Ask,
}

/// What is kept under a path, if it can be answered at this moment without asking anybody. What it
/// counts must be a request that is answered so. It must not find anything but what a request for
/// this path would be answered with.
pub type Ready = Box<dyn Fn(&str, Instant) -> Option<Served> + Send + Sync>;

/// Where nothing is ready: does what the route's handler does.
pub type Ask = Box<dyn Fn(&str, Deadline) -> Answering + Send + Sync>;

/// An answer, or why there is none.
pub type Answering = Pin<Box<dyn Future<Output = Result<Served, Problem>> + Send>>;

pub(crate) struct FastPath {
    routes: Vec<Route>,
    ready: Ready,
    ask: Ask,
    gate: Arc<Gate>,
    edge: Edge,
}

/// What there is for a plain request.
pub(crate) enum Given<'a> {
    /// The answer, as far as it was written, and the part of the body that is to be sent after that.
    Answer(Bytes),
    /// It may be asked for.
    Admitted(Admitted<'a>),
    /// It is for the layers to answer.
    Nothing,
}

/// A request that the gate lets through.
pub(crate) struct Admitted<'a> {
    route: usize,
    slot: SemaphorePermit<'a>,
}

/// Up to this size a body is copied behind its head: that costs less than a second buffer does.
const COPIED: usize = 4096;

impl FastPath {
    pub(crate) fn new(answers: Answers, gate: Arc<Gate>, edge: Edge) -> Self {
        let Answers { routes, ready, ask } = answers;
        let routes = routes.iter().map(|template| Route::new(template)).collect();
        Self { routes, ready, ask, gate, edge }
    }

    /// Appends the answer to a request, if it is ready.
    ///
    /// `now` is when the request was there; it becomes the time at which it was answered.
    pub(crate) fn answer(
        &self,
        request: &Request<'_>,
        now: &mut Instant,
        date: &mut Date,
        out: &mut Vec<u8>,
    ) -> Given<'_> {
        let route = self.routes.iter().position(|route| route.holds(request.path));
        let Some(route) = route else { return Given::Nothing };
        // As in the gate's layer: who may not come in learns nothing of what is kept.
        let Some(slot) = self.gate.admit(request.authorization) else { return Given::Nothing };
        let Some(served) = (self.ready)(request.path, *now) else {
            return Given::Admitted(Admitted { route, slot });
        };
        let status = served.write(request.if_none_match, out);
        out.extend_from_slice(b"x-request-id: ");
        telemetry::write_request_id(request.request_id, out);
        end_head(date.at(*now), out);
        let body = put_body(&served, status, out);
        let started = std::mem::replace(now, Instant::now());
        self.routes[route].answered(status, |series| series.count(*now - started));
        Given::Answer(body)
    }
}

/// The headers that every response has, and the end of the head.
fn end_head(date: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\nx-content-type-options: ");
    out.extend_from_slice(NOSNIFF.as_bytes());
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends the body, or returns it.
fn put_body(served: &Served, status: StatusCode, out: &mut Vec<u8>) -> Bytes {
    let answer = served.answer();
    if status != StatusCode::OK {
        return Bytes::new();
    }
    if answer.body().len() > COPIED || answer.is_secret() {
        return answer.body().clone();
    }
    out.extend_from_slice(answer.body());
    Bytes::new()
}

struct Route {
    template: &'static str,
    /// The template up to its parameter, if it has one.
    prefix: &'static str,
    pending: OnceLock<Gauge>,
    answered: [OnceLock<Answered>; USUAL.len()],
}

/// The statuses of nearly all answers.
const USUAL: [StatusCode; 3] = [StatusCode::OK, StatusCode::NOT_MODIFIED, StatusCode::NOT_FOUND];

impl Route {
    fn new(template: &'static str) -> Self {
        let prefix = template.split_once("{*").map_or(template, |(prefix, _)| prefix);
        Self { template, prefix, pending: OnceLock::new(), answered: Default::default() }
    }

    fn holds(&self, path: &str) -> bool {
        match path.strip_prefix(self.prefix) {
            Some(rest) => rest.is_empty() != (self.prefix.len() < self.template.len()),
            None => false,
        }
    }

    /// Resolved once, at the first of its kind: a lookup costs more than a hit, and a series shall
    /// not exist before there is something to count.
    fn answered(&self, status: StatusCode, count: impl FnOnce(&Answered)) {
        let series = || Answered::new("GET", status.as_str(), self.template);
        match USUAL.iter().position(|usual| *usual == status) {
            Some(index) => count(self.answered[index].get_or_init(series)),
            None => count(&series()),
        }
    }

    fn pending(&self) -> &Gauge {
        self.pending.get_or_init(|| counts::pending("GET", self.template))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        cache::{Answer, Cache, CacheableError, Disposition, Loaded, Mode, Settings},
        config::Common,
        http::{Stack, stack},
        http_cache::Freshness,
        metrics::Exporter,
        problem::Problem,
    };

    #[derive(Clone)]
    struct NoError;

    impl CacheableError for NoError {
        fn disposition(&self) -> Disposition {
            Disposition::Transient
        }

        fn heap_bytes(&self) -> usize {
            0
        }
    }

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        common: Common,
    }

    /// What is written for an answer, and what is to be sent after it.
    async fn answered(answer: Answer) -> (String, Bytes) {
        let settings = Settings { name: "test", hop: "here", max_bytes: 1 << 20 };
        let cache = Cache::<NoError>::new(settings);
        let minute = std::time::Duration::from_secs(60);
        let freshness = Freshness::new(minute, minute, minute);
        let load = move |_| async move { Ok(Loaded::new(answer, freshness)) };
        assert!(cache.get("/kept", Mode::Normal, load).await.is_ok());
        let answers = Answers {
            routes: &["/kept"],
            ready: Box::new(move |path, now| cache.ready(path, now)),
            ask: Box::new(|_, _| panic!("not to be asked for")),
        };
        let limits = Stack {
            request_timeout: minute,
            too_slow: Problem::internal,
            fast_path: Some(answers),
        };
        let config = Flags::parse_from(["test"]).common;
        let exporter = Exporter::install("test", "1").expect("one recorder");
        let path = stack(axum::Router::new(), &config, &exporter, limits).fast_path;
        let path = path.expect("nothing forbids it");
        let (mut now, mut date, mut out) = (Instant::now(), Date::default(), Vec::new());
        let given = path.answer(&Request::of("/kept"), &mut now, &mut date, &mut out);
        let Given::Answer(body) = given else { panic!("it is ready") };
        (String::from_utf8(out).expect("text"), body)
    }

    #[tokio::test]
    async fn neither_a_secret_nor_a_large_body_is_copied() {
        let json = axum::http::HeaderValue::from_static("application/json");
        let secret = Answer::secret(json, Zeroizing::new(b"hunter2".to_vec()));
        let (head, body) = answered(secret.clone()).await;
        assert!(head.contains("content-length: 7") && head.ends_with("\r\n\r\n"), "{head}");
        assert_eq!(body.as_ptr(), secret.body().as_ptr());

        let large = Answer::json(&"x".repeat(COPIED)).expect("JSON");
        let (head, body) = answered(large.clone()).await;
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        assert_eq!(body.as_ptr(), large.body().as_ptr());

        let (text, body) = answered(Answer::json(&"x").expect("JSON")).await;
        assert!(text.ends_with("\r\n\r\n\"x\"") && body.is_empty(), "{text}");
    }

    #[test]
    fn a_route_holds_its_own_paths_and_no_others() {
        let (list, one) = (Route::new("/params"), Route::new("/param/{*name}"));
        assert!(list.holds("/params") && one.holds("/param/a") && one.holds("/param/a/b"));
        for path in ["/", "/param", "/param/", "/paramsx", "/params/"] {
            assert!(!list.holds(path) && !one.holds(path), "{path}");
        }
    }
}
