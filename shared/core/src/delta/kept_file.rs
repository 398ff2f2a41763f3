//! A data file on paper: what must be known to commit it later, by another process, or to read it back.
//!
//! Files of rows that are held stand in the lake and in no table. When their table has changed as it should, they are
//! committed as they are; when it came out otherwise, their rows are read and written anew.

use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::schema::{StructField, StructType};
use delta_kernel::{FileMeta, KernelError};
use inlet_events::{ColumnType, KnownType};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde::{Deserialize, Serialize};
use url::Url;

use super::column_chunk::Bounds;
use super::data_file::{DataFile, Tally};
use super::faults::{kernel_fault, store_fault, without_backtrace};
use super::lake::{Lake, STATE};
use super::layout::{FileColumn, FileLayout, has_statistics};
use super::table::Table;
use super::types::{arrow_type, column_type, kernel_type, known_type};
use crate::fault::Fault;

/// A finished file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptFile {
    /// Its path in the lake.
    path: String,
    bytes: u64,
    rows: u64,
    columns: Vec<KeptColumn>,
}

/// A column of a file. Those of types that Inlet does not write are all NULL, and left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptColumn {
    name: String,
    #[serde(rename = "type", with = "super::by_name")]
    column_type: ColumnType,
    /// Its name in the file, where that is another one (column mapping).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    physical: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field_id: Option<String>,
    /// It has a value in every row, and the file says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    /// It has integers that no double holds exactly.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    wide: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statistics: Option<KeptStatistics>,
}

/// What the log will say of a column; least and greatest are texts, since JSON would round doubles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptStatistics {
    nulls: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bounds: Option<(String, String)>,
}

impl DataFile {
    /// Puts it on paper.
    pub(crate) fn on_paper(&self, lake: &Lake) -> KeptFile {
        let parts = self.key.prefix_match(lake.root()).into_iter().flatten();
        let path = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
        let columns = self.columns.iter().zip(self.tallies.iter());
        let columns = columns.filter_map(|(column, tally)| self.kept(column, tally.as_ref())).collect();
        KeptFile { path, bytes: self.size, rows: self.rows, columns }
    }

    fn kept(&self, column: &FileColumn, tally: Option<&Tally>) -> Option<KeptColumn> {
        let physical = &column.physical;
        let is_other = *physical.name() != column.name;
        Some(KeptColumn {
            name: column.name.clone(),
            column_type: column_type(physical.data_type()).filter(|_| column.ours)?,
            physical: is_other.then(|| physical.name().clone()),
            field_id: physical.metadata().get(PARQUET_FIELD_ID_META_KEY).cloned(),
            required: !physical.is_nullable(),
            wide: self.wide.contains(&column.name),
            statistics: tally.map(KeptStatistics::of),
        })
    }
}

impl KeptFile {
    /// The file for a commit to the table as it now is, which adds these columns; none when it is no file of that table:
    /// then its rows must be written anew.
    ///
    /// # Errors
    /// The gate's refusal; Setup when the file is gone: a commit must not name it.
    pub(crate) fn for_table(
        &self,
        table: &Table,
        new_columns: &[(String, ColumnType)],
    ) -> Result<Option<DataFile>, Fault> {
        let lake = &table.lake;
        if !self.path.starts_with(&format!("{}/{}/", table.schema, table.name)) {
            return Ok(None);
        }
        let layout = FileLayout::of_existing(lake, table, new_columns)?;
        let place = |kept: &KeptColumn| layout.columns.iter().find(|column| column.name == kept.name);
        let all_fit = self.columns.iter().all(|kept| place(kept).is_some_and(|column| kept.fits(column)));
        let names: Vec<&str> = self.columns.iter().map(|kept| kept.name.as_str()).collect();
        let layout = layout.narrowed(&names);
        let mut tallies = Vec::new();
        for column in &layout.columns {
            let kept = self.columns.iter().find(|kept| kept.name == column.name);
            let tally = match kept {
                _ if !has_statistics(&layout.context, column.physical.name()) => None,
                Some(kept) => match kept.tally() {
                    Some(tally) => Some(tally),
                    None => return Ok(None),
                },
                None => Some(Tally { nulls: self.rows, bounds: None }),
            };
            tallies.push(tally);
            if kept.is_none() && !column.physical.is_nullable() {
                return Ok(None);
            }
        }
        if !all_fit {
            return Ok(None);
        }
        let url = self.look(lake)?;
        DataFile::described(&layout, &url, self.key(lake), self.bytes, self.rows, tallies).map(Some)
    }

