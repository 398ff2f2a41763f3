//! What Unity Catalog lacks of a table that stands in the lake, and the SQL that brings it there. Pure.
//!
//! The log is never touched by this SQL: on S3 Databricks' own commits do not coordinate with ours. A `CREATE TABLE`
//! without columns adopts the log as it is, `SYNC METADATA` copies the log's columns and comments into the catalog.

use inlet_events::{ColumnType, KnownType};
use url::Url;

use crate::databricks::{ColumnInfo, TableInfo, TableKind};
use crate::delta::{Column, IDS_KEPT, statistics_columns};
use crate::fault::Fault;
use crate::held::Wanted;

/// A table's three names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FullName {
    pub(crate) catalog: String,
    pub(crate) schema: String,
    pub(crate) table: String,
}

impl FullName {
    /// As SQL takes it.
    pub(crate) fn quoted(&self) -> String {
        [&self.catalog, &self.schema, &self.table].map(|name| quoted(name)).join(".")
    }
}

/// What the catalog needs for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// It does not know the table.
    Register,
    /// Its columns are not the log's.
    Sync {
        /// Columns that it does not show.
        new_columns: Vec<String>,
    },
    /// There is no table, and held rows want one with these columns.
    Create(Vec<Wanted>),
    /// Held rows want columns that the table lacks.
    Alter {
        /// The catalog does not know the table yet.
        register: bool,
        columns: Vec<Wanted>,
    },
}

impl Need {
    /// The columns that the catalog does not show, of a table with these columns.
    pub(crate) fn new_columns(&self, log: &[Column]) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Register => log.iter().map(|column| column.name.clone()).collect(),
            Self::Sync { new_columns } => new_columns.clone(),
            Self::Create(columns) | Self::Alter { columns, .. } => {
                columns.iter().map(|column| column.name.clone()).collect()
            }
        }
    }

    /// The statements that meet it.
    pub(crate) fn statements(&self, name: &FullName, location: &str) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Register => vec![register(name, location)],
            Self::Sync { .. } => vec![sync(name)],
            Self::Create(columns) => vec![create(name, location, columns)],
            Self::Alter { register: false, columns } => vec![alter(name, columns)],
            Self::Alter { register: true, columns } => vec![register(name, location), alter(name, columns)],
        }
    }
}

/// What the warehouse must do so that held rows have their columns; none when the table has them, in whatever type.
///
/// # Errors
/// Setup when something else has the name.
pub(crate) fn need_of_held(
    name: &FullName,
    location: &str,
    log: Option<&[Column]>,
    catalog: Option<&TableInfo>,
    wanted: Vec<Wanted>,
) -> Result<Option<Need>, Fault> {
    if let Some(there) = catalog {
        refuse_another_thing(name, location, there)?;
    }
    let Some(log) = log else { return Ok(Some(Need::Create(wanted))) };
    let columns = lacking(log, wanted);
    Ok((!columns.is_empty()).then_some(Need::Alter { register: catalog.is_none(), columns }))
}

/// The wanted columns that a table lacks; Delta compares names without case.
pub(crate) fn lacking(log: &[Column], wanted: Vec<Wanted>) -> Vec<Wanted> {
    let is_there = |name: &str| log.iter().any(|column| column.name.to_lowercase() == name.to_lowercase());
    wanted.into_iter().filter(|column| !is_there(&column.name)).collect()
}

/// Compares the catalog's table with the log's columns.
///
/// # Errors
/// Setup when something else has the name.
pub(crate) fn need(
    name: &FullName,
    location: &str,
    log: &[Column],
    catalog: Option<&TableInfo>,
) -> Result<Need, Fault> {
    let Some(there) = catalog else { return Ok(Need::Register) };
    refuse_another_thing(name, location, there)?;
    let new_columns: Vec<String> = log
        .iter()
        .filter(|column| !there.columns.iter().any(|shown| is_shown(column, shown)))
        .map(|column| column.name.clone())
        .collect();
    let is_same = new_columns.is_empty() && there.columns.len() == log.len();
    Ok(if is_same { Need::Nothing } else { Need::Sync { new_columns } })
}

