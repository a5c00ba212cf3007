//! Pages for people: one file each, with nothing from outside.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

/// A page may run what it brings along and talk to the service that it came from, and no more.
/// It holds no data of its own, so there is nothing in it that a stranger could have written.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn page(html: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // A new version of the service brings a new page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, html).into_response()
}
