//! A batch combines concurrent misses: `GetParameters` takes ten names in one call, and costs one
//! token of the quota.
//!
//! While no call is in flight, a miss starts its own call at once. While a call is in flight, a
//! miss joins a batch, which is sent after a few milliseconds or when it is full. A refresh always
//! joins a batch, because requests get the stale entry meanwhile: a batch of refreshes is sent after
//! a tenth of a second. A load that starts together with others joins a batch too, which is sent as
//! soon as all of them have joined.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use cache::Priority;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::sleep};

mod group;

use self::group::Group;
pub use self::group::GroupMember;
use crate::{error::Error, parameter::Parameter};

/// The largest number of names that `GetParameters` accepts.
pub const MAX_BATCH: usize = 10;

/// The longest time that a miss waits in a batch for others. A call to AWS takes several times as
/// long.
const BATCH_WINDOW: Duration = Duration::from_millis(3);

/// The longest time that a refresh waits in a batch for others. The times of refreshes are spread at
/// random, so only a long window fills their batches.
const REFRESH_WINDOW: Duration = Duration::from_millis(100);

/// Reads parameters, one or several per call.
#[async_trait]
pub trait ParameterReader: Send + Sync + 'static {
    /// Gets one parameter with a call of its own.
    async fn get_one(&self, name: &str, priority: Priority) -> Result<Parameter, Error>;

    /// Gets up to `MAX_BATCH` distinct names. Returns one result per name, in the order of the
    /// names. The outer error concerns the call as a whole.
    async fn get_many(
        &self,
        names: &[String],
        priority: Priority,
    ) -> Result<Vec<Result<Parameter, Error>>, Error>;
}

/// Combines concurrent misses into batches. Cloning is shallow.
pub struct Batcher<R>(Arc<Inner<R>>);

struct Inner<R> {
    reader: R,
    /// The lock is never held while a task is spawned or a future is dropped. A runtime that shuts
    /// down drops a spawned future at once, in the same thread, and its [`InFlightGuard`] takes
    /// this lock.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of calls in flight.
    calls: usize,
    /// The loads of the next batch. While it is not empty, a timer runs that sends it.
    batch: Vec<Waiter>,
    /// The number of batches so far. The timer of an earlier batch sends nothing.
    number: u64,
}

struct Waiter {
    name: String,
    priority: Priority,
    result: oneshot::Sender<Result<Parameter, Error>>,
}

/// The next step after a load has joined the batch.
enum NextStep {
    /// Send the batch of this number after a window.
    StartTimer {
        number: u64,
        window: Duration,
    },
    Wait,
    Send(Vec<Waiter>),
}

impl<R> Clone for Batcher<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: ParameterReader> Batcher<R> {
    /// Creates a batcher without a call in flight.
    pub fn new(reader: R) -> Self {
        Self(Arc::new(Inner { reader, state: Mutex::default() }))
    }

    /// Returns the reader, for calls outside of batches.
    pub fn reader(&self) -> &R {
        &self.0.reader
    }

    /// Gets one parameter, with a call of its own or in a batch. `member` is the place of this load
    /// among those that start together with it.
    pub async fn get(
        &self,
        name: &str,
        priority: Priority,
        member: Option<GroupMember>,
    ) -> Result<Parameter, Error> {
        if let Some(result) = self.join_batch(name, priority, member) {
            // The sender is dropped without a result only if the batch's task panics or the
            // runtime shuts down.
            if let Ok(result) = result.await {
                return result;
            }
        }
        let _in_flight = InFlightGuard::new(self.clone());
        self.0.reader.get_one(name, priority).await
    }

    /// Adds a load to the batch. Returns `None` for a miss on its own if no call is in flight,
    /// because it then should not wait.
    fn join_batch(
        &self,
        name: &str,
        priority: Priority,
        member: Option<GroupMember>,
    ) -> Option<oneshot::Receiver<Result<Parameter, Error>>> {
        let (next_step, receiver) = {
            let mut state = self.0.state.lock();
            if state.calls == 0 && priority != Priority::Refresh && member.is_none() {
                return None;
            }
            let (result, receiver) = oneshot::channel();
            (state.join(Waiter { name: name.to_owned(), priority, result }), receiver)
        };
        let group = member.map(GroupMember::joined);
        match next_step {
            NextStep::StartTimer { number, window } => self.start_timer(number, window, group),
            NextStep::Wait => (),
            NextStep::Send(batch) => self.send(batch),
        }
        Some(receiver)
    }

