//! What a file for a table looks like: its columns in the table's order, its statistics, where it goes.
//!
//! It comes from the kernel's write context, so that physical names and field ids are right under column mapping.
//! Files are matched to it by name: matching by position would let two string columns change places unseen as soon
//! as somebody adds a column in the middle.

use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use delta_kernel::KernelResult;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::{DataType, StructField};
use delta_kernel::transaction::{BoundWriteContext, Transaction};
use inlet_events::{ColumnType, KnownType};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use url::Url;

use super::append::Append;
use super::create::begin_create;
use super::faults::kernel_fault;
use super::gate::begin_write;
use super::lake::Lake;
use super::table::Table;
use super::types::{arrow_field, kernel_field, known_type};
use crate::fault::Fault;

/// One column of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileColumn {
    /// The name readers see.
    pub(super) name: String,
    /// Name, type and field id in the file.
    pub(super) physical: Field,
    /// Whether batches may hold it; the columns of foreign types that stand in a file are all NULL.
    pub(super) ours: bool,
}

/// What a file for a table looks like.
#[derive(Debug)]
pub struct FileLayout {
    pub(super) label: String,
    pub(super) columns: Vec<FileColumn>,
    pub(super) physical: SchemaRef,
    pub(super) context: Arc<BoundWriteContext>,
    logical: SchemaRef,
}

impl FileLayout {
    /// The layout of a table that does not exist yet; asks no store.
    ///
    /// # Errors
    /// A bug when the columns cannot be a Delta schema: names are made so that they can.
    pub fn of_new(lake: &Lake, schema: &str, name: &str, columns: &[(String, ColumnType)]) -> Result<Arc<Self>, Fault> {
        Self::drafted(lake, &lake.table_url(schema, name)?, format!("{schema}.{name}"), name, columns)
    }

    /// The layout of files that lie aside, in Inlet's own folder: a warehouse makes no table where files lie already,
    /// and under column mapping nobody knows a new column's name in files before it is there.
    ///
    /// # Errors
    /// As [`FileLayout::of_new`].
    pub(crate) fn of_aside(
        lake: &Lake,
        schema: &str,
        name: &str,
        columns: &[(String, ColumnType)],
    ) -> Result<Arc<Self>, Fault> {
        Self::drafted(lake, &lake.aside_url(schema, name)?, format!("{schema}.{name}"), name, columns)
    }

    fn drafted(
        lake: &Lake,
        url: &Url,
        label: String,
        name: &str,
        columns: &[(String, ColumnType)],
    ) -> Result<Arc<Self>, Fault> {
        lake.make_folder(url)?;
        let draft = || {
            let transaction = begin_create(lake.nowhere().as_ref(), url, name, columns, &Append::default())?;
            transaction.write_state()?.write_context_builder().build()
        };
        let context = draft().map_err(|error| {
            Fault::bug(format!("the columns of table `{label}` are no Delta schema")).because(error)
        })?;
        Self::of_context(label, url, context).map(Arc::new)
    }

    /// The layout of a table as last read, with the columns that the commit will add.
    ///
    /// # Errors
    /// The gate's refusal; a bug when new columns are given though [`Table::needs_columns_first`].
    pub fn of_existing(_lake: &Lake, table: &Table, new_columns: &[(String, ColumnType)]) -> Result<Arc<Self>, Fault> {
        if table.needs_columns_first() && !new_columns.is_empty() {
            return Err(Fault::bug(format!(
                "table `{}` maps columns: new ones are committed before files are written",
                table.label()
            )));
        }
        let fields: Vec<StructField> = new_columns.iter().map(kernel_field).collect();
        let transaction = begin_write(table, &fields, false)?;
        let context = write_context(&transaction)
            .map_err(|error| kernel_fault("cannot lay out files for the table", table.url(), error))?;
        Self::of_context(table.label(), table.url(), context).map(Arc::new)
    }

    /// The columns that batches may hold, by their logical names and with the exact Arrow types that are expected, in
    /// the table's order. A batch is matched by name; a column that it lacks is written as NULL.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.logical
    }

    /// The same layout for files that hold only these columns (and those that statistics or NOT NULL ask for): what a
    /// file lacks reads as NULL, and each open column is memory. A table may have a thousand, an upload few of them.
    #[must_use]
    pub fn narrowed(&self, names: &[&str]) -> Arc<Self> {
        let due = |column: &&FileColumn| {
            !column.ours || !column.physical.is_nullable() || has_statistics(&self.context, column.physical.name())
        };
        let kept = |column: &&FileColumn| names.contains(&column.name.as_str()) || due(column);
        let columns = self.columns.iter().filter(kept).cloned().collect();
        Arc::new(Self::of_columns(self.label.clone(), columns, Arc::clone(&self.context)))
    }

    fn of_context(label: String, url: &Url, context: BoundWriteContext) -> Result<Self, Fault> {
        let columns = file_columns(&context).map_err(|error| kernel_fault("cannot lay out files", url, error))?;
        Ok(Self::of_columns(label, columns, Arc::new(context)))
    }

    fn of_columns(label: String, columns: Vec<FileColumn>, context: Arc<BoundWriteContext>) -> Self {
        let logical = |column: &FileColumn| {
            Field::new(&column.name, column.physical.data_type().clone(), column.physical.is_nullable())
        };
        let logical: Vec<Field> = columns.iter().filter(|column| column.ours).map(logical).collect();
        let physical: Vec<Field> = columns.iter().map(|column| column.physical.clone()).collect();
        let (logical, physical) = (Arc::new(Schema::new(logical)), Arc::new(Schema::new(physical)));
        Self { label, columns, physical, context, logical }
    }
}

pub(super) fn has_statistics(context: &BoundWriteContext, physical_name: &str) -> bool {
    let of_column = |column: &ColumnName| column.path().first().is_some_and(|first| first == physical_name);
    context.stats_columns().iter().any(of_column)
}

/// The write context of a transaction on an unpartitioned table.
pub(super) fn write_context(transaction: &Transaction) -> KernelResult<BoundWriteContext> {
    transaction.write_state()?.write_context_builder().build()
}

/// The columns of a file, in the table's order. A column of a foreign type stands in the file only where statistics
/// of it are due (clustered tables demand them): left out it reads as NULL, and open columns are memory.
pub(super) fn file_columns(context: &BoundWriteContext) -> KernelResult<Vec<FileColumn>> {
    let logical = context.logical_data_schema().fields();
    let mut columns = Vec::new();
    for (logical, physical) in logical.zip(context.physical_data_schema().fields()) {
        let column_type = known_type(logical.data_type());
        let is_simple = matches!(physical.data_type(), DataType::Primitive(_));
        if column_type == KnownType::Foreign && !(is_simple && has_statistics(context, physical.name())) {
            continue;
        }
        let mut in_file: Field = physical.try_into_arrow()?;
        if let KnownType::Ours(ours) = column_type {
            let exact = arrow_field(in_file.name(), ours, in_file.is_nullable());
            in_file = exact.with_metadata(in_file.metadata().clone());
        }
        // A comment may change under a file; only this belongs to what the file is.
        let metadata = in_file.metadata().clone().into_iter().filter(|(key, _)| key == PARQUET_FIELD_ID_META_KEY);
        in_file = in_file.with_metadata(metadata.collect());
        columns.push(FileColumn {
            name: logical.name().clone(),
            physical: in_file,
            ours: column_type != KnownType::Foreign,
        });
    }
    Ok(columns)
}