/// Refuses a name in the catalog that stands for something else than the table at `location`.
///
/// # Errors
/// Setup, with what has the name.
pub(crate) fn refuse_another_thing(name: &FullName, location: &str, there: &TableInfo) -> Result<(), Fault> {
    let full = format!("{}.{}.{}", name.catalog, name.schema, name.table);
    let other = match &there.kind {
        TableKind::External => there.format.as_deref().filter(|format| *format != "DELTA"),
        TableKind::Managed => Some("a managed table"),
        TableKind::View => Some("a view"),
        TableKind::Other(kind) => Some(kind.as_str()),
    };
    if let Some(other) = other {
        return Err(Fault::setup(format!("`{full}` is taken in the catalog by another object: {other}"))
            .hint(format!("rename or drop it: Inlet's table of that name stands at {location}")));
    }
    match &there.location {
        Some(other) if !is_same_place(other, location) => Err(Fault::setup(format!(
            "`{full}` in the catalog is a table at {other}, and Inlet writes the one at {location}"
        ))
        .hint(format!("DROP TABLE {}; (its files stay), then run inlet evolve again", name.quoted()))),
        _ => Ok(()),
    }
}

/// Whether the catalog shows a column as the log has it. Types that others chose are not judged.
fn is_shown(column: &Column, shown: &ColumnInfo) -> bool {
    shown.name.eq_ignore_ascii_case(&column.name)
        && match column.column_type {
            KnownType::Ours(column_type) => sql_type(column_type).eq_ignore_ascii_case(&shown.type_text),
            KnownType::Foreign => true,
        }
}

/// A type's name in SQL.
fn sql_type(column_type: ColumnType) -> &'static str {
    column_type.name()
}

/// A place as SQL and the catalog spell it: without a slash at its end.
pub(crate) fn spelled(place: &Url) -> String {
    place.as_str().trim_end_matches('/').to_owned()
}

/// Two spellings of one place: with or without the last slash, `s3a` for `s3`, `file:/` for `file:///`.
pub(crate) fn is_same_place(one: &str, other: &str) -> bool {
    plain_place(one) == plain_place(other)
}

/// Whether `inner` is `outer` or lies in it.
pub(crate) fn is_within(inner: &str, outer: &str) -> bool {
    let (inner, outer) = (plain_place(inner), plain_place(outer));
    inner == outer || inner.strip_prefix(&outer).is_some_and(|rest| rest.starts_with('/'))
}

fn plain_place(place: &str) -> String {
    let place = place.trim_end_matches('/');
    let (scheme, rest) = place.split_once(':').unwrap_or(("", place));
    let scheme = match scheme {
        "s3a" | "s3n" => "s3",
        other => other,
    };
    format!("{scheme}:/{}", rest.trim_start_matches('/'))
}

/// `CREATE TABLE` without columns: the table is what its log says.
pub(crate) fn register(name: &FullName, location: &str) -> String {
    format!("CREATE TABLE IF NOT EXISTS {} USING DELTA LOCATION {}", name.quoted(), literal(location))
}

/// `CREATE TABLE` with columns, for a table that is not there. The properties keep it one that Inlet can append to,
/// whatever the workspace gives new tables; the ids of uploads expire as in the tables that Inlet makes.
fn create(name: &FullName, location: &str, columns: &[Wanted]) -> String {
    let properties = [
        ("delta.enableDeletionVectors", "false"),
        ("delta.enableRowTracking", "false"),
        ("delta.checkpointPolicy", "classic"),
        ("delta.columnMapping.mode", "none"),
        ("delta.enableInCommitTimestamps", "false"),
        ("delta.setTransactionRetentionDuration", IDS_KEPT),
    ];
    let place = format!(" LOCATION {}", literal(location));
    created(name, &place, columns, &properties)
}

/// The same for a managed table, whose place and features are Databricks' choice: it alone writes there.
pub(crate) fn create_managed(name: &FullName, columns: &[Wanted]) -> String {
    created(name, "", columns, &[])
}

fn created(name: &FullName, place: &str, columns: &[Wanted], properties: &[(&str, &str)]) -> String {
    let statistics = statistics_columns(|name| columns.iter().any(|column| column.name == name)).join(",");
    let kept = (!statistics.is_empty()).then_some(("delta.dataSkippingStatsColumns", statistics.as_str()));
    let properties = properties.iter().copied().chain(kept);
    let properties: Vec<String> =
        properties.map(|(key, value)| format!("{} = {}", literal(key), literal(value))).collect();
    let properties = match properties.is_empty() {
        true => String::new(),
        false => format!("\nTBLPROPERTIES ({})", properties.join(", ")),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n  {}\n) USING DELTA{place}{properties}",
        name.quoted(),
        columns.iter().map(definition).collect::<Vec<_>>().join(",\n  "),
    )
}

