use aws_sdk_ssm::{
    config::http::HttpResponse, error::ErrorMetadata,
    operation::describe_parameters::DescribeParametersError,
};
use aws_smithy_runtime_api::http::StatusCode;
use parking_lot::Mutex;

use super::*;
use crate::{
    backend::aws::credentials::Script,
    quota::{QuotaLimiter, Rates},
};

type Failure = SdkError<DescribeParametersError>;

/// A scripted result of a call.
enum Scripted {
    Page(Vec<usize>, &'static str),
    /// A page without items.
    Empty(String),
    /// An error with this code.
    Refusal(&'static str),
    TimeOut,
    Hang,
}
use Scripted::{Empty, Hang, Page, Refusal, TimeOut};

/// The items of a page.
const SIZE: usize = 50;
const LATENCY: Duration = Duration::from_millis(20);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(3);
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// An AWS with a list of numbers. A script decides about the result of each call, by the number of
/// the call, counted from 1, and its token.
struct Source<S> {
    size: usize,
    script: S,
    tokens: Mutex<Vec<Option<String>>>,
}

impl<S: Fn(usize, Option<&str>) -> Option<Scripted>> Source<S> {
    /// Creates a source. The source returns the page if the script returns `None`.
    fn new(size: usize, script: S) -> Self {
        Self { size, script, tokens: Mutex::default() }
    }

    async fn page(&self, token: Option<String>) -> Result<(Vec<usize>, Option<String>), Failure> {
        let number = {
            let mut tokens = self.tokens.lock();
            tokens.push(token.clone());
            tokens.len()
        };
        sleep(LATENCY).await;
        match (self.script)(number, token.as_deref()) {
            Some(Page(items, next)) => Ok((items, Some(next.to_owned()))),
            Some(Empty(next)) => Ok((Vec::new(), Some(next))),
            Some(Hang) => std::future::pending().await,
            Some(TimeOut) => Err(SdkError::timeout_error("slow")),
            Some(Refusal(code)) => {
                let metadata = ErrorMetadata::builder().code(code).build();
                let error = DescribeParametersError::generic(metadata);
                let status = StatusCode::try_from(400).expect("a status");
                Err(SdkError::service_error(error, HttpResponse::new(status, "".into())))
            }
            None => {
                let start = token.map_or(0, |token| token.parse().expect("a token of this source"));
                let end = self.size.min(start + SIZE);
                Ok(((start..end).collect(), (end < self.size).then(|| end.to_string())))
            }
        }
    }

    async fn load(&self, rate: f64, priority: Priority) -> Loaded {
        let progress = ListProgress::default();
        let credentials = Script::new().load(Duration::ZERO, "key", None).start();
        let policy = CallPolicy::new(
            credentials,
            QuotaLimiter::new(Rates { get: rate, list: rate }),
            OPERATION_TIMEOUT,
            LIST_TIMEOUT,
        );
        let started = Instant::now();
        let admitted = policy.admit(Operation::DescribeParameters, priority).await;
        admitted.expect("the bucket is full at the start");
        let result = policy
            .list(Operation::DescribeParameters, priority, &progress, |token| self.page(token))
            .await;
        Loaded { result, took: started.elapsed(), progress }
    }

    fn calls(&self) -> usize {
        self.tokens.lock().len()
    }
}

struct Loaded {
    result: Result<Vec<usize>, Error>,
    took: Duration,
    progress: ListProgress,
}

impl Loaded {
    #[track_caller]
    fn assert_complete(&self, size: usize) {
        let items = self.result.as_ref().expect("the list arrives");
        assert!(items.iter().copied().eq(0..size), "each item once, in order: {}", items.len());
        assert_eq!(self.progress.arrived().names, size);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_names_arrive_at_a_pods_rate_while_aws_throttles_one_call_in_ten() {
    for priority in [Priority::Refresh, Priority::Miss] {
        let source = Source::new(10_000, |call, _| {
            (call % 10 == 0).then_some(Refusal("ThrottlingException"))
        });
        let loaded = source.load(0.75, priority).await;
        loaded.assert_complete(10_000);
        assert!(source.calls() <= 240, "1.2 calls a page: {}", source.calls());
        assert!(loaded.took > Duration::from_secs(267), "the quota holds: {:?}", loaded.took);
        assert!(loaded.took < Duration::from_secs(400), "{:?}", loaded.took);
        let first_page_at = loaded.took - loaded.progress.age();
        assert_eq!(first_page_at, LATENCY, "the age counts from the first page");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_is_read_again_with_its_token() {
    let source = Source::new(200, |call, _| match call {
        2 => Some(TimeOut),
        3 => Some(Refusal("InternalServerError")),
        5 => Some(Refusal("ThrottlingException")),
        _ => None,
    });
    let loaded = source.load(0.0, Priority::Miss).await;
    loaded.assert_complete(200);
    let tokens = source.tokens.lock().clone();
    let tokens: Vec<_> = tokens.iter().map(|token| token.as_deref().unwrap_or("-")).collect();
    assert_eq!(tokens, ["-", "50", "50", "50", "100", "100", "150"]);
    let pauses = FIRST_PAUSE + 2 * FIRST_PAUSE + THROTTLE_PAUSE;
    assert_eq!(loaded.took, 7 * LATENCY + pauses);
}

#[tokio::test(start_paused = true)]
async fn a_list_without_a_new_page_for_the_list_timeout_ends_with_the_pages_error() {
    for hangs in [false, true] {
        let failure = || if hangs { Hang } else { Refusal("InternalServerError") };
        let source = Source::new(200, |call, _| (call > 2).then(failure));
        let loaded = source.load(0.0, Priority::Miss).await;
        match loaded.result {
            Err(Error::AwsTimeout(_)) => assert!(hangs),
            Err(Error::AwsUnavailable(_)) => assert!(!hangs),
            other => panic!("{other:?}"),
        }
        assert!(loaded.took > LIST_TIMEOUT, "{:?}", loaded.took);
        let limit = LIST_TIMEOUT + OPERATION_TIMEOUT + LONGEST_PAUSE;
        assert!(loaded.took < limit, "{:?}", loaded.took);
        assert!(source.calls() < 20, "the pauses grow: {}", source.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_quota_are_not_the_time_of_aws() {
    let source = Source::new(500, |_, _| None);
    // Each page waits 100 s for the quota, longer than the list timeout.
    let loaded = source.load(0.01, Priority::Refresh).await;
    loaded.assert_complete(500);
    assert!(loaded.took > Duration::from_secs(900), "{:?}", loaded.took);
}

#[tokio::test(start_paused = true)]
async fn a_list_outlasts_ten_minutes_of_throttling() {
    let started = Instant::now();
    let source = Source::new(200, |call, _| {
        let throttles = call > 1 && started.elapsed() < Duration::from_secs(600);
        throttles.then_some(Refusal("ThrottlingException"))
    });
    let loaded = source.load(40.0, Priority::Miss).await;
    loaded.assert_complete(200);
    assert!(source.calls() < 40, "the pauses grow: {}", source.calls());
    assert!(
        loaded.took < Duration::from_secs(600) + 2 * LONGEST_THROTTLE_PAUSE,
        "but not without bound"
    );
}

#[tokio::test(start_paused = true)]
async fn a_final_error_ends_the_load_at_once() {
    for code in ["AccessDeniedException", "ExpiredTokenException", "UnrecognizedClientException"] {
        let source = Source::new(200, |call, _| (call == 3).then_some(Refusal(code)));
        let loaded = source.load(0.0, Priority::Miss).await;
        assert!(loaded.result.is_err());
        assert_eq!((source.calls(), loaded.took), (3, 3 * LATENCY), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_first_page_ends_the_load_at_once() {
    for code in ["ThrottlingException", "InternalServerError", "InvalidNextToken"] {
        let source = Source::new(200, |_, _| Some(Refusal(code)));
        let loaded = source.load(40.0, Priority::Miss).await;
        assert!(loaded.result.is_err());
        assert_eq!((source.calls(), loaded.took), (1, LATENCY), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_page_token_starts_the_list_again_at_page_one() {
    let source = Source::new(200, |call, _| match call {
        3 | 7 => Some(Refusal("InvalidNextToken")),
        // A failure of page one does not end a load that has begun.
        4 => Some(Refusal("ThrottlingException")),
        _ => None,
    });
    let loaded = source.load(0.0, Priority::Miss).await;
    loaded.assert_complete(200);
    assert_eq!(source.calls(), 11);
    assert!(loaded.progress.age() < 5 * LATENCY, "the age counts from the last page one");
}

#[tokio::test(start_paused = true)]
async fn a_page_token_that_is_refused_each_time_ends_the_load() {
    let source =
        Source::new(200, |_, token| (token == Some("100")).then_some(Refusal("InvalidNextToken")));
    let loaded = source.load(0.0, Priority::Miss).await;
    assert!(loaded.result.is_err());
    assert_eq!(source.calls(), 9, "three times three pages");
}

#[tokio::test(start_paused = true)]
async fn pages_in_a_circle_end_the_load() {
    for length in [1, 3] {
        let source = Source::new(0, |call, _| Some(Empty((call % length).to_string())));
        let loaded = source.load(0.0, Priority::Miss).await;
        assert!(matches!(loaded.result, Err(Error::AwsUnavailable(_))), "{:?}", loaded.result);
        assert_eq!(source.calls(), length + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_list_ends_before_it_fills_the_memory() {
    let source = Source::new(0, |call, _| Some(Empty(call.to_string())));
    assert!(source.load(0.0, Priority::Miss).await.result.is_err());
    assert_eq!(source.calls(), MAX_PAGES + 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_page_is_not_the_last_one() {
    let source = Source::new(100, |call, _| match call {
        1 => Some(Empty("0".to_owned())),
        // AWS may also send an empty token.
        3 => Some(Page((50..100).collect(), "")),
        _ => None,
    });
    source.load(0.0, Priority::Miss).await.assert_complete(100);
}
