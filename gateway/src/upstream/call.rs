//! One call of aux-service, as every layer of the client sees it.

use http::Extensions;
use service::contract::routes::RouteId;
use tokio::time::Instant;

use super::envelope::BodyTransform;

/// The routes of aux-service that main-api calls.
pub(crate) const CALLED_ROUTES: [RouteId; 10] = [
    RouteId::Buckets,
    RouteId::Params,
    RouteId::Param,
    RouteId::Parameter,
    RouteId::Values,
    RouteId::SsmGetParameter,
    RouteId::SsmGetParameters,
    RouteId::SsmGetParametersByPath,
    RouteId::SsmDescribeParameters,
    RouteId::Status,
];

/// A call, in the extensions of its request. One call makes one or more attempts.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// The route of aux-service, and the label `route` of metrics.
    pub(crate) route: RouteId,
    /// The end of the call's time. No attempt and no pause before one outlasts it.
    pub(crate) deadline: Instant,
    /// Makes our body out of the body of a 200.
    pub(crate) transform: BodyTransform,
}

impl Call {
    /// The call that a request belongs to.
    pub(crate) fn of(extensions: &Extensions) -> &Self {
        extensions.get().expect("every request to aux-service carries its call")
    }
}
