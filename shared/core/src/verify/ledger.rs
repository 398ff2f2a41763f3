//! What Inlet said about its uploads: the rows of `_loads`, and whether they agree among themselves.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use hashbrown::HashMap;
use inlet_events::Call;

use super::differences::{Check, Difference, Differences};
use super::stored::Stored;
use crate::clock::{self, Micros};
use crate::delta::Lake;
use crate::fault::Fault;
use crate::ledger::{LOADS, REJECTS};
use crate::report::Status;
use crate::underway::Underway;
use crate::upload::key_app_id_of;

/// The columns of `_loads` that count.
const COLUMNS: [&str; 15] = [
    "upload",
    "upload_id",
    "table_name",
    "status",
    "events",
    "rows",
    "held",
    "duplicates",
    "filtered",
    "rejected",
    "rescued",
    "bytes",
    "version",
    "finished_at",
    "lag",
];
/// Ids stand in logs for 30 days; what is younger than this must have its own.
const IDS_STAND: Micros = 29 * 24 * 60 * 60 * 1_000_000;

/// From here on an upload's filtered events are not counted by table.
pub(super) const FILTERED_TABLES: usize = 10_000;

pub(super) const LEDGER_HINT: &str = "`_loads` was changed after the load, or a file of it is lost: compare its history \
                           (DESCRIBE HISTORY); the rows themselves are counted below";

/// One row of `_loads`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Load {
    pub(super) events: i64,
    /// Rows in the table; in the upload's own row events that landed.
    pub(super) rows: i64,
    pub(super) held: i64,
    pub(super) duplicates: i64,
    pub(super) filtered: i64,
    pub(super) rejected: i64,
    pub(super) rescued: i64,
    pub(super) bytes: i64,
    /// `landed`, `partly held` or `rejected`; of a part `landed`, `held` or `loaded`.
    pub(super) status: String,
    pub(super) version: Option<i64>,
    pub(super) finished_at: Micros,
    /// Seconds from the upload's last modification to `finished_at`.
    pub(super) lag: f64,
}

impl Load {
    /// Whether it tells of rows that an earlier row calls held: it has no events of its own.
    fn is_release(&self) -> bool {
        self.events == 0
    }

    fn add(&mut self, later: &Self) {
        self.rows += later.rows;
        self.held += later.held;
        self.duplicates += later.duplicates;
        self.rescued += later.rescued;
        self.version = self.version.max(later.version);
    }
}

/// An upload that `_loads` names, or that rows name.
#[derive(Debug, Default)]
pub(super) struct KnownUpload {
    pub(super) id: String,
    /// Its key or path; empty for a stranger.
    pub(super) name: String,
    /// Its own row: one, unless something went wrong.
    pub(super) whole: Vec<Load>,
    /// Its rows by table: one each, unless something went wrong.
    pub(super) parts: BTreeMap<String, Vec<Load>>,
    /// What was told later of rows that were held, by table, and of the upload itself; added up with the rows above.
    released: Vec<(Option<String>, Load)>,
    /// A number that all forms of one key share.
    pub(super) lineage: u32,
    /// A note in the state folder names it.
    pub(super) underway: bool,
}

impl KnownUpload {
    /// Whether `_loads` does not know it.
    pub(super) fn is_stranger(&self) -> bool {
        self.whole.is_empty() && self.parts.is_empty()
    }

    /// Whether the settings left `tracks` out, so that the tracks of an event landed in its own table alone. An upload
    /// whose tracks all opted out looks the same, and has no row there either.
    pub(super) fn is_without_tracks(&self) -> bool {
        let is_left_out = |load: &Load| load.filtered > 0 && load.rows + load.held + load.duplicates == 0;
        self.parts.get("tracks").is_some_and(|loads| loads.iter().all(is_left_out))
    }

    /// Whether an event lands with its row in this table.
    pub(super) fn lands_in(&self, table: &str) -> bool {
        is_call(table) || self.is_without_tracks()
    }

    /// Whether its rows for a table are held.
    pub(super) fn is_held_for(&self, table: &str) -> bool {
        self.parts.get(table).and_then(|loads| loads.first()).is_some_and(|load| load.held > 0)
    }

