//! Page tokens.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};

/// The token of the next page: the last parameter of a page, as its position in the list and its
/// name. Any replica can continue from it, also after a change of the list: the name decides, and
/// the position is where it probably stands.
///
/// Clients see an opaque text. It holds no more than the page before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// The position of the last parameter, as its list counts.
    pub position: usize,
    /// The name of the last parameter.
    pub name: String,
}

impl PageToken {
    /// Writes the token.
    pub fn encode(&self) -> String {
        BASE64.encode(format!("{}:{}", self.position, self.name))
    }

    /// Reads a token. Returns `None` for any text that [`encode`](Self::encode) does not write.
    pub fn decode(token: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64.decode(token).ok()?).ok()?;
        let (position, name) = text.split_once(':')?;
        let decoded = Self { position: position.parse().ok()?, name: name.to_owned() };
        // `parse` also accepts a sign and leading zeros.
        (decoded.encode() == token).then_some(decoded)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_means_what_was_written_and_no_other_text_is_one(
            position in any::<usize>(),
            name in "\\PC{0,30}",
            text in "[A-Za-z0-9_=+/-]{0,20}",
        ) {
            let token = PageToken { position, name };
            prop_assert_eq!(PageToken::decode(&token.encode()), Some(token));
            if let Some(token) = PageToken::decode(&text) {
                prop_assert_eq!(token.encode(), text);
            }
        }
    }

    #[test]
    fn other_texts_are_no_tokens() {
        for text in ["", "10", "MQ", "Kzk6YQ", "MTph==", "\u{e9}"] {
            assert_eq!(PageToken::decode(text), None, "{text}");
        }
    }
}
