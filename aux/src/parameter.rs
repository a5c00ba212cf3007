//! A parameter, as a backend returns it.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Error;

/// A parameter with its value. The serialised form is for public parameters alone.
#[derive(Clone, Serialize, Deserialize)]
pub struct Parameter {
    #[serde(rename = "n")]
    pub name: String,
    /// The value, wiped from memory when dropped. For a SecureString that may not be decrypted,
    /// this is the ciphertext or empty.
    #[serde(rename = "s")]
    pub value: Zeroizing<String>,
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
            Err(Error::ParameterNotFound) => (),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The facts that SSM stores about a parameter, besides its name and its value. None is secret.
///
/// The serialised names are short, because each cached entry stores them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The type: `String`, `StringList` or `SecureString`.
    #[serde(rename = "t")]
    pub kind: String,
    /// The version, counted from 1. A reference to a secret has version 0.
    #[serde(rename = "v")]
    pub version: i64,
    #[serde(rename = "a")]
    pub arn: Option<String>,
    /// The time of the last change, as in RFC 3339.
    #[serde(rename = "m")]
    pub last_modified: Option<String>,
    #[serde(rename = "d")]
    pub data_type: Option<String>,
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
