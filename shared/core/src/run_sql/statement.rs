//! What a person may have the warehouse run on a table of Inlet's: read as far as its verb, its table, and what an ALTER
//! TABLE alters. Pure.

use crate::fault::Fault;

/// A statement that may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    verb: &'static str,
    pub(super) schema: String,
    pub(super) table: String,
    rest: String,
}

/// What may run. Each changes one table, which is named right behind it, and does no harm when an answer is lost and it
/// runs twice (an UPDATE, as far as it sets what it does not read).
const VERBS: [&str; 4] = ["OPTIMIZE", "DELETE FROM", "UPDATE", ALTER];

const ALTER: &str = "ALTER TABLE";

/// What ALTER TABLE may do: all that has a table take rows which it refuses.
const ALTERATIONS: [&str; 5] = ["DROP FEATURE", "DROP CONSTRAINT", "SET TBLPROPERTIES", "ALTER COLUMN", "ADD COLUMNS"];

/// Why others do not run here.
const REFUSALS: [(&str, &str); 5] = [
    ("MERGE", "it brings rows that no upload brought; write DELETE or UPDATE, or MERGE into a table of your own"),
    ("INSERT", "it brings rows that no upload brought; write to a table of your own"),
    ("VACUUM", "it commits nothing to a log on S3: run it in the SQL editor at any time"),
    ("RESTORE", "it takes back commits that `_loads` says landed"),
    ("TRUNCATE", "write DELETE FROM, which says in the table's history what was meant"),
];

impl Statement {
    /// Reads a statement. `catalog` is the one that its table may stand in; it may be left out.
    ///
    /// # Errors
    /// Setup, with what may run, or why this may not.
    pub(super) fn read(text: &str, catalog: &str) -> Result<Self, Fault> {
        let text = text.trim().trim_end_matches(';').trim_end();
        let Some((verb, behind)) = VERBS.iter().find_map(|verb| Some((*verb, behind(text, verb)?))) else {
            return Err(refused(text));
        };
        let (parts, rest) = name(behind).ok_or_else(|| {
            Fault::setup(format!("no table stands behind {verb}"))
                .hint(format!("write {verb} `schema`.`table`, or all three names"))
        })?;
        let (schema, table) = match &parts[..] {
            [schema, table] => (schema, table),
            [of, schema, table] if of.eq_ignore_ascii_case(catalog) => (schema, table),
            [of, _, _] => {
                return Err(Fault::setup(format!("`{of}` is not the catalog of the settings, `{catalog}`"))
                    .hint("name a table that Inlet lands in, as schema.table"));
            }
            _ => {
                return Err(Fault::setup(format!("`{}` does not name a schema and a table", parts.join(".")))
                    .hint("name the table as schema.table"));
            }
        };
        if verb == ALTER && !ALTERATIONS.iter().any(|may| self::behind(rest.trim_start(), may).is_some()) {
            return Err(Fault::setup("of ALTER TABLE not everything runs behind a gate")
                .hint(format!("it may {}", ALTERATIONS.join(", "))));
        }
        // Unity Catalog has them in small letters, and so do the folders of a lake.
        let (schema, table) = (schema.to_lowercase(), table.to_lowercase());
        Ok(Self { verb, schema, table, rest: rest.to_owned() })
    }

    /// The statement, with its table's whole name.
    pub(super) fn sql(&self, quoted: &str) -> String {
        format!("{} {quoted}{}", self.verb, self.rest)
    }
}

/// What stands behind a verb, if the text begins with it.
fn behind<'a>(text: &'a str, verb: &str) -> Option<&'a str> {
    let mut rest = text;
    for word in verb.split(' ') {
        let (first, others) = rest.split_at_checked(word.len())?;
        if !first.eq_ignore_ascii_case(word) || !others.starts_with(|c: char| c.is_whitespace() || "`(".contains(c)) {
            return None;
        }
        rest = others.trim_start();
    }
    Some(rest)
}

