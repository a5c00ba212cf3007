//! Reads the body of a response, whole and up to a bound.

use bytes::Bytes;
use reqwest::Response;
use zeroize::Zeroizing;

/// The largest body that is read, in bytes. No list and no set of values of a real account comes
/// near it, and a broken upstream must not fill our memory.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Reads the whole body. Returns `None` if it is larger than 16 MiB.
///
/// # Errors
///
/// The body breaks off.
pub(crate) async fn read(response: &mut Response) -> reqwest::Result<Option<Bytes>> {
    let announced = response.content_length().unwrap_or(0);
    if announced > MAX_BODY as u64 {
        return Ok(None);
    }
    let mut chunk = response.chunk().await?;
    // Most bodies arrive in one chunk, which needs no copy.
    if chunk.as_ref().is_some_and(|chunk| chunk.len() as u64 == announced) {
        return Ok(chunk);
    }
    // aux-service announces the length, so the buffer never grows. A buffer that grows leaves the
    // outgrown one, with a secret in it, in freed memory.
    let mut body = Zeroizing::new(Vec::with_capacity(announced as usize));
    while let Some(part) = chunk {
        if body.len() + part.len() > MAX_BODY {
            return Ok(None);
        }
        body.extend_from_slice(&part);
        chunk = response.chunk().await?;
    }
    Ok(Some(Bytes::from_owner(body)))
}
