//! The shared quota: a token bucket on the engine, from which all replicas take their calls.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::Script;

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
    /// Whether this process has used the bucket. If the bucket does not exist, it is full for a
    /// process that has not used it, because the fleet is new. For any other process it is empty,
    /// because the engine lost it.
    has_used_it: AtomicBool,
    /// The calls that this replica has made alone, for which the bucket is charged at the return.
    calls_alone: AtomicU32,
    /// The tokens at the last use.
    available: AtomicU64,
}

impl SharedBucket {
    pub(super) fn new(engine: Engine, key: String, rate: f64) -> Self {
        Self {
            engine,
            key: key.into(),
            rate,
            has_used_it: AtomicBool::new(false),
            calls_alone: AtomicU32::new(0),
            available: AtomicU64::new(0),
        }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns the whole tokens at the last use of the bucket.
    pub(crate) fn available(&self) -> u64 {
        self.available.load(Relaxed)
    }

    /// Takes one token if the bucket holds the needed number, or returns the time until then.
    /// `reserved` makes all other calls leave the next token to this one. Returns `None` if the
    /// engine does not work.
    pub(crate) async fn take(
        &self,
        capacity: f64,
        needed: f64,
        reserved: bool,
    ) -> Option<Result<(), Duration>> {
        let initial = if self.has_used_it.load(Relaxed) { 0.0 } else { capacity };
        let charge = Charge::of(self);
        let mut script = TAKE.key(&*self.key);
        script
            .arg(self.rate)
            .arg(capacity)
            .arg(needed)
            .arg(if reserved { "reserved" } else { "normal" })
            .arg(charge.calls)
            .arg(initial);
        let outcome = |(granted, _, _): &(bool, u64, u64)| match granted {
            true => Outcome::Hit,
            false => Outcome::Miss,
        };
        let deadline = self.engine.deadline();
        let reply = self.engine.run(Operation::Quota, &script, deadline, outcome).await?;
        let Reply { value: (granted, wait, available), .. } = reply;
        charge.settle();
        self.has_used_it.store(true, Relaxed);
        self.available.store(available, Relaxed);
        Some(if granted { Ok(()) } else { Err(Duration::from_millis(wait)) })
    }

    /// Records a call that this replica made without the bucket.
    pub(crate) fn count_call_alone(&self) {
        self.calls_alone.fetch_add(1, Relaxed);
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

/// The calls for which the bucket is charged. They are charged again later unless they are settled,
/// for example if the caller stops waiting.
struct Charge<'a> {
    calls_alone: &'a AtomicU32,
    calls: u32,
}

impl<'a> Charge<'a> {
    fn of(bucket: &'a SharedBucket) -> Self {
        let calls_alone = &bucket.calls_alone;
        Self { calls_alone, calls: calls_alone.swap(0, Relaxed) }
    }

    fn settle(mut self) {
        self.calls = 0;
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.calls_alone.fetch_add(self.calls, Relaxed);
    }
}
