//! Retries: which outcomes, how long to wait first, and how many at most.
//!
//! reqwest-retry runs the loop. It knows no budget, no `Retry-After` and no deadline,
//! so [`Retry`] gives it a policy for each call that knows them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use http::{Extensions, Method};
use metrics::{counter, describe_counter};
use parking_lot::Mutex;
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next, Result};
use reqwest_retry::{
    Jitter, RetryDecision, RetryPolicy, RetryTransientMiddleware, Retryable, RetryableStrategy,
    policies::ExponentialBackoff,
};
use tokio::time::Instant;

use crate::{
    attempt::{Call, Failure},
    window::Window,
};

/// No pause between two attempts grows beyond this, `Retry-After` aside.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// How often, how soon, and how much in all.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Attempts for one call, the first included.
    pub max_attempts: u32,
    /// The first pause is drawn from nothing to this; the range doubles with each retry.
    pub backoff: Duration,
    /// The share of the calls that may be retried.
    pub budget: f64,
}

/// The layer that retries; one a process, since the budget is.
pub struct Retry {
    backoff: ExponentialBackoff,
    budget: Arc<Budget>,
}

impl Retry {
    /// A full budget.
    pub fn new(settings: &Settings) -> Self {
        Self {
            backoff: ExponentialBackoff::builder()
                .retry_bounds(settings.backoff, LONGEST_BACKOFF.max(settings.backoff))
                .jitter(Jitter::Full)
                .base(2)
                .build_with_max_retries(settings.max_attempts - 1),
            budget: Arc::new(Budget::new(settings.budget)),
        }
    }
}

#[async_trait::async_trait]
impl Middleware for Retry {
    async fn handle(&self, req: Request, ext: &mut Extensions, next: Next<'_>) -> Result<Response> {
        if req.method() != Method::GET {
            return next.run(req, ext).await;
        }
        let progress = Arc::new(Progress {
            call: *Call::of(ext),
            backoff: self.backoff,
            budget: Arc::clone(&self.budget),
            counted: AtomicBool::new(false),
            retrying: AtomicBool::new(false),
            retry_after: Mutex::new(None),
        });
        RetryTransientMiddleware::new_with_policy_and_strategy(
            Policy(Arc::clone(&progress)),
            Classifier(progress),
        )
        .handle(req, ext, next)
        .await
    }
}

/// One call on its way: what the classifier learns from an outcome and the policy needs to know.
struct Progress {
    call: Call,
    backoff: ExponentialBackoff,
    budget: Arc<Budget>,
    /// The budget knows of this call.
    counted: AtomicBool,
    /// The attempt under way is a retry.
    retrying: AtomicBool,
    /// What the last outcome asked for.
    retry_after: Mutex<Option<Duration>>,
}

impl Progress {
    fn count(&self, outcome: &'static str) {
        retries(self.call.route, outcome).increment(1);
    }
}

/// A retry that was cut off by the deadline or by a caller that left did not succeed.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.retrying.load(Relaxed) {
            self.count("failure");
        }
    }
}

/// Every outcome of `upstream_retries_total`.
const OUTCOMES: [&str; 3] = ["success", "failure", "budget_exhausted"];

const RETRIES_TOTAL: &str = "upstream_retries_total";

fn retries(route: &'static str, outcome: &'static str) -> metrics::Counter {
    counter!(RETRIES_TOTAL, "route" => route, "outcome" => outcome)
}

