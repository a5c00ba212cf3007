//! The quota of one group of operations: the bucket of this process, or the one that all replicas
//! share.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use cache::Priority;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::bucket::{Claim, TokenBucket, capacity};
use crate::fleet::SharedBucket;

/// The time after a switch to the bucket of this process in which calls wait for a token instead of
/// being refused. The bucket starts empty then, and no client caused the switch.
const AFTER_SWITCH: Duration = Duration::from_secs(2);

/// The quota of one group.
pub(super) struct GroupQuota {
    /// The share of this process. It is in force while there is no shared bucket, or the engine does
    /// not work.
    own: TokenBucket,
    /// Absent without a shared cache, or without a limit for all replicas together.
    shared: Option<SharedBucket>,
    source: Mutex<Source>,
    refused: AtomicU64,
}

/// The bucket from which the last call was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// No call has been made yet.
    None,
    Shared,
    /// The bucket of this process, and the time of the switch from the shared one, if there was one.
    Own(Option<Instant>),
}

impl GroupQuota {
    pub(super) fn new(rate: f64, shared: Option<SharedBucket>) -> Self {
        let own = TokenBucket::new(rate);
        let source = Mutex::new(Source::None);
        Self { own, shared, source, refused: AtomicU64::new(0) }
    }

    pub(super) async fn try_acquire(&self, priority: Priority) -> Result<(), Duration> {
        let Err(wait) = self.take(Claim::Priority(priority)).await else { return Ok(()) };
        if self.has_just_switched()
            && priority > Priority::Refresh
            && timeout(AFTER_SWITCH, self.acquire(priority)).await.is_ok()
        {
            return Ok(());
        }
        self.refused.fetch_add(1, Relaxed);
        Err(wait)
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
        let (rate, available) = match (&self.shared, *self.source.lock()) {
            (Some(shared), Source::Shared) => (shared.rate(), shared.available() as f64),
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
        if let Some(result) = shared.take(capacity(rate), claim.needed(rate), reserved).await {
            *self.source.lock() = Source::Shared;
            return result;
        }
        self.switch_to_own();
        let result = self.own.take(claim);
        if result.is_ok() {
            shared.count_call_alone();
        }
        result
    }

    /// Empties the bucket of this process at a switch: the other replicas may have used the whole
    /// burst of the shared one.
    fn switch_to_own(&self) {
        let mut source = self.source.lock();
        match *source {
            Source::Own(_) => {}
            Source::None => *source = Source::Own(None),
            Source::Shared => {
                *source = Source::Own(Some(Instant::now()));
                self.own.drain(Duration::ZERO);
            }
        }
    }

    fn has_just_switched(&self) -> bool {
        let Source::Own(Some(since)) = *self.source.lock() else { return false };
        since.elapsed() < AFTER_SWITCH
    }

    /// The wait after which a call gets a reservation: twice the time in which a bucket without
    /// other calls fills up.
    fn longest_wait(&self) -> Duration {
        let rate = self.shared.as_ref().map_or(self.own.rate(), SharedBucket::rate);
        let fills_in = if rate == 0.0 { 0.0 } else { capacity(rate) / rate };
        Duration::from_secs_f64(2.0 * fills_in)
    }
}
