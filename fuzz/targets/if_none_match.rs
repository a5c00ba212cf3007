//! `If-None-Match` of a client: only a tag that the header contains causes a 304.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use cache::http::{EntityTag, matches_if_none_match};

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<u8>)| {
    let (lines, body) = input;
    let tag = EntityTag::of(&body);
    let mut headers = HeaderMap::new();
    for line in &lines {
        let Ok(line) = HeaderValue::from_bytes(line) else { return };
        headers.append(header::IF_NONE_MATCH, line);
    }
    let text = tag.header();
    let holds = |line: &Vec<u8>| {
        line.contains(&b'*') || line.windows(text.len()).any(|part| part == text.as_bytes())
    };
    assert!(!matches_if_none_match(&headers, tag) || lines.iter().any(holds));
    // A header that holds only the tag always matches.
    headers.insert(header::IF_NONE_MATCH, text);
    assert!(matches_if_none_match(&headers, tag));
});
