//! The SQL that opens a lake in DuckDB or Spark: every table, and the views that bronze itself does not hold.
//!
//! Bronze is append-only, so what changes stands in views: `<table>__unique` without the duplicates that other
//! deliveries left, `users` and `accounts` as the latest state. Event names never hold `__`, and an event called
//! `users` is the table `_users`: the views clash with no table of ours. Pure: columns in, text out.

use std::borrow::Cow;
use std::collections::BTreeSet;

use inlet_events::{KnownType, variants};
use url::Url;

/// One table of the lake and its columns in order.
#[derive(Clone, Debug)]
pub struct TableColumns {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Its columns.
    pub columns: Vec<(String, KnownType)>,
}

/// Statements for DuckDB, by its `delta` extension.
pub fn duckdb(lake: &str, tables: &[TableColumns]) -> String {
    let place = local_path(lake);
    let mut sql = heading(&place);
    sql.push_str("INSTALL delta;\nLOAD delta;\n");
    if let Some((kind, extension)) = duckdb_secret(&place) {
        // As a comment: a session that has its credentials already must not lose them to ours.
        sql.push_str(&format!(
            "-- credentials, unless this session has them:\n-- INSTALL {extension}; LOAD {extension}; \
             CREATE SECRET (TYPE {kind}, PROVIDER credential_chain);\n"
        ));
    }
    opened(&DUCKDB, &place, tables, &mut sql);
    sql
}

/// Statements for Spark SQL 3.5 and later with Delta's extension, on Databricks or elsewhere.
pub fn spark(lake: &str, tables: &[TableColumns]) -> String {
    // Open-source Spark knows S3 as `s3a` only; Databricks takes both.
    let place = match lake.strip_prefix("s3://") {
        Some(rest) => Cow::Owned(format!("s3a://{}", rest.trim_end_matches('/'))),
        None => Cow::Borrowed(lake.trim_end_matches('/')),
    };
    let mut sql = heading(&place);
    opened(&SPARK, &place, tables, &mut sql);
    sql
}

/// A view over a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name, without its schema.
    pub name: String,
    /// What it selects.
    pub body: String,
    /// The columns that it shows, in order.
    pub columns: Vec<String>,
}

/// The longest name of a table or view in a Unity Catalog.
const NAME_CHARACTERS: usize = 255;

/// The views over a table in a Unity Catalog: a table whose name is as long as names may be has none. `known` says which
/// names of the schema are tables of the lake.
pub fn unity_views(catalog: &str, table: &TableColumns, known: &dyn Fn(&str) -> bool) -> Vec<View> {
    let names = Names { dialect: &SPARK, catalog: Some(catalog), schema: &table.schema, table: &table.table };
    views(&names, &table.columns)
        .into_iter()
        .filter(|view| !known(&view.name) && view.name.len() <= NAME_CHARACTERS)
        .collect()
}

/// How a reader spells what both can do.
struct Dialect {
    quote: char,
    text: fn(&str) -> String,
    schema: &'static str,
    open: fn(name: &str, place: &str) -> String,
    unique: fn(table: &Names<'_>, columns: &[(String, KnownType)]) -> String,
    tuple: &'static str,
}

const DUCKDB: Dialect = Dialect {
    quote: '"',
    text: |text| format!("'{}'", text.replace('\'', "''")),
    schema: "CREATE SCHEMA IF NOT EXISTS",
    open: |name, place| format!("CREATE OR REPLACE VIEW {name} AS\nSELECT * FROM delta_scan({place});\n"),
    unique: |names, columns| {
        let rank = rank(names, columns);
        let joined: String =
            joined(names, columns).into_iter().map(|(_, expression)| format!(", {expression}")).collect();
        format!("SELECT *{joined} FROM {}\nQUALIFY {rank} = 1;\n", names.of(names.table))
    },
    tuple: "row",
};

const SPARK: Dialect = Dialect {
    quote: '`',
    text: |text| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
    schema: "CREATE DATABASE IF NOT EXISTS",
    open: |name, place| format!("CREATE TABLE IF NOT EXISTS {name} USING DELTA LOCATION {place};\n"),
    // Open-source Spark has no QUALIFY, and no way to leave out the helper column but to name all others.
    unique: |names, columns| {
        let all = columns.iter().map(|(column, _)| names.quoted(column));
        let all: Vec<String> =
            all.chain(joined(names, columns).into_iter().map(|(_, expression)| expression)).collect();
        let (rank, table) = (rank(names, columns), names.of(names.table));
        format!("SELECT {}\nFROM (SELECT *, {rank} AS `__n` FROM {table})\nWHERE `__n` = 1;\n", all.join(", "))
    },
    tuple: "struct",
};

/// A table's place among names, quoted the reader's way.
struct Names<'a> {
    dialect: &'a Dialect,
    /// Only Unity Catalog has a third name.
    catalog: Option<&'a str>,
    schema: &'a str,
    table: &'a str,
}

