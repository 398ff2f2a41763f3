//! What `_loads` says of rows that were held and now are committed.
//!
//! A row per upload and table, and one for the upload: they take the rows from `held`, say what became of them, and add
//! no events, so that the rows of an upload still add up. Each is told once: an id in the log of `_loads` says so.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use hashbrown::{HashMap, HashSet};
use inlet_events::table::{RESCUED_DATA, UPLOAD_ID};
use inlet_events::{Call, rescued_values};

use super::commit::Landed;
use super::{HeldUpload, Left};
use crate::clock::{self, Deadline, Micros};
use crate::crew::{no_encoder, own_layout};
use crate::delta::{Append, Appended, Encoder, FileWriter, Lake, Table, commit, sweep_uncommitted};
use crate::fault::Fault;
use crate::ledger::{LOADS, LoadCounts, LoadRow, LoadRows, loads_columns};
use crate::report::Status;
use crate::upload::{app_id_of, released_app_id_of};

/// Files that a look-up may read.
const FILES: usize = 100_000;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Uploads of which nothing more is to be said.
    pub(super) done: HashSet<String>,
    pub(super) rows: u64,
    pub(super) duplicates: u64,
    pub(super) rescued: u64,
}

/// An upload's rows that stand in the table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) rows: i64,
    rescued: i64,
}