    /// Whether its rows for a table were held, and have been committed.
    pub(super) fn was_held_for(&self, table: &str) -> bool {
        self.released.iter().any(|(released, _)| released.as_deref() == Some(table))
    }

    /// Whether the warehouse has copied its rows into a table: then the table's log has no id of it.
    pub(super) fn was_loaded_into(&self, table: &str) -> bool {
        let is_loaded = |load: &Load| load.status == Status::Loaded.name();
        self.released.iter().any(|(released, load)| released.as_deref() == Some(table) && is_loaded(load))
    }

    /// Adds what was told later to the rows that it changes; what changes none is a row of its own.
    fn add_released(&mut self) {
        for (table, load) in &self.released {
            let rows = match table {
                Some(table) => self.parts.entry(table.clone()).or_default(),
                None => &mut self.whole,
            };
            match rows.first_mut() {
                Some(first) => first.add(load),
                None => rows.push(load.clone()),
            }
        }
    }

    /// When it was done.
    pub(super) fn finished_at(&self) -> Option<Micros> {
        self.whole.first().or_else(|| self.parts.values().flatten().next()).map(|load| load.finished_at)
    }

    /// Whether it is so young that the logs must still have its ids.
    pub(super) fn has_ids(&self) -> bool {
        self.finished_at().is_some_and(|time| time > clock::now() - IDS_STAND)
    }

    /// A difference about it.
    pub(super) fn differs(&self, check: Check, schema: &str, message: String, hint: &str) -> Difference {
        let difference = Difference::new(check, schema, message, hint).upload_id(&self.id);
        if self.name.is_empty() { difference } else { difference.upload(&self.name) }
    }

    /// Its name for messages.
    pub(super) fn label(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }
}

/// All uploads of a schema.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) uploads: Vec<KnownUpload>,
    by_id: HashMap<String, u32>,
    /// Keys whose forms share a lineage.
    keys: HashMap<String, u32>,
    /// Uploads with rows of `_loads` for a table; for `_rejects` those that rejected something.
    by_table: BTreeMap<String, Vec<u32>>,
}

