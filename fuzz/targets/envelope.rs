//! The body of aux-service's response: our body holds the same members, or there is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use main_api::upstream::envelope::transform_of;
use serde_json::Value;
use service::contract::routes::RouteId;

const ROUTES: [(RouteId, &str); 5] = [
    (RouteId::Buckets, "buckets"),
    (RouteId::Params, "parameters"),
    (RouteId::Param, "value"),
    (RouteId::Values, "values"),
    // The body is passed on unchanged.
    (RouteId::Status, "service"),
];

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, upstream) = input;
    let (route, member) = ROUTES[usize::from(choice) % ROUTES.len()];
    let Some(downstream) = transform_of(route)(upstream, "a version") else { return };
    let downstream: Value = serde_json::from_slice(&downstream).expect("our body is JSON");
    let upstream: Value = serde_json::from_slice(upstream).expect("a valid body is JSON");
    assert!(downstream.is_object());
    assert_eq!(downstream[member], upstream[member]);
    if route != RouteId::Status {
        assert_eq!(downstream["main_version"], "a version");
        assert_eq!(downstream["aux_version"], upstream["version"]);
    }
});
