//! A proxy in front of a server that imitates the faults of networks and servers on command.
//!
//! Calls have the names in the server's own documents: `GetParameter`, `ListBuckets`. Calls to
//! aux-service have their path as a name, `/buckets`. The proxy records every request.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};

/// The fault of a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Delays the request by this time on its way to the server.
    Delay(Duration),
    /// Delays the server's response by this time: the response is the one of the past.
    Hold(Duration),
    /// Sends no response and leaves the connection open.
    Hang,
    /// Resets the connection instead of a response.
    Reset,
    /// Closes the connection after half of the body that `Content-Length` announced.
    Truncate,
    /// Sends half of the body and then nothing. A timeout for the head of a response would not
    /// detect this.
    Stall,
    /// Sends this response instead of the server's.
    Answer(Answer),
}

/// A response that the proxy makes itself.
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

/// A request as it arrived. Names of headers are in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The time at which the request had arrived.
    pub at: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Returns the AWS operation of the request, or else its path.
    pub fn call(&self) -> &str {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let s3 = || query.split('&').find_map(|pair| pair.strip_prefix("x-id="));
        let ssm = self.header("x-amz-target").and_then(|target| target.rsplit('.').next());
        ssm.or_else(s3).unwrap_or(path)
    }
}

/// The call of a stream of changes.
const CHANGES: &str = "/changes";

/// A proxy that runs. When it is dropped, it ends and closes the connections through it.
pub struct Proxy {
    pub url: String,
    address: SocketAddr,
    inner: Arc<Inner>,
    port: Mutex<Port>,
}

/// The state of the proxy's port.
enum Port {
    /// The task accepts connections, and holds those that are open.
    Accepting(JoinHandle<()>),
    /// The socket holds the port and does not listen, so the kernel refuses every connection.
    Refusing(TcpSocket),
    /// The port changes its state.
    Changing,
}

struct Inner {
    upstream: String,
    added_header: Option<(&'static str, String)>,
    client: reqwest::Client,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Seen>,
}

/// The requests so far, and their number for each call. Counting them anew at each request would
/// keep the proxy busy under load.
#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    counts: HashMap<String, usize>,
}

struct Rule {
    /// The call, or `None` for every call.
    call: Option<String>,
    /// The number of the call that fails, counted from 1, or `None` for each one.
    nth: Option<usize>,
    fault: Fault,
}

impl Proxy {
    pub async fn before(upstream: &str) -> Self {
        Self::start(upstream, None).await
    }

    /// Starts a proxy like [`before`](Self::before) that adds this header to every request.
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
        let address = listener.local_addr().expect("it is bound");
        let port = Mutex::new(accept(listener, &inner));
        Self { url: format!("http://{address}"), address, inner, port }
    }

    /// Closes all connections and refuses new ones from now on, like a server that does not run.
    pub async fn refuse_connections(&self) {
        let before = std::mem::replace(&mut *locked(&self.port), Port::Changing);
        let after = match before {
            Port::Accepting(task) => {
                task.abort();
                // The listener is closed when its task has ended.
                let _ = task.await;
                // Without this socket, a client could get the port for its own end of a connection, and
                // so connect to itself.
                let socket = TcpSocket::new_v4().expect("the system has sockets");
                socket.set_reuseaddr(true).expect("the socket is new");
                socket.bind(self.address).expect("the port has just become free");
                Port::Refusing(socket)
            }
            other => other,
        };
        *locked(&self.port) = after;
    }

    /// Accepts connections again.
    pub fn accept_connections(&self) {
        let mut port = locked(&self.port);
        *port = match std::mem::replace(&mut *port, Port::Changing) {
            Port::Refusing(socket) => {
                accept(socket.listen(BACKLOG).expect("the socket is bound"), &self.inner)
            }
            other => other,
        };
    }

    /// Causes a fault in every such call from now on.
    pub fn fail(&self, call: &str, fault: impl Into<Fault>) {
        self.add(Some(call), None, fault);
    }

    /// Causes a fault in the nth such call, counted from 1 since the start.
    pub fn fail_nth(&self, call: &str, nth: usize, fault: impl Into<Fault>) {
        self.add(Some(call), Some(nth), fault);
    }

    /// Causes a fault in every call from now on.
    pub fn fail_all(&self, fault: impl Into<Fault>) {
        self.add(None, None, fault);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        locked(&self.inner.rules).clear();
    }

    /// Returns the requests for this call so far, including those that failed.
    pub fn requests(&self, call: &str) -> Vec<Request> {
        locked(&self.inner.seen)
            .requests
            .iter()
            .filter(|request| request.call() == call)
            .cloned()
            .collect()
    }

    /// Returns all requests so far, including those that failed, and without those for streams of
    /// changes: main-api makes these by itself.
    pub fn all_requests(&self) -> Vec<Request> {
        locked(&self.inner.seen)
            .requests
            .iter()
            .filter(|request| request.call() != CHANGES)
            .cloned()
            .collect()
    }

    pub fn calls(&self, call: &str) -> usize {
        self.requests(call).len()
    }

    /// Returns the number of [all requests](Self::all_requests).
    pub fn all_calls(&self) -> usize {
        self.all_requests().len()
    }

    fn add(&self, call: Option<&str>, nth: Option<usize>, fault: impl Into<Fault>) {
        let rule = Rule { call: call.map(str::to_owned), nth, fault: fault.into() };
        locked(&self.inner.rules).push(rule);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Port::Accepting(task) = &*locked(&self.port) {
            task.abort();
        }
    }
}

