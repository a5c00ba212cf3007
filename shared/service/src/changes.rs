//! The changes of parameters that a process has learned of: a bounded history, and the streams that
//! follow it.
//!
//! A stream holds a position in the shared history and no events of its own, so an open stream
//! costs little memory, however slow its client is.

use std::sync::Arc;

use metrics::{Counter, counter, describe_counter};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::contract::name::ParameterPath;

mod history;
mod names;

use self::history::{Bounds, History, Next};

pub use self::names::{ChangedNames, NameChange};

/// The metric of the changes that were applied.
const CHANGES_TOTAL: &str = "changes_total";

/// Describes the metric of changes, and exports the counters of these sources from the start, at
/// zero.
pub fn describe_changes(sources: impl IntoIterator<Item = &'static str>) {
    describe_counter!(CHANGES_TOTAL, "Changes of parameters by the source that reported them");
    sources.into_iter().for_each(|source| changes_of(source).increment(0));
}

/// Returns the counter of the changes that a source has reported.
pub fn changes_of(source: &'static str) -> Counter {
    counter!(CHANGES_TOTAL, "source" => source)
}

/// The most events that a stream passes over before it reports its position. A stream whose path
/// sees few changes could not be resumed otherwise: its last event would leave the history.
const MAX_PASSED_OVER: u64 = history::MAX_EVENTS as u64 / 8;

/// A change of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeEvent {
    /// The position behind this event, from which a stream can be resumed. It holds printable ASCII
    /// only.
    pub id: Arc<str>,
    /// The name with a leading slash, without a version or label.
    pub name: Arc<str>,
    /// Whether the parameter is gone.
    pub deleted: bool,
}

/// The latest changes. Cloning is shallow.
#[derive(Clone)]
pub struct ChangeLog(Arc<Inner>);

struct Inner {
    history: Mutex<History>,
    /// Wakes the streams.
    changed: watch::Sender<()>,
}

impl ChangeLog {
    /// Creates a log without events. `start_id` is the position before the first one. Another
    /// process may use the same id only for the same position.
    pub fn new(start_id: impl Into<Arc<str>>) -> Self {
        Self::with_bounds(start_id.into(), Bounds::default())
    }

    /// Creates a log without events whose start is a position that no other process knows.
    pub fn with_random_start() -> Self {
        Self::new(format!("{:032x}", fastrand::u128(..)))
    }

    fn with_bounds(start_id: Arc<str>, bounds: Bounds) -> Self {
        let history = Mutex::new(History::new(start_id, bounds));
        Self(Arc::new(Inner { history, changed: watch::Sender::new(()) }))
    }

    /// Adds events and sends them to every open stream. More events at once than the history holds
    /// are a [reset](Self::reset).
    pub fn publish(&self, events: impl IntoIterator<Item = ChangeEvent>) {
        {
            let mut history = self.0.history.lock();
            let before = history.end();
            events.into_iter().for_each(|event| history.push(event));
            if !history.holds(before) {
                let latest = Arc::clone(history.latest_id());
                history.reset(latest);
            }
        }
        self.0.changed.send_replace(());
    }

    /// Removes all events, because some before `id` are unknown: any parameter may have changed.
    /// Every open stream gets a [`StreamItem::Reset`].
    pub fn reset(&self, id: impl Into<Arc<str>>) {
        self.0.history.lock().reset(id.into());
        self.0.changed.send_replace(());
    }

    /// Starts a stream of the events whose names lie below `path`, from the position `last_id` on, or
    /// from the current one.
    pub fn follow(&self, last_id: Option<&[u8]>, path: ParameterPath) -> ChangeStream {
        // The order matters: no event may fall between the position and the subscription.
        let changed = self.0.changed.subscribe();
        let history = self.0.history.lock();
        let resumed = last_id.map(|id| history.position_after(id));
        let position = resumed.flatten().unwrap_or_else(|| history.end());
        let id = Arc::clone(history.id_before(position).expect("the position is in the history"));
        drop(history);
        let first = match resumed {
            Some(None) => StreamItem::Reset(id),
            _ => StreamItem::Position(id),
        };
        ChangeStream {
            log: self.clone(),
            changed,
            path,
            position,
            reported: position,
            first: Some(first),
        }
    }
}

/// A stream of changes. It begins with its position, or with a reset.
pub struct ChangeStream {
    log: ChangeLog,
    changed: watch::Receiver<()>,
    path: ParameterPath,
    /// The sequence number of the next event to read.
    position: u64,
    /// The position behind the latest item.
    reported: u64,
    first: Option<StreamItem>,
}

/// An item of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    /// The stream has reached this position, and no change is reported.
    Position(Arc<str>),
    Change(ChangeEvent),
    /// Changes are missing: any parameter may have changed. The stream continues from this position.
    Reset(Arc<str>),
}

impl ChangeStream {
    /// Waits for the next item. Returns `None` if the stream has fallen so far behind that the history
    /// no longer holds its next event.
    ///
    /// A call that is dropped loses no item.
    pub async fn next(&mut self) -> Option<StreamItem> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let next = self.log.0.history.lock().next(&mut self.position, &self.path);
            let item = match next {
                Next::Behind => return None,
                Next::Reset(id) => StreamItem::Reset(id),
                Next::Event(event) => StreamItem::Change(event),
                Next::End(id) if self.position - self.reported >= MAX_PASSED_OVER => {
                    StreamItem::Position(id)
                }
                Next::End(_) => {
                    // The log holds the sender, so this cannot fail.
                    let _ = self.changed.changed().await;
                    continue;
                }
            };
            self.reported = self.position;
            return Some(item);
        }
    }

    /// The position from which another stream continues without a gap. It is absent if the history no
    /// longer holds it, or if the stream has a reset to report first.
    pub fn position_id(&self) -> Option<Arc<str>> {
        if matches!(self.first, Some(StreamItem::Reset(_))) {
            return None;
        }
        self.log.0.history.lock().id_before(self.position).cloned()
    }
}

#[cfg(test)]
mod tests;
