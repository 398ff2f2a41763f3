//! Places: how a location is written, what covers it, and what it must not touch.

use crate::reply::Refusal;
use crate::state::{Location, State};

/// A location as it is compared: without a slash at its end; `file:/x` is `file:///x`, `s3a` is `s3`.
pub(crate) fn clean(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    if let Some(path) = url.strip_prefix("file:") {
        return format!("file:///{}", path.trim_start_matches('/'));
    }
    match url.strip_prefix("s3a://") {
        Some(rest) => format!("s3://{rest}"),
        None => url.to_owned(),
    }
}

/// Whether `path` is `root` or stands in it.
pub(crate) fn is_within(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl State {
    /// The external location that covers a path: the one with the longest address.
    pub(crate) fn covering(&self, path: &str) -> Option<&Location> {
        let covers = self.locations.values().filter(|location| is_within(path, &location.url));
        covers.max_by_key(|location| location.url.len())
    }

    /// The external location of a path.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn require_location(&self, path: &str) -> Result<&Location, Refusal> {
        self.covering(path).ok_or_else(|| {
            Refusal::new(
                400,
                "NO_PARENT_EXTERNAL_LOCATION_FOR_PATH",
                format!(
                    "No parent external location was found for path '{path}'. Please create an external location on \
                         one of the parent paths and then retry the query or command again."
                ),
            )
        })
    }

    /// # Errors
    /// Another table or volume, or managed storage, stands at, above or below the path.
    pub(crate) fn require_free(&self, path: &str) -> Result<(), Refusal> {
        let overlaps = |other: &str| is_within(path, other) || is_within(other, path);
        let tables = self.tables.values().filter_map(|table| Some(("table", table.location.as_deref()?)));
        let volumes = self.volumes.values().map(|volume| ("volume", volume.location.as_str()));
        let catalogs =
            self.catalogs.values().filter_map(|catalog| Some(("managed storage", catalog.storage_root.as_deref()?)));
        let schemas =
            self.schemas.values().filter_map(|schema| Some(("managed storage", schema.storage_root.as_deref()?)));
        let metastore = self.setup.metastore_root.as_deref().map(|root| ("managed storage", root));
        let mut all = tables.chain(volumes).chain(catalogs).chain(schemas).chain(metastore);
        match all.find(|(_, other)| overlaps(other)) {
            None => Ok(()),
            Some((kind, other)) => Err(Refusal::new(
                400,
                "INVALID_PARAMETER_VALUE.LOCATION_OVERLAP",
                format!(
                    "LOCATION_OVERLAP: Input path url '{path}' overlaps with {kind} at '{other}' within \
                     'CreateTable' call."
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_however_it_is_written() {
        assert_eq!(clean("s3a://bucket/lake/"), "s3://bucket/lake");
        assert_eq!(clean("file:/tmp/lake/"), clean("file:///tmp/lake"));
    }

    #[test]
    fn a_neighbour_with_a_longer_name_is_not_within() {
        assert!(is_within("s3://b/lake/t", "s3://b/lake"));
        assert!(is_within("s3://b/lake", "s3://b/lake"));
        assert!(!is_within("s3://b/lakes", "s3://b/lake"));
    }
}
