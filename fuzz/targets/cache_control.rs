//! `Cache-Control` and `Age` of an upstream's response: freshness has a bound for any values.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use cache::http::{Freshness, State, forces_revalidation};

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<u8>, u32)| {
    let (directives, age, delay) = input;
    let mut headers = HeaderMap::new();
    for line in directives {
        let Ok(line) = HeaderValue::from_bytes(&line) else { return };
        headers.append(header::CACHE_CONTROL, line);
    }
    let Ok(age) = HeaderValue::from_bytes(&age) else { return };
    headers.insert(header::AGE, age);
    let forced = forces_revalidation(&headers);
    let Some(freshness) = Freshness::read(&headers, Duration::from_millis(delay.into())) else {
        return;
    };
    assert!(!forced, "no-cache and yet storable");
    let bound = freshness.bound();
    assert_eq!(freshness.state(bound), State::Expired);
    assert!(freshness.remaining() <= bound);
    // The header for the next hop has the same meaning.
    let mut written = HeaderMap::new();
    written.insert(header::CACHE_CONTROL, freshness.cache_control());
    let again = Freshness::read(&written, Duration::ZERO).expect("the written header is storable");
    assert_eq!(again.cache_control(), freshness.cache_control());
});