impl Ledger {
    /// Reads `_loads` and the notes of uploads under way.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) fn read(
        lake: &Lake,
        loads: &Stored,
        underway: &[Underway],
        differences: &mut Differences,
    ) -> Result<Self, Fault> {
        let mut ledger = Self::default();
        let mut nameless = 0;
        for file in &loads.files {
            let read = loads.read(lake, file, Some(&COLUMNS), &mut |batch| {
                nameless += ledger.add(batch);
                Ok(())
            });
            loads.judge_file(file, read, None, differences)?;
        }
        if nameless > 0 {
            let message = format!("{nameless} rows of `{}` name no upload", loads.label());
            differences.push(Difference::new(Check::Ledger, &loads.schema, message, LEDGER_HINT).table(LOADS));
        }
        ledger.uploads.iter_mut().for_each(KnownUpload::add_released);
        for note in underway {
            let at = ledger.place(&note.upload_id);
            let upload = &mut ledger.uploads[at as usize];
            upload.underway = true;
            if upload.name.is_empty() {
                upload.name.clone_from(&note.key);
            }
        }
        for (at, upload) in ledger.uploads.iter().enumerate() {
            let rejects = upload.whole.iter().any(|load| load.rejected != 0).then_some(REJECTS);
            for table in upload.parts.keys().map(String::as_str).chain(rejects) {
                match ledger.by_table.get_mut(table) {
                    Some(uploads) => uploads.push(at as u32),
                    None => drop(ledger.by_table.insert(table.to_owned(), vec![at as u32])),
                }
            }
        }
        // Uploads without a place, as those of standard input, have a name and no key: the log knows which.
        for at in 0..ledger.uploads.len() {
            let upload = &ledger.uploads[at];
            let is_marked = || loads.txns.has_app_id(&key_app_id_of(&upload.name));
            if upload.underway || is_marked() || !upload.has_ids() && looks_like_a_key(&upload.name) {
                let lineage = *ledger.keys.entry(upload.name.clone()).or_insert(at as u32);
                ledger.uploads[at].lineage = lineage;
            }
        }
        Ok(ledger)
    }

    /// Adds rows; answers how many have no upload id.
    fn add(&mut self, batch: &RecordBatch) -> u64 {
        let column = |name: &str| batch.column_by_name(name);
        let text = |name: &str, row: usize| {
            let texts = column(name)?.as_string_opt::<i32>()?;
            texts.is_valid(row).then(|| texts.value(row).to_owned())
        };
        let number = |name: &str, row: usize| {
            let numbers = column(name)?.as_primitive_opt::<Int64Type>()?;
            numbers.is_valid(row).then(|| numbers.value(row))
        };
        let count = |name: &str, row: usize| number(name, row).unwrap_or(0);
        let mut nameless = 0;
        for row in 0..batch.num_rows() {
            let Some(id) = text("upload_id", row) else {
                nameless += 1;
                continue;
            };
            let finished_at = column("finished_at").and_then(|column| {
                let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
                times.is_valid(row).then(|| times.value(row))
            });
            let lag = column("lag").and_then(|column| {
                let lags = column.as_primitive_opt::<Float64Type>()?;
                lags.is_valid(row).then(|| lags.value(row))
            });
            let load = Load {
                events: count("events", row),
                rows: count("rows", row),
                held: count("held", row),
                duplicates: count("duplicates", row),
                filtered: count("filtered", row),
                rejected: count("rejected", row),
                rescued: count("rescued", row),
                bytes: count("bytes", row),
                status: text("status", row).unwrap_or_default(),
                version: number("version", row),
                finished_at: finished_at.unwrap_or_default(),
                lag: lag.unwrap_or_default(),
            };
            let at = self.place(&id);
            let upload = &mut self.uploads[at as usize];
            if upload.name.is_empty() {
                upload.name = text("upload", row).unwrap_or_default();
            }
            match text("table_name", row) {
                table if load.is_release() => upload.released.push((table, load)),
                Some(table) => upload.parts.entry(table).or_default().push(load),
                None => upload.whole.push(load),
            }
        }
        nameless
    }

    /// The number of an upload; one that was not known becomes a stranger.
    pub(super) fn place(&mut self, id: &str) -> u32 {
        if let Some(&at) = self.by_id.get(id) {
            return at;
        }
        let at = self.uploads.len() as u32;
        self.uploads.push(KnownUpload { id: id.to_owned(), lineage: at, ..KnownUpload::default() });
        self.by_id.insert(id.to_owned(), at);
        at
    }

    /// Uploads that `_loads` names for a table.
    pub(super) fn of_table(&self, table: &str) -> &[u32] {
        self.by_table.get(table).map(Vec::as_slice).unwrap_or_default()
    }

    /// The number of an upload that is known.
    pub(super) fn find(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// Whether rows of `_loads` know an upload.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.find(id).is_some_and(|at| !self.uploads[at as usize].is_stranger())
    }

    /// Whether forms of the upload's key are known by it: uploads of standard input have none.
    pub(super) fn is_keyed(&self, upload: &KnownUpload) -> bool {
        self.keys.contains_key(&upload.name)
    }

    /// Compares the rows of `_loads` among themselves.
    pub(super) fn judge(&self, schema: &str, differences: &mut Differences) {
        for upload in self.uploads.iter().filter(|upload| !upload.is_stranger()) {
            judge_upload(upload, schema, differences);
        }
    }
}

