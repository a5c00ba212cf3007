//! Replicas that wait for the load of another, and what ends their wait.

use std::time::Duration;

use e2e::{
    fleet::{Fleet, replica, start_replicas},
    proxy::Fault,
    service::Service,
};
use tokio::time::{Instant, sleep, timeout};

/// Waits until AWS has received this number of calls.
async fn called(fleet: &Fleet, calls: usize) {
    let called = async {
        while fleet.aws.proxy.calls("GetParameter") < calls {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), called).await.expect("a replica calls AWS");
}

/// Sends a request whose response does not matter.
fn begin(service: &Service) {
    let url = format!("{}/param/app/key", service.url);
    tokio::spawn(async move { reqwest::get(url).await });
}

#[tokio::test]
async fn a_replica_waits_for_the_load_of_another_and_makes_no_call() {
    let fleet = Fleet::start(2).await;
    fleet.aws.put("/app/key", "hush: a value").await;
    fleet.aws.proxy.fail_all(Fault::Delay(Duration::from_secs(1)));
    begin(&fleet.replicas[0]);
    called(&fleet, 1).await;
    assert_eq!(fleet.replicas[1].get("/param/app/key").await.ok()["value"], "hush: a value");
    assert_eq!(fleet.reads().len(), 1);
}

/// A load that fails releases its lock, so that the others need not wait for the end of its
/// lifetime.
#[tokio::test]
async fn a_load_that_fails_delays_no_other_replica() {
    let fleet = Fleet::start(2).await;
    fleet.aws.put("/app/key", "hush: a value").await;
    fleet.aws.proxy.fail_nth("GetParameter", 1, e2e::refusals::ssm_expired());
    fleet.replicas[0].get("/param/app/key").await.problem(502, "aws-credentials");
    let start = Instant::now();
    assert_eq!(fleet.replicas[1].get("/param/app/key").await.ok()["value"], "hush: a value");
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_replica_that_is_killed_while_it_loads_delays_no_other_beyond_its_deadline() {
    let deadline = Duration::from_secs(5);
    let mut fleet = Fleet::with(3, |replica| {
        replica
            .with("AWS_ATTEMPT_TIMEOUT", "2s")
            .with("AWS_OPERATION_TIMEOUT", "3s")
            .with("REQUEST_TIMEOUT", "5s")
    })
    .await;
    fleet.aws.put("/app/key", "hush: a value").await;
    fleet.aws.proxy.fail_nth("GetParameter", 1, Fault::Hang);
    begin(&fleet.replicas[0]);
    called(&fleet, 1).await;
    // Dropping a service kills it.
    drop(fleet.replicas.remove(0));
    let start = Instant::now();
    let (one, other) = tokio::join!(
        fleet.replicas[0].get("/param/app/key"),
        fleet.replicas[1].get("/param/app/key")
    );
    for reply in [one, other] {
        assert_eq!(reply.ok()["value"], "hush: a value");
    }
    eprintln!("the others answered after {:?}", start.elapsed());
    assert!(start.elapsed() < deadline, "{:?}", start.elapsed());
    // No lock outlives the load.
    fleet.aws.put("/app/other", "hush: another value").await;
    fleet.replicas[0].get("/param/app/other").await.ok();
    assert_eq!(fleet.engine.keys("#lock").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_replica_that_waits_continues_alone_when_the_engine_dies() {
    let mut fleet = Fleet::with(2, |replica| replica.with("SHARED_CACHE_TIMEOUT", "500ms")).await;
    fleet.aws.put("/app/key", "hush: a value").await;
    fleet.aws.proxy.fail_nth("GetParameter", 1, Fault::Delay(Duration::from_secs(4)));
    begin(&fleet.replicas[0]);
    called(&fleet, 1).await;
    let start = Instant::now();
    let request = fleet.replicas[1].get("/param/app/key");
    let death = async {
        sleep(Duration::from_millis(300)).await;
        fleet.engine.kill();
    };
    let (reply, ()) = tokio::join!(request, death);
    assert_eq!(reply.ok()["value"], "hush: a value");
    assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
}

/// A load of a replica without the lock is never stored over a newer one.
#[tokio::test]
async fn a_load_that_outlives_its_lock_replaces_no_newer_record() {
    let fleet = Fleet::with(2, |replica| {
        replica
            .with("AWS_ATTEMPT_TIMEOUT", "6s")
            .with("AWS_OPERATION_TIMEOUT", "7s")
            .with("REQUEST_TIMEOUT", "8s")
    })
    .await;
    fleet.aws.put("/app/key", "hush: the first value").await;
    fleet.aws.proxy.fail_nth("GetParameter", 1, Fault::Hold(Duration::from_secs(5)));
    begin(&fleet.replicas[0]);
    called(&fleet, 1).await;
    fleet.aws.put("/app/key", "hush: the second value").await;
    // The lock of the slow load is gone, as after its lifetime or a change of the parameter.
    for lock in fleet.engine.keys("#lock").await {
        fleet.engine.run::<()>(redis::cmd("DEL").arg(lock)).await;
    }
    assert_eq!(
        fleet.replicas[1].get("/param/app/key").await.ok()["value"],
        "hush: the second value"
    );
    let slow = timeout(Duration::from_secs(20), async {
        while fleet.replicas[0].get("/param/app/key").await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    });
    slow.await.expect("the slow load ends");
    let setup = replica(&fleet.aws.proxy.url, &fleet.engine.url());
    let third = start_replicas(1, &setup).await;
    assert_eq!(third[0].get("/param/app/key").await.ok()["value"], "hush: the second value");
}
