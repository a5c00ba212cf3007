//! The representations of entries in AWS's own protocol.
//!
//! They are made of the body of the plain route and of its annotation. A value keeps its spelling in
//! JSON, so it is neither parsed nor copied besides the copy in the response. A page costs as much as
//! its parameters, however long its list is.

use std::{borrow::Cow, collections::BTreeMap};

use cache::{CachedBody, Served};
use serde::Deserialize;
use serde_json::value::RawValue;
use service::contract::{
    problem::AwsError,
    ssm::{
        self, DescribeParameters, Filter, GetParametersByPath, PageToken, invalid_next_token,
        object_with_value,
    },
};

use super::{Facts, annotation, object_text};
use crate::parameter::Parameter;

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

/// Returns the annotation of the body of `/values`: the position of each value in the body, and the
/// facts of its parameter.
pub(super) fn path_lines(body: &CachedBody, parameters: &[&Parameter]) -> String {
    #[derive(Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        values: BTreeMap<Cow<'a, str>, &'a RawValue>,
    }

    let bytes = body.bytes();
    let stored: Stored<'_> = serde_json::from_slice(bytes).expect("the body of /values");
    let lines = parameters.iter().map(|parameter| {
        let value = stored.values[parameter.name.as_str()].get();
        let position = value.as_ptr().addr() - bytes.as_ptr().addr();
        format!("{position} {}", object_text(&Facts::of(parameter)))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the value at a position of the body of `/values`.
fn value_at(body: &CachedBody, position: usize) -> &RawValue {
    let rest = serde_json::Deserializer::from_slice(&body.bytes()[position..]);
    let value = rest.into_iter().next().expect("each line has the position of a value");
    value.expect("a value is JSON")
}

/// Returns the facts of the parameters of an entry, an object each.
pub(crate) fn fact_lines(body: &CachedBody) -> impl Iterator<Item = &str> {
    List::of(body, &[]).lines(0).map(|line| line.facts)
}

/// Returns the name in the facts of a parameter.
pub(crate) fn name_of(facts: &str) -> Cow<'_, str> {
    head(facts).name
}

/// Whether some SecureStrings below a path are left out of a response of `/values`. Their names are
/// the last member of its body.
pub(crate) fn has_omissions(served: &Served) -> bool {
    !served.body().bytes().ends_with(br#","omitted":[]}"#)
}

/// Converts a response of `/values` to a page of `GetParametersByPath`.
///
/// # Errors
///
/// The token is of another list.
pub(crate) fn path_page(served: Served, request: &GetParametersByPath) -> Result<Served, AwsError> {
    let body = {
        let body = served.body();
        let list = List::of(body, &request.parameter_filters);
        let page = list.page(request.next_token.as_ref(), request.max_results)?;
        let objects: Vec<_> = page
            .lines
            .into_iter()
            .map(|line| {
                let position = line.value_at.expect("each line of a path has a position");
                let mut parts = Vec::new();
                object_with_value(line.facts, value_at(body, position), &mut parts);
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
        let objects: Vec<_> = page.lines.into_iter().map(|line| vec![line.facts]).collect();
        ssm::page(&objects, page.next_token.as_deref(), false)
    };
    Ok(served.represented_by(body))
}

/// A line of an annotation.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// The position of the line in the annotation.
    position: usize,
    /// The position of the value in the body, in the entry of a path.
    value_at: Option<usize>,
    /// The facts of a parameter: an object.
    facts: &'a str,
}

impl<'a> Line<'a> {
    fn new(position: usize, text: &'a str) -> Self {
        let (value_at, facts) = text.split_at(text.find('{').expect("each line has an object"));
        Self { position, value_at: value_at.trim_end().parse().ok(), facts }
    }

    fn head(&self) -> Head<'a> {
        head(self.facts)
    }
}

fn head(facts: &str) -> Head<'_> {
    serde_json::from_str(facts).expect("the facts of one parameter")
}

/// The facts of a parameter that decide whether it is on a page.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "Name", borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "Type", borrow, default)]
    kind: Cow<'a, str>,
}

