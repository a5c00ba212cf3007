//! Both services under load, on a day that goes wrong on cue: for the checks of dashboards, alerts
//! and pages, which look at it from outside.
//!
//! The first line that it prints holds the addresses. Then each line of its input is a kind of
//! weather, which it confirms by printing it. It ends with its input.

use std::{io::Write, time::Duration};

use e2e::{
    MARK,
    proxy::Fault,
    refusals::{s3_expired, s3_throttled, ssm_expired, ssm_throttled},
    stack::Stack,
};
use serde_json::json;
use tokio::task::spawn_blocking;

/// What clients ask for, again and again. The names that do not exist are answered with 404, and
/// the path that no route has is what a scanner sends.
const ASKED: [&str; 8] = [
    "/buckets",
    "/params",
    "/param/app/key",
    "/param/app/other",
    "/values/app",
    "/inventory",
    "/param/no/such/name",
    "/wp-login.php",
];

/// More than the services are allowed to serve at once.
const CLIENTS: usize = 12;
const MAX_IN_FLIGHT: &str = "8";

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(60);

/// Clients that leave when they have to wait for AWS, and only then.
const IMPATIENCE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() {
    let stack = Stack::with(
        |aux| {
            aux.with("CACHE", "on")
                .with("CACHE_TTL", "2s")
                .with("CACHE_STALE_WHILE_REVALIDATE", "2s")
                .with("CACHE_STALE_IF_ERROR", "1h")
                .with("CACHE_NEGATIVE_TTL", "1s")
        },
        |main| {
            main.with("CACHE", "on")
                .with("MAX_IN_FLIGHT", MAX_IN_FLIGHT)
                .with("RETRY_MAX_ATTEMPTS", "3")
                .with("BREAKER_CONSECUTIVE_FAILURES", "5")
                .with("BREAKER_FAILURE_RATE", "0.5")
                .with("BREAKER_OPEN_FOR", "2s")
        },
    )
    .await;
    for name in ["/app/key", "/app/other"] {
        stack.aws.put(name, &format!("{MARK}-{name}")).await;
    }
    stack.aws.create_bucket(&format!("bad-day-{}", std::process::id())).await;

    for client in 0..CLIENTS {
        let (main, aux) = (stack.main.url.clone(), stack.aux.url.clone());
        tokio::spawn(ask_on(if client.is_multiple_of(4) { aux } else { main }, client));
    }
    tell(&json!({ "main-api": stack.main.url, "aux-service": stack.aux.url }).to_string());

    while let Some(weather) = spawn_blocking(heard).await.expect("reading a line does not panic") {
        stack.aws.proxy.heal();
        stack.between.heal();
        let aws = &stack.aws.proxy;
        match weather.as_str() {
            "calm" => {}
            "throttled" => {
                aws.fail_all(ssm_throttled());
                aws.fail("ListBuckets", s3_throttled());
            }
            "expired credentials" => {
                aws.fail_all(ssm_expired());
                aws.fail("ListBuckets", s3_expired());
            }
            "slow" => aws.fail_all(Fault::Delay(Duration::from_millis(700))),
            "cut" => stack.between.fail_all(Fault::Reset),
            other => panic!("there is no weather called {other}"),
        }
        tell(&weather);
    }
}

/// One client, which asks one thing after the other.
async fn ask_on(url: String, client: usize) {
    let impatient = client.is_multiple_of(3);
    let builder = reqwest::Client::builder().no_proxy();
    let builder = if impatient { builder.timeout(IMPATIENCE) } else { builder };
    let http = builder.build().expect("a client without TLS needs nothing that could be missing");
    for path in ASKED.iter().cycle().skip(client) {
        // How it is answered is for the metrics to tell.
        if let Ok(answer) = http.get(format!("{url}{path}")).send().await {
            let _ = answer.bytes().await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The next line of the input, until it ends.
fn heard() -> Option<String> {
    std::io::stdin().lines().next()?.ok()
}

fn tell(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).expect("somebody listens");
}
