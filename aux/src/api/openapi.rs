//! The OpenAPI document of aux-service.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::{Value as Json, json};
use service::contract::{
    openapi::{Docs, example_record},
    problem::{Cause, Problem},
    routes::RouteId,
    status,
    wire::{Buckets, Parameters, Record, Value, Values, Versioned},
};

use super::status::{Aws, Sample, SharedCache, Status};
use crate::{error::Error, name::Malformed};

/// Builds an OpenAPI 3.1 document.
pub fn document(version: &str) -> Json {
    let aws = [
        Error::AwsAccessDenied(cause()),
        Error::AwsThrottled { retry_after: Duration::from_secs(1), cause: None },
        Error::AwsCredentials { retryable: false, cause: cause() },
        Error::AwsUnavailable(cause()),
        Error::AwsTimeout(None),
        Error::AwsRefused(cause()),
    ];
    let named = [Error::InvalidParameterName(Malformed::BadCharacter), Error::ParameterNotAllowed];
    let parameter =
        [Error::SecureStringNotAllowed, Error::ParameterNotFound, Error::ParameterUnreadable];
    let loading = [Error::ListLoading { pages: 12, names: 600 }];
    let list = problems(&[&aws, &loading]);
    let values = problems(&[&aws, &loading, &named]);
    let value = problems(&[&aws, &named, &parameter]);
    let dependencies = json!({
        "s3": "ok",
        "ssm": "ok",
        "credentials": "ok",
        "credentials_expire_at": "2026-11-25T12:00:00Z",
    });
    let calls = Aws {
        requests: BTreeMap::from([(
            "GetParameter".to_owned(),
            BTreeMap::from([("ok".to_owned(), 38), ("not_found".to_owned(), 2)]),
        )]),
        quota: json!({ "reads": { "limit_per_second": 40.0, "available": 38.0, "refused": 0 } }),
        duration_seconds: status::example_buckets(),
    };
    let shared_cache = SharedCache {
        state: "ok",
        degraded_since: None,
        requests: BTreeMap::from([(
            "lookup".to_owned(),
            BTreeMap::from([("hit".to_owned(), 12), ("miss".to_owned(), 4)]),
        )]),
        lookup_duration_seconds: status::example_buckets(),
    };
    let sample = Sample {
        counts: status::example_counts(),
        aws: calls.clone(),
        shared_cache: Some(shared_cache.clone()),
    };

    Docs::new(
        "aux-service",
        version,
        "Serves S3 buckets and SSM parameters with as few calls to AWS as possible. \
         Every error is `application/problem+json`: branch on its `code`, and try again where `retryable` is true.",
    )
    .route::<Buckets, _>(
        RouteId::Buckets,
        &versioned(version, Buckets { buckets: vec!["kantox-challenge-bucket".to_owned()] }),
        &list,
    )
    .route::<Parameters, _>(
        RouteId::Params,
        &versioned(version, Parameters { parameters: vec!["/challenge/kantox".to_owned()] }),
        &list,
    )
    .route::<Value, _>(
        RouteId::Param,
        &versioned(version, Value { value: "cloud-engineer".to_owned() }),
        &value,
    )
    .route::<Record, _>(
        RouteId::Parameter,
        &versioned(version, Record { parameter: example_record() }),
        &value,
    )
    .route::<Values, _>(
        RouteId::Values,
        &versioned(
            version,
            Values {
                path: "/challenge".to_owned(),
                values: BTreeMap::from([("/challenge/kantox".to_owned(), "cloud-engineer".to_owned())]),
                omitted: vec!["/challenge/password".to_owned()],
            },
        ),
        &values,
    )
    .changes()
    .aws_protocol()
    .status(&Status {
        common: status::example("aux-service", &dependencies),
        aws: calls,
        shared_cache: Some(shared_cache),
        history: Some(vec![status::sample_as_json(&sample)]),
    })
    .ready(&dependencies)
    .build()
}

fn versioned<T: Serialize>(version: &str, body: T) -> Versioned<T> {
    Versioned { version: version.to_owned(), body }
}

fn problems(errors: &[&[Error]]) -> Vec<Problem> {
    errors.iter().flat_map(|errors| errors.iter()).map(Error::problem).collect()
}

/// A placeholder for a cause. Problems show no cause to clients, so any error serves here.
fn cause() -> Cause {
    Arc::new(std::fmt::Error)
}
