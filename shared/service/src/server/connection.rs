//! One connection: its phase, its age, and the stream that keeps both up to date.
//!
//! A connection notes its phase in one atomic number, and [the registry](super::registry) looks at
//! all connections once a second. So a request takes neither a lock nor a timer for this.

use std::{
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    rt::{Read, ReadBuf, ReadBufCursor, Write},
};
use tokio::time::Instant;
use zeroize::Zeroize;

/// Sweeps since the start of the registry: seconds.
pub(super) type Ticks = u32;

/// The time for a request's header, from its first byte on. For the first header of a connection it
/// counts from the accept. A part that arrives together with the request before it counts as idle.
const HEADER_TIMEOUT: Ticks = 10;

/// The time between two requests. It is longer than the 90 s of Traefik and the 60 s of an AWS load
/// balancer, so that they close idle connections and not we: a request that is on its way when we
/// close is lost.
const IDLE_TIMEOUT: Ticks = 120;

/// The time in which a client must take some of the bytes that are written to it.
const WRITE_TIMEOUT: Ticks = 60;

/// The time for reading the rest of a body that the service does not want.
const LINGER_TIMEOUT: Ticks = 2;

/// The most bytes of such a body that are read.
const LINGER_BYTES: usize = 1 << 20;

/// Up to this size a response is written as one buffer.
const COALESCED_BYTES: usize = 4096;

/// The activity of one connection.
pub(super) struct Activity {
    clock: Arc<AtomicU32>,
    /// The phase in the lowest three bits, and the tick at which it began.
    state: AtomicU32,
    /// Whether a whole request has arrived on this connection.
    used: AtomicBool,
    /// Whether the latest request had a body that was not read.
    request_body: AtomicBool,
    /// Whether the body of the latest response has ended.
    response_ended: AtomicBool,
    /// The time from which on a response closes the connection; `None` means never.
    close_at: Option<Instant>,
    /// Whether the process drains: then every response closes its connection.
    draining: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// A part of a request's header has arrived.
    ReadingHead,
    /// The service works on the response, or on the next frame of its body.
    Processing,
    /// The client has not taken the bytes that were written.
    Writing,
    /// The response is written, and the rest of an unwanted body is read (a lingering close).
    Lingering,
}

const PHASES: [Phase; 5] =
    [Phase::Idle, Phase::ReadingHead, Phase::Processing, Phase::Writing, Phase::Lingering];

impl Activity {
    pub(super) fn new(
        clock: Arc<AtomicU32>,
        close_at: Option<Instant>,
        draining: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let activity = Self {
            clock,
            close_at,
            draining,
            state: AtomicU32::new(0),
            used: AtomicBool::new(false),
            request_body: AtomicBool::new(false),
            response_ended: AtomicBool::new(true),
        };
        activity.enter(Phase::Idle);
        Arc::new(activity)
    }

    /// A whole header has arrived.
    pub(super) fn request_received(&self, with_body: bool) {
        self.used.store(true, Relaxed);
        self.request_body.store(with_body, Relaxed);
        self.response_ended.store(false, Relaxed);
        self.enter(Phase::Processing);
    }

    /// The body of the latest request was read to its end.
    fn request_body_read(&self) {
        self.request_body.store(false, Relaxed);
    }

    /// Whether a response that is sent now must be the last one of the connection. The next request
    /// would stand behind a body that was not read.
    pub(super) fn must_close(&self) -> bool {
        self.draining.load(Relaxed)
            || self.request_body.load(Relaxed)
            || self.close_at.is_some_and(|close_at| Instant::now() >= close_at)
    }

    /// Whether no whole request has arrived yet.
    pub(super) fn is_unused(&self) -> bool {
        !self.used.load(Relaxed)
    }

