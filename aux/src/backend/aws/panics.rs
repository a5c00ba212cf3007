//! The conversion of a panic into an error.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// The error of a future that panicked. It holds no message, because a message may quote a value.
/// The log has the location of the panic.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the AWS SDK panicked; the log has the location")]
pub(super) struct Panicked;

/// Runs a future. Returns an error if it panics, so that the failure is counted and reported like
/// any other.
pub(super) async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    // Safe to assert: the future is dropped after a panic and never polled again.
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::catch_panic;

    #[tokio::test]
    async fn a_panic_becomes_an_error_without_its_message() {
        assert_eq!(catch_panic(async { 7 }).await.ok(), Some(7));
        let panicked = catch_panic(async {
            tokio::task::yield_now().await;
            assert!(!"hush".contains("hush"), "hush");
        });
        let error = panicked.await.expect_err("it panicked");
        assert!(!format!("{error} {error:?}").contains("hush"));
    }
}
