//! Requests: parsed, checked against the limits of SSM, and written again in one normal form.

use axum::http::{HeaderMap, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    CONTENT_TYPE, PageToken, TARGET,
    error::{invalid_next_token, refused, validation},
    filter::{self, Filter, RawFilter},
    operation::Operation,
};
use crate::contract::problem::AwsError;

/// A valid request. Equal requests have equal normal forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    GetParameter(GetParameter),
    GetParameters(GetParameters),
    GetParametersByPath(GetParametersByPath),
    DescribeParameters(DescribeParameters),
}

/// The value of one parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetParameter {
    /// The name as the client spells it: a name with or without a leading slash, with or without a
    /// version or label, or an ARN.
    pub name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_decryption: bool,
}

/// The values of up to ten parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetParameters {
    /// The names as the client spells them, each once.
    pub names: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_decryption: bool,
}

/// A page of the parameters below a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetParametersByPath {
    /// The path, with a leading slash.
    pub path: String,
    /// Whether parameters of all levels below the path belong to the result.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recursive: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameter_filters: Vec<Filter>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_decryption: bool,
    /// The size of a page: 1 to 10.
    pub max_results: usize,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "encoded")]
    pub next_token: Option<PageToken>,
}

/// A page of the descriptions of all parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeParameters {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameter_filters: Vec<Filter>,
    /// The size of a page: 1 to 50.
    pub max_results: usize,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "encoded")]
    pub next_token: Option<PageToken>,
}

/// The most names of one `GetParameters`.
const MAX_NAMES: usize = 10;

/// The longest name or path in bytes; `PSParameterName` in AWS's model.
const MAX_NAME_LENGTH: usize = 2048;

/// The size of a page if the request has no `MaxResults`.
const DEFAULT_PAGE: usize = 10;

/// The largest pages: `GetParametersByPathMaxResults` and `MaxResults` in AWS's model.
const MAX_PATH_PAGE: i64 = 10;
const MAX_DESCRIBE_PAGE: i64 = 50;

/// The body of any of the operations. SSM ignores members that an operation does not have, and
/// treats null like a missing member.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawOne {
    name: Option<String>,
    with_decryption: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawSeveral {
    names: Option<Vec<String>>,
    with_decryption: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawPath {
    path: Option<String>,
    recursive: Option<bool>,
    parameter_filters: Option<Vec<RawFilter>>,
    with_decryption: Option<bool>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawDescribe {
    filters: Option<Vec<serde::de::IgnoredAny>>,
    parameter_filters: Option<Vec<RawFilter>>,
    max_results: Option<i64>,
    next_token: Option<String>,
    shared: Option<bool>,
}

/// The meaning of the headers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An operation that this service performs.
    Read(Operation),
    /// An operation of SSM that changes something.
    Write,
    /// Anything else: another operation that reads, another service, no target, or another protocol.
    Unknown,
}

/// The verbs with which the names of SSM's other operations begin, from its API reference. `Get`,
/// `List` and `Describe` read.
const WRITING_VERBS: [&str; 22] = [
    "Add",
    "Associate",
    "Cancel",
    "Create",
    "Delete",
    "Deregister",
    "Disassociate",
    "Label",
    "Modify",
    "Put",
    "Register",
    "Remove",
    "Reset",
    "Resume",
    "Send",
    "Start",
    "Stop",
    "Terminate",
    "Unlabel",
    "Untag",
    "Update",
    "Validate",
];

impl Target {
    /// Reads the headers that name the protocol and the operation.
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(target) = headers.get(TARGET).map(|target| target.as_bytes()) else {
            return Self::Unknown;
        };
        if !headers.get(header::CONTENT_TYPE).is_some_and(|kind| is_json_1_1(kind.as_bytes())) {
            return Self::Unknown;
        }
        if let Some(operation) = Operation::of_target(target) {
            return Self::Read(operation);
        }
        let name = target.strip_prefix(b"AmazonSSM.").unwrap_or_default();
        let writes = WRITING_VERBS.iter().any(|verb| {
            let rest = name.strip_prefix(verb.as_bytes());
            rest.is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_uppercase))
        });
        if writes { Self::Write } else { Self::Unknown }
    }
}