impl Names<'_> {
    fn quoted(&self, name: &str) -> String {
        let quote = self.dialect.quote;
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    }

    fn of(&self, table: &str) -> String {
        let catalog = self.catalog.map(|catalog| format!("{}.", self.quoted(catalog))).unwrap_or_default();
        format!("{catalog}{}.{}", self.quoted(self.schema), self.quoted(table))
    }
}

fn heading(place: &str) -> String {
    // A line break in a path must not end the comment.
    let place: String = place.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("-- opens every table of `{place}`; run it again when tables or columns came\n")
}

fn opened(dialect: &Dialect, place: &str, tables: &[TableColumns], sql: &mut String) {
    let known: BTreeSet<(&str, &str)> = tables.iter().map(|one| (one.schema.as_str(), one.table.as_str())).collect();
    let mut schema = None;
    for TableColumns { schema: in_schema, table, columns } in tables {
        let names = Names { dialect, catalog: None, schema: in_schema, table };
        if schema != Some(in_schema) {
            sql.push_str(&format!("\n{} {};\n", dialect.schema, names.quoted(in_schema)));
            schema = Some(in_schema);
        }
        let location = (dialect.text)(&format!("{place}/{in_schema}/{table}"));
        sql.push_str(&(dialect.open)(&names.of(table), &location));
        for view in views(&names, columns) {
            // Somebody's own table of that name stays what it is.
            if !known.contains(&(in_schema.as_str(), view.name.as_str())) {
                sql.push_str(&format!("CREATE OR REPLACE VIEW {} AS\n{}", names.of(&view.name), view.body));
            }
        }
    }
}

/// The views over a table.
fn views(names: &Names<'_>, columns: &[(String, KnownType)]) -> Vec<View> {
    let mut views = Vec::new();
    let unique = format!("{}__unique", names.table);
    if !["_loads", "_rejects"].contains(&names.table) && has(columns, "id") {
        views.push(View {
            name: unique,
            body: (names.dialect.unique)(names, columns),
            columns: columns
                .iter()
                .map(|(column, _)| column.clone())
                .chain(joined(names, columns).into_iter().map(|(name, _)| name))
                .collect(),
        });
    }
    views.extend(match names.table {
        "identifies" => latest(names, "users", "user_id", columns),
        "groups" => latest(names, "accounts", "group_id", columns),
        _ => None,
    });
    views
}

/// Columns that have others of another type beside them (`price__string`), each as one text with all its values:
/// `price__any`. In a row at most one of the others has a value, and then it is the original.
fn joined(names: &Names<'_>, columns: &[(String, KnownType)]) -> Vec<(String, String)> {
    let text = |column: &str| format!("CAST({} AS STRING)", names.quoted(column));
    let join = |(column, beside): (&str, Vec<&str>)| {
        let name = format!("{column}__any");
        let values: Vec<String> = beside.into_iter().chain([column]).map(text).collect();
        let expression = format!("coalesce({}) AS {}", values.join(", "), names.quoted(&name));
        (name, expression)
    };
    variants(columns).into_iter().map(join).collect()
}

/// The place of a row among those of its id: the latest delivery comes first.
fn rank(names: &Names<'_>, columns: &[(String, KnownType)]) -> String {
    let by = ["received_at", "uuid_ts"].into_iter().filter(|column| has(columns, column));
    let by: Vec<String> = by.map(|column| format!("{} DESC", names.quoted(column))).collect();
    let order = if by.is_empty() { names.quoted("id") } else { by.join(", ") };
    format!("row_number() OVER (PARTITION BY {} ORDER BY {order})", names.quoted("id"))
}

