//! A request's IDs (`x-request-id`, `traceparent`), which every log line and every call carries.

use std::{future::Future, sync::Arc};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use cache::hex;
use tokio::task::futures::TaskLocalFuture;

/// The header with the id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header with the position of a request in its trace (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with data of other tracing systems, passed on unchanged (W3C Trace Context).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Maximum length of a request ID in bytes. Longer IDs are replaced, because they would enlarge
/// every log line.
const LONGEST_REQUEST_ID: usize = 128;

/// The IDs of a request, the same in every service on its path.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Ids>);

#[derive(Debug)]
struct Ids {
    request_id: RequestId,
    trace: TraceParent,
    tracestate: Option<HeaderValue>,
}

/// The ID of a request.
#[derive(Clone, Debug)]
enum RequestId {
    /// The caller's.
    Received(HeaderValue),
    /// Our own, a random number. It becomes text where it is used, because most requests use it once.
    New(u128),
}

tokio::task_local! {
    static CONTEXT: RequestContext;
}

impl RequestContext {
    /// Uses the caller's IDs. Generates those that are missing or malformed.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let received = headers.get(TRACEPARENT).and_then(TraceParent::parse);
        // Without a valid traceparent, tracestate has no meaning (W3C Trace Context, 3.3.1).
        let tracestate = received.and_then(|_| headers.get(TRACESTATE).cloned());
        let request_id = headers.get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
        Self(Arc::new(Ids {
            request_id: request_id
                .cloned()
                .map_or_else(|| RequestId::New(fastrand::u128(..)), RequestId::Received),
            trace: received.map_or_else(TraceParent::root, TraceParent::child),
            tracestate,
        }))
    }

    /// Returns the ID of the request.
    pub fn request_id(&self) -> HeaderValue {
        match &self.0.request_id {
            RequestId::Received(id) => id.clone(),
            RequestId::New(id) => {
                let mut digits = [0; 32];
                hex::write(&id.to_be_bytes(), &mut digits);
                HeaderValue::from_bytes(&digits).expect("hexadecimal digits are a header value")
            }
        }
    }

    /// Returns the current span of the request.
    pub(crate) fn trace(&self) -> TraceParent {
        self.0.trace
    }

    /// Returns the same request in another span.
    pub(crate) fn with_span(&self, trace: TraceParent) -> Self {
        let Ids { request_id, tracestate, .. } = &*self.0;
        let (request_id, tracestate) = (request_id.clone(), tracestate.clone());
        Self(Arc::new(Ids { request_id, trace, tracestate }))
    }

    /// Runs a future as part of this request: its log lines and calls carry the IDs.
    pub fn scope<F: Future>(self, future: F) -> TaskLocalFuture<Self, F> {
        CONTEXT.scope(self, future)
    }

    /// Runs a future as part of a request, if there is one. The future may run in a task that
    /// outlives the request.
    pub async fn restore<F: Future>(context: Option<Self>, future: F) -> F::Output {
        match context {
            Some(context) => context.scope(future).await,
            None => future.await,
        }
    }

    /// Runs a function as part of this request.
    pub fn enter<R>(&self, act: impl FnOnce() -> R) -> R {
        CONTEXT.sync_scope(self.clone(), act)
    }

    /// Returns the request of the current task, if there is one.
    pub fn current() -> Option<Self> {
        CONTEXT.try_with(Self::clone).ok()
    }

    /// Writes the IDs into the headers of a call to another service.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.request_id());
        headers.insert(TRACEPARENT, self.0.trace.to_header());
        if let Some(state) = &self.0.tracestate {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// Returns the ID of the current task's request, if there is one.
pub(crate) fn current_request_id() -> Option<HeaderValue> {
    CONTEXT.try_with(RequestContext::request_id).ok()
}

/// Returns the ID of the current task's request, or an empty string outside of a request.
pub fn request_id() -> String {
    current_request_id().map(|id| text(&id).to_owned()).unwrap_or_default()
}

fn is_request_id(bytes: &[u8]) -> bool {
    let harmless = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/=+@~".contains(b);
    (1..=LONGEST_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(harmless)
}

pub(super) fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// A parsed `traceparent` (W3C Trace Context): `00-<trace id>-<span id>-<flags>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) flags: u8,
}

impl TraceParent {
    pub(crate) fn parse(value: &HeaderValue) -> Option<Self> {
        let mut parts = value.to_str().ok()?.split('-');
        let version = lower_hex(parts.next()?, 2)?;
        let trace_id = lower_hex(parts.next()?, 32)?;
        let span_id = u64::try_from(lower_hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(lower_hex(parts.next()?, 2)?).ok()?;
        // Later versions may append fields. Version 00 may not, and version ff is forbidden.
        let complete = version != 0 || parts.next().is_none();
        (version != 0xff && trace_id != 0 && span_id != 0 && complete).then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// Starts a trace. The sampled flag is not set, because no caller records the trace.
    fn root() -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), flags: 0 }
    }

    /// Returns a new span of the same trace.
    fn child(self) -> Self {
        Self { span_id: fastrand::u64(1..), ..self }
    }

    fn to_header(self) -> HeaderValue {
        let Self { trace_id, span_id, flags } = self;
        let mut text = *b"00-................................-................-..";
        hex::write(&trace_id.to_be_bytes(), &mut text[3..35]);
        hex::write(&span_id.to_be_bytes(), &mut text[36..52]);
        hex::write(&[flags], &mut text[53..]);
        HeaderValue::from_bytes(&text).expect("hexadecimal digits and dashes are a header value")
    }
}

