//! The headers of responses, over one hop and over two.

use http::{HeaderMap, StatusCode, header};
use zeroize::Zeroizing;

use super::*;

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).unwrap().to_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_hit_has_its_age_and_remaining_lifetime() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(48 * SECOND).await;
    let response =
        cache.lookup("key", Instant::now()).unwrap().unwrap().response(&HeaderMap::new());
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(text(headers, header::AGE), "48");
    assert_eq!(
        text(headers, header::CACHE_CONTROL),
        "max-age=60, stale-while-revalidate=30, stale-if-error=600"
    );
    assert_eq!(text(headers, header::CACHE_STATUS), "here; hit; ttl=12");
    assert_eq!(text(headers, header::CONTENT_TYPE), "application/json");
    assert_eq!(response.body(), "\"a\"");
}

#[tokio::test(start_paused = true)]
async fn cache_status_reports_each_handling() {
    let (cache, upstream) = (cache(), Upstream::default());
    let status = |result: Result| result.unwrap().cache_status();
    assert_eq!(status(upstream.get(&cache, Ok("a")).await), "here; fwd=miss; stored");
    sleep(FRESH_FOR + STALE_FOR / 2).await;
    assert_eq!(status(upstream.get(&cache, Err(Error::Down)).await), "here; hit; ttl=-15");
    sleep(STALE_FOR / 2).await;
    assert_eq!(
        status(upstream.get(&cache, Err(Error::Down)).await),
        "here; fwd=stale; ttl=-31; detail=stale-if-error",
        "31, since the failed call took its time"
    );
    assert_eq!(
        status(upstream.get(&cache, Ok("b")).await),
        "here; hit; ttl=-31; detail=stale-if-error"
    );
    sleep(60 * SECOND).await;
    assert_eq!(status(upstream.get(&cache, Ok("b")).await), "here; fwd=stale; stored");
    let forced = cache.get("key", Mode::Revalidate, upstream.load(Ok(loaded("c")))).await;
    assert_eq!(status(forced), "here; fwd=request; stored");
    let off = Cache::off(Settings { name: "test", hop: "here", max_bytes: 0 });
    assert_eq!(status(upstream.get(&off, Ok("a")).await), "here; fwd=bypass");
}

#[tokio::test(start_paused = true)]
async fn a_matching_tag_gets_304_until_the_body_changes() {
    let (cache, upstream) = (cache(), Upstream::default());
    let served = upstream.get(&cache, Ok("a")).await.unwrap();
    let mut request = HeaderMap::new();
    let etag = served.response(&request).headers()[header::ETAG].clone();
    request.insert(header::IF_NONE_MATCH, etag.clone());

    let response = served.response(&request);
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(response.headers()[header::ETAG], etag);
    assert!(response.body().is_empty());

    change(&cache, Effect::Drop);
    let response = upstream.get(&cache, Ok("b")).await.unwrap().response(&request);
    assert_eq!(response.status(), StatusCode::OK);
    assert_ne!(response.headers()[header::ETAG], etag);
}

#[tokio::test(start_paused = true)]
async fn confidential_and_unstorable_responses_have_no_store() {
    let (cache, upstream) = (cache(), Upstream::default());
    let mut any = HeaderMap::new();
    any.insert(header::IF_NONE_MATCH, "*".parse().unwrap());

    let body = Zeroizing::new(b"hunter2".to_vec());
    let secret =
        Loaded::new(CachedBody::confidential("text/plain".parse().unwrap(), body), freshness());
    let served = cache.get("secret", Mode::Normal, upstream.load(Ok(secret))).await.unwrap();
    let response = served.response(&any);
    assert_eq!(response.status(), StatusCode::OK, "it has no tag to match");
    assert_eq!(text(response.headers(), header::CACHE_CONTROL), "no-store");
    assert!(!response.headers().contains_key(header::ETAG));

    let unstorable = Loaded { storable: false, ..loaded("private") };
    let served = cache.get("private", Mode::Normal, upstream.load(Ok(unstorable))).await.unwrap();
    let response = served.response(&HeaderMap::new());
    assert_eq!(text(response.headers(), header::CACHE_CONTROL), "no-store");

    assert!(cache.lookup("secret", Instant::now()).is_some(), "it is stored here");
    assert!(cache.lookup("private", Instant::now()).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_age_is_counted_across_two_hops() {
    let upstream = Upstream::default();
    let near = |name| Cache::<Error>::new(Settings { name, hop: name, max_bytes: 1 << 20 });
    let (aux, main) = (near("aux-service"), near("main-api"));
    let get = || async {
        let (aux, upstream) = (aux.clone(), upstream.clone());
        let load = |_| async move {
            let served = upstream.get(&aux, Ok("a")).await.map_err(|_| Error::Down)?;
            let response = served.response(&HeaderMap::new());
            let headers = response.headers();
            Ok(Loaded {
                cache_status: Some(headers[header::CACHE_STATUS].to_str().unwrap().into()),
                ..Loaded::new(
                    served.body().clone(),
                    Freshness::read(headers, Duration::ZERO).unwrap(),
                )
            })
        };
        main.get("key", Mode::Normal, load).await.unwrap()
    };

    let first = get().await;
    assert_eq!(first.cache_status(), "aux-service; fwd=miss; stored, main-api; fwd=miss; stored");
    sleep(40 * SECOND).await;
    change(&main, Effect::Drop);
    assert_eq!(get().await.cache_status(), "aux-service; hit; ttl=20, main-api; fwd=miss; stored");
    sleep(5 * SECOND).await;
    let response = get().await.response(&HeaderMap::new());
    assert_eq!(text(response.headers(), header::AGE), "45", "40 in one, 5 in the other");
    assert_eq!(
        text(response.headers(), header::CACHE_STATUS),
        "aux-service; hit; ttl=20, main-api; hit; ttl=15"
    );
    sleep(15 * SECOND).await;
    assert_eq!(get().await.outcome(), Outcome::Stale, "60 seconds after the origin's response");
}
