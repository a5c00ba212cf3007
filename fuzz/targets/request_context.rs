//! The IDs of a request: for any input, the outgoing headers are well-formed.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use service::observe::context::{REQUEST_ID, RequestContext, TRACEPARENT, TRACESTATE};

fuzz_target!(|input: [Vec<u8>; 3]| {
    let mut received = HeaderMap::new();
    for (name, value) in [REQUEST_ID, TRACEPARENT, TRACESTATE].into_iter().zip(&input) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            received.insert(name, value);
        }
    }
    let mut sent = HeaderMap::new();
    RequestContext::from_headers(&received).inject(&mut sent);

    let id = sent[&REQUEST_ID].to_str().expect("text");
    assert!((1..=128).contains(&id.len()) && !id.contains(['"', '\\', ' ', '\n']));
    let traceparent = sent[&TRACEPARENT].to_str().expect("text");
    let lengths: Vec<_> = traceparent.split('-').map(str::len).collect();
    assert_eq!(lengths, [2, 32, 16, 2]);
    assert!(traceparent.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
    assert!(!traceparent[3..].starts_with(&"0".repeat(32)));
    // The next hop accepts the headers and stays in the same trace.
    let mut next = HeaderMap::new();
    RequestContext::from_headers(&sent).inject(&mut next);
    assert_eq!(&next[&REQUEST_ID], id);
    assert_eq!(&next[&TRACEPARENT].to_str().expect("text")[..35], &traceparent[..35]);
    if let Some(state) = sent.get(&TRACESTATE) {
        assert_eq!(Some(state), received.get(&TRACESTATE));
    }
});
