//! The shared cache: records that one replica has loaded and all replicas use, and a lock for each
//! load, so that one replica of all calls AWS.

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue, ParsingError, ScriptInvocation, Value};
use tokio::{
    select,
    time::{Instant, sleep},
};

use super::{
    compression::{pack, unpack},
    engine::{Engine, Reply},
    metrics::{Operation, Outcome},
    scripts::{LOOKUP, RELEASE, RENEW, STORE},
    sealed::{Parts, Seal},
};
use crate::progress::{Arrived, ListProgress};

/// The lifetime of a lock. A replica that ends while it holds a lock delays the others by this time
/// at most.
const LOCK_LIFETIME: Duration = Duration::from_millis(2500);

/// The interval at which a load that takes long prolongs its lock.
const RENEWAL: Duration = Duration::from_secs(1);

/// The pause before the first repetition of a lookup that found a lock. Each repetition doubles it.
const FIRST_POLL: Duration = Duration::from_millis(5);

/// The upper bound of that pause.
const LONGEST_POLL: Duration = Duration::from_millis(100);

/// The upper bound of a record's body as it is sent. A larger one would hold up the commands behind it for longer
/// than their timeout.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The records of the replicas with one scope. Cloning is shallow.
#[derive(Clone)]
pub struct SharedCache {
    pub(super) engine: Engine,
    /// The common part of all keys.
    pub(super) keys: Arc<str>,
    pub(super) seal: Seal,
}

/// A record as the shared cache holds it, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRecord {
    pub body: Vec<u8>,
    /// The age up to which the record is fresh.
    pub lifetime: Duration,
    /// The time after the lifetime in which the record may be served while it is refreshed.
    pub stale_while_revalidate: Duration,
    /// The age at which the record expires.
    pub bound: Duration,
    /// The time that the load took, which lengthened the lifetime.
    pub load: Duration,
    pub age: Duration,
    /// Whether a change has outdated the record: it may serve only if a load fails.
    pub outdated: bool,
}

/// The place of a record in the shared cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordKey {
    /// The key of the parameter, the path or the list whose changes outdate the record.
    pub resource: String,
    /// The part that tells several records of one resource apart; empty for one of them. It begins
    /// with a character that no resource holds after its base.
    pub variant: String,
}

/// The demand of a load on the shared cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// A record that is fresh.
    Fresh,
    /// A record in the first half of its lifetime, because the entry is loaded before it is stale.
    Young,
    /// A new load, whatever the shared cache holds.
    NewLoad,
}

/// The result of [`SharedCache::claim`].
pub enum Claim<T> {
    /// The shared cache has a record that meets the demand.
    Found(T),
    /// This replica must load.
    Load {
        /// Absent if another replica has held the lock for too long, or the engine does not work.
        /// The result of the load is then not shared.
        lock: Option<Lock>,
        /// Whether there is a stale record that may serve if the load fails.
        has_stale: bool,
    },
}

/// The conditions of a wait for another replica's load.
pub struct Wait<'a> {
    /// The time at which the wait ends, and this replica makes a call of its own.
    pub until: Option<Instant>,
    /// The progress of a list, which other requests of this replica read.
    pub progress: &'a ListProgress,
}

impl SharedCache {
    pub(super) fn new(engine: Engine, keys: String, seal: Seal) -> Self {
        Self { engine, keys: keys.into(), seal }
    }

