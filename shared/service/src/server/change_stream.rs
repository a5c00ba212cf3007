//! `GET /changes`: a stream of the names that change, as server-sent events.
//!
//! The format is that of the HTML standard
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>). An event with an id and
//! without data dispatches nothing in a client and sets the id that it sends as `Last-Event-ID`.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{MethodRouter, get},
};
use cache::http::NO_STORE;
use futures_util::{Stream, stream::unfold};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, sleep_until};

use super::{
    wait_ticket::WaitTicket,
    waits::{WaitKind, WaitPermit, Waits},
};
use crate::{
    changes::{ChangeEvent, ChangeLog, ChangeStream, StreamItem},
    contract::{name::ParameterPath, problem::Problem, wire::Change},
};

/// The position from which a client wants to continue.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The type of an event that reports missing changes.
pub const RESET: &str = "reset";

/// nginx sends a response on at once if it has this header, and else fills a buffer first.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The interval of comments on a stream without events. Proxies close a connection that is silent
/// for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The longest time of a stream. A stream stays with its replica, so it must end for clients to
/// spread over new replicas.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The age is shortened by up to this fraction, so that streams that were opened together do not end
/// together.
const AGE_JITTER: f64 = 0.2;

/// The pause of a client before it reconnects.
const RETRY: Duration = Duration::from_secs(1);

/// The longest such pause at a drain. Clients draw from between both, so that they spread.
const MAX_RETRY: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Streams {
    log: ChangeLog,
    waits: Waits,
}

/// The handler of `GET /changes`. Each stream has one of the places of `waits`.
pub fn change_stream(log: ChangeLog, waits: Waits) -> MethodRouter {
    get(start).with_state(Streams { log, waits })
}

async fn start(
    State(Streams { log, waits }): State<Streams>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = path_of(query.as_deref().unwrap_or_default())?;
    // The permit of `MAX_IN_FLIGHT` ends with the response's head, which follows at once.
    let permit =
        waits.start(WaitKind::Stream, &WaitTicket::default()).ok_or_else(Problem::overloaded)?;
    let last_id = headers.get(LAST_EVENT_ID).map(HeaderValue::as_bytes);
    let open = Open {
        changes: log.follow(last_id, path),
        waits,
        ends_at: Instant::now() + MAX_AGE.mul_f64(1.0 - AGE_JITTER * fastrand::f64()),
        has_begun: false,
        _permit: permit,
    };
    let events = Sse::new(open.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let headers =
        [(header::CACHE_CONTROL, NO_STORE), (X_ACCEL_BUFFERING, HeaderValue::from_static("no"))];
    Ok((headers, events).into_response())
}

/// Reads the path from a query. Clients may add parameters of their own, so others are ignored.
// The problem is large, but it is built only for rejected requests.
#[allow(clippy::result_large_err)]
fn path_of(query: &str) -> Result<ParameterPath, Problem> {
    let mut path = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key == "path" && path.replace(value).is_some() {
            return Err(malformed_query("The query may have one `path` only."));
        }
    }
    let path = percent_decode_str(path.unwrap_or("/")).decode_utf8();
    let path = path.map_err(|_| malformed_query("The path is not UTF-8 once it is decoded."))?;
    ParameterPath::parse(&path)
        .map_err(|malformed| Problem::invalid_parameter_name(malformed.to_string()))
}

fn malformed_query(detail: &'static str) -> Problem {
    let status = StatusCode::BAD_REQUEST;
    Problem::new(status, "bad-request", "Bad Request", detail)
}

/// An open stream.
struct Open {
    changes: ChangeStream,
    waits: Waits,
    ends_at: Instant,
    has_begun: bool,
    _permit: WaitPermit,
}

impl Open {
    /// The events. The stream holds its place until it is dropped.
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(Some(self), async |open| {
            let (event, open) = open?.next().await?;
            Some((Ok(event), open))
        })
    }

    /// The next event, and the stream if it continues after it.
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        let item = tokio::select! {
            // A client that reads too slowly must not keep its stream open by its backlog.
            biased;
            () = self.waits.ended() => {
                let pause = RETRY + (MAX_RETRY - RETRY).mul_f64(fastrand::f64());
                return Some((self.last_event(pause), None));
            }
            () = sleep_until(self.ends_at) => return Some((self.last_event(RETRY), None)),
            item = self.changes.next() => item?,
        };
        let event = event_of(item);
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        Some((if is_first { event.retry(RETRY) } else { event }, Some(self)))
    }

    /// The last event: the position of the stream, and the pause before the client reconnects.
    fn last_event(&self, pause: Duration) -> Event {
        let event = Event::default().retry(pause);
        match self.changes.position_id() {
            Some(id) => event.id(id),
            None => event,
        }
    }
}

fn event_of(item: StreamItem) -> Event {
    let event = Event::default();
    match item {
        StreamItem::Position(id) => event.id(id),
        StreamItem::Reset(id) => event.event(RESET).id(id).data("{}"),
        StreamItem::Change(ChangeEvent { id, name, deleted }) => {
            let change = Change { name: &*name, deleted };
            event.id(id).json_data(change).expect("a name and a flag are JSON")
        }
    }
}

#[cfg(test)]
mod tests;
