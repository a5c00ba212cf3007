//! Many clients, of which each always waits for the next change, on a connection of its own.
//!
//! A client sends `Prefer: wait` with the tag of its latest response, or reads the stream of
//! changes. The clients share one thread and keep nothing but their sockets and tags, because the
//! time until the last of thousands has its response includes the time of this program.
//!
//! The program prints a line of JSON when all clients wait. Each line of its input is a command, and
//! gets a line of JSON when it is done:
//!
//! - a number: wait until that many clients have learned of a change;
//! - `drain`: expect the end of the server;
//! - `ended`: wait until each client has got the end of its wait or stream.
//!
//! A wrong response ends the program.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

/// The time limit of a command.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The end of a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The event of a changed parameter, up to its name.
const EVENT: &[u8] = b"data: {\"name\"";

#[derive(Parser)]
#[command(
    about = "Waits for changes with many clients, and prints as JSON when they learned of them"
)]
struct Config {
    /// Address of the server
    #[arg(value_name = "ADDR")]
    address: SocketAddr,

    /// Paths to wait for; the clients take them in turn
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,

    /// Number of clients
    #[arg(long, value_name = "N")]
    clients: usize,

    /// Whether the paths are streams of changes
    #[arg(long)]
    stream: bool,

    /// Header of every request; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
}

/// The state that all clients share.
struct Shared {
    config: Config,
    draining: AtomicBool,
    learned: UnboundedSender<anyhow::Result<Learned>>,
}

/// A fact that a client learned, and the time.
struct Learned {
    what: What,
    at: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A parameter has changed.
    Change,
    /// The server drains.
    End,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (learned, mut facts) = unbounded_channel();
    let shared = Shared { config: Config::parse(), draining: AtomicBool::new(false), learned };
    let shared = Arc::new(shared);
    let config = &shared.config;
    let mut tags = Vec::new();
    if !config.stream {
        for path in &config.paths {
            tags.push(tag_of(config, path).await.with_context(|| path.clone())?);
        }
    }
    for number in 0..config.clients {
        let place = number % config.paths.len();
        let tag = tags.get(place).cloned().unwrap_or_default();
        let mut client = Client { shared: Arc::clone(&shared), place, tag, stream: None };
        // One after the other, so that the queue of new connections never overflows.
        client.send().await?;
        tokio::spawn(client.run());
    }
    report(&json!({ "clients": config.clients }));

    let mut commands = commands();
    while let Some(command) = commands.recv().await {
        let draining = shared.draining.load(Relaxed);
        if !draining && let Ok(fact) = facts.try_recv() {
            bail!("a client learned of a second {:?}", fact?.what);
        }
        let (what, count) = match command.as_str() {
            "drain" => {
                shared.draining.store(true, Relaxed);
                report(&json!({ "draining": true }));
                continue;
            }
            "ended" => (What::End, config.clients),
            number => (What::Change, number.parse().context("an unknown command")?),
        };
        let last = last_of(&mut facts, what, count);
        let last = timeout(TIMEOUT, last).await.context("some clients learned nothing")??;
        report(&json!({ "last": last.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() }));
    }
    Ok(())
}

/// Returns the time at which the last of so many clients learned of a fact.
async fn last_of(
    facts: &mut UnboundedReceiver<anyhow::Result<Learned>>,
    what: What,
    count: usize,
) -> anyhow::Result<SystemTime> {
    let mut last = SystemTime::UNIX_EPOCH;
    for _ in 0..count {
        let fact = facts.recv().await.context("the clients are gone")??;
        ensure!(fact.what == what, "a client learned of a {:?} instead of a {what:?}", fact.what);
        last = last.max(fact.at);
    }
    Ok(last)
}

/// Reads the commands in a thread, because the runtime has no standard input.
fn commands() -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            // The receiver is gone at the end of the program.
            let _ = sender.send(line);
        }
    });
    receiver
}

#[allow(clippy::print_stdout, reason = "the output of this program is its report")]
fn report(line: &serde_json::Value) {
    println!("{line}");
}

/// Returns the tag of the current response for a path.
async fn tag_of(config: &Config, path: &str) -> anyhow::Result<String> {
    let mut stream = connect(config).await?;
    write(&stream, request(config, path, "").as_bytes()).await?;
    let response = Response::read(&mut stream).await?;
    ensure!(response.status == "200", "it responds {}", response.status);
    Ok(response.tag)
}

