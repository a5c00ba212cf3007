//! Coalescing: concurrent requests for a key share one load, even if some of them are dropped.

use futures_util::future::join_all;

use super::*;

/// Sends a hundred requests at the same moment. Each has its own load of the text.
async fn send_hundred(
    cache: &Cache<Error>,
    upstream: &Upstream,
    result: std::result::Result<&str, Error>,
) -> Vec<Result> {
    join_all((0..100).map(|_| upstream.get(cache, result.clone()))).await
}

fn count(results: &[Result], outcome: Outcome) -> usize {
    results.iter().filter(|result| summary(result).1 == outcome).count()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_misses_make_one_call() {
    let (cache, upstream) = (cache(), Upstream::default());
    let results = send_hundred(&cache, &upstream, Ok("a")).await;
    assert_eq!(upstream.calls(), 1);
    assert_eq!((count(&results, Outcome::Miss), count(&results, Outcome::Coalesced)), (1, 99));
    assert!(results.iter().all(|result| summary(result).0 == "a"));
    let cache_status = results[1].as_ref().unwrap().cache_status();
    assert_eq!(cache_status, "here; fwd=miss; stored; collapsed");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_blocking_revalidations_make_one_call() {
    for (result, outcomes) in [
        (Ok("b"), (Outcome::Miss, Outcome::Coalesced)),
        (Err(Error::Down), (Outcome::StaleError, Outcome::StaleError)),
    ] {
        let (cache, upstream) = (cache(), Upstream::default());
        upstream.get(&cache, Ok("a")).await.unwrap();
        sleep(FRESH_FOR + STALE_FOR).await;
        let results = send_hundred(&cache, &upstream, result).await;
        assert_eq!(upstream.calls(), 2);
        assert_eq!(summary(&results[0]).1, outcomes.0);
        assert!(results[1..].iter().all(|result| summary(result).1 == outcomes.1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_miss_joins_the_refresh_that_started_before_the_entry_expired() {
    let (cache, upstream) = (cache(), Upstream::default());
    let short = Freshness::new(FRESH_FOR, LATENCY / 2, Duration::ZERO);
    let first = Loaded { freshness: short, ..loaded("a") };
    cache.get("key", Mode::Normal, upstream.load(Ok(first))).await.unwrap();
    sleep(FRESH_FOR).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("a", Outcome::Stale));
    sleep(LATENCY / 2).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("c")).await), ok("b", Outcome::Coalesced));
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_miss_whose_refresh_failed_starts_its_own_load() {
    let (cache, upstream) = (cache(), Upstream::default());
    let short = Freshness::new(FRESH_FOR, LATENCY / 2, Duration::ZERO);
    let first = Loaded { freshness: short, ..loaded("a") };
    cache.get("key", Mode::Normal, upstream.load(Ok(first))).await.unwrap();
    sleep(FRESH_FOR).await;
    upstream.get(&cache, Err(Error::Down)).await.unwrap();
    sleep(LATENCY / 2).await;
    let results = send_hundred(&cache, &upstream, Ok("b")).await;
    assert!(results.iter().all(|result| summary(result).0 == "b"));
    assert_eq!(upstream.priorities(), [Priority::Miss, Priority::Refresh, Priority::Miss]);
}

#[tokio::test(start_paused = true)]
async fn different_keys_do_not_wait_for_each_other() {
    let (cache, upstream) = (cache(), Upstream::default());
    let keys: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let started = Instant::now();
    join_all(keys.iter().map(|key| cache.get(key, Mode::Normal, upstream.load(Ok(loaded("a"))))))
        .await;
    assert_eq!(upstream.calls(), 10);
    // Timers have a resolution of one millisecond.
    assert!(started.elapsed() <= LATENCY + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn a_load_outlives_the_caller_that_started_it() {
    let (cache, upstream) = (cache(), Upstream::default());
    let first = tokio::time::timeout(LATENCY / 2, upstream.get(&cache, Ok("a"))).await;
    assert!(first.is_err(), "the caller has timed out");
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("a", Outcome::Coalesced));
    assert_eq!(summary(&upstream.get(&cache, Ok("c")).await), ok("a", Outcome::Hit));
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_is_stored_although_all_waiting_requests_were_dropped() {
    let (cache, upstream) = (cache(), Upstream::default());
    let first = tokio::time::timeout(LATENCY / 2, upstream.get(&cache, Ok("a"))).await;
    assert!(first.is_err(), "the caller has timed out");
    sleep(LATENCY).await;
    assert_eq!(
        summary(&Ok(cache.lookup("key", Instant::now()).unwrap().unwrap())),
        ok("a", Outcome::Hit)
    );
}

#[tokio::test(start_paused = true)]
async fn all_waiting_requests_get_the_error() {
    let (cache, upstream) = (cache(), Upstream::default());
    let results = send_hundred(&cache, &upstream, Err(Error::Down)).await;
    assert_eq!(upstream.calls(), 1);
    assert_eq!(count(&results, Outcome::Error), 100);
}

#[tokio::test(start_paused = true)]
async fn all_waiting_requests_get_a_panic_and_later_requests_do_not() {
    let (cache, upstream) = (cache(), Upstream::default());
    let results =
        join_all((0..100).map(|_| cache.get("key", Mode::Normal, upstream.panics()))).await;
    assert_eq!(upstream.calls(), 1);
    assert!(results.into_iter().all(|result| result.err().unwrap().cause == Cause::Panicked));
    assert_eq!(summary(&upstream.get(&cache, Ok("a")).await), ok("a", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_first_await_is_reported() {
    let cache = cache();
    let load = |_| -> Load { std::panic::resume_unwind(Box::new("at once")) };
    let failed = cache.get("key", Mode::Normal, load).await.err().unwrap();
    assert_eq!(failed.cause, Cause::Panicked);
}

#[tokio::test(start_paused = true)]
async fn an_entry_replaces_a_load_that_panics() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let result = cache.get("key", Mode::Normal, upstream.panics()).await;
    assert_eq!(summary(&result), ok("a", Outcome::StaleError));
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("a", Outcome::StaleError));
    assert_eq!(upstream.calls(), 2, "loads back off after a panic");
}

tokio::task_local! {
    static REQUEST: &'static str;
}

#[tokio::test(start_paused = true)]
async fn a_load_runs_in_the_context_that_its_caller_sets() {
    let cache = cache();
    let load = |_| REQUEST.scope("the first", async { Ok(loaded(REQUEST.get())) });
    assert_eq!(summary(&cache.get("key", Mode::Normal, load).await).0, "the first");
}