/// Parses hexadecimal digits. The specification allows lower case only, and `from_str_radix` would
/// accept a sign.
fn lower_hex(text: &str, length: usize) -> Option<u128> {
    let valid =
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(header: &str) -> Option<TraceParent> {
        TraceParent::parse(&HeaderValue::from_str(header).expect("a header value"))
    }

    #[test]
    fn a_traceparent_survives_the_round_trip() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parse(header).expect("valid").to_header(), header);
    }

    #[test]
    fn a_later_version_of_traceparent_may_say_more() {
        assert!(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
    }

    #[test]
    fn a_malformed_traceparent_is_not_taken() {
        for header in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(header), None, "{header}");
        }
    }

    #[test]
    fn an_accepted_request_keeps_its_ids_and_gets_a_new_span() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("order-17"));
        headers.insert(
            TRACEPARENT,
            HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        );
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));

        let mut sent = HeaderMap::new();
        RequestContext::from_headers(&headers).inject(&mut sent);

        assert_eq!(sent[REQUEST_ID], "order-17");
        assert_eq!(sent[TRACESTATE], "vendor=1");
        let traceparent = text(&sent[TRACEPARENT]);
        assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{traceparent}");
        assert!(!traceparent.contains("b7ad6b7169203331"), "{traceparent}");
    }

    #[test]
    fn an_id_that_would_harm_a_log_is_replaced() {
        for id in ["a b", "{\"a\":1}", "", &"x".repeat(129)] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(id).expect("a header value"));
            let context = RequestContext::from_headers(&headers);
            assert_eq!(context.request_id().len(), 32, "{id}");
        }
    }

    proptest! {
        #[test]
        fn forwarded_headers_are_well_formed_for_any_input(
            id in "[ -~]{0,140}",
            traceparent in "[0-9a-fA-F]{2}-[0-9a-f]{30,33}-[0-9a-f]{16}-0[01](-x)?|[ -~]{0,60}",
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in [(REQUEST_ID, &id), (TRACEPARENT, &traceparent)] {
                headers.insert(name, HeaderValue::try_from(value).expect("printable"));
            }
            let mut sent = HeaderMap::new();
            RequestContext::from_headers(&headers).inject(&mut sent);
            prop_assert!(is_request_id(sent[REQUEST_ID].as_bytes()));
            let sent_trace = TraceParent::parse(&sent[TRACEPARENT]).expect("valid");
            if let Some(received) = parse(&traceparent) {
                prop_assert_eq!((sent_trace.trace_id, sent_trace.flags), (received.trace_id, received.flags));
                prop_assert_ne!(sent_trace.span_id, 0);
            }
        }
    }
}
