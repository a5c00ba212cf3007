//! Changes of parameters, shared by all replicas: notes that outdate records, and a stream of the
//! engine that each replica follows.
//!
//! Redis's publish/subscribe would lose the messages of the moments in which a replica is not
//! connected. A stream keeps them, and a replica that has missed some knows it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use redis::{
    RedisError, cmd,
    streams::{StreamId, StreamRangeReply, StreamReadReply},
};
use tokio::time::{sleep, timeout};

use super::{
    connection::{ConnectError, Connection},
    engine::NoReply,
    metrics::{Operation, Outcome},
    scripts::{ANNOUNCE, MARK},
    sealed::Parts,
    shared_cache::{SharedCache, millis},
};
use crate::{
    backoff::backoff,
    change::{Change, ChangeKind},
};

/// The entries that the stream holds, about. A replica that has missed more treats every entry as
/// stale.
const STREAM_ENTRIES: usize = 4096;

/// The most changes of one entry.
const CHANGES_PER_ENTRY: usize = 100;

/// The entries that a replica reads when it begins to follow, so that clients can resume their
/// streams at a new replica.
const RECENT_ENTRIES: usize = 256;

/// The lifetime of the stream without a change.
const STREAM_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// The shortest lifetime of the note of a change.
const MIN_MARK_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The notes that are sent at once.
const MARKS_AT_ONCE: usize = 64;

/// The time for which the engine waits for an entry before it responds without one.
const BLOCK: Duration = Duration::from_secs(1);

/// The time limit of a read, besides the time for which the engine waits.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause before the stream is followed again after a failure. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The upper bound of that pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The changes of the replicas with one scope. Cloning is shallow.
#[derive(Clone)]
pub struct SharedChanges {
    cache: SharedCache,
    stream: Arc<str>,
    /// The random name of this replica.
    replica: Arc<str>,
    /// The lifetime of the note of a change.
    mark_lifetime: Duration,
}

/// A note about the records of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// See [`RecordKey::resource`](super::RecordKey::resource).
    pub resource: String,
    /// Whether records from before the change must not be used at all.
    pub deleted: bool,
}

/// A change as the stream reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedChange {
    /// The position behind the change. It is the same on every replica.
    pub id: String,
    pub change: Change,
    /// Whether this replica has published the change.
    pub own: bool,
}

/// The owner of the entries that changes concern.
pub trait FollowChanges: Send + Sync + 'static {
    /// Changes may be missing. The replica knows the stream from the position `start` on, and
    /// `recent` are the changes since.
    fn restart(&self, start: String, recent: Vec<SharedChange>);

    /// Changes have arrived, in this order.
    fn arrived(&self, changes: Vec<SharedChange>);
}

/// Some replicas may not have learned of the changes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the shared cache does not work")]
pub struct NotShared;

impl From<NoReply> for NotShared {
    fn from(_: NoReply) -> Self {
        Self
    }
}

impl SharedChanges {
    /// The changes of the replicas that share a cache. `bound` is the age at which a record expires.
    pub fn new(cache: SharedCache, bound: Duration) -> Self {
        let stream = format!("{}:changes", cache.keys).into();
        let replica = format!("{:032x}", fastrand::u128(..)).into();
        // A note must outlive every record from before the change. Another replica may have a longer
        // bound.
        let mark_lifetime = bound.saturating_mul(2).max(MIN_MARK_LIFETIME);
        Self { cache, stream, replica, mark_lifetime }
    }

    /// Notes that all loads of some resources that began before `since` ago may have read old data.
    ///
    /// # Errors
    ///
    /// The engine does not work, and some records are not outdated.
    pub async fn mark(&self, marks: &[Mark], since: Duration) -> Result<(), NotShared> {
        for marks in marks.chunks(MARKS_AT_ONCE) {
            let scripts = marks.iter().map(|Mark { resource, deleted }| {
                let mut script = MARK.key(self.cache.change_key(resource));
                script.arg(millis(since)).arg(if *deleted { "deleted" } else { "changed" });
                script.arg(millis(self.mark_lifetime));
                script
            });
            let scripts: Vec<_> = scripts.collect();
            let stored = |_: &u8| Outcome::Stored;
            let runs = scripts
                .iter()
                .map(|script| self.cache.engine.run_patiently(Operation::Mark, script, stored));
            join_all(runs).await.into_iter().try_for_each(|run| run.map(drop))?;
        }
        Ok(())
    }

