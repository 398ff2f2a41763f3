//! What Inlet said about a schema, against what was counted in its tables.

use std::collections::{BTreeMap, BTreeSet};

use super::counted::{Counted, Sum, Tally};
use super::differences::{Check, Difference, Differences};
use super::ledger::{FILTERED_TABLES, KnownUpload, LEDGER_HINT, Ledger, Load, is_call};
use super::stored::Stored;
use crate::ledger::{LOADS, REJECTS};

const LOST: &str = "rows were deleted, overwritten or lost with a file; compare the table's history (DESCRIBE \
                    HISTORY), and `inlet verify` with the uploads named says which ids";
const DOUBLED: &str = "a file was added twice or somebody else wrote rows; compare the table's history (DESCRIBE \
                       HISTORY)";
const EVOLVE_AGAIN: &str = "evolve is at work or was killed between the two: run inlet evolve again";
const RUN_AGAIN: &str = "a run is at work or was killed: run ingest again with this upload; if it was overwritten \
                         since, its rows stay and no row of `_loads` counts them";

/// A schema as it was read.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    pub(super) name: &'a str,
    pub(super) ledger: &'a Ledger,
    pub(super) loads: &'a Stored,
    /// Every table but `_loads`: read, or (nothing) one that could not be proved.
    pub(super) tables: &'a BTreeMap<String, Option<(Stored, Counted)>>,
    /// Uploads that landed while the tables were read: their rows are not judged.
    pub(super) landed_meanwhile: &'a BTreeSet<String>,
}

