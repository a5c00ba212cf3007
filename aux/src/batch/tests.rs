use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{group::GROUP_WINDOW, *};
use crate::parameter::Details;

const LATENCY: Duration = Duration::from_millis(20);

/// Finds every name except those that begin with `no`; denies a batch that holds `forbidden`.
/// Records the number of names of each call.
#[derive(Default)]
struct Recorder(Mutex<Vec<usize>>);

fn find(name: &str) -> Result<Parameter, Error> {
    match name {
        "forbidden" => Err(Error::AwsAccessDenied(Arc::new(std::io::Error::other("denied")))),
        _ if name.starts_with("no") => Err(Error::ParameterNotFound),
        _ => Ok(Parameter {
            name: name.to_owned(),
            value: Zeroizing::new(format!("value of {name}")),
            secure: false,
            details: Details::default(),
        }),
    }
}

#[async_trait]
impl ParameterReader for Recorder {
    async fn get_one(&self, name: &str, _: Priority) -> Result<Parameter, Error> {
        self.0.lock().push(1);
        sleep(LATENCY).await;
        find(name)
    }

    async fn get_many(
        &self,
        names: &[String],
        _: Priority,
    ) -> Result<Vec<Result<Parameter, Error>>, Error> {
        self.0.lock().push(names.len());
        sleep(LATENCY).await;
        assert!(names.len() <= MAX_BATCH);
        let mut once = names.to_vec();
        once.dedup();
        assert_eq!(once, names, "AWS rejects a call that holds a name twice");
        if names.iter().any(|name| name == "forbidden") {
            return find("forbidden").map(|_| Vec::new());
        }
        Ok(names.iter().map(|name| find(name)).collect())
    }
}

/// Gets all names at once. Returns the results, and the number of names of each call.
async fn get_all(names: &[&str]) -> (Vec<Result<Parameter, Error>>, Vec<usize>) {
    let batcher = Batcher::new(Recorder::default());
    let tasks: Vec<_> = names
        .iter()
        .map(|name| {
            let (batcher, name) = (batcher.clone(), (*name).to_owned());
            tokio::spawn(async move { batcher.get(&name, Priority::Miss, None).await })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("no panic"));
    }
    let calls = batcher.reader().0.lock().clone();
    (results, calls)
}

#[tokio::test(start_paused = true)]
async fn a_single_miss_is_sent_at_once() {
    let start = Instant::now();
    let (results, calls) = get_all(&["a"]).await;
    assert!(results[0].is_ok());
    assert_eq!(calls, [1]);
    assert_eq!(start.elapsed(), LATENCY);
}

#[tokio::test(start_paused = true)]
async fn concurrent_misses_share_calls_of_up_to_ten_names() {
    let names: Vec<_> = (0..26).map(|number| format!("parameter-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (results, calls) = get_all(&names).await;
    assert_eq!(calls, [1, 10, 10, 5]);
    for (name, result) in names.iter().zip(results) {
        assert_eq!(result.expect("known").value.as_str(), format!("value of {name}"));
    }
}

#[tokio::test(start_paused = true)]
async fn refreshes_share_one_call() {
    let batcher = Batcher::new(Recorder::default());
    let refresh = |name| batcher.get(name, Priority::Refresh, None);
    let (a, b) = tokio::join!(refresh("a"), refresh("b"));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(*batcher.reader().0.lock(), [2]);
}

/// Starts loads after these milliseconds each. Returns the number of names of each call, and the
/// time until each result.
async fn get_at(loads: &[(u64, Priority)]) -> (Vec<usize>, Vec<Duration>) {
    let (batcher, start) = (Batcher::new(Recorder::default()), Instant::now());
    let tasks: Vec<_> = loads
        .iter()
        .enumerate()
        .map(|(name, &(delay, priority))| {
            let batcher = batcher.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(delay)).await;
                batcher.get(&name.to_string(), priority, None).await.expect("known");
                start.elapsed()
            })
        })
        .collect();
    let mut ends = Vec::new();
    for task in tasks {
        ends.push(task.await.expect("no panic"));
    }
    let calls = batcher.reader().0.lock().clone();
    (calls, ends)
}

