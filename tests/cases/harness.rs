//! Tests of the tests' own building blocks. If a fault did not happen, every other test would pass
//! without testing anything.

mod engine;

use std::time::Duration;

use e2e::{
    http,
    moto::Aws,
    proxy::{Answer, Fault, Proxy},
    refusals,
};
use reqwest::Method;
use tokio::time::{Instant, timeout};

/// Starts a server that sends these eight bytes for every request, and a proxy in front of it.
async fn proxied() -> (Proxy, Proxy) {
    let server = Proxy::before("http://127.0.0.1:9").await;
    server.fail_all(Answer::new(200, "text/plain", "12345678"));
    let proxy = Proxy::before(&server.url).await;
    (server, proxy)
}

async fn get(proxy: &Proxy) -> reqwest::Result<(u16, String)> {
    let answer = reqwest::get(format!("{}/it?x=1", proxy.url)).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn the_proxy_passes_every_call_without_a_fault() {
    let (server, proxy) = proxied().await;
    assert_eq!(get(&proxy).await.unwrap(), (200, "12345678".into()));
    assert_eq!(server.requests("/it")[0].target, "/it?x=1");
    let head = http::send(Method::HEAD, &format!("{}/it", proxy.url), &[("x-id", "7")]).await;
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(server.requests("/it")[1].header("x-id"), Some("7"));
}

#[tokio::test]
async fn a_fault_hits_the_nth_call_and_no_other() {
    let (_server, proxy) = proxied().await;
    proxy.fail_nth("/it", 2, refusals::ssm_throttled());
    assert_eq!(get(&proxy).await.unwrap().0, 200);
    let (status, body) = get(&proxy).await.unwrap();
    assert_eq!((status, body.contains("ThrottlingException")), (400, true));
    assert_eq!(get(&proxy).await.unwrap().0, 200);
    assert_eq!((proxy.calls("/it"), proxy.calls("/other"), proxy.all_calls()), (3, 0, 3));
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_truncated_body_is_truncated() {
    let (_server, proxy) = proxied().await;
    proxy.fail("/it", Fault::Reset);
    let reset = format!("{:?}", get(&proxy).await.unwrap_err());
    assert!(reset.contains("ConnectionReset"), "{reset}");
    proxy.fail("/it", Fault::Truncate);
    let truncated = get(&proxy).await.unwrap_err();
    assert!(truncated.is_decode() || truncated.is_body(), "{truncated:?}");
    proxy.heal();
    assert_eq!(get(&proxy).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_delay_delays_and_a_hang_or_a_stall_has_no_end() {
    let (_server, proxy) = proxied().await;
    let pause = Duration::from_millis(100);
    proxy.fail("/it", Fault::Delay(pause));
    let start = Instant::now();
    assert_eq!(get(&proxy).await.unwrap().0, 200);
    assert!(start.elapsed() >= pause);
    proxy.fail("/it", Fault::Hang);
    assert!(timeout(pause, reqwest::get(format!("{}/it", proxy.url))).await.is_err());
    proxy.fail("/it", Fault::Stall);
    let head = reqwest::get(format!("{}/it", proxy.url)).await.unwrap();
    assert!(timeout(pause, head.bytes()).await.is_err());
}

#[tokio::test]
async fn a_proxy_refuses_connections_on_command_and_accepts_them_again() {
    let (server, proxy) = proxied().await;
    let held = reqwest::Client::new();
    let get_held = async || held.get(format!("{}/it", proxy.url)).send().await;
    assert_eq!(get_held().await.unwrap().status(), 200);
    proxy.refuse_connections().await;
    for refused in [get(&proxy).await.unwrap_err(), get_held().await.unwrap_err()] {
        assert!(format!("{refused:?}").contains("ConnectionRefused"), "{refused:?}");
    }
    proxy.accept_connections();
    assert_eq!(get(&proxy).await.unwrap().0, 200);
    assert_eq!(server.all_calls(), 2);
}

#[tokio::test]
async fn each_test_has_an_account_of_its_own() {
    let (one, other) = (Aws::start().await, Aws::start().await);
    one.put("/only/here", "hush").await;
    for (aws, found) in [(&one, true), (&other, false)] {
        let answer = reqwest::Client::new()
            .post(&aws.proxy.url)
            .header("x-amz-target", "AmazonSSM.DescribeParameters")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-2/ssm/aws4_request",
            )
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.text().await.unwrap().contains("/only/here"), found);
        assert_eq!(aws.proxy.calls("DescribeParameters"), 1);
    }
}
