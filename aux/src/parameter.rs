//! A parameter, as a backend returns it.

use std::fmt;

use serde::{Deserialize, Serialize};
use service::contract::ssm::Timestamp;
use zeroize::Zeroizing;

use crate::{error::Error, name::ParameterPath};

/// The form in which SecureStrings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// The value in clear text, if this service may read it.
    Value,
    /// AWS's ciphertext, which is no secret without the key.
    Ciphertext,
}

/// The parameters that lie below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathQuery {
    pub path: ParameterPath,
    /// Whether parameters of all levels below the path belong to the result.
    pub recursive: bool,
    pub form: SecretForm,
}

impl PathQuery {
    /// All parameters below a path, with their values.
    pub fn all_below(path: ParameterPath) -> Self {
        Self { path, recursive: true, form: SecretForm::Value }
    }

    /// Whether a parameter belongs to the result.
    pub fn holds(&self, name: &str) -> bool {
        self.path.holds(name) && (self.recursive || !self.path.relative(name).contains('/'))
    }
}

/// A parameter with its value. The serialised form is for public parameters alone.
#[derive(Clone, Serialize, Deserialize)]
pub struct Parameter {
    #[serde(rename = "n")]
    pub name: String,
    /// The value, wiped from memory when dropped. For a SecureString that may not be decrypted,
    /// this is the ciphertext or empty.
    #[serde(rename = "s")]
    pub value: Zeroizing<String>,
    /// Whether the value is a secret in clear text.
    #[serde(skip)]
    pub secure: bool,
    #[serde(flatten)]
    pub details: Details,
}

/// The parameters below a path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PathValues {
    #[serde(rename = "r")]
    pub readable: Vec<Parameter>,
    /// The names of the parameters that AWS did not return in clear text, or that this service does
    /// not show.
    #[serde(rename = "u")]
    pub unreadable: Vec<String>,
}

impl PathValues {
    /// Parameters that are all readable.
    pub fn readable(parameters: Vec<Parameter>) -> Self {
        Self { readable: parameters, unreadable: Vec::new() }
    }

    /// Adds the result of one parameter. A parameter that was deleted meanwhile is left out.
    ///
    /// # Errors
    ///
    /// An error that says nothing about this parameter.
    pub fn add(&mut self, name: &str, result: Result<Parameter, Error>) -> Result<(), Error> {
        match result {
            Ok(parameter) => self.readable.push(parameter),
            Err(Error::AwsAccessDenied(_) | Error::AwsRefused(_) | Error::ParameterUnreadable) => {
                self.unreadable.push(name.to_owned())
            }
            Err(Error::ParameterNotFound | Error::ParameterVersionNotFound) => (),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The facts that SSM stores about a parameter, besides its name and its value. None is secret.
///
/// The serialised names are those of AWS's protocol, so that cached facts are ready to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Details {
    #[serde(rename = "ARN", default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// The time of the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified_date: Option<Timestamp>,
    /// The version or label by which the parameter was read, with its colon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The type: `String`, `StringList` or `SecureString`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The version, counted from 1. A reference to a secret has version 0.
    pub version: i64,
}

impl Details {
    /// Returns the account in the ARN. The ARN of a public parameter has none.
    pub fn account(&self) -> Option<&str> {
        self.arn.as_deref()?.split(':').nth(4).filter(|account| !account.is_empty())
    }
}

/// Omits the value, because a value must never reach a log.
impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter")
            .field("name", &self.name)
            .field("secure", &self.secure)
            .finish_non_exhaustive()
    }
}
