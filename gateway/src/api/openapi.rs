//! The OpenAPI document of main-api.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use service::contract::{
    openapi::{Docs, example_record},
    problem::Problem,
    routes::RouteId,
    status,
    wire::{Aggregated, Buckets, Inventory, Parameters, Record, Value, Values},
};

use super::status::{Attempts, Sample, Status};
use crate::{
    error::Error,
    upstream::{call::CALLED_ROUTES, circuit_history::Opening},
};

/// The problems of aux-service, which main-api passes on unchanged. A test compares them with
/// aux-service's own document.
const OF_AWS: [AsSent; 6] = [
    AsSent(403, "aws-access-denied", "AWS denied access", false),
    AsSent(503, "aws-throttled", "AWS throttles", true),
    AsSent(502, "aws-credentials", "AWS credentials do not work", false),
    AsSent(502, "aws-unavailable", "AWS is unavailable", true),
    AsSent(504, "aws-timeout", "AWS is too slow", true),
    AsSent(502, "aws-refused", "AWS refuses the call", false),
];
const OF_LISTS: [AsSent; 1] = [AsSent(503, "list-loading", "The list is loading", true)];
const OF_NAMES: [AsSent; 2] = [
    AsSent(400, "invalid-parameter-name", "Invalid parameter name", false),
    AsSent(403, "parameter-not-allowed", "Parameter not allowed", false),
];
const OF_PARAMETERS: [AsSent; 3] = [
    AsSent(403, "secure-string-not-allowed", "SecureString not allowed", false),
    AsSent(404, "parameter-not-found", "No such parameter", false),
    AsSent(422, "parameter-unreadable", "Parameter unreadable", false),
];

/// The status, the code, the title, and whether the problem is retryable.
struct AsSent(u16, &'static str, &'static str, bool);

impl AsSent {
    fn problem(&self) -> Problem {
        let &Self(status, code, title, retryable) = self;
        let status = StatusCode::from_u16(status).expect("the tables hold HTTP statuses");
        let problem = Problem::new(status, code, title, format!("{title}."));
        match (retryable, status) {
            (true, StatusCode::SERVICE_UNAVAILABLE) => problem.retry_after(Duration::from_secs(1)),
            (true, _) => problem.retryable(),
            (false, _) => problem,
        }
    }
}

/// Builds an OpenAPI 3.1 document.
pub fn document(version: &str) -> Json {
    let list = problems(&[&OF_AWS, &OF_LISTS]);
    let values = problems(&[&OF_AWS, &OF_LISTS, &OF_NAMES]);
    let value = problems(&[&OF_AWS, &OF_NAMES, &OF_PARAMETERS]);
    let circuits = json!({ "/buckets": "closed", "/param/{name}": "closed" });
    let dependencies = json!({ "aux-service": "ok", "changes": "ok", "circuit_breaker": "closed", "circuits": circuits });
    let denied = &list[0];
    let attempts = Attempts {
        requests: BTreeMap::from([("ok".to_owned(), 58), ("timeout".to_owned(), 2)]),
        retries: BTreeMap::from([("success".to_owned(), 2)]),
        duration_seconds: status::example_buckets(),
    };
    let sample = Sample { counts: status::example_counts(), upstream: attempts.clone() };

    Docs::new(
        "main-api",
        version,
        "Serves the buckets and parameters of aux-service, and its own cache when aux-service fails. \
         Every error is `application/problem+json` with a `code`; retry if `retryable` is true. \
         Problems of aux-service are passed on.",
    )
    .route::<Buckets, _>(
        RouteId::Buckets,
        &aggregated(version, Buckets { buckets: vec!["kantox-challenge-bucket".to_owned()] }),
        &list,
    )
    .route::<Parameters, _>(
        RouteId::Params,
        &aggregated(version, Parameters { parameters: vec!["/challenge/kantox".to_owned()] }),
        &list,
    )
    .route::<Value, _>(
        RouteId::Param,
        &aggregated(version, Value { value: "cloud-engineer".to_owned() }),
        &value,
    )
    .route::<Record, _>(
        RouteId::Parameter,
        &aggregated(version, Record { parameter: example_record() }),
        &value,
    )
    .route::<Values, _>(
        RouteId::Values,
        &aggregated(
            version,
            Values {
                path: "/challenge".to_owned(),
                values: BTreeMap::from([("/challenge/kantox".to_owned(), "cloud-engineer".to_owned())]),
                omitted: vec!["/challenge/password".to_owned()],
            },
        ),
        &values,
    )
    .route::<Inventory, _>(
        RouteId::Inventory,
        &aggregated(
            version,
            Inventory {
                buckets: None,
                parameters: Some(vec!["/challenge/kantox".to_owned()]),
                errors: BTreeMap::from([("buckets".to_owned(), denied.clone())]),
            },
        ),
        &list,
    )
    .changes()
    .aws_protocol()
    .status(&Status {
        common: status::example("main-api", &dependencies),
        circuit_breaker: "closed".to_owned(),
        circuits: CALLED_ROUTES
            .map(RouteId::label)
            .map(|route| (route.to_owned(), "closed".to_owned()))
            .into(),
        circuit_openings: vec![Opening {
            route: RouteId::Param.label().to_owned(),
            opened_at: "2026-11-25T11:51:00.000Z".to_owned(),
            closed_at: Some("2026-11-25T11:53:30.000Z".to_owned()),
            failed_probes: 4,
        }],
        upstream: attempts,
        history: Some(vec![status::sample_as_json(&sample)]),
        aux_service: Some(json!({ "service": "aux-service", "version": version })),
        errors: BTreeMap::new(),
    })
    .ready(&dependencies)
    .build()
}

fn aggregated<T>(version: &str, body: T) -> Aggregated<T> {
    Aggregated { main_version: version.to_owned(), aux_version: version.to_owned(), body }
}

/// The given problems of aux-service, and the problems of main-api itself.
fn problems(of_aux_service: &[&[AsSent]]) -> Vec<Problem> {
    let as_sent = of_aux_service.iter().flat_map(|problems| problems.iter()).map(AsSent::problem);
    let own = [
        Error::UpstreamUnavailable(Arc::new(std::fmt::Error)),
        Error::UpstreamTimeout,
        Error::ResponseTooLarge,
        Error::CircuitOpen { retry_after: Duration::from_secs(5) },
    ];
    as_sent.chain(own.iter().map(Error::problem)).collect()
}
