//! The errors "not found" and "access denied".

use super::*;

#[tokio::test(start_paused = true)]
async fn a_not_found_is_remembered_for_its_lifetime() {
    let (cache, upstream) = (cache(), Upstream::default());
    let first = upstream.get(&cache, Err(Error::NotFound)).await;
    assert_eq!(summary(&first), error(Error::NotFound, Outcome::Miss));
    assert_eq!(first.err().unwrap().expires_in, Some(NEGATIVE_TTL));

    sleep(4 * SECOND).await;
    let remembered = upstream.get(&cache, Ok("a")).await;
    assert_eq!(summary(&remembered), error(Error::NotFound, Outcome::Negative));
    let failed = remembered.err().unwrap();
    assert_eq!(failed.expires_in, Some(6 * SECOND));
    assert_eq!(failed.cache_status(), "here; hit; ttl=6");
    assert_eq!(upstream.calls(), 1);

    sleep(6 * SECOND).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("a")).await), ok("a", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn not_found_and_denied_remove_a_stale_entry_at_once() {
    for refusal in [Error::NotFound, Error::Denied] {
        let (cache, upstream) = (cache(), Upstream::default());
        upstream.get(&cache, Ok("a")).await.unwrap();
        sleep(FRESH_FOR).await;
        let stale = upstream.get(&cache, Err(refusal.clone())).await;
        assert_eq!(summary(&stale), ok("a", Outcome::Stale), "the refresh has only started");
        sleep(NEGATIVE_TTL + 2 * LATENCY).await;
        let result = upstream.get(&cache, Err(Error::Down)).await;
        assert_eq!(summary(&result), error(Error::Down, Outcome::Error), "after {refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_gets_a_refusal_instead_of_a_stale_entry() {
    for (refusal, outcome) in [(Error::NotFound, Outcome::Miss), (Error::Denied, Outcome::Error)] {
        let (cache, upstream) = (cache(), Upstream::default());
        upstream.get(&cache, Ok("a")).await.unwrap();
        sleep(FRESH_FOR + STALE_FOR).await;
        let result = upstream.get(&cache, Err(refusal.clone())).await;
        assert_eq!(summary(&result), error(refusal, outcome));
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_not_stored() {
    let (cache, upstream) = (cache(), Upstream::default());
    for _ in 0..3 {
        let denied = upstream.get(&cache, Err(Error::Denied)).await.err().unwrap();
        assert_eq!(denied.expires_in, None);
        assert_eq!(denied.cache_status(), "here; fwd=miss");
    }
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_revalidation_ignores_a_negative_entry_and_removes_it() {
    let (cache, upstream) = (cache(), Upstream::default());
    let _ = upstream.get(&cache, Err(Error::NotFound)).await;
    let forced = cache.get("key", Mode::Revalidate, upstream.load(Ok(loaded("a")))).await;
    assert_eq!(summary(&forced), ok("a", Outcome::Miss));
    change(&cache, Effect::Drop);
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("b", Outcome::Miss));
}
