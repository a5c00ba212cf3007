//! The state of the stream of changes, for `/readyz` and the log.

use std::{error::Error as _, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Failure;

/// The time without a stream after which it counts as lost. It is longer than the pause that
/// aux-service asks for at its drain.
const GRACE: Duration = Duration::from_secs(10);

/// A stream that has been open for this long is stable.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The least time between two warnings, so that a stream that opens and ends again and again does
/// not fill the log.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The state of the stream.
pub(crate) struct Link(Mutex<State>);

struct State {
    /// The time at which the current stream was opened; absent without one.
    opened_at: Option<Instant>,
    /// The end of the latest stable stream.
    lost_at: Instant,
    logged: Logged,
    warned_at: Option<Instant>,
}

/// The state in which the log shows the stream.
#[derive(PartialEq, Eq)]
enum Logged {
    Nothing,
    Open,
    Lost,
}

impl Link {
    /// The state before the first stream.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            opened_at: None,
            lost_at: Instant::now(),
            logged: Logged::Nothing,
            warned_at: None,
        }))
    }

    /// Notes that a stream is open.
    pub(super) fn opened(&self) {
        let mut state = self.0.lock();
        state.opened_at.get_or_insert_with(Instant::now);
        if state.logged != Logged::Open {
            state.logged = Logged::Open;
            tracing::info!("the stream of changes is open");
        }
    }

    /// Notes the end of a stream, or of the attempt to open one. Returns whether a stream was stable.
    pub(super) fn closed(&self, failure: Option<&Failure>) -> bool {
        let mut state = self.0.lock();
        let now = Instant::now();
        let was_stable =
            state.opened_at.take().is_some_and(|opened_at| now - opened_at >= STABLE_AFTER);
        if was_stable {
            state.lost_at = now;
        }
        if let Some(failure) = failure
            && (failure.is_refusal() || now - state.lost_at > GRACE)
            && state.logged != Logged::Lost
            && state.warned_at.is_none_or(|warned_at| now - warned_at > WARNING_INTERVAL)
        {
            state.logged = Logged::Lost;
            state.warned_at = Some(now);
            let cause = failure.source().map(ToString::to_string);
            tracing::warn!(
                %failure,
                cause,
                "the stream of changes is lost; cached values last for their lifetimes until it is open again"
            );
        }
        was_stable
    }

    /// Whether there has been no stream for longer than a moment.
    pub(crate) fn is_degraded(&self) -> bool {
        let state = self.0.lock();
        state.opened_at.is_none() && state.lost_at.elapsed() > GRACE
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn logged(link: &Link) -> &'static str {
        match link.0.lock().logged {
            Logged::Nothing => "nothing",
            Logged::Open => "open",
            Logged::Lost => "lost",
        }
    }

    fn fail(link: &Link) {
        link.closed(Some(&Failure::NoStream));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_lost_for_a_moment_is_not_degraded() {
        let link = Link::new();
        assert!(!link.is_degraded(), "the start takes a moment");
        link.opened();
        advance(60 * SECOND).await;
        assert!(!link.is_degraded());
        assert!(link.closed(None), "it was stable");
        advance(GRACE).await;
        fail(&link);
        assert_eq!((link.is_degraded(), logged(&link)), (false, "open"));
        advance(SECOND).await;
        fail(&link);
        assert_eq!((link.is_degraded(), logged(&link)), (true, "lost"));
        link.opened();
        assert_eq!((link.is_degraded(), logged(&link)), (false, "open"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_logged_at_once() {
        let link = Link::new();
        link.closed(Some(&Failure::Refused(StatusCode::NOT_FOUND)));
        assert_eq!(logged(&link), "lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_again_and_again_is_degraded_and_logged_once_a_minute() {
        let link = Link::new();
        let (mut warnings, mut previous) = (0, "nothing");
        for _ in 0..100 {
            link.opened();
            assert!(!link.closed(Some(&Failure::NoStream)));
            warnings += usize::from(logged(&link) == "lost" && previous != "lost");
            previous = logged(&link);
            advance(3 * SECOND).await;
        }
        assert!(link.is_degraded());
        assert!((4..=5).contains(&warnings), "{warnings} warnings in five minutes");
    }
}
