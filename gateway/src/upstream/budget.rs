//! The retry budget of a process.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::window::Window;

/// The retries that a process may make: within any ten seconds at most `share` of the calls of
/// these seconds, plus three a second, so that a service with little traffic may retry too.
///
/// A window makes the share exact. A bucket of tokens would save up retries during a long quiet
/// time and spend them on the outage that follows it.
pub struct Budget {
    share: f64,
    spent: Mutex<Window<2>>,
}

const CALLS: usize = 0;
const RETRIES: usize = 1;

/// The time over which the share is taken.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retries that the window allows on top of the share: three a second.
pub(super) const RESERVE: f64 = 30.0;

impl Budget {
    /// Starts with a full budget. The share lies between 0 and 1.
    pub fn new(share: f64) -> Self {
        Self { share, spent: Mutex::new(Window::new(BUDGET_WINDOW)) }
    }

    /// Counts a call. It earns its share of a retry.
    pub fn record_call(&self) {
        self.spent.lock().add(Instant::now(), CALLS);
    }

    /// Takes one retry. Returns `false` if none is left.
    pub fn try_take(&self) -> bool {
        let now = Instant::now();
        let mut spent = self.spent.lock();
        let sums = spent.sums(now);
        let allowed = (sums[RETRIES] + 1) as f64 <= self.share * sums[CALLS] as f64 + RESERVE;
        if allowed {
            spent.add(now, RETRIES);
        }
        allowed
    }
}

/// An upper bound of the retries that the budget granted on top of the share since `start`. Its
/// window covers at least nine of its ten seconds.
#[cfg(test)]
pub(super) fn reserve_since(start: Instant) -> f64 {
    RESERVE * ((start.elapsed().as_secs_f64() / 9.0).floor() + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    proptest! {
        /// The bound holds for every span of time that the window covers, for any order of calls
        /// and retries. Spans can be laid end to end, so it holds for the whole time.
        #[test]
        fn the_budget_is_never_exceeded(
            share in 0.0f64..1.0,
            steps in prop::collection::vec((0u64..3000, 0usize..50, 0usize..50), 1..60),
        ) {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime")
                .block_on(async {
                    let budget = Budget::new(share);
                    let start = Instant::now();
                    let (mut calls, mut retries) = (0, 0);
                    for (pause, called, wanted) in steps {
                        advance(Duration::from_millis(pause)).await;
                        (0..called).for_each(|_| budget.record_call());
                        calls += called;
                        retries += (0..wanted).filter(|_| budget.try_take()).count();
                        let allowed = share * calls as f64 + reserve_since(start);
                        assert!(retries as f64 <= allowed, "{retries} > {allowed}");
                    }
                });
        }
    }
}
