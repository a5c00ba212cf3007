//! A proxy that stands before a server and, on cue, does what networks and servers do on a bad day.
//!
//! Calls are named as the server's own documents name them: `GetParameter`, `ListBuckets`; calls
//! to aux-service by their path, `/buckets`. It remembers every request that it saw.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The true answer, this much later.
    Delay(Duration),
    /// No answer, and the connection stays open.
    Hang,
    /// The connection is reset in place of an answer.
    Reset,
    /// The end of the connection after half of the body that `Content-Length` announced.
    Truncate,
    /// Silence after half of the body, which no timeout for the head of an answer would notice.
    Stall,
    /// This answer in place of the true one.
    Answer(Answer),
}

/// An answer that the proxy gives by itself.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, content_type: &str, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// A request as it came over the wire. Names of headers are in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The operation of AWS that is asked for, or else the path.
    pub fn call(&self) -> &str {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let s3 = || query.split('&').find_map(|pair| pair.strip_prefix("x-id="));
        let ssm = self.header("x-amz-target").and_then(|target| target.rsplit('.').next());
        ssm.or_else(s3).unwrap_or(path)
    }
}

/// The proxy itself. It ends, and the connections through it with it, when it is dropped.
pub struct Proxy {
    pub url: String,
    inner: Arc<Inner>,
    listener: JoinHandle<()>,
}

struct Inner {
    upstream: String,
    added_header: Option<(&'static str, String)>,
    client: reqwest::Client,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Request>>,
}

struct Rule {
    /// `None`: every call.
    call: Option<String>,
    /// Counted from 1; `None`: each time.
    nth: Option<usize>,
    fault: Fault,
}

impl Proxy {
    pub async fn before(upstream: &str) -> Self {
        Self::start(upstream, None).await
    }

