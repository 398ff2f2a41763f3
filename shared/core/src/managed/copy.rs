//! COPY INTO: the statements that load staged files, and what their answers mean. Pure.
//!
//! A path is loaded once into a table, whatever happens to the answer: a statement may be said twice. It takes each
//! value in its column's own type; where a file's is another one it is cast by name, if every value survives that.

use std::collections::BTreeMap;

use inlet_events::table::{UPLOAD_ID, UUID_TS};
use inlet_events::{ColumnType, KnownType};

use crate::databricks::Answer;
use crate::delta::KeptFile;
use crate::evolve::{FullName, literal, quoted};
use crate::fault::Fault;
use crate::ledger::{LOADS, REJECTS};

/// Names in one FILES list; Databricks takes no more.
const FILES: usize = 1_000;

/// Columns of files that are not of their table's type.
type Casts = BTreeMap<String, &'static str>;

/// The statements that load files into a table with these columns. `from` is the folder in which all files stand.
///
/// # Errors
/// A file has a column that the table lacks, or of which values could be lost.
pub(crate) fn copies(
    name: &FullName,
    from: &str,
    columns: &[(String, KnownType)],
    files: &[&KeptFile],
) -> Result<Vec<String>, Fault> {
    // Files with the same casts can be read together: their columns have the same types.
    let mut alike: BTreeMap<Casts, Vec<&KeptFile>> = BTreeMap::new();
    for file in files {
        alike.entry(casts(name, columns, file)?).or_default().push(file);
    }
    let mut statements = Vec::new();
    for (casts, files) in alike {
        for files in files.chunks(FILES) {
            statements.push(copy(name, from, columns, &casts, files));
        }
    }
    Ok(statements)
}

/// The casts that a file's columns need.
fn casts(name: &FullName, columns: &[(String, KnownType)], file: &KeptFile) -> Result<Casts, Fault> {
    let mut casts = Casts::new();
    for (column, ours) in file.columns() {
        match type_of(columns, column) {
            Some(KnownType::Ours(wanted)) if wanted == ours => {}
            Some(KnownType::Ours(wanted)) if is_exact(ours, wanted, file.is_wide(column)) => {
                casts.insert(column.to_owned(), wanted.name());
            }
            _ => {
                let text = format!("{} has no column `{column}` of a type that takes its staged rows", name.quoted());
                return Err(
                    Fault::again(text).hint("run `inlet evolve` again: rows are written for the table as it is")
                );
            }
        }
    }
    Ok(casts)
}

/// Whether a file's columns are the table's, or cast to them without a loss.
pub(crate) fn fits(columns: &[(String, KnownType)], file: &KeptFile) -> bool {
    file.columns().all(|(column, ours)| match type_of(columns, column) {
        Some(KnownType::Ours(wanted)) => wanted == ours || is_exact(ours, wanted, file.is_wide(column)),
        Some(KnownType::Foreign) | None => false,
    })
}

/// The type of a table's column; Delta compares names without case.
fn type_of(columns: &[(String, KnownType)], column: &str) -> Option<KnownType> {
    columns.iter().find(|(known, _)| known.eq_ignore_ascii_case(column)).map(|(_, known)| *known)
}

/// Whether every value survives the cast, as itself.
fn is_exact(from: ColumnType, to: ColumnType, is_wide: bool) -> bool {
    use ColumnType::{BigInt, Boolean, Double, String};
    matches!((from, to), (BigInt | Boolean, String)) || (from == BigInt && to == Double && !is_wide)
}

fn copy(name: &FullName, from: &str, columns: &[(String, KnownType)], casts: &Casts, files: &[&KeptFile]) -> String {
    let is_in_files =
        |column: &str| files.iter().any(|file| file.columns().any(|(own, _)| own.eq_ignore_ascii_case(column)));
    let selected = columns.iter().map(|(column, _)| column.as_str()).filter(|column| is_in_files(column));
    let selected = selected.map(|column| {
        let quoted = quoted(column);
        match casts.get(column) {
            _ if column == UUID_TS => format!("current_timestamp() AS {quoted}"),
            Some(kind) => format!("CAST({quoted} AS {}) AS {quoted}", kind.to_uppercase()),
            None => quoted,
        }
    });
    let file_name = |file: &&KeptFile| literal(file.path().rsplit('/').next().unwrap_or_default());
    format!(
        "COPY INTO {}\nFROM (SELECT {} FROM {})\nFILEFORMAT = PARQUET\nFILES = ({})\nFORMAT_OPTIONS ('mergeSchema' = \
         'true')",
        name.quoted(),
        selected.collect::<Vec<_>>().join(", "),
        literal(from),
        files.iter().map(file_name).collect::<Vec<_>>().join(", ")
    )
}

/// How many rows a COPY INTO says that it loaded.
pub(super) fn loaded(answer: &Answer) -> Option<u64> {
    number(answer, "num_inserted_rows")
}

