//! The clients' view of main-api while aux-service is killed and restarted, at 200 requests a
//! second.

use std::{sync::Arc, time::Duration};

use e2e::{
    load::at_rate,
    service::{Service, Setup},
};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

const PATH: &str = "/param/challenge/kantox";

/// The time between two requests, for 200 requests a second.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(5);

const BEFORE: Duration = Duration::from_secs(3);
const OUTAGE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(5);

/// The time that a busy machine may add to any step.
const SLACK: Duration = Duration::from_secs(5);

struct Seen {
    /// The time of the response since the start of the load.
    answered: Duration,
    took: Duration,
    status: u16,
    code: Value,
}

/// Settings of aux-service with short lifetimes, so that an outage needs entries that are usable
/// only if aux-service fails.
fn aux(address: &str) -> Setup {
    Setup::of("aux-service")
        .with("LISTEN_ADDR", address)
        .with("BACKEND", "embedded")
        .with("CACHE_TTL", "1s")
        .with("CACHE_STALE_WHILE_REVALIDATE", "1s")
}

/// Returns all responses, and the time of aux-service's return since the start of the load.
async fn restart_under_load(cache: &str) -> (Vec<Seen>, Duration) {
    let first = aux("127.0.0.1:0").start().await;
    let url = first.url.clone();
    let address = url.trim_start_matches("http://").to_owned();
    let main = Setup::of("main-api")
        .with("AUX_URL", &url)
        .with("CACHE", cache)
        .with("BREAKER_OPEN_FOR", "1s")
        .start()
        .await;
    main.get(PATH).await.ok();

    let start = Instant::now();
    let load = tokio::spawn(load(main, start));
    sleep_until(start + BEFORE).await;
    drop(first);
    sleep_until(start + BEFORE + OUTAGE).await;
    let _second = aux(&address).start().await;
    let back = start.elapsed();
    (load.await.unwrap(), back)
}

async fn load(main: Service, start: Instant) -> Vec<Seen> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url: Arc<str> = format!("{}{PATH}", main.url).into();
    let is_over = || start.elapsed() >= BEFORE + OUTAGE + AFTER;
    at_rate(BETWEEN_REQUESTS, is_over, || {
        let (client, url) = (client.clone(), Arc::clone(&url));
        async move {
            let sent = Instant::now();
            let answer = client.get(&*url).send().await.expect("main-api always answers");
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.expect("main-api answers JSON");
            let code = body["code"].clone();
            Seen { answered: start.elapsed(), took: sent.elapsed(), status, code }
        }
    })
    .await
}

fn report(what: &str, seen: &[Seen]) {
    let mut took: Vec<Duration> = seen.iter().map(|seen| seen.took).collect();
    took.sort();
    let failed = seen.iter().filter(|seen| seen.status != 200).count();
    eprintln!(
        "{what}: {} requests, {failed} failed; p50 {:?}, p99 {:?}, longest {:?}",
        seen.len(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_cache_hides_a_restart_of_aux_service() {
    let (seen, _) = restart_under_load("on").await;
    report("warm", &seen);
    let failed = seen.iter().find(|seen| seen.status != 200);
    assert!(failed.is_none(), "{:?}", failed.map(|seen| (seen.answered, &seen.code)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_cache_a_restart_fails_fast_and_ends_with_the_outage() {
    let (seen, back) = restart_under_load("off").await;
    report("cold", &seen);
    let failed: Vec<&Seen> = seen.iter().filter(|seen| seen.status != 200).collect();
    for seen in &failed {
        assert!(
            ["circuit-open", "upstream-unavailable"].map(Value::from).contains(&seen.code),
            "{} {}",
            seen.status,
            seen.code
        );
        assert!(seen.answered >= BEFORE, "nothing fails while aux-service runs: {}", seen.code);
    }
    let mut took: Vec<Duration> = failed.iter().map(|seen| seen.took).collect();
    took.sort();
    // The test uses the median, since a busy machine delays some requests.
    let median = took[took.len() / 2];
    assert!(
        median < Duration::from_secs(1),
        "requests fail fast while the upstream is down: {median:?}"
    );
    let last = failed.iter().map(|seen| seen.answered).max().expect("an outage is seen");
    eprintln!(
        "cold: the last failure came {:?} after aux-service's return",
        last.saturating_sub(back)
    );
    // The longest pause is one second, doubled after a failed probe, plus a fifth of it for the
    // jitter.
    assert!(last < back + Duration::from_millis(2400) + SLACK, "{last:?}, back at {back:?}");
    assert!(seen.iter().any(|seen| seen.status == 200 && seen.answered > back), "it came back");
}
