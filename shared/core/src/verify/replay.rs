//! The uploads' own bytes against the tables: they are read anew by the first ring, and every row that they give must
//! stand in its table, under the upload's id or under that of an earlier form of its key.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use hashbrown::{HashMap, HashSet};
use inlet_events::order::id_hash;
use inlet_events::table::UPLOAD_ID;

use super::ProvedUpload;
use super::anew::{Anew, Reread};
use super::differences::{Check, Differences};
use super::judge::Schema;
use super::ledger::{KnownUpload, is_call};
use super::parquet_file::Broken;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::ledger::LOADS;
use crate::settings::Settings;
use crate::upload::Upload;

/// Rows whose ids are remembered at once; of more, the uploads are read once for each range of hashes.
const IDS_AT_ONCE: u64 = 4 << 20;
/// Ids that a difference names.
const EXAMPLES: usize = 10;

const SETTINGS: &str = "the settings must be those of the landing (INLET_WAREHOUSE_ID, INLET_MAX_…); if they are, the \
                        landing and this version of Inlet judge differently";

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
    let mut landed = Vec::new();
    for upload in uploads {
        match schema.ledger.find(&upload.id.to_string()) {
            Some(at) if !schema.ledger.uploads[at as usize].is_stranger() => landed.push((*upload, at)),
            _ => differences.push(not_landed(schema, upload)),
        }
    }
    let rows = |at: u32| -> i64 {
        let loads = schema.ledger.uploads[at as usize].parts.values().flatten();
        loads.map(|load| load.rows + load.duplicates).sum()
    };
    let rows: i64 = landed.iter().map(|(_, at)| rows(*at)).sum();
    let passes = u64::try_from(rows).unwrap_or(0).div_ceil(IDS_AT_ONCE).max(1);
    let mut proved = Vec::new();
    for pass in 0..passes {
        let mut replay = Replay { lake, schema, anew: Anew { lake, settings }, slots: BTreeMap::new(), pass, passes };
        for (number, (upload, at)) in landed.iter().enumerate() {
            let counts = replay.read(number, upload, *at)?;
            if pass == 0 {
                replay.judge_counts(upload, *at, &counts, differences);
                proved.push(ProvedUpload {
                    upload: upload.name.clone(),
                    upload_id: upload.id.to_string(),
                    schema: schema.name.to_owned(),
                    events: counts.events,
                    rows: counts.rows,
                });
            }
        }
        replay.scan(&landed)?;
        replay.judge_rows(&landed, differences)?;
    }
    Ok(proved)
}

fn not_landed(schema: &Schema<'_>, upload: &Upload) -> super::Difference {
    let id = upload.id.to_string();
    let mut forms =
        schema.ledger.uploads.iter().filter(|known| !known.is_stranger() && Some(&known.name) == upload.key.as_ref());
    let (message, hint) = match forms.next() {
        Some(form) => (
            format!(
                "`{}` has not landed in schema `{}`; its key landed with other bytes, as {}",
                upload.name, schema.name, form.id
            ),
            "it was overwritten since: run ingest again to land what is new",
        ),
        None => (
            format!("`{}` has not landed in schema `{}`", upload.name, schema.name),
            "run ingest with it; or name the schema that it landed in with --schema",
        ),
    };
    super::Difference::new(Check::NotLanded, schema.name, message, hint).upload(&upload.name).upload_id(&id)
}

/// The rows that one upload gives for one table: hashes of their ids, and whether each was found.
#[derive(Debug, Default)]
struct Slot {
    ids: HashMap<u128, bool>,
    extra: u64,
    extra_ids: Vec<String>,
}

