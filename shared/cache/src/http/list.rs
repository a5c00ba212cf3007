//! Comma-separated lists in header fields (RFC 9110, 5.6.1).

use http::{HeaderMap, HeaderName};

/// The meaning of a backslash between quotes. It escapes the next character in a quoted string, but
/// not in an entity tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    Escapes,
    Verbatim,
}

/// Returns the trimmed members of all lines of a field, without empty ones.
pub(super) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    quoting: Quoting,
) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(move |line| members_of(line.as_bytes(), quoting))
}

/// Returns the trimmed members of one line, without empty ones.
pub(super) fn members_of(line: &[u8], quoting: Quoting) -> impl Iterator<Item = &[u8]> {
    let members = Members { rest: line, quoting }.map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

struct Members<'a> {
    rest: &'a [u8],
    quoting: Quoting,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        // Nearly all members have no quotes, so the next comma ends them.
        let special = self.rest.iter().position(|byte| matches!(byte, b',' | b'"'));
        match special {
            Some(at) if self.rest[at] == b'"' => {}
            at => return Some(self.split(at)),
        }
        let (mut quoted, mut escaped) = (false, false);
        let comma = self.rest.iter().position(|&byte| {
            if escaped {
                escaped = false;
            } else if byte == b'"' {
                quoted = !quoted;
            } else if byte == b'\\' && quoted {
                escaped = self.quoting == Quoting::Escapes;
            }
            byte == b',' && !quoted
        });
        Some(self.split(comma))
    }
}

impl<'a> Members<'a> {
    fn split(&mut self, comma: Option<usize>) -> &'a [u8] {
        let (member, rest) = match comma {
            Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        member
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::VARY};

    use super::*;

    fn split(line: &'static str, quoting: Quoting) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(VARY, HeaderValue::from_static(line));
        members(&headers, &VARY, quoting)
            .map(|member| String::from_utf8_lossy(member).into_owned())
            .collect()
    }

    #[test]
    fn a_comma_inside_quotes_separates_nothing() {
        assert_eq!(split(r#" a ,, "b,c" , d"#, Quoting::Verbatim), ["a", r#""b,c""#, "d"]);
    }

    #[test]
    fn a_backslash_hides_a_quote_only_where_strings_know_escapes() {
        assert_eq!(split(r#""a\",b",c"#, Quoting::Escapes), [r#""a\",b""#, "c"]);
        assert_eq!(split(r#""a\",b"#, Quoting::Verbatim), [r#""a\""#, "b"]);
    }

    #[test]
    fn all_lines_of_a_field_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(VARY, HeaderValue::from_static("a"));
        headers.append(VARY, HeaderValue::from_static("b,c"));
        assert_eq!(members(&headers, &VARY, Quoting::Verbatim).count(), 3);
    }
}
