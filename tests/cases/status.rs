//! The history in `/status`: the counts of the last minutes, and the openings of circuits.

use std::time::Duration;

use e2e::{proxy::Fault, stack::Stack};
use serde_json::Value;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn the_history_of_both_services_comes_through_main_api() {
    let stack = Stack::start().await;
    let plain = stack.main.get("/status").await.ok();
    for own in [&plain, &plain["aux_service"]] {
        assert_eq!(own.get("history"), None, "{own}");
    }
    assert_ne!(plain["instance"], plain["aux_service"]["instance"], "{plain}");

    let status = stack.main.get("/status?history=true").await.ok();
    for (own, calls) in [(&status, "upstream"), (&status["aux_service"], "aws")] {
        let samples = own["history"].as_array().unwrap();
        let first = samples.first().expect("the first sample is taken at the start");
        for member in ["taken_at", "requests", "waiting", "cache", calls] {
            let kind = |counts: &Value| std::mem::discriminant(&counts[member]);
            assert_eq!(kind(first), kind(own), "{member} of {first}");
            assert!(!first[member].is_null(), "{member} of {first}");
        }
        assert!(first["taken_at"].as_str() <= own["taken_at"].as_str(), "{first} is not earlier");
    }
}

#[tokio::test]
async fn the_status_says_when_a_circuit_was_open() {
    let stack = Stack::with(
        |aux| aux,
        |main| {
            main.with("BREAKER_CONSECUTIVE_FAILURES", "2")
                .with("BREAKER_OPEN_FOR", "100ms")
                .with("RETRY_MAX_ATTEMPTS", "1")
        },
    )
    .await;
    stack.aws.put("/app/key", "hush").await;
    let openings = async || stack.main.get("/status").await.ok()["circuit_openings"].clone();
    assert_eq!(openings().await, Value::Array(Vec::new()));

    stack.between.fail("/param/app/key", Fault::Reset);
    for _ in 0..2 {
        stack.main.get("/param/app/key").await;
    }
    let during = openings().await;
    assert_eq!(during[0]["route"], "/param/{name}", "{during}");
    assert_eq!(during[0]["closed_at"], Value::Null, "{during}");

    stack.between.heal();
    let closed = async {
        while stack.main.get("/param/app/key").await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), closed).await.expect("a probe closes the circuit");
    let after = openings().await;
    assert_eq!(after[0]["opened_at"], during[0]["opened_at"]);
    assert!(after[0]["closed_at"].is_string(), "{after}");
    assert_eq!(after.as_array().map(Vec::len), Some(1), "{after}");
}
