//! Changes of parameters that take effect before the lifetime of an entry ends.

use std::time::Duration;

use tokio::time::{sleep, timeout};

mod queue;
mod propagation;
mod streams;
mod examples;

/// Waits until a condition holds.
async fn until(limit: Duration, what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let polls = async {
        while !reached().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(limit, polls).await.is_ok(), "it never happened: {what}");
}
