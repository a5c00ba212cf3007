//! Between a connection and hyper: takes out the requests that the fast path can answer.
//!
//! hyper is handed one whole request at a time, and the bytes behind it are looked at only when it
//! has answered; so it is with a request whose answer is not ready. So it is always known whose turn
//! it is, and answers keep the order of their requests.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::time::Instant;

use super::{Asking, Date, FastPath, Front, Given};
use crate::{connections::Visit, server::LARGEST_HEADER};

/// Answers to requests that came together are sent together, up to about so many bytes: what a
/// client is slow to take has to be kept for it.
const BATCH: usize = 64 << 10;

thread_local! {
    /// Of the worker and not of the connection, since most connections do nothing at most times.
    static WORKPLACE: RefCell<Workplace> = RefCell::new(Workplace::new());
}

struct Workplace {
    input: Box<[u8]>,
    output: Vec<u8>,
    date: Date,
}

impl Workplace {
    fn new() -> Self {
        let input = vec![0; LARGEST_HEADER].into_boxed_slice();
        Self { input, output: Vec::new(), date: Date::default() }
    }
}

/// A connection as hyper sees it: without the requests that are answered here.
pub(crate) struct FastStream<T> {
    stream: T,
    visit: Arc<Visit>,
    /// `None`: hyper gets everything.
    path: Option<Arc<FastPath>>,
    draining: Arc<AtomicBool>,
    /// Has come, and was neither answered nor handed to hyper.
    held: Vec<u8>,
    /// How much of it is known to be the beginning of a request and no more.
    incomplete: usize,
    /// How much of it hyper is to get.
    handing: usize,
    /// hyper has got a whole request, and has not begun with it.
    handed: bool,
    /// The answer to the request that came before what is held.
    asking: Option<Asking>,
    unsent: Unsent,
    /// The last answer is given.
    ended: bool,
}

/// What the client is slow to take.
#[derive(Default)]
struct Unsent {
    head: Bytes,
    body: Bytes,
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }
}

/// What is to be done when the requests that could be answered are.
enum Next {
    Read,
    /// There may be more to answer, when this is sent.
    Send,
    /// The answer to a request of so many bytes is to be waited for.
    Ask(Asking, usize),
    /// hyper gets a request of so many bytes.
    Hand(usize),
    /// hyper gets everything from here on.
    HandAll,
}

impl<T: Read + Write + Unpin> FastStream<T> {
    pub(crate) fn new(
        stream: T,
        visit: Arc<Visit>,
        path: Option<Arc<FastPath>>,
        draining: Arc<AtomicBool>,
    ) -> Self {
        Self {
            stream,
            visit,
            path,
            draining,
            held: Vec::new(),
            incomplete: 0,
            handing: 0,
            handed: false,
            asking: None,
            unsent: Unsent::default(),
            ended: false,
        }
    }

