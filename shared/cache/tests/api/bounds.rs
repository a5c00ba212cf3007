//! Responses and caches beyond the memory bound.

use super::*;

const MAX_BYTES: u64 = 4 << 20;

#[tokio::test]
async fn a_response_larger_than_the_store_is_served_but_not_stored() {
    let cache = cache_of(16 << 10);
    let large = loaded(&"x".repeat(16 << 10));
    for _ in 0..2 {
        let large = large.clone();
        let served = cache.get("key", Mode::Normal, |_| async { Ok(large) }).await.unwrap();
        assert_eq!(served.outcome(), Outcome::Miss);
        assert_eq!(served.cache_status(), "here; fwd=miss");
    }
    assert_eq!(cache.stats().bytes, 0);
}

#[tokio::test]
async fn large_responses_that_arrive_together_stay_within_the_bound() {
    let cache = cache_of(MAX_BYTES);
    for number in 0..50 {
        let large = loaded(&"x".repeat(1 << 20));
        let key = number.to_string();
        cache.get(&key, Mode::Normal, |_| async { Ok(large) }).await.unwrap();
        assert!(cache.stats().bytes <= MAX_BYTES);
    }
}
