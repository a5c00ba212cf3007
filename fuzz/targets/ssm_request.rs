//! A request in AWS's own protocol: its headers, its body, its filters and its page token.
#![no_main]

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use service::contract::ssm::{Operation, PageToken, Request, TARGET};

fuzz_target!(|input: (u8, &[u8], &[u8], &str)| {
    let (operation, target, body, name) = input;
    if let Ok(target) = HeaderValue::from_bytes(target) {
        let content_type = HeaderValue::from_static("application/x-amz-json-1.1");
        let headers = HeaderMap::from_iter([(TARGET, target), (CONTENT_TYPE, content_type)]);
        if let Err(error) = Request::parse(&headers, body) {
            assert!(error.message.len() <= body.len() + 1024, "an error repeats names at most");
        }
    }
    if let Some(token) = PageToken::decode(name) {
        assert_eq!(token.encode(), name);
    }
    let operation = Operation::ALL[usize::from(operation) % Operation::ALL.len()];
    let Ok(request) = Request::parse_body(operation, body) else { return };
    assert_eq!(request.operation(), operation);
    // The normal form means the same request, and is its own normal form.
    let again = Request::parse_body(operation, request.body().as_bytes());
    assert_eq!(again.as_ref().ok(), Some(&request));
    assert_eq!(again.map(|again| again.key()).ok(), Some(request.key()));
    match request {
        Request::GetParameters(request) => assert!((1..=10).contains(&request.names.len())),
        Request::GetParametersByPath(request) => {
            assert!((1..=10).contains(&request.max_results) && request.path.starts_with('/'));
        }
        Request::DescribeParameters(request) => {
            assert!((1..=50).contains(&request.max_results));
            for filter in request.parameter_filters {
                let slash = format!("/{}", name.trim_start_matches('/'));
                let same = filter.matches(name, "String") == filter.matches(&slash, "String");
                assert!(same, "a leading slash makes no difference");
            }
        }
        Request::GetParameter(_) => {}
    }
});
