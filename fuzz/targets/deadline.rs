//! The deadline that a caller sends: it shortens the time of a request and never lengthens it.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use service::server::{Deadline, EXPECTED_TIMEOUT};
use tokio::time::Instant;

fuzz_target!(|input: (Vec<u8>, u32)| {
    let (value, timeout) = input;
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_bytes(&value) else { return };
    headers.insert(EXPECTED_TIMEOUT, value);
    let (now, timeout) = (Instant::now(), Duration::from_millis(timeout.into()));
    let Deadline(deadline) = Deadline::new(now, timeout, &headers);
    assert!((now..=now + timeout).contains(&deadline));
});
