//! Drives both services with mixed load for many minutes, and reports the effects: `soak MINUTES`.
//!
//! ```text
//! clients ──► balancer ──► main-api ×2 ──► proxy ──► balancer ──► aux-service ×2 ──► proxy ──► moto
//! ```
//!
//! Clients are valid, invalid, hostile and slow. AWS and the network between the services fail and
//! recover. One replica of each service is restarted again and again. The other one is observed:
//! its memory and its open files must not grow after the first minute. No response may be wrong: no
//! connection is lost, no value appears under another name, and no error occurs without a fault
//! that explains it. The logs of the observed replicas are in `target/soak`.
#![allow(clippy::print_stdout, reason = "the report is what this program is for")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use e2e::{
    MARK,
    balancer::Balancer,
    moto::Aws,
    proxy::{Fault, Proxy},
    refusals,
    service::{self, Service, Setup},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

/// A fault: its name, the proxy that causes it, and the behaviour of that proxy.
type Trouble<'a> = (&'a str, &'a Proxy, fn() -> Fault);

const PARAMETERS: usize = 40;

/// The time after a fault in which errors are still allowed. Negative entries live for a while,
/// calls that hang need time to fail, and a circuit that a probe has just opened again stays open
/// for 5 s with these settings.
const AFTERMATH: Duration = Duration::from_secs(25);

/// The time limit for every response.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The codes that errors may have during a fault, and for a while after it.
const TROUBLE: [&str; 6] = [
    "aws-throttled",
    "aws-unavailable",
    "aws-timeout",
    "upstream-unavailable",
    "upstream-timeout",
    "circuit-open",
];

#[tokio::main]
async fn main() -> ExitCode {
    let minutes = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let Some(minutes @ 1..) = minutes else {
        eprintln!("usage: soak MINUTES");
        return ExitCode::from(2);
    };
    println!("every kind of response of AWS, {CHAOS_ROUNDS} rounds");
    e2e::chaos::run(CHAOS_ROUNDS).await;
    run(Duration::from_secs(60 * minutes)).await
}

/// The rounds of the chaos run before the soak. They visit most pairs of statuses and codes.
const CHAOS_ROUNDS: usize = 3000;

async fn run(duration: Duration) -> ExitCode {
    let tokens = Tokens::write();
    let aws = Aws::start().await;
    for number in 0..PARAMETERS {
        aws.put(&format!("/app/n{number}"), &value(number)).await;
    }
    aws.put_typed("/app/secret", "SecureString", &format!("{MARK}: never shown")).await;
    aws.put("/other/key", &format!("{MARK}: outside the prefixes")).await;
    aws.create_bucket("soak-bucket").await;

    let aux = |aws: &Aws| {
        tokens
            .guard(service::aux(aws), "main-api")
            .with("PARAMETER_PREFIXES", "/app")
            .with("CACHE_TTL", "2s")
    };
    let auxes = Replicas::start(|| common(aux(&aws)), "aux-service").await;
    let between = Proxy::before(&auxes.balancer.url).await;
    let main = |between: &Proxy| {
        tokens
            .guard(service::main_api(&between.url), "clients")
            .with("AUX_TOKEN_FILE", &tokens.path("main-api"))
            .with("BREAKER_OPEN_FOR", "1s")
    };
    let mains = Replicas::start(|| common(main(&between)), "main-api").await;

    let world = Arc::new(World {
        url: mains.balancer.url.clone(),
        aux_url: auxes.balancer.url.clone(),
        bearer: format!("Bearer {}", tokens.token("clients")),
        over: AtomicBool::new(false),
        trouble_until: Mutex::new(Instant::now()),
        tally: Mutex::default(),
        wrong: Mutex::default(),
    });
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(Arc::clone(&world).valid_client());
    }
    clients.spawn(Arc::clone(&world).invalid_client());
    clients.spawn(Arc::clone(&world).hostile_client());
    clients.spawn(Arc::clone(&world).slow_client());
    clients.spawn(Arc::clone(&world).half_open_client());

    let end = Instant::now() + duration;
    let mut samples = Vec::new();
    let watched = [&auxes.steady, &mains.steady];
    let sampling = async {
        // The first sample waits a minute, because that minute fills caches and pools.
        let mut minutes = interval(Duration::from_secs(60));
        minutes.tick().await;
        while Instant::now() < end {
            minutes.tick().await;
            let sample = watched.map(Sample::of);
            println!(
                "{} s left: {sample:?}",
                end.saturating_duration_since(Instant::now()).as_secs()
            );
            samples.push(sample);
        }
    };
    let restarting = async {
        while Instant::now() < end {
            sleep(Duration::from_secs(15)).await;
            mains.restart_one(&world).await;
            sleep(Duration::from_secs(15)).await;
            auxes.restart_one(&world).await;
        }
    };
    tokio::join!(sampling, restarting, world.faults(&aws.proxy, &between, end));
    world.over.store(true, Relaxed);
    while let Some(client) = clients.join_next().await {
        if let Err(error) = client {
            world.wrong(format!("a client panicked: {error}"));
        }
    }
    let restarts = (mains.restarts(), auxes.restarts());
    let tasks = [auxes.end(&world).await, mains.end(&world).await];
    report(&world, duration, restarts, &samples, tasks)
}

