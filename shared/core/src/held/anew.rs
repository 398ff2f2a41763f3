//! Rows that cannot be committed as they were written: they are read back, and written for the table as it is.

use arrow_array::RecordBatch;
use hashbrown::{HashMap, HashSet};
use inlet_events::order::id_hash;
use inlet_events::table::{RESCUED_DATA, UPLOAD_ID, UUID_TS};
use inlet_events::{Anew, ColumnType, KnownType, Value, rescued_values};

use super::Note;
use crate::clock::Micros;
use crate::crew::no_encoder;
use crate::delta::{
    Column, DataFile, Encoder, FileLayout, FileWriter, KeptFile, Lake, ROW_GROUP_BYTES, Table, run_on, sql_name, value,
};
use crate::fault::Fault;

/// Rows of a note that must not land.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Those of uploads whose id the table has.
    pub(super) uploads: HashSet<String>,
    /// By upload: ids that an earlier form of its key landed.
    pub(super) ids: HashMap<String, HashSet<u128>>,
}

impl LeftOut {
    pub(super) fn is_empty(&self) -> bool {
        self.uploads.is_empty() && self.ids.values().all(HashSet::is_empty)
    }

    pub(super) fn has(&self, upload: &str, id: Option<&str>) -> bool {
        let landed = |ids: &HashSet<u128>| id.is_some_and(|id| ids.contains(&id_hash(id)));
        self.uploads.contains(upload) || self.ids.get(upload).is_some_and(landed)
    }
}

/// The columns that say where a row came from: its upload's id, when the run began that wrote it, and which of the
/// upload's rows it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lineage {
    pub(crate) upload: &'static str,
    pub(crate) written_at: &'static str,
    pub(crate) key: &'static [&'static str],
}

impl Lineage {
    /// Those of event tables.
    pub(crate) const OF_EVENTS: Self = Self { upload: UPLOAD_ID, written_at: UUID_TS, key: &["id"] };
    /// Those of `_rejects`.
    pub(crate) const OF_REJECTS: Self =
        Self { upload: "upload_id", written_at: "loaded_at", key: &["line", "item", "byte_offset"] };
}

/// Where one row came from.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) upload: &'a str,
    pub(crate) id: Option<&'a str>,
    pub(crate) written_at: Option<Micros>,
    /// A hash of the cells that tell it from the upload's other rows.
    pub(crate) key: u128,
}

/// Rows that stand in files which no table names.
pub(crate) struct Rows<'a> {
    pub(crate) schema: &'a str,
    pub(crate) table: &'a str,
    pub(crate) files: &'a [KeptFile],
    pub(crate) lineage: Lineage,
    /// Whether a row must not land.
    pub(crate) is_left_out: &'a dyn Fn(&Origin<'_>) -> bool,
}

/// Files of what is left of some rows.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) files: Vec<DataFile>,
    /// How many rows of which upload are in them.
    pub(crate) uploads: HashMap<String, u64>,
    /// How many more values `_rescued_data` keeps of them than it kept before.
    pub(crate) rescued: i64,
    /// How many it kept of the rows that are left out.
    pub(crate) rescued_left_out: i64,
}

/// Staged rows that were written anew.
#[derive(Debug, Default)]
pub(crate) struct Restaged {
    pub(crate) files: Vec<KeptFile>,
    /// How many more values `_rescued_data` keeps of the upload.
    pub(crate) rescued: i64,
}

/// Writes rows for a table as it is with these further columns, or for one that is made with `columns` alone. Values
/// without a column that takes them go to `_rescued_data`.
///
/// # Errors
/// Setup when a file is gone or the table cannot keep what does not fit; what the store answers.
pub(crate) fn write_anew(
    lake: &Lake,
    rows: &Rows<'_>,
    table: Option<&Table>,
    columns: &[(String, ColumnType)],
) -> Result<Rewritten, Fault> {
    let layout = match table {
        Some(table) => FileLayout::of_existing(lake, table, columns)?,
        None => FileLayout::of_new(lake, rows.schema, rows.table, columns)?,
    };
    let there = table.into_iter().flat_map(Table::columns).map(Column::named);
    let added = columns.iter().map(|(name, ours)| (name.clone(), KnownType::Ours(*ours)));
    let all: Vec<_> = there.chain(added).collect();
    let writer = FileWriter::create(lake, layout.narrowed(&rows.columns()))?;
    rewrite(lake, rows, &all, writer)
}

