//! Names and paths of parameters: the syntax of SSM, and the prefixes that this service may show.
//!
//! The rules are those of `PutParameter`
//! (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>). A
//! name that breaks them is rejected here, because SSM cannot hold it and a call would be wasted.

use std::{borrow::Cow, fmt, ops::Range, str::FromStr};

use service::contract::name::{MAX_LENGTH, normalise};
pub use service::contract::name::{Malformed, ParameterPath};

const MAX_LABEL_LENGTH: usize = 100;

/// A well-formed name of a parameter with an optional version or label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParameterName {
    /// The name in the form that SSM accepts.
    full: String,
    kind: NameKind,
}

/// The kinds of names. Each has rules of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum NameKind {
    /// A parameter of this account, or a public one: `/app/db:3`. It has `length` bytes without its
    /// selector and the colon.
    Plain { length: usize },
    /// A secret of Secrets Manager (<https://docs.aws.amazon.com/systems-manager/latest/userguide/integration-ps-secretsmanager.html>):
    /// `/aws/reference/secretsmanager/prod/db:AWSPREVIOUS`. AWS has the rules for its characters,
    /// versions and stages.
    SecretReference,
    /// A parameter of any account:
    /// `arn:aws:ssm:eu-west-2:210987654321:parameter/shared/vpc-id:3`.
    Arn { region: Range<usize>, account: Range<usize>, parameter: String },
}

/// The beginning of the names of secrets, without the leading slash.
const REFERENCE: &str = "aws/reference/secretsmanager/";

impl ParameterName {
    /// Parses a name from a client, with or without its leading slash, or an ARN.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let relative = text.strip_prefix('/').unwrap_or(text);
        if relative.starts_with(REFERENCE) {
            return Self::parse_reference(relative);
        }
        // No label begins with `aws`, so no other name begins like this.
        if relative.starts_with("arn:aws") {
            return Self::parse_arn(relative);
        }
        Self::parse_plain(text)
    }

    fn parse_plain(text: &str) -> Result<Self, Malformed> {
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
        Ok(Self { full, kind: NameKind::Plain { length } })
    }

    fn parse_reference(relative: &str) -> Result<Self, Malformed> {
        match relative {
            REFERENCE => Err(Malformed::Empty),
            _ if relative.len() >= MAX_LENGTH => Err(Malformed::TooLong),
            _ if relative.chars().any(char::is_control) => Err(Malformed::BadCharacter),
            _ => Ok(Self { full: format!("/{relative}"), kind: NameKind::SecretReference }),
        }
    }

    fn parse_arn(text: &str) -> Result<Self, Malformed> {
        let parts: Vec<_> = text.splitn(6, ':').collect();
        let [_, partition, "ssm", region, account, resource] = parts[..] else {
            return Err(Malformed::BadArn);
        };
        let word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let parameter = resource.strip_prefix("parameter").filter(|name| name.starts_with('/'));
        let (Some(parameter), true, true) = (parameter, word(partition), word(region)) else {
            return Err(Malformed::BadArn);
        };
        let name = Self::parse_plain(parameter)?;
        match account {
            // Secrets have ARNs of their own service, and rules of their own.
            _ if parameter[1..].starts_with(REFERENCE) => Err(Malformed::BadArn),
            _ if is_account || account.is_empty() => {
                let region_start = "arn:".len() + partition.len() + ":ssm:".len();
                let region = region_start..region_start + region.len();
                let account = region.end + 1..region.end + 1 + account.len();
                let kind = NameKind::Arn { region, account, parameter: name.full };
                Ok(Self { full: text.to_owned(), kind })
            }
            _ => Err(Malformed::BadArn),
        }
    }

    /// The name with its version or label, in the form that SSM accepts.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The name as a path below a route: with a leading slash. One parameter has one such path.
    pub fn path(&self) -> Cow<'_, str> {
        match self.kind {
            NameKind::Arn { .. } => format!("/{}", self.full).into(),
            NameKind::Plain { .. } | NameKind::SecretReference => self.full.as_str().into(),
        }
    }

    /// The name without its version or label. For an ARN, this is the name within its account.
    pub fn bare(&self) -> &str {
        match &self.kind {
            NameKind::Plain { length } => &self.full[..*length],
            NameKind::SecretReference => before_colon(&self.full),
            NameKind::Arn { parameter, .. } => before_colon(parameter),
        }
    }

    /// The requested version or label of a plain name.
    pub fn selector(&self) -> Option<&str> {
        match self.kind {
            NameKind::Plain { length } => self.full.get(length + 1..),
            NameKind::SecretReference | NameKind::Arn { .. } => None,
        }
    }

    /// Whether `GetParameters` may read this name together with others. It rejects a call with two
    /// versions of one parameter, it reports some secrets as unknown names, and its response names
    /// a parameter of another account like one of this account.
    pub fn can_join_batch(&self) -> bool {
        matches!(self.kind, NameKind::Plain { .. }) && self.selector().is_none()
    }

    /// Whether the name is a reference to a secret, which only decryption can read.
    pub fn is_secret_reference(&self) -> bool {
        self.kind == NameKind::SecretReference
    }

    /// The region of an ARN.
    pub fn region(&self) -> Option<&str> {
        match &self.kind {
            NameKind::Arn { region, .. } => self.full.get(region.clone()),
            NameKind::Plain { .. } | NameKind::SecretReference => None,
        }
    }

    /// The account of an ARN: empty for a public parameter, which AWS owns.
    pub fn account(&self) -> Option<&str> {
        match &self.kind {
            NameKind::Arn { account, .. } => self.full.get(account.clone()),
            NameKind::Plain { .. } | NameKind::SecretReference => None,
        }
    }

    /// The plain name of an ARN, which means the same within the ARN's account.
    #[must_use]
    pub fn within_account(self) -> Self {
        match self.kind {
            NameKind::Arn { parameter, .. } => {
                let length = before_colon(&parameter).len();
                Self { full: parameter, kind: NameKind::Plain { length } }
            }
            NameKind::Plain { .. } | NameKind::SecretReference => self,
        }
    }
}

