//! The page itself: one file, compiled in, and what a browser may do with it.

use std::fmt::Write;

use axum::http::{HeaderName, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The whole page: no other file, no other host.
pub(super) const PAGE: &str = include_str!("page.html");

/// Headers of every answer.
pub(super) const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What the page may load and run: its own style and script, by their hashes, and answers of this server.
pub(super) fn policy() -> String {
    let mut policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      img-src data:; connect-src 'self'"
        .to_owned();
    for (directive, tag) in [("style-src", "style"), ("script-src", "script")] {
        let hash = STANDARD.encode(Sha256::digest(within(tag)));
        // Writing to a text cannot fail.
        write!(policy, "; {directive} 'sha256-{hash}'").unwrap_or_default();
    }
    policy
}

/// The text of the page's only element with this tag.
fn within(tag: &str) -> &'static str {
    let (_, from) = PAGE.split_once(&format!("<{tag}>")).unwrap_or_default();
    from.split_once(&format!("</{tag}>")).unwrap_or_default().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_file_with_one_style_and_one_script() {
        for tag in ["style", "script"] {
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1);
            assert!(within(tag).len() > 1_000, "{tag}");
        }
        // A style or a handler in an element would not be run.
        for forbidden in [" style=", " onclick=", " onload=", "innerHTML", "src=\"", "@import", "url("] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn its_policy_lets_nothing_else_in() {
        let policy = policy();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
