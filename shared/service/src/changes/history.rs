//! The events that a log holds, and the positions between them.

use std::{collections::VecDeque, sync::Arc};

use super::ChangeEvent;
use crate::contract::name::ParameterPath;

/// The most events in a history.
pub(super) const MAX_EVENTS: usize = 4096;

/// The most bytes in a history.
const MAX_BYTES: usize = 1 << 20;

/// The bytes of an event besides its texts: the event itself, and the two counters of each `Arc`.
const EVENT_OVERHEAD: usize = size_of::<ChangeEvent>() + 4 * size_of::<usize>();

/// The bounds of a history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { events: MAX_EVENTS, bytes: MAX_BYTES }
    }
}

/// The latest events. Each has a sequence number, and so has the position before it.
pub(super) struct History {
    bounds: Bounds,
    events: VecDeque<ChangeEvent>,
    bytes: usize,
    /// The sequence number of the oldest event.
    first: u64,
    /// The id of the position before the oldest event.
    start: Arc<str>,
    /// Changes are missing before this position.
    reset_at: u64,
}

/// The part of a history behind a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Event(ChangeEvent),
    /// There is no further event. The id is that of the last position.
    End(Arc<str>),
    /// Changes are missing. The id is that of the last position.
    Reset(Arc<str>),
    /// The history has dropped events behind the position.
    Behind,
}

impl History {
    pub(super) fn new(start: Arc<str>, bounds: Bounds) -> Self {
        Self { bounds, events: VecDeque::new(), bytes: 0, first: 0, start, reset_at: 0 }
    }

    /// Adds an event, and drops the oldest ones while the history exceeds its bounds.
    pub(super) fn push(&mut self, event: ChangeEvent) {
        self.bytes += weight(&event);
        self.events.push_back(event);
        while self.events.len() > self.bounds.events || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= weight(&oldest);
            self.first += 1;
            self.start = oldest.id;
        }
    }

    /// Drops all events, because changes before `id` are missing.
    pub(super) fn reset(&mut self, id: Arc<str>) {
        // Streams at the end are before the new position too.
        self.first = self.end() + 1;
        self.reset_at = self.first;
        self.events.clear();
        self.bytes = 0;
        self.start = id;
    }

    /// The position behind the latest event.
    pub(super) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The id of the position behind the latest event.
    pub(super) fn latest_id(&self) -> &Arc<str> {
        self.events.back().map_or(&self.start, |event| &event.id)
    }

    /// Whether a stream can continue from a position.
    pub(super) fn holds(&self, position: u64) -> bool {
        (self.first..=self.end()).contains(&position)
    }

    /// The position with an id. If several events have the id, it is the position behind the first
    /// of them: a client may have got that one only, and an event may be sent twice.
    pub(super) fn position_after(&self, id: &[u8]) -> Option<u64> {
        if self.start.as_bytes() == id {
            return Some(self.first);
        }
        let index = self.events.iter().position(|event| event.id.as_bytes() == id)?;
        Some(self.first + index as u64 + 1)
    }

    /// The id of a position.
    pub(super) fn id_before(&self, position: u64) -> Option<&Arc<str>> {
        if !self.holds(position) {
            return None;
        }
        match (position - self.first).checked_sub(1) {
            None => Some(&self.start),
            Some(index) => self.events.get(index as usize).map(|event| &event.id),
        }
    }

    /// Reads the next event below a path, and moves the position behind it.
    pub(super) fn next(&self, position: &mut u64, path: &ParameterPath) -> Next {
        if *position < self.reset_at {
            *position = self.end();
            return Next::Reset(Arc::clone(self.latest_id()));
        }
        if !self.holds(*position) {
            return Next::Behind;
        }
        let passed = (*position - self.first) as usize;
        let found = self.events.iter().skip(passed).position(|event| path.holds(&event.name));
        match found {
            Some(distance) => {
                *position += distance as u64 + 1;
                Next::Event(self.events[passed + distance].clone())
            }
            None => {
                *position = self.end();
                Next::End(Arc::clone(self.latest_id()))
            }
        }
    }
}

fn weight(event: &ChangeEvent) -> usize {
    event.id.len() + event.name.len() + EVENT_OVERHEAD
}
