//! HTTP caching headers: writes those of a cached response and reads those of an upstream's
//! response.
//!
//! This module covers RFC 9111 (`Age`, `Cache-Control`), RFC 5861 (stale responses), RFC 9110
//! (`ETag`, `If-None-Match`), RFC 9211 (`Cache-Status`) and one preference of RFC 7240 (`Prefer:
//! wait`). It stores nothing and reads no clock.
//! [`crate::Cache`] does both and builds its responses with this module.

mod etag;
mod freshness;
mod list;
mod cache_status;
mod prefer;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use smallvec::SmallVec;

pub use cache_status::{Forward, Handling};
pub use etag::{EntityTag, matches_if_none_match};
pub use freshness::{Freshness, State, forces_revalidation};
pub use prefer::preferred_wait;

/// The `Cache-Control` value of a response that no cache may store.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The buffer in which a header's value is written. A value is then one allocation of its length. A
/// `Vec` with room to spare, and the conversion of a number, take two for each value.
type ValueBuffer = SmallVec<[u8; 128]>;

/// Capacity of a response's header map. It fits our headers and those of the layers around a
/// handler, so the map never grows.
const HEADERS: usize = 8;

/// The headers of a cached response that stay the same while it is stored. They are prepared once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseHead<'a> {
    /// The value of `Content-Type`.
    pub(crate) content_type: &'a HeaderValue,
    /// The content of `Cache-Control`. Without it the response has `no-store`. The header is
    /// formatted for each response, because a stored header would take a tenth of the memory of a
    /// small entry.
    pub(crate) freshness: Option<&'a Freshness>,
    /// The validator. It is absent from a response that must not be compared or stored.
    pub(crate) etag: Option<EntityTag>,
    /// The `Cache-Status` of the hops between the origin and this cache.
    pub(crate) upstream: Option<&'a str>,
}

/// The values that apply to one response only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseMeta<'a> {
    /// This cache's name in `Cache-Status`.
    pub(crate) hop: &'a str,
    /// The handling of the request, for `Cache-Status`.
    pub(crate) handling: Handling,
    /// Whole seconds since the origin's response.
    pub(crate) age: u64,
    /// Whole seconds until the response becomes stale. The value is negative once it is stale.
    pub(crate) ttl: i64,
}

impl ResponseHead<'_> {
    /// Builds the response to a `GET`: 200, or 304 if the client already has the body.
    ///
    /// The caller drops the body from the response to a `HEAD`.
    pub(crate) fn response(
        &self,
        meta: ResponseMeta<'_>,
        body: &Bytes,
        request: &HeaderMap,
    ) -> Response<Bytes> {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        let cache_control = self.freshness.map_or(NO_STORE, Freshness::cache_control);
        headers.insert(header::CACHE_CONTROL, cache_control);
        let age = HeaderValue::from_str(itoa::Buffer::new().format(meta.age));
        headers.insert(header::AGE, age.expect("digits are a header value"));
        headers.insert(header::CACHE_STATUS, meta.cache_status(self.upstream));
        if let Some(etag) = self.etag {
            headers.insert(header::ETAG, etag.header());
            if matches_if_none_match(request, etag) {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                *response.headers_mut() = headers;
                return response;
            }
        }
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        let mut response = Response::new(body.clone());
        *response.headers_mut() = headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn response(request: &HeaderMap) -> Response<Bytes> {
        let freshness = Freshness::new(
            Duration::from_secs(60),
            Duration::from_secs(30),
            Duration::from_secs(3600),
        );
        let head = ResponseHead {
            content_type: &HeaderValue::from_static("application/json"),
            freshness: Some(&freshness),
            etag: Some(EntityTag::of(b"{}")),
            upstream: None,
        };
        let meta = ResponseMeta { hop: "aux-service", handling: Handling::Hit, age: 48, ttl: 12 };
        head.response(meta, &Bytes::from_static(b"{}"), request)
    }

    #[test]
    fn a_cacheable_response_has_its_age_lifetime_tag_and_cache_status() {
        let response = response(&HeaderMap::new());
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers();
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        let expected = "max-age=60, stale-while-revalidate=30, stale-if-error=3600";
        assert_eq!(headers[header::CACHE_CONTROL], expected);
        assert_eq!(headers[header::AGE], "48");
        assert_eq!(headers[header::CACHE_STATUS], "aux-service; hit; ttl=12");
        assert_eq!(headers[header::ETAG], EntityTag::of(b"{}").header());
    }

    #[test]
    fn a_304_has_no_body_and_the_headers_that_rfc_9110_requires() {
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, EntityTag::of(b"{}").header());
        let response = response(&request);
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        for name in [header::ETAG, header::CACHE_CONTROL, header::AGE, header::CACHE_STATUS] {
            assert!(response.headers().contains_key(&name), "{name} is missing");
        }
        assert!(!response.headers().contains_key(header::CONTENT_TYPE));
        assert!(response.body().is_empty());
    }
}
