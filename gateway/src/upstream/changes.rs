//! Follows aux-service's stream of changes: applies them to the caches, and passes them on to the
//! streams of main-api's own clients.

use std::{error::Error as StdError, pin::pin, sync::Arc, time::Duration};

use cache::{Cache, Effect};
use futures_util::StreamExt;
use http::{HeaderValue, StatusCode, header};
use metrics::Counter;
use reqwest::{Client, Response};
use service::{
    auth::TokenSource,
    changes::{ChangeEvent, ChangeLog, ChangedNames, changes_of, describe_changes},
    contract::routes::RouteId,
    server::LAST_EVENT_ID,
};
use sse_stream::Sse;
use tokio::time::{sleep, timeout};
use url::Url;

use super::aux_request::AuxRequest;
use crate::error::Error;

mod effect;
mod events;
mod link;

use self::{
    effect::effect,
    events::{Message, events, message_of},
};

pub(crate) use self::{effect::may_precede, link::Link};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// The time for the head of the response.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The upper bound of the pause after the first failure. It doubles with each further one, and a
/// pause is drawn from 0 to it.
const MIN_BACKOFF: Duration = Duration::from_millis(100);

const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// The pause after a refusal. An older aux-service has no such route, and a wrong token stays wrong
/// until an operator changes it.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// The pause after an end in order, if aux-service asks for none.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// The longest pause that aux-service can ask for.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// The most events that are applied in one pass over the caches.
const MAX_BATCH: usize = 256;

/// The parts of the client of aux-service that changes concern.
pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) base: Url,
    /// The token for aux-service.
    pub(super) token: Option<TokenSource>,
    pub(super) caches: [Cache<Error>; 2],
    /// The changes that main-api's own clients get.
    pub(super) log: ChangeLog,
    pub(super) link: Arc<Link>,
}

/// The task that follows the stream.
pub(super) struct Follower {
    parts: Parts,
    /// The position of the latest event.
    last_id: Option<Arc<str>>,
    applied: Counter,
}