fn judge_upload(upload: &KnownUpload, schema: &str, differences: &mut Differences) {
    let label = upload.label();
    let mut ledger = |message: String, expected: i64, found: i64, table: Option<&str>| {
        let difference = upload.differs(Check::Ledger, schema, message, LEDGER_HINT).numbers(expected, found);
        differences.push(match table {
            Some(table) => difference.table(table),
            None => difference,
        });
    };
    if upload.whole.len() != 1 {
        let message = format!("`{label}` has {} rows for the whole upload in `{schema}.{LOADS}`", upload.whole.len());
        ledger(message, 1, upload.whole.len() as i64, None);
    }
    for (table, loads) in upload.parts.iter().filter(|(_, loads)| loads.len() != 1) {
        let message = format!("`{label}` has {} rows for table `{table}` in `{schema}.{LOADS}`", loads.len());
        ledger(message, 1, loads.len() as i64, Some(table));
    }
    if let [whole] = upload.whole.as_slice() {
        let parts = |wanted: fn(&Load) -> i64, is_wanted: &dyn Fn(&str) -> bool| -> i64 {
            let loads = upload.parts.iter().filter(|(table, _)| is_wanted(table)).flat_map(|(_, loads)| loads.first());
            loads.map(wanted).sum()
        };
        let lands_in = |table: &str| upload.lands_in(table);
        let mut sums = vec![
            ("landed events", whole.rows, parts(|load| load.rows, &lands_in)),
            ("held events", whole.held, parts(|load| load.held, &lands_in)),
            ("duplicates", whole.duplicates, parts(|load| load.duplicates, &lands_in)),
            ("rescued values", whole.rescued, parts(|load| load.rescued, &|_| true)),
        ];
        if upload.parts.len() < FILTERED_TABLES {
            // What has no row in `tracks` may have one in the table of its event.
            let elsewhere =
                parts(|load| load.rows + load.held + load.duplicates, &|table| lands_in(table) && !is_call(table));
            sums.push(("filtered events", whole.filtered, parts(|load| load.filtered, &is_call) - elsewhere));
        }
        for (what, expected, found) in sums.into_iter().filter(|(_, expected, found)| expected != found) {
            let message = format!("`{label}`: {expected} {what} in all, {found} by table in `{schema}.{LOADS}`");
            ledger(message, expected, found, None);
        }
    }
    for whole in &upload.whole {
        let is_whole_rejection = (whole.events, whole.rejected) == (1, 1) && upload.parts.is_empty();
        let is_held = upload.parts.keys().any(|table| upload.is_held_for(table));
        let is_right = match whole.status.as_str() {
            "landed" => !is_held,
            "partly held" => is_held || !upload.released.is_empty(),
            "rejected" => is_whole_rejection,
            _ => false,
        };
        if !is_right {
            let message =
                format!("`{label}` is called `{}` in `{schema}.{LOADS}`, which its rows are not", whole.status);
            differences.push(upload.differs(Check::Ledger, schema, message, LEDGER_HINT));
        }
    }
    let wholes = upload.whole.iter().map(|load| (None, load));
    let parts = upload.parts.iter().flat_map(|(table, loads)| loads.iter().map(move |load| (Some(table), load)));
    for (table, load) in wholes.chain(parts) {
        if load.held < 0 {
            let message = format!("`{label}`: {} rows are told of that were not held", -load.held);
            let difference = upload.differs(Check::Ledger, schema, message, LEDGER_HINT).numbers(0, load.held);
            differences.push(match table {
                Some(table) => difference.table(table),
                None => difference,
            });
        }
        let found = load.rows + load.held + load.duplicates + load.rejected + load.filtered;
        if found != load.events {
            let where_ = table.map_or_else(String::new, |table| format!(" in table `{table}`"));
            let message = format!(
                "`{label}`{where_}: {} events, but {} landed + {} held + {} duplicates + {} rejected + {} filtered = \
                 {found}",
                load.events, load.rows, load.held, load.duplicates, load.rejected, load.filtered
            );
            let difference = upload.differs(Check::Equation, schema, message, LEDGER_HINT).numbers(load.events, found);
            differences.push(match table {
                Some(table) => difference.table(table),
                None => difference,
            });
        }
    }
}

/// Once the id of a key has expired, its text says whether it was one: an object's, or a file's absolute path that is no
/// pipe's.
fn looks_like_a_key(name: &str) -> bool {
    let is_pipe = name.starts_with("/dev/") || name.starts_with("/proc/");
    name.starts_with("s3/") || name.starts_with("azure/") || std::path::Path::new(name).is_absolute() && !is_pipe
}

