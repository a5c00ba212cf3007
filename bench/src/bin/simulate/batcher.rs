//! The batches of one replica of aux-service, as `aux/src/batch.rs` forms them.

use crate::{Seconds, cache::Priority};

/// The largest number of names that `GetParameters` accepts.
pub(crate) const MAX_BATCH: usize = 10;

/// The longest time that a miss waits in a batch: 3 ms, and half a millisecond because the timers of
/// tokio end at the next whole millisecond.
pub(crate) const BATCH_WINDOW: Seconds = 0.0035;

/// The longest time that a refresh waits in a batch.
pub(crate) const REFRESH_WINDOW: Seconds = 0.1005;

/// The names of a call that is due.
pub(crate) type Names = Vec<(u32, Priority)>;

/// The batch of a replica, and the number of its calls in flight.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    calls: usize,
    batch: Names,
    /// The number of batches so far. A timer that started for an earlier batch does nothing.
    number: u64,
}

/// The next step after a load has joined.
#[derive(Debug, PartialEq)]
pub(crate) enum NextStep {
    /// Make this call now.
    Call(Names),
    /// Send the batch of this number after the window of its loads: of refreshes, or of misses.
    StartTimer {
        number: u64,
        only_refreshes: bool,
    },
    Wait,
}

impl Batcher {
    /// Adds a load. A miss makes a call of its own if no call is in flight.
    pub(crate) fn join(&mut self, key: u32, priority: Priority) -> NextStep {
        if self.calls == 0 && priority != Priority::Refresh {
            self.calls += 1;
            return NextStep::Call(vec![(key, priority)]);
        }
        let is_refresh = priority == Priority::Refresh;
        let only_refreshes = self.batch.iter().all(|(_, other)| *other == Priority::Refresh);
        self.batch.push((key, priority));
        let timer = NextStep::StartTimer { number: self.number, only_refreshes: is_refresh };
        match self.batch.len() {
            1 => timer,
            MAX_BATCH => NextStep::Call(self.take()),
            // The first miss among refreshes does not wait for their window.
            _ if only_refreshes && !is_refresh => timer,
            _ => NextStep::Wait,
        }
    }

    /// Returns the batch of this number if it has not been sent.
    pub(crate) fn timer(&mut self, number: u64) -> Option<Names> {
        (number == self.number && !self.batch.is_empty()).then(|| self.take())
    }

    /// Records the end of a call.
    pub(crate) fn call_ended(&mut self) {
        self.calls -= 1;
    }

    fn take(&mut self) -> Names {
        self.calls += 1;
        self.number += 1;
        std::mem::take(&mut self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(number: u64, only_refreshes: bool) -> NextStep {
        NextStep::StartTimer { number, only_refreshes }
    }

    #[test]
    fn a_miss_does_not_wait_for_the_window_of_refreshes() {
        let mut batcher = Batcher::default();
        assert_eq!(batcher.join(1, Priority::Refresh), timer(0, true));
        assert!(
            matches!(batcher.join(2, Priority::Miss), NextStep::Call(_)),
            "no call is in flight"
        );
        assert_eq!(batcher.join(3, Priority::Miss), timer(0, false));
        assert_eq!(batcher.join(4, Priority::Miss), NextStep::Wait);
    }

    #[test]
    fn a_miss_alone_makes_a_call_at_once_and_the_next_one_joins_a_batch() {
        let mut batcher = Batcher::default();
        assert_eq!(batcher.join(1, Priority::Miss), NextStep::Call(vec![(1, Priority::Miss)]));
        assert_eq!(batcher.join(2, Priority::Miss), timer(0, false));
        assert_eq!(batcher.timer(0), Some(vec![(2, Priority::Miss)]));
        batcher.call_ended();
        batcher.call_ended();
        assert!(matches!(batcher.join(3, Priority::WithFallback), NextStep::Call(_)));
    }

    #[test]
    fn a_refresh_always_joins_a_batch() {
        assert_eq!(Batcher::default().join(1, Priority::Refresh), timer(0, true));
    }

    #[test]
    fn a_full_batch_is_sent_at_once_and_its_timer_does_nothing() {
        let mut batcher = Batcher::default();
        let steps: Vec<_> = (0..11).map(|key| batcher.join(key, Priority::Refresh)).collect();
        assert_eq!(steps[0], timer(0, true));
        assert!(matches!(&steps[9], NextStep::Call(names) if names.len() == MAX_BATCH));
        assert_eq!(steps[10], timer(1, true));
        assert_eq!(batcher.timer(0), None);
        assert_eq!(batcher.timer(1), Some(vec![(10, Priority::Refresh)]));
    }
}