/// A name of several parts, and the rest of the text.
fn name(text: &str) -> Option<(Vec<String>, &str)> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, behind) = identifier(rest)?;
        parts.push(part);
        match behind.strip_prefix('.') {
            Some(next) => rest = next,
            None => return Some((parts, behind)),
        }
    }
}

/// One identifier, quoted or not.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('`') else {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let (plain, rest) = text.split_at_checked(end)?;
        return (!plain.is_empty()).then(|| (plain.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, behind) = rest.split_once('`')?;
        name.push_str(part);
        match behind.strip_prefix('`') {
            // A quote in the name is written twice.
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return (!name.is_empty()).then_some((name, behind)),
        }
    }
}

fn refused(text: &str) -> Fault {
    let first = text.split_whitespace().next().unwrap_or_default().to_uppercase();
    let may = "OPTIMIZE, DELETE FROM, UPDATE and ALTER TABLE run here";
    match REFUSALS.iter().find(|(verb, _)| *verb == first) {
        Some((verb, why)) => Fault::setup(format!("{verb} does not run behind a gate: {may}")).hint(*why),
        None => Fault::setup(format!("the statement begins with none of the words that may: {may}"))
            .hint("begin with the verb, without a comment; what only reads needs no gate: use the SQL editor"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, String, String), String> {
        let read = Statement::read(text, "main").map_err(|fault| fault.to_string())?;
        let sql = read.sql("T");
        Ok((read.schema, read.table, sql))
    }

    #[test]
    fn a_statement_keeps_its_words_and_its_table_gets_its_whole_name() {
        for (text, schema, table, sql) in [
            ("OPTIMIZE web.tracks", "web", "tracks", "OPTIMIZE T"),
            ("optimize main.Web.Tracks WHERE a > 1;\n", "web", "tracks", "OPTIMIZE T WHERE a > 1"),
            ("OPTIMIZE `main`.`web`.`a``b`", "web", "a`b", "OPTIMIZE T"),
            (
                " delete\n from web._rejects where raw LIKE '%;%'",
                "web",
                "_rejects",
                "DELETE FROM T where raw LIKE '%;%'",
            ),
            ("UPDATE web.tracks SET user_id = NULL", "web", "tracks", "UPDATE T SET user_id = NULL"),
            ("ALTER TABLE web.tracks\n DROP FEATURE a", "web", "tracks", "ALTER TABLE T\n DROP FEATURE a"),
            ("alter table `web`.`a` add columns(b INT)", "web", "a", "ALTER TABLE T add columns(b INT)"),
            ("DELETE FROM`web`.`2go`", "web", "2go", "DELETE FROM T"),
        ] {
            let wanted = (schema.to_owned(), table.to_owned(), sql.to_owned());
            assert_eq!(read(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_may_not_run_is_refused_with_the_reason() {
        for (text, says) in [
            ("MERGE INTO web.tracks USING x ON true", "MERGE does not run"),
            ("insert into web.tracks values (1)", "INSERT does not run"),
            ("VACUUM web.tracks", "VACUUM does not run"),
            ("ALTER TABLE web.tracks RENAME TO web.pages", "not everything runs"),
            ("ALTER TABLE web.tracks DROP COLUMN a", "not everything runs"),
            ("ALTER TABLE web.tracks", "not everything runs"),
            ("ALTER VIEW web.users AS SELECT 1", "begins with none"),
            ("-- all of them\nDELETE FROM web.tracks", "begins with none"),
            ("DROP TABLE web.tracks", "begins with none"),
            ("OPTIMIZEweb.tracks", "begins with none"),
            ("", "begins with none"),
            ("OPTIMIZE", "begins with none"),
            ("OPTIMIZE 'web'", "no table stands behind OPTIMIZE"),
            ("OPTIMIZE `web", "no table stands behind OPTIMIZE"),
            ("OPTIMIZE tracks", "does not name a schema"),
            ("OPTIMIZE other.web.tracks", "is not the catalog"),
            ("OPTIMIZE a.b.c.d", "does not name a schema"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