/// Whether a table is one of the six calls'.
pub(super) fn is_call(table: &str) -> bool {
    Call::ALL.iter().any(|call| call.table() == table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(events: i64, rows: i64) -> Load {
        Load { events, rows, status: "landed".into(), ..Load::default() }
    }

    fn upload(whole: &[Load], parts: &[(&str, Load)]) -> KnownUpload {
        let mut upload = KnownUpload { id: "id".into(), whole: whole.to_vec(), ..KnownUpload::default() };
        for (table, load) in parts {
            upload.parts.entry((*table).to_owned()).or_default().push(load.clone());
        }
        upload
    }

    fn checks(upload: &KnownUpload) -> Vec<(Check, Option<String>)> {
        let mut differences = Differences::default();
        judge_upload(upload, "web", &mut differences);
        differences.finish().0.into_iter().map(|difference| (difference.check, difference.table)).collect()
    }

    #[test]
    fn a_key_is_known_by_its_text_when_its_id_has_expired() {
        let names = ["s3/bucket/a.gz", "azure/account/container/a", "/uploads/a.gz", "-", "/dev/fd/63", "fifo", ""];
        assert_eq!(names.map(looks_like_a_key), [true, true, true, false, false, false, false]);
    }

    #[test]
    fn rows_that_agree_are_no_difference() {
        let parts = [("tracks", load(3, 3)), ("order", load(2, 2)), ("search", load(1, 1)), ("pages", load(2, 2))];
        assert_eq!(checks(&upload(&[load(5, 5)], &parts)), []);
        let mut rejecting = load(6, 5);
        rejecting.rejected = 1;
        assert_eq!(checks(&upload(&[rejecting], &parts)), []);
    }

    #[test]
    fn every_row_adds_up_and_stands_there_once() {
        assert_eq!(checks(&upload(&[load(2, 1)], &[("pages", load(1, 1))])), [(Check::Equation, None)]);
        let pages = || ("pages", load(1, 1));
        assert_eq!(checks(&upload(&[], &[pages()])), [(Check::Ledger, None)]);
        assert_eq!(checks(&upload(&[load(1, 1), load(1, 1)], &[pages()])), [(Check::Ledger, None)]);
        assert_eq!(checks(&upload(&[load(1, 1)], &[pages(), pages()])), [(Check::Ledger, Some("pages".to_owned()))]);
    }

    #[test]
    fn held_rows_add_up_before_and_after_they_were_committed() {
        let held = |events: i64, held: i64| Load { held, status: "partly held".into(), ..load(events, events - held) };
        let parts = [("tracks", load(3, 3)), ("order", held(3, 3)), ("pages", held(2, 2))];
        let mut upload = upload(&[held(5, 2)], &parts);
        assert_eq!(checks(&upload), []);
        let release =
            |rows: i64, held: i64| Load { held, duplicates: -held - rows, status: "landed".into(), ..load(0, rows) };
        upload.released.push((Some("order".into()), release(3, -3)));
        upload.released.push((None, release(0, 0)));
        upload.released.push((Some("pages".into()), release(1, -2)));
        upload.released.push((None, release(1, -2)));
        upload.add_released();
        assert_eq!(checks(&upload), []);
        assert_eq!((upload.whole[0].rows, upload.whole[0].held, upload.whole[0].duplicates), (4, 0, 1));
        upload.parts.get_mut("pages").unwrap()[0].add(&release(2, -2));
        assert!(checks(&upload).contains(&(Check::Ledger, Some("pages".to_owned()))), "told twice");
    }

    #[test]
    fn what_the_tables_say_is_what_the_upload_says() {
        assert_eq!(checks(&upload(&[load(2, 2)], &[("pages", load(1, 1))])), [(Check::Ledger, None)]);
        let rejected = Load { rejected: 1, events: 1, status: "rejected".into(), ..Load::default() };
        assert_eq!(checks(&upload(std::slice::from_ref(&rejected), &[])), []);
        assert_eq!(checks(&upload(&[rejected], &[("pages", load(1, 1))])).len(), 2);
    }
}
