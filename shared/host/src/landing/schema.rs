//! Which schema an upload lands in: the one that was named, else the one of its source, else `events`.
//!
//! Segment's key layout carries the source's id and no name: `segment-logs/<source-id>/<day>/…`.

use std::collections::BTreeMap;

use inlet_core::fault::Fault;
use inlet_events::schema_name;

/// The schemas of one run.
pub(crate) struct Schemas {
    given: Option<String>,
    /// Schema name to the source id that it stands for.
    sources: BTreeMap<String, String>,
}

impl Schemas {
    /// Takes the name from `--schema`; it must be one that lakes and catalogs take as it is.
    pub(crate) fn new(given: Option<&str>) -> Result<Self, Fault> {
        if let Some(name) = given {
            let legal = schema_name(name);
            if legal != name {
                let fault = Fault::setup(format!("`{name}` is no schema name: small letters, digits and single `_`"));
                return Err(fault.hint(format!("--schema {legal}")));
            }
        }
        Ok(Self { given: given.map(str::to_owned), sources: BTreeMap::new() })
    }

    /// The schema of an upload with these names: as it was written, and as it really is.
    ///
    /// # Errors
    /// Two sources whose ids become one name: their events would mix without a trace.
    pub(crate) fn of(&mut self, names: &[&str]) -> Result<String, Fault> {
        if let Some(name) = &self.given {
            return Ok(name.clone());
        }
        let Some(source) = names.iter().find_map(|name| source_id(name)) else {
            return Ok("events".to_owned());
        };
        let name = schema_name(source);
        let first = self.sources.entry(name.clone()).or_insert_with(|| source.to_owned());
        if first != source {
            let fault = Fault::setup(format!("the sources `{first}` and `{source}` would share the schema `{name}`"));
            return Err(fault.hint(format!(
                "land them one by one, each with a name: inlet ingest …/segment-logs/{source} --schema NAME --lake …; \
                 or both in one schema: --schema {name}"
            )));
        }
        Ok(name)
    }

    /// A line per source that offers a better name than its id.
    pub(crate) fn notes(&self) -> Vec<String> {
        let note = |(name, source): (&String, &String)| {
            format!("source `{source}` lands in the schema `{name}`; to name it yourself: --schema NAME")
        };
        self.sources.iter().map(note).collect()
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
        assert_eq!(Schemas::new(Some("shop")).unwrap().of(&[key]).unwrap(), "shop");
        let mut schemas = Schemas::new(None).unwrap();
        assert_eq!(schemas.of(&["a.gz", key]).unwrap(), "web1");
        assert_eq!(schemas.of(&["a.gz"]).unwrap(), "events");
        assert_eq!(schemas.notes().len(), 1);
    }

    #[test]
    fn two_sources_of_one_name_are_refused() {
        let mut schemas = Schemas::new(None).unwrap();
        schemas.of(&["segment-logs/my-site/1/a.gz"]).unwrap();
        schemas.of(&["segment-logs/my-site/2/a.gz"]).unwrap();
        let fault = schemas.of(&["segment-logs/my_site/1/a.gz"]).unwrap_err();
        assert_eq!(fault.to_string(), "the sources `my-site` and `my_site` would share the schema `my_site`");
    }

    #[test]
    fn an_illegal_name_is_refused_with_the_legal_one() {
        let fault = Schemas::new(Some("my-shop")).map(|_| ()).unwrap_err();
        assert_eq!(fault.hint_text(), Some("--schema my_shop"));
    }
}
