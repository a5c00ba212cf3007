//! Requests that wait for a change, and streams of changes: at most `MAX_WAITING` at once.
//!
//! Such a request first passes the limit of `MAX_IN_FLIGHT` like any other. When it begins to wait,
//! it gives that permit back and takes one from here, so that waiting requests displace no others.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use metrics::{Counter, Gauge};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::shed::Permit;
use crate::{
    contract::problem::Problem,
    observe::metrics::{REQUESTS_SHED, WAITING_REQUESTS},
};

/// The places for requests that wait, and the signal that ends all waits. Cloning is shallow.
#[derive(Clone)]
pub struct Waits(Arc<Inner>);

struct Inner {
    max_waiting: usize,
    waiting: AtomicUsize,
    waits: Gauge,
    streams: Gauge,
    refused: Counter,
    /// Whether the process drains, so that no request may wait any longer.
    ended: watch::Sender<bool>,
}

/// The kinds of waiting requests: the label `kind` of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitKind {
    /// A request with `Prefer: wait`.
    Wait,
    /// A stream of changes.
    Stream,
}

impl Waits {
    pub fn new(max_waiting: usize) -> Self {
        let gauge = |kind| metrics::gauge!(WAITING_REQUESTS, "kind" => kind);
        Self(Arc::new(Inner {
            max_waiting,
            waiting: AtomicUsize::new(0),
            waits: gauge("wait"),
            streams: gauge("stream"),
            refused: metrics::counter!(REQUESTS_SHED),
            ended: watch::Sender::new(false),
        }))
    }

    /// Exchanges a request's permit of `MAX_IN_FLIGHT` for one of `MAX_WAITING`.
    ///
    /// # Errors
    ///
    /// `MAX_WAITING` requests wait already.
    pub(crate) fn start(&self, kind: WaitKind, ticket: &WaitTicket) -> Result<WaitPermit, Problem> {
        let permit = WaitPermit { waits: self.clone(), kind };
        self.gauge(kind).increment(1);
        if self.0.waiting.fetch_add(1, Relaxed) >= self.0.max_waiting {
            self.0.refused.increment(1);
            return Err(Problem::overloaded());
        }
        ticket.waiting.store(true, Relaxed);
        drop(ticket.permit.lock().take());
        Ok(permit)
    }

    /// Ends all waits, and every later one at once. The drain calls it.
    pub(crate) fn end(&self) {
        self.0.ended.send_replace(true);
    }

    /// Waits until the drain ends all waits.
    pub(crate) async fn ended(&self) {
        let mut ended = self.0.ended.subscribe();
        // The sender lives as long as `self`.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    fn gauge(&self, kind: WaitKind) -> &Gauge {
        match kind {
            WaitKind::Wait => &self.0.waits,
            WaitKind::Stream => &self.0.streams,
        }
    }
}

/// The place of one waiting request. Dropping it frees the place.
pub(crate) struct WaitPermit {
    waits: Waits,
    kind: WaitKind,
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        self.waits.0.waiting.fetch_sub(1, Relaxed);
        self.waits.gauge(self.kind).decrement(1);
    }
}

/// What the layers of the stack know about a request that may wait. It is in the extensions of the
/// request, and only of such a request.
#[derive(Default)]
pub(crate) struct WaitTicket {
    /// The permit of `MAX_IN_FLIGHT`, until the request begins to wait.
    permit: Mutex<Option<Permit>>,
    waiting: AtomicBool,
}

impl WaitTicket {
    /// Stores the permit of the request.
    pub(crate) fn hold(&self, permit: Permit) {
        *self.permit.lock() = Some(permit);
    }

    /// Whether the request waits or has waited, so that its deadline is its own and its duration
    /// says nothing about the service.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed)
    }
}
