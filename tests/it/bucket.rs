//! A lake in memory: quick to copy, so that many runs can begin from the same state, and open to inspection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

use crate::lake::{self, Table};
use crate::support::{SCHEMA, runtime};

/// A store in memory. Its lake is [`crate::support::lake_over`].
#[derive(Default)]
pub(crate) struct Bucket(Arc<InMemory>);

impl Bucket {
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.0) as Arc<dyn ObjectStore>
    }

    /// Another bucket with all that is in this one.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(self.0.fork()))
    }

    /// All keys, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let listed = runtime().block_on(self.0.list(None).map_ok(|object| object.location.into()).try_collect());
        let mut keys: Vec<String> = listed.expect("memory can be listed");
        keys.sort();
        keys
    }

    pub(crate) fn bytes(&self, key: &str) -> Bytes {
        let read = runtime().block_on(async { self.0.get(&Path::from(key)).await?.bytes().await });
        read.unwrap_or_else(|error| panic!("{key}: {error}"))
    }

    pub(crate) fn put(&self, key: &str, bytes: Vec<u8>) {
        runtime().block_on(self.0.put(&Path::from(key), bytes.into())).expect("memory can be written");
    }

    /// Removes an object; answers what it held.
    pub(crate) fn take(&self, key: &str) -> Bytes {
        let bytes = self.bytes(key);
        runtime().block_on(self.0.delete(&Path::from(key))).expect("memory can be written");
        bytes
    }

    /// Uploads that are done, by the text of the log of `_loads` alone.
    pub(crate) fn done(&self) -> BTreeSet<String> {
        let mut done = BTreeSet::new();
        for key in self.keys().iter().filter(|key| key.contains("/_loads/_delta_log/")) {
            let text = String::from_utf8_lossy(&self.bytes(key)).into_owned();
            let ids = text.split(r#""appId":"inlet/"#).skip(1).filter_map(|rest| rest.split('"').next());
            done.extend(ids.filter(|id| !id.starts_with("key/")).map(str::to_owned));
        }
        done
    }

    /// All tables of the schema, by the text of their commits, all of which must be there, and the Parquet reader.
    pub(crate) fn tables(&self) -> BTreeMap<String, Table> {
        let mut logs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in self.keys() {
            let parts: Vec<&str> = key.split('/').collect();
            if let ["lake", SCHEMA, table, "_delta_log", name] = parts[..]
                && name.ends_with(".json")
            {
                logs.entry(table.to_owned()).or_default().push(key);
            }
        }
        logs.into_iter().map(|(name, commits)| (name.clone(), self.table(&name, &commits))).collect()
    }

    fn table(&self, name: &str, commits: &[String]) -> Table {
        let mut columns = Vec::new();
        let mut files = BTreeSet::new();
        for (version, commit) in commits.iter().enumerate() {
            assert!(commit.ends_with(&format!("/{version:020}.json")), "`{name}` has an odd log: {commits:?}");
            for line in String::from_utf8(self.bytes(commit).into()).expect("a log is text").lines() {
                let action: Value = serde_json::from_str(line).expect("a log is lines of JSON");
                if let Some(schema) = action["metaData"]["schemaString"].as_str() {
                    let schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
                    let text = |field: &Value, key: &str| field[key].as_str().expect("fields are named").to_owned();
                    let column = |field: &Value| (text(field, "name"), lake::type_of(&text(field, "type")));
                    columns = schema["fields"].as_array().expect("a schema has fields").iter().map(column).collect();
                }
                if let Some(path) = action["add"]["path"].as_str() {
                    assert!(files.insert(path.to_owned()), "`{name}` names {path} twice");
                }
                if let Some(path) = action["remove"]["path"].as_str() {
                    assert_eq!(action["remove"]["dataChange"], false, "nothing removes rows here");
                    assert!(files.remove(path), "`{name}` removes {path}, which it has not");
                }
            }
        }
        let mut rows = Vec::new();
        for file in &files {
            lake::read_parquet(self.bytes(&format!("lake/{SCHEMA}/{name}/{file}")), &columns, &mut rows);
        }
        Table { version: commits.len() as u64 - 1, columns, rows, files: files.len() }
    }
}

/// Holds the tables of a lake against those of one where the same uploads landed undisturbed, value by value: events,
/// rejections, and what `_loads` says about them.
pub(crate) fn assert_like_clean(what: &str, tables: &BTreeMap<String, Table>, clean: &BTreeMap<String, Table>) {
    let of_run: [&str; 7] = ["uuid_ts", "loaded_at", "version", "started_at", "finished_at", "lag", "new_columns"];
    lake::assert_same_tables(what, tables, clean, &of_run);
    lake::assert_ledger_of(SCHEMA, tables);
}
