//! The names and paths of `WARM_UP`, which are loaded at the start and kept fresh.

use std::{fmt, str::FromStr, sync::Arc};

use crate::name::{Malformed, ParameterName, ParameterPath, Prefixes};

/// The names and paths of a warm-up. Cloning is shallow.
#[derive(Clone, Debug, Default)]
pub struct WarmUp(Arc<[Item]>);

/// One entry that is kept fresh.
#[derive(Clone, Debug)]
pub enum Item {
    Name(ParameterName),
    Path(ParameterPath),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Path(path) => write!(f, "{}/", path.as_str().trim_end_matches('/')),
        }
    }
}

/// Parses comma-separated names and paths. A path ends with a slash.
impl FromStr for WarmUp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |item: &str| {
            let parsed = match item.ends_with('/') {
                true => ParameterPath::parse(item).map(Item::Path),
                false => ParameterName::parse(item).map(Item::Name),
            };
            parsed.map_err(|reason: Malformed| format!("'{item}' is invalid: {reason}"))
        };
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse);
        items.collect::<Result<_, _>>().map(Self)
    }
}

impl WarmUp {
    /// Returns the names and paths.
    pub fn items(&self) -> &[Item] {
        &self.0
    }

    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that the service may show each name and some of each path.
    ///
    /// # Errors
    ///
    /// The first item outside the prefixes.
    pub fn check(&self, prefixes: &Prefixes) -> Result<(), String> {
        let allowed = |item: &&Item| match item {
            // The account of this service is unknown here, so a path allows no ARN.
            Item::Name(name) if name.account().is_some() => prefixes.allow_foreign(name),
            Item::Name(name) => prefixes.allow(name.bare()),
            Item::Path(path) => prefixes.allow_some_below(path),
        };
        match self.0.iter().find(|item| !allowed(item)) {
            Some(item) => Err(format!(
                "--warm-up names {item}, which is outside --parameter-prefixes ({prefixes}); remove it, or add it to the prefixes"
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_with_a_slash_at_its_end_is_a_path() {
        let warm_up: WarmUp = "/app/, /shared/db,".parse().expect("valid");
        let items: Vec<_> = warm_up.0.iter().map(ToString::to_string).collect();
        assert_eq!(items, ["/app/", "/shared/db"]);
        assert!(matches!(warm_up.0[0], Item::Path(_)) && matches!(warm_up.0[1], Item::Name(_)));
        assert!("".parse::<WarmUp>().expect("valid").is_empty());
    }

    #[test]
    fn a_malformed_item_is_named() {
        let reason = "/app/,a b".parse::<WarmUp>().expect_err("a space");
        assert!(reason.starts_with("'a b' is invalid"), "{reason}");
    }

    #[test]
    fn an_item_outside_the_prefixes_is_named() {
        let prefixes: Prefixes = "/app,/shared/db".parse().expect("valid");
        for (items, outside) in [
            ("/app/,/shared/db,/app/key", None),
            ("/shared/", None),
            ("/app/,/other/key", Some("/other/key")),
            ("/other/", Some("/other/")),
            ("arn:aws:ssm:eu-west-2:210987654321:parameter/other/key", Some("arn:aws:ssm")),
            ("arn:aws:ssm:eu-west-2:210987654321:parameter/app/key", Some("arn:aws:ssm")),
        ] {
            let checked = items.parse::<WarmUp>().expect("valid").check(&prefixes);
            match outside {
                None => assert_eq!(checked, Ok(()), "{items}"),
                Some(item) => assert!(checked.expect_err(items).contains(item), "{items}"),
            }
        }
    }
}