/// Gives each series a start, so that a route's first retry shows as an increase.
pub(crate) fn describe(routes: &[&'static str]) {
    describe_counter!(
        RETRIES_TOTAL,
        "Retries by what they came to, and those that the budget forbade"
    );
    for route in routes {
        for outcome in OUTCOMES {
            retries(route, outcome).absolute(0);
        }
    }
}

/// Which outcomes are worth another attempt.
struct Classifier(Arc<Progress>);

impl RetryableStrategy for Classifier {
    fn handle(&self, outcome: &Result<Response>) -> Option<Retryable> {
        let failure = outcome.as_ref().err().map(Failure::of);
        // A call that the breaker refused cost the upstream nothing, and so it earns no retry
        // either.
        let refused = matches!(failure, Some(Some(Failure::Refused(_))));
        if !refused && !self.0.counted.swap(true, Relaxed) {
            self.0.budget.call();
        }
        let retryable = failure.map(|failure| failure.is_some_and(Failure::is_retryable));
        if self.0.retrying.swap(false, Relaxed) {
            let answered = failure.is_none_or(|failure| failure.is_some_and(Failure::is_answer));
            self.0.count(if answered { "success" } else { "failure" });
        }
        *self.0.retry_after.lock() = failure.flatten().and_then(Failure::retry_after);
        retryable.map(|yes| if yes { Retryable::Transient } else { Retryable::Fatal })
    }
}

/// Whether there is another attempt, and when.
struct Policy(Arc<Progress>);

impl RetryPolicy for Policy {
    fn should_retry(&self, started: SystemTime, retries: u32) -> RetryDecision {
        let RetryDecision::Retry { execute_after } = self.0.backoff.should_retry(started, retries)
        else {
            return RetryDecision::DoNotRetry;
        };
        let now = SystemTime::now();
        let backoff = execute_after.duration_since(now).unwrap_or_default();
        let pause = self.0.retry_after.lock().map_or(backoff, |asked| asked.max(backoff));
        // Nobody would be there for the outcome, so the caller hears of the failure now.
        if pause >= self.0.call.deadline.saturating_duration_since(Instant::now()) {
            return RetryDecision::DoNotRetry;
        }
        if !self.0.budget.withdraw() {
            self.0.count("budget_exhausted");
            return RetryDecision::DoNotRetry;
        }
        self.0.retrying.store(true, Relaxed);
        RetryDecision::Retry { execute_after: now + pause }
    }
}

/// The retries that a process may make: within any ten seconds at most `share` of the calls of
/// these seconds, plus three a second, so that a service with little traffic has some at all.
///
/// A window rather than a bucket of tokens, because the share is then exact,
/// and a long quiet time saves up nothing for the outage that follows it.
pub struct Budget {
    share: f64,
    spent: Mutex<Window<2>>,
}

const CALLS: usize = 0;
const RETRIES: usize = 1;

/// The time over which the share is taken.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// What the window allows on top of the share: three a second.
const RESERVE: f64 = 30.0;

impl Budget {
    /// A full budget. The share lies between 0 and 1.
    pub fn new(share: f64) -> Self {
        Self { share, spent: Mutex::new(Window::new(BUDGET_WINDOW)) }
    }

    /// Counts a call, which earns its share of a retry.
    pub fn call(&self) {
        self.spent.lock().add(Instant::now(), CALLS);
    }

    /// Takes one retry, if there is one left.
    pub fn withdraw(&self) -> bool {
        let now = Instant::now();
        let mut spent = self.spent.lock();
        let sums = spent.sums(now);
        let allowed = (sums[RETRIES] + 1) as f64 <= self.share * sums[CALLS] as f64 + RESERVE;
        if allowed {
            spent.add(now, RETRIES);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use http::StatusCode;
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
    use proptest::prelude::*;
    use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error};
    use shared::problem::Problem;
    use tokio::time::advance;

    use super::*;
    use crate::breaker::Refused;

    const ROUTE: &str = "/buckets";
    const DEADLINE: Duration = Duration::from_secs(10);
    const BACKOFF: Duration = Duration::from_millis(50);

    fn settings() -> Settings {
        Settings { max_attempts: 3, backoff: BACKOFF, budget: 0.2 }
    }

    type Outcome = std::result::Result<(), Failure>;

    /// Stands where breaker, timeout and HTTP stand: answers from a script, without a network.
    struct Script<F> {
        attempts: Arc<AtomicUsize>,
        outcome: F,
    }

    #[async_trait::async_trait]
    impl<F: Fn(usize) -> Outcome + Send + Sync + 'static> Middleware for Script<F> {
        async fn handle(&self, _: Request, _: &mut Extensions, _: Next<'_>) -> Result<Response> {
            let attempt = self.attempts.fetch_add(1, Relaxed) + 1;
            (self.outcome)(attempt).map_err(Error::middleware)?;
            Ok(http::Response::new(Bytes::new()).into())
        }
    }

    struct Client {
        http: ClientWithMiddleware,
        attempts: Arc<AtomicUsize>,
    }

    /// The outcome is that of the nth attempt, from one.
    fn client(
        settings: &Settings,
        outcome: impl Fn(usize) -> Outcome + Send + Sync + 'static,
    ) -> Client {
        let attempts = Arc::new(AtomicUsize::new(0));
        let http = ClientBuilder::new(reqwest::Client::new())
            .with(Retry::new(settings))
            .with(Script { attempts: Arc::clone(&attempts), outcome })
            .build();
        Client { http, attempts }
    }

    impl Client {
        async fn send(&self, method: Method) -> Result<Response> {
            let deadline = Instant::now() + DEADLINE;
            let call = Call { route: ROUTE, deadline, aggregate: |_, _| None };
            self.http.request(method, "http://aux-service/").with_extension(call).send().await
        }

        async fn get(&self) -> Result<Response> {
            self.send(Method::GET).await
        }

        fn attempts(&self) -> usize {
            self.attempts.load(Relaxed)
        }
    }

    fn timed_out() -> Failure {
        Failure::TimedOut(Duration::from_secs(4))
    }

    fn nonsense(status: StatusCode) -> Failure {
        Failure::Nonsense { status, what: "nonsense" }
    }

    fn problem(status: StatusCode) -> Problem {
        Problem::new(status, "aws-throttled", "a title", "a detail")
    }

    fn answered(problem: Problem) -> Failure {
        Failure::Problem(Box::new(problem))
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_succeed_a_moment_later_is_tried_again() {
        let failures: [fn() -> Failure; 4] = [
            timed_out,
            || nonsense(StatusCode::SERVICE_UNAVAILABLE),
            || answered(problem(StatusCode::SERVICE_UNAVAILABLE).retryable()),
            || answered(problem(StatusCode::GATEWAY_TIMEOUT).retryable()),
        ];
        for failure in failures {
            let client = client(&settings(), move |attempt| match attempt {
                1 | 2 => Err(failure()),
                _ => Ok(()),
            });
            assert!(client.get().await.is_ok(), "{:?}", failure());
            assert_eq!(client.attempts(), 3, "{:?}", failure());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_would_fail_again_is_not_tried_again() {
        let failures: [fn() -> Failure; 6] = [
            || Failure::Refused(Refused { retry_after: Duration::from_secs(5) }),
            || nonsense(StatusCode::OK),
            || nonsense(StatusCode::NOT_FOUND),
            || answered(problem(StatusCode::BAD_GATEWAY)),
            || answered(problem(StatusCode::NOT_FOUND)),
            || answered(problem(StatusCode::INTERNAL_SERVER_ERROR).retryable()),
        ];
        for failure in failures {
            let client = client(&settings(), move |_| Err(failure()));
            assert!(client.get().await.is_err());
            assert_eq!(client.attempts(), 1, "{:?}", failure());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_get_is_tried_again() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::HEAD] {
            let client = client(&settings(), |_| Err(timed_out()));
            assert!(client.send(method).await.is_err());
            assert_eq!(client.attempts(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_attempts_are_limited_and_the_last_failure_is_told() {
        let client = client(&settings(), |attempt| {
            Err(Failure::TimedOut(Duration::from_secs(attempt as u64)))
        });
        let error = client.get().await.expect_err("every attempt fails");
        assert_eq!(client.attempts(), 3);
        let Some(Failure::TimedOut(after)) = Failure::of(&error) else { panic!("{error:?}") };
        assert_eq!(*after, Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn one_attempt_means_no_retry() {
        let client = client(&Settings { max_attempts: 1, ..settings() }, |_| Err(timed_out()));
        assert!(client.get().await.is_err());
        assert_eq!(client.attempts(), 1);
    }

    /// A process that retries in step with its replicas knocks a recovering upstream down again.
    #[tokio::test(start_paused = true)]
    async fn the_pause_is_drawn_from_nothing_to_a_bound_that_doubles() {
        let mut pauses = Vec::new();
        for _ in 0..200 {
            let client = client(&settings(), |_| Err(timed_out()));
            let started = Instant::now();
            assert!(client.get().await.is_err());
            pauses.push(started.elapsed());
        }
        // 50 ms and 100 ms at the most; tokio's timers round up to a millisecond each.
        let longest = 3 * BACKOFF + Duration::from_millis(2);
        pauses.sort();
        let (least, most) = (pauses[0], pauses[199]);
        assert!(most <= longest, "{most:?}");
        assert!(most > 2 * BACKOFF && least < BACKOFF, "{least:?} to {most:?}");
    }

    fn busy(pause: u64) -> Failure {
        answered(problem(StatusCode::SERVICE_UNAVAILABLE).retry_after(Duration::from_secs(pause)))
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_kept() {
        let client =
            client(&settings(), |attempt| if attempt == 1 { Err(busy(3)) } else { Ok(()) });
        let started = Instant::now();
        assert!(client.get().await.is_ok());
        let elapsed = started.elapsed();
        // reqwest-retry reckons with the wall clock, which does not stand still between two
        // readings.
        assert!(
            (Duration::from_millis(2990)..=Duration::from_millis(3010)).contains(&elapsed),
            "{elapsed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_counts_for_the_next_attempt_only() {
        let client = client(&settings(), |attempt| match attempt {
            1 => Err(busy(3)),
            2 => Err(timed_out()),
            _ => Ok(()),
        });
        let started = Instant::now();
        assert!(client.get().await.is_ok());
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_outlasts_the_deadline_is_not_begun() {
        let client = client(&settings(), |_| Err(busy(10)));
        let started = Instant::now();
        let error = client.get().await.expect_err("no second attempt");
        assert_eq!((client.attempts(), started.elapsed()), (1, Duration::ZERO));
        assert!(matches!(Failure::of(&error), Some(Failure::Problem(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_total_outage_is_retried_within_the_budget() {
        for share in [0.0, 0.2, 0.3, 0.7, 1.0] {
            let client = client(&Settings { budget: share, ..settings() }, |_| Err(timed_out()));
            let began = Instant::now();
            for _ in 0..1000 {
                assert!(client.get().await.is_err());
            }
            let attempts = client.attempts() as f64;
            let least = 1000.0 * (1.0 + share);
            assert!(
                (least..=least + reserve_of(began)).contains(&attempts),
                "{attempts} for {share}"
            );
        }
    }

    /// What the budget may have granted on top of the share: its window covers nine of its ten
    /// seconds at least.
    fn reserve_of(began: Instant) -> f64 {
        RESERVE * ((began.elapsed().as_secs_f64() / 9.0).floor() + 1.0)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_the_breaker_refuses_earn_no_retries() {
        let refused = || Failure::Refused(Refused { retry_after: Duration::from_secs(5) });
        let client = client(&settings(), move |attempt| {
            Err(if attempt <= 1000 { refused() } else { timed_out() })
        });
        for _ in 0..1000 {
            assert!(client.get().await.is_err());
        }
        for _ in 0..100 {
            assert!(client.get().await.is_err());
        }
        let retries = client.attempts() - 1100;
        assert!((50..=51).contains(&retries), "30 in reserve and 20 of 100: {retries}");
    }

    fn recorded() -> (impl Sized, PrometheusHandle) {
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let scrape = recorder.handle();
        (metrics::set_default_local_recorder(recorder), scrape)
    }

    fn count(scrape: &PrometheusHandle, outcome: &str) -> u64 {
        let sample = format!("upstream_retries_total{{route=\"{ROUTE}\",outcome=\"{outcome}\"}} ");
        let text = scrape.render();
        let line = text.lines().find_map(|line| line.strip_prefix(&sample));
        line.expect("every outcome has its series").parse().expect("a number")
    }

    #[tokio::test(start_paused = true)]
    async fn each_retry_is_counted_by_what_it_came_to() {
        let (_guard, scrape) = recorded();
        describe(&[ROUTE]);
        let client = client(&settings(), |attempt| match attempt {
            1 | 2 => Err(timed_out()),
            _ => Ok(()),
        });
        assert!(client.get().await.is_ok());
        let counts = OUTCOMES.map(|outcome| count(&scrape, outcome));
        assert_eq!(counts, [1, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_the_budget_forbids_is_counted() {
        let (_guard, scrape) = recorded();
        describe(&[ROUTE]);
        let client = client(&Settings { budget: 0.0, ..settings() }, |_| Err(timed_out()));
        for _ in 0..100 {
            assert!(client.get().await.is_err());
        }
        assert_eq!(count(&scrape, "failure"), RESERVE as u64);
        assert_eq!(count(&scrape, "budget_exhausted"), 85);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_is_cut_off_counts_as_failed() {
        let (_guard, scrape) = recorded();
        describe(&[ROUTE]);
        let client = client(&settings(), |_| Err(busy(3)));
        let cut_off = tokio::time::timeout(Duration::from_secs(1), client.get()).await;
        assert!(cut_off.is_err());
        assert_eq!(OUTCOMES.map(|outcome| count(&scrape, outcome)), [0, 1, 0]);
    }

    proptest! {
        /// However calls and retries come, the promise holds for every stretch of time that the
        /// window covers, and so, since stretches can be laid end to end, for the whole.
        #[test]
        fn the_budget_is_never_exceeded(
            share in 0.0f64..1.0,
            steps in prop::collection::vec((0u64..3000, 0usize..50, 0usize..50), 1..60),
        ) {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime")
                .block_on(async {
                    let budget = Budget::new(share);
                    let began = Instant::now();
                    let (mut calls, mut retries) = (0, 0);
                    for (pause, called, wanted) in steps {
                        advance(Duration::from_millis(pause)).await;
                        (0..called).for_each(|_| budget.call());
                        calls += called;
                        retries += (0..wanted).filter(|_| budget.withdraw()).count();
                        let allowed = share * calls as f64 + reserve_of(began);
                        assert!(retries as f64 <= allowed, "{retries} > {allowed}");
                    }
                });
        }
    }
}
