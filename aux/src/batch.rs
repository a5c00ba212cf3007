//! A batch combines concurrent misses: `GetParameters` takes ten names in one call, and costs one
//! token of the quota.
//!
//! While no call is in flight, a miss starts its own call at once. While a call is in flight, a
//! miss joins a batch, which is sent after a few milliseconds or when it is full. A refresh always
//! joins a batch, because no request waits for it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use cache::Priority;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::sleep};

use crate::{error::Error, parameter::Parameter};

/// The largest number of names that `GetParameters` accepts.
pub const MAX_BATCH: usize = 10;

/// The longest time that a miss waits in a batch. A call to AWS takes several times as long.
const BATCH_WINDOW: Duration = Duration::from_millis(3);

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
    /// The misses of the next batch. While it is not empty, a timer runs that sends it.
    batch: Vec<Waiter>,
}

struct Waiter {
    name: String,
    priority: Priority,
    result: oneshot::Sender<Result<Parameter, Error>>,
}

/// The next step after a miss has joined the batch.
enum NextStep {
    StartTimer,
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

    /// Gets one parameter, with a call of its own or in a batch.
    pub async fn get(&self, name: &str, priority: Priority) -> Result<Parameter, Error> {
        if let Some(result) = self.join_batch(name, priority) {
            // The sender is dropped without a result only if the batch's task panics or the
            // runtime shuts down.
            if let Ok(result) = result.await {
                return result;
            }
        }
        let _in_flight = InFlightGuard::new(self.clone());
        self.0.reader.get_one(name, priority).await
    }

    /// Adds a load to the batch. Returns `None` for a miss if no call is in flight, because it then
    /// should not wait.
    fn join_batch(
        &self,
        name: &str,
        priority: Priority,
    ) -> Option<oneshot::Receiver<Result<Parameter, Error>>> {
        let (next_step, receiver) = {
            let mut state = self.0.state.lock();
            if state.calls == 0 && priority != Priority::Refresh {
                return None;
            }
            let (result, receiver) = oneshot::channel();
            (state.join(Waiter { name: name.to_owned(), priority, result }), receiver)
        };
        match next_step {
            NextStep::StartTimer => self.start_timer(),
            NextStep::Wait => (),
            NextStep::Send(batch) => self.send(batch),
        }
        Some(receiver)
    }

    fn start_timer(&self) {
        let this = self.clone();
        tokio::spawn(async move {
            sleep(BATCH_WINDOW).await;
            this.send_waiting();
        });
    }