    /// Looks up a record, and takes the lock of its load if the record is missing or stale. While
    /// another replica has the lock, waits for its result.
    ///
    /// `decode` returns `None` for a record that this replica cannot use. `offer` gets a stale
    /// record that may serve if the load fails, at most once.
    pub async fn claim<T>(
        &self,
        key: &RecordKey,
        demand: Demand,
        wait: Wait<'_>,
        decode: impl Fn(&SharedRecord) -> Option<T>,
        mut offer: impl FnMut(T),
    ) -> Claim<T> {
        let keys = self.keys_of(key);
        let token = format!("{:032x}", fastrand::u128(..));
        let (mut usable, mut pause) = (true, FIRST_POLL);
        let mut has_stale = false;
        // The deadline of a request may be shorter than the timeout of the engine.
        let next_deadline = || {
            let deadline = self.engine.deadline();
            wait.until.map_or(deadline, |until| deadline.min(until))
        };
        // Returns whether a stale record has been offered.
        let mut offer_once = |stale: Option<T>| {
            if let Some(stale) = stale.filter(|_| !has_stale) {
                has_stale = true;
                offer(stale);
            }
            has_stale
        };
        let mut deadline = next_deadline();
        loop {
            let lookup = keys.lookup(&token, demand, usable, offer_once(None));
            let reply = self.engine.run(Operation::Lookup, &lookup, deadline, Found::outcome).await;
            let Reply { value: found, round_trip } = match reply {
                Ok(reply) => reply,
                // The engine may still give the lock to this replica, which does not use it.
                Err(no_reply) => {
                    no_reply.revert(Operation::Release, release(&keys, &token, false));
                    break;
                }
            };
            let record = found.record.and_then(|stored| self.open(&keys, stored, round_trip));
            let decoded = record.as_ref().and_then(&decode);
            match (found.state, decoded) {
                (State::Fresh, Some(decoded)) => return Claim::Found(decoded),
                // The record is garbage, or another key authenticated it. The second lookup shares
                // the deadline of the first.
                (State::Fresh, None) if usable => {
                    usable = false;
                    continue;
                }
                (State::Fresh, None) => break,
                (State::Taken, stale) => {
                    wait.progress.restart();
                    let lock = Some(Lock::new(self.clone(), keys, token));
                    return Claim::Load { lock, has_stale: offer_once(stale) };
                }
                (State::Locked(arrived), stale) => {
                    wait.progress.follow(arrived);
                    offer_once(stale);
                }
            }
            let left = wait.until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            sleep(left.map_or(pause, |left| left.min(pause))).await;
            pause = pause.saturating_mul(2).min(LONGEST_POLL);
            // The other replica may have stored a usable record meanwhile.
            usable = true;
            deadline = next_deadline();
        }
        wait.progress.restart();
        Claim::Load { lock: None, has_stale: offer_once(None) }
    }

    fn keys_of(&self, RecordKey { resource, variant }: &RecordKey) -> Keys {
        // No name, version or label holds a `#`.
        let record = format!("{}{variant}", self.key_of(resource));
        let (lock, change) = (format!("{record}#lock"), self.change_key(resource));
        Keys { record, lock, change }
    }

    /// Returns the key of the latest change of a resource.
    pub(super) fn change_key(&self, resource: &str) -> String {
        format!("{}#change", self.key_of(resource))
    }

    /// The braces put all keys of a resource into one slot of a Cluster (its "hash tag").
    fn key_of(&self, resource: &str) -> String {
        format!("{}:{{{resource}}}", self.keys)
    }

    /// Checks a record and computes its age. The age counts the whole round trip, because the
    /// engine may have read the record at its beginning.
    fn open(&self, keys: &Keys, stored: Stored, round_trip: Duration) -> Option<SharedRecord> {
        let Stored { body, times, remaining, outdated, code } = stored;
        let [lifetime, revalidate, total, load] = times;
        let parts = Parts { key: &keys.record, times, body: &body };
        if !self.seal.verify(parts, &code) {
            return None;
        }
        Some(SharedRecord {
            body: unpack(&body)?.into_owned(),
            lifetime: Duration::from_millis(lifetime),
            stale_while_revalidate: Duration::from_millis(revalidate),
            bound: Duration::from_millis(total),
            load: Duration::from_millis(load),
            age: Duration::from_millis(total.saturating_sub(remaining)) + round_trip,
            outdated,
        })
    }
}

/// The keys of a record, of its lock, and of the latest change of its resource.
struct Keys {
    record: String,
    lock: String,
    change: String,
}

impl Keys {
    fn lookup(
        &self,
        token: &str,
        demand: Demand,
        usable: bool,
        has_stale: bool,
    ) -> ScriptInvocation<'static> {
        let (word, fraction) = match demand {
            Demand::NewLoad => ("seize", "1"),
            _ if !usable => ("lock", "1"),
            Demand::Fresh => ("read", "1"),
            Demand::Young => ("read", "0.5"),
        };
        let mut script = LOOKUP.key(&self.record);
        script.key(&self.lock).key(&self.change);
        script.arg(token).arg(millis(LOCK_LIFETIME)).arg(word).arg(fraction);
        script.arg(MAX_BODY_BYTES).arg(if has_stale { "known" } else { "unknown" });
        script
    }
}

/// The lock of a load: while a replica has it, no other replica makes the same load. Dropping it
/// releases it.
pub struct Lock {
    cache: SharedCache,
    /// Absent once the lock is released.
    keys: Option<Keys>,
    token: String,
    /// The time at which this replica learned that it has the lock.
    taken_at: Instant,
}

impl Lock {
    fn new(cache: SharedCache, keys: Keys, token: String) -> Self {
        Self { cache, keys: Some(keys), token, taken_at: Instant::now() }
    }

    /// Runs a load, and prolongs the lock while it takes long. Other replicas see its progress.
    pub async fn hold<T>(&self, progress: &ListProgress, load: impl Future<Output = T>) -> T {
        tokio::pin!(load);
        loop {
            select! {
                result = &mut load => return result,
                () = sleep(RENEWAL) => self.renew(progress.arrived()),
            }
        }
    }

