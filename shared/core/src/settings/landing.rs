//! Where uploads may come from when an event tells of them.

use url::Url;

use super::given::{Given, shown};

/// Reads `landing`: each a URL of a bucket, a container or a prefix in one.
pub(super) fn landing(given: &mut Given<'_>, lake: Option<&str>) -> Vec<String> {
    let places = given.list("landing");
    for place in &places {
        let url = Url::parse(place).ok();
        let is_store = |url: &Url| matches!(url.scheme(), "s3" | "s3a" | "abfs" | "abfss" | "az" | "azure" | "https");
        let is_bare = |url: &Url| url.query().is_none() && url.fragment().is_none() && url.password().is_none();
        let advice = "write s3://bucket/prefix or abfss://container@account.dfs.core.windows.net/prefix";
        match &url {
            Some(url) if is_store(url) && is_bare(url) => {}
            Some(url) if is_store(url) => {
                given.wrong("landing", "must be URLs without password, query and fragment", advice);
            }
            _ => given.wrong("landing", &format!("names {}, which is no bucket or container", shown(place)), advice),
        }
        // What lies beside is judged where stores are compared by name; this is the slip that loops without an end.
        if lake.is_some_and(|lake| lake.trim_end_matches('/') == place.trim_end_matches('/')) {
            given.wrong(
                "landing",
                "is the lake itself: each commit would wake the function again",
                "name another prefix",
            );
        }
    }
    places
}
