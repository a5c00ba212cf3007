//! `Prefer` of a client: only a whole number of seconds is a wait.
#![no_main]

use std::time::Duration;

use cache::http::preferred_wait;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const PREFER: HeaderName = HeaderName::from_static("prefer");

fuzz_target!(|input: (Vec<Vec<u8>>, u64)| {
    let (lines, seconds) = input;
    let mut headers = HeaderMap::new();
    for line in &lines {
        let Ok(line) = HeaderValue::from_bytes(line) else { return };
        headers.append(PREFER, line);
    }
    if let Some(wait) = preferred_wait(&headers) {
        let digits = wait.as_secs().to_string();
        let holds = |line: &Vec<u8>| {
            let line = line.to_ascii_lowercase();
            let has = |text: &str| line.windows(text.len()).any(|part| part == text.as_bytes());
            has("wait") && has(&digits)
        };
        assert!(lines.iter().any(holds), "{digits}");
    }
    // The first wait counts, whatever follows it.
    let mut first = HeaderMap::from_iter([(
        PREFER,
        HeaderValue::try_from(format!("wait={seconds}")).expect("ASCII"),
    )]);
    lines.iter().for_each(|line| {
        drop(first.append(PREFER, HeaderValue::from_bytes(line).expect("checked")))
    });
    assert_eq!(preferred_wait(&first), Some(Duration::from_secs(seconds)));
});