#[tokio::test(start_paused = true)]
async fn refreshes_of_a_tenth_of_a_second_share_one_call() {
    let refreshes = [0, 40, 90, 101].map(|delay| (delay, Priority::Refresh));
    let (calls, ends) = get_at(&refreshes).await;
    assert_eq!(calls, [3, 1]);
    assert_eq!(ends[2], REFRESH_WINDOW + LATENCY);
    // Ten fill a batch, and its timer does not send the next one early.
    let refreshes: Vec<_> = (0..11).map(|number| (number, Priority::Refresh)).collect();
    let (calls, ends) = get_at(&refreshes).await;
    assert_eq!(calls, [10, 1]);
    assert_eq!(ends[9], Duration::from_millis(9) + LATENCY);
    assert_eq!(ends[10], Duration::from_millis(10) + REFRESH_WINDOW + LATENCY);
}

#[tokio::test(start_paused = true)]
async fn a_miss_does_not_wait_for_the_window_of_refreshes() {
    let alone = [(0, Priority::Refresh), (5, Priority::Miss)];
    let (calls, ends) = get_at(&alone).await;
    assert_eq!(calls, [1, 1]);
    assert_eq!(ends[1], Duration::from_millis(5) + LATENCY);
    let during_a_call = [(0, Priority::Miss), (1, Priority::Refresh), (5, Priority::Miss)];
    let (calls, ends) = get_at(&during_a_call).await;
    assert_eq!(calls, [1, 2]);
    assert_eq!(ends[2], Duration::from_millis(5) + BATCH_WINDOW + LATENCY);
}