struct Replay<'a> {
    lake: &'a Lake,
    schema: &'a Schema<'a>,
    anew: Anew<'a>,
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
    fn is_mine(&self, hash: u128) -> bool {
        (hash >> 64) as u64 % self.passes == self.pass
    }

    /// Reads an upload's bytes and notes the ids that they give.
    fn read(&mut self, number: usize, upload: &Upload, at: u32) -> Result<Reread, Fault> {
        let known = &self.schema.ledger.uploads[at as usize];
        let is_keyed = self.schema.ledger.is_keyed(known);
        let (pass, passes) = (self.pass, self.passes);
        let slots = &mut self.slots;
        self.anew.read(upload, known, is_keyed, &mut |table, batch| {
            if !slots.contains_key(table) {
                slots.insert(table.to_owned(), HashMap::new());
            }
            let Some(slot) = slots.get_mut(table).map(|slots| slots.entry(number).or_default()) else { return };
            for id in ids(batch) {
                let hash = id_hash(id);
                if (hash >> 64) as u64 % passes == pass {
                    slot.ids.insert(hash, false);
                }
            }
        })
    }

    fn judge_counts(&self, upload: &Upload, at: u32, counts: &Reread, differences: &mut Differences) {
        let known = &self.schema.ledger.uploads[at as usize];
        let [whole] = known.whole.as_slice() else { return };
        for (check, what, expected, found) in [
            (Check::ReadEvents, "events", whole.events, counts.events),
            (Check::ReadRejected, "rejections", whole.rejected, counts.rejected),
            (Check::ReadFiltered, "opted-out events", whole.filtered, counts.filtered),
        ] {
            let found = found as i64;
            if expected != found {
                let message = format!("`{}`, read anew, has {found} {what}, `{LOADS}` says {expected}", upload.name);
                let difference = known.differs(check, self.schema.name, message, SETTINGS);
                differences.push(difference.numbers(expected, found));
            }
        }
    }

    /// Who the rows of each upload in the lake may belong to.
    fn owners(&self, landed: &[(&Upload, u32)]) -> HashMap<u32, Vec<Owner>> {
        let uploads = &self.schema.ledger.uploads;
        let mut owners: HashMap<u32, Vec<Owner>> = HashMap::new();
        for (number, (_, own)) in landed.iter().enumerate() {
            let own_form = &uploads[*own as usize];
            for (at, form) in uploads.iter().enumerate().filter(|(_, form)| form.lineage == own_form.lineage) {
                let is_own = at as u32 == *own;
                // What was never finished, and what landed earlier, is what this form did not land again.
                if is_own || form.is_stranger() || form.finished_at() <= own_form.finished_at() {
                    owners.entry(at as u32).or_default().push(Owner { number, is_own });
                }
            }
        }
        owners
    }

    /// Looks for the noted ids in the tables, and for rows that the uploads do not have.
    fn scan(&mut self, landed: &[(&Upload, u32)]) -> Result<(), Fault> {
        let owners = self.owners(landed);
        for (name, table) in self.schema.tables {
            let Some((stored, counted)) = table else { continue };
            if name == crate::ledger::REJECTS || !counted.tallies.keys().any(|at| owners.contains_key(at)) {
                continue;
            }
            if !self.slots.contains_key(name) {
                self.slots.insert(name.clone(), HashMap::new());
            }
            for file in &stored.files {
                let read = stored.read(self.lake, file, Some(&[UPLOAD_ID, "id"]), &mut |batch| {
                    self.find(name, batch, &owners);
                    Ok(())
                });
                // A file that cannot be read was named when the rows were counted.
                if let Err(Broken::Fault(fault)) = read {
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    fn find(&mut self, table: &str, batch: &RecordBatch, owners: &HashMap<u32, Vec<Owner>>) {
        let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let (Some(uploads), Some(ids)) = (text(UPLOAD_ID), text("id")) else { return };
        for row in (0..batch.num_rows()).filter(|&row| uploads.is_valid(row) && ids.is_valid(row)) {
            let hash = id_hash(ids.value(row));
            if !self.is_mine(hash) {
                continue;
            }
            let at = self.schema.ledger.find(uploads.value(row));
            let Some(slots) = self.slots.get_mut(table) else { return };
            for owner in at.and_then(|at| owners.get(&at)).into_iter().flatten() {
                match slots.get_mut(&owner.number).and_then(|slot| slot.ids.get_mut(&hash)) {
                    Some(found) => *found = true,
                    None if owner.is_own => {
                        let slot = slots.entry(owner.number).or_default();
                        slot.extra += 1;
                        if slot.extra_ids.len() < EXAMPLES {
                            slot.extra_ids.push(ids.value(row).to_owned());
                        }
                    }
                    None => {}
                }
            }
        }
    }

    fn judge_rows(&self, landed: &[(&Upload, u32)], differences: &mut Differences) -> Result<(), Fault> {
        for (table, slots) in &self.slots {
            // That nothing is known about the table was said.
            if matches!(self.schema.tables.get(table), Some(None)) {
                continue;
            }
            let mut numbers: Vec<_> = slots.keys().copied().collect();
            numbers.sort_unstable();
            for number in numbers {
                let (upload, at) = landed[number];
                let known = &self.schema.ledger.uploads[at as usize];
                let slot = &slots[&number];
                self.judge_slot(upload, known, table, slot, differences)?;
            }
        }
        Ok(())
    }

    fn judge_slot(
        &self,
        upload: &Upload,
        known: &KnownUpload,
        table: &str,
        slot: &Slot,
        differences: &mut Differences,
    ) -> Result<(), Fault> {
        let schema = self.schema.name;
        let missing: HashSet<u128> = slot.ids.iter().filter(|(_, found)| !**found).map(|(id, _)| *id).collect();
        if !missing.is_empty() && !self.is_beyond_limit(known, table) {
            let named = self.names(upload, known, table, &missing)?;
            let message = format!(
                "{} rows of `{}` are not in `{schema}.{table}`: {}",
                missing.len(),
                upload.name,
                examples(&named, missing.len() as u64)
            );
            let hint = "they were lost, or changed their ids; INLET_WAREHOUSE_ID must be that of the landing";
            let difference = known.differs(Check::RowMissing, schema, message, hint).table(table);
            differences.push(difference.numbers(slot.ids.len() as i64, (slot.ids.len() - missing.len()) as i64));
        }
        if slot.extra > 0 {
            let message = format!(
                "{} rows in `{schema}.{table}` say that `{}` brought them, and its bytes do not have them: {}",
                slot.extra,
                upload.name,
                examples(&slot.extra_ids, slot.extra)
            );
            let hint = "somebody else wrote or moved them, or they changed their ids";
            let difference = known.differs(Check::RowExtra, schema, message, hint).table(table);
            differences.push(difference.numbers(0, slot.extra as i64));
        }
        Ok(())
    }

    /// Whether the upload landed when the schema had as many tables as it may: then its tracks of this event stand in
    /// `tracks` only.
    fn is_beyond_limit(&self, known: &KnownUpload, table: &str) -> bool {
        let is_named = known.parts.contains_key(table);
        let event_tables = self.schema.tables.keys().filter(|name| !is_call(name) && !super::is_own(name)).count();
        !is_named && !is_call(table) && event_tables >= self.anew.settings.limits.tables_per_schema
    }

    /// Some of the ids behind hashes: the upload is read once more for them.
    fn names(
        &self,
        upload: &Upload,
        known: &KnownUpload,
        table: &str,
        hashes: &HashSet<u128>,
    ) -> Result<Vec<String>, Fault> {
        let mut names = BTreeSet::new();
        let is_keyed = self.schema.ledger.is_keyed(known);
        self.anew.read(upload, known, is_keyed, &mut |of, batch| {
            if of == table && names.len() < EXAMPLES {
                names.extend(ids(batch).filter(|id| hashes.contains(&id_hash(id))).map(str::to_owned).take(EXAMPLES));
            }
        })?;
        Ok(names.into_iter().take(EXAMPLES).collect())
    }
}

fn examples(ids: &[String], all: u64) -> String {
    let more = if all > ids.len() as u64 { ", …" } else { "" };
    format!("`{}`{more}", ids.join("`, `"))
}

fn ids(batch: &RecordBatch) -> impl Iterator<Item = &str> {
    let ids = batch.column_by_name("id").and_then(|column| column.as_string_opt::<i32>());
    ids.into_iter().flat_map(|ids| ids.iter().flatten())
}
