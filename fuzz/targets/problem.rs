//! The error of an upstream: its body, and the members that its headers add.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use service::contract::problem::Problem;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (retry_after, body) = input;
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else { return };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(retry_after) {
        headers.insert(header::RETRY_AFTER, value);
    }
    let problem = problem.with_headers(&headers);
    let body = serde_json::to_vec(&problem).expect("strings and numbers");
    let again: Problem = serde_json::from_slice(&body).expect("what we wrote");
    assert_eq!((again.status(), &again.code), (problem.status(), &problem.code));
    // The resulting response has a valid status.
    assert!((100..1000).contains(&problem.status().as_u16()));
});
