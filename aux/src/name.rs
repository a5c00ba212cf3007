//! Names and paths of parameters: the syntax of SSM, and the prefixes that this service may show.
//!
//! The rules are those of `PutParameter`
//! (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>). A
//! name that breaks them is rejected here, because SSM cannot hold it and a call would be wasted.

use std::{fmt, str::FromStr};

/// The longest name, in characters, the leading slash included.
const MAX_LENGTH: usize = 2048;

/// The most levels of a name; `/a/b/c` has three.
const MAX_LEVELS: usize = 15;

const MAX_LABEL_LENGTH: usize = 100;

/// A well-formed name with its leading slash and an optional version or label: `/app/db:3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParameterName {
    full: String,
    /// The length of the name without the selector and its colon, in bytes.
    length: usize,
}

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
    #[error("After the colon of a parameter's name comes a version, like 3, or a label.")]
    BadSelector,
}

impl ParameterName {
    /// Parses a name from a client, with or without its leading slash.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (name, selector) = match text.split_once(':') {
            Some((name, selector)) => (name, Some(selector)),
            None => (text, None),
        };
        let mut full = normalise(name)?;
        let length = full.len();
        if let Some(selector) = selector {
            if !is_selector(selector) {
                return Err(Malformed::BadSelector);
            }
            full.push(':');
            full.push_str(selector);
        }
        Ok(Self { full, length })
    }

    /// The name with its version or label, in the form that SSM accepts.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The name without its version or label.
    pub fn bare(&self) -> &str {
        &self.full[..self.length]
    }

    /// The requested version or label.
    pub fn selector(&self) -> Option<&str> {
        self.full.get(self.length + 1..)
    }
}

impl ParameterPath {
    /// Parses a path from a client, with or without slashes around it. `/` is the root.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        match text.strip_suffix('/').unwrap_or(text) {
            "" => Ok(Self("/".to_owned())),
            path => normalise(path).map(Self),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a parameter lies below this path, at any depth.
    pub fn holds(&self, name: &str) -> bool {
        let root = self.0 == "/";
        name.strip_prefix(self.as_str()).is_some_and(|rest| root || rest.starts_with('/'))
    }
}

fn normalise(name: &str) -> Result<String, Malformed> {
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
    if relative.split('/').any(|level| matches!(level, "" | "." | "..")) {
        return Err(Malformed::BadLevel);
    }
    if relative.split('/').count() > MAX_LEVELS {
        return Err(Malformed::TooDeep);
    }
    Ok(format!("/{relative}"))
}

/// Whether a text is a version number or a label. A label has at most 100 letters, digits and `_ .
/// -`, and does not begin with a digit, `aws` or `ssm`
/// (<https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-labels.html>).
fn is_selector(text: &str) -> bool {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        // SSM counts versions from one and stores them in 64 bits.
        return !text.starts_with('0') && text.parse::<i64>().is_ok();
    }
    let reserved = ["aws", "ssm"]
        .iter()
        .any(|word| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)));
    text.len() <= MAX_LABEL_LENGTH
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && !reserved
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// The part of Parameter Store that this service may show: some paths with everything below them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes(Vec<ParameterPath>);

impl Prefixes {
    /// Whether a parameter with this name, with or without its leading slash, may be shown. A
    /// prefix ends at a slash: `/app` allows `/app` and `/app/db`, but not `/apple`.
    pub fn allow(&self, name: &str) -> bool {
        let name = name.strip_prefix('/').unwrap_or(name);
        self.0.iter().any(|prefix| {
            let prefix = &prefix.as_str()[1..];
            prefix.is_empty()
                || name
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether anything below this path may be shown: the path is allowed, or an allowed path lies
    /// below it.
    pub fn allow_some_below(&self, path: &ParameterPath) -> bool {
        self.allow(path.as_str()) || self.0.iter().any(|prefix| path.holds(prefix.as_str()))
    }
}

/// Parses comma-separated paths, each with its leading slash.
impl FromStr for Prefixes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |prefix: &str| match ParameterPath::parse(prefix) {
            _ if !prefix.starts_with('/') => {
                Err(format!("the prefix '{prefix}' must begin with /"))
            }
            Ok(path) => Ok(path),
            Err(reason) => Err(format!("the prefix '{prefix}' is invalid: {reason}")),
        };
        text.split(',').map(str::trim).map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, prefix) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", prefix.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_gets_the_leading_slash_that_it_lacks() {
        for text in ["challenge/kantox", "/challenge/kantox"] {
            let name = ParameterName::parse(text).expect("valid");
            assert_eq!(name.as_str(), "/challenge/kantox");
            assert_eq!(name.selector(), None);
        }
    }

