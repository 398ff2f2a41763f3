//! What lies among uploads and is none.

/// Segment writes it when somebody presses "Validate".
pub(crate) const PLACEHOLDER: &str = "dummy-object.txt";

/// Segment's placeholder; names that begin with a dot belong to systems.
pub(crate) fn by_name(name: &[u8]) -> bool {
    name.starts_with(b".") || name == PLACEHOLDER.as_bytes()
}

/// The same for a key below a prefix: a hidden folder hides all below it. A key that ends with a slash is a marker.
pub(crate) fn by_key(below: &str) -> bool {
    below.ends_with('/') || below.split('/').any(|part| by_name(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_markers_and_the_dummy_are_skipped() {
        for key in [".hidden", "a/.b/c.gz", "dummy-object.txt", "segment-logs/dummy-object.txt", "a/"] {
            assert!(by_key(key), "{key}");
        }
        assert!(!by_key("a/b.c.gz") && !by_key("my-dummy-object.txt"));
    }
}
