//! The URL of the queue of changes.

use std::{fmt, str::FromStr};

use url::Url;

/// The longest name of a queue, in characters.
const MAX_NAME_LENGTH: usize = 80;

/// A URL of an SQS queue: `https://sqs.eu-west-2.amazonaws.com/123456789012/changes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrl(String);

impl QueueUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Keeps the text as it is: SQS compares it with the URL of the queue.
impl FromStr for QueueUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_queue_url(text) {
            return Ok(Self(text.to_owned()));
        }
        Err("write the URL of a queue, like https://sqs.eu-west-2.amazonaws.com/123456789012/changes".to_owned())
    }
}

fn is_queue_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    // The parser ignores spaces and line breaks that SQS would not ignore.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic())
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let mut segments = url.path_segments().into_iter().flatten();
    let (account, name) = (segments.next(), segments.next());
    let is_account =
        |account: &str| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |name: &str| {
        let name = name.strip_suffix(".fifo").unwrap_or(name);
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=MAX_NAME_LENGTH).contains(&name.len()) && name.bytes().all(valid)
    };
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && is_plain
        && account.is_some_and(is_account)
        && name.is_some_and(is_name)
        && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_queue_is_kept_as_it_is() {
        for text in [
            "https://sqs.eu-west-2.amazonaws.com/123456789012/changes",
            "https://sqs.eu-west-2.amazonaws.com/123456789012/changes.fifo",
            "https://vpce-0a.sqs.eu-west-2.vpce.amazonaws.com/123456789012/a-b_C",
            "http://127.0.0.1:4566/000000000000/q",
            "HTTP://localhost:4566/000000000000/q",
        ] {
            let url = text.parse::<QueueUrl>().unwrap_or_else(|reason| panic!("{text}: {reason}"));
            assert_eq!((url.as_str(), url.to_string()), (text, text.to_owned()));
        }
    }

    #[test]
    fn a_text_that_is_no_url_of_a_queue_is_refused() {
        for text in [
            "",
            "changes",
            "arn:aws:sqs:eu-west-2:123456789012:changes",
            "sqs.eu-west-2.amazonaws.com/123456789012/changes",
            "ftp://sqs.eu-west-2.amazonaws.com/123456789012/changes",
            "https:///123456789012/changes",
            "https://sqs.eu-west-2.amazonaws.com",
            "https://sqs.eu-west-2.amazonaws.com/",
            "https://sqs.eu-west-2.amazonaws.com/changes",
            "https://sqs.eu-west-2.amazonaws.com/123456789012",
            "https://sqs.eu-west-2.amazonaws.com/123456789012/",
            "https://sqs.eu-west-2.amazonaws.com/123456789012/changes/",
            "https://sqs.eu-west-2.amazonaws.com/12345/changes",
            "https://sqs.eu-west-2.amazonaws.com/12345678901x/changes",
            "https://sqs.eu-west-2.amazonaws.com/123456789012/chan ges",
            "https://sqs.eu-west-2.amazonaws.com/123456789012/changes\n",
            " https://sqs.eu-west-2.amazonaws.com/123456789012/changes",
            "https://sqs.eu-west-2.amazonaws.com/123456789012/changes?Action=x",
            "https://sqs.eu-west-2.amazonaws.com/123456789012/changes#x",
            "https://me:hush@sqs.eu-west-2.amazonaws.com/123456789012/changes",
        ] {
            assert!(text.parse::<QueueUrl>().is_err(), "{text}");
        }
        let name = |length| format!("https://a/123456789012/{}", "x".repeat(length));
        assert!(name(MAX_NAME_LENGTH).parse::<QueueUrl>().is_ok());
        assert!(name(MAX_NAME_LENGTH + 1).parse::<QueueUrl>().is_err());
    }
}
