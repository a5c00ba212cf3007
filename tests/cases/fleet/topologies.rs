//! The engine with TLS, as a Cluster, and behind a Sentinel.

use std::time::Duration;

use e2e::{
    engine::Engine,
    fleet::{replica, reports, start_replicas},
    moto::Aws,
    service::Service,
};
use tokio::time::{sleep, timeout};

/// The time limit for a step that takes a second or two, on a machine that is busy with other work.
const LIMIT: Duration = Duration::from_secs(20);

/// Checks that replicas share many names: in a Cluster, several nodes hold their records.
async fn share(aws: &Aws, replicas: &[Service], folder: &str) {
    let before = e2e::fleet::reads(&aws.proxy).len();
    for number in 0..20 {
        let name = format!("/{folder}/{number}");
        aws.put(&name, &format!("hush {number}")).await;
        for replica in replicas {
            let value = replica.get(&format!("/param{name}")).await.ok()["value"].clone();
            assert_eq!(value, format!("hush {number}"));
        }
    }
    let reads = e2e::fleet::reads(&aws.proxy).len() - before;
    assert_eq!(reads, 20, "{} replicas share each load", replicas.len());
}

#[tokio::test]
async fn replicas_share_an_engine_with_tls() {
    let (aws, engine) = tokio::join!(Aws::start(), Engine::with_tls());
    let setup = replica(&aws.proxy.url, &engine.tls_url());
    let trusting = setup.clone().with("SHARED_CACHE_CA_FILE", &engine.authority());
    let replicas = start_replicas(2, &trusting).await;
    share(&aws, &replicas, "tls").await;

    // The authority of the certificate is unknown to the system.
    let distrustful = setup.start().await;
    reports(&distrustful, "degraded").await;
    distrustful.get("/param/tls/0").await.ok();
}

#[tokio::test]
async fn replicas_share_a_cluster_and_its_quota() {
    let (aws, mut nodes) = tokio::join!(Aws::start(), Engine::cluster(3));
    let url = format!("redis-cluster://{}?node={}", nodes[0].address(), nodes[1].address());
    let setup = replica(&aws.proxy.url, &url).with("SHARED_AWS_RATE_GET", "1000");
    let replicas = start_replicas(2, &setup).await;
    share(&aws, &replicas, "cluster").await;
    for node in &nodes {
        let records = node.keys("/param/cluster/").await.len();
        assert!(records > 0, "every node holds records");
    }
    let metrics = replicas[0].get("/metrics").await.body;
    let quota = "shared_cache_requests_total{operation=\"quota\",outcome=\"hit\"}";
    assert!(metrics.contains(quota), "{metrics}");

    // A Cluster that lost a node has lost some slots.
    nodes[2].kill();
    for number in 20..60 {
        let name = format!("/cluster/{number}");
        aws.put(&name, &format!("hush {number}")).await;
        replicas[0].get(&format!("/param{name}")).await.ok();
    }
}

#[tokio::test]
async fn replicas_follow_a_failover_of_a_sentinel() {
    let aws = Aws::start().await;
    let mut primary = Engine::with(&["--repl-diskless-sync-delay", "0"]).await;
    let standby = Engine::replica_of(&primary).await;
    let sentinel = Engine::sentinel_of(&primary).await;
    let url = format!("redis-sentinel://{}/main", sentinel.address());
    let replicas = start_replicas(2, &replica(&aws.proxy.url, &url)).await;
    share(&aws, &replicas, "before").await;

    // Replication is asynchronous.
    let replicated = async {
        while standby.keys("{/param/before/").await.len() < 20 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, replicated).await.expect("the standby gets the records");

    primary.kill();
    // The failover may be over before a request could see the degraded state.
    for replica in &replicas {
        replica.log_line(|line| line["message"] == "the shared cache works again").await;
    }
    share(&aws, &replicas, "after").await;
    // The standby has the records of the primary.
    let reads = e2e::fleet::reads(&aws.proxy).len();
    let third = start_replicas(1, &replica(&aws.proxy.url, &url)).await;
    third[0].get("/param/before/0").await.ok();
    assert_eq!(e2e::fleet::reads(&aws.proxy).len(), reads);
}
