//! The body of a request in AWS's protocol: at most 64 KiB.

use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use tower::BoxError;

use crate::contract::{
    problem::Problem,
    ssm::{self, MAX_BODY_BYTES},
};

/// The time in which a client must send the body. A client that sends it slowly takes one of
/// `MAX_IN_FLIGHT` places meanwhile.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads the whole body. A body that announces its length is refused before it is read.
///
/// # Errors
///
/// The body is too long, or the client has not sent it to its end, or not in time.
pub(super) async fn read_body<B>(body: B) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(ssm::too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        // A body that arrived in one piece is not copied.
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ssm::too_large()),
        Ok(Err(_)) => Err(ssm::incomplete_body()),
        Err(_) => Err(ssm::slow_body()),
    }
}
