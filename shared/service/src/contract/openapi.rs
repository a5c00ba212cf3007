//! The OpenAPI document (`/openapi.json`) and the page that shows it (`/docs`).
//!
//! The document is generated from the types that are sent, from example responses built of them,
//! and from the problems that the code returns. It therefore cannot differ from the service.

use std::collections::BTreeMap;

use axum::{
    http::header,
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{RefOr, schema::Schema},
};

use super::{
    name::Malformed,
    page::html_page,
    problem::{CONTENT_TYPE, Problem},
    routes::{RouteId, Tag},
    ssm::{self, Operation},
    wire::{Change, ParameterRecord},
};

const PAGE: &str = include_str!("docs.html");

/// The request ID in every example.
const REQUEST_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A builder of an OpenAPI document.
pub struct Docs {
    info: Value,
    paths: Map<String, Value>,
    schemas: BTreeMap<String, Value>,
}

impl Docs {
    /// Starts a document with the problem format and the liveness probes, which every service has.
    pub fn new(title: &str, version: &str, description: &str) -> Self {
        let info = json!({
            "title": title,
            "version": version,
            "description": description,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        });
        let mut docs = Self { info, paths: Map::new(), schemas: BTreeMap::new() };
        docs.schema::<Problem>();
        for id in [RouteId::Healthz, RouteId::Livez] {
            let example = json!({ "status": "ok" });
            let runs = json_response("The process runs", &json!({ "type": "object" }), &example);
            docs.operation(id, &json!({ "200": runs }));
        }
        docs
    }

