//! The representations of entries in AWS's own protocol.
//!
//! They are made of the body of the plain route and of its annotation. A value keeps its spelling in
//! JSON, so it is neither parsed nor copied besides the copy in the response.

use std::{borrow::Cow, collections::BTreeMap};

use cache::{CachedBody, Served};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use service::contract::{
    problem::AwsError,
    ssm::{
        self, DescribeParameters, Filter, GetParametersByPath, PageToken, invalid_next_token,
        object_with_value,
    },
};

use super::annotation;

/// Converts a response of `/param` to the response of `GetParameter`.
pub(crate) fn parameter(served: Served) -> Served {
    let mut parts = Vec::new();
    push_parameter(served.body(), &mut parts);
    let body = ssm::parameter(&parts, served.body().is_confidential());
    served.represented_by(body)
}

/// Builds the body of `GetParameters` of responses of `/param`.
pub(crate) fn parameters(found: &[Served], invalid: &[&str]) -> CachedBody {
    let objects: Vec<_> = found
        .iter()
        .map(|served| {
            let mut parts = Vec::new();
            push_parameter(served.body(), &mut parts);
            parts
        })
        .collect();
    let confidential = found.iter().any(|served| served.body().is_confidential());
    ssm::parameters(&objects, invalid, confidential)
}

fn push_parameter<'a>(body: &'a CachedBody, parts: &mut Vec<&'a str>) {
    #[derive(Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
    }

    let stored: Stored<'_> = serde_json::from_slice(body.bytes()).expect("the body of /param");
    object_with_value(annotation(body), stored.value, parts);
}

/// The parts of the body of `/values` that AWS's protocol needs.
#[derive(Deserialize)]
struct StoredPath<'a> {
    #[serde(borrow)]
    values: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

impl<'a> StoredPath<'a> {
    fn of(body: &'a CachedBody) -> Self {
        serde_json::from_slice(body.bytes()).expect("the body of /values")
    }
}

/// Whether some SecureStrings below a path are left out of a response of `/values`.
pub(crate) fn has_omissions(served: &Served) -> bool {
    #[derive(Deserialize)]
    struct Stored {
        omitted: Vec<IgnoredAny>,
    }

    let stored: Stored = serde_json::from_slice(served.body().bytes()).expect("a body of /values");
    !stored.omitted.is_empty()
}

/// Converts a response of `/values` to a page of `GetParametersByPath`.
///
/// # Errors
///
/// The token is of another list.
pub(crate) fn path_page(served: Served, request: &GetParametersByPath) -> Result<Served, AwsError> {
    let body = {
        let body = served.body();
        let values = StoredPath::of(body).values;
        let list = List::of(body, &request.parameter_filters);
        let page = list.page(request.next_token.as_ref(), request.max_results)?;
        let objects: Vec<_> = page
            .lines
            .into_iter()
            .map(|facts| {
                let value = values.get(&Head::of(facts).name).expect("each line has a value");
                let mut parts = Vec::new();
                object_with_value(facts, value, &mut parts);
                parts
            })
            .collect();
        ssm::page(&objects, page.next_token.as_deref(), body.is_confidential())
    };
    Ok(served.represented_by(body))
}

/// Converts a response of `/params` to a page of `DescribeParameters`.
///
/// # Errors
///
/// The token is of another list.
pub(crate) fn description_page(
    served: Served,
    request: &DescribeParameters,
) -> Result<Served, AwsError> {
    let body = {
        let list = List::of(served.body(), &request.parameter_filters);
        let page = list.page(request.next_token.as_ref(), request.max_results)?;
        let objects: Vec<_> = page.lines.into_iter().map(|facts| vec![facts]).collect();
        ssm::page(&objects, page.next_token.as_deref(), false)
    };
    Ok(served.represented_by(body))
}

/// The members of a line that decide whether it is on a page.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "Name", borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "Type", borrow, default)]
    kind: Cow<'a, str>,
}

impl<'a> Head<'a> {
    fn of(line: &'a str) -> Self {
        serde_json::from_str(line).expect("the facts of one parameter")
    }
}

