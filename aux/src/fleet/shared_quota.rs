//! The shared quota: a token bucket on the engine, from which all replicas take their calls.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::Script;
use tokio::time::Instant;

use super::{
    engine::{Engine, Reply},
    metrics::{Operation, Outcome},
};

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/quota.lua")));
static DRAIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/drain.lua")));

/// A token bucket that all replicas share.
pub(crate) struct SharedBucket {
    engine: Engine,
    key: Arc<str>,
    /// The rate of all replicas together, in calls a second.
    rate: f64,
    debt: Mutex<Debt>,
    /// The tokens at the last use.
    available: AtomicU64,
}

/// The tokens that this replica has used up without the bucket. The debt shrinks at the rate of the
/// bucket, which fills up meanwhile.
struct Debt {
    tokens: f64,
    at: Instant,
}

/// The answer of the bucket.
pub(crate) struct Answer {
    /// The time until a token is available, if this call got none.
    pub(crate) result: Result<(), Duration>,
    /// The time since the bucket was made. It was empty then.
    pub(crate) age: Duration,
}

impl SharedBucket {
    pub(super) fn new(engine: Engine, key: String, rate: f64) -> Self {
        let debt = Mutex::new(Debt { tokens: 0.0, at: Instant::now() });
        Self { engine, key: key.into(), rate, debt, available: AtomicU64::new(0) }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns the whole tokens at the last use of the bucket.
    pub(crate) fn available(&self) -> u64 {
        self.available.load(Relaxed)
    }

    /// Takes one token if the bucket holds the needed number. `reserved` makes all other calls leave
    /// the next token to this one. Returns `None` if the engine does not work.
    pub(crate) async fn take(&self, capacity: f64, needed: f64, reserved: bool) -> Option<Answer> {
        let charge = Charge::of(self);
        let mut script = TAKE.key(&*self.key);
        script
            .arg(self.rate)
            .arg(capacity)
            .arg(needed)
            .arg(if reserved { "reserved" } else { "normal" })
            .arg(charge.tokens);
        let outcome = |(granted, ..): &(bool, u64, u64, u64)| match granted {
            true => Outcome::Hit,
            false => Outcome::Miss,
        };
        let deadline = self.engine.deadline();
        let reply = self.engine.run(Operation::Quota, &script, deadline, outcome).await.ok()?;
        let Reply { value: (granted, wait, available, age), .. } = reply;
        charge.settle();
        self.available.store(available, Relaxed);
        Some(Answer {
            result: if granted { Ok(()) } else { Err(Duration::from_millis(wait)) },
            age: Duration::from_millis(age),
        })
    }

    /// Records a call that this replica made without the bucket.
    pub(crate) fn count_call_alone(&self) {
        self.owe(1.0);
    }

    fn owe(&self, tokens: f64) {
        let mut debt = self.debt.lock();
        debt.shrink(self.rate);
        debt.tokens += tokens;
    }

    /// Empties the bucket for a pause. The caller does not wait.
    pub(crate) fn drain(&self, pause: Duration) {
        let key = Arc::clone(&self.key);
        let prepare = move || {
            let mut script = DRAIN.key(&*key);
            script.arg(pause.as_millis() as u64);
            script
        };
        self.engine.run_in_background(Operation::Quota, prepare, |_: &bool| Outcome::Stored);
    }
}

impl Debt {
    fn shrink(&mut self, rate: f64) {
        let now = Instant::now();
        let repaid = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        *self = Self { tokens: (self.tokens - repaid).max(0.0), at: now };
    }
}

/// The tokens for which the bucket is charged. They are owed again unless the charge is settled, for
/// example if the caller stops waiting.
struct Charge<'a> {
    bucket: &'a SharedBucket,
    tokens: f64,
}

impl<'a> Charge<'a> {
    fn of(bucket: &'a SharedBucket) -> Self {
        let mut debt = bucket.debt.lock();
        debt.shrink(bucket.rate);
        Self { bucket, tokens: std::mem::take(&mut debt.tokens) }
    }

    fn settle(mut self) {
        self.tokens = 0.0;
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if self.tokens > 0.0 {
            self.bucket.owe(self.tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_debt_shrinks_at_the_rate_of_the_bucket() {
        let mut debt = Debt { tokens: 45.0, at: Instant::now() };
        advance(Duration::from_secs(1)).await;
        debt.shrink(20.0);
        assert_eq!(debt.tokens, 25.0);
        advance(Duration::from_secs(9)).await;
        debt.shrink(20.0);
        assert_eq!(debt.tokens, 0.0);
    }
}
