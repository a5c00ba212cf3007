//! The events to come, in the order of their times.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::Seconds;

/// A queue of events. Events of one time come in the order in which they were scheduled, so that a
/// run repeats itself.
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Scheduled<E>>,
    scheduled: u64,
}

struct Scheduled<E> {
    at: Seconds,
    number: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), scheduled: 0 }
    }

    pub(crate) fn schedule(&mut self, at: Seconds, event: E) {
        self.scheduled += 1;
        self.heap.push(Scheduled { at, number: self.scheduled, event });
    }

    /// Removes and returns the next event, with its time.
    pub(crate) fn pop(&mut self) -> Option<(Seconds, E)> {
        self.heap.pop().map(|next| (next.at, next.event))
    }
}

/// The heap has its largest element on top, so the earliest event is the largest one.
impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.number.cmp(&self.number))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Scheduled<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_times_and_of_their_scheduling() {
        let mut queue = Queue::new();
        for (at, event) in [(2.0, 'c'), (1.0, 'a'), (2.0, 'd'), (1.5, 'b')] {
            queue.schedule(at, event);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, "abcd");
    }
}