/// The reason for the end of a stream, or for the lack of one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("aux-service cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("aux-service did not respond within {0:?}")]
    TimedOut(Duration),
    /// The status says that further attempts are useless until something changes.
    #[error("aux-service refuses the stream with status {0}")]
    Refused(StatusCode),
    #[error("aux-service responded {0}")]
    Failed(StatusCode),
    #[error("the response is no stream of events")]
    NoStream,
    #[error("the stream broke off")]
    BrokenOff(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the stream was silent for {0:?}")]
    Silent(Duration),
    #[error("an event is invalid: {0}")]
    InvalidEvent(&'static str),
}

impl Failure {
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// The state of one stream.
struct StreamState {
    /// The position from which the stream was to continue.
    requested: Option<Arc<str>>,
    /// Whether the stream has reported its position.
    is_open: bool,
    /// The pause that aux-service asks for after the end.
    retry: Duration,
}

/// The source of all changes of main-api, as a label.
const SOURCE: &str = "fleet";

impl Follower {
    /// Builds the task, and starts its metric at 0.
    pub(super) fn new(parts: Parts) -> Self {
        describe_changes([SOURCE]);
        Self { parts, last_id: None, applied: changes_of(SOURCE) }
    }

    /// Follows the stream, and opens another one after its end, for ever.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let mut state = StreamState {
                requested: self.last_id.clone(),
                is_open: false,
                retry: DEFAULT_RETRY,
            };
            let result = self.follow(&mut state).await;
            if self.parts.link.closed(result.as_ref().err()) {
                failures = 0;
            }
            let pause = match &result {
                Ok(()) => state.retry.clamp(MIN_BACKOFF, MAX_RETRY),
                Err(failure) if failure.is_refusal() => REFUSED_PAUSE,
                Err(_) => {
                    failures += 1;
                    backoff(failures)
                }
            };
            if let Err(failure) = result {
                tracing::debug!(%failure, ?pause, "the stream of changes ended");
                if matches!(failure, Failure::InvalidEvent(_)) {
                    // The next stream would send the same event again. It begins at the current
                    // position instead, and every entry counts as changed.
                    self.last_id = None;
                }
            }
            sleep(pause).await;
        }
    }

    /// Follows one stream to its end in order.
    async fn follow(&mut self, state: &mut StreamState) -> Result<(), Failure> {
        let response = self.open(state).await?;
        // Events that have arrived together are applied together.
        let chunks = pin!(response.bytes_stream());
        let mut batches = pin!(events(chunks).ready_chunks(MAX_BATCH));
        while let Some(batch) = batches.next().await {
            self.receive(batch, state)?;
        }
        if state.is_open { Ok(()) } else { Err(NO_POSITION) }
    }

    /// Requests the stream, and checks the head of the response.
    async fn open(&self, state: &StreamState) -> Result<Response, Failure> {
        let mut request = AuxRequest::get(RouteId::Changes).message(&self.parts.base, None);
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, EVENT_STREAM);
        if let Some(token) = &self.parts.token {
            headers.insert(header::AUTHORIZATION, token.header());
        }
        if let Some(id) = &state.requested {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_str(id).expect("ids are checked"));
        }
        let response = timeout(HEAD_TIMEOUT, self.parts.client.execute(request)).await;
        let response = response
            .map_err(|_| Failure::TimedOut(HEAD_TIMEOUT))?
            .map_err(|error| Failure::Unreachable(error.without_url()))?;
        match response.status() {
            StatusCode::OK if is_event_stream(&response) => Ok(response),
            StatusCode::OK => Err(Failure::NoStream),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
                Err(Failure::Refused(status))
            }
            status => Err(Failure::Failed(status)),
        }
    }

    /// Applies the events before the first failure, and returns that failure.
    fn receive(
        &mut self,
        batch: Vec<Result<Sse, Failure>>,
        state: &mut StreamState,
    ) -> Result<(), Failure> {
        let mut changes = Vec::new();
        let result = batch.into_iter().try_for_each(|event| {
            let event = event?;
            if let Some(milliseconds) = event.retry {
                state.retry = Duration::from_millis(milliseconds);
            }
            self.read(message_of(event)?, state, &mut changes)
        });
        self.apply(changes);
        result
    }

    /// Reads a message. A change is added to `changes`, which are to be applied next.
    fn read(
        &mut self,
        message: Message,
        state: &mut StreamState,
        changes: &mut Vec<ChangeEvent>,
    ) -> Result<(), Failure> {
        match message {
            Message::Other => {}
            Message::Position(id) if !state.is_open => {
                if state.requested.as_ref() != Some(&id) {
                    self.reset(id);
                }
                self.note_opened(state);
            }
            Message::Position(id) => self.last_id = Some(id),
            Message::Reset(id) => {
                self.apply(std::mem::take(changes));
                self.reset(id);
                self.note_opened(state);
            }
            Message::Change(_) if !state.is_open => return Err(NO_POSITION),
            Message::Change(change) => {
                self.last_id = Some(Arc::clone(&change.id));
                changes.push(change);
            }
        }
        Ok(())
    }

    fn note_opened(&self, state: &mut StreamState) {
        state.is_open = true;
        self.parts.link.opened();
    }

    /// Applies changes to the caches, and then passes them on: a client that learns of a change must
    /// not get an older value afterwards.
    fn apply(&self, changes: Vec<ChangeEvent>) {
        if changes.is_empty() {
            return;
        }
        let names = ChangedNames::of(&changes);
        for cache in &self.parts.caches {
            cache.apply(|key| effect(&names, key));
        }
        self.applied.increment(changes.len() as u64);
        self.parts.log.publish(changes);
    }

    /// Treats every entry as changed, because the changes before a position are unknown.
    fn reset(&mut self, id: Arc<str>) {
        for cache in &self.parts.caches {
            cache.apply(|_| Effect::MarkStale);
        }
        self.parts.log.reset(Arc::clone(&id));
        self.last_id = Some(id);
    }
}

const NO_POSITION: Failure = Failure::InvalidEvent("the stream does not begin with its position");

fn is_event_stream(response: &Response) -> bool {
    let Some(content_type) = response.headers().get(header::CONTENT_TYPE) else { return false };
    let media_type = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(EVENT_STREAM.as_bytes())
}

/// The pause after a number of failures in a row: exponential, with full jitter.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    MIN_BACKOFF.saturating_mul(1 << doublings).min(MAX_BACKOFF).mul_f64(fastrand::f64())
}
