//! Which schema an upload lands in: the one that was named, else the one of its source, else `events`.
//!
//! Segment's key layout carries the source's id and no name: `segment-logs/<source-id>/<day>/…`. Once the settings
//! connect sources, uploads of no such source are left out, unless a schema was named.

use std::collections::BTreeMap;
use std::path::Path;

use inlet_core::fault::Fault;
use inlet_core::report::SkippedSource;
use inlet_core::settings::{Source, SourceOf};
use inlet_events::schema_name;

/// The schemas of one run.
pub(crate) struct Schemas<'a> {
    given: Option<String>,
    /// Sources of the settings; none: every source lands.
    connected: &'a [Source],
    /// Schema name to the source id that it stands for.
    sources: BTreeMap<String, String>,
    /// Uploads of other sources, by the source's id.
    skipped: BTreeMap<Option<String>, u64>,
}

impl<'a> Schemas<'a> {
    /// Takes the name from `--schema`, which must be one that lakes and catalogs take as it is, and the sources of the
    /// settings.
    pub(crate) fn new(given: Option<&str>, connected: &'a [Source]) -> Result<Self, Fault> {
        if let Some(name) = given {
            let legal = schema_name(name);
            if legal != name {
                let fault = Fault::setup(format!("`{name}` is no schema name: small letters, digits and single `_`"));
                return Err(fault.hint(format!("--schema {legal}")));
            }
        }
        let (sources, skipped) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { given: given.map(str::to_owned), connected, sources, skipped })
    }

    /// The schema of an upload with these names: as it was written, and as it really is. None when its source is not
    /// connected; that is counted.
    ///
    /// # Errors
    /// Two sources whose ids become one name: their events would mix without a trace.
    pub(crate) fn of(&mut self, names: &[&str]) -> Result<Option<String>, Fault> {
        if let Some(name) = &self.given {
            return Ok(Some(name.clone()));
        }
        let source = names.iter().find_map(|name| source_id(name));
        if !self.connected.is_empty() {
            let schema = connected(self.connected, source, names).map(|source| source.schema.clone());
            if schema.is_none() {
                *self.skipped.entry(source.map(str::to_owned)).or_default() += 1;
            }
            return Ok(schema);
        }
        let Some(source) = source else { return Ok(Some("events".to_owned())) };
        let name = schema_name(source);
        let first = self.sources.entry(name.clone()).or_insert_with(|| source.to_owned());
        if first != source {
            let fault = Fault::setup(format!("the sources `{first}` and `{source}` would share the schema `{name}`"));
            return Err(fault.hint(format!(
                "land them one by one, each with a name: inlet ingest …/segment-logs/{source} --schema NAME --lake …; \
                 or both in one schema: --schema {name}"
            )));
        }
        Ok(Some(name))
    }

    /// A line per source that offers a better name than its id, or that was left out.
    pub(crate) fn notes(&self) -> Vec<String> {
        let named = self.sources.iter().map(|(name, source)| {
            format!("source `{source}` lands in the schema `{name}`; to name it yourself: --schema NAME")
        });
        let skipped = self.skipped.iter().map(|(source, uploads)| {
            let uploads = if *uploads == 1 { "1 upload is".to_owned() } else { format!("{uploads} uploads are") };
            match source {
                Some(id) => format!(
                    "{uploads} skipped: no [[source]] of the settings connects the source `{id}`; \
                     to land it: id = \"{id}\" in a [[source]], or --schema NAME"
                ),
                None => format!(
                    "{uploads} skipped: no source id in the name, and no [[source]] of the settings has its prefix; \
                     to land it: --schema NAME"
                ),
            }
        });
        named.chain(skipped).collect()
    }

    /// What was left out.
    pub(crate) fn skipped(&self) -> Vec<SkippedSource> {
        let skipped =
            |(source, uploads): (&Option<String>, &u64)| SkippedSource::not_connected(source.clone(), *uploads);
        self.skipped.iter().map(skipped).collect()
    }
}

/// The source that an upload belongs to: the one of its id, else the one with the longest prefix of its names.
fn connected<'a>(sources: &'a [Source], id: Option<&str>, names: &[&str]) -> Option<&'a Source> {
    let by_id = |source: &&Source| matches!(&source.of, SourceOf::Id(of) if Some(of.as_str()) == id);
    let by_prefix = |source: &'a Source| match &source.of {
        SourceOf::Prefix(prefix) if names.iter().any(|name| has_prefix(name, prefix)) => Some((prefix.len(), source)),
        _ => None,
    };
    let longest = || sources.iter().filter_map(by_prefix).max_by_key(|(length, _)| *length);
    sources.iter().find(by_id).or_else(|| longest().map(|(_, source)| source))
}

