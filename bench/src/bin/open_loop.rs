//! Sends requests at a fixed rate, even if responses are slow, and reports their latency.
//!
//! A closed-loop generator sends the next request only after a response. While a server stalls, it
//! sends nothing, so the stall counts as one slow response instead of the thousand that a steady
//! stream of clients would have seen. Here every request has a due time, and its latency counts
//! from then on, even if no connection was free to send it.
//!
//! The generator polls the clock until a due time, because the runtime's timer has a resolution of
//! a millisecond. It needs a core of its own.

use std::{future::poll_fn, net::SocketAddr, time::Duration};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Parser;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{HOST, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::{JoinSet, yield_now},
    time::{Instant, timeout},
};

/// The timeout of a response. A slower response is an error.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The delay after its due time from which a request counts as late: all connections were waiting
/// for responses, or the generator itself was too slow.
const LATE: Duration = Duration::from_millis(1);

#[derive(Parser)]
#[command(about = "Asks at a fixed rate, and prints as JSON how long the answers took")]
struct Config {
    /// Address of the server
    #[arg(value_name = "ADDR")]
    address: SocketAddr,

    /// Path to request
    #[arg(value_name = "PATH")]
    path: String,

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
    body_bytes: usize,
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
}

impl Schedule {
    fn new(config: &Config) -> Self {
        let interval = Duration::from_secs(1) / config.rate;
        let count = config.duration.as_nanos() / interval.as_nanos();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        Self { next: Mutex::new(0), count, interval, start: Instant::now() }
    }

    /// Waits until a request is due, and returns its due time. Returns `None` at the end of the
    /// load.
    async fn due(&self) -> Option<Instant> {
        let mut next = self.next.lock().await;
        if *next == self.count {
            return None;
        }
        let due = self.start + Duration::from_nanos(self.interval.as_nanos() as u64 * *next);
        *next += 1;
        while Instant::now() < due {
            yield_now().await;
        }
        Some(due)
    }
}

const GROWS: &str = "a histogram that was given no bounds grows as it must";

/// The results of one connection, or of all of them together.
struct Seen {
    /// The latencies of correct responses, in microseconds.
    latencies: Histogram<u64>,
    errors: u64,
    late: u64,
    /// The first error, for the person who looks for the reason.
    error: Option<String>,
}

impl Seen {
    fn new() -> Self {
        let latencies = Histogram::new(3).expect("three digits are allowed");
        Self { latencies, errors: 0, late: 0, error: None }
    }

    fn record(&mut self, latency: Duration) {
        // `saturating_record` would not let the histogram grow.
        self.latencies.record(latency.as_micros() as u64).expect(GROWS);
    }

    fn add(&mut self, other: Self) {
        self.latencies.add(other.latencies).expect(GROWS);
        self.errors += other.errors;
        self.late += other.late;
        self.error = self.error.take().or(other.error);
    }
}

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "the output of this program is its report")]
async fn main() -> anyhow::Result<()> {
    let config: &'static Config = Box::leak(Box::new(Config::parse()));
    ensure!(config.connections > 0, "--connections must be at least 1");

    // The measurement excludes connecting, and a server that refuses connections gives no result.
    let mut connections = Vec::new();
    for _ in 0..config.connections {
        connections.push(connect(config).await?);
    }

    let schedule: &'static Schedule = Box::leak(Box::new(Schedule::new(config)));
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(ask(config, schedule, connection));
    }
    let mut seen = Seen::new();
    while let Some(task) = tasks.join_next().await {
        seen.add(task.context("a connection's task broke")?);
    }

    let took = schedule.start.elapsed();
    let quantile = |q: f64| seen.latencies.value_at_quantile(q);
    let report = json!({
        "requests": schedule.count,
        "rate": seen.latencies.len() as f64 / took.as_secs_f64(),
        "errors": seen.errors,
        "error": seen.error,
        "late": seen.late,
        "p50_us": quantile(0.5),
        "p90_us": quantile(0.9),
        "p99_us": quantile(0.99),
        "p999_us": quantile(0.999),
        "max_us": seen.latencies.max(),
    });
    println!("{report}");
    Ok(())
}

type Connection = SendRequest<Empty<Bytes>>;

/// Sends the requests that are due until none is left.
async fn ask(config: &Config, schedule: &Schedule, mut connection: Connection) -> Seen {
    let mut seen = Seen::new();
    while let Some(due) = schedule.due().await {
        seen.late += u64::from(due.elapsed() > LATE);
        let answer = timeout(TIMEOUT, answer(config, &mut connection)).await;
        match answer.context("no answer in time").flatten() {
            Ok(()) => seen.record(due.elapsed()),
            Err(error) => {
                seen.errors += 1;
                seen.error.get_or_insert_with(|| format!("{error:#}"));
                // The connection is in an unknown state, so it is replaced.
                if let Ok(new) = connect(config).await {
                    connection = new;
                }
            }
        }
    }
    seen
}

async fn connect(config: &Config) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(config.address)
        .await
        .with_context(|| format!("cannot connect to {}", config.address))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // The task's result is ignored, because a request in flight gets the same error.
    tokio::spawn(connection);
    Ok(sender)
}

async fn answer(config: &Config, connection: &mut Connection) -> anyhow::Result<()> {
    poll_fn(|context| connection.poll_ready(context)).await.context("the connection is closed")?;
    let mut request = Request::get(&config.path).header(HOST, config.address.to_string());
    for (name, value) in &config.header {
        request = request.header(name, value);
    }
    let response = connection.send_request(request.body(Empty::new())?).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    if status != config.status || bytes != config.body_bytes {
        bail!("answered {status} with {bytes} bytes");
    }
    Ok(())
}
