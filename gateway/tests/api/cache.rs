//! The cache of main-api: the responses that it stores, their lifetime, and the stale ones that it
//! sends while aux-service fails.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    aux_double::{Act, Aux, JSON, Reply, Seen, body, healthy, problem, response},
    gateway::{Answer, Gateway},
};

const ON: &str = "--cache=on";

fn fresh_for(cache_control: &'static str, age: &'static str) -> impl Fn(&Seen) -> Reply + Clone {
    move |seen| {
        let headers = [
            JSON,
            ("cache-control", cache_control),
            ("age", age),
            ("etag", "\"upstream\""),
            ("cache-status", "aux-service; hit; ttl=53"),
        ];
        response(200, &headers, body(&seen.path))
    }
}

fn seconds(answer: &Answer, name: &str) -> u64 {
    answer.header(name).expect("the header is set").parse().expect("seconds")
}

/// Repeats a request until its response matches.
async fn until(gateway: &Gateway, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = gateway.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "it stays {answer:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_fresh_entry_costs_one_call() {
    let aux = Aux::start(fresh_for("max-age=60", "7")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    let first = gateway.get("/param/a").await;
    let second = gateway.get("/param/a").await;
    assert_eq!(aux.calls(), 1);
    assert_eq!(first.body, second.body);
    assert_eq!(
        first.header("cache-status"),
        Some("aux-service; hit; ttl=53, main-api; fwd=miss; stored")
    );
    let status = second.header("cache-status").expect("the header is set");
    assert!(status.starts_with("aux-service; hit; ttl=53, main-api; hit; ttl=5"), "{status}");
}

/// The age must cover both caches. Otherwise a response would seem younger after it passed through
/// two of them.
#[tokio::test]
async fn the_age_is_that_of_the_origin_across_both_caches() {
    let aux =
        Aux::start(fresh_for("max-age=60, stale-while-revalidate=30, stale-if-error=600", "7"))
            .await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    let first = gateway.get("/buckets").await;
    assert!((7..=8).contains(&seconds(&first, "age")), "{first:?}");
    assert_eq!(
        first.header("cache-control"),
        Some("max-age=60, stale-while-revalidate=30, stale-if-error=600")
    );
    let older = until(&gateway, "/buckets", |answer| seconds(answer, "age") >= 9).await;
    assert_eq!(aux.calls(), 1, "{older:?}");
}

#[tokio::test]
async fn a_response_ages_while_it_is_on_its_way() {
    let aux = Aux::start(|seen| {
        let mut reply = fresh_for("max-age=60", "7")(seen);
        reply.insert(0, Act::Wait(Duration::from_millis(1100)));
        reply
    })
    .await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    assert!(seconds(&gateway.get("/buckets").await, "age") >= 8);
}

#[tokio::test]
async fn each_name_has_an_entry_of_its_own() {
    let aux = Aux::start(|seen| {
        let body = format!(r#"{{"version":"1","value":"the value of {}"}}"#, seen.path);
        response(200, &[JSON, ("cache-control", "max-age=60")], &body)
    })
    .await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    for name in ["a", "a/b", "b"] {
        let answer = gateway.get(&format!("/param/{name}")).await;
        let value = answer.body["value"].as_str().expect("a value").to_owned();
        assert!(value.ends_with(&format!("/param/{name}")), "{name}: {value}");
    }
    assert_eq!(aux.calls(), 3);
    gateway.get("/param//a").await;
    assert_eq!(aux.calls(), 3, "the same name, written with its slash");
}

#[tokio::test]
async fn a_client_with_the_current_response_gets_a_304() {
    let aux = Aux::start(fresh_for("max-age=60", "0")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    let etag = gateway.get("/buckets").await.header("etag").expect("a tag").to_owned();
    assert_ne!(etag, "\"upstream\"", "the body differs from the upstream one");
    assert_eq!(gateway.status_with("/buckets", &[("if-none-match", &etag)]).await, 304);
    assert_eq!(aux.calls(), 1);
}

#[tokio::test]
async fn a_stale_entry_is_served_at_once_and_refreshed_in_the_background() {
    let aux = Aux::start(fresh_for("max-age=0, stale-while-revalidate=60", "0")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    let first = gateway.get("/buckets").await;
    aux.behave(|seen| {
        assert_eq!(
            seen.header("if-none-match"),
            Some("\"upstream\""),
            "it is revalidated, not fetched"
        );
        let headers = [("cache-control", "max-age=60"), ("age", "0"), ("etag", "\"upstream\"")];
        response(304, &headers, "")
    });
    let stale = gateway.get("/buckets").await;
    assert_eq!(stale.body, first.body);
    assert!(stale.header("cache-status").is_some_and(|status| status.contains("main-api; hit")));
    let fresh = until(&gateway, "/buckets", |answer| {
        answer.header("cache-control").is_some_and(|value| value.starts_with("max-age=60"))
    })
    .await;
    assert_eq!(fresh.body, first.body);
    assert_eq!(aux.calls(), 2);
}

#[tokio::test]
async fn a_stale_entry_is_served_while_aux_service_fails() {
    let faults: [fn(&Seen) -> Reply; 4] = [
        |_| vec![Act::Reset],
        |_| vec![Act::Stall],
        |_| problem(503, "aws-throttled", true, &[("retry-after", "60")]),
        |_| response(500, &[], "oops"),
    ];
    for fault in faults {
        let aux = Aux::start(fresh_for("max-age=0, stale-if-error=60", "0")).await;
        let gateway = Gateway::before(&aux, &[ON, "--attempt-timeout=200ms"]).await;
        let good = gateway.get("/buckets").await;
        aux.behave(fault);
        let answer = gateway.get("/buckets").await;
        assert_eq!((answer.status, &answer.body), (200, &good.body));
        let status = answer.header("cache-status").expect("the header is set");
        assert!(status.contains("detail=stale-if-error"), "{status}");
    }
}

#[tokio::test]
async fn a_stale_entry_is_served_at_once_while_the_circuit_is_open() {
    let aux = Aux::start(fresh_for("max-age=0, stale-if-error=60", "0")).await;
    let gateway = Gateway::before(&aux, &[ON, "--breaker-open-for=60s"]).await;
    let good = gateway.get("/param/warm").await;
    aux.stop().await;
    // The cache has no entry for this name.
    until(&gateway, "/param/cold", |answer| answer.body["code"] == "circuit-open").await;
    for _ in 0..20 {
        let answer = gateway.get("/param/warm").await;
        assert_eq!((answer.status, &answer.body), (200, &good.body));
    }
}

#[tokio::test]
async fn a_stale_entry_expires() {
    let aux = Aux::start(fresh_for("max-age=1, stale-if-error=1", "0")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    assert_eq!(gateway.get("/buckets").await.status, 200);
    let loaded = Instant::now();
    aux.behave(|_| problem(502, "aws-credentials", false, &[]));
    until(&gateway, "/buckets", |answer| answer.status == 502).await;
    assert!(loaded.elapsed() >= Duration::from_millis(1900), "{:?}", loaded.elapsed());
    assert!(loaded.elapsed() <= Duration::from_millis(3000), "{:?}", loaded.elapsed());
}

#[tokio::test]
async fn a_response_that_must_not_be_stored_is_not_stored() {
    for forbidden in ["no-store", "private, max-age=60", "no-cache", ""] {
        let aux = Aux::start(fresh_for(forbidden, "0")).await;
        let gateway = Gateway::before(&aux, &[ON]).await;
        for calls in 1..=3 {
            let answer = gateway.get("/param/secret").await;
            assert_eq!(answer.body["value"], "cloud-engineer");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{forbidden}");
            assert_eq!(answer.header("etag"), None, "a tag would show that two secrets are equal");
            assert_eq!(aux.calls(), calls, "{forbidden}");
        }
        aux.stop().await;
        assert_eq!(gateway.get("/param/secret").await.status, 502, "{forbidden}");
    }
}

#[tokio::test]
async fn a_negative_entry_lives_as_long_as_aux_service_says() {
    let unknown = |_: &Seen| {
        problem(404, "parameter-not-found", false, &[("cache-control", "max-age=7"), ("age", "2")])
    };
    let aux = Aux::start(unknown).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    for _ in 0..3 {
        let answer = gateway.get("/param/nothing").await;
        answer.assert_problem(404, "parameter-not-found");
        let cache_control = answer.header("cache-control").expect("the header is set");
        assert!(
            ["max-age=4", "max-age=3"].contains(&cache_control),
            "the remaining whole seconds: {cache_control}"
        );
    }
    assert_eq!(aux.calls(), 1);
}

#[tokio::test]
async fn a_404_or_a_403_replaces_the_entry() {
    for (status, code) in [(404, "parameter-not-found"), (403, "aws-access-denied")] {
        let aux = Aux::start(fresh_for("max-age=0, stale-if-error=600", "0")).await;
        let gateway = Gateway::before(&aux, &[ON]).await;
        assert_eq!(gateway.get("/param/a").await.status, 200);
        aux.behave(move |_| problem(status, code, false, &[]));
        gateway.get("/param/a").await.assert_problem(status, code);
        aux.stop().await;
        assert_eq!(gateway.get("/param/a").await.status, 502, "{code}: the entry is removed");
    }
}

#[tokio::test]
async fn concurrent_requests_make_one_call() {
    let aux = Aux::start(|seen| {
        let mut reply = fresh_for("max-age=60", "0")(seen);
        reply.insert(0, Act::Wait(Duration::from_millis(300)));
        reply
    })
    .await;
    let gateway = Arc::new(Gateway::before(&aux, &[ON]).await);
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let gateway = Arc::clone(&gateway);
        clients.spawn(async move { gateway.get("/buckets").await.status });
    }
    assert_eq!(clients.join_all().await, [200; 50]);
    assert_eq!(aux.calls(), 1);
}

/// A caller with a short deadline must not end the load for the others that wait, nor for later
/// ones.
#[tokio::test]
async fn a_load_outlives_the_caller_that_started_it() {
    let aux = Aux::start(|seen| {
        let mut reply = fresh_for("max-age=60", "0")(seen);
        reply.insert(0, Act::Wait(Duration::from_millis(500)));
        reply
    })
    .await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    let hurried = [("x-envoy-expected-rq-timeout-ms", "50")];
    gateway.get_with("/buckets", &hurried).await.assert_problem(504, "upstream-timeout");
    let answer = gateway.get("/buckets").await;
    assert_eq!(answer.status, 200);
    assert_eq!(aux.calls(), 1);
    assert_eq!(aux.seen()[0].header("x-envoy-expected-rq-timeout-ms"), Some("3800"));
}

/// Without tokens, any client could use up the quota of AWS with forced revalidations.
#[tokio::test]
async fn only_an_authenticated_client_can_force_a_revalidation() {
    let tokens = format!("{}/known-client.tokens", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&tokens, "a-token-of-enough-length\n").unwrap();
    let file = format!("--auth-token-file={tokens}");
    let headers =
        [("authorization", "Bearer a-token-of-enough-length"), ("cache-control", "no-cache")];
    for (flags, calls, sent) in [(vec![ON, &file], 2, Some("no-cache")), (vec![ON], 1, None)] {
        let aux = Aux::start(fresh_for("max-age=60", "0")).await;
        let gateway = Gateway::before(&aux, &flags).await;
        for _ in 0..2 {
            assert_eq!(gateway.get_with("/param/a", &headers).await.status, 200);
        }
        assert_eq!(aux.calls(), calls, "{flags:?}");
        assert_eq!(aux.seen().last().unwrap().header("cache-control"), sent, "{flags:?}");
    }
}

#[tokio::test]
async fn the_parts_of_the_inventory_come_from_the_cache() {
    let aux = Aux::start(fresh_for("max-age=60", "0")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    gateway.get("/buckets").await;
    gateway.get("/inventory").await;
    gateway.get("/inventory").await;
    assert_eq!(aux.calls(), 2);
}

#[tokio::test]
async fn without_a_cache_every_request_is_a_call_and_clients_may_still_store_the_response() {
    let aux = Aux::start(fresh_for("max-age=60", "7")).await;
    let gateway = Gateway::before(&aux, &[]).await;
    for calls in 1..=3 {
        let answer = gateway.get("/buckets").await;
        assert_eq!(aux.calls(), calls);
        assert!(
            answer.header("cache-control").is_some_and(|value| value.starts_with("max-age=60"))
        );
        let status = answer.header("cache-status").expect("the header is set");
        assert!(status.ends_with("main-api; fwd=bypass"), "{status}");
    }
}

#[tokio::test]
async fn a_failure_to_reach_aux_service_is_not_stored() {
    let aux = Aux::start(|_| vec![Act::Reset]).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    gateway.get("/buckets").await.assert_problem(502, "upstream-unavailable");
    aux.behave(healthy);
    assert_eq!(gateway.get("/buckets").await.status, 200);
}
