//! The limit of requests that wait for a change, and of streams of changes: at most `MAX_WAITING` at
//! once.
//!
//! Such a request first passes the limit of `MAX_IN_FLIGHT` like any other. When it begins to wait,
//! it exchanges that permit for one from here, so that waiting requests displace no others.

use std::sync::Arc;

use metrics::Gauge;
use tokio::sync::watch;

use super::{
    places::{Permit, Places},
    wait_ticket::WaitTicket,
};
use crate::observe::metrics::WAITING_REQUESTS;

/// The places for requests that wait, and the signal that ends all waits. Cloning is shallow.
#[derive(Clone)]
pub struct Waits(Arc<Inner>);

struct Inner {
    places: Places,
    waits: Gauge,
    streams: Gauge,
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
    /// Creates the places. Install a metrics recorder before.
    pub fn new(max_waiting: usize) -> Self {
        let gauge = |kind| {
            let gauge = metrics::gauge!(WAITING_REQUESTS, "kind" => kind);
            // The series exists from the start.
            gauge.increment(0);
            gauge
        };
        Self(Arc::new(Inner {
            places: Places::new(max_waiting),
            waits: gauge("wait"),
            streams: gauge("stream"),
            ended: watch::Sender::new(false),
        }))
    }

    /// Exchanges a request's permit of `MAX_IN_FLIGHT` for one of `MAX_WAITING`. Returns `None` if
    /// `MAX_WAITING` requests wait already.
    pub(crate) fn start(&self, kind: WaitKind, ticket: &WaitTicket) -> Option<WaitPermit> {
        let permit = self.0.places.take()?;
        ticket.start_waiting();
        let gauge = match kind {
            WaitKind::Wait => &self.0.waits,
            WaitKind::Stream => &self.0.streams,
        };
        gauge.increment(1);
        Some(WaitPermit { gauge: gauge.clone(), _permit: permit })
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
}

/// The place of one waiting request. Dropping it frees the place.
pub(crate) struct WaitPermit {
    gauge: Gauge,
    _permit: Permit,
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        self.gauge.decrement(1);
    }
}
