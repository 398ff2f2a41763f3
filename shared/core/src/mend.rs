//! Commits that are gone from a table's log, landed again.
//!
//! On S3 Databricks may put a commit of its own over one of ours (see [`crate::gates`]), after `_loads` has called the
//! uploads landed. Then `_loads` counts rows of an upload for a table whose log does not know the upload. Its data files
//! still lie in the table's folder, until `VACUUM` takes them: their rows are written anew for the table as it is now,
//! and committed with the uploads' ids, as the first commit was.
//!
//! What may lie there besides is told apart by counting. Files of an earlier attempt, which never was committed, hold
//! rows of the same upload from another run; a run's rows all have the time at which it began. The rows of one run land
//! if they are as many as `_loads` says, each once: copies, by another engine or by an attempt to mend that failed, are
//! told by the events' ids. Rows that stand in the table without their upload's id get the id alone.
//!
//! A commit of `_loads` that is gone needs nothing of this: the uploads are not done then, and their next run writes it.

mod found;

use std::cell::RefCell;
use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use hashbrown::{HashMap, HashSet};
use inlet_events::ColumnType;
use serde::Serialize;

use self::found::Found;
use crate::clock::{self, Deadline, Micros};
use crate::delta::{Append, Appended, DataFile, KeptFile, Lake, Table, commit, sweep_uncommitted};
use crate::fault::{Fault, FaultKind};
use crate::held::{Lineage, Origin, Rows, write_anew};
use crate::ledger::{LOADS, REJECTS};
use crate::report::{FaultReport, Status};
use crate::upload::app_id_of;

/// Ids expire after 30 days; older uploads may lack theirs rightly.
const IDS_ARE_SURE: Micros = 25 * DAY;
const DAY: Micros = 24 * 60 * 60 * 1_000_000;
/// Files of one table that a look-up may read.
const FILES: usize = 100_000;
/// How often a table is looked at anew because somebody else changed it.
const ATTEMPTS: usize = 20;

/// What was mended, and what was not.
#[derive(Debug, Serialize)]
pub struct MendReport {
    /// The function that reports: `mend`.
    pub function: &'static str,
    /// Tables that got rows or ids again.
    pub mended: Vec<Mended>,
    /// Uploads whose rows are gone from a table.
    pub lost: Vec<Lost>,
    /// What stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

/// What one table got again.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Mended {
    /// `schema.table`.
    pub table: String,
    /// Uploads whose commits were gone.
    pub uploads: usize,
    /// Their rows that landed again; the others stood there.
    pub rows: u64,
    /// The version that has them.
    pub version: u64,
}

/// An upload's rows that are gone from a table and could not be landed again.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// `schema.table`.
    pub table: String,
    /// Its key or name.
    pub upload: String,
    /// Its id.
    pub upload_id: String,
    /// Rows that `_loads` says landed.
    pub rows: u64,
    /// Why they could not be landed again.
    pub why: String,
}

impl Lost {
    /// What to do about each of them.
    pub const HINT: &'static str = "the upload itself has the rows: put it there again in other bytes (one line feed \
                                    more), and ingest lands what is missing and nothing twice";
}

impl MendReport {
    pub(crate) fn new() -> Self {
        Self { function: "mend", mended: Vec::new(), lost: Vec::new(), fault: None }
    }

    /// A report of nothing but a fault.
    pub fn failed(fault: &Fault) -> Self {
        Self { fault: Some(FaultReport::from(fault)), ..Self::new() }
    }

    /// The gravest of what it met: what is lost counts as rejected.
    pub fn gravest(&self) -> Option<FaultKind> {
        let lost = (!self.lost.is_empty()).then_some(FaultKind::Rejected);
        self.fault.as_ref().map(|fault| fault.kind).or(lost)
    }
}

