//! Accepts connections and serves each with hyper.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicBool},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, Request, Response, header::CONNECTION},
};
use futures_util::FutureExt;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{Instant, interval, sleep, timeout},
};

use super::{
    connection::{Activity, ActivityIo, RequestBody, ResponseBody},
    registry::{Registry, TICK},
    request::ResponseResult,
    stack::PublicApi,
};

/// The most bytes of a request's line and header together. The longest path that a route takes is
/// three times 2048 bytes when every byte is percent-encoded.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// The pause after a failed accept. The usual cause is a lack of file descriptors, and connections
/// that close meanwhile give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The time that a drain gives connections for their first request. hyper closes a connection that has
/// received none at once, although the request may be on its way.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// The interval at which a drain looks for connections without a request.
const FIRST_REQUEST_POLL: Duration = Duration::from_millis(5);

/// The age is shortened by up to this fraction, so that connections that were opened together are
/// not closed together.
const AGE_JITTER: f64 = 0.2;

/// The limits of a listener.
pub(super) struct Limits {
    /// The most connections at once.
    pub(super) capacity: usize,
    /// The first response after this age closes its connection; zero means never.
    pub(super) max_age: Duration,
}

/// Serves one listener.
///
/// hyper is used directly because `axum::serve` has no timeout for a request's header.
pub(super) struct HttpServer<S> {
    api: S,
    http: http1::Builder,
    registry: Registry,
    max_age: Duration,
    draining: Arc<AtomicBool>,
}

impl<S: PublicApi> HttpServer<S> {
    pub(super) fn new(api: S, limits: &Limits, draining: &Arc<AtomicBool>) -> Self {
        let mut http = http1::Builder::new();
        // `pipeline_flush` stays off: it holds a response back while part of another request has
        // arrived, for as long as the rest takes.
        http.half_close(false)
            .max_header_size(MAX_HEADER_BYTES)
            .max_buf_size(MAX_HEADER_BYTES)
            // The registry limits the time of a header. hyper would start a timer for each request.
            .header_read_timeout(None);
        Self {
            api,
            http,
            registry: Registry::with_capacity(limits.capacity),
            max_age: limits.max_age,
            draining: Arc::clone(draining),
        }
    }

    pub(super) fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Serves connections until `stopped` closes, then lets open requests finish within `grace`.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        mut stopped: watch::Receiver<()>,
        grace: Duration,
    ) {
        let graceful = GracefulShutdown::new();
        let mut ticks = interval(TICK);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.serve_connection(stream, &graceful),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                _ = ticks.tick() => self.registry.sweep(false),
                _ = stopped.changed() => break,
            }
        }
        // The kernel has accepted these connections and would reset them with the listener. tokio's
        // view of the listener may be a moment old, so this queries the kernel directly.
        if let Ok(listener) = listener.into_std() {
            stop_handshakes(&listener);
            while let Ok((stream, _)) = listener.accept() {
                let accepted =
                    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = accepted {
                    self.serve_connection(stream, &graceful);
                }
            }
        }
        let drained = async {
            let first_requests = async {
                while self.registry.awaits_first_request() {
                    sleep(FIRST_REQUEST_POLL).await;
                }
            };
            let _ = timeout(FIRST_REQUEST_GRACE, first_requests).await;
            let mut finished = pin!(graceful.shutdown());
            loop {
                tokio::select! {
                    () = &mut finished => break,
                    _ = ticks.tick() => self.registry.sweep(true),
                }
            }
        };
        if timeout(grace, drained).await.is_err() && !grace.is_zero() {
            tracing::warn!("some requests did not finish within the grace");
        }
    }

    fn serve_connection(&self, stream: TcpStream, graceful: &GracefulShutdown) {
        // A response is written whole, so waiting for more bytes would only add latency.
        let _ = stream.set_nodelay(true);
        let activity = self.registry.activity(close_at(self.max_age), &self.draining);
        let stream = ActivityIo::new(TokioIo::new(stream), Arc::clone(&activity));
        let service = ConnectionService {
            api: Mutex::new(self.api.clone()),
            activity: Arc::clone(&activity),
        };
        let connection = graceful.watch(self.http.serve_connection(stream, service));
        // An async block would have room for the connection twice: captured, and awaited.
        let connection = connection.map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended with an error");
            }
        });
        self.registry.spawn(activity, connection);
    }
}

/// Makes the kernel drop packets that would open further connections. The client's kernel sends such
/// a packet again after a second and then learns that nothing listens.
///
/// Otherwise the kernel could complete a handshake between the last accept and the close of the
/// listener, and would reset that connection although its client may have sent a request.
#[cfg(target_os = "linux")]
fn stop_handshakes(listener: &std::net::TcpListener) {
    use socket2::{SockFilter, SockRef};

    // A classic BPF program; see the kernel's Documentation/networking/filter.rst. It sees a packet
    // from the TCP header on.
    let program = [
        // Load byte 13, the flags.
        SockFilter::new(0x30, 0, 0, 13),
        // Skip the next instruction unless SYN is set.
        SockFilter::new(0x45, 0, 1, 0x02),
        // Drop the packet.
        SockFilter::new(0x06, 0, 0, 0),
        // Accept the whole packet.
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    if let Err(error) = SockRef::from(listener).attach_filter(&program) {
        tracing::debug!(%error, "cannot stop handshakes before the listener closes");
    }
}

#[cfg(not(target_os = "linux"))]
fn stop_handshakes(_: &std::net::TcpListener) {}

/// The time at which a connection that is accepted now has its maximum age.
fn close_at(max_age: Duration) -> Option<Instant> {
    let shortened = max_age.mul_f64(1.0 - AGE_JITTER * fastrand::f64());
    (!max_age.is_zero()).then(|| Instant::now() + shortened)
}

/// The service of one connection: the API, and the notes about the connection that requests and
/// responses make.
struct ConnectionService<S> {
    /// hyper calls through a shared reference and tower wants an exclusive one. The requests of a
    /// connection come one after another, so the lock is always free.
    api: Mutex<S>,
    activity: Arc<Activity>,
}

impl<S: PublicApi> hyper::service::Service<Request<Incoming>> for ConnectionService<S> {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ConnectionFuture<<S as tower::Service<Request<Body>>>::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.activity.request_received(!request.body().is_end_stream());
        // Most requests have no body, and an empty one needs no memory.
        let request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(RequestBody::new(body, Arc::clone(&self.activity))),
        });
        ConnectionFuture {
            inner: self.api.lock().call(request),
            activity: Some(Arc::clone(&self.activity)),
        }
    }
}

pin_project! {
    struct ConnectionFuture<F> {
        #[pin]
        inner: F,
        activity: Option<Arc<Activity>>,
    }
}

impl<F: Future<Output = ResponseResult>> Future for ConnectionFuture<F> {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        let activity = this.activity.take().expect("a future is not polled after its end");
        if activity.must_close() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, activity))))
    }
}

/// Listens on an address. Up to a thousand connections may wait to be accepted; the 128 of the
/// standard library are few when a whole fleet reconnects.
///
/// # Errors
///
/// The address is in use or not of this machine.
pub fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the last packets of old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}
