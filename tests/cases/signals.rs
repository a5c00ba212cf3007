//! Many processes end under load: at once after a second signal, and without losing a request after
//! one signal.
//!
//! `cargo test` makes 40 runs of each test. `EXIT_RUNS=200` sets another number.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use e2e::{
    client::{Client, Failure, address, request},
    scale,
    service::{Service, Setup},
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

const RUNS: u32 = 40;

/// The number of runs at the same time.
const LANES: usize = 4;

/// The time limit for a process to end after the second signal.
const END_AT_ONCE: Duration = Duration::from_secs(1);

/// A process that has not ended after this time hangs.
const HUNG: Duration = Duration::from_secs(10);

const SHUTDOWN_DELAY: Duration = Duration::from_millis(300);
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The number of tasks that open connections to one listener.
const STORM: usize = 16;

/// The number of half-open connections that each of these tasks holds.
const HALF_OPEN: usize = 2;

/// The number of clients of one listener that send request after request.
const CLIENTS: usize = 8;

const PUBLIC: [&str; 3] = ["/param/challenge/kantox", "/param/none", "/status"];
const ADMIN: [&str; 2] = ["/readyz", "/metrics"];

/// The end of one process.
struct Ending {
    name: &'static str,
    took: Duration,
    /// The number of whole responses that its clients received.
    responses: u32,
    wrong: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_under_load_ends_every_process_within_a_second() {
    let endings = many_runs(end_by_second_signal).await;
    report("the second signal", &endings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_request_and_ends_within_its_grace() {
    let endings = many_runs(drain_under_load).await;
    report("the signal", &endings);
}

/// Makes `EXIT_RUNS` runs, several at the same time, and returns the endings of all.
async fn many_runs<R>(run: fn(u32) -> R) -> Vec<Ending>
where
    R: Future<Output = [Ending; 2]> + Send + 'static,
{
    let (runs, next) = (scale("EXIT_RUNS", RUNS), Arc::new(AtomicU32::new(0)));
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let next = Arc::clone(&next);
        lanes.spawn(async move {
            let mut endings = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= runs {
                    return endings;
                }
                endings.extend(run(number).await);
            }
        });
    }
    lanes.join_all().await.into_iter().flatten().collect()
}

fn report(since: &str, endings: &[Ending]) {
    for name in ["main-api", "aux-service"] {
        let of_service = || endings.iter().filter(|ending| ending.name == name);
        let mut took: Vec<_> = of_service().map(|ending| ending.took).collect();
        took.sort_unstable();
        let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
        let responses: u32 = of_service().map(|ending| ending.responses).sum();
        eprintln!(
            "{} processes of {name} ended {median:.0?} (median) to {longest:.0?} after {since}; {responses} responses",
            took.len()
        );
    }
    let wrong: Vec<_> = endings.iter().flat_map(|ending| &ending.wrong).collect();
    assert!(
        wrong.is_empty(),
        "{} failures in {} processes: {wrong:#?}",
        wrong.len(),
        endings.len()
    );
}

/// Starts aux-service, and main-api in front of it.
async fn start(common: impl Fn(Setup) -> Setup) -> (Service, Service) {
    let setup = |binary| common(Setup::of(binary).with("ACCESS_LOG", "off"));
    let aux = setup("aux-service").with("BACKEND", "embedded").start().await;
    let main = setup("main-api").with("AUX_URL", &aux.url).start().await;
    (aux, main)
}

/// Sends two signals to both services while connections keep coming to all four listeners.
async fn end_by_second_signal(number: u32) -> [Ending; 2] {
    // Most processes still accept connections at the second signal. The others are at the end of
    // their drain.
    let delay = if number.is_multiple_of(4) { "0s" } else { "1h" };
    let (mut aux, mut main) = start(|setup| {
        setup.with("ADMIN_ADDR", "127.0.0.1:0").with("SHUTDOWN_DELAY", delay).with("CACHE", "off")
    })
    .await;
    let main = end_in_storm(&mut main, number).await;
    [main, end_in_storm(&mut aux, number).await]
}

/// Sends two signals to a service while connections keep coming to both of its listeners.
async fn end_in_storm(service: &mut Service, number: u32) -> Ending {
    let admin = service.admin_url().await;
    // The tasks of the storm end when the set is dropped.
    let mut storm = JoinSet::new();
    for _ in 0..STORM {
        storm.spawn(send_storm(service.url.clone(), &PUBLIC));
        storm.spawn(send_storm(admin.clone(), &ADMIN));
    }
    sleep(Duration::from_millis(100)).await;
    signal_twice(service, number).await
}

/// Opens connections without end. Most send a request and are closed without reading, some send
/// half a request and stay open, and some send whole requests and read the responses.
async fn send_storm(url: String, paths: &'static [&'static str]) {
    let mut half_open = VecDeque::new();
    loop {
        let path = paths[fastrand::usize(..paths.len())];
        match fastrand::u8(..8) {
            0 => {
                let _ = Client::of(&url).get(path).await;
            }
            kind => {
                let Ok(mut connection) = TcpStream::connect(address(&url)).await else {
                    sleep(Duration::from_millis(2)).await;
                    continue;
                };
                let request = request(path);
                let sent = if kind == 1 { &request[..12] } else { &request };
                let _ = connection.write_all(sent.as_bytes()).await;
                if kind == 1 {
                    half_open.push_back(connection);
                    half_open.drain(..half_open.len().saturating_sub(HALF_OPEN));
                }
            }
        }
    }
}

