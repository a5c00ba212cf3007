//! The shared cache in the metrics, in `/status` and in the log.

use std::time::{Duration, SystemTime};

use e2e::{
    fleet::{Fleet, reports},
    service::Service,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

/// Returns the value of a sample, given its name and labels as in the text.
async fn sample(replica: &Service, name: &str) -> Option<f64> {
    sample_of(&replica.get("/metrics").await.body, name)
}

fn sample_of(metrics: &str, name: &str) -> Option<f64> {
    let mut samples = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    samples.find_map(|(found, value)| (found == name).then(|| value.parse().ok())?)
}

async fn requests(replica: &Service, operation: &str, outcome: &str) -> f64 {
    let labels = format!("{{operation=\"{operation}\",outcome=\"{outcome}\"}}");
    // An operation between two scrapes would be in one of them only.
    let metrics = replica.get("/metrics").await.body;
    let count = sample_of(&metrics, &format!("shared_cache_requests_total{labels}"));
    let duration = format!("shared_cache_request_duration_seconds_count{labels}");
    if outcome != "skipped" {
        let timed = sample_of(&metrics, &duration);
        assert_eq!(timed.unwrap_or_default(), count.unwrap_or_default(), "{labels}");
    }
    count.unwrap_or_default()
}

/// Waits until this number of operations with an outcome is counted.
async fn counted(replica: &Service, operation: &str, outcome: &str, count: f64) {
    let poll = async {
        while requests(replica, operation, outcome).await < count {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = timeout(Duration::from_secs(20), poll).await;
    assert!(reached.is_ok(), "{operation} {outcome} never reached {count}");
}

#[tokio::test]
async fn operations_on_the_shared_cache_are_counted_by_outcome() {
    let mut fleet = Fleet::with(2, |replica| {
        replica.with("SHARED_AWS_RATE_GET", "20").with("AWS_RATE_GET", "7")
    })
    .await;
    fleet.aws.put("/app/key", "hush: a value").await;
    let [first, second] = &fleet.replicas[..] else { panic!("there are two") };
    first.get("/param/app/key").await.ok();
    counted(first, "store", "stored", 1.0).await;
    second.get("/param/app/key").await.ok();
    assert_eq!(requests(first, "lookup", "miss").await, 1.0);
    assert_eq!(requests(first, "quota", "hit").await, 1.0);
    assert_eq!(requests(second, "lookup", "hit").await, 1.0);
    assert_eq!(requests(second, "lookup", "miss").await, 0.0);

    for (group, rate) in
        [("reads", 20.0), ("parameter_lists", 10_000.0), ("bucket_lists", 10_000.0)]
    {
        let name = format!("aws_rate_limit{{group=\"{group}\",scope=\"fleet\"}}");
        assert_eq!(sample(first, &name).await, Some(rate), "{name}");
    }
    let own = sample(first, "aws_rate_limit{group=\"reads\",scope=\"replica\"}").await;
    assert_eq!(own, Some(7.0));

    fleet.engine.kill();
    for replica in &fleet.replicas {
        reports(replica, "degraded").await;
    }
    let first = &fleet.replicas[0];
    first.get("/param/app/unheard-of").await.problem(404, "parameter-not-found");
    counted(first, "lookup", "skipped", 1.0).await;
}

#[tokio::test]
async fn the_metrics_and_the_status_say_since_when_the_shared_cache_is_degraded() {
    let mut fleet = Fleet::start(1).await;
    let since = "shared_cache_degraded_since_timestamp_seconds";
    let shared =
        async |fleet: &Fleet| fleet.replicas[0].get("/status").await.ok()["shared_cache"].clone();
    assert_eq!(sample(&fleet.replicas[0], since).await, Some(0.0));
    let status = shared(&fleet).await;
    assert_eq!(status["state"], "ok", "{status}");
    assert_eq!(status["degraded_since"], Value::Null, "{status}");
    assert!(status["requests"].is_object(), "{status}");

    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    fleet.engine.kill();
    reports(&fleet.replicas[0], "degraded").await;
    let after = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let time = sample(&fleet.replicas[0], since).await.unwrap();
    assert!((before.floor()..=after.ceil()).contains(&time), "{before} {time} {after}");
    let status = shared(&fleet).await;
    assert_eq!(status["state"], "degraded", "{status}");
    let shown = humantime::parse_rfc3339(status["degraded_since"].as_str().unwrap()).unwrap();
    let shown = shown.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((shown - time).abs() <= 1.0, "{shown} {time}");

    fleet.engine.restart().await;
    reports(&fleet.replicas[0], "ok").await;
    assert_eq!(sample(&fleet.replicas[0], since).await, Some(0.0));
    fleet.replicas[0].log_line(|line| line["message"] == "the shared cache works again").await;
}
