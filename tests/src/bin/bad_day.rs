//! Runs both services under load, with faults on command. The checks of dashboards, alerts and
//! pages observe it from outside.
//!
//! The first line of its output holds the addresses. Each line of its input names the fault to
//! cause, or `calm` for none, and the program prints the line again to confirm it. It ends at the
//! end of its input. Its only argument is the URL of a shared cache for aux-service.

use std::{io::Write, time::Duration};

use e2e::{
    MARK,
    change_queue::{self, change, event},
    moto::Aws,
    proxy::{Fault, Proxy},
    refusals::{s3_expired, s3_throttled, ssm_expired, ssm_throttled},
    service,
};
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
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

/// The parameters that change, in turn. No event reports the second one, so a refresh finds its
/// changes.
const CHANGED: [&str; 2] = ["/app/key", "/app/other"];

/// The pause between two changes.
const CHANGE_PAUSE: Duration = Duration::from_secs(1);

/// The seconds until a message that was not deleted arrives again. It is short, so that a message
/// without an event arrives for the third time.
const VISIBILITY_TIMEOUT: u32 = 5;

/// The number of clients of each service that wait for a change, and of those that read the stream
/// of changes.
const FOLLOWERS: usize = 2;

#[tokio::main]
async fn main() {
    let stand_in = Aws::start().await;
    change_queue::create(&stand_in, VISIBILITY_TIMEOUT).await;
    let aux = match std::env::args().nth(1) {
        Some(engine) => change_queue::reader(&stand_in).with("SHARED_CACHE_URL", &engine),
        None => change_queue::reader(&stand_in),
    };
    let aux = aux
        .with("AWS_RATE_GET", "1000")
        .with("AWS_RATE_LIST", "100")
        .with("CACHE_TTL", "2s")
        .with("CACHE_STALE_WHILE_REVALIDATE", "2s")
        .with("CACHE_STALE_IF_ERROR", "1h")
        .with("CACHE_NEGATIVE_TTL", "1s")
        .start()
        .await;
    let between = Proxy::before(&aux.url).await;
    let main = service::main_api(&between.url)
        .with("CACHE", "on")
        .with("MAX_IN_FLIGHT", MAX_IN_FLIGHT)
        .with("RETRY_MAX_ATTEMPTS", "3")
        .with("BREAKER_CONSECUTIVE_FAILURES", "5")
        .with("BREAKER_FAILURE_RATE", "0.5")
        .with("BREAKER_OPEN_FOR", "2s")
        .start()
        .await;
    for name in CHANGED {
        stand_in.put(name, &format!("{MARK}-{name}")).await;
    }
    stand_in.create_bucket(&format!("bad-day-{}", std::process::id())).await;

    let stand_in: &'static Aws = Box::leak(Box::new(stand_in));
    tokio::spawn(change_on(stand_in));
    for client in 0..CLIENTS {
        let (main, aux) = (main.url.clone(), aux.url.clone());
        tokio::spawn(ask_on(if client.is_multiple_of(4) { aux } else { main }, client));
    }
    for url in [&main.url, &aux.url] {
        for _ in 0..FOLLOWERS {
            tokio::spawn(wait_on(format!("{url}/param{}", CHANGED[0])));
            tokio::spawn(stream_on(format!("{url}/changes")));
        }
    }
    report(&json!({ "main-api": main.url, "aux-service": aux.url }).to_string());

    while let Some(weather) = spawn_blocking(heard).await.expect("reading a line does not panic") {
        let aws = &stand_in.proxy;
        aws.heal();
        between.heal();
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
            "cut" => between.fail_all(Fault::Reset),
            other => panic!("there is no weather called {other}"),
        }
        report(&weather);
    }
}

/// Runs one client, which sends one request after the other.
async fn ask_on(url: String, client: usize) {
    let impatient = client.is_multiple_of(3);
    let http = http_client(impatient.then_some(IMPATIENCE));
    for path in ASKED.iter().cycle().skip(client) {
        // The metrics count the outcome, so it is ignored here.
        if let Ok(answer) = http.get(format!("{url}{path}")).send().await {
            let _ = answer.bytes().await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Changes a parameter at each turn. Its message may be joined by one of another program of AWS, and
/// by one that is no event.
async fn change_on(aws: &Aws) {
    for (turn, name) in CHANGED.iter().cycle().enumerate() {
        tokio::time::sleep(CHANGE_PAUSE).await;
        aws.put(name, &format!("{MARK}-{name}-{turn}")).await;
        let mut messages = Vec::new();
        if *name == CHANGED[0] {
            messages.push(change(name, "Update"));
        }
        if turn.is_multiple_of(5) {
            messages.push(event("aws.ec2", "EC2 Instance State-change Notification", &json!({})));
            messages.push("no event".to_owned());
        }
        change_queue::send(aws, &messages).await;
    }
}

/// Runs one client that always waits for the next response for a URL.
async fn wait_on(url: String) {
    let http = http_client(None);
    let mut tag = HeaderValue::from_static("\"none\"");
    loop {
        let request = http.get(&url).header(IF_NONE_MATCH, &tag).header("prefer", "wait=10");
        match request.send().await {
            Ok(response) if response.status().is_success() => {
                if let Some(new) = response.headers().get(ETAG) {
                    tag = new.clone();
                }
                let _ = response.bytes().await;
            }
            // A wait that ended without a change, a refusal or an outage.
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Runs one client that always reads a stream.
async fn stream_on(url: String) {
    let http = http_client(None);
    loop {
        if let Ok(mut response) = http.get(&url).send().await {
            while let Ok(Some(_)) = response.chunk().await {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn http_client(timeout: Option<Duration>) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    let builder = match timeout {
        Some(timeout) => builder.timeout(timeout),
        None => builder,
    };
    builder.build().expect("a client without TLS needs nothing that could be missing")
}

/// Returns the next line of the input, or `None` at its end.
fn heard() -> Option<String> {
    std::io::stdin().lines().next()?.ok()
}

fn report(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).expect("somebody listens");
}
