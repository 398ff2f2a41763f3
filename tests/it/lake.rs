//! A lake as the second implementation of Delta sees it: `deltalake` says which files and columns a table has, and the
//! files are read by the Parquet reader alone. Nothing here uses the code that wrote them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use deltalake::DeltaTable;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;
use url::Url;

use crate::support::runtime;

/// A value that is not NULL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value {
    Boolean(bool),
    BigInt(i64),
    /// The bits of a double: two values are one when they are the same to the bit.
    Double(u64),
    Text(String),
    /// Microseconds since 1970.
    Time(i64),
}

impl Value {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::BigInt(number) => *number,
            other => panic!("{other:?} is no bigint"),
        }
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::BigInt(value) => write!(f, "{value}"),
            Self::Double(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Time(micros) => write!(f, "{micros}µs"),
        }
    }
}

/// A row by column; NULLs are left out.
pub(crate) type Row = BTreeMap<String, Value>;

/// One table, read whole.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) version: u64,
    /// Names and types in order: `boolean`, `bigint`, `double`, `string`, `timestamp`.
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) rows: Vec<Row>,
    /// Data files that it has now.
    pub(crate) files: usize,
}

impl Table {
    pub(crate) fn types(&self) -> BTreeMap<String, String> {
        self.columns.iter().cloned().collect()
    }

    /// The rows without some columns, sorted: what two tables with the same content agree on.
    pub(crate) fn content(&self, without: &[&str]) -> Vec<Row> {
        content(&self.rows, without)
    }

    /// The texts of a column, sorted.
    pub(crate) fn texts(&self, column: &str) -> Vec<&str> {
        let mut texts: Vec<_> = self.rows.iter().filter_map(|row| row.get(column)).map(Value::text).collect();
        texts.sort_unstable();
        texts
    }

    /// The row with an id.
    pub(crate) fn row(&self, id: &str) -> &Row {
        let mut with_id = self.rows.iter().filter(|row| row.get("id").is_some_and(|value| value.text() == id));
        let row = with_id.next().unwrap_or_else(|| panic!("no row `{id}` in {:?}", self.texts("id")));
        assert!(with_id.next().is_none(), "`{id}` stands there twice");
        row
    }
}