async fn connect(config: &Config) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(config.address).await;
    let stream = stream.with_context(|| format!("cannot connect to {}", config.address))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn request(config: &Config, path: &str, headers: &str) -> String {
    let mut lines = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", config.address);
    for header in &config.header {
        lines += &format!("{header}\r\n");
    }
    format!("{lines}{headers}\r\n")
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits for bytes and adds them to those that were read before. Returns `false` at the end. The
/// place for the bytes exists only while there are some.
async fn read(stream: &TcpStream, bytes: &mut Vec<u8>) -> anyhow::Result<bool> {
    loop {
        stream.readable().await?;
        let mut space = [0; 4096];
        match stream.try_read(&mut space) {
            Ok(length) => {
                bytes.extend_from_slice(&space[..length]);
                return Ok(length > 0);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

struct Response {
    status: String,
    tag: String,
    /// Whether the server closes the connection after the response.
    closes: bool,
    /// Whether the client waited for the response.
    waited: bool,
}

impl Response {
    /// Reads a whole response.
    async fn read(stream: &mut TcpStream) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        loop {
            ensure!(read(stream, &mut bytes).await?, "the connection ended without a response");
            let Some(end) = find(&bytes, b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&bytes[..end]).context("the head is no text")?;
            let field = |name: &str| {
                let mut fields = head.lines().filter_map(|line| line.split_once(": "));
                fields.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
            };
            let length = field("content-length").unwrap_or("0").parse::<usize>()?;
            if bytes.len() < end + 4 + length {
                continue;
            }
            return Ok(Self {
                status: head.get(9..12).unwrap_or_default().to_owned(),
                tag: field("etag").unwrap_or_default().to_owned(),
                closes: field("connection") == Some("close"),
                waited: field("preference-applied").is_some(),
            });
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

struct Client {
    shared: Arc<Shared>,
    /// The number of the path.
    place: usize,
    /// The tag of the latest response.
    tag: String,
    /// The connection, if the next request can use it.
    stream: Option<TcpStream>,
}

impl Client {
    /// Learns of changes until the server ends, and reports why if it cannot.
    async fn run(mut self) {
        let done = if self.shared.config.stream { self.follow().await } else { self.wait().await };
        if let Err(error) = done {
            let _ = self.shared.learned.send(Err(error));
        }
    }

    /// Sends the next request, on a new connection if the last one was closed.
    async fn send(&mut self) -> anyhow::Result<()> {
        let config = &self.shared.config;
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(config).await?,
        };
        let condition = match self.tag.as_str() {
            "" => String::new(),
            tag => format!("if-none-match: {tag}\r\nprefer: wait=55\r\n"),
        };
        write(&stream, request(config, &config.paths[self.place], &condition).as_bytes()).await?;
        self.stream = Some(stream);
        Ok(())
    }

    fn learn(&self, what: What) {
        // The receiver is gone at the end of the program.
        let _ = self.shared.learned.send(Ok(Learned { what, at: SystemTime::now() }));
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = self.stream.as_mut().context("a request was sent")?;
            let response = Response::read(stream).await?;
            ensure!(response.waited, "it did not wait, and responded {}", response.status);
            let is_end = self.shared.draining.load(Relaxed) && response.status == "304";
            match response.status.as_str() {
                "200" => self.learn(What::Change),
                "304" if is_end => self.learn(What::End),
                // The time of the wait is over.
                "304" => {}
                other => bail!("it responded {other}"),
            }
            if response.closes {
                self.stream = None;
            }
            if is_end {
                return Ok(());
            }
            self.tag = response.tag;
            self.send().await?;
        }
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        let stream = self.stream.take().context("a request was sent")?;
        let mut bytes = Vec::new();
        while read(&stream, &mut bytes).await? {
            ensure!(!bytes.starts_with(b"HTTP") || bytes.starts_with(b"HTTP/1.1 200"), "no 200");
            while let Some(start) = find(&bytes, EVENT) {
                bytes.drain(..start + EVENT.len());
                self.learn(What::Change);
            }
            if bytes.ends_with(LAST_CHUNK) {
                ensure!(self.shared.draining.load(Relaxed), "the stream ended early");
                self.learn(What::End);
                return Ok(());
            }
            // An event or the end may have arrived in part.
            bytes.drain(..bytes.len().saturating_sub(EVENT.len() - 1));
            bytes.shrink_to_fit();
        }
        bail!("the stream broke off")
    }
}