/// A page of a list, and the token of the next one if there is one.
struct Page<'a> {
    lines: Vec<&'a str>,
    next_token: Option<String>,
}

/// A list of parameters: the facts of each.
struct List<'a, 'f> {
    lines: Vec<&'a str>,
    filters: &'f [Filter],
}

impl<'a, 'f> List<'a, 'f> {
    fn of(body: &'a CachedBody, filters: &'f [Filter]) -> Self {
        Self { lines: annotation(body).lines().collect(), filters }
    }

    fn page(&self, token: Option<&PageToken>, size: usize) -> Result<Page<'a>, AwsError> {
        let start = token.map_or(Ok(0), |token| self.position_after(token))?;
        let mut matching = (start..self.lines.len()).filter(|&at| self.passes(self.lines[at]));
        let page: Vec<_> = matching.by_ref().take(size).collect();
        let next_token = page.last().filter(|_| matching.next().is_some()).map(|&position| {
            let name = Head::of(self.lines[position]).name.into_owned();
            PageToken { position, name }.encode()
        });
        Ok(Page { lines: page.into_iter().map(|at| self.lines[at]).collect(), next_token })
    }

    fn passes(&self, line: &str) -> bool {
        if self.filters.is_empty() {
            return true;
        }
        let Head { name, kind } = Head::of(line);
        self.filters.iter().all(|filter| filter.matches(&name, &kind))
    }

    /// The position after the parameter that a token names. A list without that parameter has no
    /// such position: it may lack others too, and a client would take those that are skipped for
    /// deleted.
    fn position_after(&self, PageToken { position, name }: &PageToken) -> Result<usize, AwsError> {
        let has_name = |line: &str| Head::of(line).name == *name;
        if self.lines.get(*position).is_some_and(|line| has_name(line)) {
            return Ok(position + 1);
        }
        let found = self.lines.iter().position(|line| has_name(line));
        found.map(|found| found + 1).ok_or_else(invalid_next_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!(r#"{{"Name":"{name}","Type":"String"}}"#)).collect()
    }

    /// The names of a page of two, and the token of the next one.
    fn page(
        lines: &[String],
        token: Option<&PageToken>,
    ) -> Result<(Vec<String>, Option<PageToken>), AwsError> {
        let list = List { lines: lines.iter().map(String::as_str).collect(), filters: &[] };
        let Page { lines, next_token } = list.page(token, 2)?;
        let names = lines.iter().map(|line| Head::of(line).name.into_owned()).collect();
        Ok((names, next_token.map(|token| PageToken::decode(&token).expect("its own token"))))
    }

    #[test]
    fn pages_follow_each_other_and_the_last_one_has_no_token() {
        let list = lines(&["/b", "/a", "/c", "/d"]);
        let (first, next) = page(&list, None).expect("a page");
        assert_eq!(first, ["/b", "/a"]);
        let (second, end) = page(&list, next.as_ref()).expect("a page");
        assert_eq!((second, end), (vec!["/c".to_owned(), "/d".to_owned()], None));
        assert_eq!(page(&[], None).expect("a page"), (Vec::new(), None));
    }

    #[test]
    fn a_token_continues_after_its_name_in_a_list_that_has_changed() {
        let token = PageToken { position: 1, name: "/b".to_owned() };
        for (names, expected) in [
            (&["/a", "/b", "/c"][..], "/c"),
            (&["/0", "/a", "/b", "/c"], "/c"),
            (&["/b", "/c"], "/c"),
            (&["/a", "/b"], ""),
        ] {
            let (found, _) = page(&lines(names), Some(&token)).expect("a page");
            assert_eq!(found.join(" "), expected, "{names:?}");
        }
    }

    #[test]
    fn a_token_whose_name_is_gone_is_refused_because_a_page_could_skip_others() {
        let token = PageToken { position: 1, name: "/b".to_owned() };
        for names in [&["/a", "/c", "/d"][..], &["/c", "/d"], &[]] {
            let error = page(&lines(names), Some(&token)).expect_err("of another list");
            assert_eq!(error.code, "InvalidNextToken", "{names:?}");
        }
    }
}
