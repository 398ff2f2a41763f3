//! A table's log as what it is, a folder of files: the gaps in its versions, and the `txn` ids of uploads. Neither
//! implementation of Delta lists all ids of a table, so the commits and the checkpoint are read here as they stand.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use futures::{StreamExt, TryStreamExt};
use hashbrown::HashSet;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::Deserialize;

use super::parquet_file::{Broken, ParquetFile};
use crate::delta::Lake;
use crate::upload::app_id_of;

/// Commits that are read at once.
const READ_AT_ONCE: usize = 16;

/// The files of a log by version.
#[derive(Debug, Default)]
pub(super) struct Log {
    commits: BTreeMap<u64, Path>,
    /// Files of checkpoints: version and number of parts, with the parts that are there.
    checkpoints: BTreeMap<(u64, usize), Vec<(Path, u64)>>,
}

impl Log {
    /// Notes a file that lies directly in the log's folder.
    pub(super) fn note(&mut self, path: &Path, size: u64) {
        let Some((digits, rest)) = path.filename().and_then(|name| name.split_once('.')) else { return };
        let Some(version) = (digits.len() == 20).then(|| digits.parse().ok()).flatten() else { return };
        let words: Vec<&str> = rest.split('.').collect();
        let parts = match words.as_slice() {
            ["json"] => {
                self.commits.insert(version, path.clone());
                return;
            }
            ["checkpoint", "parquet"] | ["checkpoint", _, "parquet" | "json"] => 1,
            ["checkpoint", _, parts, "parquet"] => match parts.parse() {
                Ok(parts) => parts,
                Err(_) => return,
            },
            _ => return,
        };
        self.checkpoints.entry((version, parts)).or_default().push((path.clone(), size));
    }

    /// The newest checkpoint that is whole, up to a version.
    fn checkpoint(&self, version: u64) -> Option<(u64, &[(Path, u64)])> {
        let mut whole = self.checkpoints.iter().rev().filter(|((_, parts), files)| files.len() >= *parts);
        whole.find(|((at, _), _)| *at <= version).map(|((at, _), files)| (*at, files.as_slice()))
    }

    /// Ranges of versions that are missing, first and last. What was cleaned up before the first commit is no gap when
    /// a checkpoint stands for it.
    pub(super) fn gaps(&self) -> Vec<(u64, u64)> {
        let newest = self.checkpoint(u64::MAX).map(|(version, _)| version);
        let first = self.commits.keys().next().copied();
        let mut next = match (first, newest) {
            (Some(first), Some(newest)) if first <= newest + 1 => first,
            (_, Some(newest)) => newest + 1,
            (_, None) => 0,
        };
        let mut gaps = Vec::new();
        for &version in self.commits.keys() {
            if version > next {
                gaps.push((next, version - 1));
            }
            next = version + 1;
        }
        // Commits end before a checkpoint, which stands for all that is missing: nothing is lost by it.
        gaps
    }

    /// Whether versions up to this one are in a checkpoint.
    pub(super) fn is_in_checkpoint(&self, version: u64) -> bool {
        self.checkpoint(u64::MAX).is_some_and(|(checkpoint, _)| version <= checkpoint)
    }

    /// The ids of uploads (32 hexadecimal digits) that the log up to a version says have landed.
    pub(super) fn upload_ids(&self, lake: &Lake, version: u64) -> Result<Txns, Broken> {
        let mut txns = Txns::default();
        let checkpoint = self.checkpoint(version);
        for (path, size) in checkpoint.map(|(_, files)| files).unwrap_or_default() {
            if path.as_ref().ends_with(".json") {
                let text = lake.wait(async { lake.store().get(path).await?.bytes().await });
                txns.read_commit(&text.map_err(|error| Broken::of_store(lake, path, error))?);
            } else {
                let file = ParquetFile { path: path.clone(), size: *size };
                file.read(lake, Some(&["txn.appId"]), &mut |batch| {
                    let txn = batch.column_by_name("txn").and_then(|column| column.as_struct_opt());
                    let ids = txn.and_then(|txn| txn.column_by_name("appId")?.as_string_opt::<i32>().cloned());
                    ids.iter().flat_map(|ids| ids.iter().flatten()).for_each(|id| txns.add(id));
                    Ok(())
                })?;
            }
        }
        let since = checkpoint.map_or(0, |(at, _)| at + 1);
        let store = lake.store();
        let paths = self.commits.range(since..=version.max(since)).map(|(_, path)| path.clone());
        lake.wait(
            futures::stream::iter(paths)
                .map(|path| async move {
                    let bytes = async { store.get(&path).await?.bytes().await };
                    bytes.await.map_err(|error| Broken::of_store(lake, &path, error))
                })
                .buffer_unordered(READ_AT_ONCE)
                .try_for_each(|bytes| {
                    txns.read_commit(&bytes);
                    std::future::ready(Ok(()))
                }),
        )?;
        Ok(txns)
    }
}

