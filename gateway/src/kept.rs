//! Connections to aux-service that are kept open: the fast way to ask it.
//!
//! reqwest runs each connection in a task of its own; a call wakes that task, and is woken by it
//! in turn, and both cost as much again as the exchange itself. A connection that is kept here is
//! driven by the task that uses it. reqwest is the general way still: it asks when no connection
//! is at hand, which then makes for one, so that steady load soon finds as many as it uses.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::Empty;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::unconstrained,
    time::{Instant, timeout},
};
use url::{Host, Url};

use crate::upstream::{CONNECT_TIMEOUT, IDLE_TIMEOUT};

/// At most this many connections are open or opening. They are a fraction of what aux-service
/// takes, even from several replicas of ours, and a process that has more calls under way than
/// this waits for other things than the fast way.
const MOST: usize = 256;

/// aux-service closes a connection that brings no request within ten seconds of its begin.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(5);

/// Ours, those of a conditional call and what a trace brings, without growing.
const HEADERS: usize = 12;

/// What reqwest says for whoever says nothing.
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// The connections that nobody uses at the moment. Cloning is shallow.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Parts>);

struct Parts {
    host: String,
    port: u16,
    /// What `Host` says.
    authority: HeaderValue,
    /// The one that was used last is at the end, and is used next, so that those that the load
    /// does not need grow old.
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl Kept {
    /// None yet. The address is that of plain HTTP, which is all that the configuration allows.
    pub(crate) fn to(base: &Url) -> Self {
        let host = base.host().expect("the URL of a service has a host");
        let authority = match base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        Self(Arc::new(Parts {
            port: base.port_or_known_default().expect("http has one"),
            authority: authority.try_into().expect("the host of a URL is a header value"),
            host: match host {
                Host::Domain(name) => name.to_owned(),
                Host::Ipv4(address) => address.to_string(),
                // Without the brackets that it has in a URL.
                Host::Ipv6(address) => address.to_string(),
            },
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST)),
        }))
    }

    /// A `GET` as reqwest would send it: the headers that `tell` adds are followed by the same two.
    pub(crate) fn request(
        &self,
        path: PathAndQuery,
        tell: impl FnOnce(&mut HeaderMap),
    ) -> Request<Empty<Bytes>> {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        tell(&mut headers);
        headers.insert(header::ACCEPT, ANYTHING);
        headers.insert(header::HOST, self.0.authority.clone());
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from(path);
        *request.headers_mut() = headers;
        request
    }

    /// A connection that is idle. Its peer may have closed it, which the first call on it finds out
    /// before it sends anything. Whoever drops a connection closes it.
    pub(crate) fn take(&self) -> Option<Connection> {
        loop {
            let connection = self.0.idle.lock().pop()?;
            if Instant::now() < connection.good_until {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next call, if the answer to the last one was read to its end and
    /// its peer lets it live.
    pub(crate) fn give_back(&self, mut connection: Connection) {
        connection.used = true;
        connection.good_until = Instant::now() + IDLE_TIMEOUT;
        if connection.is_idle() {
            self.0.idle.lock().push(connection);
        }
    }

    /// Opens another connection in the background, unless there are [enough](MOST).
    pub(crate) fn open(&self) {
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else { return };
        let kept = self.clone();
        tokio::spawn(async move {
            match timeout(CONNECT_TIMEOUT, kept.connect(place)).await {
                Ok(Ok(connection)) => kept.0.idle.lock().push(connection),
                // The call that would have used it hears of this by reqwest.
                Ok(Err(error)) => tracing::debug!(%error, "a connection to keep was not opened"),
                Err(_) => tracing::debug!("a connection to keep was not opened in time"),
            }
        });
    }

    async fn connect(&self, place: OwnedSemaphorePermit) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect((&*self.0.host, self.0.port)).await?;
        stream.set_nodelay(true)?;
        // There is only ever one piece to write, which takes the kernel less time than a list of one.
        let (sender, driver) =
            http1::Builder::new().writev(false).handshake(TokioIo::new(stream)).await?;
        Ok(Connection {
            sender,
            driver: Some(Box::new(driver)),
            used: false,
            good_until: Instant::now() + UNUSED_TIMEOUT,
            _place: place,
        })
    }

    /// Closes what is idle for too long, or was closed by its peer. To be called every few seconds.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let over =
            |connection: &mut Connection| now >= connection.good_until || !connection.is_idle();
        let over: Vec<_> = self.0.idle.lock().extract_if(.., over).collect();
        // Only now, without the lock, are they closed.
        drop(over);
    }
}

/// A connection, which does nothing but while it is used.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// hyper's side of it, which reads and writes; `None` once it has ended.
    driver: Option<Box<http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
    /// Whether it has brought an answer.
    pub(crate) used: bool,
    /// When to close it if nobody uses it.
    good_until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Sends a request and waits for the head of its answer. A request that was not sent, since the
    /// connection is closed, is an [error that says so](hyper::Error::is_canceled).
    pub(crate) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        // The head comes from the driver and from nowhere else, so nobody has to be woken for it;
        // but tokio's budget would be such another place.
        let mut response = pin!(unconstrained(self.sender.send_request(request)));
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            response.as_mut().poll(&mut nobody())
        })
        .await
    }

    /// Whether another request may be sent.
    fn is_idle(&mut self) -> bool {
        // This also makes it forget the task that has used it last, which would be woken by the next
        // request, and is kept in memory until then.
        drive(&mut self.driver, &mut nobody());
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// The body of an answer, as it comes in over its connection.
pub(crate) struct Arriving<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) body: Incoming,
}

impl Body for Arriving<'_> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        // Most bodies came together with their heads.
        let frame = Pin::new(&mut self.body).poll_frame(&mut nobody());
        if frame.is_ready() {
            return frame;
        }
        drive(&mut self.connection.driver, cx);
        Pin::new(&mut self.body).poll_frame(&mut nobody())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads and writes what can be, and has the task woken when more can be. A driver at its end is
/// dropped, which ends whatever waits for it.
fn drive(driver: &mut Option<Box<impl Future + Unpin>>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
        *driver = None;
    }
}

fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