/// Whether a key begins with whole parts; a file's path has them anywhere, since a folder may be a copy of a bucket.
fn has_prefix(name: &str, prefix: &str) -> bool {
    let parts: Vec<&str> = name.split(['/', std::path::MAIN_SEPARATOR]).collect();
    let wanted: Vec<&str> = prefix.split('/').collect();
    let Some((_, folders)) = parts.split_last() else { return false };
    if Path::new(name).is_absolute() {
        folders.windows(wanted.len()).any(|window| window == wanted.as_slice())
    } else {
        folders.starts_with(&wanted)
    }
}

/// The id in the innermost `segment-logs/<source-id>/<digits>/…` of a path or key.
fn source_id(name: &str) -> Option<&str> {
    let parts: Vec<&str> = name.split(['/', std::path::MAIN_SEPARATOR]).collect();
    let mut windows = parts.windows(4).rev();
    windows.find_map(|window| match window {
        ["segment-logs", id, day, _] => {
            let is_day = !day.is_empty() && day.bytes().all(|byte| byte.is_ascii_digit());
            (is_day && !id.is_empty()).then_some(*id)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_id_stands_anywhere_in_the_path() {
        assert_eq!(source_id("segment-logs/VhBYQcAjH5/1432684800000/a.gz"), Some("VhBYQcAjH5"));
        assert_eq!(source_id("/x/y/segment-logs/abc/1/2/3/a.gz"), Some("abc"));
        assert_eq!(source_id("segment-logs/abc/day/a.gz"), None);
        assert_eq!(source_id("segment-logs/abc/a.gz"), None);
        assert_eq!(source_id("my-segment-logs/abc/1/a.gz"), None);
    }

    #[test]
    fn the_given_name_wins_then_the_source_then_events() {
        let key = "segment-logs/web1/1432684800000/a.gz";
        assert_eq!(Schemas::new(Some("shop"), &[]).unwrap().of(&[key]).unwrap().unwrap(), "shop");
        let mut schemas = Schemas::new(None, &[]).unwrap();
        assert_eq!(schemas.of(&["a.gz", key]).unwrap().unwrap(), "web1");
        assert_eq!(schemas.of(&["a.gz"]).unwrap().unwrap(), "events");
        assert_eq!(schemas.notes().len(), 1);
    }

    #[test]
    fn two_sources_of_one_name_are_refused() {
        let mut schemas = Schemas::new(None, &[]).unwrap();
        schemas.of(&["segment-logs/my-site/1/a.gz"]).unwrap();
        schemas.of(&["segment-logs/my-site/2/a.gz"]).unwrap();
        let fault = schemas.of(&["segment-logs/my_site/1/a.gz"]).unwrap_err();
        assert_eq!(fault.to_string(), "the sources `my-site` and `my_site` would share the schema `my_site`");
    }

    #[test]
    fn an_illegal_name_is_refused_with_the_legal_one() {
        let fault = Schemas::new(Some("my-shop"), &[]).map(|_| ()).unwrap_err();
        assert_eq!(fault.hint_text(), Some("--schema my_shop"));
    }

    fn source(of: SourceOf, schema: &str) -> Source {
        Source { of, schema: schema.to_owned(), name: None }
    }

    #[test]
    fn once_sources_are_connected_the_others_are_left_out_and_counted() {
        let connected = [
            source(SourceOf::Id("web1".to_owned()), "shop"),
            source(SourceOf::Prefix("apps".to_owned()), "apps"),
            source(SourceOf::Prefix("apps/ios".to_owned()), "ios"),
        ];
        let mut schemas = Schemas::new(None, &connected).unwrap();
        for (name, schema) in [
            ("segment-logs/web1/1/a.gz", Some("shop")),
            ("apps/segment-logs/web1/1/a.gz", Some("shop")),
            ("apps/a.gz", Some("apps")),
            ("apps/segment-logs/other/1/a.gz", Some("apps")),
            ("apps/ios/deep/a.gz", Some("ios")),
            ("apps/iosx/a.gz", Some("apps")),
            ("x/apps/a.gz", None),
            ("apps", None),
            ("/home/me/apps/ios/a.gz", Some("ios")),
            ("/home/me/myapps/a.gz", None),
            ("segment-logs/web2/1/a.gz", None),
            ("segment-logs/web2/1/b.gz", None),
        ] {
            assert_eq!(schemas.of(&[name]).unwrap().as_deref(), schema, "{name}");
        }
        assert_eq!(schemas.of(&[]).unwrap(), None, "standard input belongs to no source");
        let none = SkippedSource::not_connected(None, 4);
        assert_eq!(schemas.skipped(), [none, SkippedSource::not_connected(Some("web2".to_owned()), 2)]);
        let notes = schemas.notes();
        assert!(notes[1].starts_with("2 uploads are skipped: ") && notes[1].contains("`web2`"), "{notes:?}");
        let mut named = Schemas::new(Some("all"), &connected).unwrap();
        assert_eq!(named.of(&["segment-logs/web2/1/a.gz"]).unwrap().as_deref(), Some("all"));
    }
}
