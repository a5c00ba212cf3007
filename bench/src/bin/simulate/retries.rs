//! The retries of main-api and their budget, as `gateway/src/upstream/` has them.

use std::collections::VecDeque;

use fastrand::Rng;

use crate::{Seconds, cache::Failure};

/// Attempts of one call, the first included.
const MAX_ATTEMPTS: u8 = 3;
/// The upper bound of the first pause. It doubles with each retry.
const BACKOFF: Seconds = 0.05;
const BUDGET_WINDOW: Seconds = 10.0;
const BUDGET_SHARE: f64 = 0.2;
const BUDGET_RESERVE: f64 = 30.0;

/// The calls and retries of one main-api within the window of the budget.
#[derive(Default)]
pub(crate) struct Retries {
    calls: VecDeque<Seconds>,
    retries: VecDeque<Seconds>,
}

impl Retries {
    pub(crate) fn record_call(&mut self, now: Seconds) {
        self.calls.push_back(now);
        self.forget(now);
    }

    /// Returns the pause before the next attempt, or `None` if the call has failed. `attempts` is
    /// the number of attempts so far.
    pub(crate) fn pause(
        &mut self,
        attempts: u8,
        failure: Failure,
        now: Seconds,
        random: &mut Rng,
    ) -> Option<Seconds> {
        if attempts >= MAX_ATTEMPTS {
            return None;
        }
        self.forget(now);
        let allowed = BUDGET_SHARE * self.calls.len() as f64 + BUDGET_RESERVE;
        if (self.retries.len() + 1) as f64 > allowed {
            return None;
        }
        self.retries.push_back(now);
        let backoff = random.f64() * BACKOFF * f64::from(1_u32 << (attempts - 1));
        Some(match failure {
            // `Retry-After` has whole seconds.
            Failure::Refused { retry_after } => retry_after.ceil().max(1.0).max(backoff),
            Failure::Throttled => backoff.max(1.0),
            Failure::Unavailable => backoff,
        })
    }

    fn forget(&mut self, now: Seconds) {
        for times in [&mut self.calls, &mut self.retries] {
            while times.front().is_some_and(|at| *at < now - BUDGET_WINDOW) {
                times.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_three_attempts_and_waits_as_long_as_the_refusal_demands() {
        let (mut retries, mut random) = (Retries::default(), Rng::with_seed(1));
        let refused = Failure::Refused { retry_after: 0.3 };
        assert_eq!(retries.pause(1, refused, 0.0, &mut random), Some(1.0));
        let pause = retries.pause(2, Failure::Unavailable, 0.0, &mut random);
        assert!(pause.is_some_and(|pause| pause < 0.1));
        assert_eq!(retries.pause(3, refused, 0.0, &mut random), None);
    }

    #[test]
    fn the_budget_allows_a_fifth_of_the_calls_and_three_a_second() {
        let (mut retries, mut random) = (Retries::default(), Rng::with_seed(1));
        (0..100).for_each(|_| retries.record_call(0.0));
        let mut allowed = |now| {
            let pauses =
                std::iter::repeat_with(|| retries.pause(1, Failure::Unavailable, now, &mut random));
            pauses.take(100).flatten().count()
        };
        assert_eq!(allowed(1.0), 50);
        assert_eq!(allowed(2.0), 0);
        assert_eq!(allowed(12.0), 30);
    }
}