    fn read(&self) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::ReadingHead);
        }
    }

    /// The socket takes no more bytes for now.
    fn write_blocked(&self) {
        if self.phase() == Phase::Processing {
            self.enter(Phase::Writing);
        }
    }

    /// The client has taken some of the bytes.
    fn write_progressed(&self) {
        if self.phase() == Phase::Writing {
            self.enter(Phase::Writing);
        }
    }

    /// Everything written so far is sent. hyper flushes between the frames of a body too, so only
    /// the end of the body makes this the end of the response.
    fn flushed(&self) {
        match (self.phase(), self.response_ended.load(Relaxed)) {
            (Phase::Processing | Phase::Writing, true) => self.enter(Phase::Idle),
            (Phase::Writing, false) => self.enter(Phase::Processing),
            _ => {}
        }
    }

    /// Whether the client or the peer has exceeded the time of the current phase. Processing has
    /// none: the request's deadline ends it.
    pub(super) fn is_overdue(&self, now: Ticks, draining: bool) -> bool {
        let (phase, since) = self.state();
        let limit = match phase {
            Phase::Processing => return false,
            Phase::Idle if self.used.load(Relaxed) => IDLE_TIMEOUT,
            // A drain must not wait for a request that may never be complete.
            Phase::Idle | Phase::ReadingHead if draining => 1,
            Phase::Idle | Phase::ReadingHead => HEADER_TIMEOUT,
            Phase::Writing => WRITE_TIMEOUT,
            Phase::Lingering => LINGER_TIMEOUT,
        };
        now.wrapping_sub(since) > limit
    }

    /// Returns the rank for eviction, lowest first: connections without a request, then the longest
    /// in their phase. Returns `None` while a request is processed.
    pub(super) fn eviction_rank(&self) -> Option<(bool, Ticks)> {
        let (phase, since) = self.state();
        (phase != Phase::Processing).then(|| (self.used.load(Relaxed), since))
    }

    /// A whole response has been sent.
    #[cfg(test)]
    pub(super) fn response_sent(&self) {
        self.response_ended.store(true, Relaxed);
        self.flushed();
    }

    fn enter(&self, phase: Phase) {
        let now = self.clock.load(Relaxed);
        self.state.store(now << 3 | phase as u32, Relaxed);
    }

    fn phase(&self) -> Phase {
        self.state().0
    }

    fn state(&self) -> (Phase, Ticks) {
        let state = self.state.load(Relaxed);
        (PHASES[(state & 7) as usize], state >> 3)
    }
}

/// The body of a request. It reports to the connection that it was read to its end.
pub(super) struct RequestBody {
    body: Incoming,
    activity: Arc<Activity>,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.activity.request_body_read();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response, which reports its end to the connection.
pub(super) struct ResponseBody {
    body: Body,
    activity: Arc<Activity>,
}

impl ResponseBody {
    pub(super) fn new(body: Body, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

/// hyper drops a body when it has read its last frame, or needs none of it (a 304, a `HEAD`).
impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.activity.response_ended.store(true, Relaxed);
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that reports reads, writes and flushes to the connection's activity.
pub(super) struct ActivityIo<T> {
    stream: T,
    activity: Arc<Activity>,
    lingered: usize,
}

impl<T> ActivityIo<T> {
    pub(super) fn new(stream: T, activity: Arc<Activity>) -> Self {
        Self { stream, activity, lingered: 0 }
    }
}

impl<T: Read + Unpin> Read for ActivityIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.activity.read();
        Poll::Ready(Ok(()))
    }
}

impl<T: Read + Write + Unpin> ActivityIo<T> {
    fn noted(&self, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        match written {
            Poll::Pending => self.activity.write_blocked(),
            Poll::Ready(_) => self.activity.write_progressed(),
        }
        written
    }
}

impl<T: Read + Write + Unpin> Write for ActivityIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        // The kernel takes longer for a vector than for one buffer, and more than a copy of a short
        // response takes. The copy may hold a secret, so it is wiped.
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if bufs.len() > 1 && length <= COALESCED_BYTES {
            let mut whole = Vec::with_capacity(length);
            bufs.iter().for_each(|buf| whole.extend_from_slice(buf));
            let written = self.poll_write(cx, &whole);
            // A slice is wiped in blocks, and a `Vec` byte by byte.
            whole.as_mut_slice().zeroize();
            return written;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.noted(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // A TCP stream has nothing of its own to flush, so this never waits.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    /// Closing a socket with unread data resets it, and the client may never see the response. So
    /// the rest of a body, or of a header that was refused, is read first, within bounds.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let phase = self.activity.phase();
        if phase != Phase::Lingering {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if phase != Phase::ReadingHead && !self.activity.request_body.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            self.activity.enter(Phase::Lingering);
        }
        let mut space = [std::mem::MaybeUninit::uninit(); 8192];
        while self.lingered < LINGER_BYTES {
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer.unfilled()))?;
            match buffer.filled().len() {
                0 => break,
                length => self.lingered += length,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