    /// Answers what can be answered, and notes what is to be done about the rest. `false`: nothing
    /// will come any more.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        WORKPLACE.with_borrow_mut(|Workplace { input, output, date }| {
            let mut held = std::mem::take(&mut self.held);
            let come = if self.incomplete < held.len() {
                &held
            } else {
                let read = poll_read(&mut self.stream, cx, input);
                let Poll::Ready(Ok(come @ [_, ..])) = read else {
                    self.held = held;
                    return read.map_ok(|_| false);
                };
                if held.is_empty() {
                    come
                } else {
                    held.extend_from_slice(come);
                    // Who sends a header byte by byte shall not have it parsed as often.
                    if !come.contains(&b'\n') && held.len() < LARGEST_HEADER {
                        (self.incomplete, self.held) = (held.len(), held);
                        return Poll::Ready(Ok(true));
                    }
                    &held
                }
            };
            output.clear();
            let (answered, body, next) = self.answer(come, output, date);
            let mut rest = &come[answered..];
            (self.incomplete, self.handing) = match next {
                Next::Read => (rest.len(), 0),
                Next::Send => (0, 0),
                Next::Ask(asking, length) => {
                    self.asking = Some(asking);
                    self.visit.asks(false);
                    rest = &rest[length..];
                    (0, 0)
                }
                Next::Hand(length) => (0, length),
                Next::HandAll => {
                    self.path = None;
                    (0, rest.len())
                }
            };
            self.held = rest.to_vec();
            if answered > 0 {
                self.visit.asks(false);
                self.visit.is_answered();
                self.send(cx, output, &body)?;
            }
            Poll::Ready(Ok(true))
        })
    }

    /// Answers the requests at the front, as many as can be. Returns how many bytes they were, what
    /// is to be sent behind the output, and what is to be done about the rest.
    fn answer(&self, come: &[u8], output: &mut Vec<u8>, date: &mut Date) -> (usize, Bytes, Next) {
        // While draining, each answer closes its connection, which is done above hyper.
        let path = self.path.as_ref().filter(|_| !self.draining.load(Relaxed));
        let mut now = Instant::now();
        let mut answered = 0;
        while answered < come.len() {
            let rest = &come[answered..];
            let next = match (Front::of(rest), path) {
                (Front::Plain(request, length), Some(path)) if length <= LARGEST_HEADER => {
                    match path.answer(&request, &mut now, date, output) {
                        Given::Answer(body) => {
                            answered += length;
                            if body.is_empty() && output.len() < BATCH {
                                continue;
                            }
                            return (answered, body, Next::Send);
                        }
                        // Its time begins when those before it are answered.
                        Given::Admitted(_) if answered > 0 => Next::Send,
                        Given::Admitted(admitted) => match path.ask(admitted, &request) {
                            Some(asking) => Next::Ask(asking, length),
                            None => Next::Hand(length),
                        },
                        Given::Nothing => Next::Hand(length),
                    }
                }
                (Front::Plain(_, length) | Front::Other(length), _) => Next::Hand(length),
                (Front::Incomplete, _) if rest.len() < LARGEST_HEADER => Next::Read,
                (Front::Incomplete | Front::Unclear, _) => Next::HandAll,
            };
            return (answered, Bytes::new(), next);
        }
        (answered, Bytes::new(), Next::Read)
    }

    /// Answers the request that is under way when its answer has come. `false`: the client has left.
    fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(asking) = &mut self.asking else { return Poll::Ready(Ok(true)) };
        let Poll::Ready(outcome) = asking.as_mut().poll(cx) else {
            ready!(self.poll_departure(cx))?;
            self.asking = None;
            return Poll::Ready(Ok(false));
        };
        self.asking = None;
        self.visit.is_answered();
        self.ended = self.draining.load(Relaxed);
        WORKPLACE.with_borrow_mut(|Workplace { output, date, .. }| {
            output.clear();
            let body = outcome.write(self.ended, date, output);
            self.send(cx, output, &body)
        })?;
        Poll::Ready(Ok(true))
    }

    /// Sends at once what the kernel takes, and keeps the rest.
    fn send(&mut self, cx: &mut Context<'_>, output: &[u8], body: &Bytes) -> io::Result<()> {
        let stream = Pin::new(&mut self.stream);
        let sending = if body.is_empty() {
            stream.poll_write(cx, output)
        } else {
            stream.poll_write_vectored(cx, &[IoSlice::new(output), IoSlice::new(body)])
        };
        let sent = match sending {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        self.unsent = Unsent {
            head: Bytes::copy_from_slice(output.get(sent..).unwrap_or_default()),
            body: body.slice(sent.saturating_sub(output.len())..),
        };
        if self.unsent.is_empty() {
            self.is_taken();
        }
        Ok(())
    }

    fn is_taken(&self) {
        self.visit.is_taken();
        if !self.held.is_empty() {
            self.visit.begins();
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.unsent.is_empty() {
            let Unsent { head, body } = &mut self.unsent;
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &parts))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = sent.min(head.len());
            head.advance(of_head);
            body.advance(sent - of_head);
        }
        self.is_taken();
        Poll::Ready(Ok(()))
    }

    fn hand(&mut self, buf: &mut ReadBufCursor<'_>) {
        let length = self.handing.min(buf.remaining());
        buf.put_slice(&self.held[..length]);
        self.held.drain(..length);
        self.handing -= length;
        self.handed = self.handing == 0;
        self.visit.begins();
    }

    /// Somebody is at work. More is read only to hear that the client has left.
    fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            return Poll::Pending;
        }
        WORKPLACE.with_borrow_mut(|Workplace { input, .. }| {
            let come = ready!(poll_read(&mut self.stream, cx, input))?;
            if come.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // `poll_flush` wakes this task when it is time to look at it.
            self.held.extend_from_slice(come);
            Poll::Pending
        })
    }
}