/// What says how an event came, not what its user or account is.
const BOOKKEEPING: [&str; 10] = [
    "id",
    "user_id",
    "anonymous_id",
    "received_at",
    "sent_at",
    "timestamp",
    "original_timestamp",
    "uuid_ts",
    "_upload_id",
    "_rescued_data",
];

/// The latest value of every column per user or account: a late row never overwrites a newer value, and a value that a
/// later call leaves out stays. Calls of one request share `received_at`; then the event's own time decides.
fn latest(names: &Names<'_>, view: &str, key: &str, columns: &[(String, KnownType)]) -> Option<View> {
    if !has(columns, key) || !has(columns, "received_at") {
        return None;
    }
    let order = ["received_at", "timestamp", "id"].into_iter().filter(|column| has(columns, column));
    let order: Vec<String> = order.map(|column| names.quoted(column)).collect();
    let order = format!("{}({})", names.dialect.tuple, order.join(", "));
    let mut shown = vec!["id".to_owned(), "received_at".to_owned()];
    let (key, received) = (names.quoted(key), names.quoted("received_at"));
    let mut sql = format!("SELECT\n    {key} AS {},\n    max({received}) AS {received}", names.quoted("id"));
    for (column, _) in columns {
        let name = names.quoted(column);
        if name != key && !BOOKKEEPING.contains(&column.as_str()) {
            sql.push_str(&format!(",\n    max_by({name}, {order}) FILTER (WHERE {name} IS NOT NULL) AS {name}"));
            shown.push(column.clone());
        }
    }
    sql.push_str(&format!("\nFROM {}\nWHERE {key} IS NOT NULL\nGROUP BY {key};\n", names.of(names.table)));
    Some(View { name: view.to_owned(), body: sql, columns: shown })
}

fn has(columns: &[(String, KnownType)], name: &str) -> bool {
    columns.iter().any(|(column, _)| column == name)
}

/// A lake as DuckDB names it: a folder by its path, a store by its URL; without a slash at its end.
pub fn local_path(lake: &str) -> Cow<'_, str> {
    let path = Url::parse(lake).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
    match path.as_deref().and_then(std::path::Path::to_str) {
        Some(path) => Cow::Owned(path.trim_end_matches('/').to_owned()),
        None => Cow::Borrowed(lake.trim_end_matches('/')),
    }
}