fn before_colon(text: &str) -> &str {
    text.split_once(':').map_or(text, |(name, _)| name)
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

/// The part of Parameter Store that this service may show: some paths with everything below them,
/// and some paths of other accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    paths: Vec<ParameterPath>,
    foreign: Vec<ForeignPath>,
}

/// A path of another account, as an ARN: `arn:aws:ssm:eu-west-2:210987654321:parameter/shared`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ForeignPath(ParameterName);

impl Prefixes {
    /// Whether a parameter of this account may be shown. A name with or without its leading slash
    /// is accepted. A prefix ends at a slash: `/app` allows `/app` and `/app/db`, but not `/apple`.
    pub fn allow(&self, name: &str) -> bool {
        let name = name.strip_prefix('/').unwrap_or(name);
        self.paths.iter().any(|prefix| is_within(name, &prefix.as_str()[1..]))
    }

    /// Whether everything may be shown.
    pub fn allow_everything(&self) -> bool {
        self.paths.iter().any(|prefix| prefix.as_str() == "/")
    }

    /// Whether an ARN among the prefixes, of the same account and region, allows this ARN.
    pub fn allow_arn(&self, name: &ParameterName) -> bool {
        self.foreign.iter().any(|ForeignPath(prefix)| {
            (prefix.region(), prefix.account()) == (name.region(), name.account())
                && is_within(name.bare(), prefix.bare())
        })
    }

    /// Whether an ARN of another account may be shown. The prefix `/` allows it, and so does an ARN.
    /// A path does not, because it means this account.
    pub fn allow_foreign(&self, name: &ParameterName) -> bool {
        self.allow_everything() || self.allow_arn(name)
    }

    /// Whether anything below this path may be shown: the path is allowed, or an allowed path lies
    /// below it.
    pub fn allow_some_below(&self, path: &ParameterPath) -> bool {
        self.allow(path.as_str()) || self.paths.iter().any(|prefix| path.holds(prefix.as_str()))
    }
}

/// Whether a name is a prefix or lies below it. An empty prefix is the root.
fn is_within(name: &str, prefix: &str) -> bool {
    prefix.is_empty()
        || name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Parses comma-separated paths, each with its leading slash, and ARNs of paths.
impl FromStr for Prefixes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut prefixes = Self { paths: Vec::new(), foreign: Vec::new() };
        for prefix in text.split(',').map(str::trim) {
            let invalid = |reason| format!("the prefix '{prefix}' is invalid: {reason}");
            if prefix.starts_with("arn:") {
                let name = ParameterName::parse(prefix.strip_suffix('/').unwrap_or(prefix));
                let name = name.map_err(&invalid)?;
                if name.account().unwrap_or_default().is_empty()
                    || name.as_str().matches(':').count() > 5
                {
                    return Err(invalid(Malformed::BadArn));
                }
                prefixes.foreign.push(ForeignPath(name));
            } else if prefix.starts_with('/') {
                prefixes.paths.push(ParameterPath::parse(prefix).map_err(invalid)?);
            } else {
                return Err(format!("the prefix '{prefix}' must begin with / or be an ARN"));
            }
        }
        Ok(prefixes)
    }
}

impl fmt::Display for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.paths.iter().map(ParameterPath::as_str);
        let foreign = self.foreign.iter().map(|ForeignPath(name)| name.as_str());
        for (index, prefix) in paths.chain(foreign).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{prefix}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
