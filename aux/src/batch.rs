//! Misses that come together go to AWS together: `GetParameters` takes ten names and counts once
//! against the quota.
//!
//! A miss that comes alone goes at once, alone. While a call is under way, further misses wait a
//! few milliseconds for company.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use shared::cache::Urgency;
use tokio::{sync::oneshot, time::sleep};

use crate::{error::Error, inventory::Parameter};

/// The most names that `GetParameters` takes.
pub const LARGEST: usize = 10;

/// How long a miss waits for company, at most. A call to AWS takes several times as long.
const WINDOW: Duration = Duration::from_millis(3);

/// Who can be asked for one parameter, and for several at once.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    async fn one(&self, name: &str, urgency: Urgency) -> Result<Parameter, Error>;

    /// As many outcomes as names, in their order; no name comes twice. The outer error is that of the call as a whole.
    async fn several(
        &self,
        names: &[String],
        urgency: Urgency,
    ) -> Result<Vec<Result<Parameter, Error>>, Error>;
}

/// Cloning is shallow.
pub struct Batcher<S>(Arc<Shared<S>>);

struct Shared<S> {
    source: S,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Calls under way.
    calls: usize,
    /// Those who wait for company. While there are any, a timer runs.
    waiting: Vec<Waiting>,
}

struct Waiting {
    name: String,
    urgency: Urgency,
    answer: oneshot::Sender<Result<Parameter, Error>>,
}

impl<S> Clone for Batcher<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Source> Batcher<S> {
    pub fn new(source: S) -> Self {
        Self(Arc::new(Shared { source, state: Mutex::default() }))
    }

    pub fn source(&self) -> &S {
        &self.0.source
    }

    /// One parameter, by a call of its own or together with others.
    pub async fn get(&self, name: &str, urgency: Urgency) -> Result<Parameter, Error> {
        if let Some(answer) = self.wait_for_company(name, urgency) {
            // Without an answer, the task that asked has panicked, or the runtime ends.
            if let Ok(outcome) = answer.await {
                return outcome;
            }
        }
        let _call = UnderWay::new(self.clone());
        self.0.source.one(name, urgency).await
    }

    /// Joins those who wait, unless no call is under way: then there is nothing to wait for.
    fn wait_for_company(
        &self,
        name: &str,
        urgency: Urgency,
    ) -> Option<oneshot::Receiver<Result<Parameter, Error>>> {
        let mut state = self.0.state.lock();
        if state.calls == 0 {
            return None;
        }
        let (answer, received) = oneshot::channel();
        state.waiting.push(Waiting { name: name.to_owned(), urgency, answer });
        match state.waiting.len() {
            1 => self.start_timer(),
            LARGEST => self.send(std::mem::take(&mut state.waiting), &mut state.calls),
            _ => (),
        }
        Some(received)
    }

    fn start_timer(&self) {
        let this = self.clone();
        tokio::spawn(async move {
            sleep(WINDOW).await;
            let state = &mut *this.0.state.lock();
            this.send(std::mem::take(&mut state.waiting), &mut state.calls);
        });
    }

    /// Sends those who waited, in a task of its own: nobody may take the call away by leaving.
    fn send(&self, batch: Vec<Waiting>, calls: &mut usize) {
        if batch.is_empty() {
            return;
        }
        *calls += 1;
        let call = UnderWay(self.clone());
        tokio::spawn(async move { call.0.ask(batch).await });
    }