    /// Adds a route of the API with an example response and its problems. `B` is the body within
    /// the envelope `E`. The schema's name contains both, because a generic type has the same name
    /// for every body.
    pub fn route<B: ToSchema, E: ToSchema + Serialize>(
        mut self,
        id: RouteId,
        response: &E,
        problems: &[Problem],
    ) -> Self {
        let route = id.route();
        self.schema::<B>();
        let schema = self.named_schema::<E>(&format!("{}{}", E::name(), B::name()));
        let mut responses = Map::new();
        let mut ok = json_response("The response", &schema, &json!(response));
        if route.cacheable {
            ok["headers"] = cache_headers();
            responses.insert(
                "304".to_owned(),
                json!({ "description": "The response that the client holds, named by its `If-None-Match`, is still current" }),
            );
        }
        responses.insert("200".to_owned(), ok);
        add_problems(&mut responses, problems);
        self.operation(id, &Value::Object(responses));
        let operation = &mut self.paths[route.path]["get"];
        let mut parameters = Vec::new();
        if let Some(parameter) = &route.parameter {
            let name = route.path.split(['{', '}']).nth(1).expect("the path has a parameter");
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "description": parameter.description,
                "schema": { "type": "string" }, "example": parameter.example,
            }));
        }
        if route.cacheable {
            parameters.push(json!({
                "name": "If-None-Match", "in": "header", "required": false,
                "description": "The `ETag` of an earlier response: if it is still current, the status is 304, without a body.",
                "schema": { "type": "string" },
            }));
        }
        operation["parameters"] = Value::Array(parameters);
        self
    }

    /// Adds `/changes`, a stream of events.
    pub fn changes(mut self) -> Self {
        self.schema::<Change>();
        let example = "id: 1718000000000-0\nretry: 1000\n\n\
                       id: 1718000000001-0\ndata: {\"name\":\"/challenge/kantox\"}\n\n";
        // OpenAPI 3.1 has no schema for the events of a stream.
        let content =
            json!({ "text/event-stream": { "schema": { "type": "string" }, "example": example } });
        let stream = json!({
            "description": "The stream. The data of an event is a `Change`",
            "content": content,
        });
        let mut responses = Map::from_iter([("200".to_owned(), stream)]);
        let malformed = Malformed::BadCharacter.to_string();
        add_problems(&mut responses, &[Problem::invalid_parameter_name(malformed)]);
        self.operation(RouteId::Changes, &Value::Object(responses));
        self.paths[RouteId::Changes.path()]["get"]["parameters"] = json!([
            {
                "name": "path", "in": "query", "required": false,
                "description": "Limits the stream to the names below a path, at any depth.",
                "schema": { "type": "string" }, "example": "/challenge",
            },
            {
                "name": "Last-Event-ID", "in": "header", "required": false,
                "description": "The id of the latest event. The stream continues behind it, or begins with a `reset` if it cannot.",
                "schema": { "type": "string" },
            },
        ]);
        self
    }

    /// Adds `POST /`, AWS's own protocol. Its bodies are described by AWS.
    pub fn aws_protocol(mut self) -> Self {
        let media_type = String::from_utf8_lossy(ssm::CONTENT_TYPE.as_bytes()).into_owned();
        let example = json!({ "Name": "/challenge/kantox" });
        let found = json!({ "Parameter": {
            "ARN": "arn:aws:ssm:eu-west-2:123456789012:parameter/challenge/kantox",
            "DataType": "text", "LastModifiedDate": 1_769_860_800.123, "Name": "/challenge/kantox",
            "Type": "String", "Version": 1, "Value": "cloud-engineer",
        } });
        let object = |example: &Value| json!({ &media_type: { "schema": { "type": "object" }, "example": example } });
        let error = |description: &str, code: &str, message: &str| {
            let example = json!({ "__type": code, "message": message });
            json!({ "description": description, "content": object(&example) })
        };
        self.operation(RouteId::SsmOther, &json!({
            "200": { "description": "The response of the operation", "content": object(&found) },
            "400": error("An error of the request, or ThrottlingException", "ParameterNotFound", "Parameter /a not found."),
            "413": error("The body is longer than 64 KiB", "RequestEntityTooLargeException", "The body of a request has at most 64 KiB."),
            "500": error("AWS fails; SDKs retry it", "InternalServerError", "AWS cannot be reached, or its response was broken."),
            "503": error("The service or AWS is busy or slow; SDKs retry it", "ServiceUnavailable", "AWS did not respond in time."),
            "508": error("The call comes from aux-service itself", "LoopDetectedException", "The endpoint of its SDK leads to this service."),
        }));
        let operation = &mut self.paths[RouteId::SsmOther.path()]["post"];
        operation["externalDocs"] = json!({
            "url": "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Operations.html",
        });
        operation["security"] = json!([{}, { "session_token": [] }]);
        operation["parameters"] = json!([{
            "name": "X-Amz-Target", "in": "header", "required": true, "description": "The operation",
            "schema": { "type": "string", "enum": Operation::ALL.map(Operation::target) },
        }]);
        operation["requestBody"] = json!({ "required": true, "content": object(&example) });
        self
    }

    /// Adds the operational routes `/status` and `/metrics`.
    pub fn status<T: ToSchema + Serialize>(mut self, example: &T) -> Self {
        let schema = self.schema::<T>();
        let status = json_response("The status", &schema, &json!(example));
        let mut responses = Map::from_iter([("200".to_owned(), status)]);
        add_problems(&mut responses, &[]);
        self.operation(RouteId::Status, &Value::Object(responses));
        self.paths[RouteId::Status.path()]["get"]["parameters"] = json!([{
            "name": "history", "in": "query", "required": false,
            "description": "With `true`, the response has the member `history`.",
            "schema": { "type": "string", "enum": ["true"] },
        }]);
        let text = json!({ "text/plain": { "schema": { "type": "string" } } });
        let metrics = json!({ "description": "The metrics", "content": text });
        self.operation(RouteId::Metrics, &json!({ "200": metrics }));
        self
    }

    /// Adds `/readyz` with the dependencies of this service.
    pub fn ready(mut self, dependencies: &Value) -> Self {
        let example = json!({ "status": "ready", "dependencies": dependencies });
        let responses = json!({
            "200": json_response("The service accepts traffic", &json!({ "type": "object" }), &example),
            "503": problem_response(&[&Problem::starting(), &Problem::draining()]),
        });
        self.operation(RouteId::Readyz, &responses);
        self
    }

    /// Returns the complete document.
    pub fn build(self) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": self.info,
            // The URL is relative to the document, because an ingress may serve it below a prefix.
            "servers": [{ "url": "./", "description": "The server of this document" }],
            "tags": [
                { "name": "API", "description": "Buckets and parameters" },
                { "name": "Operations", "description": "Status and metrics" },
                { "name": "Probes", "description": "Probes for Kubernetes" },
            ],
            "security": [{}, { "bearer": [] }],
            "paths": self.paths,
            "components": {
                "schemas": self.schemas,
                "securitySchemes": {
                    "bearer": {
                        "type": "http", "scheme": "bearer",
                        "description": "Required only if `AUTH_TOKEN_FILE` is set.",
                    },
                    "session_token": {
                        "type": "apiKey", "in": "header", "name": "X-Amz-Security-Token",
                        "description": "Required only if `AUTH_TOKEN_FILE` is set: the token, as the session token of AWS's protocol.",
                    },
                },
            },
        })
    }

    fn operation(&mut self, id: RouteId, responses: &Value) {
        let route = id.route();
        let tag = match route.tag {
            Tag::Api | Tag::Aws => "API",
            Tag::Operations => "Operations",
            Tag::Probes | Tag::Pages => "Probes",
        };
        let operation = json!({
            "operationId": route.operation, "summary": route.summary,
            "description": route.description, "tags": [tag], "responses": responses,
        });
        let method = if route.is_aws() { "post" } else { "get" };
        self.paths.insert(route.path.to_owned(), json!({ method: operation }));
    }

    fn schema<T: ToSchema>(&mut self) -> Value {
        self.named_schema::<T>(&T::name())
    }

    /// Adds the schema of a type and of its parts, and returns a reference to it.
    fn named_schema<T: ToSchema>(&mut self, name: &str) -> Value {
        let mut schemas: Vec<(String, RefOr<Schema>)> = vec![(name.to_owned(), T::schema())];
        T::schemas(&mut schemas);
        for (name, schema) in schemas {
            self.schemas.insert(name, json!(schema));
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

/// The parameter in the examples of both documents.
pub fn example_record() -> ParameterRecord {
    ParameterRecord {
        name: "/challenge/kantox".to_owned(),
        kind: "String".to_owned(),
        value: "cloud-engineer".to_owned(),
        version: 1,
        arn: Some("arn:aws:ssm:eu-west-2:123456789012:parameter/challenge/kantox".to_owned()),
        last_modified: Some("2026-01-31T12:00:00Z".to_owned()),
        data_type: Some("text".to_owned()),
    }
}

/// Returns the handlers of `/openapi.json` and of `/docs`, the page that shows it.
pub fn handlers(document: &Value) -> (MethodRouter, MethodRouter) {
    let json = Bytes::from(document.to_string());
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (get(async move || (headers, json)), get(async || html_page(PAGE)))
}

fn json_response(description: &str, schema: &Value, example: &Value) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": schema, "example": example } },
    })
}

