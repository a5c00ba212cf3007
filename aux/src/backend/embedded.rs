//! The embedded backend: serves buckets and parameters from memory, for trials without AWS.

use std::path::Path;

use anyhow::Context;
use async_trait::async_trait;
use cache::{Priority, hex};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::parameter_store::ParameterStore;
use crate::{
    config::Config,
    error::Error,
    name::{ParameterName, ParameterPath},
    parameter::{Details, Parameter, PathValues},
    progress::ListProgress,
};

/// The content without `--embedded-file`.
const DEFAULT: &str = "
buckets: [kantox-challenge-bucket]
parameters:
  - { name: /challenge/kantox, value: cloud-engineer }
";

/// The account of the embedded parameters, which no account of AWS has.
const ACCOUNT: &str = "000000000000";

/// The beginning of the ARN of each embedded parameter.
const ARN: &str = "arn:aws:ssm:embedded:000000000000:parameter";

/// The content of the embedded file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Embedded {
    #[serde(default)]
    buckets: Vec<String>,
    #[serde(default)]
    parameters: Vec<StoredParameter>,
    /// A digest of the content.
    #[serde(skip)]
    origin: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredParameter {
    name: String,
    #[serde(default, rename = "type")]
    kind: Kind,
    value: Zeroizing<String>,
}

/// The types of SSM parameters, under the names that SSM uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Kind {
    #[default]
    String,
    StringList,
    SecureString,
}

impl Embedded {
    /// Reads a file, or uses the default content. Ends the process with status 2 if the file cannot
    /// be read or is invalid.
    pub(super) fn from_file(file: Option<&Path>) -> Self {
        let read = || match file {
            None => Self::parse(DEFAULT),
            Some(path) => std::fs::read_to_string(path)
                .map_err(anyhow::Error::from)
                .and_then(|text| Self::parse(&text))
                .with_context(|| format!("--embedded-file {} cannot be used", path.display())),
        };
        read().unwrap_or_else(|error| {
            service::config::exit_with_usage_error::<Config>(format!("{error:#}"))
        })
    }

    /// Parses and validates the content. SSM must be able to store each name, and no name may occur
    /// twice.
    fn parse(yaml: &str) -> anyhow::Result<Self> {
        // The parser's own message would quote lines of the file, and so reveal values.
        let mut embedded: Self = serde_saphyr::from_str(yaml).map_err(|error| {
            let place = error.location().map(|l| format!(" near line {}", l.line()));
            anyhow::anyhow!(
                "it is not YAML with buckets (a list of names) and parameters (a list of name, type, value){}",
                place.unwrap_or_default()
            )
        })?;
        for parameter in &mut embedded.parameters {
            let name = ParameterName::parse(&parameter.name)
                .with_context(|| format!("the parameter '{}' cannot exist", parameter.name))?;
            anyhow::ensure!(
                name.selector().is_none(),
                "the parameter '{}' must not name a version",
                parameter.name
            );
            name.bare().clone_into(&mut parameter.name);
        }
        let mut names: Vec<_> =
            embedded.parameters.iter().map(|parameter| &parameter.name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            anyhow::bail!("the parameter '{}' is given twice", twice[0]);
        }
        embedded.origin = hex::encode(&Sha256::digest(yaml)[..8]);
        Ok(embedded)
    }
}

impl StoredParameter {
    fn to_parameter(&self) -> Parameter {
        Parameter {
            name: self.name.clone(),
            value: self.value.clone(),
            secure: self.kind == Kind::SecureString,
            details: Details {
                kind: format!("{:?}", self.kind),
                version: 1,
                arn: Some(format!("{ARN}{}", self.name)),
                last_modified: None,
                data_type: Some("text".to_owned()),
            },
        }
    }
}

#[async_trait]
impl ParameterStore for Embedded {
    async fn buckets(&self, _: Priority, _: &ListProgress) -> Result<Vec<String>, Error> {
        Ok(self.buckets.clone())
    }

    async fn parameters(&self, _: Priority, _: &ListProgress) -> Result<Vec<String>, Error> {
        Ok(self.parameters.iter().map(|parameter| parameter.name.clone()).collect())
    }

    async fn parameter(&self, name: &ParameterName, _: Priority) -> Result<Parameter, Error> {
        // The memory holds no history, so the first version is the only one.
        let only_version = matches!(name.selector(), None | Some("1"));
        let own = name.account().is_none_or(|account| account == ACCOUNT);
        let found = self
            .parameters
            .iter()
            .find(|parameter| parameter.name == name.bare() && own && only_version);
        found.map(StoredParameter::to_parameter).ok_or(Error::ParameterNotFound)
    }

    async fn values(
        &self,
        path: &ParameterPath,
        _: Priority,
        _: &ListProgress,
    ) -> Result<PathValues, Error> {
        let below = self.parameters.iter().filter(|parameter| path.holds(&parameter.name));
        Ok(PathValues::readable(below.map(StoredParameter::to_parameter).collect()))
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn health(&self) -> serde_json::Value {
        serde_json::json!({ "embedded": "ok" })
    }
}

impl std::fmt::Debug for StoredParameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredParameter")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_content_equals_that_of_terraform() {
        let embedded = Embedded::parse(DEFAULT).expect("valid");
        assert_eq!(embedded.buckets, ["kantox-challenge-bucket"]);
        assert_eq!(embedded.parameters[0].name, "/challenge/kantox");
        assert_eq!(embedded.parameters[0].value.as_str(), "cloud-engineer");
    }

    #[test]
    fn an_invalid_file_is_rejected_without_quoting_values() {
        for (yaml, reason) in [
            ("parameters: [{ name: 'a b', value: hunter2 }]", "'a b' cannot exist"),
            ("parameters: [{ name: a:1, value: hunter2 }]", "must not name a version"),
            (
                "parameters: [{ name: a, value: hunter2 }, { name: /a, value: hunter2 }]",
                "'/a' is given twice",
            ),
            ("parameters: [{ name: a, type: Secret, value: hunter2 }]", "it is not YAML with"),
            ("parameters: [{ name: a, values: hunter2 }]", "it is not YAML with"),
            ("bucket: [a]", "it is not YAML with"),
            ("parameters: hunter2", "it is not YAML with"),
        ] {
            let message = format!("{:#}", Embedded::parse(yaml).expect_err(yaml));
            assert!(message.contains(reason), "{yaml}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
