//! Held rows that cannot be committed as they were written: they are read back, and written for the table as it is.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use hashbrown::{HashMap, HashSet};
use inlet_events::order::id_hash;
use inlet_events::table::{RESCUED_DATA, UPLOAD_ID};
use inlet_events::{Anew, ColumnType, KnownType, Value};

use super::Note;
use crate::crew::no_encoder;
use crate::delta::{DataFile, Encoder, FileLayout, FileWriter, KeptFile, Lake, ROW_GROUP_BYTES, Table};
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

    fn has(&self, upload: &str, id: Option<&str>) -> bool {
        let landed = |ids: &HashSet<u128>| id.is_some_and(|id| ids.contains(&id_hash(id)));
        self.uploads.contains(upload) || self.ids.get(upload).is_some_and(landed)
    }
}

/// Files of what is left of a note's rows.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) files: Vec<DataFile>,
    /// Uploads with rows in them.
    pub(super) uploads: HashSet<String>,
}

/// Writes a note's rows for a table as it is, or for one that is made with `columns_if_new`. Values without a column
/// that takes them go to `_rescued_data`.
///
/// # Errors
/// Setup when a file of the note is gone or the table cannot keep what does not fit; what the store answers.
pub(super) fn write_anew(
    lake: &Lake,
    note: &Note,
    table: Option<&Table>,
    columns_if_new: &[(String, ColumnType)],
    left_out: &LeftOut,
) -> Result<Written, Fault> {
    let (layout, columns) = match table {
        Some(table) => {
            let columns = table.columns().iter().map(|column| (column.name.clone(), column.column_type));
            (FileLayout::of_existing(lake, table, &[])?, columns.collect())
        }
        None => {
            let columns = columns_if_new.iter().map(|(name, ours)| (name.clone(), KnownType::Ours(*ours)));
            (FileLayout::of_new(lake, &note.schema, &note.table, columns_if_new)?, columns.collect::<Vec<_>>())
        }
    };
    let rows = Rows { schema: &note.schema, table: &note.table, files: &note.files };
    rows.write(lake, &layout, &columns, left_out)
}

/// Writes staged rows for a managed table with these columns.
///
/// # Errors
/// As [`write_anew`].
pub(crate) fn write_for(
    lake: &Lake,
    (schema, table): (&str, &str),
    files: &[KeptFile],
    columns: &[(String, KnownType)],
) -> Result<Vec<KeptFile>, Fault> {
    let ours = columns.iter().filter_map(|(name, known)| match known {
        KnownType::Ours(ours) => Some((name.clone(), *ours)),
        KnownType::Foreign => None,
    });
    let layout = FileLayout::of_new(lake, schema, table, &ours.collect::<Vec<_>>())?;
    let rows = Rows { schema, table, files };
    let written = rows.write(lake, &layout, columns, &LeftOut::default())?;
    Ok(written.files.iter().map(|file| file.on_paper(lake)).collect())
}

/// Rows of one table that stand in files.
#[derive(Clone, Copy)]
struct Rows<'a> {
    schema: &'a str,
    table: &'a str,
    files: &'a [KeptFile],
}

impl Rows<'_> {
    fn write(
        self,
        lake: &Lake,
        layout: &FileLayout,
        columns: &[(String, KnownType)],
        left_out: &LeftOut,
    ) -> Result<Written, Fault> {
        let mut kept: Vec<&str> = self.files.iter().flat_map(|file| file.columns().map(|(name, _)| name)).collect();
        kept.push(RESCUED_DATA);
        let mut writer = FileWriter::create(lake, layout.narrowed(&kept))?;
        let mut rewriting = Rewriting {
            encoder: Encoder::new().map_err(no_encoder)?,
            rows: Anew::new(columns),
            uploads: HashSet::new(),
            from: self,
        };
        let done = rewriting.all(lake, &mut writer, left_out);
        if done.is_err() || writer.rows() == 0 {
            writer.abort();
            return done.map(|()| Written::default());
        }
        Ok(Written { files: vec![writer.finish()?], uploads: rewriting.uploads })
    }
}

struct Rewriting<'a> {
    encoder: Encoder,
    rows: Anew,
    uploads: HashSet<String>,
    from: Rows<'a>,
}

impl Rewriting<'_> {
    fn all(&mut self, lake: &Lake, writer: &mut FileWriter, left_out: &LeftOut) -> Result<(), Fault> {
        for file in self.from.files {
            let columns: Vec<(&str, ColumnType)> = file.columns().collect();
            file.read(lake, &mut |batch| {
                self.take(&columns, batch, left_out)?;
                match self.rows.memory() >= ROW_GROUP_BYTES {
                    true => self.flush(writer),
                    false => Ok(()),
                }
            })?;
        }
        self.flush(writer)
    }

    fn take(&mut self, columns: &[(&str, ColumnType)], batch: &RecordBatch, left_out: &LeftOut) -> Result<(), Fault> {
        let place = |name: &str| columns.iter().position(|(column, _)| *column == name);
        let text = |at: Option<usize>, row: usize| match at.map(|at| value(columns[at].1, batch.column(at), row)) {
            Some(Some(Value::Text(text))) => Some(text),
            _ => None,
        };
        let (upload_at, id_at) = (place(UPLOAD_ID), place("id"));
        for row in 0..batch.num_rows() {
            let upload = text(upload_at, row).unwrap_or_default();
            if left_out.has(upload, text(id_at, row)) {
                continue;
            }
            if !self.uploads.contains(upload) {
                self.uploads.insert(upload.to_owned());
            }
            let cells = batch.columns().iter().zip(columns);
            let cells: Vec<(&str, Value<'_>)> = cells
                .filter_map(|(array, (name, column_type))| Some((*name, value(*column_type, array, row)?)))
                .collect();
            if !self.rows.push(cells) {
                let Rows { schema, table, .. } = self.from;
                return Err(Fault::setup(format!(
                    "table `{schema}.{table}` has no column `{RESCUED_DATA}` for what fits no other column"
                ))
                .hint(format!("run: ALTER TABLE {schema}.{table} ADD COLUMNS ({RESCUED_DATA} STRING)")));
            }
        }
        Ok(())
    }

    fn flush(&mut self, writer: &mut FileWriter) -> Result<(), Fault> {
        writer.write(&self.rows.row_group(), &mut self.encoder)?;
        self.rows.clear();
        Ok(())
    }
}

/// A cell of a file of ours; none when it is NULL.
fn value(column_type: ColumnType, array: &ArrayRef, row: usize) -> Option<Value<'_>> {
    if array.is_null(row) {
        return None;
    }
    Some(match column_type {
        ColumnType::Boolean => Value::Boolean(array.as_boolean_opt()?.value(row)),
        ColumnType::BigInt => Value::BigInt(array.as_primitive_opt::<Int64Type>()?.value(row)),
        ColumnType::Double => Value::Double(array.as_primitive_opt::<Float64Type>()?.value(row)),
        ColumnType::Timestamp => Value::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row)),
        ColumnType::String => Value::Text(array.as_string_opt::<i32>()?.value(row)),
    })
}
