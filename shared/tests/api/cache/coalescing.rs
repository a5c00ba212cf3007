//! Coalescing: concurrent requests for a key share one load, even if some of them are dropped.

use futures_util::future::join_all;

use super::*;

/// Sends a hundred requests at the same moment. Each has its own load of the text.
async fn crowd(
    cache: &Cache<Error>,
    source: &Source,
    says: std::result::Result<&str, Error>,
) -> Vec<Result> {
    join_all((0..100).map(|_| source.get(cache, says.clone()))).await
}

fn count(results: &[Result], outcome: Outcome) -> usize {
    results.iter().filter(|result| told(result).1 == outcome).count()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_misses_make_one_call() {
    let (cache, source) = (cache(), Source::default());
    let results = crowd(&cache, &source, Ok("a")).await;
    assert_eq!(source.calls(), 1);
    assert_eq!((count(&results, Outcome::Miss), count(&results, Outcome::Coalesced)), (1, 99));
    assert!(results.iter().all(|result| told(result).0 == "a"));
    let told = results[1].as_ref().unwrap().cache_status();
    assert_eq!(told, "here; fwd=miss; stored; collapsed");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_blocking_revalidations_make_one_call() {
    for (says, outcomes) in [
        (Ok("b"), (Outcome::Miss, Outcome::Coalesced)),
        (Err(Error::Down), (Outcome::StaleError, Outcome::StaleError)),
    ] {
        let (cache, source) = (cache(), Source::default());
        source.get(&cache, Ok("a")).await.unwrap();
        sleep(FRESH_FOR + STALE_FOR).await;
        let results = crowd(&cache, &source, says).await;
        assert_eq!(source.calls(), 2);
        assert_eq!(told(&results[0]).1, outcomes.0);
        assert!(results[1..].iter().all(|result| told(result).1 == outcomes.1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_miss_joins_the_refresh_that_began_before_the_answer_was_gone() {
    let (cache, source) = (cache(), Source::default());
    let short = Freshness::new(FRESH_FOR, LATENCY / 2, Duration::ZERO);
    let first = Loaded { freshness: short, ..loaded("a") };
    cache.get("key", Mode::Normal, source.says(Ok(first))).await.unwrap();
    sleep(FRESH_FOR).await;
    assert_eq!(told(&source.get(&cache, Ok("b")).await), is("a", Outcome::Stale));
    sleep(LATENCY / 2).await;
    assert_eq!(told(&source.get(&cache, Ok("c")).await), is("b", Outcome::Coalesced));
    assert_eq!(source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_miss_whose_refresh_was_turned_away_asks_on_its_own() {
    let (cache, source) = (cache(), Source::default());
    let short = Freshness::new(FRESH_FOR, LATENCY / 2, Duration::ZERO);
    let first = Loaded { freshness: short, ..loaded("a") };
    cache.get("key", Mode::Normal, source.says(Ok(first))).await.unwrap();
    sleep(FRESH_FOR).await;
    source.get(&cache, Err(Error::Down)).await.unwrap();
    sleep(LATENCY / 2).await;
    let results = crowd(&cache, &source, Ok("b")).await;
    assert!(results.iter().all(|result| told(result).0 == "b"));
    assert_eq!(source.urgencies(), [Urgency::Miss, Urgency::Refresh, Urgency::Miss]);
}

#[tokio::test(start_paused = true)]
async fn different_keys_do_not_wait_for_each_other() {
    let (cache, source) = (cache(), Source::default());
    let keys: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let began = Instant::now();
    join_all(keys.iter().map(|key| cache.get(key, Mode::Normal, source.says(Ok(loaded("a"))))))
        .await;
    assert_eq!(source.calls(), 10);
    // Timers have a resolution of one millisecond.
    assert!(began.elapsed() <= LATENCY + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn the_load_lives_on_when_the_caller_that_began_it_leaves() {
    let (cache, source) = (cache(), Source::default());
    let leader = tokio::time::timeout(LATENCY / 2, source.get(&cache, Ok("a"))).await;
    assert!(leader.is_err(), "it gave up");
    assert_eq!(told(&source.get(&cache, Ok("b")).await), is("a", Outcome::Coalesced));
    assert_eq!(told(&source.get(&cache, Ok("c")).await), is("a", Outcome::Hit));
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_load_is_kept_although_all_who_waited_left() {
    let (cache, source) = (cache(), Source::default());
    let leader = tokio::time::timeout(LATENCY / 2, source.get(&cache, Ok("a"))).await;
    assert!(leader.is_err(), "it gave up");
    sleep(LATENCY).await;
    assert_eq!(
        told(&Ok(cache.lookup("key", Instant::now()).unwrap().unwrap())),
        is("a", Outcome::Hit)
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_to_all_who_wait() {
    let (cache, source) = (cache(), Source::default());
    let results = crowd(&cache, &source, Err(Error::Down)).await;
    assert_eq!(source.calls(), 1);
    assert_eq!(count(&results, Outcome::Error), 100);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_to_all_who_wait_and_to_nobody_after() {
    let (cache, source) = (cache(), Source::default());
    let results = join_all((0..100).map(|_| cache.get("key", Mode::Normal, source.panics()))).await;
    assert_eq!(source.calls(), 1);
    assert!(results.into_iter().all(|result| result.err().unwrap().cause == Cause::Panicked));
    assert_eq!(told(&source.get(&cache, Ok("a")).await), is("a", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_first_wait_is_told_too() {
    let cache = cache();
    let load = |_| -> Load { std::panic::resume_unwind(Box::new("at once")) };
    let failed = cache.get("key", Mode::Normal, load).await.err().unwrap();
    assert_eq!(failed.cause, Cause::Panicked);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_stands_in_for_a_load_that_panics_too() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let result = cache.get("key", Mode::Normal, source.panics()).await;
    assert_eq!(told(&result), is("a", Outcome::StaleError));
    assert_eq!(told(&source.get(&cache, Ok("b")).await), is("a", Outcome::StaleError));
    assert_eq!(source.calls(), 2, "a load that panics is left in peace as one that fails");
}

tokio::task_local! {
    static REQUEST: &'static str;
}

#[tokio::test(start_paused = true)]
async fn a_load_belongs_to_the_request_that_its_caller_says() {
    let cache = cache();
    let load = |_| REQUEST.scope("the first", async { Ok(loaded(REQUEST.get())) });
    assert_eq!(told(&cache.get("key", Mode::Normal, load).await).0, "the first");
}
