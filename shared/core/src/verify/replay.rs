//! The uploads' own bytes against the tables: they are read anew by the first ring, and every row that they give must
//! stand in its table, under the upload's id or under that of an earlier form of its key, and say the same.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use hashbrown::HashMap;
use inlet_events::KnownType;

use super::ProvedUpload;
use super::anew::{Anew, Given, Reread};
use super::cells::{Cells, cells, differing, is_compared, prints, says_the_same};
use super::counted::{Rows, text};
use super::differences::{Check, Difference, Differences};
use super::judge::Schema;
use super::parquet_file::Broken;
use super::refused::RefusedEvents;
use super::stored::Stored;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::ledger::{LOADS, REJECTS};
use crate::settings::Settings;
use crate::upload::Upload;

/// Rows that are remembered at once; of more, the uploads are read once for each range of hashes.
const ROWS_AT_ONCE: u64 = 3 << 20;
/// Rows of an upload in a table that are compared cell by cell, when they seem to differ.
const SUSPECTS: usize = 1_000;
/// Ids that a difference names.
const EXAMPLES: usize = 10;

const SETTINGS: &str = "the settings must be those of the landing (INLET_WAREHOUSE_ID, INLET_MAX_…, `[sync]`); if \
                        they are, `_loads` was changed, or the landing and this version of Inlet judge differently";

/// Reads uploads anew and compares them with a schema.
///
/// # Errors
/// What the stores answer.
pub(super) fn replay(
    lake: &Lake,
    settings: &Settings,
    schema: &Schema<'_>,
    uploads: &[&Upload],
    differences: &mut Differences,
) -> Result<Vec<ProvedUpload>, Fault> {
    let mut given = Vec::new();
    for upload in uploads {
        match schema.ledger.find(&upload.id.to_string()).map(|at| (at, &schema.ledger.uploads[at as usize])) {
            Some((at, known)) if !known.is_stranger() => {
                given.push(Given { upload, at, known, is_keyed: schema.ledger.is_keyed(known) });
            }
            _ => differences.push(not_landed(schema, upload)),
        }
    }
    let loads = given.iter().flat_map(|given| given.known.parts.values().flatten());
    let rows: i64 = loads.map(|load| load.rows + load.held + load.duplicates).sum();
    let passes = u64::try_from(rows).unwrap_or(0).div_ceil(ROWS_AT_ONCE).max(1);
    let rejects = schema.tables.get(REJECTS).and_then(Option::as_ref).map(|(stored, _)| stored);
    let refused = RefusedEvents::read(lake, rejects, &given)?;
    let anew = Anew { lake, settings, tables: schema.tables, refused: &refused };
    let mut proved = Vec::new();
    for pass in 0..passes {
        let mut replay = Replay { lake, schema, anew, given: &given, slots: BTreeMap::new(), pass, passes };
        for (number, given) in given.iter().enumerate() {
            let counts = replay.read(number)?;
            if pass == 0 {
                proved.push(replay.judge_counts(*given, &counts, differences));
            }
        }
        replay.scan()?;
        replay.judge(differences)?;
    }
    Ok(proved)
}

fn not_landed(schema: &Schema<'_>, upload: &Upload) -> Difference {
    let (name, schema, uploads) = (&upload.name, schema.name, &schema.ledger.uploads);
    let form = uploads.iter().find(|known| !known.is_stranger() && Some(&known.name) == upload.key.as_ref());
    let (message, hint) = match form {
        Some(form) => (
            format!("`{name}` has not landed in schema `{schema}`; its key landed with other bytes, as {}", form.id),
            "it was overwritten since: run ingest again to land what is new",
        ),
        None => (
            format!("`{name}` has not landed in schema `{schema}`"),
            "run ingest with it; or name the schema that it landed in with --schema",
        ),
    };
    Difference::new(Check::NotLanded, schema, message, hint).upload(name).upload_id(&upload.id.to_string())
}

/// A row that an upload's bytes give.
#[derive(Debug)]
struct Row {
    print: u64,
    found: bool,
}