fn poll_read<'a>(
    stream: &mut (impl Read + Unpin),
    cx: &mut Context<'_>,
    space: &'a mut [u8],
) -> Poll<io::Result<&'a [u8]>> {
    let mut buffer = ReadBuf::new(space);
    ready!(Pin::new(stream).poll_read(cx, buffer.unfilled()))?;
    let length = buffer.filled().len();
    Poll::Ready(Ok(&space[..length]))
}

impl<T: Read + Write + Unpin> Read for FastStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            ready!(this.poll_sent(cx))?;
            if !ready!(this.poll_asked(cx))? || this.ended {
                return Poll::Ready(Ok(()));
            }
            if this.handing > 0 {
                this.hand(&mut buf);
                return Poll::Ready(Ok(()));
            }
            if this.path.is_none() {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            if std::mem::take(&mut this.handed) && this.visit.has_begun() {
                // What is a whole request here is none to hyper. It must not happen, and if it
                // does, hyper is to decide where the next one begins.
                this.path = None;
                this.handing = this.held.len();
                continue;
            }
            if !this.visit.awaits_request() {
                return this.poll_departure(cx);
            }
            if !ready!(this.poll_requests(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: Read + Write + Unpin> Write for FastStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let unseen = self.incomplete < self.held.len() && self.handing == 0;
        if unseen && self.path.is_some() && self.visit.awaits_request() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper, which knows nothing of it, may end a connection while a request is under way.
        ready!(self.poll_asked(cx))?;
        ready!(self.poll_sent(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::{
        config::AccessLog,
        connections::{Connections, Watched},
        fast_path::{Answers, FastPath},
        http::{Edge, Gate},
    };

    #[tokio::test]
    async fn when_hyper_sees_no_request_where_one_was_seen_it_gets_everything_from_there_on() {
        let answers = Answers {
            routes: &["/a"],
            ready: Box::new(|_, _| panic!("not to be looked for")),
            ask: Box::new(|_, _| panic!("not to be asked for")),
        };
        let edge = Edge { log: AccessLog::Off, traffic: true };
        let path = Arc::new(FastPath::new(answers, Arc::new(Gate::open()), edge));
        let visit = Connections::up_to(2).visit();
        let (mut client, server) = duplex(1024);
        let watched = Watched::new(TokioIo::new(server), Arc::clone(&visit));
        let stream = FastStream::new(watched, Arc::clone(&visit), Some(path), Arc::default());
        let mut stream = TokioIo::new(stream);

        client.write_all(b"GET /b HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n").await.expect("open");
        let mut space = [0; 1024];
        let length = stream.read(&mut space).await.expect("open");
        assert_eq!(&space[..length], b"GET /b HTTP/1.1\r\n\r\n", "one at a time");
        // It asks for more, and has not begun to answer.
        let length = stream.read(&mut space).await.expect("open");
        assert_eq!(&space[..length], b"GET /a HTTP/1.1\r\n\r\n");
    }
}