/// Tells `_loads` what a freshly read table has of these notes' uploads, as [`standing`] says. Uploads that `_loads` does
/// not call done yet are left for later: their run is at work, or their next delivery finds the rows.
///
/// # Errors
/// What the store answers.
pub(super) fn tell(
    lake: &Lake,
    schema: &str,
    name: &str,
    (table, standing): (Option<&Table>, &HashMap<String, Standing>),
    notes: &[Landed<'_>],
    deadline: Deadline,
) -> Result<Told, Fault> {
    let mut told = Told::default();
    let mut loads = Table::open(lake, schema, LOADS)?;
    let uploads = notes.iter().flat_map(|landed| {
        let uploads = landed.left.note.uploads.iter();
        uploads.map(|upload| (upload.upload_id.as_str(), (upload, landed.left, landed.version)))
    });
    let uploads: HashMap<&str, (&HeldUpload, &Left, Option<u64>)> = uploads.collect();
    let ids: Vec<String> = uploads.keys().map(|&id| id.to_owned()).collect();
    loop {
        let Some(known) = &loads else { return Ok(told) };
        let is_done = |id: &&String| known.has(&app_id_of(id));
        told.done = ids.iter().filter(is_done).cloned().collect();
        let is_told = |id: &String| known.has(&released_app_id_of(id, name));
        let open: Vec<String> = ids.iter().filter(|id| is_done(id) && !is_told(id)).cloned().collect();
        let mut held = held_rows(known, name, &open)?;
        held.retain(|_, rows| *rows > 0);
        let stands = |id: &String| standing.get(id).copied().unwrap_or_default();
        (told.rows, told.rescued) = ids.iter().map(stands).fold((0, 0), |(rows, rescued), one| {
            (rows + one.rows.unsigned_abs(), rescued + one.rescued.unsigned_abs())
        });
        told.duplicates = held.iter().map(|(id, held)| (held - stands(id).rows).max(0).unsigned_abs()).sum();
        if held.is_empty() {
            return Ok(told);
        }
        let mut rows = LoadRows::new();
        for (id, held) in &held {
            let Some((upload, left, version)) = uploads.get(id.as_str()) else { continue };
            let has_id = table.is_some_and(|table| table.has(&app_id_of(id)));
            let status = if stands(id).rows > 0 && !has_id { Status::Loaded } else { Status::Landed };
            push(&mut rows, (name, status), upload, left, *version, *held, stands(id));
        }
        let layout = own_layout(lake, schema, LOADS, loads.as_ref(), &loads_columns())?;
        let mut writer = FileWriter::create(lake, layout)?;
        writer.write(&rows.row_group(), &mut Encoder::new().map_err(no_encoder)?)?;
        let files = [writer.finish()?];
        let app_ids = held.keys().map(|id| released_app_id_of(id, name)).collect();
        let append = Append { app_ids, files: &files, ..Append::default() };
        match commit(lake, schema, LOADS, &mut loads, &loads_columns(), &append, deadline)? {
            Appended::Committed { .. } => return Ok(told),
            Appended::Landed { .. } => {}
            Appended::Gated(closed) => {
                if let Some(table) = &mut loads {
                    drop(sweep_uncommitted(lake, table, &files));
                }
                return Err(closed.fault(schema, LOADS));
            }
            Appended::Moved => {
                return Err(Fault::setup(format!("table `{schema}.{LOADS}` has other columns than Inlet gave it"))
                    .hint(format!("give `{LOADS}` its columns back, then run `inlet evolve` again")));
            }
        }
        if let Some(table) = &mut loads {
            drop(sweep_uncommitted(lake, table, &files));
        }
    }
}

/// The two rows that tell of an upload's rows for one table, and of what became of them there.
fn push(
    rows: &mut LoadRows,
    (name, status): (&str, Status),
    upload: &HeldUpload,
    left: &Left,
    version: Option<u64>,
    held: i64,
    standing: Standing,
) {
    let finished_at = clock::now();
    let duplicates = (held - standing.rows).max(0);
    let of_table =
        LoadCounts { rows: standing.rows, held: -held, duplicates, rescued: standing.rescued, ..LoadCounts::default() };
    let is_call = Call::ALL.iter().any(|call| call.table() == name);
    // The upload's own row counts events, each by its call table.
    let of_upload = match is_call {
        true => of_table,
        false => LoadCounts { rescued: standing.rescued, ..LoadCounts::default() },
    };
    for (table, status, counts) in [(Some(name), status, of_table), (None, Status::Landed, of_upload)] {
        rows.push(&LoadRow {
            upload: &upload.upload,
            upload_id: upload.upload_id.clone(),
            table,
            status: status.name(),
            counts,
            bytes: None,
            version: version.filter(|_| table.is_some()),
            new_columns: &[],
            started_at: left.note.left_at,
            finished_at,
            lag_seconds: lag_seconds(finished_at, upload.modified),
            host: &left.note.host,
        });
    }
}

fn lag_seconds(finished_at: Micros, modified: Micros) -> f64 {
    (finished_at - modified) as f64 / 1e6
}

/// By upload: what stands in the table.
pub(super) fn standing(table: Option<&Table>, ids: &[String]) -> Result<HashMap<String, Standing>, Fault> {
    let mut standing: HashMap<String, Standing> = HashMap::new();
    let has = |table: &&Table, name: &str| table.columns().iter().any(|column| column.name == name);
    let Some(table) = table.filter(|table| has(table, UPLOAD_ID) && has(table, RESCUED_DATA)) else {
        return Ok(standing);
    };
    if ids.is_empty() {
        return Ok(standing);
    }
    let mut each = |batch: &RecordBatch| {
        let texts = |at: usize| batch.column(at).as_string_opt::<i32>();
        let (Some(uploads), Some(rescued)) = (texts(0), texts(1)) else { return Ok(()) };
        for row in (0..batch.num_rows()).filter(|&row| uploads.is_valid(row)) {
            let one = standing.entry_ref(uploads.value(row)).or_default();
            one.rows += 1;
            if rescued.is_valid(row) {
                one.rescued += i64::try_from(rescued_values(rescued.value(row))).unwrap_or(i64::MAX);
            }
        }
        Ok(())
    };
    table.read(&[UPLOAD_ID, RESCUED_DATA], Some((UPLOAD_ID, ids)), &mut each, FILES)?;
    Ok(standing)
}

/// By upload: how many rows for a table `_loads` calls held.
fn held_rows(loads: &Table, name: &str, ids: &[String]) -> Result<HashMap<String, i64>, Fault> {
    let mut held: HashMap<String, i64> = HashMap::new();
    if ids.is_empty() {
        return Ok(held);
    }
    let mut each = |batch: &RecordBatch| {
        let texts = |at: usize| batch.column(at).as_string_opt::<i32>();
        let numbers = batch.column(2).as_primitive_opt::<Int64Type>();
        let (Some(uploads), Some(tables), Some(numbers)) = (texts(0), texts(1), numbers) else { return Ok(()) };
        for row in (0..batch.num_rows()).filter(|&row| tables.is_valid(row) && tables.value(row) == name) {
            *held.entry_ref(uploads.value(row)).or_default() += numbers.value(row);
        }
        Ok(())
    };
    loads.read(&["upload_id", "table_name", "held"], Some(("upload_id", ids)), &mut each, FILES)?;
    Ok(held)
}