/// The same for files that the warehouse copies into a table with these columns: they lie aside, where the table's own
/// files do not, and their columns have the names that SQL knows.
///
/// # Errors
/// As [`write_anew`].
pub(crate) fn write_aside(lake: &Lake, rows: &Rows<'_>, columns: &[(String, KnownType)]) -> Result<Rewritten, Fault> {
    let layout = FileLayout::of_aside(lake, rows.schema, rows.table, &ours(columns))?;
    rewrite_shared(lake, rows, &layout, columns)
}

/// Writes rows for these columns.
fn rewrite(
    lake: &Lake,
    rows: &Rows<'_>,
    columns: &[(String, KnownType)],
    mut writer: FileWriter,
) -> Result<Rewritten, Fault> {
    let mut rewriting = Rewriting {
        encoder: Encoder::new().map_err(no_encoder)?,
        anew: Anew::new(columns),
        done: Rewritten::default(),
        rows,
    };
    let all = rewriting.all(lake, &mut writer);
    let done = rewriting.done;
    if all.is_err() || writer.rows() == 0 {
        writer.abort();
        return all.map(|()| done);
    }
    Ok(Rewritten { files: vec![writer.finish()?], ..done })
}

/// The columns that take values of ours.
fn ours(columns: &[(String, KnownType)]) -> Vec<(String, ColumnType)> {
    let ours = columns.iter().filter_map(|(name, known)| match known {
        KnownType::Ours(ours) => Some((name.clone(), *ours)),
        KnownType::Foreign => None,
    });
    ours.collect()
}

/// Writes staged rows for a managed table with these columns, but those that stand in it: they have one of these ids,
/// hashed, and what they keep in `_rescued_data` they keep.
///
/// # Errors
/// As [`write_anew`].
pub(crate) fn write_for(
    lake: &Lake,
    (schema, table): (&str, &str),
    files: &[KeptFile],
    columns: &[(String, KnownType)],
    standing: &HashSet<u128>,
) -> Result<Restaged, Fault> {
    let is_left_out = |origin: &Origin<'_>| origin.id.is_some_and(|id| standing.contains(&id_hash(id)));
    let rows = Rows { schema, table, files, lineage: Lineage::OF_EVENTS, is_left_out: &is_left_out };
    let (files, written) = restage(lake, &rows, &ours(columns))?;
    Ok(Restaged { files, rescued: written.rescued })
}

/// Writes staged rows again without those that have one of these ids, hashed.
///
/// # Errors
/// As [`write_anew`].
pub(crate) fn write_without(
    lake: &Lake,
    (schema, table): (&str, &str),
    files: &[KeptFile],
    ids: &HashSet<u128>,
) -> Result<Restaged, Fault> {
    let mut columns: Vec<(String, ColumnType)> = Vec::new();
    for (name, column_type) in files.iter().flat_map(KeptFile::columns) {
        if !columns.iter().any(|(known, _)| known == name) {
            columns.push((name.to_owned(), column_type));
        }
    }
    let is_left_out = |origin: &Origin<'_>| origin.id.is_some_and(|id| ids.contains(&id_hash(id)));
    let rows = Rows { schema, table, files, lineage: Lineage::OF_EVENTS, is_left_out: &is_left_out };
    let (files, written) = restage(lake, &rows, &columns)?;
    Ok(Restaged { files, rescued: written.rescued - written.rescued_left_out })
}

fn restage(
    lake: &Lake,
    rows: &Rows<'_>,
    columns: &[(String, ColumnType)],
) -> Result<(Vec<KeptFile>, Rewritten), Fault> {
    let layout = FileLayout::of_new(lake, rows.schema, rows.table, columns)?;
    let known: Vec<_> = columns.iter().map(|(name, ours)| (name.clone(), KnownType::Ours(*ours))).collect();
    let written = rewrite_shared(lake, rows, &layout, &known)?;
    Ok((written.files.iter().map(|file| file.on_paper(lake)).collect(), written))
}

/// The new file's name follows from those that it replaces: of two that do this at once, both write the same file, and
/// a warehouse loads its path once.
fn rewrite_shared(
    lake: &Lake,
    rows: &Rows<'_>,
    layout: &FileLayout,
    columns: &[(String, KnownType)],
) -> Result<Rewritten, Fault> {
    let Some(first) = rows.files.first() else { return Ok(Rewritten::default()) };
    let writer = FileWriter::shared(lake, layout.narrowed(&rows.columns()), &first.successor())?;
    rewrite(lake, rows, columns, writer)
}

