//! The filters of lists: `ParameterFilters`
//! (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ParameterStringFilter.html>).

use serde::{Deserialize, Serialize};

use super::error::{refused, validation};
use crate::contract::problem::AwsError;

/// A filter as a client sends it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RawFilter {
    key: Option<String>,
    option: Option<String>,
    values: Option<Vec<String>>,
}

/// A valid filter. A parameter passes it if one of the values matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filter {
    key: FilterKey,
    option: FilterOption,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum FilterKey {
    Name,
    Path,
    Type,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum FilterOption {
    Equals,
    BeginsWith,
    Contains,
    OneLevel,
    Recursive,
}

/// The keys of AWS that this service does not support: the cached records lack what they compare, or
/// AWS alone knows it.
const UNSUPPORTED_KEYS: [&str; 4] = ["KeyId", "Tier", "Label", "DataType"];

/// The limits of a filter in AWS's model.
const MAX_VALUES: usize = 50;
const MAX_VALUE_LENGTH: usize = 1024;

/// The wording of SSM for a path that it cannot hold.
pub(super) const INVALID_PATH: &str = "The parameter doesn't meet the parameter name requirements. \
     The parameter name must begin with a forward slash \"/\". It can't be prefixed with \"aws\" or \
     \"ssm\" (case-insensitive). It must use only letters, numbers, or the following symbols: . \
     (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if \
     specified, must use the forward slash symbol \"/\". Valid example: /get/parameters2-/by1./path0_.";

/// Checks the filters of `DescribeParameters`.
pub(super) fn of_describe(filters: Vec<RawFilter>) -> Result<Vec<Filter>, AwsError> {
    check(filters, &[FilterKey::Path, FilterKey::Name, FilterKey::Type], "[Path, Name, Type]")
}

/// Checks the filters of `GetParametersByPath`.
pub(super) fn of_path(filters: Vec<RawFilter>) -> Result<Vec<Filter>, AwsError> {
    check(filters, &[FilterKey::Type], "[Type]")
}

fn check(
    filters: Vec<RawFilter>,
    allowed: &[FilterKey],
    names: &str,
) -> Result<Vec<Filter>, AwsError> {
    let mut checked: Vec<Filter> = Vec::new();
    for raw in filters {
        let filter = raw.check(allowed, names)?;
        if checked.iter().any(|other| other.key == filter.key) {
            return Err(refused(
                "InvalidFilterKey",
                format!(
                    "The following filter is duplicated in the request: {:?}. A request can contain only one occurrence of a specific filter.",
                    filter.key
                ),
            ));
        }
        checked.push(filter);
    }
    Ok(checked)
}

impl RawFilter {
    fn check(self, allowed: &[FilterKey], names: &str) -> Result<Filter, AwsError> {
        let key = self.key.unwrap_or_default();
        let known = [FilterKey::Name, FilterKey::Path, FilterKey::Type];
        let found = known.into_iter().find(|known| format!("{known:?}") == key);
        let key = match found {
            Some(key) if allowed.contains(&key) => key,
            None if !UNSUPPORTED_KEYS.contains(&&*key) && !key.starts_with("tag:") => {
                // The key is left out, because it may be any text.
                return Err(validation(
                    "1 validation error detected: Value at 'parameterFilters.1.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType",
                ));
            }
            _ => {
                return Err(refused(
                    "InvalidFilterKey",
                    format!(
                        "The following filter key is not valid. Valid filter keys include: {names}."
                    ),
                ));
            }
        };
        let values = self.values.unwrap_or_default();
        if values.is_empty() {
            return Err(refused(
                "InvalidFilterValue",
                format!("The following filter values are missing : null for filter key {key:?}."),
            ));
        }
        if values.len() > MAX_VALUES {
            return Err(validation(
                "1 validation error detected: Value at 'parameterFilters.1.member.values' failed to satisfy constraint: Member must have length less than or equal to 50",
            ));
        }
        if values.iter().any(|value| !(1..=MAX_VALUE_LENGTH).contains(&value.len())) {
            return Err(validation(
                "1 validation error detected: Value at 'parameterFilters.1.member.values' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or equal to 1]",
            ));
        }
        let option = key.option(self.option.as_deref())?;
        key.check_values(&values)?;
        Ok(Filter { key, option, values })
    }
}

impl FilterKey {
    fn option(self, option: Option<&str>) -> Result<FilterOption, AwsError> {
        let valid = match (self, option) {
            (Self::Path, None | Some("OneLevel")) => Some(FilterOption::OneLevel),
            (Self::Path, Some("Recursive")) => Some(FilterOption::Recursive),
            (Self::Name | Self::Type, None | Some("Equals")) => Some(FilterOption::Equals),
            (Self::Name | Self::Type, Some("BeginsWith")) => Some(FilterOption::BeginsWith),
            (Self::Name, Some("Contains")) => Some(FilterOption::Contains),
            _ => None,
        };
        let options = match self {
            Self::Path => "[Recursive, OneLevel]",
            Self::Name | Self::Type => "[BeginsWith, Equals]",
        };
        valid.ok_or_else(|| {
            let message = format!(
                "The following filter option is not valid. Valid options include: {options}."
            );
            refused("InvalidFilterOption", message)
        })
    }

    fn check_values(self, values: &[String]) -> Result<(), AwsError> {
        match self {
            Self::Name => Ok(()),
            Self::Type => {
                let known = ["String", "StringList", "SecureString"];
                if values.iter().all(|value| known.contains(&&**value)) {
                    return Ok(());
                }
                Err(refused(
                    "InvalidFilterOption",
                    "The following filter value is not valid. Valid values include: [String, StringList, SecureString].",
                ))
            }
            Self::Path => {
                let reserved = |value: &String| {
                    value.get(..4).is_some_and(|start| {
                        start.eq_ignore_ascii_case("/aws") || start.eq_ignore_ascii_case("/ssm")
                    })
                };
                if values.iter().any(reserved) {
                    return Err(validation(
                        "Filters for common parameters can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). When using global parameters, please specify within a global namespace.",
                    ));
                }
                let valid = |value: &String| {
                    value.starts_with('/')
                        && !value.contains("//")
                        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b))
                };
                if values.iter().all(valid) { Ok(()) } else { Err(validation(INVALID_PATH)) }
            }
        }
    }
}

impl Filter {
    /// Whether a parameter of this name and type passes the filter. SSM compares names with a
    /// leading slash, also those that have none.
    pub fn matches(&self, name: &str, kind: &str) -> bool {
        let relative = name.trim_start_matches('/');
        self.values.iter().any(|value| match (self.key, self.option) {
            (FilterKey::Type, FilterOption::BeginsWith) => kind.starts_with(value.as_str()),
            (FilterKey::Type, _) => kind == value,
            (FilterKey::Name, FilterOption::Contains) => {
                format!("/{relative}").contains(value.as_str())
            }
            (FilterKey::Name, FilterOption::BeginsWith) => {
                relative.starts_with(value.trim_start_matches('/'))
            }
            (FilterKey::Name, _) => relative == value.trim_start_matches('/'),
            (FilterKey::Path, option) => {
                let path = value.trim_matches('/');
                let rest = match path {
                    "" => Some(relative),
                    path => relative.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')),
                };
                rest.is_some_and(|rest| option == FilterOption::Recursive || !rest.contains('/'))
            }
        })
    }
}
