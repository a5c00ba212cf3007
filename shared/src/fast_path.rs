//! The fast path: an answer that the cache has ready is written straight to its connection.
//!
//! Most requests want what is kept, and finding it costs less than the way there: a request and a
//! response as structures, a router, a stack of layers. So the bytes of a request are looked at
//! before hyper sees them. A plain `GET` of something that is ready is answered here, with the
//! checks, headers and counts that the layers of [`stack`](crate::http::stack) give; whatever else
//! has come, if only an unusual header, goes on to hyper as if nobody had looked.
//!
//! `request` tells what is plain, `stream` sits between a connection and hyper, and here is what
//! is answered. Tests send the same bytes both ways and compare.

mod date;
mod request;
mod stream;

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{cache::Served, http::Gate, metrics::Answered, telemetry};

pub(crate) use date::Date;
pub(crate) use request::{Front, Request};
pub(crate) use stream::FastStream;

/// What a service can answer at once.
pub struct Hits {
    /// The routes of which answers are kept, as the router has them: `/buckets`, `/param/{*name}`.
    pub routes: &'static [&'static str],
    pub ready: Ready,
}

/// What is kept under a path, if it can be answered at this moment without asking anybody. What it
/// counts must be a request that is answered so.
///
/// The path is one of the routes, has no query and nothing that is percent-encoded. It must not
/// find anything but what a request for this path would be answered with.
pub type Ready = Box<dyn Fn(&str, Instant) -> Option<Served> + Send + Sync>;

pub(crate) struct FastPath {
    routes: Vec<Route>,
    ready: Ready,
    gate: Arc<Gate>,
}

/// Up to this size a body is copied behind its head: that costs less than a second buffer does.
const COPIED: usize = 4096;

impl FastPath {
    pub(crate) fn new(hits: Hits, gate: Arc<Gate>) -> Self {
        let routes = hits.routes.iter().map(|template| Route::new(template)).collect();
        Self { routes, ready: hits.ready, gate }
    }

    /// Appends the answer to a request, if it is ready. Returns the part of the body that is to be
    /// sent after it, without having been copied.
    ///
    /// `now` is when the request was there; it becomes the time at which it was answered.
    pub(crate) fn answer(
        &self,
        request: &Request<'_>,
        now: &mut Instant,
        date: &mut Date,
        out: &mut Vec<u8>,
    ) -> Option<Bytes> {
        let route = self.routes.iter().find(|route| route.holds(request.path))?;
        // As in the gate's layer: who may not come in learns nothing of what is kept.
        let _slot = self.gate.admit(request.authorization)?;
        let served = (self.ready)(request.path, *now)?;
        let status = served.write(request.if_none_match, out);
        out.extend_from_slice(b"x-request-id: ");
        telemetry::write_request_id(request.request_id, out);
        out.extend_from_slice(b"\r\nx-content-type-options: nosniff\r\ndate: ");
        out.extend_from_slice(date.at(*now));
        out.extend_from_slice(b"\r\n\r\n");
        let answer = served.answer();
        let mut behind = Bytes::new();
        if status == StatusCode::OK {
            if answer.body().len() > COPIED || answer.is_secret() {
                behind = answer.body().clone();
            } else {
                out.extend_from_slice(answer.body());
            }
        }
        let started = std::mem::replace(now, Instant::now());
        route.answered(status).count(*now - started);
        Some(behind)
    }
}

struct Route {
    template: &'static str,
    /// The template up to its parameter, if it has one.
    prefix: &'static str,
    ok: OnceLock<Answered>,
    not_modified: OnceLock<Answered>,
}

impl Route {
    fn new(template: &'static str) -> Self {
        let prefix = template.split_once("{*").map_or(template, |(prefix, _)| prefix);
        Self { template, prefix, ok: OnceLock::new(), not_modified: OnceLock::new() }
    }

    fn holds(&self, path: &str) -> bool {
        match path.strip_prefix(self.prefix) {
            Some(rest) => rest.is_empty() != (self.prefix.len() < self.template.len()),
            None => false,
        }
    }

    /// Resolved once, at the first answer of its kind: a lookup costs more than a hit, and a series
    /// shall not exist before there is something to count.
    fn answered(&self, status: StatusCode) -> &Answered {
        let of = match status {
            StatusCode::OK => &self.ok,
            _ => &self.not_modified,
        };
        of.get_or_init(|| Answered::new("GET", status.as_str(), self.template))
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
        let hits =
            Hits { routes: &["/kept"], ready: Box::new(move |path, now| cache.ready(path, now)) };
        let limits =
            Stack { request_timeout: minute, too_slow: Problem::internal, hits: Some(hits) };
        let config = Flags::parse_from(["test"]).common;
        let exporter = Exporter::install("test", "1").expect("one recorder");
        let path = stack(axum::Router::new(), &config, &exporter, limits).fast_path;
        let request =
            Request { path: "/kept", authorization: None, if_none_match: None, request_id: None };
        let mut out = Vec::new();
        let body = path.expect("nothing forbids it").answer(
            &request,
            &mut Instant::now(),
            &mut Date::default(),
            &mut out,
        );
        (String::from_utf8(out).expect("text"), body.expect("it is ready"))
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