#[tokio::test(start_paused = true)]
async fn each_name_of_a_batch_has_its_own_result() {
    let (results, calls) = get_all(&["a", "b", "no-such", "c"]).await;
    assert_eq!(calls, [1, 3]);
    assert!(matches!(results[2], Err(Error::ParameterNotFound)));
    assert!(results[1].is_ok() && results[3].is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_each_name_once() {
    let (results, calls) = get_all(&["a", "b", "c", "b", "c", "b"]).await;
    assert_eq!(calls, [1, 2]);
    assert!(results.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn the_names_of_a_denied_batch_are_retried_one_by_one() {
    let (results, calls) = get_all(&["a", "b", "forbidden", "c"]).await;
    assert_eq!(calls, [1, 3, 1, 1, 1]);
    assert!(matches!(results[2], Err(Error::AwsAccessDenied(_))));
    assert!(results[1].is_ok() && results[3].is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stops_waiting_does_not_cancel_the_batch() {
    let batcher = Batcher::new(Recorder::default());
    let first = batcher.get("a", Priority::Miss, None);
    let cancelled = batcher.get("b", Priority::Miss, None);
    let remaining = batcher.get("c", Priority::Miss, None);
    let cancelled = tokio::time::timeout(Duration::from_millis(1), cancelled);
    let (_, timed_out, received) = tokio::join!(first, cancelled, remaining);
    assert!(timed_out.is_err(), "the caller stopped waiting before the batch was sent");
    assert_eq!(received.expect("known").name, "c");
}

/// The name of a load, and the time after which it reaches the batcher; without a time it never
/// does.
type Start<'a> = (&'a str, Option<u64>);

/// Starts loads of one group. Returns the number of names of each call, and the time until the last
/// result.
async fn get_group(loads: &[Start<'_>]) -> (Vec<usize>, Duration) {
    let (batcher, start) = (Batcher::new(Recorder::default()), Instant::now());
    let mut tasks = Vec::new();
    for (&(name, delay), member) in loads.iter().zip(GroupMember::group(loads.len())) {
        let (batcher, name) = (batcher.clone(), name.to_owned());
        tasks.push(tokio::spawn(async move {
            let Some(delay) = delay else { return drop(member) };
            sleep(Duration::from_millis(delay)).await;
            let result = batcher.get(&name, Priority::Miss, Some(member)).await;
            assert_eq!(result.expect("known").name, name);
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let calls = batcher.reader().0.lock().clone();
    (calls, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn loads_that_start_together_share_a_call_that_is_sent_with_the_last_of_them() {
    let ten: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    let ten: Vec<_> = ten.iter().map(|name| (name.as_str(), Some(0))).collect();
    assert_eq!(get_group(&ten).await, (vec![10], LATENCY));
    assert_eq!(get_group(&ten[..4]).await, (vec![4], LATENCY));
    assert_eq!(get_group(&ten[..1]).await, (vec![1], LATENCY));
    // The shared cache has answered them one after another.
    let late = [("a", Some(0)), ("b", Some(3)), ("c", Some(7))];
    assert_eq!(get_group(&late).await, (vec![3], LATENCY + Duration::from_millis(7)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_no_load_that_needs_no_call() {
    let loads = [("a", Some(0)), ("cached", None), ("b", Some(0)), ("cached too", None)];
    assert_eq!(get_group(&loads).await, (vec![2], LATENCY));
    assert_eq!(get_group(&[("cached", None), ("a", Some(0))]).await, (vec![1], LATENCY));
}

#[tokio::test(start_paused = true)]
async fn a_batch_does_not_wait_long_for_a_load_that_is_late() {
    let late = LATENCY + GROUP_WINDOW * 2;
    let loads = [("a", Some(0)), ("b", Some(0)), ("late", Some(late.as_millis() as u64))];
    assert_eq!(get_group(&loads).await, (vec![2, 1], late + LATENCY));
    let batcher = Batcher::new(Recorder::default());
    let (mut group, start) = (GroupMember::group(2), Instant::now());
    let _never = group.next();
    batcher.get("a", Priority::Miss, group.next()).await.expect("known");
    assert_eq!(start.elapsed(), GROUP_WINDOW + LATENCY);
}

#[tokio::test(start_paused = true)]
async fn a_single_miss_does_not_wait_for_the_group_of_another_request() {
    let (batcher, start) = (Batcher::new(Recorder::default()), Instant::now());
    let mut group = GroupMember::group(2);
    let (first, _late) = (group.next(), group.next());
    let alone = async {
        batcher.get("alone", Priority::Miss, None).await.expect("known");
        start.elapsed()
    };
    let (result, waited) = tokio::join!(batcher.get("a", Priority::Miss, first), alone);
    assert!(result.is_ok());
    assert_eq!((waited, start.elapsed()), (LATENCY, GROUP_WINDOW + LATENCY));
}

/// Runs a check in the context of a runtime that has shut down, with one call in flight. Such a
/// runtime drops the future of `tokio::spawn` at once, in the thread that spawns.
fn after_shutdown(check: fn(&Batcher<Recorder>)) {
    let (finished, finish) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle().clone();
        drop(runtime);
        let _context = handle.enter();
        let batcher = Batcher::new(Recorder::default());
        let _in_flight = InFlightGuard::new(batcher.clone());
        check(&batcher);
        assert_eq!(batcher.0.state.lock().calls, 1, "a dropped call is not in flight");
        finished.send(()).expect("the test is waiting");
    });
    finish.recv_timeout(Duration::from_secs(20)).expect("the lock is free");
}

#[test]
fn a_full_batch_in_a_runtime_that_shuts_down_does_not_block() {
    after_shutdown(|batcher| {
        let join = |number: usize| batcher.join_batch(&number.to_string(), Priority::Miss, None);
        let results: Vec<_> = (0..MAX_BATCH).map(join).collect();
        let dropped = |result: oneshot::Receiver<_>| result.blocking_recv().is_err();
        assert!(results.into_iter().all(|result| result.is_some_and(dropped)));
    });
}

#[test]
fn a_timer_in_a_runtime_that_shuts_down_does_not_block() {
    after_shutdown(|batcher| {
        let result = batcher.join_batch("a", Priority::Miss, None).expect("a call is in flight");
        batcher.send_waiting(0);
        assert!(result.blocking_recv().is_err());
    });
}
