//! Counts over a sliding window of time.

use std::time::Duration;

use tokio::time::Instant;

/// A count expires within a tenth of the span, which is fine enough for a rate. A sum costs the
/// same for any number of calls.
const BUCKETS: u64 = 10;

/// Counts of `N` kinds over the last `span`. They cover at most the whole span, and at least nine
/// tenths of it.
#[derive(Debug)]
pub(super) struct Window<const N: usize> {
    origin: Instant,
    bucket: Duration,
    buckets: [Bucket<N>; BUCKETS as usize],
}

#[derive(Clone, Copy, Debug)]
struct Bucket<const N: usize> {
    tick: u64,
    counts: [u64; N],
}

impl<const N: usize> Window<N> {
    /// Starts with no counts.
    pub(super) fn new(span: Duration) -> Self {
        let bucket = (span / BUCKETS as u32).max(Duration::from_nanos(1));
        Self {
            origin: Instant::now(),
            bucket,
            buckets: [Bucket { tick: 0, counts: [0; N] }; BUCKETS as usize],
        }
    }

    /// Adds one to a kind, from 0 to `N - 1`.
    pub(super) fn add(&mut self, now: Instant, kind: usize) {
        let tick = self.tick(now);
        let bucket = &mut self.buckets[(tick % BUCKETS) as usize];
        if bucket.tick != tick {
            *bucket = Bucket { tick, counts: [0; N] };
        }
        bucket.counts[kind] += 1;
    }

    /// The count of each kind.
    pub(super) fn sums(&self, now: Instant) -> [u64; N] {
        let tick = self.tick(now);
        let mut sums = [0; N];
        for bucket in self.buckets.iter().filter(|bucket| tick - bucket.tick < BUCKETS) {
            for (sum, count) in sums.iter_mut().zip(bucket.counts) {
                *sum += count;
            }
        }
        sums
    }

    fn tick(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        u64::try_from(elapsed.as_nanos() / self.bucket.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_count_expires_when_the_span_has_passed_and_not_before() {
        let mut window = Window::<2>::new(SPAN);
        window.add(Instant::now(), 0);
        window.add(Instant::now(), 1);
        window.add(Instant::now(), 1);
        advance(SPAN - Duration::from_millis(1)).await;
        assert_eq!(window.sums(Instant::now()), [1, 2]);
        advance(Duration::from_millis(1)).await;
        assert_eq!(window.sums(Instant::now()), [0, 0]);
    }

    /// A window that restarts every `span` would lose counts that are still within the span.
    #[tokio::test(start_paused = true)]
    async fn the_window_slides_and_does_not_restart() {
        let mut window = Window::<1>::new(SPAN);
        for _ in 0..25 {
            window.add(Instant::now(), 0);
            advance(Duration::from_secs(1)).await;
            let [sum] = window.sums(Instant::now());
            assert!(sum <= 10);
        }
        assert_eq!(window.sums(Instant::now()), [9]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_pause_expires_every_count() {
        let mut window = Window::<1>::new(SPAN);
        window.add(Instant::now(), 0);
        advance(SPAN * 1000).await;
        assert_eq!(window.sums(Instant::now()), [0]);
        window.add(Instant::now(), 0);
        assert_eq!(window.sums(Instant::now()), [1]);
    }
}