fn problem_response(problems: &[&Problem]) -> Value {
    let titles: Vec<&str> = problems.iter().map(|problem| problem.title.as_ref()).collect();
    let examples: BTreeMap<_, _> = problems
        .iter()
        .map(|problem| {
            let problem = Problem { request_id: REQUEST_ID.to_owned(), ..(*problem).clone() };
            (problem.code.clone(), json!({ "summary": problem.title, "value": problem }))
        })
        .collect();
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let media_type = String::from_utf8_lossy(CONTENT_TYPE.as_bytes()).into_owned();
    let mut response = json!({
        "description": titles.join(", or: "),
        "content": { media_type: { "schema": schema, "examples": examples } },
    });
    if problems.iter().any(|problem| problem.retry_after.is_some()) {
        response["headers"] = json!({ "Retry-After": {
            "description": "Seconds until the next try", "schema": { "type": "integer" },
        } });
    }
    response
}

/// Adds the problems of a route and the problems that every route can return.
fn add_problems(responses: &mut Map<String, Value>, problems: &[Problem]) {
    let everywhere = [Problem::missing_token(), Problem::overloaded(), Problem::internal()];
    for (status, problems) in by_status(problems.iter().chain(&everywhere)) {
        responses.insert(status, problem_response(&problems));
    }
}

fn by_status<'a>(
    problems: impl Iterator<Item = &'a Problem>,
) -> BTreeMap<String, Vec<&'a Problem>> {
    let mut sorted: BTreeMap<String, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        sorted.entry(problem.status.to_string()).or_default().push(problem);
    }
    sorted
}

fn cache_headers() -> Value {
    let header = |description: &str, example: &str| json!({ "description": description, "schema": { "type": "string" }, "example": example });
    json!({
        "Age": header("Seconds since the origin created this response, across all hops", "12"),
        "Cache-Control": header(
            "The time for which the response is fresh, and the time for which it may be used when stale (RFC 9111, RFC 5861)",
            "max-age=60, stale-while-revalidate=60, stale-if-error=3600",
        ),
        "Cache-Status": header("The handling of the request by each cache on the path (RFC 9211)", "aux-service; hit; ttl=48"),
        "ETag": header("The version of the response", "\"5d41402abc4b2a76b9719d911017c592\""),
    })
}