/// Rows without some columns, sorted.
pub(crate) fn content(rows: &[Row], without: &[&str]) -> Vec<Row> {
    let keep = |row: &Row| -> Row {
        row.iter()
            .filter(|(name, _)| !without.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let mut rows: Vec<Row> = rows.iter().map(keep).collect();
    rows.sort();
    rows
}

/// Tables of a schema, by the folders that have a log; sorted.
pub(crate) fn tables(lake: &Path, schema: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(lake.join(schema)) else { return Vec::new() };
    let is_table = |path: &Path| path.join("_delta_log").read_dir().is_ok_and(|mut log| log.next().is_some());
    let paths = entries.map(|entry| entry.expect("the schema can be read").path());
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut tables: Vec<_> = paths.filter(|path| is_table(path)).filter_map(|path| name(&path)).collect();
    tables.sort();
    tables
}

/// Schemas of a lake, sorted.
pub(crate) fn schemas(lake: &Path) -> Vec<String> {
    let entries = fs::read_dir(lake).expect("the lake is there");
    let names = entries.map(|entry| entry.expect("the lake can be read").file_name().to_string_lossy().into_owned());
    let mut schemas: Vec<_> = names.filter(|name| !tables(lake, name).is_empty()).collect();
    schemas.sort();
    schemas
}

/// Opens a table with the second implementation.
pub(crate) fn open(lake: &Path, schema: &str, table: &str) -> DeltaTable {
    let folder = fs::canonicalize(lake.join(schema).join(table)).expect("the table is there");
    let url = Url::from_directory_path(folder).expect("a path is a URL");
    runtime().block_on(deltalake::open_table(url)).unwrap_or_else(|error| panic!("{schema}.{table}: {error}"))
}

/// A Delta type in SQL's words.
pub(crate) fn type_of(name: &str) -> String {
    if name == "long" { "bigint".to_owned() } else { name.to_owned() }
}

/// Reads a table whole.
pub(crate) fn read(lake: &Path, schema: &str, table: &str) -> Table {
    let opened = open(lake, schema, table);
    let snapshot = opened.snapshot().expect("an opened table has a snapshot");
    let fields = snapshot.schema();
    let columns: Vec<_> =
        fields.fields().map(|field| (field.name().to_owned(), type_of(&field.data_type().to_string()))).collect();
    let folder = lake.join(schema).join(table);
    let mut rows = Vec::new();
    let mut files = 0;
    for file in snapshot.log_data().iter() {
        let before = rows.len();
        read_file(&folder.join(file.object_store_path().filename().expect("a file has a name")), &columns, &mut rows);
        files += 1;
        if let Some(records) = file.num_records() {
            assert_eq!(rows.len() - before, records, "{schema}.{table}: the log and the file agree about rows");
        }
    }
    Table { version: opened.version().expect("an opened table has a version"), columns, rows, files }
}

/// Reads every table of a schema.
pub(crate) fn read_all(lake: &Path, schema: &str) -> BTreeMap<String, Table> {
    tables(lake, schema).into_iter().map(|name| (name.clone(), read(lake, schema, &name))).collect()
}

/// The tables of a schema without Inlet's own two.
pub(crate) fn read_events(lake: &Path, schema: &str) -> BTreeMap<String, Table> {
    let mut tables = read_all(lake, schema);
    tables.retain(|name, _| name != "_loads" && name != "_rejects");
    tables
}

fn read_file(path: &Path, columns: &[(String, String)], rows: &mut Vec<Row>) {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    read_parquet(file, columns, rows);
}

/// Reads a data file of a table with these columns.
pub(crate) fn read_parquet(file: impl ChunkReader + 'static, columns: &[(String, String)], rows: &mut Vec<Row>) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file").build().expect("a reader");
    for batch in reader {
        let batch = batch.expect("the file can be read to its end");
        let first = rows.len();
        rows.resize_with(first + batch.num_rows(), Row::new);
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let known = columns.iter().find(|(name, _)| name == field.name());
            let (name, column_type) = known.unwrap_or_else(|| panic!("the table has no column `{}`", field.name()));
            fill(&mut rows[first..], name, column_type, array);
        }
    }
}

fn fill(rows: &mut [Row], name: &str, column_type: &str, array: &ArrayRef) {
    let value = |row: usize| -> Value {
        match (column_type, array.data_type()) {
            ("boolean", DataType::Boolean) => Value::Boolean(array.as_boolean().value(row)),
            ("bigint", DataType::Int64) => Value::BigInt(array.as_primitive::<Int64Type>().value(row)),
            ("double", DataType::Float64) => Value::Double(array.as_primitive::<Float64Type>().value(row).to_bits()),
            ("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => {
                Value::Time(array.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            ("string", DataType::Utf8) => Value::Text(array.as_string::<i32>().value(row).to_owned()),
            ("string", DataType::LargeUtf8) => Value::Text(array.as_string::<i64>().value(row).to_owned()),
            ("string", DataType::Utf8View) => Value::Text(array.as_string_view().value(row).to_owned()),
            ("string", DataType::Dictionary(_, _)) => {
                let dictionary = array.as_dictionary::<Int32Type>();
                let key = usize::try_from(dictionary.keys().value(row)).expect("a key is a place");
                Value::Text(dictionary.values().as_string::<i32>().value(key).to_owned())
            }
            (wanted, found) => panic!("column `{name}` is {wanted} in the table and {found} in a file"),
        }
    };
    for (at, row) in rows.iter_mut().enumerate() {
        if array.is_valid(at) {
            row.insert(name.to_owned(), value(at));
        }
    }
}

/// Asserts that two lists of rows hold the same rows as often, in any order; says the first that differ.
pub(crate) fn assert_same_rows(what: &str, left: &[Row], right: &[Row]) {
    let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
    left.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    right.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
    counts.retain(|_, count| *count != 0);
    let shown: Vec<_> = counts.iter().take(4).map(|(row, count)| format!("{count:+} {row:?}")).collect();
    assert!(
        counts.is_empty(),
        "{what}: {} and {} rows, {} differ:\n{}",
        left.len(),
        right.len(),
        counts.len(),
        shown.join("\n")
    );
}

/// Asserts that two schemas hold the same event tables: columns, types and rows, without some columns.
pub(crate) fn assert_same_events(what: &str, left: (&Path, &str), right: (&Path, &str), without: &[&str]) {
    assert_same_tables(what, &read_events(left.0, left.1), &read_events(right.0, right.1), without);
}

/// The same of tables that were read already.
pub(crate) fn assert_same_tables(
    what: &str,
    left: &BTreeMap<String, Table>,
    right: &BTreeMap<String, Table>,
    without: &[&str],
) {
    let names = |tables: &BTreeMap<String, Table>| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right), "{what}: tables");
    for (name, table) in left {
        let other = &right[name];
        assert_eq!(table.types(), other.types(), "{what}: columns of `{name}`");
        assert_same_rows(&format!("{what}: `{name}`"), &table.content(without), &other.content(without));
    }
}

/// `_loads` and `_rejects` of a schema: one row per (upload, table), one whole row per upload, and all of it adds up; as
/// `inlet verify` says too.
pub(crate) fn assert_ledger(lake: &Path, schema: &str) {
    assert_ledger_of(schema, &read_all(lake, schema));
    crate::verify::assert_proves(lake, schema);
}

/// The same of tables that were read already.
pub(crate) fn assert_ledger_of(schema: &str, tables: &BTreeMap<String, Table>) {
    let loads = tables.get("_loads").unwrap_or_else(|| panic!("{schema} has no `_loads`"));
    let mut seen = std::collections::BTreeSet::new();
    let mut whole: BTreeMap<String, i64> = BTreeMap::new();
    for row in &loads.rows {
        let count = |name: &str| row[name].number();
        let table = row.get("table_name").map(|value| value.text().to_owned());
        let upload = row["upload_id"].text().to_owned();
        assert!(seen.insert((upload.clone(), table.clone())), "{schema}: {upload} stands twice for {table:?}");
        let kept = count("rows") + count("held") + count("duplicates") + count("filtered");
        match &table {
            Some(_) => assert_eq!(count("events"), kept, "{row:?}"),
            None => {
                assert_eq!(count("events"), kept + count("rejected"), "{row:?}");
                whole.insert(upload.clone(), count("rejected"));
            }
        }
        if let Some(table) = table {
            let landed = tables.get(&table).map_or(0, |table| of_upload(&table.rows, "_upload_id", &upload));
            assert_eq!(count("rows"), landed, "{schema}.{table}, upload {upload}");
        }
    }
    for (upload, _) in seen {
        assert!(whole.contains_key(&upload), "{schema}: {upload} has no whole row");
    }
    for (upload, rejected) in whole {
        let rejects = tables.get("_rejects").map_or(0, |table| of_upload(&table.rows, "upload_id", &upload));
        assert_eq!(rejected, rejects, "{schema}: rejections of {upload}");
    }
}

fn of_upload(rows: &[Row], column: &str, upload: &str) -> i64 {
    rows.iter().filter(|row| row.get(column).is_some_and(|value| value.text() == upload)).count() as i64
}
