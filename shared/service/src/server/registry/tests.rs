use super::*;

/// Spawns a connection that never ends by itself.
fn connect(registry: &Registry) -> Arc<Activity> {
    let activity = registry.activity(None, &Arc::default());
    registry.spawn(Arc::clone(&activity), std::future::pending());
    activity
}

fn is_open(registry: &Registry, activity: &Arc<Activity>) -> bool {
    registry.0.open.lock().by_id.values().any(|open| Arc::ptr_eq(&open.activity, activity))
}

/// Aborted tasks end when the runtime polls them.
async fn sweep(registry: &Registry) {
    registry.sweep(false);
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn at_capacity_never_used_connections_are_evicted_first_and_then_the_longest_idle() {
    let registry = Registry::with_capacity(3);
    let (busy, idle, never_used) = (connect(&registry), connect(&registry), connect(&registry));
    for activity in [&busy, &idle] {
        activity.request_received(false);
        activity.response_sent();
    }
    sweep(&registry).await;
    busy.request_received(false);
    busy.response_sent();

    let new = connect(&registry);
    assert!(!is_open(&registry, &never_used) && is_open(&registry, &new));
    new.request_received(false);

    connect(&registry);
    assert!(!is_open(&registry, &idle) && is_open(&registry, &busy));
}

#[tokio::test]
async fn a_request_under_way_is_never_evicted() {
    let registry = Registry::with_capacity(2);
    let (one, two) = (connect(&registry), connect(&registry));
    one.request_received(false);
    two.request_received(false);
    let new = connect(&registry);
    assert!(is_open(&registry, &one) && is_open(&registry, &two) && !is_open(&registry, &new));
    for _ in 0..1000 {
        sweep(&registry).await;
    }
    assert!(is_open(&registry, &one), "the deadline of its request ends it, not the sweep");
}

#[tokio::test]
async fn a_connection_that_ends_is_deregistered() {
    let registry = Registry::with_capacity(2);
    let activity = registry.activity(None, &Arc::default());
    registry.spawn(Arc::clone(&activity), std::future::ready(()));
    assert!(is_open(&registry, &activity));
    tokio::task::yield_now().await;
    assert!(!is_open(&registry, &activity));
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_by_the_sweep() {
    let registry = Registry::with_capacity(2);
    let silent = connect(&registry);
    for _ in 0..10 {
        sweep(&registry).await;
    }
    assert!(is_open(&registry, &silent));
    sweep(&registry).await;
    assert!(!is_open(&registry, &silent));
}

/// A runtime that shuts down drops the future of `tokio::spawn` at once, in the thread that spawns.
#[test]
fn a_spawn_into_a_runtime_that_shuts_down_does_not_block() {
    let (finished, waits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let registry = Registry::with_capacity(2);
        let handle = runtime.handle().clone();
        drop(runtime);
        let _within = handle.enter();
        let activity = connect(&registry);
        finished.send(is_open(&registry, &activity)).expect("the test waits");
    });
    let open = waits.recv_timeout(Duration::from_secs(20)).expect("the lock is free");
    assert!(!open, "a connection that was dropped is deregistered");
}