    /// Like [`before`](Self::before), and every request gets this header on its way.
    pub async fn adding(header: (&'static str, String), upstream: &str) -> Self {
        Self::start(upstream, Some(header)).await
    }

    async fn start(upstream: &str, added_header: Option<(&'static str, String)>) -> Self {
        let inner = Arc::new(Inner {
            upstream: upstream.to_owned(),
            added_header,
            client: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client without TLS needs nothing that could be missing"),
            rules: Mutex::default(),
            seen: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let accepting = Arc::clone(&inner);
        let listener = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&accepting)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url, inner, listener }
    }

    /// From now on this happens to every such call.
    pub fn fail(&self, call: &str, fault: impl Into<Fault>) {
        self.add(Some(call), None, fault);
    }

    /// This happens to the nth such call, counted from 1 since the start.
    pub fn fail_nth(&self, call: &str, nth: usize, fault: impl Into<Fault>) {
        self.add(Some(call), Some(nth), fault);
    }

    /// From now on this happens to every call there is.
    pub fn fail_all(&self, fault: impl Into<Fault>) {
        self.add(None, None, fault);
    }

    /// Every call passes again.
    pub fn heal(&self) {
        locked(&self.inner.rules).clear();
    }

    /// The requests for this call so far, those that failed included.
    pub fn requests(&self, call: &str) -> Vec<Request> {
        locked(&self.inner.seen).iter().filter(|request| request.call() == call).cloned().collect()
    }

    pub fn calls(&self, call: &str) -> usize {
        self.requests(call).len()
    }

    /// How many requests of any kind there were.
    pub fn all_calls(&self) -> usize {
        locked(&self.inner.seen).len()
    }

    fn add(&self, call: Option<&str>, nth: Option<usize>, fault: impl Into<Fault>) {
        let rule = Rule { call: call.map(str::to_owned), nth, fault: fault.into() };
        locked(&self.inner.rules).push(rule);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Inner {
    /// Remembers the request, and finds what is to happen to it. The youngest rule wins.
    fn fault_for(&self, request: &Request) -> Option<Fault> {
        let mut seen = locked(&self.seen);
        seen.push(request.clone());
        let nth = seen.iter().filter(|earlier| earlier.call() == request.call()).count();
        let matches = |rule: &&Rule| {
            rule.call.as_deref().is_none_or(|call| call == request.call())
                && rule.nth.is_none_or(|number| number == nth)
        };
        locked(&self.rules).iter().rev().find(matches).map(|rule| rule.fault.clone())
    }

    /// The server's own answer; `None` when it cannot be had.
    async fn forward(&self, request: &Request) -> Option<Answer> {
        let method = request.method.parse().expect("the parser saw a method");
        let mut forwarded =
            self.client.request(method, format!("{}{}", self.upstream, request.target));
        for (name, value) in &request.headers {
            if !matches!(name.as_str(), "connection" | "content-length") {
                forwarded = forwarded.header(name, value);
            }
        }
        if let Some((name, value)) = &self.added_header {
            forwarded = forwarded.header(*name, value);
        }
        match forwarded.body(request.body.clone()).send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let headers = answer
                    .headers()
                    .iter()
                    .filter(|(name, _)| {
                        !matches!(name.as_str(), "connection" | "transfer-encoding")
                    })
                    .map(|(name, value)| {
                        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                    })
                    .collect();
                let body = answer.bytes().await.map(Vec::from).unwrap_or_default();
                Some(Answer { status, headers, body })
            }
            Err(error) => {
                eprintln!("proxy: {} is gone, so is the connection: {error:?}", self.upstream);
                None
            }
        }
    }
}

/// One connection: as many requests as the client sends. `None` ends it.
async fn serve(mut stream: TcpStream, inner: Arc<Inner>) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let request = read(&mut stream, &mut received).await?;
        match inner.fault_for(&request) {
            None => write(&mut stream, &request, inner.forward(&request).await?).await?,
            Some(Fault::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                write(&mut stream, &request, inner.forward(&request).await?).await?;
            }
            Some(Fault::Answer(answer)) => write(&mut stream, &request, answer).await?,
            Some(Fault::Hang) => return until_it_leaves(&mut stream).await,
            Some(Fault::Reset) => {
                stream.set_zero_linger().ok()?;
                return None;
            }
            Some(Fault::Truncate) => {
                let whole = render(&request, inner.forward(&request).await?);
                stream.write_all(but_half_the_body(&whole)).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Some(Fault::Stall) => {
                let whole = render(&request, inner.forward(&request).await?);
                stream.write_all(but_half_the_body(&whole)).await.ok()?;
                return until_it_leaves(&mut stream).await;
            }
        }
    }
}

/// The next request; `None` when the client has left, or speaks what this proxy does not.
async fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<Request> {
    let head = loop {
        if let Some(end) = received.windows(4).position(|window| window == END_OF_HEAD) {
            let head: Vec<u8> = received.drain(..end + END_OF_HEAD.len()).collect();
            break String::from_utf8(head).ok()?;
        }
        receive(stream, received).await?;
    };
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    assert!(request.header("transfer-encoding").is_none(), "this proxy reads Content-Length only");
    let length = request.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
    while received.len() < length {
        receive(stream, received).await?;
    }
    request.body = received.drain(..length).collect();
    Some(request)
}

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

async fn receive(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<()> {
    let count = stream.read_buf(received).await.ok()?;
    (count > 0).then_some(())
}

async fn write(stream: &mut TcpStream, request: &Request, answer: Answer) -> Option<()> {
    stream.write_all(&render(request, answer)).await.ok()
}

/// The bytes of an answer. The length of an answer to `HEAD` is what the server said it would be.
fn render(request: &Request, answer: Answer) -> Vec<u8> {
    let Answer { status, headers, body } = answer;
    let mut bytes = format!("HTTP/1.1 {status} \r\n").into_bytes();
    for (name, value) in headers {
        if name != "content-length" || request.method == "HEAD" {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
    }
    if request.method != "HEAD" {
        bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend(body);
    bytes
}

fn but_half_the_body(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|window| window == END_OF_HEAD).unwrap_or_default();
    let body = answer.len() - head - END_OF_HEAD.len();
    &answer[..answer.len() - body.div_ceil(2)]
}

/// Waits for the end of the connection, and swallows what still comes.
async fn until_it_leaves(stream: &mut TcpStream) -> Option<()> {
    let mut swallowed = Vec::new();
    while receive(stream, &mut swallowed).await.is_some() {}
    None
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this")
}
