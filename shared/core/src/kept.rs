//! Tables that a process keeps from one call to the next, so that a call reads of each log what is new and no more.
//!
//! A kept table is used only while its log still is the one that it was read from; otherwise it is opened as if nothing
//! had been kept. What cannot be kept is dropped without a word: it costs the next call some requests, and no more.

use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use hashbrown::HashMap;
use url::Url;

use crate::clock::{self, Deadline};
use crate::crew::lock;
use crate::delta::{Lake, Table};
use crate::fault::Fault;

/// Tables that are kept: 100 KB each, of a wide table with many commits behind its last checkpoint.
const TABLES: usize = 1_000;
/// Upload ids that are kept with them: 40 bytes each at the most.
const IDS: usize = 2_000_000;
/// Landmarks that are noted at once.
const NOTED_AT_ONCE: usize = 16;
/// The caller waits while landmarks are noted.
const NOTED_WITHIN: Duration = Duration::from_secs(2);

/// Tables by their address, as they were last read.
#[derive(Debug, Default)]
pub struct KeptTables(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    /// With the number of the return that brought them.
    tables: HashMap<Url, (u64, Table)>,
    returns: u64,
}

impl KeptTables {
    /// [`Table::open`], by way of the kept table if there is one. It is taken out: two runs never share one.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub(crate) fn open(&self, lake: &Lake, schema: &str, name: &str) -> Result<Option<Table>, Fault> {
        let kept = lock(&self.0).tables.remove(&lake.table_url(schema, name)?);
        if let Some((_, mut table)) = kept {
            // Whatever stood against it, the log read anew says it again.
            if let Ok(true) = table.resume() {
                return Ok(Some(table));
            }
        }
        Table::open(lake, schema, name)
    }

    /// Keeps tables of a run that is over, but for those whose logs could not be known again.
    pub(crate) fn give_back(&self, lake: &Lake, tables: impl Iterator<Item = Table>, deadline: Deadline) {
        let deadline = Deadline::after(NOTED_WITHIN.min(deadline.left()));
        let noted = futures::stream::iter(tables).map(|mut table| async move {
            let is_noted = clock::within(deadline, table.note_landmark()).await;
            (is_noted == Some(true)).then_some(table)
        });
        let noted = noted.buffer_unordered(NOTED_AT_ONCE).filter_map(std::future::ready);
        let noted: Vec<Table> = lake.wait(noted.collect());
        lock(&self.0).put(noted, TABLES, IDS);
    }
}

impl Shelf {
    fn put(&mut self, returned: Vec<Table>, most_tables: usize, most_ids: usize) {
        self.returns += 1;
        let returned = returned.into_iter().map(|table| (table.url().clone(), (self.returns, table)));
        self.tables.extend(returned);
        let mut ids: usize = self.tables.values().map(|(_, table)| table.id_count()).sum();
        while self.tables.len() > most_tables || ids > most_ids {
            let oldest = self.tables.iter().min_by_key(|(_, (returned, _))| *returned).map(|(url, _)| url.clone());
            let Some((_, dropped)) = oldest.and_then(|url| self.tables.remove(&url)) else { return };
            ids -= dropped.id_count();
        }
    }
}

