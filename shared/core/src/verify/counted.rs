//! The rows of one table, counted by the upload that they name: how many, what they rescued, and which ids stand there
//! more than once.
//!
//! Files are streamed with three or four of their columns. Ids are remembered as hashes of 16 bytes; a table with more
//! rows than may be remembered is read again for each range of hashes.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, StringArray};
use hashbrown::{HashMap, HashSet};
use inlet_events::order::id_hash;
use inlet_events::table::{RESCUED_DATA, UPLOAD_ID};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::differences::Differences;
use super::ledger::Ledger;
use super::parquet_file::Broken;
use super::stored::Stored;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::ledger::REJECTS;

/// Hashes remembered at once: some 150 MB.
const IDS_AT_ONCE: u64 = 7 << 20;
/// Ids of a kind that are named.
const EXAMPLES: usize = 3;

/// Some rows: how many, and the sum of their ids' hashes, which is the same for the same ids in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    ids: u128,
}

impl Sum {
    fn add(&mut self, id: u128) {
        self.rows += 1;
        self.ids = self.ids.wrapping_add(id);
    }
}

/// The rows of one upload in one table.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sum: Sum,
    pub(super) rescued: u64,
    /// Rows without an id.
    pub(super) no_id: u64,
    /// Rows whose id stood there before, and some of those ids.
    pub(super) doubled: u64,
    pub(super) doubled_ids: Vec<String>,
    /// Of `tracks`: the rows by event.
    pub(super) events: HashMap<String, Sum>,
}

/// The rows of one table.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// By the upload's number in the ledger.
    pub(super) tallies: HashMap<u32, Tally>,
    /// Rows without an upload id.
    pub(super) no_upload: u64,
    pub(super) rows: u64,
}

impl Counted {
    /// Reads a table whole. Files that are not as the log says are differences.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) fn of(
        lake: &Lake,
        table: &Stored,
        ledger: &mut Ledger,
        differences: &mut Differences,
    ) -> Result<Self, Fault> {
        let mut counted = Self::default();
        let passes = table.logged_rows().div_ceil(IDS_AT_ONCE).max(1);
        let columns: &[&str] = match table.name.as_str() {
            REJECTS => &["upload_id", "line", "item"],
            "tracks" => &[UPLOAD_ID, "id", RESCUED_DATA, "event"],
            _ => &[UPLOAD_ID, "id", RESCUED_DATA],
        };
        for pass in 0..passes {
            let mut seen = Seen { hashes: HashSet::new(), pass, passes };
            for file in &table.files {
                let mut range = None;
                let read = table.read(lake, file, Some(columns), &mut |batch| {
                    counted.add(&Rows::of(&table.name, batch), ledger, &mut seen, &mut range);
                    Ok(())
                });
                match read {
                    read if pass == 0 => table.judge_file(file, read, range.as_ref(), differences)?,
                    Err(Broken::Fault(fault)) => return Err(fault),
                    _ => {}
                }
            }
        }
        Ok(counted)
    }

    /// The rows of an upload.
    pub(super) fn rows_of(&self, upload: u32) -> u64 {
        self.tallies.get(&upload).map_or(0, |tally| tally.sum.rows)
    }

    /// By the upload's number, in order.
    pub(super) fn in_order(&self) -> Vec<(u32, &Tally)> {
        let mut tallies: Vec<_> = self.tallies.iter().map(|(at, tally)| (*at, tally)).collect();
        tallies.sort_unstable_by_key(|(at, _)| *at);
        tallies
    }

    fn add(&mut self, rows: &Rows<'_>, ledger: &mut Ledger, seen: &mut Seen, range: &mut Option<(String, String)>) {
        let is_first = seen.pass == 0;
        let mut last: Option<(&str, u32)> = None;
        for row in 0..rows.count {
            self.rows += u64::from(is_first);
            let Some(id) = text(rows.uploads, row) else {
                self.no_upload += u64::from(is_first);
                continue;
            };
            let upload = match last {
                Some((known, upload)) if known == id => upload,
                _ => {
                    widen(range, id);
                    ledger.place(id)
                }
            };
            last = Some((id, upload));
            let tally = self.tallies.entry(upload).or_default();
            let Some((hash, id)) = rows.id(row) else {
                if is_first {
                    tally.sum.add(0);
                    tally.no_id += 1;
                }
                continue;
            };
            if is_first {
                tally.sum.add(hash);
                tally.rescued += text(rows.rescued, row).map_or(0, entries);
                if let Some(event) = text(rows.events, row) {
                    tally.events.entry_ref(event).or_default().add(hash);
                }
            }
            // A line that is rejected has no id to be known by: each form of a key rejects it again.
            let scope = if rows.rejects.is_some() { upload } else { ledger.uploads[upload as usize].lineage };
            if !seen.is_new(hash, scope) {
                tally.doubled += 1;
                if tally.doubled_ids.len() < EXAMPLES {
                    tally.doubled_ids.push(id);
                }
            }
        }
    }
}

