//! AWS's own protocol, JSON 1.1, for the four operations of SSM that read parameters: pure code
//! without I/O.
//!
//! [`Request::parse`] reads a request of any AWS SDK. `error` converts a problem to the error that
//! an SDK expects, and `response` writes the successful bodies. The members and their limits are
//! those of AWS's API reference
//! (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Operations.html>) and of
//! `service-2.json` for `ssm` in `boto/botocore`.
//!
//! Imports go one way: `request` → `filter`, `token` → `error` → `operation`. `response` imports
//! none of these.

use axum::http::{HeaderName, HeaderValue};

mod operation;
mod error;
mod filter;
mod token;
mod request;
mod response;

pub(crate) use self::error::{incomplete_body, refuse_own_call, render, slow_body, too_large};
pub use self::{
    error::{invalid_next_token, not_found, validation},
    filter::Filter,
    operation::Operation,
    request::{
        DescribeParameters, GetParameter, GetParameters, GetParametersByPath, Request, Target,
    },
    response::{
        ParameterMetadata, Policy, Timestamp, object_with_value, page, parameter, parameters,
    },
    token::PageToken,
};

/// The media type of requests and responses.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// The header that names the operation.
pub const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// The header of the session token, in which a client sends its token for this service.
pub const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The header of the request id, under the name that AWS uses.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The most bytes of a request's body. The longest one that SSM accepts is shorter: ten names of
/// 2048 characters.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// The name of aux-service's own SDK in `User-Agent`, as `app/aux-service`
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html>). A request with this name
/// has gone in a circle.
pub const OWN_APP: &str = "aux-service";
