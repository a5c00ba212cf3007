//! Offers: a load finds a response elsewhere before it calls the upstream.

use super::*;

/// A response of this age.
fn aged(text: &str, age: Duration) -> Loaded {
    Loaded { freshness: Freshness { age_at_load: age, ..freshness() }, ..loaded(text) }
}

/// Requests the key. The load offers a response before it calls the upstream.
async fn get(
    cache: &Cache<Error>,
    upstream: &Upstream,
    offered: Loaded,
    result: std::result::Result<&str, Error>,
) -> Result {
    let load = upstream.load(result.map(loaded));
    let offering = move |context: LoadContext| {
        context.offer(offered);
        load(context)
    };
    cache.get("key", Mode::Normal, offering).await
}

#[tokio::test(start_paused = true)]
async fn an_offered_response_is_served_if_the_load_fails() {
    let (cache, upstream) = (cache(), Upstream::default());
    let age = FRESH_FOR + STALE_FOR + SECOND;
    let served = get(&cache, &upstream, aged("offered", age), Err(Error::Down)).await;
    assert_eq!(summary(&served), ok("offered", Outcome::StaleError));
    assert_eq!(served.unwrap().age(), age + LATENCY);
    let served = get(&cache, &upstream, aged("offered", age), Err(Error::Down)).await;
    assert_eq!(summary(&served), ok("offered", Outcome::StaleError));
    assert_eq!(upstream.calls(), 1, "the failed load backs off");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_succeeds_replaces_its_offer() {
    let (cache, upstream) = (cache(), Upstream::default());
    let served = get(&cache, &upstream, aged("offered", FRESH_FOR), Ok("new")).await;
    assert_eq!(summary(&served), ok("new", Outcome::Miss));
    let served = get(&cache, &upstream, aged("offered", FRESH_FOR), Ok("newer")).await;
    assert_eq!(summary(&served), ok("new", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn a_request_during_the_load_gets_the_offered_response_if_it_may_be_served_stale() {
    let (cache, upstream) = (cache(), Upstream::default());
    let first = get(&cache, &upstream, aged("offered", FRESH_FOR), Ok("new"));
    let second = async {
        sleep(LATENCY / 2).await;
        upstream.get(&cache, Ok("unused")).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(summary(&first), ok("new", Outcome::Miss));
    assert_eq!(summary(&second), ok("offered", Outcome::Stale));
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_is_older_than_the_entry_or_expired_changes_nothing() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("stored")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let older = aged("offered", FRESH_FOR + STALE_FOR + SECOND);
    let served = get(&cache, &upstream, older, Err(Error::Down)).await;
    assert_eq!(summary(&served), ok("stored", Outcome::StaleError));

    let (cache, upstream) = (self::cache(), Upstream::default());
    let expired = aged("offered", FRESH_FOR + STALE_IF_ERROR_FOR);
    let served = get(&cache, &upstream, expired, Err(Error::Down)).await;
    assert_eq!(summary(&served), error(Error::Down, Outcome::Error));
}

#[tokio::test(start_paused = true)]
async fn an_offer_of_a_load_is_not_stored_after_a_change() {
    let (cache, upstream) = (cache(), Upstream::default());
    let load = upstream.load(Err(Error::Down));
    let changed = {
        let cache = cache.clone();
        move |context: LoadContext| {
            change(&cache, Effect::Drop);
            context.offer(aged("offered", FRESH_FOR));
            load(context)
        }
    };
    let served = cache.get("key", Mode::Normal, changed).await;
    assert_eq!(summary(&served), error(Error::Down, Outcome::Error));
}
