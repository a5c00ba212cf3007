//! The retry layer without a network: attempts come from a script, and time is paused.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::StatusCode;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error};
use service::contract::problem::Problem;

use super::*;
use crate::upstream::budget::{RESERVE, reserve_since};

const ROUTE: RouteId = RouteId::Buckets;
const DEADLINE: Duration = Duration::from_secs(10);
const BACKOFF: Duration = Duration::from_millis(50);

fn settings() -> Settings {
    Settings { max_attempts: 3, backoff: BACKOFF, budget: 0.2 }
}

type Outcome = std::result::Result<(), Failure>;

/// A replacement for the circuit breaker, the timeout and HTTP: its responses come from a script.
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

/// A client whose nth attempt, counted from 1, has the outcome `outcome(n)`.
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
    async fn send(&self, route: RouteId, method: Method) -> Result<Response> {
        let deadline = Instant::now() + DEADLINE;
        let call = Call { route, deadline, transform: |_, _| None };
        self.http.request(method, "http://aux-service/").with_extension(call).send().await
    }

    async fn get(&self) -> Result<Response> {
        self.send(ROUTE, Method::GET).await
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Relaxed)
    }
}

fn timed_out() -> Failure {
    Failure::TimedOut(Duration::from_secs(4))
}

fn invalid(status: StatusCode) -> Failure {
    Failure::InvalidResponse { status, reason: "an invalid body" }
}

fn problem(status: StatusCode) -> Problem {
    let code =
        if status == StatusCode::SERVICE_UNAVAILABLE { "aws-throttled" } else { "aws-timeout" };
    Problem { status: status.as_u16(), code: code.into(), ..Problem::internal() }
}

fn responded(problem: Problem) -> Failure {
    Failure::Problem(Box::new(problem))
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_is_retried() {
    let failures: [fn() -> Failure; 4] = [
        timed_out,
        || invalid(StatusCode::SERVICE_UNAVAILABLE),
        || responded(problem(StatusCode::SERVICE_UNAVAILABLE).retryable()),
        || responded(problem(StatusCode::GATEWAY_TIMEOUT).retryable()),
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
async fn a_failure_that_is_final_is_not_retried() {
    let failures: [fn() -> Failure; 6] = [
        || Failure::Refused { retry_after: Duration::from_secs(5) },
        || invalid(StatusCode::OK),
        || invalid(StatusCode::NOT_FOUND),
        || responded(problem(StatusCode::BAD_GATEWAY)),
        || responded(problem(StatusCode::NOT_FOUND)),
        || responded(problem(StatusCode::INTERNAL_SERVER_ERROR).retryable()),
    ];
    for failure in failures {
        let client = client(&settings(), move |_| Err(failure()));
        assert!(client.get().await.is_err());
        assert_eq!(client.attempts(), 1, "{:?}", failure());
    }
}

#[tokio::test(start_paused = true)]
async fn only_get_is_retried_on_the_plain_routes() {
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::HEAD] {
        let client = client(&settings(), |_| Err(timed_out()));
        assert!(client.send(ROUTE, method).await.is_err());
        assert_eq!(client.attempts(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_limited_and_the_last_failure_is_returned() {
    let client =
        client(&settings(), |attempt| Err(Failure::TimedOut(Duration::from_secs(attempt as u64))));
    let error = client.get().await.expect_err("every attempt fails");
    assert_eq!(client.attempts(), 3);
    let Some(Failure::TimedOut(after)) = Failure::of(&error) else { panic!("{error:?}") };
    assert_eq!(*after, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_one_attempt_means_no_retry() {
    let client = client(&Settings { max_attempts: 1, ..settings() }, |_| Err(timed_out()));
    assert!(client.get().await.is_err());
    assert_eq!(client.attempts(), 1);
}

/// Replicas that retry in step would overload a recovering upstream again.
#[tokio::test(start_paused = true)]
async fn the_pause_is_drawn_from_zero_to_a_bound_that_doubles() {
    let mut pauses = Vec::new();
    for _ in 0..200 {
        let client = client(&settings(), |_| Err(timed_out()));
        let started = Instant::now();
        assert!(client.get().await.is_err());
        pauses.push(started.elapsed());
    }
    // The two pauses are 50 ms and 100 ms at most; tokio's timers round each up to a millisecond.
    let longest = 3 * BACKOFF + Duration::from_millis(2);
    pauses.sort();
    let (least, most) = (pauses[0], pauses[199]);
    assert!(most <= longest, "{most:?}");
    assert!(most > 2 * BACKOFF && least < BACKOFF, "{least:?} to {most:?}");
}

fn busy(pause: u64) -> Failure {
    responded(problem(StatusCode::SERVICE_UNAVAILABLE).retry_after(Duration::from_secs(pause)))
}

#[tokio::test(start_paused = true)]
async fn the_pause_is_at_least_retry_after() {
    let client = client(&settings(), |attempt| if attempt == 1 { Err(busy(3)) } else { Ok(()) });
    let started = Instant::now();
    assert!(client.get().await.is_ok());
    let elapsed = started.elapsed();
    // reqwest-retry uses the wall clock, which moves on between two readings.
    assert!(
        (Duration::from_millis(2990)..=Duration::from_millis(3010)).contains(&elapsed),
        "{elapsed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_applies_to_the_next_attempt_only() {
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
async fn a_pause_that_would_outlast_the_deadline_is_not_started() {
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
        let start = Instant::now();
        for _ in 0..1000 {
            assert!(client.get().await.is_err());
        }
        let attempts = client.attempts() as f64;
        let least = 1000.0 * (1.0 + share);
        assert!(
            (least..=least + reserve_since(start)).contains(&attempts),
            "{attempts} for {share}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_the_circuit_breaker_refuses_earn_no_retries() {
    let refused = || Failure::Refused { retry_after: Duration::from_secs(5) };
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
    let sample = format!("upstream_retries_total{{route=\"/buckets\",outcome=\"{outcome}\"}} ");
    let text = scrape.render();
    let line = text.lines().find_map(|line| line.strip_prefix(&sample));
    line.expect("every outcome has its series").parse().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn each_retry_is_counted_by_its_outcome() {
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
async fn a_retry_whose_caller_leaves_counts_as_failed() {
    let (_guard, scrape) = recorded();
    describe(&[ROUTE]);
    let client = client(&settings(), |_| Err(busy(3)));
    let cut_off = tokio::time::timeout(Duration::from_secs(1), client.get()).await;
    assert!(cut_off.is_err());
    assert_eq!(OUTCOMES.map(|outcome| count(&scrape, outcome)), [0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_reads_is_retried_unless_aws_throttles() {
    let unavailable =
        || Problem { code: "aws-unavailable".into(), ..problem(StatusCode::BAD_GATEWAY) };
    for (problem, attempts) in [(unavailable(), 3), (problem(StatusCode::SERVICE_UNAVAILABLE), 1)] {
        let client = client(&settings(), move |_| Err(responded(problem.clone().retryable())));
        assert!(client.send(RouteId::SsmGetParameter, Method::POST).await.is_err());
        assert_eq!(client.attempts(), attempts);
    }
}
