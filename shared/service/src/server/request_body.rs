//! The body of a request in AWS's protocol: at most 64 KiB.

use axum::body::HttpBody;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::BoxError;

use crate::contract::{
    problem::Problem,
    ssm::{self, MAX_BODY_BYTES},
};

/// Reads the whole body. A body that announces its length is refused before it is read.
///
/// # Errors
///
/// The body is too long, or the client has not sent it to its end.
pub(super) async fn read_body<B>(body: B) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(ssm::too_large());
    }
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        // A body that arrived in one piece is not copied.
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ssm::too_large()),
        Err(_) => Err(ssm::incomplete_body()),
    }
}
