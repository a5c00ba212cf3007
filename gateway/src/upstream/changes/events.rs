//! The events of aux-service's stream, read from the bytes of its response.

use std::{
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::unfold};
use service::{changes::ChangeEvent, contract::wire::Change, server::RESET};
use sse_stream::{Sse, SseByteStream};
use tokio::time::timeout;

use super::Failure;

/// The time without a byte after which a connection is lost. aux-service sends a comment every 15 s.
const MAX_SILENCE: Duration = Duration::from_secs(45);

/// The most bytes of an event. A name has at most 2048 characters, each of which JSON may write with
/// six.
const MAX_EVENT_BYTES: usize = 16 << 10;

/// The most bytes of an id.
const MAX_ID_BYTES: usize = 256;

/// A message of aux-service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The stream has reached this position, and no change is reported.
    Position(Arc<str>),
    Change(ChangeEvent),
    /// Changes are missing. The stream continues from this position.
    Reset(Arc<str>),
    /// The event holds none of these.
    Other,
}

/// Reads the events from the chunks of a response. An event without end, or a silence, ends them.
pub(super) fn events<E: StdError + Send + Sync + 'static>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> impl Stream<Item = Result<Sse, Failure>> {
    // The bytes of the chunks since the end of the latest event, but for the rest of its own chunk.
    let unfinished = Arc::new(AtomicUsize::new(0));
    let received = Arc::clone(&unfinished);
    let chunks = unfold((chunks, received), async |(mut chunks, received)| {
        let chunk = if received.load(Relaxed) > MAX_EVENT_BYTES {
            Err(Failure::InvalidEvent("it is too long"))
        } else {
            match timeout(MAX_SILENCE, chunks.next()).await {
                Ok(chunk) => chunk?.map_err(|error| Failure::BrokenOff(error.into())),
                Err(_) => Err(Failure::Silent(MAX_SILENCE)),
            }
        };
        if let Ok(chunk) = &chunk {
            received.fetch_add(chunk.len(), Relaxed);
        }
        Some((chunk, (chunks, received)))
    });
    SseByteStream::new(chunks).map(move |event| {
        unfinished.store(0, Relaxed);
        event.map_err(failure_of)
    })
}

/// The failure behind an error of the parser.
fn failure_of(error: sse_stream::Error) -> Failure {
    match error {
        sse_stream::Error::Body(error) => match error.downcast() {
            Ok(failure) => *failure,
            Err(error) => Failure::BrokenOff(error),
        },
        _ => Failure::InvalidEvent("it is not UTF-8"),
    }
}

/// Parses an event. A type of event that this version does not know holds no message.
pub(super) fn message_of(event: Sse) -> Result<Message, Failure> {
    let id = event.id.map(checked_id).transpose()?;
    let Some(data) = event.data else {
        return Ok(id.map_or(Message::Other, Message::Position));
    };
    match event.event.as_deref() {
        Some(RESET) => id.map(Message::Reset).ok_or(NO_ID),
        None | Some("" | "message") => {
            // The parser's own message would quote the data.
            let Ok(Change { name, deleted }) = serde_json::from_str::<Change>(&data) else {
                return Err(Failure::InvalidEvent("its data is no change"));
            };
            let (id, name) = (id.ok_or(NO_ID)?, Arc::<str>::from(name));
            Ok(Message::Change(ChangeEvent { id, name, deleted }))
        }
        Some(_) => Ok(id.map_or(Message::Other, Message::Position)),
    }
}

const NO_ID: Failure = Failure::InvalidEvent("it has no id");