    /// The name of a file that takes its place: `part-….zstd.parquet`, `part-….1.zstd.parquet`, and so on. Whoever
    /// writes its rows anew gives them the same.
    pub(crate) fn successor(&self) -> String {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let (stem, rest) = name.split_once('.').unwrap_or((name, ""));
        let number = rest.split_once('.').and_then(|(number, rest)| Some((number.parse::<u64>().ok()?, rest)));
        let (number, rest) = number.unwrap_or((0, rest));
        format!("{stem}.{}.{rest}", number.saturating_add(1))
    }

    /// The names and types of its columns, in the order of [`KeptFile::read`].
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, ColumnType)> {
        self.columns.iter().map(|column| (column.name.as_str(), column.column_type))
    }

    /// A file that lies in a table's folder, with a look at all its rows in these columns; none when it is no Parquet
    /// file or lacks one of them.
    ///
    /// # Errors
    /// What the store or `each` answers.
    pub(crate) fn found(
        lake: &Lake,
        key: &Path,
        bytes: u64,
        columns: &[&str],
        each: &mut dyn FnMut(&arrow_array::RecordBatch) -> Result<(), Fault>,
    ) -> Result<Option<Self>, Fault> {
        let parts: Vec<_> = key.prefix_match(lake.root()).into_iter().flatten().collect();
        let path = parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/");
        let mut found = Self { path, bytes, rows: 0, columns: Vec::new() };
        let url = lake.url_of(&found.path.split('/').collect::<Vec<_>>())?;
        let footer = lake.engine().parquet_handler().read_parquet_footer(&FileMeta::new(url.clone(), 0, bytes));
        let footer = match footer.map_err(without_backtrace) {
            Ok(footer) => footer,
            Err(error @ (KernelError::ObjectStore(_) | KernelError::IOError(_))) => {
                return Err(kernel_fault("cannot read the file", &url, error));
            }
            Err(_) => return Ok(None),
        };
        found.columns = footer.schema.fields().filter_map(KeptColumn::found).collect();
        let named = |name: &str| found.columns.iter().find(|column| column.name == name);
        let Some(wanted) = columns.iter().map(|name| named(name)).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let mut rows = 0;
        found.read_columns(lake, &wanted, &mut |batch| {
            rows += batch.num_rows() as u64;
            each(batch)
        })?;
        Ok(Some(Self { rows, ..found }))
    }

    /// Whether a column has integers that no double holds exactly.
    pub(crate) fn is_wide(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.wide && column.name == name)
    }

    /// Reads its rows, in batches with just its columns.
    ///
    /// # Errors
    /// Setup when the file is gone; what the store or `each` answers.
    pub(crate) fn read(
        &self,
        lake: &Lake,
        each: &mut dyn FnMut(&arrow_array::RecordBatch) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.read_columns(lake, &self.columns.iter().collect::<Vec<_>>(), each)
    }

    fn read_columns(
        &self,
        lake: &Lake,
        columns: &[&KeptColumn],
        each: &mut dyn FnMut(&arrow_array::RecordBatch) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let url = self.look(lake)?;
        let fault = |error: KernelError| kernel_fault("cannot read held rows", &url, error);
        let field = |column: &&KeptColumn| StructField::nullable(column.physical(), kernel_type(column.column_type));
        let schema = StructType::try_new(columns.iter().map(field)).map_err(fault)?;
        let meta = FileMeta::new(url.clone(), 0, self.bytes);
        let handler = lake.engine().parquet_handler();
        let batches = handler.read_parquet_files(&[meta], std::sync::Arc::new(schema), None).map_err(fault)?;
        for batch in batches {
            each(&batch.and_then(EngineDataArrowExt::try_into_record_batch).map_err(fault)?)?;
        }
        Ok(())
    }

    /// Its place in the lake's store, when that is Inlet's own folder and not the table's.
    pub(crate) fn aside(&self, lake: &Lake) -> Option<Path> {
        self.path.starts_with(&format!("{STATE}/")).then(|| self.key(lake))
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Its path in the lake.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Its place in the lake's store.
    pub(crate) fn key(&self, lake: &Lake) -> Path {
        self.path.split('/').fold(lake.root().clone(), Path::join)
    }

    /// Its address, if it is still there as it was.
    fn look(&self, lake: &Lake) -> Result<Url, Fault> {
        let url = lake.url_of(&self.path.split('/').collect::<Vec<_>>())?;
        match lake.wait(lake.store().head(&self.key(lake))) {
            Ok(meta) if meta.size == self.bytes => Ok(url),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Err(Fault::setup(format!(
                "the file `{}` of held rows is gone",
                self.path
            ))
            .hint(
                "restore it from the versions or the soft delete of the store; its rows stand nowhere else in the lake",
            )),
            Err(error) => Err(store_fault("cannot look for held rows", &url, error)),
        }
    }
}

