//! A cached body that is ready to send, and the headers that belong to it.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use zeroize::{Zeroize, Zeroizing};

use crate::http::EntityTag;

/// A response body as it is sent. Clones share its bytes.
#[derive(Clone)]
pub struct CachedBody {
    bytes: Bytes,
    content_type: HeaderValue,
    /// Absent for a confidential body, because equal tags would reveal that two secrets are equal.
    etag: Option<EntityTag>,
    /// Only the client may see the body: its response has `no-store`.
    confidential: bool,
    /// A text that the loader stores with the body.
    annotation: Option<Arc<str>>,
}

impl CachedBody {
    /// The content type of nearly every body.
    pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

    /// Creates a body that any cache on the path may store.
    ///
    /// The body is taken by value and its allocation is shrunk to fit. A slice of a larger buffer
    /// would hold more memory than the cache counts.
    pub fn new(content_type: HeaderValue, body: Vec<u8>) -> Self {
        let etag = EntityTag::of(&body);
        Self::tagged(content_type, body, etag)
    }

    /// Creates a body like [`CachedBody::new`], with a tag that is already known.
    pub fn tagged(content_type: HeaderValue, body: Vec<u8>, etag: EntityTag) -> Self {
        let bytes = body.into_boxed_slice().into();
        Self { bytes, content_type, etag: Some(etag), confidential: false, annotation: None }
    }

    /// Creates a body that any cache on the path may store, without a tag: for a protocol without
    /// conditional requests.
    pub fn untagged(content_type: HeaderValue, body: Vec<u8>) -> Self {
        let bytes = body.into_boxed_slice().into();
        Self { bytes, content_type, etag: None, confidential: false, annotation: None }
    }

    /// Creates a body that only the client may see. Its response has `no-store` and no `ETag`. Its
    /// memory is wiped when the last clone is dropped.
    pub fn confidential<B>(content_type: HeaderValue, body: Zeroizing<B>) -> Self
    where
        B: AsRef<[u8]> + Zeroize + Send + 'static,
    {
        Self::confidential_bytes(content_type, Bytes::from_owner(body))
    }

    /// Creates a body like [`CachedBody::confidential`] from bytes whose owner wipes them, such as
    /// `Bytes::from_owner` of a [`Zeroizing`].
    pub fn confidential_bytes(content_type: HeaderValue, bytes: Bytes) -> Self {
        Self { bytes, content_type, etag: None, confidential: true, annotation: None }
    }

    /// Creates a body like [`CachedBody::new`] from a value as JSON.
    pub fn json(value: &impl Serialize) -> serde_json::Result<Self> {
        Ok(Self::new(Self::JSON, to_json(value)?))
    }

    /// Creates a body like [`CachedBody::confidential`] from a value as JSON. No unwiped copy
    /// remains in memory.
    pub fn confidential_json(value: &impl Serialize) -> serde_json::Result<Self> {
        Ok(Self::confidential(Self::JSON, Zeroizing::new(to_json(value)?)))
    }

    /// Stores a text beside the body, for another representation of the same thing: see
    /// [`Served::represented_by`](crate::Served::represented_by). It is not sent. It must not be
    /// confidential, because nothing wipes it.
    #[must_use]
    pub fn annotated(mut self, annotation: &str) -> Self {
        self.annotation = Some(annotation.into());
        self
    }

    /// Returns the text that is stored beside the body.
    pub fn annotation(&self) -> Option<&str> {
        self.annotation.as_deref()
    }

    /// Returns the bytes of the body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the value of `Content-Type`.
    pub fn content_type(&self) -> &HeaderValue {
        &self.content_type
    }

    /// Returns the tag, which a confidential body does not have.
    pub fn etag(&self) -> Option<EntityTag> {
        self.etag
    }

    /// Returns whether only the client may see the body.
    pub fn is_confidential(&self) -> bool {
        self.confidential
    }
}

/// Omits the body. It may hold a parameter's value, which must not reach a log.
impl fmt::Debug for CachedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedBody")
            .field("bytes", &self.bytes.len())
            .field("confidential", &self.is_confidential())
            .finish_non_exhaustive()
    }
}

/// Measures the length first. A growing buffer would leave copies of the content in freed memory.
fn to_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value)?;
    let mut body = Vec::with_capacity(length.0);
    serde_json::to_writer(&mut body, value)?;
    Ok(body)
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_into_one_buffer_of_the_right_size() {
        let value = serde_json::json!({ "version": "1", "value": "x".repeat(5000) });
        let body = to_json(&value).expect("JSON");
        assert_eq!(body.capacity(), body.len());
        assert_eq!(body, serde_json::to_vec(&value).expect("JSON"));
    }

    #[test]
    fn a_body_is_never_printed() {
        let public = CachedBody::json(&"hunter2").expect("JSON");
        let secret = CachedBody::confidential_json(&"hunter2").expect("JSON");
        assert_eq!(format!("{public:?}"), "CachedBody { bytes: 9, confidential: false, .. }");
        assert_eq!(format!("{secret:?}"), "CachedBody { bytes: 9, confidential: true, .. }");
    }

    #[test]
    fn only_a_confidential_body_has_no_tag() {
        let public = CachedBody::json(&"a").expect("JSON");
        assert_eq!(public.etag(), Some(EntityTag::of(b"\"a\"")));
        assert_eq!(CachedBody::confidential_json(&"a").expect("JSON").etag(), None);
    }
}
