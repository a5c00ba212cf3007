//! A client of `/changes` that reads one event after another.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

/// The time limit of one event.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An event with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    /// The type: `message` unless the stream names another one.
    pub kind: String,
    pub data: Value,
}

/// An open stream.
pub struct Events {
    response: Response,
    received: String,
    /// The last id that the stream has sent.
    pub last_id: String,
}

impl Events {
    /// Opens a stream, and waits for its position.
    pub async fn open(url: &str, path: &str, last_id: Option<&str>) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
        let mut request = client.get(format!("{url}/changes{path}"));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.expect("it responds");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events =
            Self { response, received: String::new(), last_id: last_id.unwrap_or_default().into() };
        if last_id.is_none() {
            assert_eq!(events.block().await, None, "the first block is the position");
        }
        events
    }

    /// Waits for the next event with data.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.block().await {
                return event;
            }
        }
    }

    /// Waits for the next event of a name.
    pub async fn next_name(&mut self) -> String {
        let event = self.next().await;
        assert_eq!(event.kind, "message", "{event:?}");
        event.data["name"].as_str().expect("the data has the name").to_owned()
    }

    /// Reads the next block: an event with data, or `None` for a position or a comment.
    async fn block(&mut self) -> Option<Event> {
        let end = loop {
            if let Some(end) = self.received.find("\n\n") {
                break end;
            }
            let chunk = timeout(TIMEOUT, self.response.chunk()).await.expect("an event arrives");
            let chunk = chunk.expect("the stream is whole").expect("the stream goes on");
            self.received += std::str::from_utf8(&chunk).expect("events are UTF-8");
        };
        let block: String = self.received.drain(..end + 2).collect();
        let (mut kind, mut data) = ("message", None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => self.last_id = id.to_owned(),
                Some(("event", name)) => kind = name,
                Some(("data", text)) => data = Some(serde_json::from_str(text).expect("JSON")),
                _ => {}
            }
        }
        Some(Event { id: self.last_id.clone(), kind: kind.to_owned(), data: data? })
    }
}
