//! HTML pages: one file each, without external resources.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

/// The content security policy of a page. The page may run its own scripts and call its own
/// service, and nothing else. It contains no data, so it cannot contain text that an attacker has
/// written.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns a page with the headers that every page needs.
pub fn html_page(html: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // A new version of the service has a new page, so clients must revalidate it.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, html).into_response()
}