impl KeptColumn {
    /// A column of a file that lies in the lake; none when it is of a type that Inlet does not write.
    fn found(field: &StructField) -> Option<Self> {
        Some(Self {
            name: field.name().clone(),
            column_type: match known_type(field.data_type()) {
                KnownType::Ours(column_type) => column_type,
                KnownType::Foreign => return None,
            },
            physical: None,
            field_id: None,
            required: false,
            // Nobody has counted.
            wide: true,
            statistics: None,
        })
    }

    fn physical(&self) -> &str {
        self.physical.as_deref().unwrap_or(&self.name)
    }

    /// Whether the table's column reads it.
    fn fits(&self, column: &FileColumn) -> bool {
        let physical = &column.physical;
        column.ours
            && physical.name() == self.physical()
            && *physical.data_type() == arrow_type(self.column_type)
            && physical.metadata().get(PARQUET_FIELD_ID_META_KEY) == self.field_id.as_ref()
            && (physical.is_nullable() || self.required)
    }

    fn tally(&self) -> Option<Tally> {
        let statistics = self.statistics.as_ref()?;
        let bounds = match &statistics.bounds {
            Some((least, greatest)) => Some(match self.column_type {
                ColumnType::BigInt | ColumnType::Timestamp => Bounds::Int(least.parse().ok()?, greatest.parse().ok()?),
                ColumnType::Double => Bounds::Double(least.parse().ok()?, greatest.parse().ok()?),
                ColumnType::String => Bounds::Text(least.clone().into_bytes(), greatest.clone().into_bytes()),
                ColumnType::Boolean => return None,
            }),
            None => None,
        };
        Some(Tally { nulls: statistics.nulls, bounds })
    }
}

impl KeptStatistics {
    fn of(tally: &Tally) -> Self {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let bounds = tally.bounds.as_ref().map(|bounds| match bounds {
            Bounds::Int(least, greatest) => (least.to_string(), greatest.to_string()),
            Bounds::Double(least, greatest) => (format!("{least:?}"), format!("{greatest:?}")),
            Bounds::Text(least, greatest) => (text(least), text(greatest)),
        });
        Self { nulls: tally.nulls, bounds }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, StringArray};
    use inlet_events::ColumnType::{BigInt, Double, String, Timestamp};

    use super::super::testing::{SCHEMA, TestLake, batch, doubles, named, numbers, soon, strings, times};
    use super::super::{Append, Appended, add_columns_only, commit};
    use super::*;

    /// Puts a file on paper and reads that again.
    fn on_paper(test: &TestLake, file: &DataFile) -> KeptFile {
        let text = serde_json::to_string(&file.on_paper(&test.lake)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn append<'a>(app_id: &str, files: &'a [DataFile]) -> Append<'a> {
        Append { app_ids: vec![app_id.to_owned()], files, ..Append::default() }
    }

    #[test]
    fn whoever_writes_a_file_anew_gives_it_the_same_name() {
        let named = |path: &str| {
            let file = serde_json::json!({"path": path, "bytes": 1, "rows": 1, "columns": []});
            serde_json::from_value::<KeptFile>(file).unwrap().successor()
        };
        assert_eq!(named("web/t/part-0a-1.zstd.parquet"), "part-0a-1.1.zstd.parquet");
        assert_eq!(named("web/t/part-0a-1.9.zstd.parquet"), "part-0a-1.10.zstd.parquet");
    }