async fn signal_twice(service: &mut Service, number: u32) -> Ending {
    service.ask_to_end();
    // The kernel merges two pending signals of one kind, so wait until the first is handled.
    service.log_line(|line| line["message"] == "draining").await;
    sleep(Duration::from_millis(fastrand::u64(..100))).await;
    let signalled = Instant::now();
    service.ask_to_end();
    let status = service.ended_within(HUNG).await;
    let took = signalled.elapsed();
    let mut wrong = Vec::new();
    let name = service.name;
    match status {
        None => wrong.push(format!("run {number}: {name} never ended")),
        Some(status) if !status.success() => wrong.push(format!("run {number}: {name}: {status}")),
        Some(_) if took > END_AT_ONCE => wrong.push(format!("run {number}: {name} took {took:?}")),
        Some(_) => (),
    }
    Ending { name, took, responses: 0, wrong }
}

/// Ends main-api and then aux-service by one signal each, while clients send requests to it.
async fn drain_under_load(number: u32) -> [Ending; 2] {
    let (mut aux, mut main) = start(|setup| {
        setup
            .with("SHUTDOWN_DELAY", &format!("{}ms", SHUTDOWN_DELAY.as_millis()))
            .with("SHUTDOWN_GRACE", &format!("{}ms", SHUTDOWN_GRACE.as_millis()))
            // The cache is off, so each request to main-api is a call to aux-service.
            .with("CACHE", "off")
    })
    .await;
    let main = drain(&mut main, number).await;
    [main, drain(&mut aux, number).await]
}

async fn drain(service: &mut Service, number: u32) -> Ending {
    let (name, wrong) = (service.name, Arc::new(Mutex::new(Vec::new())));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (url, wrong) = (service.url.clone(), Arc::clone(&wrong));
        clients.spawn(async move {
            let start = Instant::now();
            let report = |what: String| {
                let at = start.elapsed();
                wrong.lock().unwrap().push(format!("run {number}: {name} after {at:.0?}: {what}"));
            };
            let (mut client, mut responses) = (Client::of(&url), 0);
            loop {
                match client.get("/param/challenge/kantox").await {
                    Ok(response) if response.status == 200 => responses += 1,
                    Ok(response) => report(format!("{response:?}")),
                    Err(Failure::Lost(reason)) => report(reason),
                    // The listener has closed.
                    Err(Failure::Refused(_)) => return responses,
                }
                sleep(Duration::from_millis(fastrand::u64(1..6))).await;
            }
        });
    }
    sleep(Duration::from_millis(fastrand::u64(100..200))).await;
    let signalled = Instant::now();
    service.ask_to_end();
    let status = service.ended_within(SHUTDOWN_DELAY + SHUTDOWN_GRACE).await;
    let took = signalled.elapsed();
    if !status.is_some_and(|status| status.success()) {
        wrong.lock().unwrap().push(format!("run {number}: {name} ended with {status:?}"));
        // Without a server, the clients end.
        drop(clients);
        let wrong = std::mem::take(&mut *wrong.lock().unwrap());
        return Ending { name, took, responses: 0, wrong };
    }
    let responses = clients.join_all().await.into_iter().sum();
    let wrong = std::mem::take(&mut *wrong.lock().unwrap());
    Ending { name, took, responses, wrong }
}