/// Adds columns, all at once.
pub(crate) fn alter(name: &FullName, columns: &[Wanted]) -> String {
    let columns: Vec<String> = columns.iter().map(definition).collect();
    format!("ALTER TABLE {} ADD COLUMNS (\n  {}\n)", name.quoted(), columns.join(",\n  "))
}

fn definition(column: &Wanted) -> String {
    let comment = column.comment.as_ref().map(|comment| format!(" COMMENT {}", literal(comment))).unwrap_or_default();
    format!("{} {}{comment}", quoted(&column.name), sql_type(column.column_type).to_uppercase())
}

/// Copies the log's columns into the catalog.
pub(crate) fn sync(name: &FullName) -> String {
    format!("MSCK REPAIR TABLE {} SYNC METADATA", name.quoted())
}

/// A view of Inlet's; its comment says so, and only such a view is ever replaced.
pub(crate) fn view(name: &FullName, body: &str) -> String {
    format!(
        "CREATE OR REPLACE VIEW {} COMMENT {} AS\n{}",
        name.quoted(),
        literal(MADE_BY_INLET),
        body.trim_end_matches([';', '\n'])
    )
}

/// How Inlet's views and schemas are told from others'.
pub(crate) const MADE_BY_INLET: &str = "Made by Inlet";

/// Whether the comment of a view or schema says that Inlet made it.
pub(crate) fn is_made_by_inlet(comment: Option<&str>) -> bool {
    comment.is_some_and(|comment| comment.starts_with(MADE_BY_INLET))
}