/// Whether a `Content-Type` is that of the protocol, with or without parameters.
fn is_json_1_1(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(CONTENT_TYPE.as_bytes())
}

impl Request {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// See [`operation_of`](Self::operation_of) and [`parse_body`](Self::parse_body).
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, AwsError> {
        Self::parse_body(Self::operation_of(headers)?, body)
    }

    /// Returns the operation that the headers of a request name.
    ///
    /// # Errors
    ///
    /// `AccessDeniedException` for operations that write, and else `UnknownOperationException`.
    pub fn operation_of(headers: &HeaderMap) -> Result<Operation, AwsError> {
        match Target::of(headers) {
            Target::Read(operation) => Ok(operation),
            Target::Write => Err(refused(
                "AccessDeniedException",
                "This service only reads parameters: it performs no operation that writes.",
            )),
            Target::Unknown => Err(refused(
                "UnknownOperationException",
                "This service performs GetParameter, GetParameters, GetParametersByPath and \
                 DescribeParameters of AmazonSSM in application/x-amz-json-1.1.",
            )),
        }
    }

    /// Parses the body of an operation.
    ///
    /// # Errors
    ///
    /// SSM's own error: `SerializationException`, `ValidationException`, `InvalidNextToken`, or one
    /// of the errors of filters.
    pub fn parse_body(operation: Operation, body: &[u8]) -> Result<Self, AwsError> {
        match operation {
            Operation::GetParameter => read(body).and_then(one).map(Self::GetParameter),
            Operation::GetParameters => read(body).and_then(several).map(Self::GetParameters),
            Operation::GetParametersByPath => {
                read(body).and_then(by_path).map(Self::GetParametersByPath)
            }
            Operation::DescribeParameters => {
                read(body).and_then(describe).map(Self::DescribeParameters)
            }
        }
    }

    /// Returns the operation.
    pub fn operation(&self) -> Operation {
        match self {
            Self::GetParameter(_) => Operation::GetParameter,
            Self::GetParameters(_) => Operation::GetParameters,
            Self::GetParametersByPath(_) => Operation::GetParametersByPath,
            Self::DescribeParameters(_) => Operation::DescribeParameters,
        }
    }

    /// Writes the normal form of the body: the members in one order, without those that are unknown
    /// or have their default. Another service can be called with it.
    pub fn body(&self) -> String {
        let body = match self {
            Self::GetParameter(request) => serde_json::to_string(request),
            Self::GetParameters(request) => serde_json::to_string(request),
            Self::GetParametersByPath(request) => serde_json::to_string(request),
            Self::DescribeParameters(request) => serde_json::to_string(request),
        };
        body.expect("strings and numbers are JSON")
    }

    /// Returns the key under which a cache can store the response: the operation and the normal form
    /// of the body. No path of a route is equal to it, because paths begin with a slash.
    pub fn key(&self) -> String {
        format!("{} {}", self.operation().target(), self.body())
    }