    /// Sends the batch before it is full.
    fn send_waiting(&self) {
        let batch = self.0.state.lock().take_batch();
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
        self.batch.push(waiter);
        match self.batch.len() {
            1 => NextStep::StartTimer,
            MAX_BATCH => self.take_batch().map_or(NextStep::Wait, NextStep::Send),
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
mod tests {
    use tokio::time::Instant;
    use zeroize::Zeroizing;

    use super::*;
    use crate::parameter::Details;

    const LATENCY: Duration = Duration::from_millis(20);

    /// Finds every name except those that begin with `no`; denies a batch that holds `forbidden`.
    /// Records the number of names of each call.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<usize>>);

    fn find(name: &str) -> Result<Parameter, Error> {
        match name {
            "forbidden" => Err(Error::AwsAccessDenied(Arc::new(std::io::Error::other("denied")))),
            _ if name.starts_with("no") => Err(Error::ParameterNotFound),
            _ => Ok(Parameter {
                name: name.to_owned(),
                value: Zeroizing::new(format!("value of {name}")),
                secure: false,
                details: Details::default(),
            }),
        }
    }

    #[async_trait]
    impl ParameterReader for Recorder {
        async fn get_one(&self, name: &str, _: Priority) -> Result<Parameter, Error> {
            self.0.lock().push(1);
            sleep(LATENCY).await;
            find(name)
        }

        async fn get_many(
            &self,
            names: &[String],
            _: Priority,
        ) -> Result<Vec<Result<Parameter, Error>>, Error> {
            self.0.lock().push(names.len());
            sleep(LATENCY).await;
            assert!(names.len() <= MAX_BATCH);
            let mut once = names.to_vec();
            once.dedup();
            assert_eq!(once, names, "AWS rejects a call that holds a name twice");
            if names.iter().any(|name| name == "forbidden") {
                return find("forbidden").map(|_| Vec::new());
            }
            Ok(names.iter().map(|name| find(name)).collect())
        }
    }

    /// Gets all names at once. Returns the results, and the number of names of each call.
    async fn get_all(names: &[&str]) -> (Vec<Result<Parameter, Error>>, Vec<usize>) {
        let batcher = Batcher::new(Recorder::default());
        let tasks: Vec<_> = names
            .iter()
            .map(|name| {
                let (batcher, name) = (batcher.clone(), (*name).to_owned());
                tokio::spawn(async move { batcher.get(&name, Priority::Miss).await })
            })
            .collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.expect("no panic"));
        }
        let calls = batcher.reader().0.lock().clone();
        (results, calls)
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_miss_is_sent_at_once() {
        let start = Instant::now();
        let (results, calls) = get_all(&["a"]).await;
        assert!(results[0].is_ok());
        assert_eq!(calls, [1]);
        assert_eq!(start.elapsed(), LATENCY);
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_misses_share_calls_of_up_to_ten_names() {
        let names: Vec<_> = (0..26).map(|number| format!("parameter-{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let (results, calls) = get_all(&names).await;
        assert_eq!(calls, [1, 10, 10, 5]);
        for (name, result) in names.iter().zip(results) {
            assert_eq!(result.expect("known").value.as_str(), format!("value of {name}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refreshes_share_one_call() {
        let batcher = Batcher::new(Recorder::default());
        let (a, b) =
            tokio::join!(batcher.get("a", Priority::Refresh), batcher.get("b", Priority::Refresh));
        assert!(a.is_ok() && b.is_ok());
        assert_eq!(*batcher.reader().0.lock(), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_name_of_a_batch_has_its_own_result() {
        let (results, calls) = get_all(&["a", "b", "no-such", "c"]).await;
        assert_eq!(calls, [1, 3]);
        assert!(matches!(results[2], Err(Error::ParameterNotFound)));
        assert!(results[1].is_ok() && results[3].is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_holds_each_name_once() {
        let (results, calls) = get_all(&["a", "b", "c", "b", "c", "b"]).await;
        assert_eq!(calls, [1, 2]);
        assert!(results.iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn the_names_of_a_denied_batch_are_retried_one_by_one() {
        let (results, calls) = get_all(&["a", "b", "forbidden", "c"]).await;
        assert_eq!(calls, [1, 3, 1, 1, 1]);
        assert!(matches!(results[2], Err(Error::AwsAccessDenied(_))));
        assert!(results[1].is_ok() && results[3].is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_stops_waiting_does_not_cancel_the_batch() {
        let batcher = Batcher::new(Recorder::default());
        let first = batcher.get("a", Priority::Miss);
        let cancelled = batcher.get("b", Priority::Miss);
        let remaining = batcher.get("c", Priority::Miss);
        let cancelled = tokio::time::timeout(Duration::from_millis(1), cancelled);
        let (_, timed_out, received) = tokio::join!(first, cancelled, remaining);
        assert!(timed_out.is_err(), "the caller stopped waiting before the batch was sent");
        assert_eq!(received.expect("known").name, "c");
    }

    /// Runs a check in the context of a runtime that has shut down, with one call in flight. Such a
    /// runtime drops the future of `tokio::spawn` at once, in the thread that spawns.
    fn after_shutdown(check: fn(&Batcher<Recorder>)) {
        let (finished, finish) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let handle = runtime.handle().clone();
            drop(runtime);
            let _context = handle.enter();
            let batcher = Batcher::new(Recorder::default());
            let _in_flight = InFlightGuard::new(batcher.clone());
            check(&batcher);
            assert_eq!(batcher.0.state.lock().calls, 1, "a dropped call is not in flight");
            finished.send(()).expect("the test is waiting");
        });
        finish.recv_timeout(Duration::from_secs(20)).expect("the lock is free");
    }

    #[test]
    fn a_full_batch_in_a_runtime_that_shuts_down_does_not_block() {
        after_shutdown(|batcher| {
            let join = |number: usize| batcher.join_batch(&number.to_string(), Priority::Miss);
            let results: Vec<_> = (0..MAX_BATCH).map(join).collect();
            let dropped = |result: oneshot::Receiver<_>| result.blocking_recv().is_err();
            assert!(results.into_iter().all(|result| result.is_some_and(dropped)));
        });
    }

    #[test]
    fn a_timer_in_a_runtime_that_shuts_down_does_not_block() {
        after_shutdown(|batcher| {
            let result = batcher.join_batch("a", Priority::Miss).expect("a call is in flight");
            batcher.send_waiting();
            assert!(result.blocking_recv().is_err());
        });
    }
}
