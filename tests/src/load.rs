//! Load at a fixed rate.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// Sends requests at a fixed rate, whether or not earlier ones have a response, as clients do.
///
/// A client that waits for each response would send less while responses are slow, and so hide a
/// part of an outage. Returns the results in the order of the responses, when `is_over` is true and
/// all requests have ended. The requests are dropped with the returned future.
pub async fn at_rate<F>(
    between: Duration,
    is_over: impl Fn() -> bool,
    mut send: impl FnMut() -> F,
) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut ticks = interval(between);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut requests, mut results) = (JoinSet::new(), Vec::new());
    while !is_over() {
        ticks.tick().await;
        requests.spawn(send());
        while let Some(result) = requests.try_join_next() {
            results.push(result.expect("a request does not panic"));
        }
    }
    results.extend(requests.join_all().await);
    results
}