/// A page of a list, and the token of the next one if there is one.
struct Page<'a> {
    lines: Vec<Line<'a>>,
    next_token: Option<String>,
}

/// A list of parameters: the facts of each, one a line.
struct List<'a, 'f> {
    text: &'a str,
    filters: &'f [Filter],
}

impl<'a, 'f> List<'a, 'f> {
    fn of(body: &'a CachedBody, filters: &'f [Filter]) -> Self {
        Self { text: annotation(body), filters }
    }

    fn page(&self, token: Option<&PageToken>, size: usize) -> Result<Page<'a>, AwsError> {
        let mut lines = self.lines(0);
        if let Some(token) = token {
            lines = self.lines(self.position_of(token)?);
            // The line of the token itself was on the page before.
            lines.next();
        }
        let mut matching = lines.filter(|line| self.passes(line));
        let page: Vec<_> = matching.by_ref().take(size).collect();
        let next_token = page.last().filter(|_| matching.next().is_some()).map(|last| {
            let (position, name) = (last.position, last.head().name.into_owned());
            PageToken { position, name }.encode()
        });
        Ok(Page { lines: page, next_token })
    }

    /// The lines from a position on, which is the beginning of one.
    fn lines(&self, from: usize) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let mut position = from;
        self.text[from..].split_inclusive('\n').map(move |text| {
            let line = Line::new(position, text.trim_end());
            position += text.len();
            line
        })
    }

    fn passes(&self, line: &Line<'_>) -> bool {
        if self.filters.is_empty() {
            return true;
        }
        let Head { name, kind } = line.head();
        self.filters.iter().all(|filter| filter.matches(&name, &kind))
    }

    /// The position of the parameter that a token names. A list without that parameter may lack
    /// others too, and a client would take those that are skipped for deleted.
    fn position_of(&self, PageToken { position, name }: &PageToken) -> Result<usize, AwsError> {
        let has_name = |line: &Line<'_>| line.head().name == *name;
        let is_beginning =
            self.text.get(..*position).is_some_and(|text| text.is_empty() || text.ends_with('\n'));
        let expected = if is_beginning { self.lines(*position).next() } else { None };
        let found = expected.filter(has_name).or_else(|| self.lines(0).find(has_name));
        found.map(|line| line.position).ok_or_else(invalid_next_token)
    }
}

#[cfg(test)]
mod tests {
    use cache::{Cache, CacheableError, Disposition, Loaded, Mode, Settings, http::Freshness};
    use serde_json::Value;

    use super::*;
    use crate::{
        parameter::{Details, PathValues},
        record::Record,
    };

