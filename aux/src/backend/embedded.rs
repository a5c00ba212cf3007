//! The embedded backend: serves buckets and parameters from memory, for trials without AWS.

use std::path::Path;

use anyhow::Context;
use async_trait::async_trait;
use cache::{Priority, hex};
use serde::Deserialize;
use service::contract::ssm::ParameterMetadata;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::parameter_store::ParameterStore;
use crate::{
    batch::GroupMember,
    error::Error,
    name::ParameterName,
    parameter::{Details, Parameter, PathQuery, PathValues, SecretForm},
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

const DATA_TYPE: &str = "text";

/// The ciphertext of every SecureString. Memory has no key, and this text shows no value.
const CIPHERTEXT: &str = "embedded-ciphertext";

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
                .map_err(|error| {
                    anyhow::anyhow!("{error}; name a YAML file that this process can read")
                })
                .and_then(|text| Self::parse(&text))
                .with_context(|| format!("--embedded-file {} cannot be used", path.display())),
        };
        read().unwrap_or_else(|error| service::config::exit_with_usage_error(format!("{error:#}")))
    }

    /// Parses and validates the content. SSM must be able to store each name, and no name may occur
    /// twice.
    fn parse(yaml: &str) -> anyhow::Result<Self> {
        // The parser's own message would quote lines of the file, and so reveal values.
        let mut embedded: Self = serde_saphyr::from_str(yaml).map_err(|error| {
            let place = error.location().map(|l| format!("; see line {}", l.line()));
            anyhow::anyhow!(
                "it must be YAML with `buckets` (a list of names) and `parameters` (a list of name, type and value){}",
                place.unwrap_or_default()
            )
        })?;
        for parameter in &mut embedded.parameters {
            let name = ParameterName::parse(&parameter.name)
                .with_context(|| format!("the parameter '{}' cannot exist", parameter.name))?;
            anyhow::ensure!(
                name.selector().is_none(),
                "the parameter '{}' must not name a version; remove the colon and what follows",
                parameter.name
            );
            name.bare().clone_into(&mut parameter.name);
        }
        let mut names: Vec<_> =
            embedded.parameters.iter().map(|parameter| &parameter.name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            anyhow::bail!("the parameter '{}' is given twice; remove one", twice[0]);
        }
        embedded.origin = hex::encode(&Sha256::digest(yaml)[..8]);
        Ok(embedded)
    }
}

impl StoredParameter {
    fn to_parameter(&self, form: SecretForm) -> Parameter {
        let secure = self.kind == Kind::SecureString;
        let value = match form {
            SecretForm::Ciphertext if secure => CIPHERTEXT.to_owned().into(),
            SecretForm::Value | SecretForm::Ciphertext => self.value.clone(),
        };
        Parameter { name: self.name.clone(), value, secure, details: self.details(None) }
    }

    fn details(&self, selector: Option<&str>) -> Details {
        Details {
            arn: Some(format!("{ARN}{}", self.name)),
            data_type: Some(DATA_TYPE.to_owned()),
            last_modified_date: None,
            selector: selector.map(|selector| format!(":{selector}")),
            kind: format!("{:?}", self.kind),
            version: 1,
        }
    }

    fn metadata(&self) -> ParameterMetadata {
        let Details { arn, data_type, kind, version, .. } = self.details(None);
        ParameterMetadata {
            arn,
            data_type,
            name: self.name.clone(),
            kind: Some(kind),
            version: Some(version),
            ..ParameterMetadata::default()
        }
    }
}

#[async_trait]
impl ParameterStore for Embedded {
    async fn buckets(&self, _: Priority, _: &ListProgress) -> Result<Vec<String>, Error> {
        Ok(self.buckets.clone())
    }

    async fn parameters(
        &self,
        _: Priority,
        _: &ListProgress,
    ) -> Result<Vec<ParameterMetadata>, Error> {
        Ok(self.parameters.iter().map(StoredParameter::metadata).collect())
    }

    async fn parameter(
        &self,
        name: &ParameterName,
        form: SecretForm,
        _: Priority,
        _: Option<GroupMember>,
    ) -> Result<Parameter, Error> {
        let own = name.account().is_none_or(|account| account == ACCOUNT);
        let mut named = self.parameters.iter().filter(|parameter| parameter.name == name.bare());
        let found = named.next().filter(|_| own).ok_or(Error::ParameterNotFound)?;
        // The memory holds no history, so the first version is the only one.
        if !matches!(name.selector(), None | Some("1")) {
            return Err(Error::ParameterVersionNotFound);
        }
        let details = found.details(name.selector());
        Ok(Parameter { details, ..found.to_parameter(form) })
    }

    async fn values(
        &self,
        query: &PathQuery,
        _: Priority,
        _: &ListProgress,
    ) -> Result<PathValues, Error> {
        let below = self.parameters.iter().filter(|parameter| query.holds(&parameter.name));
        let below = below.map(|parameter| parameter.to_parameter(query.form));
        Ok(PathValues::readable(below.collect()))
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
            ("parameters: [{ name: a, type: Secret, value: hunter2 }]", "it must be YAML with"),
            ("parameters: [{ name: a, values: hunter2 }]", "it must be YAML with"),
            ("bucket: [a]", "it must be YAML with"),
            ("parameters: hunter2", "it must be YAML with"),
        ] {
            let message = format!("{:#}", Embedded::parse(yaml).expect_err(yaml));
            assert!(message.contains(reason), "{yaml}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