    fn renew(&self, arrived: Arrived) {
        let Some(keys) = &self.keys else { return };
        let (lock, token) = (keys.lock.clone(), self.token.clone());
        let prepare = move || {
            let mut script = RENEW.key(lock);
            script.arg(token).arg(millis(LOCK_LIFETIME)).arg(arrived.pages).arg(arrived.names);
            script
        };
        self.cache.engine.run_in_background(Operation::Renew, prepare, written);
    }

    /// Stores the record that was loaded at `loaded_at`, and releases the lock. The caller does not
    /// wait. A record that is too large is not stored, and the previous one is dropped.
    pub fn store(
        mut self,
        loaded_at: Instant,
        encode: impl FnOnce() -> SharedRecord + Send + 'static,
    ) {
        let Some(keys) = self.keys.take() else { return };
        let (cache, token) = (self.cache.clone(), self.token.clone());
        let until_load = loaded_at.saturating_duration_since(self.taken_at);
        let prepare = move || {
            let record = encode();
            let body = pack(record.body);
            if body.len() > MAX_BODY_BYTES {
                return release(&keys, &token, true);
            }
            let SharedRecord { lifetime, stale_while_revalidate, bound, load, .. } = record;
            let times = [lifetime, stale_while_revalidate, bound, load].map(millis);
            let parts = Parts { key: &keys.record, times, body: &body };
            let code = cache.seal.code(parts);
            let age_now = record.age + loaded_at.elapsed();
            let mut script = STORE.key(&keys.record);
            script.key(&keys.lock).key(&keys.change).arg(token).arg(body).arg(&times).arg(code);
            // Rounding down the time from the lock to the load makes the record older.
            script.arg(millis(age_now)).arg(millis(record.age)).arg(until_load.as_millis() as u64);
            script
        };
        self.cache.engine.run_in_background(Operation::Store, prepare, written);
    }

    /// Releases the lock after a load without a record to share. `drop_record` demands that no
    /// replica uses the previous record any more.
    pub fn release(mut self, drop_record: bool) {
        self.release_in_background(drop_record);
    }

    fn release_in_background(&mut self, drop_record: bool) {
        let Some(keys) = self.keys.take() else { return };
        let token = std::mem::take(&mut self.token);
        let prepare = move || release(&keys, &token, drop_record);
        self.cache.engine.run_in_background(Operation::Release, prepare, written);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release_in_background(false);
    }
}

fn release(keys: &Keys, token: &str, drop_record: bool) -> ScriptInvocation<'static> {
    let mut script = RELEASE.key(&keys.record);
    script.key(&keys.lock).arg(token).arg(if drop_record { "drop" } else { "keep" });
    script
}

/// The outcome of a script that writes if this replica has the lock.
fn written(done: &bool) -> Outcome {
    if *done { Outcome::Stored } else { Outcome::Locked }
}

/// Whole milliseconds, rounded up so that an age never becomes younger.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// The result of the lookup script.
struct Found {
    state: State,
    record: Option<Stored>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The record meets the demand.
    Fresh,
    /// Another replica has the lock, and has loaded this much.
    Locked(Arrived),
    /// This replica has the lock now.
    Taken,
}

/// A record as the script returns it. The times are the lifetime, the time for background
/// refreshes, the total time and the time of the load, in milliseconds.
struct Stored {
    body: Vec<u8>,
    times: [u64; 4],
    remaining: u64,
    outdated: bool,
    code: Vec<u8>,
}

impl Found {
    fn outcome(&self) -> Outcome {
        match (self.state, &self.record) {
            (State::Fresh, _) => Outcome::Hit,
            (State::Locked(_), _) => Outcome::Locked,
            (State::Taken, Some(_)) => Outcome::Stale,
            (State::Taken, None) => Outcome::Miss,
        }
    }
}

impl FromRedisValue for Found {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        type Row = (String, Option<Vec<u8>>, u64, u64, u64, u64, i64, u8, Vec<u8>, usize, usize);
        let (
            state,
            body,
            lifetime,
            revalidate,
            total,
            load,
            remaining,
            outdated,
            code,
            pages,
            names,
        ) = Row::from_redis_value(value)?;
        let state = match state.as_str() {
            "fresh" => State::Fresh,
            "locked" => State::Locked(Arrived::elsewhere(pages, names)),
            _ => State::Taken,
        };
        let remaining = u64::try_from(remaining).unwrap_or_default();
        let times = [lifetime, revalidate, total, load];
        let outdated = outdated == 1;
        let record = body.map(|body| Stored { body, times, remaining, outdated, code });
        Ok(Self { state, record })
    }
}
