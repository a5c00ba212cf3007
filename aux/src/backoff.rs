//! The pause after failures in a row.

use std::time::Duration;

/// Returns the pause after this many failures in a row: `first` after one, twice as long after each
/// further one, and at most `longest`. Half of it is random, so that those that failed together do not
/// continue together.
pub(crate) fn backoff(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(0.5 + 0.5 * fastrand::f64())
}