/// The `txn` ids of a log.
#[derive(Debug, Default)]
pub(super) struct Txns(HashSet<String>);

#[derive(Deserialize)]
struct Line {
    txn: Option<Txn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Txn {
    app_id: String,
}

impl Txns {
    fn add(&mut self, app_id: &str) {
        self.0.insert(app_id.to_owned());
    }

    fn read_commit(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(Line { txn: Some(txn) }) = serde_json::from_slice(line) {
                self.add(&txn.app_id);
            }
        }
    }

    /// Whether an upload of this id has landed.
    pub(super) fn has(&self, upload_id: &str) -> bool {
        self.0.contains(&app_id_of(upload_id))
    }

    /// Whether this app id stands there, of whatever kind.
    pub(super) fn has_app_id(&self, app_id: &str) -> bool {
        self.0.contains(app_id)
    }

    /// The ids of all uploads that have landed, sorted.
    pub(super) fn uploads(&self) -> Vec<&str> {
        let is_id = |id: &&str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut ids: Vec<&str> = self.0.iter().filter_map(|id| id.strip_prefix("inlet/")).filter(is_id).collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(names: &[&str]) -> Log {
        let mut log = Log::default();
        names.iter().for_each(|name| log.note(&Path::from(format!("t/_delta_log/{name}")), 1));
        log
    }

    fn commits(versions: &[u64]) -> Vec<String> {
        versions.iter().map(|version| format!("{version:020}.json")).collect()
    }

    fn gaps(commit: &[u64], others: &[&str]) -> Vec<(u64, u64)> {
        let commits = commits(commit);
        let names: Vec<&str> = commits.iter().map(String::as_str).chain(others.iter().copied()).collect();
        log(&names).gaps()
    }

    #[test]
    fn versions_must_follow_each_other_from_the_beginning_or_a_checkpoint() {
        let checkpoint = "00000000000000000003.checkpoint.parquet";
        assert_eq!(gaps(&[0, 1, 2], &["_last_checkpoint", "00000000000000000001.crc"]), []);
        assert_eq!(gaps(&[0, 2, 5], &[]), [(1, 1), (3, 4)]);
        assert_eq!(gaps(&[1, 2], &[]), [(0, 0)]);
        assert_eq!(gaps(&[4, 5], &[checkpoint]), []);
        assert_eq!(gaps(&[2, 3, 4], &[checkpoint]), []);
        assert_eq!(gaps(&[5], &[checkpoint]), [(4, 4)]);
        assert_eq!(gaps(&[0, 1, 3], &[checkpoint]), [(2, 2)]);
        assert_eq!(gaps(&[], &[checkpoint]), []);
    }

    #[test]
    fn a_checkpoint_counts_when_all_its_parts_are_there() {
        let part = |part: u32| format!("00000000000000000003.checkpoint.{part:010}.0000000002.parquet");
        assert_eq!(gaps(&[4], &[&part(1), &part(2)]), []);
        assert_eq!(gaps(&[4], &[&part(1)]), [(0, 3)]);
        assert!(log(&[&part(1), &part(2)]).is_in_checkpoint(3));
        assert!(!log(&[&part(1)]).is_in_checkpoint(3));
    }

    #[test]
    fn only_ids_of_uploads_are_uploads() {
        let mut txns = Txns::default();
        let id = "d0d44a010857cc4deddd26d71efdcecd";
        txns.read_commit(
            format!(
                "{{\"commitInfo\":{{}}}}\n{{\"txn\":{{\"appId\":\"inlet/{id}\",\"version\":1}}}}\n\
                 {{\"txn\":{{\"appId\":\"inlet/key/{id}\",\"version\":1}}}}\n{{\"txn\":{{\"appId\":\"other\",\"version\":1}}}}"
            )
            .as_bytes(),
        );
        assert_eq!(txns.uploads(), [id]);
        assert!(txns.has(id) && txns.has_app_id("other") && !txns.has("other"));
    }
}
