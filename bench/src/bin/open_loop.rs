//! Sends requests at a fixed rate, even if responses are slow, and reports their latency.
//!
//! A closed-loop generator sends the next request only after a response. While a server stalls, it
//! sends nothing, so the stall counts as one slow response instead of the thousand that a steady
//! stream of clients would have seen. Here every request has a due time, and its latency counts
//! from then on, even if no connection was free to send it.
//!
//! The generator polls the clock until a due time, because the runtime's timer has a resolution of
//! a millisecond. It needs a core of its own, unless `--sleep` says that a millisecond is enough.
//!
//! A request without a right response counts with the time until its client gave up, at most
//! [`TIMEOUT`] after the due time. Otherwise a server that responds to nothing would look fast.

use std::{
    future::poll_fn,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use clap::Parser;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{CONNECTION, HOST, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::{JoinSet, yield_now},
    time::{Instant, sleep_until, timeout_at},
};

/// The timeout of a response, from the due time of its request. A slower response is an error.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The delay after its due time from which a request counts as late: all connections were waiting
/// for responses, or the generator itself was too slow.
const LATE: Duration = Duration::from_millis(1);

#[derive(Parser)]
#[command(about = "Asks at a fixed rate, and prints as JSON how long the answers took")]
struct Config {
    /// Addresses of the server's replicas. The connections take them in turn; while one replica
    /// refuses connections, its clients use the next one, as behind a load balancer
    #[arg(value_name = "ADDR,…", value_parser = addresses)]
    addresses: Addresses,

    /// Path to request
    #[arg(value_name = "PATH", required_unless_present = "requests")]
    path: Option<String>,

    /// File with a request a line: a path, a tab, and a text that the body must contain. The
    /// requests are sent in this order, and from the beginning again
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    requests: Option<PathBuf>,

    /// Requests a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,

    /// Duration of the load
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// Number of open connections, which bounds the concurrent requests
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: usize,

    /// Header of every request; may be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,

    /// Status of a correct response; any other is an error
    #[arg(long, value_name = "STATUS", default_value = "200")]
    status: StatusCode,

    /// Length of a correct response's body in bytes; any other is an error
    #[arg(long, value_name = "BYTES")]
    body_bytes: Option<usize>,

    /// Text of the body before the time at which the value was read, in seconds since 1970
    #[arg(long, value_name = "TEXT")]
    stamp: Option<String>,

    /// Whether to wait with the timer, which has a resolution of a millisecond
    #[arg(long)]
    sleep: bool,
}

/// A request, and the text that the body of its response contains.
struct Question {
    path: String,
    text: String,
}

impl Config {
    fn questions(&self) -> anyhow::Result<Vec<Question>> {
        let Some(file) = &self.requests else {
            let path = self.path.clone().context("there is no path")?;
            return Ok(vec![Question { path, text: String::new() }]);
        };
        let lines = std::fs::read_to_string(file)?;
        let questions = lines.lines().map(|line| {
            let (path, text) =
                line.split_once('\t').context("a request is written PATH, tab, TEXT")?;
            Ok(Question { path: path.to_owned(), text: text.to_owned() })
        });
        questions.collect()
    }
}

/// The replicas. clap would take a plain `Vec` for an argument that may be repeated.
#[derive(Clone)]
struct Addresses(Vec<SocketAddr>);

fn addresses(text: &str) -> anyhow::Result<Addresses> {
    Ok(Addresses(text.split(',').map(str::parse).collect::<Result<_, _>>()?))
}

fn header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':').context("a header is written NAME: VALUE")?;
    Ok((name.trim().parse()?, value.trim().parse()?))
}

/// The due time of the next request. The task that holds the lock waits for that time, and the
/// others wait for the lock, so one task at a time polls the clock.
struct Schedule {
    next: Mutex<u64>,
    count: u64,
    interval: Duration,
    start: Instant,
    sleep: bool,
}

/// The number of a request, and the time at which it is due.
#[derive(Clone, Copy)]
struct Due {
    number: u64,
    at: Instant,
}

impl Schedule {
    fn new(config: &Config) -> Self {
        let interval = Duration::from_secs(1) / config.rate;
        let count = config.duration.as_nanos() / interval.as_nanos();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let start = Instant::now();
        Self { next: Mutex::new(0), count, interval, start, sleep: config.sleep }
    }