    fn list(names: &[&str]) -> String {
        let lines = names.iter().map(|name| format!(r#"{{"Name":"{name}","Type":"String"}}"#));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The names of a page of two, and the token of the next one.
    fn page(
        text: &str,
        token: Option<&PageToken>,
    ) -> Result<(Vec<String>, Option<PageToken>), AwsError> {
        let Page { lines, next_token } = List { text, filters: &[] }.page(token, 2)?;
        let names = lines.iter().map(|line| line.head().name.into_owned()).collect();
        Ok((names, next_token.map(|token| PageToken::decode(&token).expect("its own token"))))
    }

    #[test]
    fn pages_follow_each_other_and_the_last_one_has_no_token() {
        let list = list(&["/b", "/a", "/c", "/d"]);
        let (first, next) = page(&list, None).expect("a page");
        assert_eq!(first, ["/b", "/a"]);
        let (second, end) = page(&list, next.as_ref()).expect("a page");
        assert_eq!((second, end), (vec!["/c".to_owned(), "/d".to_owned()], None));
        assert_eq!(page("", None).expect("a page"), (Vec::new(), None));
    }

    #[test]
    fn a_token_continues_after_its_name_in_a_list_that_has_changed() {
        let (_, token) = page(&list(&["/a", "/b", "/c"]), None).expect("a page");
        for (names, expected) in [
            (&["/a", "/b", "/c"][..], "/c"),
            (&["/0", "/a", "/b", "/c"], "/c"),
            (&["/b", "/c"], "/c"),
            (&["/a", "/b"], ""),
        ] {
            let (found, _) = page(&list(names), token.as_ref()).expect("a page");
            assert_eq!(found.join(" "), expected, "{names:?}");
        }
    }

    #[test]
    fn a_token_whose_name_is_gone_is_refused_because_a_page_could_skip_others() {
        let token = PageToken { position: 1, name: "/b".to_owned() };
        for names in [&["/a", "/c", "/d"][..], &["/c", "/d"], &[]] {
            let error = page(&list(names), Some(&token)).expect_err("of another list");
            assert_eq!(error.code, "InvalidNextToken", "{names:?}");
        }
    }

    #[derive(Clone, Debug)]
    struct NoError;

    impl CacheableError for NoError {
        fn disposition(&self) -> Disposition {
            Disposition::Transient
        }

        fn heap_bytes(&self) -> usize {
            0
        }
    }

    /// The body of a path with these parameters.
    fn path(parameters: &[(&str, &str)]) -> CachedBody {
        let parameter = |&(name, value): &(&str, &str)| Parameter {
            name: name.to_owned(),
            value: value.to_owned().into(),
            secure: false,
            details: Details { kind: "String".to_owned(), ..Details::default() },
        };
        let readable = parameters.iter().map(parameter).collect();
        Record::Values(PathValues::readable(readable)).body("1", "/")
    }

    async fn served(body: CachedBody) -> Served {
        let cache = Cache::<NoError>::off(Settings { name: "test", hop: "test", max_bytes: 0 });
        let load = async |_| Ok(Loaded::new(body, Freshness::default()));
        cache.get("key", Mode::Normal, load).await.expect("the load succeeds")
    }

    /// The names and values of a page.
    async fn values(body: CachedBody, size: usize) -> Vec<(String, String)> {
        let request = GetParametersByPath {
            path: "/".to_owned(),
            recursive: true,
            parameter_filters: Vec::new(),
            with_decryption: false,
            max_results: size,
            next_token: None,
        };
        let page = path_page(served(body).await, &request).expect("a page");
        let page: Value = serde_json::from_slice(page.body().bytes()).expect("JSON");
        let text = |member: &Value| member.as_str().expect("a text").to_owned();
        let parameters = page["Parameters"].as_array().expect("a list").iter();
        parameters.map(|found| (text(&found["Name"]), text(&found["Value"]))).collect()
    }

    #[tokio::test]
    async fn each_parameter_of_a_page_has_its_own_value_in_any_spelling() {
        // The last one of a name that AWS repeats is the newest.
        let parameters = [
            ("/b", "{\"values\":{\"/b\":\"\n\"}}"),
            ("/a", "of a page before"),
            ("/c", ""),
            ("/a", "\u{e9}\u{1f600}\\ \","),
            ("plain", "{,\"omitted\":[]}"),
        ];
        let expected = [0, 2, 3, 4].map(|index| parameters[index]);
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(values(path(&parameters), 10).await, expected);
    }

    #[tokio::test]
    async fn a_page_reads_no_other_part_of_the_body() {
        let body = path(&[("/a", "on the page"), ("/b", "not on it")]);
        let text = std::str::from_utf8(body.bytes()).expect("JSON");
        let garbled = text.replace("\"not on it\"", "not JSON!!!").into_bytes();
        assert_ne!(garbled, **body.bytes());
        let garbled = CachedBody::new(CachedBody::JSON, garbled)
            .annotated(body.annotation().expect("the facts"));
        assert!(!has_omissions(&served(garbled.clone()).await));
        assert_eq!(values(garbled, 1).await, [("/a".to_owned(), "on the page".to_owned())]);
    }
}