    #[test]
    fn a_name_may_include_a_version_or_a_label() {
        let name = ParameterName::parse("app/db.host-1_a:3").expect("valid");
        assert_eq!((name.bare(), name.selector()), ("/app/db.host-1_a", Some("3")));
        assert_eq!(name.as_str(), "/app/db.host-1_a:3");
        assert!(ParameterName::parse("app/db:green.1").is_ok());
    }

    #[test]
    fn a_name_that_ssm_could_never_hold_is_refused() {
        use Malformed::{BadCharacter, BadLevel, BadSelector, Empty, TooDeep, TooLong};
        let deep = ["a"; 16].join("/");
        let long = "a".repeat(2048);
        for (text, reason) in [
            ("", Empty),
            ("/", Empty),
            (long.as_str(), TooLong),
            (deep.as_str(), TooDeep),
            ("a b", BadCharacter),
            ("caf\u{e9}", BadCharacter),
            ("a\u{0}b", BadCharacter),
            ("a%2fb", BadCharacter),
            ("a//b", BadLevel),
            ("a/", BadLevel),
            ("//a", BadLevel),
            ("../etc/passwd", BadLevel),
            ("a/./b", BadLevel),
            ("a:", BadSelector),
            ("a:0", BadSelector),
            ("a:99999999999999999999", BadSelector),
            ("a:1b", BadSelector),
            ("a:AWS-label", BadSelector),
            ("a:b:c", BadSelector),
        ] {
            assert_eq!(ParameterName::parse(text), Err(reason), "{text:.40}");
        }
    }

    #[test]
    fn the_longest_and_the_deepest_name_are_accepted() {
        assert!(ParameterName::parse(&"a".repeat(2047)).is_ok());
        assert!(ParameterName::parse(&["a"; 15].join("/")).is_ok());
    }

    #[test]
    fn a_path_may_be_the_root_and_may_end_with_a_slash() {
        for (text, path) in [("", "/"), ("/", "/"), ("app", "/app"), ("/app/", "/app")] {
            assert_eq!(ParameterPath::parse(text).expect("valid").as_str(), path);
        }
        assert!(ParameterPath::parse("app:3").is_err());
    }

    #[test]
    fn a_path_holds_what_lies_below_it_and_not_itself() {
        let app = ParameterPath::parse("/app").expect("valid");
        assert!(app.holds("/app/db") && app.holds("/app/db/host"));
        assert!(!app.holds("/app") && !app.holds("/apple") && !app.holds("/other"));
        assert!(ParameterPath::parse("/").expect("valid").holds("/app"));
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let prefixes: Prefixes = "/app, /shared/db/".parse().expect("valid");
        for (name, allowed) in [
            ("/app", true),
            ("/app/x", true),
            ("app/x", true),
            ("/apple", false),
            ("/shared", false),
            ("/shared/db/x", true),
        ] {
            assert_eq!(prefixes.allow(name), allowed, "{name}");
        }
        let above = ParameterPath::parse("/shared").expect("valid");
        assert!(prefixes.allow_some_below(&above));
        assert!(!prefixes.allow_some_below(&ParameterPath::parse("/other").expect("valid")));
        assert_eq!(prefixes.to_string(), "/app,/shared/db");
    }

    #[test]
    fn a_prefix_without_its_slash_is_refused() {
        assert!("app".parse::<Prefixes>().expect_err("no slash").contains("'app'"));
        assert!("".parse::<Prefixes>().is_err());
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_that_ssm_could_hold(text in "\\PC{0,40}|[a-z/:.%_-]{0,40}") {
            if let Ok(name) = ParameterName::parse(&text) {
                prop_assert!(name.bare().starts_with('/'));
                prop_assert!(!name.bare().contains("//") && !name.bare().ends_with('/'));
                prop_assert!(name.bare().bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b)));
                prop_assert_eq!(ParameterName::parse(name.as_str()), Ok(name.clone()));
            }
        }
    }
}
