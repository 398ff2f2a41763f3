//! Which sources land, and in which schema each.

use std::collections::BTreeMap;

use inlet_events::schema_name;

use super::given::Given;

/// A source that is connected. Once there is one, uploads of no such source are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What tells its uploads.
    pub of: SourceOf,
    /// The schema that they land in.
    pub schema: String,
    /// A label.
    pub name: Option<String>,
}

/// What tells the uploads of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOf {
    /// The source id in `segment-logs/<source-id>/<day>/…`.
    Id(String),
    /// The beginning of the key: whole parts between slashes, without slashes around them.
    Prefix(String),
}

/// Reads all `[[source]]`.
pub(super) fn sources(given: &mut Given<'_>) -> Vec<Source> {
    let mut sources = Vec::new();
    // Of each schema the source that took it first, and whether it was named there.
    let mut schemas: BTreeMap<String, (usize, bool)> = BTreeMap::new();
    let mut known = BTreeMap::new();
    for (place, item) in given.items("source").into_iter().enumerate() {
        let number = place + 1;
        let (id, prefix) = (given.text(&format!("{item}.id")), given.text(&format!("{item}.prefix")));
        let of = match (id, prefix.map(|prefix| prefix.trim_matches('/').to_owned())) {
            (Some(id), None) => SourceOf::Id(id),
            (None, Some(prefix)) if !prefix.is_empty() && !prefix.contains("://") => SourceOf::Prefix(prefix),
            (None, Some(_)) => {
                let what = "must be the beginning of a key, without scheme and bucket";
                given.wrong(&format!("{item}.prefix"), what, "prefix = \"folder/below\"");
                continue;
            }
            (Some(_), Some(_)) => {
                given.wrong_item("source", number, "has an `id` and a `prefix`", "keep one, or write two [[source]]");
                continue;
            }
            (None, None) => {
                given.wrong_item(
                    "source",
                    number,
                    "has no `id` and no `prefix`",
                    "give one: the source's uploads are known by it",
                );
                continue;
            }
        };
        if let Some(first) = known.insert(format!("{of:?}"), number) {
            given.wrong_item("source", number, &format!("is the same source as source[{first}]"), "keep one of them");
            continue;
        }
        let Some((schema, is_named)) = schema(given, &item, number, &of) else { continue };
        match schemas.get(&schema) {
            Some((first, first_is_named)) if !(is_named && *first_is_named) => {
                let what = format!("would share the schema `{schema}` with source[{first}]");
                let advice = format!("if it is meant, write schema = \"{schema}\" in both; else name another in one");
                given.wrong_item("source", number, &what, &advice);
            }
            Some(_) => {}
            None => {
                schemas.insert(schema.clone(), (number, is_named));
            }
        }
        sources.push(Source { of, schema, name: given.text(&format!("{item}.name")) });
    }
    sources
}

fn schema(given: &mut Given<'_>, item: &str, number: usize, of: &SourceOf) -> Option<(String, bool)> {
    let key = format!("{item}.schema");
    match (given.text(&key), of) {
        (Some(name), _) => {
            let legal = schema_name(&name);
            if legal == name {
                return Some((name, true));
            }
            let what = "is no schema name: small letters, digits and single `_`";
            given.wrong(&key, what, &format!("schema = \"{legal}\""));
            None
        }
        (None, SourceOf::Id(id)) => Some((schema_name(id), false)),
        (None, SourceOf::Prefix(_)) => {
            given.wrong_item("source", number, "has no `schema`, and a prefix names none", "schema = \"NAME\"");
            None
        }
    }
}
