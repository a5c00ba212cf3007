//! Runs both services under load, with faults on command. The checks of dashboards, alerts and
//! pages observe it from outside.
//!
//! The first line of its output holds the addresses. Each line of its input names the fault to
//! cause, or `calm` for none, and the program prints the line again to confirm it. It ends at the
//! end of its input. Its only argument is the URL of a shared cache for aux-service.

use std::{io::Write, time::Duration};

use e2e::{
    MARK,
    proxy::Fault,
    refusals::{s3_expired, s3_throttled, ssm_expired, ssm_throttled},
    stack::Stack,
};
use serde_json::json;
use tokio::task::spawn_blocking;

/// The paths that clients request in turn. The names that do not exist get a 404, and the path
/// without a route is one that a scanner sends.
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

/// The number of clients. It exceeds `MAX_IN_FLIGHT`, so that the services shed requests.
const CLIENTS: usize = 12;
const MAX_IN_FLIGHT: &str = "8";

/// The pause between two requests of one client.
const PAUSE: Duration = Duration::from_millis(60);

/// The timeout of the impatient clients. They abandon a request only if it waits for AWS.
const IMPATIENCE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() {
    let stack = Stack::with(
        |aux| {
            let aux = match std::env::args().nth(1) {
                Some(engine) => aux.with("SHARED_CACHE_URL", &engine),
                None => aux,
            };
            aux.with("AWS_RATE_GET", "1000")
                .with("AWS_RATE_LIST", "100")
                .with("CACHE", "on")
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
    report(&json!({ "main-api": stack.main.url, "aux-service": stack.aux.url }).to_string());

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
        report(&weather);
    }
}

/// Runs one client, which sends one request after the other.
async fn ask_on(url: String, client: usize) {
    let impatient = client.is_multiple_of(3);
    let builder = reqwest::Client::builder().no_proxy();
    let builder = if impatient { builder.timeout(IMPATIENCE) } else { builder };
    let http = builder.build().expect("a client without TLS needs nothing that could be missing");
    for path in ASKED.iter().cycle().skip(client) {
        // The metrics count the outcome, so it is ignored here.
        if let Ok(answer) = http.get(format!("{url}{path}")).send().await {
            let _ = answer.bytes().await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the next line of the input, or `None` at its end.
fn heard() -> Option<String> {
    std::io::stdin().lines().next()?.ok()
}

fn report(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).expect("somebody listens");
}
