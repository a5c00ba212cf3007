//! aux-service's cache and the calls that it saves, counted on the connection to AWS.

use std::time::Duration;

use e2e::{
    http::{self, Reply},
    moto::Aws,
    proxy::Fault,
    refusals,
    service::{self, Service},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// A delay that is long enough for all requests of a test to arrive.
const WHILE: Duration = Duration::from_millis(500);

/// Settings for entries that are fresh for 100 ms and then usable only if AWS fails.
const SOON_OLD: [(&str, &str); 3] =
    [("CACHE", "on"), ("CACHE_TTL", "100ms"), ("CACHE_STALE_WHILE_REVALIDATE", "0s")];

async fn start(settings: &[(&str, &str)]) -> (Aws, Service) {
    let aws = Aws::start().await;
    let setup = service::aux(&aws).with("CACHE", "on");
    let setup = settings.iter().fold(setup, |setup, (name, value)| setup.with(name, value));
    let aux = setup.start().await;
    (aws, aux)
}

/// Sends all requests at the same time, and returns the responses in the order of the paths.
async fn at_once(aux: &Service, paths: Vec<String>) -> Vec<Reply> {
    let mut requests = JoinSet::new();
    for (index, path) in paths.into_iter().enumerate() {
        let url = format!("{}{path}", aux.url);
        requests.spawn(async move { (index, http::get(&url).await) });
    }
    let mut replies = requests.join_all().await;
    replies.sort_by_key(|(index, _)| *index);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

/// Waits until entries are stale. The cache uses the clock of the process, so the time must really
/// pass.
async fn grow_old() {
    sleep(Duration::from_millis(150)).await;
}

#[tokio::test]
async fn a_hundred_clients_make_one_call() {
    let (aws, aux) = start(&[]).await;
    aws.put("/app/key", "hush").await;
    aws.proxy.fail_all(Fault::Delay(WHILE));
    let replies = at_once(&aux, vec!["/param/app/key".to_owned(); 100]).await;
    assert!(replies.iter().all(|reply| reply.ok()["value"] == "hush"));
    assert_eq!(aws.proxy.all_calls(), 1);
}

#[tokio::test]
async fn a_call_outlives_the_client_that_started_it() {
    let (aws, aux) = start(&[]).await;
    aws.put("/app/key", "hush").await;
    aws.proxy.fail_all(Fault::Delay(WHILE));
    let leaving = timeout(WHILE / 5, aux.get("/param/app/key")).await;
    assert!(leaving.is_err(), "it left before the answer came");
    aux.get("/param/app/key").await.ok();
    assert_eq!(aws.proxy.all_calls(), 1);
}

#[tokio::test]
async fn stale_entries_are_served_while_aws_throttles() {
    let (aws, aux) = start(&SOON_OLD).await;
    aws.put("/app/key", "hush").await;
    aws.create_bucket("logs").await;
    for (path, call, refusal) in [
        ("/param/app/key", "GetParameter", refusals::ssm_throttled()),
        ("/params", "DescribeParameters", refusals::ssm_throttled()),
        ("/buckets", "ListBuckets", refusals::s3_throttled()),
    ] {
        let fresh = aux.get(path).await.ok();
        aws.proxy.fail(call, refusal);
        grow_old().await;
        let calls = aws.proxy.calls(call);
        let stale = aux.get(path).await;
        assert_eq!(stale.ok(), fresh, "{path}");
        assert_eq!(aws.proxy.calls(call), calls + 1, "{path}: throttling is not retried");
        let status = stale.header("cache-status").unwrap();
        assert!(status.starts_with("aux-service; fwd=stale; ttl=-"), "{path}: {status}");
    }
}

#[tokio::test]
async fn stale_entries_are_served_while_aws_is_unreachable() {
    let (aws, aux) = start(&SOON_OLD).await;
    aws.put("/app/key", "hush").await;
    aux.get("/param/app/key").await.ok();
    for fault in [Fault::Reset, Fault::Truncate] {
        aws.proxy.fail_all(fault);
        grow_old().await;
        assert_eq!(aux.get("/param/app/key").await.ok()["value"], "hush");
    }
    let problem = aux.get("/param/app/unheard-of").await.problem(502, "aws-unavailable");
    assert_eq!(problem["retryable"], true, "what was never known cannot be stood in for");
}

#[tokio::test]
async fn a_definitive_error_of_aws_replaces_a_stale_entry() {
    let (aws, aux) = start(&SOON_OLD).await;
    aws.put("/app/key", "hush").await;
    let (denied, missing) = (refusals::ssm_denied(), refusals::ssm(400, "ParameterNotFound", ""));
    for (refusal, status, code) in
        [(denied, 403, "aws-access-denied"), (missing, 404, "parameter-not-found")]
    {
        aws.proxy.heal();
        while aux.get("/param/app/key").await.status != 200 {
            sleep(Duration::from_millis(100)).await;
        }
        aws.proxy.fail_all(refusal);
        grow_old().await;
        aux.get("/param/app/key").await.problem(status, code);
        aws.proxy.fail_all(Fault::Reset);
        let later = aux.get("/param/app/key").await;
        assert_ne!(later.status, 200, "the stale entry is removed");
        if status == 403 {
            continue;
        }
        later.problem(404, "parameter-not-found");
        let cache_control = later.header("cache-control").unwrap();
        assert!(cache_control.starts_with("max-age="), "{cache_control}");
        return;
    }
}

#[tokio::test]
async fn a_404_is_cached() {
    let (aws, aux) = start(&[]).await;
    for _ in 0..3 {
        aux.get("/param/app/none").await.problem(404, "parameter-not-found");
    }
    assert_eq!(aws.proxy.all_calls(), 1);
}

#[tokio::test]
async fn a_list_that_fails_on_its_second_page_is_not_cached() {
    let (aws, aux) = start(&SOON_OLD).await;
    for number in 0..60 {
        aws.put(&format!("/app/{number}"), "hush").await;
    }
    // The failure is final. A page that fails for a passing reason is read again.
    aws.proxy.fail_nth("DescribeParameters", 2, refusals::ssm_expired());
    aux.get("/params").await.problem(502, "aws-credentials");
    let whole = aux.get("/params").await.ok();
    assert_eq!(whole["parameters"].as_array().unwrap().len(), 60);

    let next = aws.proxy.calls("DescribeParameters") + 2;
    aws.proxy.fail_nth("DescribeParameters", next, refusals::ssm_expired());
    grow_old().await;
    assert_eq!(
        aux.get("/params").await.ok(),
        whole,
        "the old list is whole, half a new one is not"
    );
}

#[tokio::test]
async fn misses_on_different_names_go_to_aws_together() {
    let (aws, aux) = start(&[]).await;
    let paths: Vec<_> = (0..31).map(|number| format!("/param/app/{number}")).collect();
    for (number, _) in paths.iter().enumerate().skip(1) {
        aws.put(&format!("/app/{number}"), &format!("hush {number}")).await;
    }
    aws.proxy.fail_all(Fault::Delay(WHILE));
    let replies = at_once(&aux, paths).await;
    // Each name has its own outcome.
    replies[0].problem(404, "parameter-not-found");
    for (number, reply) in replies.iter().enumerate().skip(1) {
        assert_eq!(reply.ok()["value"], format!("hush {number}"));
    }
    let (alone, together) = (aws.proxy.calls("GetParameter"), aws.proxy.calls("GetParameters"));
    assert!(together >= 3 && alone + together <= 10, "{alone} alone, {together} together");
}

#[tokio::test]
async fn a_denied_batch_is_repeated_name_by_name() {
    let (aws, aux) = start(&[]).await;
    let paths: Vec<_> = (0..12).map(|number| format!("/param/app/{number}")).collect();
    for number in 0..12 {
        aws.put(&format!("/app/{number}"), "hush").await;
    }
    aws.proxy.fail("GetParameter", Fault::Delay(WHILE));
    aws.proxy.fail("GetParameters", refusals::ssm_denied());
    let replies = at_once(&aux, paths).await;
    assert!(replies.iter().all(|reply| reply.ok()["value"] == "hush"));
    assert!(aws.proxy.calls("GetParameters") >= 1, "they did go together first");
    assert_eq!(aws.proxy.calls("GetParameter"), 12);
}

#[tokio::test]
async fn an_exhausted_quota_sends_retry_after() {
    let (aws, aux) = start(&[("AWS_RATE_GET", "1")]).await;
    aws.put("/app/key", "hush").await;
    aux.get("/param/app/key").await.ok();
    let refused = aux.get("/param/app/other").await;
    refused.problem(503, "aws-throttled");
    assert_eq!(refused.header("retry-after"), Some("1"));
    aux.get("/param/app/key").await.ok();
    assert_eq!(aws.proxy.all_calls(), 1, "what is known needs no quota");
}

#[tokio::test]
async fn a_client_that_has_the_response_gets_304() {
    let (aws, aux) = start(&[]).await;
    aws.put("/app/key", "hush").await;
    let first = aux.get("/param/app/key").await;
    let etag = first.header("etag").unwrap();
    let url = format!("{}/param/app/key", aux.url);
    let again = http::send("GET".parse().unwrap(), &url, &[("if-none-match", etag)]).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(again.header("etag"), Some(etag));
    assert!(again.header("cache-control").unwrap().contains("stale-if-error="));
}

#[tokio::test]
async fn no_cache_on_the_path_may_store_a_secret() {
    let (aws, aux) = start(&[("ALLOW_SECURE_STRINGS", "true")]).await;
    aws.put_typed("/app/secret", "SecureString", "hush").await;
    for path in ["/param/app/secret", "/values/app"] {
        let reply = aux.get(path).await;
        reply.ok();
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(reply.header("etag"), None, "{path}: equal tags would show equal secrets");
    }
}
