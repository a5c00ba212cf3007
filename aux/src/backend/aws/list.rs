//! The load of a list, page by page.
//!
//! Within the quota, a list of ten thousand names takes minutes. If each failure of a page discarded
//! the pages before it, such a list would never be complete, and each try would cost the whole
//! quota. So the load continues with the token of the page that failed.

use std::{
    collections::HashSet,
    error::Error as StdError,
    future::Future,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use cache::Priority;
use tokio::time::{Instant, sleep};

use super::{
    call::CallPolicy,
    errors::{refuses_page_token, repeated_page_token, too_many_pages},
    operation::Operation,
};
use crate::{error::Error, progress::ListProgress, quota::THROTTLE_PAUSE};

/// The maximum number of restarts at page one after AWS has refused a page token.
const MAX_RESTARTS: u32 = 2;

/// The pause after the first failure of a page. Each further failure of the page doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The upper bound of the pause after a failure of a page. The pauses count against the list
/// timeout, so longer ones would leave it few calls.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The upper bound of the pause after a throttled call of a page.
const LONGEST_THROTTLE_PAUSE: Duration = Duration::from_secs(30);

/// More pages than the lists of any account have: 100,000 parameters at ten on a page are 10,000
/// pages. An endpoint that returns new tokens for ever must not fill the memory.
const MAX_PAGES: usize = 100_000;

impl CallPolicy {
    /// Reads all pages of a list, however long the quota makes that take. Returns an error instead
    /// of a partial list. The caller has admitted the call for the first page.
    ///
    /// If the first page fails, its error ends the load, as for any other call: an early error
    /// serves a client better than a wait, and no page is lost. A later page that fails for a
    /// passing reason is read again, after a pause. The load ends with the page's error when AWS
    /// has spent the list timeout without returning a page. Waits for the quota and pauses after
    /// throttling are not AWS's time.
    pub(super) async fn list<T, E, P>(
        &self,
        operation: Operation,
        priority: Priority,
        progress: &ListProgress,
        page: impl Fn(Option<String>) -> P,
    ) -> Result<Vec<T>, Error>
    where
        P: Future<Output = Result<(Vec<T>, Option<String>), SdkError<E>>>,
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let mut pages = Pages::new(operation, progress);
        let mut failures = Failures::default();
        let mut restarts = 0;
        loop {
            let token_refused = AtomicBool::new(false);
            let request = async {
                page(pages.token.clone()).await.inspect_err(|error| {
                    token_refused.store(refuses_page_token(error.code()), Relaxed);
                })
            };
            let started = Instant::now();
            let result = self.send(operation, request).await;
            failures.without_page += started.elapsed();
            let error = match result {
                Ok((items, next)) => {
                    failures = Failures::default();
                    if pages.append(items, next)? {
                        return Ok(pages.items);
                    }
                    None
                }
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                let has_begun = pages.token.is_some() || restarts > 0;
                if pages.token.is_some() && token_refused.into_inner() {
                    if restarts == MAX_RESTARTS {
                        return Err(error);
                    }
                    restarts += 1;
                    pages.restart();
                } else if has_begun
                    && error.is_passing()
                    && failures.without_page < self.list_timeout()
                {
                    failures.pause_after(&error).await;
                } else {
                    return Err(error);
                }
            }
            while let Err(error) = self.await_credentials(operation).await {
                if !error.is_passing() || failures.without_page >= self.list_timeout() {
                    return Err(error);
                }
                failures.pause_after(&error).await;
            }
            self.await_quota(operation, priority).await;
        }
    }
}

/// The pages of a list that have arrived.
struct Pages<'a, T> {
    operation: Operation,
    progress: &'a ListProgress,
    items: Vec<T>,
    /// The token of the next page; absent for page one.
    token: Option<String>,
    /// The hashes of the tokens so far. A token that returns would lead in a circle without end.
    tokens: HashSet<u64>,
    hasher: RandomState,
}

impl<'a, T> Pages<'a, T> {
    fn new(operation: Operation, progress: &'a ListProgress) -> Self {
        Self {
            operation,
            progress,
            items: Vec::new(),
            token: None,
            tokens: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Appends a page and returns whether it is the last one. An empty page is not necessarily the
    /// last page.
    fn append(&mut self, items: Vec<T>, next: Option<String>) -> Result<bool, Error> {
        self.progress.add_page(items.len());
        self.items.extend(items);
        self.token = next.filter(|token| !token.is_empty());
        let Some(token) = &self.token else { return Ok(true) };
        if !self.tokens.insert(self.hasher.hash_one(token)) {
            return Err(repeated_page_token(self.operation));
        }
        if self.tokens.len() > MAX_PAGES {
            return Err(too_many_pages(self.operation));
        }
        Ok(false)
    }

    fn restart(&mut self) {
        self.items.clear();
        self.token = None;
        self.tokens.clear();
        self.progress.restart();
    }
}

/// The failures of one page.
#[derive(Default)]
struct Failures {
    /// The time that AWS has spent since the last page, and the pauses after failed calls.
    without_page: Duration,
    failed: u32,
    throttled: u32,
}

impl Failures {
    /// Pauses before the page is read again. The pause grows with each failure, so that a load that
    /// no request waits for does not burden an AWS that fails or throttles for long.
    async fn pause_after(&mut self, error: &Error) {
        let grown = |first: Duration, count: u32| first.saturating_mul(1 << count.min(16));
        if matches!(error, Error::AwsThrottled { .. }) {
            sleep(grown(THROTTLE_PAUSE, self.throttled).min(LONGEST_THROTTLE_PAUSE)).await;
            self.throttled += 1;
        } else {
            let pause = grown(FIRST_PAUSE, self.failed).min(LONGEST_PAUSE);
            sleep(pause).await;
            self.failed += 1;
            self.without_page += pause;
        }
    }
}

#[cfg(test)]
mod tests;