fn report(
    world: &World,
    duration: Duration,
    restarts: (usize, usize),
    samples: &[[Sample; 2]],
    tasks: [u64; 2],
) -> ExitCode {
    let tally = world.tally.lock().expect("no client panics while it counts");
    let mut wrong = world.wrong.lock().expect("no client panics while it holds the lock").clone();
    println!(
        "\n{} minutes, restarts of main-api: {}, of aux-service: {}",
        duration.as_secs() / 60,
        restarts.0,
        restarts.1
    );
    println!("\n| client | outcome | requests |\n|---|---|---|");
    for ((client, outcome), count) in tally.iter() {
        println!("| {client} | {outcome} | {count} |");
    }
    let total: u64 = tally.values().sum();
    println!("| all | | {total} |");
    println!(
        "\n| never restarted | memory, first minute | at the end | open files | at the end | threads | at the end | tasks after the drain |\n|---|---|---|---|---|---|---|---|"
    );
    let (first, last) = (samples.first(), samples.last());
    for (index, name) in ["aux-service", "main-api"].into_iter().enumerate() {
        let (Some(first), Some(last)) = (first, last) else { break };
        let (first, last) = (&first[index], &last[index]);
        println!(
            "| {name} | {} KiB | {} KiB | {} | {} | {} | {} | {} |",
            first.memory_kib,
            last.memory_kib,
            first.files,
            last.files,
            first.threads,
            last.threads,
            tasks[index]
        );
        if last.memory_kib > first.memory_kib * 5 / 4 + (16 << 10) {
            wrong.push(format!("the memory of {name} grew"));
        }
        if last.files > first.files + 50 {
            wrong.push(format!("the open files of {name} grew"));
        }
        if tasks[index] > 50 {
            wrong.push(format!("{name} left {} tasks", tasks[index]));
        }
    }
    println!("\nwrong answers: {}", wrong.len());
    for line in wrong.iter().take(20) {
        println!("- {line}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn common(setup: Setup) -> Setup {
    setup
        .with("CACHE", "on")
        // The cache is small, so that it fills quickly.
        .with("CACHE_MAX_BYTES", "4MiB")
        .with("SHUTDOWN_DELAY", "2s")
}

fn value(number: usize) -> String {
    format!("{MARK}: the value of {number}")
}

struct Tokens(std::path::PathBuf);

impl Tokens {
    fn write() -> Self {
        let folder = std::env::temp_dir().join(format!("soak-{}", std::process::id()));
        let tokens = Self(folder);
        fs::create_dir_all(&tokens.0).expect("the folder for temporary files is writable");
        for name in ["clients", "main-api"] {
            fs::write(tokens.path(name), tokens.token(name)).expect("it was just made");
        }
        tokens
    }

    fn token(&self, name: &str) -> String {
        format!("{MARK}-token-of-{name}-0123456789")
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn guard(&self, setup: Setup, name: &str) -> Setup {
        setup.with("AUTH_TOKEN_FILE", &self.path(name))
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Two replicas behind a balancer: a steady one, and one that is restarted again and again.
struct Replicas<S> {
    setup: S,
    name: &'static str,
    balancer: Balancer,
    steady: Service,
    fickle: tokio::sync::Mutex<Option<Service>>,
    restarts: std::sync::atomic::AtomicUsize,
}

impl<S: Fn() -> Setup> Replicas<S> {
    async fn start(setup: S, name: &'static str) -> Self {
        let (steady, fickle) = (setup().start().await, setup().start().await);
        let balancer = Balancer::before(&[&steady.url, &fickle.url]).await;
        let fickle = tokio::sync::Mutex::new(Some(fickle));
        Self { setup, name, balancer, steady, fickle, restarts: Default::default() }
    }

    fn restarts(&self) -> usize {
        self.restarts.load(Relaxed)
    }

    async fn restart_one(&self, world: &World) {
        let mut fickle = self.fickle.lock().await;
        if let Some(mut service) = fickle.take() {
            let status = service.terminate().await;
            if !status.success() {
                world.wrong(format!("{} ended with {status}", self.name));
            }
        }
        let service = (self.setup)().start().await;
        self.balancer.replace(&[&self.steady.url, &service.url]);
        *fickle = Some(service);
        self.restarts.fetch_add(1, Relaxed);
    }

    /// Ends the steady replica and writes its log to a file. Returns the number of tasks that were
    /// left after its drain.
    async fn end(mut self, world: &World) -> u64 {
        let status = self.steady.terminate().await;
        if !status.success() {
            world.wrong(format!("{} ended with {status}", self.name));
        }
        let stopped = self.steady.log_line(|line| line["message"] == "stopped").await;
        let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/soak");
        let saved = fs::create_dir_all(&logs)
            .and_then(|()| fs::write(logs.join(format!("{}.log", self.name)), self.steady.log()));
        if let Err(error) = saved {
            eprintln!("the log of {} is lost: {error}", self.name);
        }
        stopped["tasks"].as_u64().unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Debug)]
struct Sample {
    memory_kib: u64,
    files: usize,
    threads: usize,
}

impl Sample {
    fn of(service: &Service) -> Self {
        let process = format!("/proc/{}", service.pid());
        let count =
            |folder: &str| fs::read_dir(format!("{process}/{folder}")).map_or(0, Iterator::count);
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|text| text.split_whitespace().next()?.parse().ok());
        Self { memory_kib: memory.unwrap_or(0), files: count("fd"), threads: count("task") }
    }
}

/// The state that all clients share, with the results that they report.
struct World {
    url: String,
    aux_url: String,
    bearer: String,
    over: AtomicBool,
    trouble_until: Mutex<Instant>,
    tally: Mutex<BTreeMap<(&'static str, String), u64>>,
    wrong: Mutex<Vec<String>>,
}

impl World {
    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    fn count(&self, client: &'static str, outcome: impl Into<String>) {
        let mut tally = self.tally.lock().expect("no client panics while it counts");
        *tally.entry((client, outcome.into())).or_default() += 1;
    }

    fn wrong(&self, what: String) {
        println!("wrong: {what}");
        self.wrong.lock().expect("no client panics while it holds the lock").push(what);
    }

    fn in_trouble(&self) -> bool {
        Instant::now() < *self.trouble_until.lock().expect("it is only read and written")
    }

    fn trouble_for(&self, duration: Duration) {
        *self.trouble_until.lock().expect("it is only read and written") =
            Instant::now() + duration;
    }

    /// Causes the faults in turn until the end, each for 20 s after 45 s without one.
    async fn faults(&self, aws: &Proxy, between: &Proxy, end: Instant) {
        let pause = || Duration::from_secs(20);
        let faults: [Trouble<'_>; 8] = [
            ("AWS throttles", aws, || refusals::ssm_throttled().into()),
            ("AWS resets", aws, || Fault::Reset),
            ("AWS hangs", aws, || Fault::Hang),
            ("AWS is slow", aws, || Fault::Delay(Duration::from_millis(700))),
            ("AWS breaks off", aws, || Fault::Truncate),
            ("aux-service resets", between, || Fault::Reset),
            ("aux-service stalls", between, || Fault::Stall),
            ("aux-service is slow", between, || Fault::Delay(Duration::from_millis(500))),
        ];
        for (what, proxy, fault) in faults.iter().cycle() {
            sleep(AFTERMATH + pause()).await;
            if Instant::now() + pause() >= end {
                sleep(end.saturating_duration_since(Instant::now())).await;
                return;
            }
            self.count("faults", *what);
            self.trouble_for(pause() + AFTERMATH);
            proxy.fail_all(fault());
            sleep(pause()).await;
            proxy.heal();
            self.trouble_for(AFTERMATH);
        }
    }

    fn client(&self) -> reqwest::Client {
        reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .retry(reqwest::retry::never())
            .build()
            .expect("a client without TLS needs nothing that could be missing")
    }

    /// Requests existing data, and checks every byte of the response.
    async fn valid_client(self: Arc<Self>) {
        let client = self.client();
        while !self.is_over() {
            let number = fastrand::usize(..PARAMETERS);
            let path = match fastrand::u8(..10) {
                0 => "/buckets".to_owned(),
                1 => "/params".to_owned(),
                2 => "/values/app".to_owned(),
                3 => "/inventory".to_owned(),
                4 => "/status".to_owned(),
                _ => format!("/param/app/n{number}"),
            };
            let troubled = self.in_trouble();
            let request = client.get(format!("{}{path}", self.url));
            match request.header("authorization", &self.bearer).send().await {
                Err(error) => self.wrong(format!("{path}: {error:?}")),
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    let body = answer.bytes().await.ok();
                    let body = body.and_then(|body| serde_json::from_slice::<Value>(&body).ok());
                    let body = body.unwrap_or_default();
                    let code = body["code"].as_str().unwrap_or_default();
                    if status == 200 && is_right(&path, number, &body, troubled) {
                        self.count("valid", "200");
                    } else if (troubled || self.in_trouble()) && TROUBLE.contains(&code) {
                        self.count("valid", format!("{status} {code} (during a fault)"));
                    } else {
                        self.wrong(format!("{path}: {status} {body}"));
                    }
                }
            }
            sleep(Duration::from_millis(fastrand::u64(20..120))).await;
        }
    }

    /// Sends invalid requests, and checks the errors.
    async fn invalid_client(self: Arc<Self>) {
        let client = self.client();
        let right = self.bearer.as_str();
        while !self.is_over() {
            let missing = format!("/param/app/missing-{}", fastrand::u32(..));
            let (path, bearer, status, code) = match fastrand::u8(..9) {
                0 => ("/param/a%20b", right, 400, "invalid-parameter-name"),
                1 => ("/param/app%2F..%2Fother", right, 400, "invalid-parameter-name"),
                2 => ("/param/%FF%FE", right, 400, "invalid-parameter-name"),
                3 => ("/param/other/key", right, 403, "parameter-not-allowed"),
                4 => ("/param/app/secret", right, 403, "secure-string-not-allowed"),
                5 => ("/nowhere", right, 404, "not-found"),
                6 => ("/buckets", "", 401, "unauthorized"),
                7 => ("/buckets", "Bearer hush-this-is-not-the-token", 401, "unauthorized"),
                _ => (&*missing, right, 404, "parameter-not-found"),
            };
            let troubled = self.in_trouble();
            let request = client.get(format!("{}{path}", self.url)).header("authorization", bearer);
            match request.send().await {
                Err(error) => self.wrong(format!("{path}: {error:?}")),
                Ok(answer) => {
                    let received = answer.status().as_u16();
                    let body: Value = answer.json().await.unwrap_or_default();
                    let code_sent = body["code"].as_str().unwrap_or_default();
                    if (received, code_sent) == (status, code) {
                        self.count("invalid", format!("{status} {code}"));
                    } else if (troubled || self.in_trouble()) && TROUBLE.contains(&code_sent) {
                        self.count("invalid", format!("{received} {code_sent} (during a fault)"));
                    } else {
                        self.wrong(format!("{path}: {received} {body}"));
                    }
                }
            }
            sleep(Duration::from_millis(fastrand::u64(100..300))).await;
        }
    }

    /// Sends bytes that no client would send. The response must never be a 5xx, and the connection
    /// must end soon.
    async fn hostile_client(self: Arc<Self>) {
        let line = "GET /buckets HTTP/1.1\r\nhost: a\r\n";
        while !self.is_over() {
            let noise: Vec<u8> = (0..fastrand::usize(1..400)).map(|_| fastrand::u8(..)).collect();
            let (what, bytes) = match fastrand::u8(..9) {
                0 => ("noise", noise),
                1 => ("a header of 100 KiB", format!("{line}x: {}\r\n\r\n", "x".repeat(100 << 10)).into_bytes()),
                2 => ("a path of 100 KiB", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100 << 10)).into_bytes()),
                3 => ("a thousand headers", format!("{line}{}\r\n", "x: y\r\n".repeat(1000)).into_bytes()),
                4 => ("two lengths", format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{line}\r\n").into_bytes()),
                5 => ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
                6 => ("a body of 500 KiB", format!("POST /buckets HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{}", 500 << 10, "b".repeat(500 << 10)).into_bytes()),
                7 => ("fifty requests at once", format!("{line}\r\n").repeat(50).into_bytes()),
                _ => ("noise in a header", [line.as_bytes(), b"x: ", &noise, b"\r\n\r\n"].concat()),
            };
            let url = if fastrand::bool() { &self.url } else { &self.aux_url };
            let Ok(mut stream) = TcpStream::connect(url.trim_start_matches("http://")).await else {
                self.wrong(format!("{what}: no connection"));
                continue;
            };
            // The service may close the connection before it has read everything.
            let _ = timeout(TIMEOUT, stream.write_all(&bytes)).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            match timeout(TIMEOUT, stream.read_to_end(&mut answer)).await {
                Err(_) => self.wrong(format!("{what}: the connection stays open")),
                Ok(_) if answer.starts_with(b"HTTP/1.1 5") => {
                    self.wrong(format!("{what}: {}", String::from_utf8_lossy(&answer)));
                }
                Ok(_) => self.count("hostile", what),
            }
            sleep(Duration::from_millis(fastrand::u64(100..400))).await;
        }
    }

    /// Sends a request byte by byte. The service must respond to it.
    async fn slow_client(self: Arc<Self>) {
        let request = format!(
            "GET /status HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\nconnection: close\r\n\r\n",
            self.bearer
        );
        while !self.is_over() {
            let Ok(mut stream) = TcpStream::connect(self.url.trim_start_matches("http://")).await
            else {
                self.wrong("slow: no connection".to_owned());
                continue;
            };
            let _ = stream.set_nodelay(true);
            for byte in request.as_bytes() {
                let _ = stream.write_all(&[*byte]).await;
                sleep(Duration::from_millis(20)).await;
            }
            let mut answer = Vec::new();
            match timeout(TIMEOUT, stream.read_to_end(&mut answer)).await {
                Ok(Ok(_)) if answer.starts_with(b"HTTP/1.1 200") => self.count("slow", "200"),
                // A drain does not wait for the rest of a request's head.
                Ok(_) if answer.is_empty() => self.count("slow", "cut off by a restart"),
                other => {
                    self.wrong(format!("slow: {other:?} {}", String::from_utf8_lossy(&answer)))
                }
            }
        }
    }

    /// Begins requests and does not complete them.
    async fn half_open_client(self: Arc<Self>) {
        while !self.is_over() {
            let mut held = JoinSet::new();
            for _ in 0..40 {
                let url = if fastrand::bool() { &self.url } else { &self.aux_url };
                let address = url.trim_start_matches("http://").to_owned();
                held.spawn(async move {
                    let mut stream = TcpStream::connect(address).await.ok()?;
                    stream.write_all(b"GET /buckets HTTP/1.1\r\nho").await.ok()?;
                    timeout(TIMEOUT, stream.read(&mut [0; 1])).await.ok()
                });
            }
            while let Some(cut_off) = held.join_next().await {
                match cut_off {
                    Ok(Some(_)) => self.count("half-open", "cut off"),
                    _ => self.wrong("half-open: held for longer than it may be".to_owned()),
                }
            }
        }
    }
}

/// Whether the body of a 200 is correct. During a fault, a part of the inventory may be missing if
/// the response reports it.
fn is_right(path: &str, number: usize, body: &Value, troubled: bool) -> bool {
    let names = || {
        let mut names: Vec<_> = (0..PARAMETERS).map(|number| format!("/app/n{number}")).collect();
        names.push("/app/secret".to_owned());
        names.sort_unstable();
        names
    };
    let lists = |list: &Value| {
        let mut list: Vec<_> = list.as_array()?.iter().filter_map(Value::as_str).collect();
        list.sort_unstable();
        Some(list == names())
    };
    let part = |name: &str, right: bool| right || (troubled && body["errors"][name].is_object());
    match path {
        "/buckets" => body["buckets"] == json!(["soak-bucket"]),
        "/params" => lists(&body["parameters"]) == Some(true),
        "/values/app" => {
            let values = body["values"].as_object();
            values.is_some_and(|values| values.len() == PARAMETERS)
                && (0..PARAMETERS).all(|n| body["values"][format!("/app/n{n}")] == value(n))
                && body["omitted"] == json!(["/app/secret"])
        }
        "/inventory" => {
            part("buckets", body["buckets"] == json!(["soak-bucket"]))
                && part("parameters", lists(&body["parameters"]) == Some(true))
        }
        "/status" => body["main_version"].is_string() || body["version"].is_string(),
        _ => body["value"] == value(number),
    }
}