/// The connections that the kernel holds until the proxy accepts them.
const BACKLOG: u32 = 1024;

fn accept(listener: TcpListener, inner: &Arc<Inner>) -> Port {
    let inner = Arc::clone(inner);
    Port::Accepting(tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, Arc::clone(&inner)));
            while connections.try_join_next().is_some() {}
        }
    }))
}

impl Inner {
    /// Records the request and finds its fault. The latest rule that matches applies.
    fn fault_for(&self, request: &Request) -> Option<Fault> {
        let nth = {
            let mut seen = locked(&self.seen);
            seen.requests.push(request.clone());
            let count = seen.counts.entry(request.call().to_owned()).or_default();
            *count += 1;
            *count
        };
        let matches = |rule: &&Rule| {
            rule.call.as_deref().is_none_or(|call| call == request.call())
                && rule.nth.is_none_or(|number| number == nth)
        };
        locked(&self.rules).iter().rev().find(matches).map(|rule| rule.fault.clone())
    }

    /// Sends the request to the server.
    async fn send(&self, request: &Request) -> reqwest::Result<reqwest::Response> {
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
        forwarded.body(request.body.clone()).send().await
    }

    /// Passes on a stream as it arrives, until it ends. Returns `None` if it breaks off.
    async fn forward_stream(&self, request: &Request, client: &mut TcpStream) -> Option<()> {
        let mut answer = self.send(request).await.ok()?;
        let mut head = format!("HTTP/1.1 {} \r\nconnection: close\r\n", answer.status().as_u16());
        for (name, value) in headers_of(&answer) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        client.write_all(head.as_bytes()).await.ok()?;
        while let Some(chunk) = answer.chunk().await.ok()? {
            client.write_all(&chunk).await.ok()?;
        }
        client.shutdown().await.ok()
    }

    /// Returns the server's own response, or `None` if the server sends none.
    async fn forward(&self, request: &Request) -> Option<Answer> {
        match self.send(request).await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let headers = headers_of(&answer);
                let body = answer.bytes().await.map(Vec::from).unwrap_or_default();
                Some(Answer { status, headers, body })
            }
            Err(error) => {
                eprintln!(
                    "proxy: cannot connect to {}, the connection is closed: {error:?}",
                    self.upstream
                );
                None
            }
        }
    }
}

/// Returns the headers that a response keeps on its way through the proxy.
fn headers_of(answer: &reqwest::Response) -> Vec<(String, String)> {
    let kept = answer
        .headers()
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "connection" | "transfer-encoding"));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    kept.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

/// Serves one connection, for as many requests as the client sends. Returns `None` to end it.
async fn serve(mut stream: TcpStream, inner: Arc<Inner>) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let request = read(&mut stream, &mut received).await?;
        match inner.fault_for(&request) {
            None if request.call() == CHANGES => {
                if inner.forward_stream(&request, &mut stream).await.is_none() {
                    stream.set_zero_linger().ok()?;
                }
                return None;
            }
            None => write(&mut stream, &request, inner.forward(&request).await?).await?,
            Some(Fault::Delay(pause)) => {
                sleep(pause).await;
                write(&mut stream, &request, inner.forward(&request).await?).await?;
            }
            Some(Fault::Hold(pause)) => {
                let answer = inner.forward(&request).await?;
                sleep(pause).await;
                write(&mut stream, &request, answer).await?;
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

/// Reads the next request. Returns `None` if the client has closed the connection, or if this proxy
/// does not support the request.
pub(crate) async fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<Request> {
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
    let mut request = Request { method, target, headers, body: Vec::new(), at: Instant::now() };
    assert!(request.header("transfer-encoding").is_none(), "this proxy reads Content-Length only");
    let length = request.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
    while received.len() < length {
        receive(stream, received).await?;
    }
    request.body = received.drain(..length).collect();
    request.at = Instant::now();
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

/// Renders the bytes of a response. A response to `HEAD` has the length that the server announced.
pub(crate) fn render(request: &Request, answer: Answer) -> Vec<u8> {
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

pub(crate) fn but_half_the_body(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|window| window == END_OF_HEAD).unwrap_or_default();
    let body = answer.len() - head - END_OF_HEAD.len();
    &answer[..answer.len() - body.div_ceil(2)]
}

/// Waits for the end of the connection, and discards the bytes that arrive until then.
pub(crate) async fn until_it_leaves(stream: &mut TcpStream) -> Option<()> {
    let mut swallowed = Vec::new();
    while receive(stream, &mut swallowed).await.is_some() {}
    None
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this")
}