    /// Adds changes to the stream.
    ///
    /// # Errors
    ///
    /// The engine does not work, and the other replicas may not learn of the changes.
    pub async fn announce(&self, changes: &[Change]) -> Result<(), NotShared> {
        for changes in changes.chunks(CHANGES_PER_ENTRY) {
            self.add_entry(changes).await?;
        }
        Ok(())
    }

    async fn add_entry(&self, changes: &[Change]) -> Result<(), NotShared> {
        let body = encode(changes);
        let code = self.cache.seal.code(self.parts(&body));
        let mut script = ANNOUNCE.key(&*self.stream);
        script.arg(STREAM_ENTRIES).arg(millis(STREAM_LIFETIME));
        script.arg(&*self.replica).arg(body).arg(code);
        let stored = |_: &String| Outcome::Stored;
        self.cache.engine.run_patiently(Operation::Announce, &script, stored).await?;
        Ok(())
    }

    fn parts<'a>(&'a self, body: &'a [u8]) -> Parts<'a> {
        Parts { key: &self.stream, times: [0; 4], body }
    }

    /// Follows the stream for as long as the process runs.
    pub async fn follow(self, follower: Arc<dyn FollowChanges>) {
        let (mut position, mut failures) = (None, 0);
        loop {
            let Err(failure) = self.follow_once(&mut position, &mut failures, &*follower).await;
            failures += 1;
            // The circuit of the engine logs its failures.
            tracing::debug!(reason = %failure, "the stream of changes cannot be followed");
            sleep(backoff(failures, FIRST_PAUSE, LONGEST_PAUSE)).await;
        }
    }

    /// Follows the stream with one connection, until it fails.
    async fn follow_once(
        &self,
        position: &mut Option<String>,
        failures: &mut u32,
        follower: &dyn FollowChanges,
    ) -> Result<std::convert::Infallible, FollowError> {
        let mut connection = self.cache.engine.connect_separately().await?;
        if !self.holds(&mut connection, position.as_deref()).await? {
            let (oldest, recent) = self.recent(&mut connection).await?;
            *position = Some(recent.last().unwrap_or(&oldest).id.clone());
            let last_index = self.changes_of(&oldest).len().saturating_sub(1);
            let recent = recent.iter().flat_map(|entry| self.changes_of(entry)).collect();
            follower.restart(position_behind(&oldest.id, last_index), recent);
        }
        loop {
            let before = position.clone().unwrap_or_default();
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(RECENT_ENTRIES).arg("BLOCK").arg(millis(BLOCK));
            read.arg("STREAMS").arg(&*self.stream).arg(&before);
            let reply: Option<StreamReadReply> =
                within(BLOCK + READ_TIMEOUT, read.query_async(&mut connection)).await?;
            // If the position is gone, the engine has lost the stream, or has dropped entries behind
            // the position.
            if !self.holds(&mut connection, Some(&before)).await? {
                return Err(FollowError::Lost);
            }
            *failures = 0;
            let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
            let entries: Vec<_> = entries.collect();
            let changes: Vec<_> = entries.iter().flat_map(|entry| self.changes_of(entry)).collect();
            if let Some(last) = entries.last() {
                *position = Some(last.id.clone());
            }
            if !changes.is_empty() {
                follower.arrived(changes);
            }
        }
    }

    /// Whether the stream still has the entry at a position.
    async fn holds(
        &self,
        connection: &mut Connection,
        position: Option<&str>,
    ) -> Result<bool, FollowError> {
        let Some(id) = position else { return Ok(false) };
        let mut range = cmd("XRANGE");
        range.arg(&*self.stream).arg(id).arg(id);
        let found: StreamRangeReply = within(READ_TIMEOUT, range.query_async(connection)).await?;
        Ok(!found.ids.is_empty())
    }

