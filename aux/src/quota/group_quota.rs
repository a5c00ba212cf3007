//! The quota of one group of operations: the bucket of this process, or the one that all replicas
//! share.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use cache::Priority;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::bucket::{Claim, TokenBucket, capacity};
use crate::fleet::SharedBucket;

/// The time after a switch of buckets, or after the shared one was made, in which calls wait for a
/// token instead of being refused. The bucket starts empty then, and no client caused that.
const GRACE: Duration = Duration::from_secs(2);

/// The quota of one group.
pub(super) struct GroupQuota {
    /// The share of this process. It is in force while there is no shared bucket, or the engine does
    /// not work.
    own: TokenBucket,
    /// Absent without a shared cache, or without a limit for all replicas together.
    shared: Option<SharedBucket>,
    source: Mutex<Source>,
    /// The calls that wait within [`GRACE`].
    waiting: AtomicU32,
    refused: AtomicU64,
}

/// The bucket in force.
#[derive(Clone, Copy, Debug)]
struct Source {
    /// Whether the last call was taken from the shared bucket. Unknown before the first call.
    is_shared: Option<bool>,
    /// The end of the time in which calls wait instead of being refused.
    grace_until: Instant,
}

impl GroupQuota {
    pub(super) fn new(rate: f64, shared: Option<SharedBucket>) -> Self {
        let own = TokenBucket::new(rate);
        let source = Mutex::new(Source { is_shared: None, grace_until: Instant::now() });
        Self { own, shared, source, waiting: AtomicU32::new(0), refused: AtomicU64::new(0) }
    }

    pub(super) async fn try_acquire(&self, priority: Priority) -> Result<(), Duration> {
        let claim = Claim::Priority(priority);
        let mut result = self.take(claim).await;
        if result.is_err()
            && let Some(_waiting) = self.may_wait(priority)
        {
            result = match timeout(GRACE, self.acquire(priority)).await {
                Ok(()) => Ok(()),
                Err(_) => self.take(claim).await,
            };
        }
        result.inspect_err(|_| {
            self.refused.fetch_add(1, Relaxed);
        })
    }

    /// Returns a permit to wait for a token if the bucket is empty for a reason that no client
    /// caused. At most one second's calls wait, because more would wait in vain.
    fn may_wait(&self, priority: Priority) -> Option<Waiting<'_>> {
        let grace_until = self.source.lock().grace_until;
        let is_grace = self.shared.is_some() && Instant::now() < grace_until;
        let waiting =
            (is_grace && priority > Priority::Refresh).then(|| Waiting::new(&self.waiting))?;
        (f64::from(waiting.number) <= capacity(self.rate())).then_some(waiting)
    }

    pub(super) async fn acquire(&self, priority: Priority) {
        let reserve_at = Instant::now() + self.longest_wait();
        let at_own_priority = async {
            while let Err(wait) = self.take(Claim::Priority(priority)).await {
                sleep(wait).await;
            }
        };
        if timeout_at(reserve_at, at_own_priority).await.is_err() {
            let _reservation = self.own.reserve();
            while let Err(wait) = self.take(Claim::Reserved).await {
                sleep(wait).await;
            }
        }
    }

    pub(super) fn drain(&self, pause: Duration) {
        self.own.drain(pause);
        if let Some(shared) = &self.shared {
            shared.drain(pause);
        }
    }

    pub(super) fn status(&self) -> serde_json::Value {
        let refused = self.refused.load(Relaxed);
        let (rate, available) = match &self.shared {
            Some(shared) if self.source.lock().is_shared == Some(true) => {
                (shared.rate(), shared.available() as f64)
            }
            _ if self.own.rate() == 0.0 => {
                return serde_json::json!({ "limit_per_second": null });
            }
            _ => (self.own.rate(), self.own.available()),
        };
        serde_json::json!({ "limit_per_second": rate, "available": available, "refused": refused })
    }

    /// Takes one token from the bucket in force, or returns the time until one is available.
    async fn take(&self, claim: Claim) -> Result<(), Duration> {
        let Some(shared) = &self.shared else { return self.own.take(claim) };
        let rate = shared.rate();
        let reserved = claim == Claim::Reserved;
        if let Some(answer) = shared.take(capacity(rate), claim.needed(rate), reserved).await {
            self.switch_to(true, GRACE.saturating_sub(answer.age));
            return answer.result;
        }
        // The other replicas may have used the whole burst of the shared bucket.
        if self.switch_to(false, Duration::ZERO) {
            self.own.drain(Duration::ZERO);
        }
        let result = self.own.take(claim);
        if result.is_ok() {
            shared.count_call_alone();
        }
        result
    }

    /// Records the bucket in force, and returns whether that is a switch. `grace` is the time in
    /// which calls wait even without a switch.
    fn switch_to(&self, is_shared: bool, grace: Duration) -> bool {
        let mut source = self.source.lock();
        let is_switch = source.is_shared.replace(is_shared).is_some_and(|was| was != is_shared);
        let grace = if is_switch { GRACE } else { grace };
        source.grace_until = source.grace_until.max(Instant::now() + grace);
        is_switch
    }

    /// Returns the rate of all replicas, or else of this process.
    fn rate(&self) -> f64 {
        self.shared.as_ref().map_or(self.own.rate(), SharedBucket::rate)
    }

    /// The wait after which a call gets a reservation: twice the time in which a bucket without
    /// other calls fills up.
    fn longest_wait(&self) -> Duration {
        let rate = self.rate();
        let fills_in = if rate == 0.0 { 0.0 } else { capacity(rate) / rate };
        Duration::from_secs_f64(2.0 * fills_in)
    }
}

/// Counts a call as waiting until it is dropped.
struct Waiting<'a> {
    count: &'a AtomicU32,
    /// The number of waiting calls, with this one.
    number: u32,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        Self { count, number: count.fetch_add(1, Relaxed) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}