/// Mends all tables of these schemas, as far as their uploads are younger than 25 days; never fails as a whole.
///
/// Synchronous: call it from a plain thread while the lake's runtime lives.
pub fn mend(lake: &Lake, schemas: &[String], deadline: Deadline) -> MendReport {
    let mut report = MendReport::new();
    for schema in schemas {
        let span = Span { since: clock::now() - IDS_ARE_SURE, table: None, passes: None };
        if let Err(fault) = mend_schema(lake, schema, &span, deadline, &mut report) {
            report.fault = Some(FaultReport::from(&fault));
            return report;
        }
    }
    report
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    /// Uploads that were done since then.
    pub(crate) since: Micros,
    /// Only this table.
    pub(crate) table: Option<&'a str>,
    /// The owner of the table's gate.
    pub(crate) passes: Option<&'a str>,
}

/// Mends the tables of a schema.
///
/// # Errors
/// What the store answers; Again when a table's gate is closed. It can be done again.
pub(crate) fn mend_schema(
    lake: &Lake,
    schema: &str,
    span: &Span<'_>,
    deadline: Deadline,
    report: &mut MendReport,
) -> Result<(), Fault> {
    for (name, gone) in gone(lake, schema, span)? {
        let lineage = if name == REJECTS { Lineage::OF_REJECTS } else { Lineage::OF_EVENTS };
        Mending { lake, schema, name: &name, lineage, span, deadline }.run(gone, report)?;
    }
    Ok(())
}

/// An upload that `_loads` has rows of, and the table's log does not know.
#[derive(Clone, Debug)]
struct Gone {
    upload: String,
    /// What `_loads` says.
    rows: u64,
    /// When the run began that `_loads` tells of.
    started_at: Micros,
}

/// By upload id.
type AllGone = BTreeMap<String, Gone>;

/// By table: what is gone. `_loads` is read before any table, so that what lands meanwhile is not missed there.
fn gone(lake: &Lake, schema: &str, span: &Span<'_>) -> Result<BTreeMap<String, AllGone>, Fault> {
    let Some(loads) = Table::open(lake, schema, LOADS)? else { return Ok(BTreeMap::new()) };
    let mut tables: HashMap<String, Option<Table>> = HashMap::new();
    let mut all: BTreeMap<String, AllGone> = BTreeMap::new();
    let mut each = |batch: &RecordBatch| {
        let texts = |at: usize| batch.column(at).as_string_opt::<i32>();
        let numbers = |at: usize| batch.column(at).as_primitive_opt::<Int64Type>();
        let times = |at: usize| batch.column(at).as_primitive_opt::<TimestampMicrosecondType>();
        let (Some(uploads), Some(ids), Some(names)) = (texts(0), texts(1), texts(2)) else { return Ok(()) };
        let (Some(rows), Some(rejected)) = (numbers(3), numbers(4)) else { return Ok(()) };
        let (Some(started), Some(finished), Some(statuses)) = (times(5), times(6), texts(7)) else { return Ok(()) };
        for row in (0..batch.num_rows()).filter(|&row| finished.value(row) >= span.since) {
            // The row of an upload itself says how many rows it has in `_rejects`.
            let (name, rows) = match names.is_valid(row) {
                true => (names.value(row), rows.value(row)),
                false => (REJECTS, rejected.value(row)),
            };
            // What the warehouse has loaded has no id in the log.
            let is_loaded = statuses.is_valid(row) && statuses.value(row) == Status::Loaded.name();
            if rows <= 0 || is_loaded || span.table.is_some_and(|only| only != name) {
                continue;
            }
            if !tables.contains_key(name) {
                tables.insert(name.to_owned(), Table::open(lake, schema, name)?);
            }
            let id = ids.value(row);
            let knows = |table: &Table| table.has(&app_id_of(id)) || may_have_expired(table, finished.value(row));
            if tables[name].as_ref().is_some_and(knows) {
                continue;
            }
            let new = Gone { upload: uploads.value(row).to_owned(), rows: 0, started_at: started.value(row) };
            let one = all.entry(name.to_owned()).or_default().entry(id.to_owned()).or_insert(new);
            one.rows += rows.unsigned_abs();
        }
        Ok(())
    };
    let columns = ["upload", "upload_id", "table_name", "rows", "rejected", "started_at", "finished_at", "status"];
    loads.read(&columns, None, &mut each, FILES)?;
    Ok(all)
}

