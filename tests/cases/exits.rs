//! Processes that end on a signal, without an effect on clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use e2e::{
    balancer::Balancer,
    proxy::Fault,
    service::{Setup, main_api},
    stack::Stack,
};
use tokio::{task::JoinSet, time::sleep};

const CLIENTS: usize = 8;

/// The test restarts replicas like Kubernetes: it starts a new replica first and then ends the old
/// one, one after another.
#[tokio::test]
async fn a_rolling_restart_of_main_api_loses_no_request() {
    let aux = Setup::of("aux-service").with("BACKEND", "embedded").start().await;
    let setup = || -> Setup { main_api(&aux.url).with("CACHE", "on").with("SHUTDOWN_DELAY", "2s") };
    let mut replicas = vec![setup().start().await, setup().start().await, setup().start().await];
    let urls = |replicas: &[e2e::service::Service]| -> Vec<String> {
        replicas.iter().map(|replica| replica.url.clone()).collect()
    };
    let balancer =
        Balancer::before(&urls(&replicas).iter().map(String::as_str).collect::<Vec<_>>()).await;

    let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let url = format!("{}/param/challenge/kantox", balancer.url);
        let (over, answers) = (Arc::clone(&over), Arc::clone(&answers));
        // The client reuses its connection, and tries each request once.
        let client = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never());
        let client = client.timeout(Duration::from_secs(20)).build().unwrap();
        clients.spawn(async move {
            while !over.load(Relaxed) {
                let answer = client.get(&url).send().await.expect("no connection is lost");
                let status = answer.status();
                let body = answer.text().await.expect("no answer is cut off");
                assert!(status == 200 && body.contains("cloud-engineer"), "{status} {body}");
                answers.fetch_add(1, Relaxed);
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    for _ in 0..3 {
        let before = answers.load(Relaxed);
        replicas.push(setup().start().await);
        let mut old = replicas.remove(0);
        let mut known = urls(&replicas);
        known.push(old.url.clone());
        balancer.replace(&known.iter().map(String::as_str).collect::<Vec<_>>());
        while balancer.ready() < 4 {
            sleep(Duration::from_millis(20)).await;
        }
        let status = old.terminate().await;
        assert!(status.success(), "{status}");
        assert!(answers.load(Relaxed) > before, "clients were served meanwhile");
    }
    over.store(true, Relaxed);
    while let Some(client) = clients.join_next().await {
        client.expect("no client had to notice");
    }
    eprintln!("three restarts, {} requests, none failed", answers.load(Relaxed));
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let stack = Stack::with(|aux| aux, |main| main.with("SHUTDOWN_DELAY", "1h")).await;
    let mut main = stack.main;
    main.ask_to_end();
    main.log_line(|line| line["message"] == "draining").await;
    main.ask_to_end();
    assert!(main.ended().await.success());
}

#[tokio::test]
async fn a_request_in_progress_is_completed_after_the_signal() {
    let stack = Stack::start().await;
    stack.aws.create_bucket("restarts-bucket").await;
    stack.aws.proxy.fail("ListBuckets", Fault::Delay(Duration::from_millis(300)));
    let mut main = stack.main;
    let url = format!("{}/buckets", main.url);
    let open = tokio::spawn(async move { e2e::http::get(&url).await });
    while stack.aws.proxy.calls("ListBuckets") == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(main.terminate().await.success());
    assert_eq!(open.await.unwrap().ok()["buckets"], serde_json::json!(["restarts-bucket"]));
}