/// Opens a table, from those that are kept where some are.
pub(crate) fn open(kept: Option<&KeptTables>, lake: &Lake, schema: &str, name: &str) -> Result<Option<Table>, Fault> {
    match kept {
        Some(kept) => kept.open(lake, schema, name),
        None => Table::open(lake, schema, name),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::delta::testing::{SCHEMA, TestLake, Trick};
    use crate::ledger::LOADS;
    use crate::report::{Report, Status};
    use crate::route::{Parts, Unwatched, ingest};
    use crate::settings::Settings;
    use crate::upload::{Place, Upload, UploadId};

    /// A track of an event `Kept`.
    fn upload(schema: &str, id: &str) -> Upload {
        let bytes = format!(r#"{{"type":"track","messageId":"{id}","userId":"u","event":"Kept"}}"#).into_bytes();
        Upload {
            name: id.to_owned(),
            id: UploadId::of_content(&Sha256::digest(&bytes).into()),
            key: Some(id.to_owned()),
            size: bytes.len() as u64,
            modified: clock::now(),
            schema: schema.to_owned(),
            place: Place::Bytes(Arc::new(bytes)),
        }
    }

    /// What a process keeps over a lake.
    fn process(test: &TestLake) -> Parts {
        Parts {
            lake: test.lake.clone(),
            managed: None,
            settings: Settings { workers: 1, ..Settings::default() },
            host: "lambda",
            allowance: None,
            kept: Some(Arc::default()),
        }
    }

    fn land(parts: &Parts, ids: &[&str]) -> Report {
        ingest(parts, ids.iter().map(|id| upload(SCHEMA, id)).collect(), &Unwatched)
    }

    fn all_landed(report: &Report) {
        assert!(report.fault.is_none(), "{report:#?}");
        assert!(report.uploads.iter().all(|upload| upload.status == Status::Landed), "{report:#?}");
    }

    /// The tables that are kept, by folder.
    fn kept(parts: &Parts) -> Vec<String> {
        let shelf = lock(&parts.kept.as_ref().unwrap().0);
        let folder = |url: &Url| url.path_segments().unwrap().rev().nth(1).unwrap().to_owned();
        let mut folders: Vec<String> = shelf.tables.keys().map(folder).collect();
        folders.sort();
        folders
    }

    fn ids(test: &TestLake, name: &str) -> Vec<String> {
        test.rows(&test.open(name).unwrap(), &["id"])
    }

    #[test]
    fn what_a_call_opened_the_next_does_not_read_again() {
        let (test, others) = (TestLake::new(), TestLake::new());
        let parts = process(&test);
        all_landed(&land(&parts, &["a"]));
        assert_eq!(kept(&parts), [""; 0], "nothing vouches for logs that this call began");
        all_landed(&land(&parts, &["b"]));
        assert_eq!(kept(&parts), [LOADS, "kept", "tracks"]);
        all_landed(&land(&parts, &["c"]));
        // Whoever opens the table needs its first commit.
        let first = test.path("tracks").join(format!("_delta_log/{:020}.json", 0));
        let aside = others.folder.path().join("aside");
        fs::rename(&first, &aside).unwrap();
        assert!(Table::open(&test.lake, SCHEMA, "tracks").is_err());
        all_landed(&land(&parts, &["d"]));
        fs::rename(&aside, &first).unwrap();
        assert_eq!(ids(&test, "tracks"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_table_that_was_made_anew_between_calls_gets_rows_that_all_can_read() {
        for length in 0..5 {
            let test = TestLake::new();
            let (parts, other) = (process(&test), process(&test));
            for id in ["a", "b", "c"] {
                all_landed(&land(&parts, &[id]));
            }
            fs::remove_dir_all(test.path("tracks")).unwrap();
            let theirs: Vec<String> = (0..length).map(|number| format!("d{number}")).collect();
            theirs.iter().for_each(|id| all_landed(&land(&other, &[id])));
            all_landed(&land(&parts, &["e"]));
            let expected: Vec<&str> = theirs.iter().map(String::as_str).chain(["e"]).collect();
            assert_eq!(ids(&test, "tracks"), expected, "{length} commits");
            assert_eq!(test.open("tracks").unwrap().version(), length, "{length} commits");
        }
    }

    #[test]
    fn what_others_landed_between_calls_is_known() {
        let test = TestLake::new();
        let (parts, other) = (process(&test), process(&test));
        all_landed(&land(&parts, &["a"]));
        all_landed(&land(&parts, &["b"]));
        all_landed(&land(&other, &["c", "d"]));
        let report = land(&parts, &["c", "e"]);
        let statuses: Vec<Status> = report.uploads.iter().map(|upload| upload.status).collect();
        assert_eq!(statuses, [Status::AlreadyLanded, Status::Landed]);
        assert_eq!(ids(&test, "kept"), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_run_that_failed_leaves_its_tables() {
        let test = TestLake::new();
        let parts = process(&test);
        all_landed(&land(&parts, &["a"]));
        all_landed(&land(&parts, &["b"]));
        // Its last commit: `_loads`.
        test.tricks.play_at(2, Trick::Refuse);
        assert!(land(&parts, &["c"]).fault.is_some());
        assert_eq!(kept(&parts), [LOADS, "kept", "tracks"]);
        all_landed(&land(&parts, &["c", "d"]));
        assert_eq!(ids(&test, "kept"), ["a", "b", "c", "d"]);
        assert_eq!(ids(&test, "tracks"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn tables_of_one_name_in_two_schemas_are_two() {
        let test = TestLake::new();
        let parts = process(&test);
        for number in 0..4 {
            let uploads = [SCHEMA, "shop"].map(|schema| upload(schema, &format!("{schema} {number}")));
            all_landed(&ingest(&parts, uploads.into(), &Unwatched));
        }
        assert_eq!(kept(&parts).len(), 6);
        for schema in [SCHEMA, "shop"] {
            let table = Table::open(&test.lake, schema, "tracks").unwrap().unwrap();
            assert_eq!(test.rows(&table, &["id"]), [0, 1, 2, 3].map(|number| format!("{schema} {number}")));
        }
    }

    #[test]
    fn what_was_given_back_first_goes_first() {
        let test = TestLake::new();
        all_landed(&land(&process(&test), &["a", "b"]));
        let open = |name: &str| test.open(name).unwrap();
        let held = |shelf: &Shelf| {
            let mut names: Vec<&str> =
                shelf.tables.keys().filter_map(|url| url.path_segments()?.rev().nth(1)).collect();
            names.sort_unstable();
            names.join(" ")
        };
        let mut shelf = Shelf::default();
        shelf.put(vec![open("tracks")], 2, 100);
        shelf.put(vec![open("kept")], 2, 100);
        shelf.put(vec![open("tracks")], 2, 100);
        shelf.put(vec![open(LOADS)], 2, 100);
        assert_eq!(held(&shelf), "_loads tracks");
        // Two uploads: an id each, and in `_loads` one more for each key.
        shelf.put(Vec::new(), 2, 4);
        assert_eq!(held(&shelf), "_loads");
        shelf.put(Vec::new(), 2, 3);
        assert_eq!(held(&shelf), "");
    }
}
