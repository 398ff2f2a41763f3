//! What can go wrong with a lake behind Inlet's back: logs and files, changed by hand as another engine, a careless
//! person or a failing disk would.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

/// A table in a folder of this machine.
pub(crate) struct Victim(PathBuf);

impl Victim {
    pub(crate) fn of(lake: &Path, schema: &str, table: &str) -> Self {
        Self(lake.join(schema).join(table))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The file of a commit.
    pub(crate) fn commit(&self, version: u64) -> PathBuf {
        self.0.join(format!("_delta_log/{version:020}.json"))
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u64 {
        (0..).take_while(|version| self.commit(*version).is_file()).last().expect("the table has a log")
    }

    /// The actions of a commit.
    pub(crate) fn actions(&self, version: u64) -> Vec<Value> {
        let text = fs::read_to_string(self.commit(version)).expect("the commit is there");
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Writes a commit anew, or the next one.
    pub(crate) fn write(&self, version: u64, actions: &[Value]) {
        let lines: Vec<String> = actions.iter().map(|action| format!("{action}\n")).collect();
        fs::write(self.commit(version), lines.concat()).expect("the commit can be written");
    }

    /// Adds a commit behind the newest.
    pub(crate) fn push(&self, actions: &[Value]) {
        self.write(self.version() + 1, actions);
    }

    /// Changes a commit's actions.
    pub(crate) fn change(&self, version: u64, change: impl FnOnce(&mut Vec<Value>)) {
        let mut actions = self.actions(version);
        change(&mut actions);
        self.write(version, &actions);
    }

    /// The `add` actions of all commits.
    pub(crate) fn adds(&self) -> Vec<Value> {
        let actions = (0..=self.version()).flat_map(|version| self.actions(version));
        actions.filter(|action| action.get("add").is_some()).collect()
    }

    /// The first file that was added.
    pub(crate) fn first_file(&self) -> PathBuf {
        self.path(file_of(&self.adds()[0]))
    }

    /// Rewrites all files, batch by batch, in one commit that removes the old ones: what an UPDATE or DELETE does.
    pub(crate) fn rewrite(&self, mut change: impl FnMut(RecordBatch) -> RecordBatch) {
        let mut actions = vec![json!({ "commitInfo": { "operation": "UPDATE" } })];
        for (number, add) in self.adds().into_iter().enumerate() {
            let old = file_of(&add);
            let reader = File::open(self.path(old)).expect("the file is there");
            let builder = ParquetRecordBatchReaderBuilder::try_new(reader).expect("a Parquet file");
            let schema = Arc::clone(builder.schema());
            let new = format!("rewritten-{number}.parquet");
            let file = File::create(self.path(&new)).expect("a file can be made");
            let mut writer = ArrowWriter::try_new(file, schema, None).expect("a writer");
            let mut rows = 0;
            for batch in builder.build().expect("a reader") {
                let batch = change(batch.expect("the file can be read"));
                rows += batch.num_rows();
                writer.write(&batch).expect("rows can be written");
            }
            writer.close().expect("the file can be finished");
            actions.push(json!({ "remove": { "path": old, "dataChange": true, "deletionTimestamp": 1 } }));
            actions.push(self.add(&new, rows));
        }
        self.push(&actions);
    }

    /// The action that adds a file that lies in the table's folder.
    pub(crate) fn add(&self, file: &str, rows: usize) -> Value {
        let size = fs::metadata(self.path(file)).expect("the file is there").len();
        json!({ "add": {
            "path": file, "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": true,
            "stats": json!({ "numRecords": rows }).to_string(),
        } })
    }
}

/// The file of an `add` action.
pub(crate) fn file_of(add: &Value) -> &str {
    add["add"]["path"].as_str().expect("a path")
}

/// Changes the `stats` of an `add` action.
pub(crate) fn change_stats(add: &mut Value, change: impl FnOnce(&mut Value)) {
    let mut stats: Value = serde_json::from_str(add["add"]["stats"].as_str().expect("statistics")).expect("JSON");
    change(&mut stats);
    add["add"]["stats"] = stats.to_string().into();
}

/// A batch with the texts of one column changed.
pub(crate) fn texts(
    batch: &RecordBatch,
    column: &str,
    change: impl Fn(usize, Option<&str>) -> Option<String>,
) -> RecordBatch {
    // A file lacks the columns that have no value in it.
    let Ok(at) = batch.schema().index_of(column) else { return batch.clone() };
    let old = batch.column(at).as_string::<i32>();
    let new: StringArray = (0..old.len()).map(|row| change(row, old.is_valid(row).then(|| old.value(row)))).collect();
    with(batch, at, Arc::new(new))
}

/// A batch with another column in the place of one.
pub(crate) fn with(batch: &RecordBatch, at: usize, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[at] = column;
    RecordBatch::try_new(batch.schema(), columns).expect("the columns fit")
}

/// The rows of a batch for which `keep` says so.
pub(crate) fn rows(batch: &RecordBatch, keep: impl Fn(usize) -> bool) -> RecordBatch {
    let kept: Vec<RecordBatch> =
        (0..batch.num_rows()).filter(|&row| keep(row)).map(|row| batch.slice(row, 1)).collect();
    deltalake::arrow::compute::concat_batches(&batch.schema(), &kept).expect("rows of one batch")
}