/// The rows that one upload gives for one table, by the hashes of their ids.
#[derive(Debug, Default)]
struct Slot {
    rows: HashMap<u128, Row>,
    extra: u64,
    extra_ids: Vec<String>,
    /// Rows that do not seem to say what stands in the table.
    suspects: BTreeSet<u128>,
}

struct Replay<'a> {
    lake: &'a Lake,
    schema: &'a Schema<'a>,
    anew: Anew<'a>,
    given: &'a [Given<'a>],
    /// By table, by the upload's place among those given.
    slots: BTreeMap<String, HashMap<usize, Slot>>,
    pass: u64,
    passes: u64,
}

/// Whose rows a row of the lake may be: an upload that was given, by itself or by an earlier form of its key.
#[derive(Clone, Copy)]
struct Owner {
    number: usize,
    is_own: bool,
}

impl Replay<'_> {
    /// Reads an upload's bytes and notes the rows that they give.
    fn read(&mut self, number: usize) -> Result<Reread, Fault> {
        let (pass, passes) = (self.pass, self.passes);
        let slots = &mut self.slots;
        self.anew.read(self.given[number], &mut |table, batch| {
            let slot = slots.entry(table.to_owned()).or_default().entry(number).or_default();
            let (rows, prints) = (Rows::of(table, batch), prints(batch, &|column| is_compared(table, column)));
            for (row, print) in prints.into_iter().enumerate() {
                if let Some((hash, _)) = rows.id(row).filter(|(hash, _)| (hash >> 64) as u64 % passes == pass) {
                    slot.rows.insert(hash, Row { print, found: false });
                }
            }
        })
    }

    fn judge_counts(&self, given: Given<'_>, counts: &Reread, differences: &mut Differences) -> ProvedUpload {
        let upload = given.upload;
        if let [whole] = given.known.whole.as_slice() {
            for (check, what, expected, found) in [
                (Check::ReadEvents, "events", whole.events, counts.events),
                (Check::ReadRejected, "rejections", whole.rejected, counts.rejected),
                (Check::ReadFiltered, "filtered events", whole.filtered, counts.filtered),
                (Check::ReadBytes, "stored bytes", whole.bytes, upload.size),
            ] {
                let found = found as i64;
                if expected != found {
                    let message =
                        format!("`{}`, read anew, has {found} {what}, `{LOADS}` says {expected}", upload.name);
                    let difference = given.known.differs(check, self.schema.name, message, SETTINGS);
                    differences.push(difference.numbers(expected, found));
                }
            }
        }
        ProvedUpload {
            upload: upload.name.clone(),
            upload_id: upload.id.to_string(),
            schema: self.schema.name.to_owned(),
            events: counts.events,
            rows: counts.rows,
        }
    }

    /// Who the rows of each upload in the lake may belong to.
    fn owners(&self) -> HashMap<u32, Vec<Owner>> {
        let mut owners: HashMap<u32, Vec<Owner>> = HashMap::new();
        for (number, given) in self.given.iter().enumerate() {
            let forms = self.schema.ledger.uploads.iter().enumerate();
            for (at, form) in forms.filter(|(_, form)| form.lineage == given.known.lineage) {
                let is_own = at as u32 == given.at;
                // What was never finished, and what landed earlier, is what this form did not land again.
                if is_own || form.is_stranger() || form.finished_at() <= given.known.finished_at() {
                    owners.entry(at as u32).or_default().push(Owner { number, is_own });
                }
            }
        }
        owners
    }

    /// Looks for the noted rows in the tables, and for rows that the uploads do not have.
    fn scan(&mut self) -> Result<(), Fault> {
        let owners = self.owners();
        for (name, table) in self.schema.tables {
            let Some((stored, counted)) = table else { continue };
            if !counted.tallies.keys().any(|at| owners.contains_key(at)) {
                continue;
            }
            let mut slots = self.slots.remove(name).unwrap_or_default();
            each_batch(self.lake, stored, &mut |batch| self.find(stored, batch, &owners, &mut slots))?;
            self.slots.insert(name.clone(), slots);
        }
        Ok(())
    }

    fn find(
        &self,
        stored: &Stored,
        batch: &RecordBatch,
        owners: &HashMap<u32, Vec<Owner>>,
        slots: &mut HashMap<usize, Slot>,
    ) {
        let (rows, prints) =
            (Rows::of(&stored.name, batch), prints(batch, &|column| is_compared(&stored.name, column)));
        for (row, print) in prints.into_iter().enumerate() {
            let owners = text(rows.uploads, row).and_then(|id| owners.get(&self.schema.ledger.find(id)?));
            let (Some(owners), Some((hash, id))) = (owners, rows.id(row)) else { continue };
            if (hash >> 64) as u64 % self.passes != self.pass {
                continue;
            }
            for owner in owners {
                let slot = slots.entry(owner.number).or_default();
                match slot.rows.get_mut(&hash) {
                    Some(known) => {
                        known.found = true;
                        if owner.is_own && known.print != print && slot.suspects.len() < SUSPECTS {
                            slot.suspects.insert(hash);
                        }
                    }
                    None if owner.is_own => {
                        slot.extra += 1;
                        if slot.extra_ids.len() < EXAMPLES {
                            slot.extra_ids.push(id.clone());
                        }
                    }
                    None => {}
                }
            }
        }
    }

    fn judge(&self, differences: &mut Differences) -> Result<(), Fault> {
        for (table, slots) in &self.slots {
            // That nothing is known about the table was said.
            if matches!(self.schema.tables.get(table), Some(None)) {
                continue;
            }
            let mut slots: Vec<(&usize, &Slot)> = slots.iter().collect();
            slots.sort_unstable_by_key(|(number, _)| **number);
            // What is held stands in no table yet.
            slots.retain(|(number, _)| !self.given[**number].known.is_held_for(table));
            for (number, slot) in slots {
                self.judge_rows(self.given[*number], table, slot, differences)?;
                self.judge_values(self.given[*number], table, slot, differences)?;
            }
        }
        Ok(())
    }

    fn judge_rows(
        &self,
        given: Given<'_>,
        table: &str,
        slot: &Slot,
        differences: &mut Differences,
    ) -> Result<(), Fault> {
        let (schema, upload) = (self.schema.name, given.upload);
        let missing: BTreeSet<u128> = slot.rows.iter().filter(|(_, row)| !row.found).map(|(id, _)| *id).collect();
        if !missing.is_empty() {
            let mut ids = BTreeSet::new();
            self.each_row(given, table, &missing, &mut |_, id, _, _| {
                if ids.len() < EXAMPLES {
                    ids.insert(id);
                }
            })?;
            let message = format!(
                "{} rows of `{}` are not in `{schema}.{table}`: {}",
                missing.len(),
                upload.name,
                examples(&ids.into_iter().collect::<Vec<_>>(), missing.len() as u64)
            );
            let hint = "they were lost, or changed their ids; INLET_WAREHOUSE_ID must be that of the landing";
            let difference = given.known.differs(Check::RowMissing, schema, message, hint).table(table);
            differences.push(difference.numbers(slot.rows.len() as i64, (slot.rows.len() - missing.len()) as i64));
        }
        if slot.extra > 0 {
            let message = format!(
                "{} rows in `{schema}.{table}` say that `{}` brought them, and its bytes do not have them: {}",
                slot.extra,
                upload.name,
                examples(&slot.extra_ids, slot.extra)
            );
            let hint = "somebody else wrote or moved them, or they changed their ids";
            let difference = given.known.differs(Check::RowExtra, schema, message, hint).table(table);
            differences.push(difference.numbers(0, slot.extra as i64));
        }
        Ok(())
    }

    /// Compares the rows that seem to differ cell by cell: the upload and the table are read once more for them.
    fn judge_values(
        &self,
        given: Given<'_>,
        table: &str,
        slot: &Slot,
        differences: &mut Differences,
    ) -> Result<(), Fault> {
        let Some(Some((stored, _))) = self.schema.tables.get(table) else { return Ok(()) };
        if slot.suspects.is_empty() {
            return Ok(());
        }
        let ours = |column: &str| {
            let known = stored.columns.iter().find(|(name, _)| name == column);
            is_compared(table, column) && known.is_some_and(|(_, known)| *known != KnownType::Foreign)
        };
        let mut anew: HashMap<u128, Cells> = HashMap::new();
        self.each_row(given, table, &slot.suspects, &mut |hash, _, batch, row| {
            anew.insert(hash, cells(batch, row, &|column| is_compared(table, column)));
        })?;
        let (mut differ, mut ids, mut columns) = (0_i64, Vec::new(), BTreeSet::new());
        each_batch(self.lake, stored, &mut |batch| {
            let rows = Rows::of(table, batch);
            for row in 0..batch.num_rows() {
                let is_of_upload = text(rows.uploads, row) == Some(given.known.id.as_str());
                let Some((hash, id)) = rows.id(row).filter(|_| is_of_upload) else { continue };
                let Some(anew) = anew.get(&hash) else { continue };
                let mut others = differing(&cells(batch, row, &ours), anew);
                if given.known.was_held_for(table) {
                    others.retain(|column| !says_the_same(column, &cells(batch, row, &ours), anew));
                }
                if !others.is_empty() {
                    differ += 1;
                    columns.extend(others);
                    if ids.len() < EXAMPLES {
                        ids.push(id);
                    }
                }
            }
        })?;
        if differ > 0 {
            let columns: Vec<String> = columns.into_iter().collect();
            let message = format!(
                "{differ} rows of `{}` in `{}.{table}` say something else than its bytes: ids {}, columns {}",
                given.upload.name,
                self.schema.name,
                examples(&ids, differ as u64),
                examples(&columns[..columns.len().min(EXAMPLES)], columns.len() as u64)
            );
            let hint = "somebody changed them (UPDATE, MERGE), or changed the table's columns: compare its history \
                        (DESCRIBE HISTORY); or `[sync]` or a contract is not that of the landing";
            let difference = given.known.differs(Check::Value, self.schema.name, message, hint).table(table);
            differences.push(difference.numbers(0, differ));
        }
        Ok(())
    }

    /// Reads an upload once more for some of its rows.
    fn each_row(
        &self,
        given: Given<'_>,
        table: &str,
        hashes: &BTreeSet<u128>,
        each: &mut EachRow<'_>,
    ) -> Result<(), Fault> {
        let read = self.anew.read(given, &mut |of, batch| {
            let rows = Rows::of(table, batch);
            for row in (0..batch.num_rows()).filter(|_| of == table) {
                if let Some((hash, id)) = rows.id(row).filter(|(hash, _)| hashes.contains(hash)) {
                    each(hash, id, batch, row);
                }
            }
        });
        read.map(drop)
    }
}

/// Told a row: its hash, its id, and where it is.
type EachRow<'a> = dyn FnMut(u128, String, &RecordBatch, usize) + 'a;

/// Reads a table whole; a file that cannot be read was named when the rows were counted.
fn each_batch(lake: &Lake, stored: &Stored, each: &mut dyn FnMut(&RecordBatch)) -> Result<(), Fault> {
    let columns: Vec<&str> = stored
        .columns
        .iter()
        .filter(|(_, known)| *known != KnownType::Foreign)
        .map(|(name, _)| name.as_str())
        .collect();
    for file in &stored.files {
        let read = stored.read(lake, file, Some(&columns), &mut |batch| {
            each(batch);
            Ok(())
        });
        if let Err(Broken::Fault(fault)) = read {
            return Err(fault);
        }
    }
    Ok(())
}

fn examples(names: &[String], all: u64) -> String {
    let more = if all > names.len() as u64 { ", …" } else { "" };
    format!("`{}`{more}", names.join("`, `"))
}