    /// Waits until a request is due. Returns `None` at the end of the load.
    async fn due(&self) -> Option<Due> {
        let mut next = self.next.lock().await;
        if *next == self.count {
            return None;
        }
        let number = *next;
        let at = self.start + Duration::from_nanos(self.interval.as_nanos() as u64 * number);
        *next += 1;
        if self.sleep {
            sleep_until(at).await;
        }
        while Instant::now() < at {
            yield_now().await;
        }
        Some(Due { number, at })
    }
}

const GROWS: &str = "a histogram that was given no bounds grows as it must";

/// The outcome of one request.
enum Outcome {
    /// The response is right. The age is the time since its value was read, in seconds.
    Right {
        age: f64,
    },
    /// The status is right, and the body is not.
    Wrong(anyhow::Error),
    Failed(anyhow::Error),
}

/// The results of one connection, or of all of them together.
struct Seen {
    /// The latencies of all requests, in microseconds.
    latencies: Histogram<u64>,
    right: u64,
    wrong: u64,
    errors: u64,
    late: u64,
    oldest: f64,
    /// The number of right responses, and of all requests, by the second in which they were due.
    seconds: Vec<[u64; 2]>,
    /// The first error, for the person who looks for the reason.
    error: Option<String>,
}

impl Seen {
    fn new(config: &Config) -> Self {
        let seconds = config.duration.as_secs_f64().ceil() as usize;
        Self {
            latencies: Histogram::new(3).expect("three digits are allowed"),
            right: 0,
            wrong: 0,
            errors: 0,
            late: 0,
            oldest: 0.0,
            seconds: vec![[0, 0]; seconds],
            error: None,
        }
    }

    fn record(&mut self, second: usize, latency: Duration, outcome: Outcome) {
        // `saturating_record` would not let the histogram grow.
        self.latencies.record(latency.as_micros() as u64).expect(GROWS);
        let [right, all] = &mut self.seconds[second];
        *all += 1;
        match outcome {
            Outcome::Right { age } => {
                self.right += 1;
                *right += 1;
                self.oldest = self.oldest.max(age);
            }
            Outcome::Wrong(error) => {
                self.wrong += 1;
                self.errors += 1;
                self.error.get_or_insert_with(|| format!("{error:#}"));
            }
            Outcome::Failed(error) => {
                self.errors += 1;
                self.error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.latencies.add(other.latencies).expect(GROWS);
        self.right += other.right;
        self.wrong += other.wrong;
        self.errors += other.errors;
        self.late += other.late;
        self.oldest = self.oldest.max(other.oldest);
        for (second, [right, all]) in self.seconds.iter_mut().zip(other.seconds) {
            second[0] += right;
            second[1] += all;
        }
        self.error = self.error.take().or(other.error);
    }
}

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "the output of this program is its report")]
async fn main() -> anyhow::Result<()> {
    let config: &'static Config = Box::leak(Box::new(Config::parse()));
    ensure!(config.connections > 0, "--connections must be at least 1");
    let questions: &'static [Question] = config.questions()?.leak();
    ensure!(!questions.is_empty(), "there is no request");

    // The measurement excludes connecting, and a server that refuses connections gives no result.
    let mut clients = Vec::new();
    for number in 0..config.connections {
        let mut client =
            Client { config, first: number % config.addresses.0.len(), connection: None };
        client.connect().await?;
        clients.push(client);
    }

    let schedule: &'static Schedule = Box::leak(Box::new(Schedule::new(config)));
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(client.run(schedule, questions));
    }
    let mut seen = Seen::new(config);
    while let Some(task) = tasks.join_next().await {
        seen.add(task.context("a connection's task broke")?);
    }

    let took = schedule.start.elapsed();
    let quantile = |q: f64| seen.latencies.value_at_quantile(q);
    let report = json!({
        "requests": schedule.count,
        "rate": seen.right as f64 / took.as_secs_f64(),
        "right": seen.right,
        "wrong": seen.wrong,
        "errors": seen.errors,
        "error": seen.error,
        "late": seen.late,
        "p50_us": quantile(0.5),
        "p90_us": quantile(0.9),
        "p99_us": quantile(0.99),
        "p999_us": quantile(0.999),
        "max_us": seen.latencies.max(),
        "oldest_s": seen.oldest,
        "seconds": seen.seconds,
    });
    println!("{report}");
    Ok(())
}

type Connection = SendRequest<Empty<Bytes>>;