/// Counts the rows of uploads in a table.
pub(super) fn count(name: &FullName, upload_ids: &[String]) -> String {
    let column = if [LOADS, REJECTS].contains(&name.table.as_str()) { "upload_id" } else { UPLOAD_ID };
    let ids: Vec<String> = upload_ids.iter().map(|id| literal(id)).collect();
    format!("SELECT count(*) AS n FROM {} WHERE {} IN ({})", name.quoted(), quoted(column), ids.join(", "))
}

/// Asks for the ids of rows of uploads in a table.
pub(super) fn ids(name: &FullName, upload_ids: &[String]) -> String {
    let ids: Vec<String> = upload_ids.iter().map(|id| literal(id)).collect();
    format!("SELECT `id` FROM {} WHERE {} IN ({})", name.quoted(), quoted(UPLOAD_ID), ids.join(", "))
}

/// What [`count`] answered.
pub(super) fn counted(answer: &Answer) -> Option<u64> {
    answer.rows.first()?.first()?.as_deref()?.parse().ok()
}

fn number(answer: &Answer, column: &str) -> Option<u64> {
    let at = answer.columns.iter().position(|name| name == column)?;
    answer.rows.first()?.get(at)?.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name() -> FullName {
        FullName { catalog: "segment".into(), schema: "web".into(), table: "tracks".into() }
    }

    /// A file as a note names it: columns by name and type; `n!` holds integers that no double holds exactly.
    fn file(path: &str, columns: &[(&str, &str)]) -> KeptFile {
        let columns: Vec<_> = columns
            .iter()
            .map(|(name, kind)| json!({"name": name.trim_end_matches('!'), "type": kind, "wide": name.ends_with('!')}))
            .collect();
        let path = format!("web/tracks/{path}");
        serde_json::from_value(json!({"path": path, "bytes": 1, "rows": 2, "columns": columns})).unwrap()
    }

    fn table(columns: &[(&str, ColumnType)]) -> Vec<(String, KnownType)> {
        columns.iter().map(|(name, ours)| ((*name).to_owned(), KnownType::Ours(*ours))).collect()
    }

    fn statements(columns: &[(&str, ColumnType)], files: &[KeptFile]) -> Vec<String> {
        copies(&name(), "/Volumes/v", &table(columns), &files.iter().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_copy_names_its_files_and_says_when_rows_were_loaded() {
        let columns = [("id", ColumnType::String), ("uuid_ts", ColumnType::Timestamp), ("n", ColumnType::BigInt)];
        let said = statements(&columns, &[file("a'b.parquet", &[("id", "string"), ("uuid_ts", "timestamp")])]);
        let wanted = "COPY INTO `segment`.`web`.`tracks`\n\
                      FROM (SELECT `id`, current_timestamp() AS `uuid_ts` FROM '/Volumes/v')\n\
                      FILEFORMAT = PARQUET\nFILES = ('a\\'b.parquet')\nFORMAT_OPTIONS ('mergeSchema' = 'true')";
        assert_eq!(said, [wanted]);
    }

    #[test]
    fn files_that_need_the_same_casts_share_a_statement() {
        let columns = [("id", ColumnType::String), ("n", ColumnType::Double)];
        let files = [
            file("1", &[("id", "string"), ("n", "double")]),
            file("2", &[("id", "string"), ("n", "bigint")]),
            file("3", &[("id", "string")]),
        ];
        let said = statements(&columns, &files);
        assert_eq!(said.len(), 2);
        assert!(said[0].contains("SELECT `id`, `n` FROM") && said[0].contains("FILES = ('1', '3')"), "{}", said[0]);
        assert!(said[1].contains("CAST(`n` AS DOUBLE) AS `n`") && said[1].contains("FILES = ('2')"), "{}", said[1]);
    }

    #[test]
    fn a_statement_names_a_thousand_files_at_most() {
        let files: Vec<KeptFile> = (0..2_001).map(|n| file(&n.to_string(), &[("id", "string")])).collect();
        assert_eq!(statements(&[("id", ColumnType::String)], &files).len(), 3);
    }

    #[test]
    fn only_casts_that_keep_every_value_are_made() {
        let columns = table(&[("n", ColumnType::Double), ("s", ColumnType::String), ("b", ColumnType::BigInt)]);
        let fits = |column: &str, kind: &str| super::fits(&columns, &file("f", &[(column, kind)]));
        assert!(fits("n", "bigint") && fits("S", "bigint") && fits("s", "boolean") && fits("b", "bigint"));
        assert!(!fits("n!", "bigint"), "a double would round it");
        assert!(!fits("s", "double") && !fits("s", "timestamp"), "its text would be another one");
        assert!(!fits("b", "string") && !fits("none", "string"));
    }

    #[test]
    fn answers_are_read_by_name() {
        let row = |cells: &[&str]| vec![cells.iter().map(|cell| Some((*cell).to_owned())).collect()];
        let names = ["num_affected_rows", "num_inserted_rows"].map(str::to_owned).to_vec();
        let answer = Answer { columns: names, rows: row(&["4", "3"]), statement_id: String::new() };
        assert_eq!((loaded(&answer), loaded(&Answer::default())), (Some(3), None));
        assert_eq!((counted(&answer), counted(&Answer::default())), (Some(4), None));
    }
}