/// Whether a table lets ids of that time go. Rows that somebody has deleted since must not come back.
fn may_have_expired(table: &Table, finished: Micros) -> bool {
    let kept = table.id_retention().and_then(|kept| Micros::try_from(kept.as_micros()).ok());
    kept.is_some_and(|kept| finished < clock::now() - kept + DAY)
}

/// One table, while it is mended.
struct Mending<'a> {
    lake: &'a Lake,
    schema: &'a str,
    name: &'a str,
    lineage: Lineage,
    span: &'a Span<'a>,
    deadline: Deadline,
}

impl Mending<'_> {
    /// Mends the table, and says what cannot be mended.
    fn run(&self, mut gone: AllGone, report: &mut MendReport) -> Result<(), Fault> {
        let table_name = format!("{}.{}", self.schema, self.name);
        for _ in 0..ATTEMPTS {
            let table = Table::open(self.lake, self.schema, self.name)?;
            gone.retain(|id, _| table.as_ref().is_none_or(|table| !table.has(&app_id_of(id))));
            let (found, whys) = self.search(table.as_ref(), &gone)?;
            let ids: Vec<&String> = gone.keys().filter(|id| !whys.contains_key(*id)).collect();
            if !ids.is_empty() {
                let Some((version, rows)) = self.land(table, &found, &ids)? else { continue };
                report.mended.push(Mended { table: table_name.clone(), uploads: ids.len(), rows, version });
            }
            let lost = whys.into_iter().filter_map(|(upload_id, why)| {
                let Gone { upload, rows, .. } = gone.get(&upload_id)?.clone();
                Some(Lost { table: table_name.clone(), upload, upload_id, rows, why })
            });
            report.lost.extend(lost);
            return Ok(());
        }
        Err(Fault::again(format!("table `{table_name}` kept changing while it was mended"))
            .hint("run it again when fewer writers are at work"))
    }

    /// What is there of the rows that are gone, and by upload id why some of them cannot be landed again.
    fn search(&self, table: Option<&Table>, gone: &AllGone) -> Result<(Found, BTreeMap<String, String>), Fault> {
        let Some(table) = table else {
            let why = |id: &String| (id.clone(), "the table has no log any more".to_owned());
            return Ok((Found::default(), gone.keys().map(why).collect()));
        };
        let standing = self.standing(table, gone)?;
        let may_look = !table.needs_columns_first() && gone.keys().any(|id| !standing.contains_key(id));
        let mut found = match may_look {
            true => Found::look(self.lake, (self.schema, self.name), table, self.lineage, gone)?,
            false => Found::default(),
        };
        let mut whys = BTreeMap::new();
        for (id, one) in gone {
            let why = match standing.get(id) {
                Some(rows) if *rows == one.rows => continue,
                Some(rows) => format!("{rows} of its rows stand in the table, without its id"),
                None if !may_look => "the table maps columns: its files do not say which is which".to_owned(),
                None if found.choose(id, one) => continue,
                None => match found.most(id) {
                    0 => "its files are not there any more".to_owned(),
                    most => format!("there are files with {most} rows of it, and none with all"),
                },
            };
            whys.insert(id.clone(), why);
        }
        Ok((found, whys))
    }

    /// By upload: rows that stand in the table though its log does not know the upload.
    fn standing(&self, table: &Table, gone: &AllGone) -> Result<HashMap<String, u64>, Fault> {
        let mut standing: HashMap<String, u64> = HashMap::new();
        let column = self.lineage.upload;
        let ids: Vec<String> = gone.keys().cloned().collect();
        let mut each = |batch: &RecordBatch| {
            for id in batch.column(0).as_string_opt::<i32>().into_iter().flatten().flatten() {
                *standing.entry_ref(id).or_default() += 1;
            }
            Ok(())
        };
        if table.columns().iter().any(|known| known.name == column) {
            table.read(&[column], Some((column, &ids)), &mut each, FILES)?;
        }
        Ok(standing)
    }

    /// Lands the chosen rows, and the ids; answers the version and how many rows, or nothing when the table changed.
    fn land(&self, mut table: Option<Table>, found: &Found, ids: &[&String]) -> Result<Option<(u64, u64)>, Fault> {
        let Self { lake, schema, name, lineage, .. } = *self;
        let chosen = found.chosen();
        let (mut files, mut new_columns) = (Vec::new(), Vec::new());
        if !chosen.is_empty() {
            new_columns = lacking(table.as_ref(), &chosen);
            // Another engine, or an attempt to mend that failed, may have left copies.
            let landed = RefCell::new(HashSet::new());
            let is_left_out = |origin: &Origin<'_>| {
                let row = (origin.upload.to_owned(), origin.key);
                !found.is_chosen(origin.upload, origin.written_at) || !landed.borrow_mut().insert(row)
            };
            let rows = Rows { schema, table: name, files: &chosen, lineage, is_left_out: &is_left_out };
            files = write_anew(lake, &rows, table.as_ref(), &new_columns)?.files;
        }
        let app_ids = ids.iter().map(|id| app_id_of(id)).collect();
        let append = Append { app_ids, new_columns, files: &files, passes: self.span.passes, ..Append::default() };
        let done = commit(lake, schema, name, &mut table, &[], &append, self.deadline)?;
        if let Appended::Committed { version } = done {
            return Ok(Some((version, files.iter().map(DataFile::rows).sum())));
        }
        if let Some(table) = &mut table {
            drop(sweep_uncommitted(lake, table, &files));
        }
        match done {
            Appended::Gated(closed) => Err(closed.fault(schema, name)),
            Appended::Committed { .. } | Appended::Landed { .. } | Appended::Moved => Ok(None),
        }
    }
}

