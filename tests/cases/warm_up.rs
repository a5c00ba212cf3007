//! The warm-up: entries that are loaded at the start and kept fresh.

use std::time::Duration;

use e2e::{
    fake_aws::{Account, FakeAws},
    moto::Aws,
    proxy::Fault,
    refusals,
    service::{self, Service},
    stack::Stack,
};
use tokio::time::{sleep, timeout};

const ITEMS: &str = "/app/,/shared/db";

/// Waits until the service is ready.
async fn ready(aux: &Service) {
    let ready = async {
        while aux.get("/readyz").await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), ready).await.expect("the service becomes ready");
}

async fn stocked() -> Aws {
    let aws = Aws::start().await;
    aws.put("/app/key", "hush: a value").await;
    aws.put("/shared/db", "hush: a host").await;
    aws
}

#[tokio::test]
async fn the_entries_of_the_warm_up_are_loaded_before_the_service_is_ready() {
    let aws = stocked().await;
    let aux = service::aux(&aws).with("CACHE", "on").with("WARM_UP", ITEMS).start().await;
    ready(&aux).await;
    let calls = aws.proxy.all_calls();
    assert_eq!(calls, 2);
    aux.get("/values/app").await.ok();
    aux.get("/param/shared/db").await.ok();
    assert_eq!(aws.proxy.all_calls(), calls);
}

#[tokio::test]
async fn the_entries_of_the_warm_up_stay_fresh_without_a_request() {
    let aws = stocked().await;
    let aux = service::aux(&aws)
        .with("CACHE", "on")
        .with("CACHE_TTL", "1s")
        .with("CACHE_STALE_WHILE_REVALIDATE", "0s")
        .with("WARM_UP", "/shared/db")
        .start()
        .await;
    aws.put("/shared/db", "hush: another host").await;
    let refreshed = async {
        while aws.proxy.calls("GetParameter") < 3 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), refreshed).await.expect("the entry is refreshed");
    let reply = aux.get("/param/shared/db").await;
    assert_eq!(reply.json()["value"], "hush: another host");
    assert!(reply.header("cache-status").unwrap().contains("aux-service; hit"), "{reply:?}");
}

#[tokio::test]
async fn readiness_waits_for_the_warm_up_no_longer_than_its_timeout() {
    let aws = stocked().await;
    aws.proxy.fail_all(Fault::Hang);
    let aux = service::aux(&aws)
        .with("CACHE", "on")
        .with("WARM_UP", ITEMS)
        .with("WARM_UP_TIMEOUT", "2s")
        .start()
        .await;
    aux.get("/readyz").await.problem(503, "starting");
    assert_eq!(aux.get("/healthz").await.status, 200);
    ready(&aux).await;
    aws.proxy.heal();
    let loaded = async {
        while !aux
            .get("/param/shared/db")
            .await
            .header("cache-status")
            .is_some_and(|s| s.contains("; hit"))
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), loaded).await.expect("the loads continue");
}

#[tokio::test]
async fn an_item_that_does_not_exist_delays_no_start() {
    let aws = stocked().await;
    aws.proxy.fail("GetParametersByPath", refusals::ssm_denied());
    let aux = service::aux(&aws)
        .with("CACHE", "on")
        .with("WARM_UP", "/app/,/shared/none")
        .with("WARM_UP_TIMEOUT", "60s")
        .start()
        .await;
    ready(&aux).await;
    assert!(aux.log().contains("an item of the warm-up cannot be loaded"), "{}", aux.log());
}

#[tokio::test]
async fn without_a_warm_up_nothing_is_loaded_at_the_start() {
    let stack = Stack::start().await;
    assert_eq!(stack.aux.get("/readyz").await.status, 200);
    assert_eq!(stack.aws.proxy.all_calls(), 0);
}

/// A long list at a low rate is loaded in batches, which leave room for the misses of requests.
#[tokio::test]
async fn many_names_share_calls_at_a_low_rate() {
    let account = Account::of(60);
    let names = account.parameters.join(",");
    let aws = FakeAws::start(move |call| account.reply(call)).await;
    let aux = service::aux_at(&aws.url)
        .with("CACHE", "on")
        .with("AWS_RATE_GET", "4")
        .with("WARM_UP", &names)
        .with("WARM_UP_TIMEOUT", "60s")
        .start()
        .await;
    ready(&aux).await;
    let calls = aws.calls("GetParameter") + aws.calls("GetParameters");
    assert!(calls <= 20, "60 names took {calls} calls");
    aux.get("/param/app/00059").await.ok();
    assert_eq!(aws.calls("GetParameter") + aws.calls("GetParameters"), calls);
}

#[tokio::test]
async fn an_arn_of_the_warm_up_needs_an_arn_among_the_prefixes() {
    let aws = Aws::start().await;
    let foreign = "arn:aws:ssm:eu-west-2:210987654321:parameter/app/key";
    let output = service::aux(&aws)
        .with("CACHE", "on")
        .with("PARAMETER_PREFIXES", "/app")
        .with("WARM_UP", foreign)
        .run_to_end()
        .await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(foreign), "{stderr}");
}
