//! The routes, and how a question becomes an answer.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use shared::{
    docs,
    http::{Stack, stack},
    metrics::Exporter,
    server::Dependencies,
    status::Reporter,
    wire::{Buckets, Parameters, Value, Values, Versioned},
};

use crate::{
    config::Config,
    error::Error,
    inventory::Inventory,
    name::{Malformed, ParameterName, ParameterPath, Prefixes},
    openapi,
    shield::Priority,
    status::Status,
};

/// What [`shared::server::run`] serves.
pub struct App {
    pub router: Router,
    pub dependencies: Dependencies,
}

/// Cloning is shallow.
#[derive(Clone)]
struct Service(Arc<Parts>);

struct Parts {
    version: String,
    inventory: Arc<dyn Inventory>,
    prefixes: Prefixes,
    allow_secure_strings: bool,
    reporter: Reporter,
}

/// The public API above an inventory.
pub fn app(config: &Config, inventory: Arc<dyn Inventory>, exporter: &Exporter) -> App {
    let service = Service(Arc::new(Parts {
        version: config.aux_version.clone(),
        inventory: Arc::clone(&inventory),
        prefixes: config.parameter_prefixes.clone(),
        allow_secure_strings: config.allow_secure_strings,
        reporter: Reporter::new("aux-service", &config.aux_version, &config.common, exporter),
    }));
    let routes = Router::new()
        .route("/buckets", get(buckets))
        .route("/params", get(params))
        .route("/param/", get(Error::InvalidParameterName(Malformed::Empty)))
        .route("/param/{*name}", get(param))
        .route("/values/", get(all_values))
        .route("/values/{*path}", get(values))
        .route("/status", get(status))
        .with_state(service)
        .merge(docs::routes(&openapi::document(&config.aux_version)));
    let limits = Stack {
        request_timeout: config.request_timeout,
        too_slow: || Error::AwsTimeout(None).problem(),
    };
    let router = stack(routes, &config.common, exporter, limits);
    App { router, dependencies: Arc::new(move || inventory.health()) }
}

async fn buckets(State(service): State<Service>) -> Result<Response, Error> {
    let buckets = service.0.inventory.buckets(Priority::Foreground).await?;
    Ok(service.answer(Buckets { buckets }))
}

async fn params(State(service): State<Service>) -> Result<Response, Error> {
    let Parts { inventory, prefixes, .. } = &*service.0;
    let mut parameters = inventory.parameters(Priority::Foreground).await?;
    parameters.retain(|name| prefixes.allow(name));
    Ok(service.answer(Parameters { parameters }))
}

async fn param(
    State(service): State<Service>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Error> {
    let Parts { inventory, prefixes, allow_secure_strings, .. } = &*service.0;
    let name = ParameterName::parse(&text(name)?).map_err(Error::InvalidParameterName)?;
    if !prefixes.allow(name.bare()) {
        return Err(Error::ParameterNotAllowed);
    }
    let parameter = inventory.parameter(&name, Priority::Foreground).await?;
    if parameter.secure && !allow_secure_strings {
        return Err(Error::SecureStringNotAllowed);
    }
    let answer = service.answer(Value { value: parameter.value.to_string() });
    Ok(if parameter.secure { no_store(answer) } else { answer })
}

async fn all_values(State(service): State<Service>) -> Result<Response, Error> {
    below(&service, "/").await
}

async fn values(
    State(service): State<Service>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Error> {
    below(&service, &text(path)?).await
}

async fn below(service: &Service, path: &str) -> Result<Response, Error> {
    let Parts { inventory, prefixes, allow_secure_strings, .. } = &*service.0;
    let path = ParameterPath::parse(path).map_err(Error::InvalidParameterName)?;
    if !prefixes.allow_some_below(&path) {
        return Err(Error::ParameterNotAllowed);
    }
    let (mut values, mut omitted, mut secret) = (BTreeMap::new(), Vec::new(), false);
    for parameter in inventory.values(&path, Priority::Foreground).await? {
        if !prefixes.allow(&parameter.name) {
            continue;
        }
        if parameter.secure && !allow_secure_strings {
            omitted.push(parameter.name);
        } else {
            secret |= parameter.secure;
            values.insert(parameter.name, parameter.value.to_string());
        }
    }
    let answer = service.answer(Values { path: path.as_str().to_owned(), values, omitted });
    Ok(if secret { no_store(answer) } else { answer })
}

async fn status(State(service): State<Service>) -> Json<Status> {
    let Parts { reporter, inventory, .. } = &*service.0;
    Json(Status::of(reporter, inventory.health(), inventory.quota()))
}

impl Service {
    fn answer<T: serde::Serialize>(&self, body: T) -> Response {
        Json(Versioned { version: self.0.version.clone(), body }).into_response()
    }
}

/// Percent-encoding that is no UTF-8 is no name either.
fn text(path: Result<Path<String>, PathRejection>) -> Result<String, Error> {
    match path {
        Ok(Path(text)) => Ok(text),
        Err(_) => Err(Error::InvalidParameterName(Malformed::BadCharacter)),
    }
}

fn no_store(mut answer: Response) -> Response {
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
