//! Managed storage of a catalog or schema: external tables may not lie in it, so neither may the lake.

use super::catalog::is_within;
use crate::fault::Fault;

/// Refuses a lake that overlaps with managed storage: its root, as its owner wrote it, and its location, with what Unity
/// Catalog added. `whose` names the catalog or schema that keeps its managed tables there.
///
/// # Errors
/// Setup when they overlap.
pub(crate) fn refuse_overlap(
    lake: &str,
    whose: &str,
    (root, location): (Option<&str>, Option<&str>),
) -> Result<(), Fault> {
    let refused = |managed: &str| {
        Err(Fault::setup(format!("the lake {lake} and the managed storage of {whose} ({managed}) overlap"))
            .hint("give the lake a folder of its own beside it: external tables may not lie in managed storage"))
    };
    if lake.contains("__unitystorage") {
        return refused(lake);
    }
    for managed in [root, location].into_iter().flatten() {
        // Beside `__unitystorage`, below the root, is fine; the root itself is not, nor what is in the location.
        let is_inside = location == Some(managed) && root != Some(managed) && is_within(lake, managed);
        if is_inside || is_within(managed, lake) {
            return refused(managed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lake_lies_beside_managed_storage() {
        let managed = (Some("s3://b/managed"), Some("s3://b/managed/__unitystorage/schemas/1"));
        let is_refused = |lake: &str| refuse_overlap(lake, "schema `a.b`", managed).is_err();
        let refused = ["s3://b", "s3://b/managed/", "s3a://b/managed", "s3://b/managed/__unitystorage/schemas/1/x"];
        assert!(refused.into_iter().all(is_refused));
        assert!(!["s3://b/lake", "s3://b/managed/lake", "s3://c"].into_iter().any(is_refused));
        assert!(refuse_overlap("s3://b", "schema `a.b`", (None, None)).is_ok());
    }
}
