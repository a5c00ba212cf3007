//! Lists that take longer to load than a request may take.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use cache::Priority;
use clap::Parser;
use service::contract::ssm::ParameterMetadata;
use tokio::time::sleep;

use super::*;
use crate::{
    name::ParameterPath,
    parameter::{Details, Parameter, PathValues},
};

const SECOND: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const PAGE: usize = 50;

/// A store that returns one page of names a second. Each list has the number of its load.
#[derive(Default)]
struct Slow {
    pages: usize,
    loads: AtomicUsize,
}

impl Slow {
    async fn list(&self, progress: &ListProgress) -> Vec<String> {
        let number = self.loads.fetch_add(1, SeqCst) + 1;
        for _ in 0..self.pages {
            sleep(SECOND).await;
            progress.add_page(PAGE);
        }
        vec![format!("/load/{number}")]
    }
}

#[async_trait]
impl ParameterStore for Slow {
    async fn buckets(&self, _: Priority, progress: &ListProgress) -> Result<Vec<String>, Error> {
        Ok(self.list(progress).await)
    }

    async fn parameters(
        &self,
        _: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<ParameterMetadata>, Error> {
        let metadata = |name| ParameterMetadata { name, ..ParameterMetadata::default() };
        Ok(self.list(progress).await.into_iter().map(metadata).collect())
    }

    async fn parameter(
        &self,
        _: &ParameterName,
        _: SecretForm,
        _: Priority,
        _: Option<GroupMember>,
    ) -> Result<Parameter, Error> {
        Err(Error::ParameterNotFound)
    }

    async fn values(
        &self,
        _: &PathQuery,
        _: Priority,
        progress: &ListProgress,
    ) -> Result<PathValues, Error> {
        let parameter = |name| Parameter {
            name,
            value: String::new().into(),
            secure: false,
            details: Details::default(),
        };
        let parameters = self.list(progress).await.into_iter().map(parameter).collect();
        Ok(PathValues::readable(parameters))
    }

    fn health(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

fn store(pages: usize, flags: &[&str]) -> (CachedStore, Arc<Slow>) {
    let flags = ["aux-service", "--cache-ttl-jitter=0"].iter().chain(flags);
    let config = Config::try_parse_from(flags).expect("valid");
    let slow = Arc::new(Slow { pages, ..Slow::default() });
    (CachedStore::new(&config, Arc::<Slow>::clone(&slow), None), slow)
}

async fn get(store: &CachedStore, query: StoreQuery) -> Result<Served, Problem> {
    store.get(query, Mode::Normal, Deadline(Instant::now() + REQUEST_TIMEOUT)).await
}

fn lists() -> [StoreQuery; 3] {
    let path = ParameterPath::parse("/load").expect("valid");
    [StoreQuery::Buckets, StoreQuery::Parameters, StoreQuery::Values(PathQuery::all_below(path))]
}

fn body(served: &Served) -> String {
    String::from_utf8_lossy(served.body().bytes()).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_list_outlasts_gets_its_progress_before_the_deadline() {
    for query in lists() {
        let (store, slow) = store(12, &[]);
        for pages in [4, 9] {
            let started = Instant::now();
            let problem = get(&store, query.clone()).await.err().expect("it loads");
            assert!(started.elapsed() < REQUEST_TIMEOUT, "the layer's own problem would be sent");
            assert_eq!(
                (&*problem.code, problem.status, problem.retryable),
                ("list-loading", 503, true)
            );
            assert!(problem.retry_after.is_some());
            let progress = problem.progress.expect("it shows how far the load is");
            assert_eq!((progress.pages, progress.names), (pages, pages * PAGE));
            let shown = format!("{pages} of its pages have arrived, with {} names", pages * PAGE);
            assert!(problem.detail.contains(&shown), "{}", problem.detail);
        }
        let served = get(&store, query).await.expect("the list arrives");
        assert!(body(&served).contains("/load/1"), "one load for all three requests");
        assert_eq!(slow.loads.load(SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_without_a_page_at_the_deadline_means_that_aws_is_too_slow() {
    let (store, _) = store(1, &[]);
    let deadline = Deadline(Instant::now() + SECOND / 2);
    let problem = store.get(StoreQuery::Parameters, Mode::Normal, deadline).await.err();
    assert_eq!(problem.expect("no page has arrived").code, "aws-timeout");
}

#[tokio::test(start_paused = true)]
async fn a_list_completes_although_no_request_waits_for_it() {
    let (store, slow) = store(267, &[]);
    get(&store, StoreQuery::Parameters).await.err().expect("it loads");
    sleep(267 * SECOND).await;
    let found = store.lookup("/params", Instant::now()).expect("it is stored");
    assert!(body(&found.expect("a list")).contains("/load/1"));
    assert_eq!(slow.loads.load(SeqCst), 1);
    let later = store.lists.late("/params");
    assert!(matches!(later, Error::AwsTimeout(_)), "its progress is forgotten: {later:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_is_as_old_as_its_first_page_and_fresh_for_a_ttl_after_its_last() {
    let (store, slow) = store(267, &[]);
    get(&store, StoreQuery::Parameters).await.err().expect("it loads");
    sleep(262 * SECOND + SECOND / 2).await;
    let served = get(&store, StoreQuery::Parameters).await.expect("a list");
    assert_eq!(served.age().as_secs(), 266, "the first page took a second");
    let response = served.response(&axum::http::HeaderMap::new());
    let cache_control = response.headers()["cache-control"].to_str().expect("text");
    assert_eq!(cache_control, "max-age=326, stale-while-revalidate=326, stale-if-error=3334");

    sleep(59 * SECOND).await;
    assert_eq!(
        get(&store, StoreQuery::Parameters).await.expect("fresh").outcome(),
        cache::Outcome::Hit
    );
    assert_eq!(slow.loads.load(SeqCst), 1, "no refresh within a TTL of the last load");
    sleep(SECOND).await;
    assert_eq!(
        get(&store, StoreQuery::Parameters).await.expect("stale").outcome(),
        cache::Outcome::Stale
    );
    sleep(SECOND).await;
    assert_eq!(slow.loads.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn the_previous_list_is_served_while_the_next_one_loads() {
    let (store, slow) = store(267, &[]);
    get(&store, StoreQuery::Parameters).await.err().expect("it loads");
    sleep(267 * SECOND).await;
    let (mut slowest, mut oldest) = (Duration::ZERO, Duration::ZERO);
    // An hour of requests, each a second after the one before.
    for _ in 0..3600 {
        let started = Instant::now();
        let served = get(&store, StoreQuery::Parameters).await.expect("a list, fresh or stale");
        oldest = oldest.max(served.age());
        slowest = slowest.max(started.elapsed());
        sleep(SECOND).await;
    }
    assert_eq!(slowest, Duration::ZERO, "no request waits for the new list");
    // Two loads and the TTL between them.
    assert!(oldest < (267 + 60 + 267 + 10) * SECOND, "{oldest:?}");
    let loads = slow.loads.load(SeqCst);
    assert!((11..=13).contains(&loads), "one load in 327 s: {loads}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_takes_longer_than_any_staleness_is_never_served_from_the_cache() {
    let flags = ["--cache-stale-if-error=60s"];
    let (store, _) = store(125, &flags);
    get(&store, StoreQuery::Parameters).await.err().expect("it loads");
    sleep(119 * SECOND).await;
    let served = get(&store, StoreQuery::Parameters).await.expect("those who wait get it");
    assert_eq!(served.age().as_secs(), 124);
    assert!(
        store.lookup("/params", Instant::now()).is_none(),
        "it is older than TTL + stale-if-error"
    );
}