/// A client with one connection.
struct Client {
    config: &'static Config,
    /// The place of the replica that it prefers.
    first: usize,
    connection: Option<Connection>,
}

impl Client {
    /// Sends the requests that are due until none is left.
    async fn run(mut self, schedule: &Schedule, questions: &[Question]) -> Seen {
        let mut seen = Seen::new(self.config);
        while let Some(due) = schedule.due().await {
            seen.late += u64::from(due.at.elapsed() > LATE);
            let question = &questions[due.number as usize % questions.len()];
            let outcome = if due.at.elapsed() < TIMEOUT {
                self.outcome(question, due.at + TIMEOUT).await
            } else {
                Outcome::Failed(anyhow!("all connections were in use until its timeout"))
            };
            // The connection is in an unknown state, so it is replaced.
            if let Outcome::Failed(_) = outcome {
                self.connection = None;
            }
            let second = (due.at - schedule.start).as_secs() as usize;
            seen.record(second, due.at.elapsed().min(TIMEOUT), outcome);
        }
        seen
    }

    async fn outcome(&mut self, question: &Question, end: Instant) -> Outcome {
        let response = timeout_at(end, self.response(question)).await;
        match response.context("no answer in time").flatten() {
            Ok(body) => self.check(question, &body),
            Err(error) => Outcome::Failed(error),
        }
    }

    fn check(&self, question: &Question, body: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(body);
        let has_length = self.config.body_bytes.is_none_or(|length| length == body.len());
        if !has_length || !text.contains(&question.text) {
            let error = format!("{} answered {} bytes: {text:.200}", question.path, body.len());
            return Outcome::Wrong(anyhow!(error));
        }
        let Some(stamp) = &self.config.stamp else { return Outcome::Right { age: 0.0 } };
        let read_at = text.split_once(stamp.as_str()).and_then(|(_, rest)| {
            let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit());
            rest[..digits.unwrap_or(rest.len())].parse::<f64>().ok()
        });
        match (read_at, SystemTime::now().duration_since(UNIX_EPOCH)) {
            (Some(read_at), Ok(now)) => Outcome::Right { age: now.as_secs_f64() - read_at },
            _ => Outcome::Wrong(anyhow!("{} has no stamp: {text:.200}", question.path)),
        }
    }

    /// Connects to the first replica that accepts the connection.
    async fn connect(&mut self) -> anyhow::Result<&mut Connection> {
        let addresses = &self.config.addresses.0;
        let mut refused = None;
        for number in 0..addresses.len() {
            let address = addresses[(self.first + number) % addresses.len()];
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                    // The task's result is ignored, because a request in flight gets the same error.
                    tokio::spawn(connection);
                    return Ok(self.connection.insert(sender));
                }
                Err(error) => {
                    refused = Some(anyhow!(error).context(format!("cannot connect to {address}")))
                }
            }
        }
        Err(refused.context("there is no address")?)
    }

    /// Returns the body of the response. A request that a closed connection never sent is sent
    /// again, as HTTP clients do.
    async fn response(&mut self, question: &Question) -> anyhow::Result<Vec<u8>> {
        loop {
            let is_reused = self.connection.is_some();
            let request = request(self.config, question)?;
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let sent = match poll_fn(|context| connection.poll_ready(context)).await {
                Ok(()) => connection.send_request(request).await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(response) => return self.body(response).await,
                Err(error) if is_reused && (error.is_canceled() || error.is_closed()) => {
                    self.connection = None
                }
                Err(error) => return Err(error).context("the connection broke"),
            }
        }
    }

    async fn body(&mut self, response: Response<Incoming>) -> anyhow::Result<Vec<u8>> {
        let status = response.status();
        let closes = response.headers().get(CONNECTION).is_some_and(|value| value == "close");
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref() {
                bytes.extend_from_slice(data);
            }
        }
        if closes {
            self.connection = None;
        }
        if status != self.config.status {
            bail!("answered {status}: {:.200}", String::from_utf8_lossy(&bytes));
        }
        Ok(bytes)
    }
}

fn request(config: &Config, question: &Question) -> anyhow::Result<Request<Empty<Bytes>>> {
    let host = config.addresses.0[0].to_string();
    let mut request = Request::get(&question.path).header(HOST, host);
    for (name, value) in &config.header {
        request = request.header(name, value);
    }
    Ok(request.body(Empty::new())?)
}
