//! Responses that are made of several entries.

use super::*;

/// Returns an entry that is served at this age, and its cache.
async fn served_at(age: Duration, freshness: Freshness) -> Served {
    let loaded =
        Loaded { freshness: Freshness { age_at_load: age, ..freshness }, ..loaded("part") };
    let load = Upstream::default().load(Ok(loaded));
    cache().get("key", Mode::Normal, load).await.unwrap()
}

fn combined(parts: &[Served], expires_in: Option<Duration>) -> Served {
    Served::combined("here", parts, expires_in, loaded("whole").body, Instant::now())
}

fn cache_control(served: &Served) -> String {
    let response = served.response(&http::HeaderMap::new());
    response.headers()["cache-control"].to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_combined_response_is_as_old_as_its_oldest_part_and_as_fresh_as_all_of_them() {
    let old = served_at(10 * SECOND, freshness()).await;
    let short = Freshness::new(20 * SECOND, 5 * SECOND, 100 * SECOND);
    let short = served_at(4 * SECOND, short).await;
    let whole = combined(&[old, short], None);
    assert_eq!(whole.age(), 10 * SECOND);
    // The second part is fresh for 16 s more, stale for 5 s after that, and expires after 116 s.
    assert_eq!(cache_control(&whole), "max-age=26, stale-while-revalidate=5, stale-if-error=100");
    assert_eq!(whole.outcome(), Outcome::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_stale_makes_the_whole_stale() {
    let stale = served_at(FRESH_FOR + SECOND, freshness()).await;
    let fresh = served_at(Duration::ZERO, freshness()).await;
    let whole = combined(&[fresh, stale], None);
    assert_eq!(cache_control(&whole), "max-age=61, stale-while-revalidate=29, stale-if-error=599");
}

#[tokio::test(start_paused = true)]
async fn a_negative_part_bounds_the_lifetime() {
    let part = served_at(10 * SECOND, freshness()).await;
    let whole = combined(&[part], Some(NEGATIVE_TTL));
    assert_eq!(cache_control(&whole), "max-age=20, stale-while-revalidate=0, stale-if-error=0");
    let alone = combined(&[], Some(NEGATIVE_TTL));
    assert_eq!(cache_control(&alone), "max-age=10, stale-while-revalidate=0, stale-if-error=0");
    assert_eq!(alone.outcome(), Outcome::Negative);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_no_cache_may_store_keeps_the_whole_out_of_caches() {
    let off = Cache::<Error>::off(Settings { name: "test", hop: "here", max_bytes: 0 });
    let load = Upstream::default().load(Ok(Loaded { storable: false, ..loaded("part") }));
    let part = off.get("key", Mode::Normal, load).await.unwrap();
    assert_eq!(cache_control(&combined(&[part], None)), "no-store");
}
