//! The counts of a service in the last quarter of an hour, for `/status?history=true`.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{MissedTickBehavior, interval};

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(15);

/// The number of samples. They cover a quarter of an hour.
const SAMPLES: usize = 60;

/// The query that adds the history to `/status`.
pub const QUERY: &str = "history=true";

/// The latest samples of a service, oldest first. A sample is stored as JSON, which takes a fraction
/// of the memory of its maps. Cloning shares the samples.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<VecDeque<Box<RawValue>>>>);

impl History {
    /// Spawns the task that takes a sample now, and every 15 seconds from then on.
    pub fn start<S: Serialize>(take: impl Fn() -> S + Send + 'static) -> Self {
        let history = Self::default();
        let samples = history.clone();
        tokio::spawn(async move {
            let mut ticks = interval(INTERVAL);
            // A process that was paused must not take several samples at once.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                samples.push(&take());
            }
        });
        history
    }

    /// Returns the samples if the query of a request wants them.
    pub fn for_query(&self, query: Option<&str>) -> Option<Vec<Box<RawValue>>> {
        is_wanted(query).then(|| self.0.lock().iter().cloned().collect())
    }

    fn push(&self, sample: &impl Serialize) {
        let sample = as_json(sample);
        let mut samples = self.0.lock();
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

/// Returns a sample as the history holds it.
pub fn as_json(sample: &impl Serialize) -> Box<RawValue> {
    to_raw_value(sample).expect("a sample is maps with text as keys")
}

/// Whether the query of a request wants the history.
pub fn is_wanted(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == QUERY))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tokio::time::{advance, sleep};

    use super::*;

    fn counting() -> History {
        let taken = AtomicU64::new(0);
        History::start(move || taken.fetch_add(1, Relaxed))
    }

    fn samples(history: &History) -> Vec<u64> {
        let samples = history.for_query(Some(QUERY)).expect("the query wants them");
        samples.iter().map(|sample| sample.get().parse().expect("a number")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sample_is_taken_at_the_start_and_every_fifteen_seconds() {
        let history = counting();
        sleep(Duration::from_secs(14)).await;
        assert_eq!(samples(&history), [0]);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(samples(&history), [0, 1]);
        sleep(Duration::from_secs(15)).await;
        assert_eq!(samples(&history), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_history_holds_the_latest_quarter_of_an_hour_oldest_first() {
        let history = counting();
        sleep(Duration::from_secs(3600 + 1)).await;
        let expected: Vec<u64> = (181..=240).collect();
        assert_eq!(samples(&history), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_paused_takes_one_sample_for_the_whole_pause() {
        let history = counting();
        sleep(Duration::from_secs(1)).await;
        advance(Duration::from_secs(600)).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(samples(&history), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_query_that_wants_the_history_gets_it() {
        let history = counting();
        for query in [None, Some(""), Some("history"), Some("history=false"), Some("xhistory=true")]
        {
            assert!(history.for_query(query).is_none(), "{query:?}");
        }
        assert!(history.for_query(Some("a=b&history=true")).is_some());
    }
}