/// The columns that a table lacks of those that files have, each with the least type that holds the values of all.
fn lacking(table: Option<&Table>, files: &[KeptFile]) -> Vec<(String, ColumnType)> {
    let there = |name: &str| {
        let mut columns = table.into_iter().flat_map(Table::columns);
        columns.any(|column| column.name.to_lowercase() == name.to_lowercase())
    };
    let mut lacking: Vec<(String, ColumnType)> = Vec::new();
    for (name, column_type) in files.iter().flat_map(KeptFile::columns).filter(|(name, _)| !there(name)) {
        match lacking.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = known.join(column_type),
            None => lacking.push((name.to_owned(), column_type)),
        }
    }
    lacking
}

#[cfg(test)]
mod tests {
    use inlet_events::ColumnType;

    use super::*;
    use crate::delta::testing::TestLake;

    const HOUR: Micros = 60 * 60 * 1_000_000;

    fn soon() -> Deadline {
        Deadline::after(std::time::Duration::from_secs(5))
    }

    #[test]
    fn ids_that_may_have_expired_say_nothing() {
        let test = TestLake::new();
        let new_columns = vec![("id".to_owned(), ColumnType::String)];
        let append = Append { app_ids: vec!["inlet/0".to_owned()], new_columns, ..Append::default() };
        let mut table = None;
        commit(&test.lake, "shop", "tracks", &mut table, &[], &append, soon()).unwrap();
        let table = table.expect("it was made");
        let (now, kept) = (clock::now(), 30 * DAY);
        assert!(!may_have_expired(&table, now - HOUR));
        assert!(!may_have_expired(&table, now - kept + DAY + HOUR));
        assert!(may_have_expired(&table, now - kept + DAY - HOUR), "a day before the table lets them go");
    }

    #[test]
    fn a_lake_in_which_nothing_landed_has_nothing_to_mend() {
        let test = TestLake::new();
        let report = mend(&test.lake, &["shop".to_owned()], soon());
        assert!(report.mended.is_empty() && report.lost.is_empty() && report.fault.is_none(), "{report:?}");
        assert_eq!(report.gravest(), None);
    }

    #[test]
    fn what_is_lost_counts_as_rejected_unless_a_fault_stopped_it() {
        let mut report = MendReport::new();
        let lost = |why: &str| Lost {
            table: "shop.tracks".to_owned(),
            upload: "a.gz".to_owned(),
            upload_id: "0".repeat(32),
            rows: 3,
            why: why.to_owned(),
        };
        report.lost.push(lost("its files are not there any more"));
        assert_eq!(report.gravest(), Some(FaultKind::Rejected));
        report.fault = Some(FaultReport::from(&Fault::again("the gate is closed")));
        assert_eq!(report.gravest(), Some(FaultKind::Again));
    }
}