    #[test]
    fn a_file_is_committed_from_paper_as_it_would_have_been_at_once() {
        let test = TestLake::new();
        let mut table = None;
        test.append("t", &mut table, "first", &batch(&[("user_id", strings(&["a"]))])).unwrap();
        let mut table = table.unwrap();
        let new = named(&[("n", BigInt), ("x", Double), ("received_at", Timestamp)]);
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("b\""), None]));
        let rows = batch(&[
            ("user_id", names),
            ("n", numbers(&[1, 2])),
            ("x", doubles(&[0.1, -2.5])),
            ("received_at", times(&[5, 7])),
        ]);
        let file = test.file("t", Some(&table), &new, &rows);
        let kept = on_paper(&test, &file);
        assert_eq!(kept.for_table(&table, &[]).unwrap().map(|file| file.size()), None, "the table lacks its columns");
        add_columns_only(&test.lake, &mut table, &new, soon()).unwrap();
        let again = kept.for_table(&table, &[]).unwrap().unwrap();
        assert_eq!((again.path(), again.size(), again.rows()), (file.path(), file.size(), 2));
        let committed = commit(&test.lake, SCHEMA, "t", &mut Some(table), &[], &append("held", &[again]), soon());
        assert_eq!(committed.unwrap(), Appended::Committed { version: 2 });
        let table = test.open("t").unwrap();
        assert_eq!(test.rows(&table, &["user_id", "n", "x"]), ["-|2|-2.5", "a|-|-", "b\"|1|0.1"]);
        let add = test.log("t", 2).into_iter().find_map(|action| action.get("add").cloned()).unwrap();
        let statistics: serde_json::Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        assert_eq!((&statistics["numRecords"], &statistics["nullCount"]["user_id"]), (&2.into(), &1.into()));
        assert_eq!(statistics["minValues"]["user_id"], "b\"");
    }

    #[test]
    fn a_file_of_other_columns_or_another_folder_is_none_of_the_table() {
        let test = TestLake::new();
        let mut table = None;
        test.append("t", &mut table, "first", &batch(&[("a", strings(&["a"]))])).unwrap();
        let mut table = table.unwrap();
        let other =
            on_paper(&test, &test.file("t", Some(&table), &named(&[("n", BigInt)]), &batch(&[("n", numbers(&[1]))])));
        add_columns_only(&test.lake, &mut table, &named(&[("n", String)]), soon()).unwrap();
        assert!(other.for_table(&table, &[]).unwrap().is_none(), "the column came as another type");
        let layout = FileLayout::of_aside(&test.lake, SCHEMA, "t", &named(&[("n", String)])).unwrap();
        let mut writer = super::super::FileWriter::create(&test.lake, layout).unwrap();
        super::super::testing::write(&mut writer, &batch(&[("n", strings(&["x"]))])).unwrap();
        let aside = on_paper(&test, &writer.finish().unwrap());
        assert!(aside.path.starts_with("_inlet/held-rows/web/t/part-"), "{}", aside.path);
        assert!(aside.for_table(&table, &[]).unwrap().is_none());
    }

    #[test]
    fn its_rows_are_read_back_by_their_names() {
        let test = TestLake::new();
        let rows = batch(&[("n", numbers(&[1, 2])), ("s", strings(&["a", "b"]))]);
        let kept = on_paper(&test, &test.file("t", None, &named(&[("n", BigInt), ("s", String)]), &rows));
        assert_eq!(kept.columns().collect::<Vec<_>>(), [("n", BigInt), ("s", String)]);
        let mut read = 0;
        kept.read(&test.lake, &mut |batch| {
            assert_eq!(batch.num_columns(), 2);
            read += batch.column(1).len();
            Ok(())
        })
        .unwrap();
        assert_eq!(read, 2);
        std::fs::remove_file(test.path("t").join(kept.path.rsplit('/').next().unwrap())).unwrap();
        assert!(kept.read(&test.lake, &mut |_| Ok(())).is_err());
    }
}