    async fn ask(&self, batch: Vec<Waiting>) {
        let urgency = batch.iter().map(|waiting| waiting.urgency).max();
        let urgency = urgency.unwrap_or(Urgency::Refresh);
        // Without a cache in front, one name may be waited for by many, and AWS takes it but once.
        let names: BTreeSet<_> = batch.iter().map(|waiting| waiting.name.clone()).collect();
        let names: Vec<_> = names.into_iter().collect();
        let outcomes = match names.as_slice() {
            [only] => Ok(vec![self.0.source.one(only, urgency).await]),
            _ => self.0.source.several(&names, urgency).await,
        };
        match outcomes {
            Ok(outcomes) => {
                let outcomes: HashMap<_, _> = names.iter().zip(outcomes).collect();
                for Waiting { name, answer, .. } in batch {
                    // One who left is not there to be told.
                    let _ = answer.send(outcomes[&name].clone());
                }
            }
            // One bad or forbidden name spoils the whole call, so each is asked for by itself.
            Err(Error::AwsAccessDenied(_) | Error::RefusedParameterName(_)) => {
                for Waiting { name, urgency, answer } in batch {
                    let this = self.clone();
                    tokio::spawn(async move {
                        let _ = answer.send(this.0.source.one(&name, urgency).await);
                    });
                }
            }
            Err(error) => {
                for Waiting { answer, .. } in batch {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Counts a call for as long as it is under way, however it ends.
struct UnderWay<S>(Batcher<S>);

impl<S> UnderWay<S> {
    fn new(batcher: Batcher<S>) -> Self {
        batcher.0.state.lock().calls += 1;
        Self(batcher)
    }
}

impl<S> Drop for UnderWay<S> {
    fn drop(&mut self) {
        self.0.0.state.lock().calls -= 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use zeroize::Zeroizing;

    use super::*;

    const LATENCY: Duration = Duration::from_millis(20);

    /// Knows every name except those that begin with `no`; denies a batch that holds `forbidden`.
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
            }),
        }
    }

    #[async_trait]
    impl Source for Recorder {
        async fn one(&self, name: &str, _: Urgency) -> Result<Parameter, Error> {
            self.0.lock().push(1);
            sleep(LATENCY).await;
            find(name)
        }

        async fn several(
            &self,
            names: &[String],
            _: Urgency,
        ) -> Result<Vec<Result<Parameter, Error>>, Error> {
            self.0.lock().push(names.len());
            sleep(LATENCY).await;
            assert!(names.len() <= LARGEST);
            let mut once = names.to_vec();
            once.dedup();
            assert_eq!(once, names, "AWS refuses a name that comes twice");
            if names.iter().any(|name| name == "forbidden") {
                return find("forbidden").map(|_| Vec::new());
            }
            Ok(names.iter().map(|name| find(name)).collect())
        }
    }

    async fn ask(names: &[&str]) -> (Vec<Result<Parameter, Error>>, Vec<usize>) {
        let batcher = Batcher::new(Recorder::default());
        let asked: Vec<_> = names
            .iter()
            .map(|name| {
                let (batcher, name) = (batcher.clone(), (*name).to_owned());
                tokio::spawn(async move { batcher.get(&name, Urgency::Miss).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in asked {
            outcomes.push(task.await.expect("no panic"));
        }
        let calls = batcher.source().0.lock().clone();
        (outcomes, calls)
    }

    #[tokio::test(start_paused = true)]
    async fn a_miss_that_comes_alone_goes_alone_and_at_once() {
        let start = Instant::now();
        let (outcomes, calls) = ask(&["a"]).await;
        assert!(outcomes[0].is_ok());
        assert_eq!(calls, [1]);
        assert_eq!(start.elapsed(), LATENCY);
    }

    #[tokio::test(start_paused = true)]
    async fn misses_that_come_together_go_together_ten_at_a_time() {
        let names: Vec<_> = (0..26).map(|number| format!("parameter-{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let (outcomes, calls) = ask(&names).await;
        assert_eq!(calls, [1, 10, 10, 5]);
        for (name, outcome) in names.iter().zip(outcomes) {
            assert_eq!(outcome.expect("known").value.as_str(), format!("value of {name}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_name_of_a_batch_has_its_own_outcome() {
        let (outcomes, calls) = ask(&["a", "b", "no-such", "c"]).await;
        assert_eq!(calls, [1, 3]);
        assert!(matches!(outcomes[2], Err(Error::ParameterNotFound)));
        assert!(outcomes[1].is_ok() && outcomes[3].is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_many_wait_for_is_asked_for_once() {
        let (outcomes, calls) = ask(&["a", "b", "c", "b", "c", "b"]).await;
        assert_eq!(calls, [1, 2]);
        assert!(outcomes.iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_denied_is_asked_for_one_by_one() {
        let (outcomes, calls) = ask(&["a", "b", "forbidden", "c"]).await;
        assert_eq!(calls, [1, 3, 1, 1, 1]);
        assert!(matches!(outcomes[2], Err(Error::AwsAccessDenied(_))));
        assert!(outcomes[1].is_ok() && outcomes[3].is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_leaves_does_not_take_the_batch_away() {
        let batcher = Batcher::new(Recorder::default());
        let first = batcher.get("a", Urgency::Miss);
        let leaving = batcher.get("b", Urgency::Miss);
        let staying = batcher.get("c", Urgency::Miss);
        let (_, left, stayed) =
            tokio::join!(first, tokio::time::timeout(Duration::from_millis(1), leaving), staying);
        assert!(left.is_err(), "it left before the batch was sent");
        assert_eq!(stayed.expect("known").name, "c");
    }
}