    /// Parses a [key](Self::key). Returns `None` for any other text.
    pub fn of_key(key: &str) -> Option<Self> {
        let (target, body) = key.split_once(' ')?;
        Self::parse_body(Operation::of_target(target.as_bytes())?, body.as_bytes()).ok()
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    let refusal = "The body is not a JSON object with the members of the operation.";
    // serde would also accept a list of the members' values.
    let object = body.trim_ascii_start().starts_with(b"{").then_some(body);
    // The parser's own message would quote the body.
    object
        .and_then(|body| serde_json::from_slice(body).ok())
        .ok_or_else(|| refused("SerializationException", refusal))
}

fn one(RawOne { name, with_decryption }: RawOne) -> Result<GetParameter, AwsError> {
    let name = trimmed(&name.ok_or_else(|| missing("name"))?);
    check_length("name", &name)?;
    Ok(GetParameter { name, with_decryption: with_decryption.unwrap_or_default() })
}

fn several(raw: RawSeveral) -> Result<GetParameters, AwsError> {
    let all = raw.names.ok_or_else(|| missing("names"))?;
    if all.is_empty() {
        return Err(constraint("'[]' at 'names'", "have length greater than or equal to 1"));
    }
    if all.len() > MAX_NAMES {
        // The value is left out, because it may fill the whole body.
        return Err(constraint("at 'names'", "have length less than or equal to 10"));
    }
    let mut names: Vec<String> = Vec::with_capacity(all.len());
    for name in all {
        let name = trimmed(&name);
        check_length("names", &name)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(GetParameters { names, with_decryption: raw.with_decryption.unwrap_or_default() })
}

/// Removes the spaces around a name, as SSM does (`Name` of `GetParameter` in its API reference).
fn trimmed(name: &str) -> String {
    name.trim_matches(' ').to_owned()
}

fn by_path(raw: RawPath) -> Result<GetParametersByPath, AwsError> {
    let path = raw.path.ok_or_else(|| missing("path"))?;
    check_length("path", &path)?;
    if !path.starts_with('/') {
        return Err(validation(filter::INVALID_PATH));
    }
    Ok(GetParametersByPath {
        path,
        recursive: raw.recursive.unwrap_or_default(),
        parameter_filters: filter::of_path(raw.parameter_filters.unwrap_or_default())?,
        with_decryption: raw.with_decryption.unwrap_or_default(),
        max_results: page_size(raw.max_results, MAX_PATH_PAGE)?,
        next_token: page_token(raw.next_token.as_deref())?,
    })
}

fn describe(raw: RawDescribe) -> Result<DescribeParameters, AwsError> {
    let filters = raw.parameter_filters.unwrap_or_default();
    if raw.filters.is_some_and(|old| !old.is_empty()) {
        return Err(if filters.is_empty() {
            refused("InvalidFilterKey", "This service supports ParameterFilters only, not Filters.")
        } else {
            validation("You can use either Filters or ParameterFilters in a single request.")
        });
    }
    if raw.shared.unwrap_or_default() {
        return Err(validation("This service does not list the parameters of other accounts."));
    }
    Ok(DescribeParameters {
        parameter_filters: filter::of_describe(filters)?,
        max_results: page_size(raw.max_results, MAX_DESCRIBE_PAGE)?,
        next_token: page_token(raw.next_token.as_deref())?,
    })
}

fn page_size(max_results: Option<i64>, most: i64) -> Result<usize, AwsError> {
    let Some(size) = max_results else { return Ok(DEFAULT_PAGE) };
    let value = format!("'{size}' at 'maxResults'");
    if size > most {
        return Err(constraint(&value, &format!("have value less than or equal to {most}")));
    }
    usize::try_from(size)
        .ok()
        .filter(|size| *size > 0)
        .ok_or_else(|| constraint(&value, "have value greater than or equal to 1"))
}

/// Reads a page token. SDKs send none for the first page, and some send an empty one.
fn page_token(token: Option<&str>) -> Result<Option<PageToken>, AwsError> {
    match token {
        None | Some("") => Ok(None),
        Some(token) => PageToken::decode(token).map(Some).ok_or_else(invalid_next_token),
    }
}

fn check_length(member: &str, name: &str) -> Result<(), AwsError> {
    match name.len() {
        0 => {
            let value = format!("'' at '{member}'");
            Err(constraint(&value, "have length greater than or equal to 1"))
        }
        // The value is left out, because it may fill the whole body.
        length if length > MAX_NAME_LENGTH => {
            let value = format!("at '{member}'");
            Err(constraint(&value, "have length less than or equal to 2048"))
        }
        _ => Ok(()),
    }
}

fn missing(member: &str) -> AwsError {
    constraint(&format!("null at '{member}'"), "not be null")
}

/// The error of a member that breaks a constraint of AWS's model, in SSM's words.
fn constraint(value: &str, rule: &str) -> AwsError {
    validation(format!(
        "1 validation error detected: Value {value} failed to satisfy constraint: Member must {rule}"
    ))
}

fn encoded<S: serde::Serializer>(
    token: &Option<PageToken>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    token.as_ref().map(PageToken::encode).serialize(serializer)
}

#[cfg(test)]
mod tests;