fn duckdb_secret(place: &str) -> Option<(&'static str, &'static str)> {
    match place.split_once("://")?.0 {
        "s3" | "s3a" => Some(("s3", "aws")),
        "az" | "azure" | "abfs" | "abfss" => Some(("azure", "azure")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use inlet_events::ColumnType::{String as Text, Timestamp};

    use super::*;

    fn table(schema: &str, table: &str, columns: &[&str]) -> TableColumns {
        let kind = |name: &str| if name.ends_with("_at") { Timestamp } else { Text };
        let columns = columns.iter().map(|name| ((*name).to_owned(), KnownType::Ours(kind(name)))).collect();
        TableColumns { schema: schema.to_owned(), table: table.to_owned(), columns }
    }

    const COMMON: [&str; 6] = ["id", "received_at", "timestamp", "user_id", "uuid_ts", "_rescued_data"];

    fn lake() -> Vec<TableColumns> {
        let mut identifies = COMMON.to_vec();
        identifies.push("plan");
        vec![table("web", "_loads", &["upload", "status"]), table("web", "identifies", &identifies)]
    }

    #[test]
    fn duckdb_opens_tables_and_makes_the_views() {
        assert_eq!(
            duckdb("file:///data/my%20lake/", &lake()),
            r#"-- opens every table of `/data/my lake`; run it again when tables or columns came
INSTALL delta;
LOAD delta;

CREATE SCHEMA IF NOT EXISTS "web";
CREATE OR REPLACE VIEW "web"."_loads" AS
SELECT * FROM delta_scan('/data/my lake/web/_loads');
CREATE OR REPLACE VIEW "web"."identifies" AS
SELECT * FROM delta_scan('/data/my lake/web/identifies');
CREATE OR REPLACE VIEW "web"."identifies__unique" AS
SELECT * FROM "web"."identifies"
QUALIFY row_number() OVER (PARTITION BY "id" ORDER BY "received_at" DESC, "uuid_ts" DESC) = 1;
CREATE OR REPLACE VIEW "web"."users" AS
SELECT
    "user_id" AS "id",
    max("received_at") AS "received_at",
    max_by("plan", row("received_at", "timestamp", "id")) FILTER (WHERE "plan" IS NOT NULL) AS "plan"
FROM "web"."identifies"
WHERE "user_id" IS NOT NULL
GROUP BY "user_id";
"#
        );
    }

    #[test]
    fn columns_of_another_type_are_joined_in_the_view() {
        let mut orders = table("web", "orders", &["id", "price", "price__string"]);
        orders.columns[1].1 = KnownType::Ours(inlet_events::ColumnType::Double);
        let views = unity_views("segment", &orders, &|_| false);
        assert_eq!(views[0].columns, ["id", "price", "price__string", "price__any"]);
        let any = "coalesce(CAST(`price__string` AS STRING), CAST(`price` AS STRING)) AS `price__any`";
        assert!(views[0].body.starts_with(&format!("SELECT `id`, `price`, `price__string`, {any}\nFROM")));
        assert!(duckdb("/lake", &[orders]).contains(&format!("SELECT *, {} FROM", any.replace('`', "\""))));
    }

    #[test]
    fn spark_says_the_same_without_qualify() {
        let sql = spark("s3://bucket/lake/", &lake()[1..]);
        assert_eq!(
            sql,
            r"-- opens every table of `s3a://bucket/lake`; run it again when tables or columns came

CREATE DATABASE IF NOT EXISTS `web`;
CREATE TABLE IF NOT EXISTS `web`.`identifies` USING DELTA LOCATION 's3a://bucket/lake/web/identifies';
CREATE OR REPLACE VIEW `web`.`identifies__unique` AS
SELECT `id`, `received_at`, `timestamp`, `user_id`, `uuid_ts`, `_rescued_data`, `plan`
FROM (SELECT *, row_number() OVER (PARTITION BY `id` ORDER BY `received_at` DESC, `uuid_ts` DESC) AS `__n` FROM `web`.`identifies`)
WHERE `__n` = 1;
CREATE OR REPLACE VIEW `web`.`users` AS
SELECT
    `user_id` AS `id`,
    max(`received_at`) AS `received_at`,
    max_by(`plan`, struct(`received_at`, `timestamp`, `id`)) FILTER (WHERE `plan` IS NOT NULL) AS `plan`
FROM `web`.`identifies`
WHERE `user_id` IS NOT NULL
GROUP BY `user_id`;
"
        );
    }

    #[test]
    fn accounts_leave_out_who_called() {
        let mut columns = COMMON.to_vec();
        columns.extend(["group_id", "anonymous_id", "employees"]);
        let sql = duckdb("/lake", &[table("web", "groups", &columns)]);
        let view = sql.split("\"web\".\"accounts\" AS\n").nth(1).unwrap();
        assert!(view.starts_with("SELECT\n    \"group_id\" AS \"id\",\n"), "{view}");
        assert!(view.contains("AS \"employees\"\nFROM \"web\".\"groups\"\nWHERE \"group_id\" IS NOT NULL"), "{view}");
        assert!(!view.contains("user_id") && !view.contains("anonymous_id"), "{view}");
    }

    #[test]
    fn names_and_places_cannot_break_out() {
        let sql = duckdb("/it's", &[table("a\"b", "c", &[])]);
        assert!(sql.contains("VIEW \"a\"\"b\".\"c\" AS\nSELECT * FROM delta_scan('/it''s/a\"b/c');"), "{sql}");
        let sql = spark("file:///it's", &[table("a`b", "c", &[])]);
        assert!(sql.contains("TABLE IF NOT EXISTS `a``b`.`c` USING DELTA LOCATION 'file:///it\\'s/a`b/c';"), "{sql}");
    }

    #[test]
    fn a_table_of_somebodys_own_is_not_replaced_by_a_view() {
        let sql = duckdb("/lake", &[table("web", "identifies", &COMMON), table("web", "users", &["id"])]);
        assert_eq!(sql.matches("\"web\".\"users\" AS").count(), 1, "{sql}");
    }

    #[test]
    fn stores_come_with_the_line_for_credentials() {
        assert!(duckdb("s3://bucket/lake", &[]).contains("-- INSTALL aws; LOAD aws; CREATE SECRET (TYPE s3,"));
        assert!(duckdb("abfss://c@a.dfs.core.windows.net/lake", &[]).contains("TYPE azure,"));
    }
}