    /// Reads the latest entries: the oldest, and those behind it in their order. Creates the first
    /// entry of a stream, so that there is a position from which every change is known.
    async fn recent(
        &self,
        connection: &mut Connection,
    ) -> Result<(StreamId, Vec<StreamId>), FollowError> {
        let mut range = cmd("XREVRANGE");
        range.arg(&*self.stream).arg("+").arg("-").arg("COUNT").arg(RECENT_ENTRIES);
        let read = async |connection: &mut Connection| {
            let found: StreamRangeReply =
                within(READ_TIMEOUT, range.query_async(connection)).await?;
            Ok::<_, FollowError>(found.ids)
        };
        let mut entries = read(connection).await?;
        if entries.is_empty() {
            self.add_entry(&[]).await.map_err(|_| FollowError::Lost)?;
            entries = read(connection).await?;
        }
        let oldest = entries.pop().ok_or(FollowError::Lost)?;
        entries.reverse();
        Ok((oldest, entries))
    }

    /// Returns the changes of an entry; none if it is garbage, or if another key authenticated it.
    fn changes_of(&self, entry: &StreamId) -> Vec<SharedChange> {
        let body: Vec<u8> = entry.get("changes").unwrap_or_default();
        let code: Vec<u8> = entry.get("mac").unwrap_or_default();
        if !self.cache.seal.verify(self.parts(&body), &code) {
            return Vec::new();
        }
        let own = entry.get::<String>("replica").is_some_and(|name| *name == *self.replica);
        let changes = decode(&body).unwrap_or_default().into_iter().enumerate();
        let shared =
            |(index, change)| SharedChange { id: position_behind(&entry.id, index), change, own };
        changes.map(shared).collect()
    }
}

/// The id of the position behind a change of an entry.
fn position_behind(entry: &str, index: usize) -> String {
    format!("{entry}-{index}")
}

/// The reason for a failure to follow the stream.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Engine(#[from] RedisError),
    #[error("it did not respond in time")]
    Timeout,
    #[error("the stream is gone")]
    Lost,
}

async fn within<T>(
    limit: Duration,
    reply: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, FollowError> {
    Ok(timeout(limit, reply).await.map_err(|_| FollowError::Timeout)??)
}

/// Writes changes as JSON: pairs of a letter for the kind, and a name.
fn encode(changes: &[Change]) -> Vec<u8> {
    let pairs: Vec<_> = changes
        .iter()
        .map(|Change { name, kind }| match kind {
            ChangeKind::Created => ("c", name),
            ChangeKind::Updated => ("u", name),
            ChangeKind::Deleted => ("d", name),
        })
        .collect();
    serde_json::to_vec(&pairs).expect("strings are JSON")
}

/// Reads changes. Returns `None` for garbage.
fn decode(body: &[u8]) -> Option<Vec<Change>> {
    let pairs: Vec<(String, String)> = serde_json::from_slice(body).ok()?;
    pairs
        .into_iter()
        .map(|(letter, name)| {
            let kind = match letter.as_str() {
                "c" => ChangeKind::Created,
                "u" => ChangeKind::Updated,
                "d" => ChangeKind::Deleted,
                _ => return None,
            };
            Some(Change { name, kind })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_survive_the_stream_and_garbage_is_none() {
        let kinds = [ChangeKind::Created, ChangeKind::Updated, ChangeKind::Deleted];
        let changes: Vec<_> =
            kinds.map(|kind| Change { name: format!("/app/{kind:?}"), kind }).into();
        assert_eq!(decode(&encode(&changes)), Some(changes));
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
        for garbage in ["", "{}", "[1]", r#"[["x","/app"]]"#, r#"[["u"]]"#] {
            assert_eq!(decode(garbage.as_bytes()), None, "{garbage}");
        }
    }
}
