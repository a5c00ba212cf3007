//! The syntax of names and paths of parameters.
//!
//! The rules are those of `PutParameter`
//! (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>). SSM
//! cannot hold a name that breaks them.

/// The longest name, in characters, the leading slash included.
pub const MAX_LENGTH: usize = 2048;

/// The most levels of a name; `/a/b/c` has three.
const MAX_LEVELS: usize = 15;

/// A well-formed path with its leading slash and, unless it is the root, no trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParameterPath(String);

/// The reason why a text cannot be the name of a parameter. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("A parameter's name must not be empty.")]
    Empty,
    #[error("A parameter's name has at most 2048 characters.")]
    TooLong,
    #[error("A parameter's name has at most 15 levels.")]
    TooDeep,
    #[error("A parameter's name holds only letters, digits and _ . - / of ASCII.")]
    BadCharacter,
    #[error("A parameter's name has no empty level, and none that is . or ..")]
    BadLevel,
    #[error(
        "An ARN of a parameter has the form arn:aws:ssm:REGION:ACCOUNT:parameter/NAME, with an account of twelve digits."
    )]
    BadArn,
    #[error("This ARN names another region than the one that this service reads.")]
    OtherRegion,
    #[error("After the colon of a parameter's name comes a version, like 3, or a label.")]
    BadSelector,
}

impl ParameterPath {
    /// Parses a path from a client, with or without slashes around it. `/` is the root.
    ///
    /// # Errors
    ///
    /// SSM cannot hold a parameter below the path.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        match text.strip_suffix('/').unwrap_or(text) {
            "" => Ok(Self("/".to_owned())),
            path => normalise(path).map(Self),
        }
    }

    /// The path as SSM accepts it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part of a name below this path, without the slash between them.
    pub fn relative<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.as_str()).unwrap_or(name).trim_start_matches('/')
    }

    /// Whether a parameter lies below this path, at any depth.
    pub fn holds(&self, name: &str) -> bool {
        // A name may lack the leading slash.
        self.0 == "/" || name.strip_prefix(self.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Checks a name without a version or label, and adds the leading slash that it may lack.
///
/// # Errors
///
/// SSM cannot hold the name.
pub fn normalise(name: &str) -> Result<String, Malformed> {
    let relative = name.strip_prefix('/').unwrap_or(name);
    if relative.is_empty() {
        return Err(Malformed::Empty);
    }
    if relative.len() >= MAX_LENGTH {
        return Err(Malformed::TooLong);
    }
    if !relative.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b)) {
        return Err(Malformed::BadCharacter);
    }
    let mut levels = relative.as_bytes().split(|&byte| byte == b'/');
    if levels.clone().any(|level| matches!(level, b"" | b"." | b"..")) {
        return Err(Malformed::BadLevel);
    }
    if levels.nth(MAX_LEVELS).is_some() {
        return Err(Malformed::TooDeep);
    }
    Ok(format!("/{relative}"))
}