impl<'a> Rows<'a> {
    /// Those of held files of an event table.
    pub(super) fn of_held(note: &'a Note, is_left_out: &'a dyn Fn(&Origin<'_>) -> bool) -> Self {
        let Note { schema, table, files, .. } = note;
        Self { schema, table, files, lineage: Lineage::OF_EVENTS, is_left_out }
    }

    /// The columns that their files have, and the one for what fits no other.
    fn columns(&self) -> Vec<&str> {
        self.files.iter().flat_map(KeptFile::columns).map(|(name, _)| name).chain([RESCUED_DATA]).collect()
    }
}

struct Rewriting<'a> {
    encoder: Encoder,
    anew: Anew,
    /// What is written so far; its file is not finished.
    done: Rewritten,
    rows: &'a Rows<'a>,
}

impl Rewriting<'_> {
    fn all(&mut self, lake: &Lake, writer: &mut FileWriter) -> Result<(), Fault> {
        for file in self.rows.files {
            let columns: Vec<(&str, ColumnType)> = file.columns().collect();
            file.read(lake, &mut |batch| {
                self.take(lake, &columns, batch)?;
                match self.anew.memory() >= ROW_GROUP_BYTES {
                    true => self.flush(writer),
                    false => Ok(()),
                }
            })?;
        }
        self.flush(writer)
    }

    fn take(&mut self, lake: &Lake, columns: &[(&str, ColumnType)], batch: &RecordBatch) -> Result<(), Fault> {
        let Rows { schema, table, lineage, is_left_out, .. } = self.rows;
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().zip(columns);
            let cells: Vec<(&str, Value<'_>)> = cells
                .filter_map(|(array, (name, column_type))| Some((*name, value(*column_type, array, row)?)))
                .collect();
            let rescued = rescued(&cells);
            let origin = origin(*lineage, columns, batch, row);
            if is_left_out(&origin) {
                self.done.rescued_left_out += rescued;
                continue;
            }
            *self.done.uploads.entry_ref(origin.upload).or_default() += 1;
            if !self.anew.push(cells) {
                let sql_name = sql_name(schema, table);
                return Err(Fault::setup(format!(
                    "table `{schema}.{table}` has no column `{RESCUED_DATA}` for what fits no other column"
                ))
                .hint(run_on(lake, &[format!("ALTER TABLE {sql_name} ADD COLUMNS (`{RESCUED_DATA}` STRING)")])));
            }
            self.done.rescued += i64::try_from(self.anew.rescued()).unwrap_or(i64::MAX) - rescued;
        }
        Ok(())
    }

    fn flush(&mut self, writer: &mut FileWriter) -> Result<(), Fault> {
        writer.write(&self.anew.row_group(), &mut self.encoder)?;
        self.anew.clear();
        Ok(())
    }
}

/// How many values a row's `_rescued_data` keeps.
fn rescued(cells: &[(&str, Value<'_>)]) -> i64 {
    let count = cells.iter().find_map(|cell| match cell {
        (RESCUED_DATA, Value::Text(object)) => Some(rescued_values(object)),
        _ => None,
    });
    i64::try_from(count.unwrap_or(0)).unwrap_or(i64::MAX)
}

/// Where a row came from.
pub(crate) fn origin<'a>(
    lineage: Lineage,
    columns: &[(&str, ColumnType)],
    batch: &'a RecordBatch,
    row: usize,
) -> Origin<'a> {
    let cell = |name: &str| {
        let at = columns.iter().position(|(column, _)| *column == name)?;
        value(columns[at].1, batch.column(at), row)
    };
    let text = |name: &str| match cell(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    let written_at = match cell(lineage.written_at) {
        Some(Value::Timestamp(micros)) => Some(micros),
        _ => None,
    };
    let key = match lineage.key {
        [only] if text(only).is_some() => id_hash(text(only).unwrap_or_default()),
        several => id_hash(&format!("{:?}", several.iter().map(|name| cell(name)).collect::<Vec<_>>())),
    };
    Origin { upload: text(lineage.upload).unwrap_or_default(), id: text("id"), written_at, key }
}