/// The columns of a batch that are looked at.
pub(super) struct Rows<'a> {
    count: usize,
    pub(super) uploads: Option<&'a StringArray>,
    ids: Option<&'a StringArray>,
    rescued: Option<&'a StringArray>,
    events: Option<&'a StringArray>,
    /// Of `_rejects`.
    rejects: Option<&'a RecordBatch>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(table: &str, batch: &'a RecordBatch) -> Self {
        let texts = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let is_rejects = table == REJECTS;
        Self {
            count: batch.num_rows(),
            uploads: texts(if is_rejects { "upload_id" } else { UPLOAD_ID }),
            ids: texts("id"),
            rescued: texts(RESCUED_DATA),
            events: texts("event").filter(|_| table == "tracks"),
            rejects: is_rejects.then_some(batch),
        }
    }

    /// What names a row within its upload, and its hash: the id, or the place of a rejection.
    pub(super) fn id(&self, row: usize) -> Option<(u128, String)> {
        let place = |batch: &RecordBatch| {
            let number = |name: &str| {
                let numbers = batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
                numbers.is_valid(row).then(|| numbers.value(row))
            };
            match (number("line"), number("item")) {
                (Some(line), Some(item)) => format!("line {line} item {item}"),
                (Some(line), None) => format!("line {line}"),
                _ => "the whole upload".to_owned(),
            }
        };
        let id = match self.rejects {
            Some(batch) => place(batch),
            None => text(self.ids, row)?.to_owned(),
        };
        Some((id_hash(&id), id))
    }
}

/// A text that is not NULL.
pub(super) fn text(column: Option<&StringArray>, row: usize) -> Option<&str> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}

fn widen(range: &mut Option<(String, String)>, id: &str) {
    match range {
        None => *range = Some((id.to_owned(), id.to_owned())),
        Some((least, _)) if id < least.as_str() => id.clone_into(least),
        Some((_, greatest)) if id > greatest.as_str() => id.clone_into(greatest),
        Some(_) => {}
    }
}

/// Ids met in this pass.
struct Seen {
    hashes: HashSet<u128>,
    pass: u64,
    passes: u64,
}

impl Seen {
    /// Whether an id was not met before for these forms of a key; always so in another pass.
    fn is_new(&mut self, id: u128, scope: u32) -> bool {
        let mine = (id >> 64) as u64 % self.passes == self.pass;
        !mine || self.hashes.insert(id ^ salt(scope))
    }
}

fn salt(number: u32) -> u128 {
    (u128::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

/// How many values a row's `_rescued_data` keeps; none when it is no JSON object.
fn entries(rescued_data: &str) -> u64 {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
            let mut entries = 0;
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                entries += 1;
            }
            Ok(entries)
        }
    }
    serde_json::Deserializer::from_str(rescued_data).deserialize_map(Entries).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::ArrayRef;

    use super::*;

    /// Rows of upload, id and `_rescued_data`.
    fn batch(rows: &[[Option<&str>; 3]]) -> RecordBatch {
        let column = |at: usize| Arc::new(rows.iter().map(|row| row[at]).collect::<StringArray>()) as ArrayRef;
        let columns = [(UPLOAD_ID, column(0), true), ("id", column(1), true), (RESCUED_DATA, column(2), true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn count(passes: u64, batch: &RecordBatch, ledger: &mut Ledger) -> Counted {
        let mut counted = Counted::default();
        let mut range = None;
        for pass in 0..passes {
            let mut seen = Seen { hashes: HashSet::new(), pass, passes };
            counted.add(&Rows::of("pages", batch), ledger, &mut seen, &mut range);
        }
        assert_eq!(range, Some(("a".to_owned(), "b".to_owned())));
        counted
    }

    #[test]
    fn rows_are_counted_by_upload_in_any_number_of_passes() {
        let rows = [
            [Some("b"), Some("1"), None],
            [Some("a"), Some("1"), Some(r#"{"x":{"y":1},"x#2":2}"#)],
            [Some("a"), Some("2"), Some("no object")],
            [Some("a"), Some("1"), None],
            [Some("a"), None, None],
            [None, Some("1"), None],
        ];
        for passes in [1, 2, 5] {
            let mut ledger = Ledger::default();
            let counted = count(passes, &batch(&rows), &mut ledger);
            let a = &counted.tallies[&ledger.find("a").unwrap()];
            assert_eq!((a.sum.rows, a.rescued, a.no_id, a.doubled), (4, 2, 1, 1), "{passes} passes");
            assert_eq!(a.doubled_ids, ["1"]);
            let b = &counted.tallies[&ledger.find("b").unwrap()];
            assert_eq!((b.sum.rows, b.doubled), (1, 0));
            assert_eq!((counted.rows, counted.no_upload), (6, 1));
        }
    }

    #[test]
    fn forms_of_one_key_may_not_share_an_id() {
        let mut ledger = Ledger::default();
        let (a, b) = (ledger.place("a"), ledger.place("b"));
        ledger.uploads[b as usize].lineage = ledger.uploads[a as usize].lineage;
        let counted = count(1, &batch(&[[Some("a"), Some("1"), None], [Some("b"), Some("1"), None]]), &mut ledger);
        assert_eq!(counted.tallies[&b].doubled, 1);
    }

    #[test]
    fn the_same_ids_have_the_same_sum() {
        let (mut left, mut right) = (Sum::default(), Sum::default());
        [1, 2, 3].into_iter().for_each(|id| left.add(id));
        [3, 1, 2].into_iter().for_each(|id| right.add(id));
        assert_eq!(left, right);
    }
}