    /// Sends a batch when the group of the load that starts the timer is complete, or after a window.
    fn start_timer(&self, number: u64, window: Duration, group: Option<Group>) {
        let this = self.clone();
        tokio::spawn(async move {
            match group {
                Some(group) => group.complete().await,
                None => sleep(window).await,
            }
            this.send_waiting(number);
        });
    }

    /// Sends a batch that is not full, unless it has been sent.
    fn send_waiting(&self, number: u64) {
        let batch = {
            let mut state = self.0.state.lock();
            if state.number == number { state.take_batch() } else { None }
        };
        if let Some(batch) = batch {
            self.send(batch);
        }
    }

    /// Sends a batch that [`State::take_batch`] has counted. The call has a task of its own, so a
    /// caller that stops waiting does not cancel it for the others.
    fn send(&self, batch: Vec<Waiter>) {
        let in_flight = InFlightGuard(self.clone());
        tokio::spawn(async move { in_flight.0.call(batch).await });
    }

    async fn call(&self, batch: Vec<Waiter>) {
        let priority = batch.iter().map(|waiter| waiter.priority).max();
        let priority = priority.unwrap_or(Priority::Refresh);
        // Without a cache in front, several requests may wait for one name, and AWS rejects a call
        // that holds a name twice.
        let names: BTreeSet<_> = batch.iter().map(|waiter| waiter.name.clone()).collect();
        let names: Vec<_> = names.into_iter().collect();
        let results = match names.as_slice() {
            [only] => Ok(vec![self.0.reader.get_one(only, priority).await]),
            _ => self.0.reader.get_many(&names, priority).await,
        };
        match results {
            Ok(results) => {
                let results: HashMap<_, _> = names.iter().zip(results).collect();
                for Waiter { name, result, .. } in batch {
                    // A send fails if the caller no longer waits.
                    let _ = result.send(results[&name].clone());
                }
            }
            // AWS rejects the whole call for one bad, forbidden or unreadable name, so each name
            // gets a call of its own.
            Err(
                Error::AwsAccessDenied(_) | Error::RefusedParameterName(_) | Error::AwsRefused(_),
            ) => {
                for Waiter { name, priority, result } in batch {
                    let this = self.clone();
                    tokio::spawn(async move {
                        let _ = result.send(this.0.reader.get_one(&name, priority).await);
                    });
                }
            }
            Err(error) => {
                for Waiter { result, .. } in batch {
                    let _ = result.send(Err(error.clone()));
                }
            }
        }
    }
}

impl State {
    fn join(&mut self, waiter: Waiter) -> NextStep {
        let is_refresh = waiter.priority == Priority::Refresh;
        let only_refreshes = self.batch.iter().all(|other| other.priority == Priority::Refresh);
        self.batch.push(waiter);
        let window = if is_refresh { REFRESH_WINDOW } else { BATCH_WINDOW };
        match self.batch.len() {
            MAX_BATCH => self.take_batch().map_or(NextStep::Wait, NextStep::Send),
            // The first miss among refreshes does not wait for their window.
            len if len == 1 || (only_refreshes && !is_refresh) => {
                NextStep::StartTimer { number: self.number, window }
            }
            _ => NextStep::Wait,
        }
    }

    /// Takes the batch and counts its call as in flight, so that no miss can overtake it with a
    /// call of its own.
    fn take_batch(&mut self) -> Option<Vec<Waiter>> {
        if self.batch.is_empty() {
            return None;
        }
        self.calls += 1;
        self.number += 1;
        Some(std::mem::take(&mut self.batch))
    }
}

/// Counts a call as in flight until it is dropped.
struct InFlightGuard<R>(Batcher<R>);

impl<R> InFlightGuard<R> {
    fn new(batcher: Batcher<R>) -> Self {
        batcher.0.state.lock().calls += 1;
        Self(batcher)
    }
}

impl<R> Drop for InFlightGuard<R> {
    fn drop(&mut self) {
        self.0.0.state.lock().calls -= 1;
    }
}

#[cfg(test)]
mod tests;
