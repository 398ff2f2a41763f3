//! Keys as stores announce them, decoded exactly once: each announcement spells them its own way.
//!
//! | announcement | `a b+c=é` is |
//! |---|---|
//! | S3 notification | `a+b%2Bc%3D%C3%A9`, as a form writes it |
//! | EventBridge | `a b+c=é`, as it is |
//! | Event Grid | `a%20b+c=%C3%A9`, the path of a URL: a plus is a plus |
//!
//! A percent sign without two hexadecimal digits behind it stands for itself.

use std::borrow::Cow;

use inlet_core::fault::Fault;
use percent_encoding::percent_decode_str;

use super::content::quoted;

/// The key of an S3 notification.
pub(super) fn of_form(text: &str) -> Result<String, Fault> {
    percent_decoded(&text.replace('+', " "))
}

/// A part of a URL's path.
pub(super) fn of_path(text: &str) -> Result<String, Fault> {
    percent_decoded(text)
}

fn percent_decoded(text: &str) -> Result<String, Fault> {
    let decoded = percent_decode_str(text).decode_utf8().map(Cow::into_owned);
    decoded.map_err(|error| Fault::rejected(format!("the key {} is no UTF-8", quoted(text))).because(error))
}

#[cfg(test)]
mod tests {
    use inlet_core::fault::FaultKind;
    use proptest::prelude::*;

    use super::*;

    fn encoded(key: &str, keep: fn(u8) -> Option<char>) -> String {
        key.bytes().map(|byte| keep(byte).map_or_else(|| format!("%{byte:02X}"), String::from)).collect()
    }

    fn form(byte: u8) -> Option<char> {
        match byte {
            b' ' => Some('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => Some(char::from(byte)),
            _ => None,
        }
    }

    fn path(byte: u8) -> Option<char> {
        matches!(byte, b'!'..=b'~').then_some(char::from(byte)).filter(|letter| !"%?#\"<>[]\\^`{|}".contains(*letter))
    }

    #[test]
    fn each_spelling_is_decoded_once() {
        for (text, as_form, as_path) in [
            ("a+b", "a b", "a+b"),
            ("a%2Bb", "a+b", "a+b"),
            ("a%20b", "a b", "a b"),
            ("a%2520b", "a%20b", "a%20b"),
            ("part%3D0/%C3%A9.gz", "part=0/é.gz", "part=0/é.gz"),
            ("100%.gz", "100%.gz", "100%.gz"),
            ("%+5%zz%", "% 5%zz%", "%+5%zz%"),
        ] {
            assert_eq!(of_form(text).unwrap(), as_form, "{text}");
            assert_eq!(of_path(text).unwrap(), as_path, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused() {
        for decode in [of_form, of_path] {
            let fault = decode("a/%FF%FE.gz").unwrap_err();
            assert_eq!(fault.kind(), FaultKind::Rejected);
            assert_eq!(fault.to_string(), "the key `a/%FF%FE.gz` is no UTF-8");
        }
    }

    proptest! {
        #[test]
        fn any_key_comes_back(key in any::<String>()) {
            prop_assert_eq!(&of_form(&encoded(&key, form)).unwrap(), &key);
            prop_assert_eq!(&of_path(&encoded(&key, path)).unwrap(), &key);
        }
    }
}