impl Schema<'_> {
    /// Names every difference.
    pub(super) fn judge(&self, differences: &mut Differences) {
        self.missing_tables(differences);
        for (name, table) in self.tables {
            let Some((stored, counted)) = table else { continue };
            self.rows_by_upload(name, counted, differences);
            self.ids_in_the_log(stored, counted, differences);
            if counted.no_upload > 0 {
                let message =
                    format!("{} rows of `{}` say no upload that brought them", counted.no_upload, stored.label());
                let hint = "somebody else wrote or updated them: Inlet fills `_upload_id` in every row";
                let difference = Difference::new(Check::NoUpload, self.name, message, hint).table(name);
                differences.push(difference.numbers(0, counted.no_upload as i64));
            }
        }
        for (at, upload) in self.ledger.uploads.iter().enumerate().filter(|(_, upload)| !upload.is_stranger()) {
            self.whole_upload(at as u32, upload, differences);
        }
        self.tracks_and_their_events(differences);
        self.tracks_and_their_ledger(differences);
        self.done_ids(differences);
    }

    fn counted(&self, table: &str) -> Option<&Counted> {
        self.tables.get(table)?.as_ref().map(|(_, counted)| counted)
    }

    /// Whether nothing is known about a table: it could not be read, or it is not there and that was said.
    fn is_unknown(&self, table: &str) -> bool {
        self.counted(table).is_none()
    }

    fn missing_tables(&self, differences: &mut Differences) {
        let mut missing: BTreeMap<&str, i64> = BTreeMap::new();
        for upload in &self.ledger.uploads {
            let parts = upload.parts.iter().flat_map(|(table, loads)| loads.iter().map(move |load| (table, load.rows)));
            let rejects = upload.whole.iter().map(|load| load.rejected).sum();
            for (table, rows) in parts.map(|(table, rows)| (table.as_str(), rows)).chain([(REJECTS, rejects)]) {
                if rows > 0 && !self.tables.contains_key(table) {
                    *missing.entry(table).or_default() += rows;
                }
            }
        }
        for (table, rows) in missing {
            let message = format!("table `{}.{table}` is not there; `{LOADS}` says that it has {rows} rows", self.name);
            let hint = "restore the folder (versions of the bucket, a backup), or UNDROP the table";
            differences
                .push(Difference::new(Check::TableMissing, self.name, message, hint).table(table).numbers(rows, 0));
        }
    }

    /// Rows of each upload in one table: as many as `_loads` says, each once.
    fn rows_by_upload(&self, table: &str, counted: &Counted, differences: &mut Differences) {
        let concerned: BTreeSet<u32> = counted.tallies.keys().chain(self.ledger.of_table(table)).copied().collect();
        for at in concerned {
            let (upload, tally) = (&self.ledger.uploads[at as usize], counted.tallies.get(&at));
            if let Some(tally) = tally {
                self.strange_ids(table, upload, tally, differences);
            }
            if upload.is_stranger() {
                if let Some(tally) = tally.filter(|_| !self.landed_meanwhile.contains(&upload.id)) {
                    differences.push(self.stranger(table, upload, tally));
                }
                continue;
            }
            let (rows, rescued) = tally.map_or((0, 0), |tally| (tally.sum.rows as i64, tally.rescued as i64));
            let (expected, expected_rescued) = expected(upload, table);
            let check = if table == REJECTS { Check::Rejected } else { Check::Rows };
            let label = upload.label();
            if rows != expected && upload.is_held_for(table) {
                let message = format!(
                    "{rows} rows of `{label}` stand in `{}.{table}`, and `{LOADS}` still calls them held",
                    self.name
                );
                let difference = upload.differs(Check::HalfLanded, self.name, message, EVOLVE_AGAIN).table(table);
                differences.push(difference.numbers(expected, rows));
                continue;
            }
            if rows != expected {
                let hint = if rows < expected { LOST } else { DOUBLED };
                let message =
                    format!("`{label}` has {rows} rows in `{}.{table}`, `{LOADS}` says {expected}", self.name);
                differences.push(upload.differs(check, self.name, message, hint).table(table).numbers(expected, rows));
            }
            if rescued != expected_rescued {
                let message = format!(
                    "rows of `{label}` in `{}.{table}` keep {rescued} values in `_rescued_data`, `{LOADS}` says \
                     {expected_rescued}",
                    self.name
                );
                let hint = "rows were rewritten or lost: what fitted no column is kept there only";
                let difference = upload.differs(Check::Rescued, self.name, message, hint).table(table);
                differences.push(difference.numbers(expected_rescued, rescued));
            }
        }
    }

    fn strange_ids(&self, table: &str, upload: &KnownUpload, tally: &Tally, differences: &mut Differences) {
        let (name, label) = (self.name, upload.label());
        if tally.doubled > 0 {
            let ids = tally.doubled_ids.join("`, `");
            let message = format!(
                "{} rows of `{label}` in `{name}.{table}` have an id that stands there already, for it or another form \
                 of its key: `{ids}`{}",
                tally.doubled,
                if tally.doubled > tally.doubled_ids.len() as u64 { ", …" } else { "" }
            );
            let difference = upload.differs(Check::DoubledId, name, message, DOUBLED).table(table);
            differences.push(difference.numbers(0, tally.doubled as i64));
        }
        if tally.no_id > 0 {
            let message = format!("{} rows of `{label}` in `{name}.{table}` have no id", tally.no_id);
            let hint = "somebody else wrote or updated them: Inlet fills `id` in every row";
            let difference = upload.differs(Check::NoId, name, message, hint).table(table);
            differences.push(difference.numbers(0, tally.no_id as i64));
        }
    }

    fn stranger(&self, table: &str, upload: &KnownUpload, tally: &Tally) -> Difference {
        let rows = tally.sum.rows;
        let (check, hint) = if upload.underway {
            (Check::HalfLanded, RUN_AGAIN)
        } else {
            (
                Check::UnknownUpload,
                "rows of `_loads` are lost, or a run was killed and its note in `_inlet/underway/` is gone: run ingest \
                 again with this upload",
            )
        };
        let message =
            format!("{rows} rows of `{}` in `{}.{table}`, and no row of `{LOADS}` knows it", upload.label(), self.name);
        upload.differs(check, self.name, message, hint).table(table).numbers(0, rows as i64)
    }

    /// The `txn` ids of a table's log: one for each upload with rows there, and no other.
    fn ids_in_the_log(&self, stored: &Stored, counted: &Counted, differences: &mut Differences) {
        for id in stored.txns.uploads() {
            // Rows that `_loads` misses too were named with it.
            let is_named = |at| expected(&self.ledger.uploads[at as usize], &stored.name).0 != 0;
            if self.ledger.find(id).is_some_and(|at| counted.rows_of(at) > 0 || is_named(at)) {
                continue;
            }
            let message =
                format!("the log of `{}` says that upload {id} landed, and no row of it is there", stored.label());
            let difference = Difference::new(Check::TxnWithoutRows, self.name, message, LOST).upload_id(id);
            differences.push(difference.table(&stored.name));
        }
        for (at, tally) in counted.in_order() {
            let upload = &self.ledger.uploads[at as usize];
            let must_have_id = upload.has_ids() && !upload.was_loaded_into(&stored.name);
            if must_have_id && tally.sum.rows > 0 && !stored.txns.has(&upload.id) {
                differences.push(self.without_txn(upload, &stored.name));
            }
        }
        for at in self.ledger.of_table(&stored.name) {
            let upload = &self.ledger.uploads[*at as usize];
            let named = upload.parts.get(&stored.name).into_iter().flatten().filter_map(|load| load.version).max();
            if let Some(version) = named.filter(|version| *version > stored.version as i64) {
                let message = format!(
                    "the log of `{}` ends at version {}; `{LOADS}` says that version {version} holds rows of `{}`",
                    stored.label(),
                    stored.version,
                    upload.label()
                );
                let hint =
                    "the last commits are gone: the table was restored, made anew, or files of its log were lost";
                let difference = upload.differs(Check::LogBehind, self.name, message, hint).table(&stored.name);
                differences.push(difference.numbers(version, stored.version as i64));
            }
        }
    }

    fn without_txn(&self, upload: &KnownUpload, table: &str) -> Difference {
        let message = format!(
            "rows of `{}` stand in `{}.{table}`, and its log does not say that the upload landed",
            upload.label(),
            self.name
        );
        let hint = "rows were copied from elsewhere or changed hands, or a commit of the log is lost; such an upload \
                    could land twice";
        upload.differs(Check::RowsWithoutTxn, self.name, message, hint).table(table)
    }

    /// The upload's own row of `_loads` against the rows of the call tables; where `tracks` was left out, its events
    /// landed in their own tables.
    fn whole_upload(&self, at: u32, upload: &KnownUpload, differences: &mut Differences) {
        let [whole] = upload.whole.as_slice() else { return };
        let calls = || self.tables.keys().filter(|table| upload.lands_in(table) && *table != REJECTS);
        let named = upload.parts.keys().filter(|table| upload.lands_in(table));
        if calls().chain(named).any(|table| self.tables.contains_key(table) && self.is_unknown(table)) {
            return;
        }
        let landed: u64 = calls().filter_map(|table| self.counted(table)).map(|counted| counted.rows_of(at)).sum();
        if landed as i64 != whole.rows {
            let message = format!(
                "`{}`: {} events landed as `{LOADS}` says, {landed} rows stand in the call tables of `{}`",
                upload.label(),
                whole.rows,
                self.name
            );
            let hint = if (landed as i64) < whole.rows { LOST } else { DOUBLED };
            differences
                .push(upload.differs(Check::Landed, self.name, message, hint).numbers(whole.rows, landed as i64));
        }
    }

    /// Each row of `tracks` has its row in the table of its event: the same ids, where there are as many.
    fn tracks_and_their_events(&self, differences: &mut Differences) {
        let Some(tracks) = self.counted("tracks") else { return };
        let halves: BTreeSet<u32> =
            self.ledger.uploads.iter().filter(|one| one.is_stranger()).map(|one| one.lineage).collect();
        for (at, tally) in tracks.in_order() {
            let upload = &self.ledger.uploads[at as usize];
            // Rows of a form that was not finished may stand in one of the two tables only.
            if upload.is_stranger() || halves.contains(&upload.lineage) {
                continue;
            }
            let mut events: Vec<(&String, &Sum)> = tally.events.iter().collect();
            events.sort_unstable_by_key(|(event, _)| *event);
            for (event, in_tracks) in events {
                // Beyond the limit of tables a track has a row in `tracks` only.
                let is_due = upload
                    .parts
                    .get(event)
                    .is_some_and(|loads| loads.iter().any(|load| load.rows + load.duplicates > 0 && load.held == 0));
                let (true, Some(counted)) = (is_due, self.counted(event)) else { continue };
                let in_event = counted.tallies.get(&at).map(|tally| tally.sum).unwrap_or_default();
                let message = if in_event.rows < in_tracks.rows {
                    "there are more of them in `tracks`"
                } else if in_event.rows == in_tracks.rows && in_event != *in_tracks {
                    "as many, and of other ids"
                } else {
                    continue;
                };
                let message = format!(
                    "rows of `{}` in `{name}.tracks` and in `{name}.{event}` do not belong together: {message}",
                    upload.label(),
                    name = self.name
                );
                let difference = upload.differs(Check::TrackWithoutEvent, self.name, message, LOST).table(event);
                differences.push(difference.numbers(in_tracks.rows as i64, in_event.rows as i64));
            }
        }
    }

    /// Each event of `tracks` was counted for the table of its event too, unless a limit kept it out of that: then some
    /// rows of `tracks` have no table.
    fn tracks_and_their_ledger(&self, differences: &mut Differences) {
        let uploads = &self.ledger.uploads;
        let has_no_table = |(at, tally): (&u32, &Tally)| {
            let upload = &uploads[*at as usize];
            !upload.is_stranger() && tally.events.keys().any(|event| !upload.parts.contains_key(event))
        };
        let is_limited = match self.tables.get("tracks") {
            Some(Some((_, tracks))) => tracks.tallies.iter().any(has_no_table),
            Some(None) => true,
            None => false,
        };
        for upload in uploads.iter().filter(|upload| !is_limited && upload.parts.len() < FILTERED_TABLES) {
            let in_all = |loads: &Vec<Load>| loads.first().map_or(0, |load| load.events);
            let tracks = upload.parts.get("tracks").map_or(0, in_all);
            let by_event: i64 =
                upload.parts.iter().filter(|(table, _)| !is_call(table)).map(|(_, loads)| in_all(loads)).sum();
            if tracks != by_event {
                let message = format!(
                    "`{}`: {tracks} events of tracks in all, {by_event} by the tables of their events in `{}.{LOADS}`",
                    upload.label(),
                    self.name
                );
                let difference = upload.differs(Check::Ledger, self.name, message, LEDGER_HINT);
                differences.push(difference.numbers(tracks, by_event));
            }
        }
    }

    /// `_loads` itself: its ids say which uploads are done, its rows say what became of them.
    fn done_ids(&self, differences: &mut Differences) {
        for id in self.loads.txns.uploads().into_iter().filter(|id| !self.ledger.knows(id)) {
            let message =
                format!("the log of `{}` says that upload {id} is done, and no row of it is there", self.loads.label());
            let hint = "rows of `_loads` were deleted or lost with a file: ingest will not land this upload again";
            let difference = Difference::new(Check::TxnWithoutRows, self.name, message, hint).upload_id(id);
            differences.push(difference.table(LOADS));
        }
        for upload in self.ledger.uploads.iter().filter(|upload| upload.has_ids()) {
            if !self.loads.txns.has(&upload.id) {
                differences.push(self.without_txn(upload, LOADS));
            }
        }
    }
}

/// The rows of an upload in a table, and the values that they rescued, as `_loads` says.
fn expected(upload: &KnownUpload, table: &str) -> (i64, i64) {
    match (table, upload.parts.get(table).and_then(|loads| loads.first())) {
        (REJECTS, _) => (upload.whole.first().map_or(0, |load| load.rejected), 0),
        (_, Some(load)) => (load.rows, load.rescued),
        (_, None) => (0, 0),
    }
}
