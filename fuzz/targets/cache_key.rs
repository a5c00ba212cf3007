//! The path of a request: its route and its cache key.
#![no_main]

use http::Uri;
use libfuzzer_sys::fuzz_target;
use service::contract::routes::{RouteId, Routes};

const ROUTES: Routes =
    Routes(&[RouteId::Param, RouteId::Values, RouteId::Params, RouteId::Buckets, RouteId::Page]);

fuzz_target!(|bytes: &[u8]| {
    let Ok(uri) = Uri::try_from(bytes) else { return };
    let Some(route) = ROUTES.parse_path(uri.path()) else { return };
    let Ok(key) = route.cache_key(uri.path()) else { return };
    assert!(key.starts_with(route.base()), "{key}");
    let Some(parameter) = route.parameter(&key) else { return };
    assert!(parameter.starts_with('/'), "{key}");
    // A path that encodes every byte of the parameter names the same entry.
    let encoded: String = parameter[1..].bytes().map(|byte| format!("%{byte:02x}")).collect();
    let path = format!("{}/{encoded}", route.base());
    assert_eq!(ROUTES.parse_path(&path), Some(route));
    let again = route.cache_key(&path).expect("the parameter is UTF-8");
    // A parameter that starts with two slashes gets no third one.
    if !parameter.starts_with("//") {
        assert_eq!(again, key);
    }
});