/// Checks that an id can be the value of a header.
fn checked_id(id: String) -> Result<Arc<str>, Failure> {
    let is_valid =
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if is_valid { Ok(id.into()) } else { Err(Failure::InvalidEvent("its id is malformed")) }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, io};

    use futures_util::stream::{self, pending};
    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    /// The messages of a stream in chunks, until its end or its first failure.
    async fn messages(chunks: &[&[u8]]) -> Vec<Result<Message, String>> {
        let chunks = chunks.iter().map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk)));
        let events = events(stream::iter(chunks));
        events
            .map(|event| event.and_then(message_of).map_err(|failure| failure.to_string()))
            .collect()
            .await
    }

    fn change(id: &str, name: &str, deleted: bool) -> Result<Message, String> {
        Ok(Message::Change(ChangeEvent { id: id.into(), name: name.into(), deleted }))
    }

    const STREAM: &str = ":\n\nid: 1\nretry: 1000\n\nid: 2\ndata: {\"name\":\"/a\"}\n\n:\n\n\
        id: 3\ndata: {\"name\":\"/b\",\"deleted\":true}\n\nevent: reset\nid: 4\ndata: {}\n\n\
        retry: 3000\n\nevent: later\nid: 5\ndata: ?\n\n";

    fn expected() -> Vec<Result<Message, String>> {
        vec![
            Ok(Message::Position("1".into())),
            change("2", "/a", false),
            change("3", "/b", true),
            Ok(Message::Reset("4".into())),
            Ok(Message::Other),
            Ok(Message::Position("5".into())),
        ]
    }

    #[tokio::test]
    async fn a_stream_is_read_in_any_chunks() {
        assert_eq!(messages(&[STREAM.as_bytes()]).await, expected());
        for length in [1, 2, 3, 7, 50] {
            let chunks: Vec<_> = STREAM.as_bytes().chunks(length).collect();
            assert_eq!(messages(&chunks).await, expected(), "{length}");
        }
    }

    #[tokio::test]
    async fn an_invalid_event_is_a_failure() {
        for event in [
            "id: 1\ndata: {\"name\":1}\n\n",
            "id: 1\ndata: [\n\n",
            "id: 1\ndata:\n\n",
            "data: {\"name\":\"/a\"}\n\n",
            "id: \u{e4}\ndata: {\"name\":\"/a\"}\n\n",
            "id:\ndata: {\"name\":\"/a\"}\n\n",
            "event: reset\ndata: {}\n\n",
        ] {
            let found = messages(&[event.as_bytes()]).await;
            assert!(found[0].is_err(), "{event}: {found:?}");
        }
        assert!(messages(&[b"id: 1\ndata: \xff\n\n"]).await[0].is_err());
    }

    #[tokio::test]
    async fn an_event_without_end_is_cut_off() {
        for line in ["data: ", "data: x\n", ":", ":\n\n", "x", "id: 1\n"] {
            let line = line.repeat(1000);
            let chunks = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(line.clone())));
            let mut read = 0;
            let mut events = Box::pin(events(chunks.inspect(|_| read += line.len())));
            let failure = events.next().await.expect("a failure").expect_err("no event");
            assert!(matches!(failure, Failure::InvalidEvent(_)), "{failure}");
            drop(events);
            assert!(read < 2 * MAX_EVENT_BYTES, "{line:.10}: {read} bytes");
        }
    }

    #[tokio::test]
    async fn many_events_in_one_chunk_are_not_too_long() {
        let chunk = "id: 2\ndata: {\"name\":\"/a\"}\n\n".repeat(10_000);
        let found = messages(&[chunk.as_bytes(), chunk.as_bytes()]).await;
        assert_eq!(found.len(), 20_000);
        assert!(found.iter().all(|message| *message == change("2", "/a", false)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_silent_for_too_long_is_lost() {
        let started = Instant::now();
        // A comment every 40 s, and then nothing.
        let comments = stream::unfold(0, async |count| {
            tokio::time::sleep(Duration::from_secs(40)).await;
            (count < 3).then_some((Ok::<_, io::Error>(Bytes::from_static(b":\n\n")), count + 1))
        });
        let mut events = Box::pin(events(Box::pin(comments.chain(pending()))));
        let failure = events.next().await.expect("a failure").expect_err("no event");
        assert!(matches!(failure, Failure::Silent(_)), "{failure}");
        // The end of the comments takes another 40 s, in which nothing arrives either.
        assert_eq!(started.elapsed().as_secs(), 3 * 40 + 45);
    }

    proptest! {
        #[test]
        fn the_reader_never_panics(
            chunks in proptest::collection::vec("(id|data|event|retry|:|: |\\PC|\n|\r){0,20}", 0..10),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let chunks: Vec<_> = chunks.iter().map(|chunk| chunk.as_bytes()).collect();
            runtime.expect("a runtime").block_on(messages(&chunks));
        }
    }
}