/// A name as SQL takes it.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL takes it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> FullName {
        FullName { catalog: "segment".into(), schema: "web".into(), table: "tracks".into() }
    }

    fn log(columns: &[(&str, ColumnType)]) -> Vec<Column> {
        let column = |(name, column_type): &(&str, ColumnType)| Column {
            name: (*name).to_owned(),
            column_type: KnownType::Ours(*column_type),
            nullable: true,
        };
        columns.iter().map(column).collect()
    }

    fn table(location: &str, columns: &[(&str, &str)]) -> TableInfo {
        let column = |(name, type_text): &(&str, &str)| ColumnInfo {
            name: (*name).to_owned(),
            type_text: (*type_text).to_owned(),
            ..ColumnInfo::default()
        };
        TableInfo {
            name: "tracks".into(),
            full_name: "segment.web.tracks".into(),
            table_id: "1".into(),
            kind: TableKind::External,
            format: Some("DELTA".into()),
            location: Some(location.into()),
            owner: "inlet".into(),
            comment: None,
            columns: columns.iter().map(column).collect(),
            properties: [].into(),
            row_filter: false,
        }
    }

    const HERE: &str = "abfss://c@a.dfs.core.windows.net/lake/web/tracks";

    #[test]
    fn the_catalog_needs_what_the_log_has_and_it_does_not_show() {
        let log = log(&[("id", ColumnType::String), ("Total", ColumnType::Double)]);
        let need = |there: Option<&TableInfo>| need(&name(), HERE, &log, there).unwrap();
        assert_eq!(need(None), Need::Register);
        assert_eq!(need(Some(&table(HERE, &[("id", "string"), ("total", "double")]))), Need::Nothing);
        let sync = |columns: &[&str]| Need::Sync { new_columns: columns.iter().map(|&name| name.into()).collect() };
        assert_eq!(need(Some(&table(HERE, &[("id", "string")]))), sync(&["Total"]));
        assert_eq!(need(Some(&table(HERE, &[("id", "string"), ("total", "bigint")]))), sync(&["Total"]));
        let more = table(HERE, &[("id", "string"), ("total", "double"), ("gone", "string")]);
        assert_eq!(need(Some(&more)), sync(&[]));
    }

    #[test]
    fn what_has_the_name_and_is_not_ours_is_refused() {
        let log = log(&[("id", ColumnType::String)]);
        let refusal = |there: &TableInfo| need(&name(), HERE, &log, Some(there)).unwrap_err();
        let view = TableInfo { kind: TableKind::View, format: None, ..table(HERE, &[]) };
        assert!(refusal(&view).to_string().ends_with("by another object: a view"));
        let elsewhere = refusal(&table("abfss://c@a.dfs.core.windows.net/other", &[]));
        assert!(elsewhere.hint_text().unwrap().starts_with("DROP TABLE `segment`.`web`.`tracks`;"));
    }

    fn wanted(columns: &[(&str, ColumnType, Option<&str>)]) -> Vec<Wanted> {
        let wanted = |(name, column_type, comment): &(&str, ColumnType, Option<&str>)| Wanted {
            name: (*name).to_owned(),
            column_type: *column_type,
            comment: comment.map(str::to_owned),
        };
        columns.iter().map(wanted).collect()
    }

    #[test]
    fn held_rows_need_what_the_table_lacks_in_any_letters_and_types() {
        let columns = [("id", ColumnType::String, None), ("total", ColumnType::Double, None)];
        let need = |log: Option<&[Column]>, catalog: Option<&TableInfo>| {
            need_of_held(&name(), HERE, log, catalog, wanted(&columns)).unwrap()
        };
        assert_eq!(need(None, None), Some(Need::Create(wanted(&columns))));
        let (lacks, has) =
            (log(&[("id", ColumnType::String)]), log(&[("id", ColumnType::String), ("Total", ColumnType::String)]));
        let total = || wanted(&columns[1..]);
        assert_eq!(need(Some(&lacks), None), Some(Need::Alter { register: true, columns: total() }));
        let shown = table(HERE, &[("id", "string")]);
        assert_eq!(need(Some(&lacks), Some(&shown)), Some(Need::Alter { register: false, columns: total() }));
        assert_eq!(need(Some(&has), Some(&shown)), None);
        let view = TableInfo { kind: TableKind::View, format: None, ..table(HERE, &[]) };
        assert!(need_of_held(&name(), HERE, None, Some(&view), wanted(&columns)).is_err());
    }

    #[test]
    fn a_table_is_made_so_that_inlet_can_append_to_it() {
        let columns =
            wanted(&[("_upload_id", ColumnType::String, None), ("n", ColumnType::BigInt, Some("first seen in it's"))]);
        assert_eq!(
            Need::Create(columns.clone()).statements(&name(), "abfss://c@a/lake"),
            ["CREATE TABLE IF NOT EXISTS `segment`.`web`.`tracks` (\n  `_upload_id` STRING,\n  `n` BIGINT COMMENT \
              'first seen in it\\'s'\n) USING DELTA LOCATION 'abfss://c@a/lake'\nTBLPROPERTIES \
              ('delta.enableDeletionVectors' = 'false', 'delta.enableRowTracking' = 'false', \
              'delta.checkpointPolicy' = 'classic', 'delta.columnMapping.mode' = 'none', \
              'delta.enableInCommitTimestamps' = 'false', 'delta.setTransactionRetentionDuration' = \
              'interval 30 days', 'delta.dataSkippingStatsColumns' = '_upload_id')"]
        );
        let alter =
            Need::Alter { register: true, columns: columns[1..].to_vec() }.statements(&name(), "abfss://c@a/lake");
        assert_eq!(alter.len(), 2);
        assert_eq!(
            alter[1],
            "ALTER TABLE `segment`.`web`.`tracks` ADD COLUMNS (\n  `n` BIGINT COMMENT 'first seen in it\\'s'\n)"
        );
    }

    #[test]
    fn one_place_has_several_spellings() {
        assert!(is_same_place("s3a://bucket/lake/", "s3://bucket/lake"));
        assert!(is_same_place("file:/tmp/lake", "file:///tmp/lake/"));
        assert!(!is_same_place("s3://bucket/lake", "s3://bucket/lake2"));
        assert!(is_within("s3://bucket/lake/web", "s3://bucket/lake/"));
        assert!(!is_within("s3://bucket/lake2", "s3://bucket/lake"));
    }

    #[test]
    fn names_and_places_are_quoted() {
        let odd = FullName { catalog: "a`b".into(), schema: "web".into(), table: "t".into() };
        assert_eq!(
            register(&odd, r"file:///it's\here"),
            r"CREATE TABLE IF NOT EXISTS `a``b`.`web`.`t` USING DELTA LOCATION 'file:///it\'s\\here'"
        );
        assert_eq!(sync(&name()), "MSCK REPAIR TABLE `segment`.`web`.`tracks` SYNC METADATA");
        assert_eq!(
            view(&name(), "SELECT 1;\n"),
            "CREATE OR REPLACE VIEW `segment`.`web`.`tracks` COMMENT 'Made by Inlet' AS\nSELECT 1"
        );
    }
}
