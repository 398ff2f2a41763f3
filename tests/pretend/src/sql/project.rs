//! What COPY INTO's SELECT makes of a file: columns, casts and a few constants. A cast that we would do otherwise than
//! Spark is refused.

use std::sync::Arc;

use deltalake::arrow::array::{Array, ArrayRef, AsArray, StringArray, TimestampMicrosecondArray};
use deltalake::arrow::compute::{CastOptions, cast_with_options};
use deltalake::arrow::datatypes::{DataType, TimestampMicrosecondType};
use deltalake::arrow::record_batch::RecordBatch;
use sqlparser::ast::{CastKind, Expr, FunctionArguments, SelectItem, Value as Literal};

use super::failures::not_here;
use super::staged::{arrow_of, kind_of};
use crate::clock;
use crate::statement::Failure;
use crate::types::SqlType;

/// One column of the answer.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: SqlType,
    pub(super) values: ArrayRef,
}

/// The columns that are selected of a file's rows; without a SELECT all of them.
pub(super) fn project(select: Option<&[SelectItem]>, batch: &RecordBatch) -> Result<Vec<Column>, Failure> {
    let Some(items) = select else { return all(batch) };
    let mut columns = Vec::new();
    for item in items {
        match item {
            SelectItem::Wildcard(options) if options.to_string().is_empty() => columns.extend(all(batch)?),
            SelectItem::UnnamedExpr(expr) => {
                let name = match expr {
                    Expr::Identifier(ident) => ident.value.clone(),
                    other => return Err(not_here(&format!("COPY INTO … SELECT {other} without a name"))),
                };
                columns.push(Column { name, ..evaluate(expr, batch)? });
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                columns.push(Column { name: alias.value.clone(), ..evaluate(expr, batch)? });
            }
            other => return Err(not_here(&format!("COPY INTO … SELECT {other}"))),
        }
    }
    let mut names = std::collections::BTreeSet::new();
    match columns.iter().find(|column| !names.insert(column.name.to_lowercase())) {
        Some(twice) => {
            let text = format!("The column `{}` already exists. Choose another name.", twice.name);
            Err(Failure::class("COLUMN_ALREADY_EXISTS", "42711", text))
        }
        None => Ok(columns),
    }
}

fn all(batch: &RecordBatch) -> Result<Vec<Column>, Failure> {
    (0..batch.num_columns()).map(|at| of_file(batch, at)).collect()
}

fn of_file(batch: &RecordBatch, at: usize) -> Result<Column, Failure> {
    let (field, values) = (batch.schema_ref().field(at), batch.column(at));
    let kind = kind_of(field.data_type());
    let kind = kind.ok_or_else(|| not_here(&format!("files with columns of type {}", field.data_type())))?;
    Ok(Column { name: field.name().clone(), kind, values: Arc::clone(values) })
}

fn evaluate(expr: &Expr, batch: &RecordBatch) -> Result<Column, Failure> {
    let rows = batch.num_rows();
    let constant = |kind, values: ArrayRef| Ok(Column { name: String::new(), kind, values });
    match expr {
        Expr::Nested(inner) => evaluate(inner, batch),
        Expr::Identifier(ident) => {
            let fields = batch.schema_ref().fields();
            let at = fields.iter().position(|field| field.name().eq_ignore_ascii_case(&ident.value));
            let unresolved = || {
                let name = &ident.value;
                let text = format!("A column, variable, or function parameter with name `{name}` cannot be resolved.");
                Failure::class("UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", "42703", text)
            };
            of_file(batch, at.ok_or_else(unresolved)?)
        }
        Expr::Cast { kind, expr, data_type, array: false, format: None } => {
            let wanted = SqlType::parse(&data_type.to_string());
            let wanted = wanted.ok_or_else(|| not_here(&format!("CAST to {data_type}")))?;
            let tries = match kind {
                CastKind::TryCast => true,
                CastKind::Cast | CastKind::DoubleColon => false,
                CastKind::SafeCast => return Err(not_here("SAFE_CAST")),
            };
            cast(evaluate(expr, batch)?, wanted, tries)
        }
        Expr::Value(value) => match &value.value {
            Literal::SingleQuotedString(text) | Literal::DoubleQuotedString(text) => {
                constant(SqlType::String, Arc::new(StringArray::from(vec![text.as_str(); rows])))
            }
            _ => Err(not_here(&format!("COPY INTO … SELECT {expr}"))),
        },
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            let has_no_arguments = match &function.args {
                FunctionArguments::None => true,
                FunctionArguments::List(list) => list.args.is_empty(),
                FunctionArguments::Subquery(_) => false,
            };
            if !["current_timestamp", "now"].contains(&name.as_str()) || !has_no_arguments {
                return Err(not_here(&format!("COPY INTO … SELECT {expr}")));
            }
            let now = i64::try_from(clock::epoch_ms()).unwrap_or_default() * 1_000;
            let values = TimestampMicrosecondArray::from(vec![now; rows]).with_timezone("UTC");
            constant(SqlType::Timestamp, Arc::new(values))
        }
        _ => Err(not_here(&format!("COPY INTO … SELECT {expr}"))),
    }
}

/// A column as another type. One value that does not fit fails the statement, or with TRY_CAST becomes null.
fn cast(column: Column, wanted: SqlType, tries: bool) -> Result<Column, Failure> {
    use SqlType::{Boolean, Byte, Date, Double, Float, Int, Long, Short, String, Timestamp};
    let same = column.kind == wanted;
    let values: ArrayRef = match (column.kind, wanted) {
        _ if same => Arc::clone(&column.values),
        (Byte | Short | Int | Long, Byte | Short | Int | Long | Float | Double | String)
        | (Float, Double)
        | (Boolean, String)
        | (Date, String) => Arc::clone(&column.values),
        // Spark reads a number or a moment between spaces.
        (String, Byte | Short | Int | Long | Float | Double | Boolean | Timestamp | Date) => {
            let trimmed = column.values.as_string::<i32>().iter().map(|text| text.map(str::trim));
            Arc::new(trimmed.collect::<StringArray>())
        }
        (Timestamp, String) => return Ok(Column { kind: wanted, values: moments(&column.values), ..column }),
        (from, to) => return Err(not_here(&format!("CAST of {} to {}", from.text(), to.text()))),
    };
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let made = cast_with_options(&values, &arrow_of(wanted), &options);
    let made = made.map_err(|error| not_here(&format!("CAST to {}: {error}", wanted.text())))?;
    if !tries && made.null_count() > column.values.null_count() {
        let text = format!(
            "A value of the type \"{}\" of the column `{}` cannot be cast to \"{}\" because it is malformed. Correct \
             the value as per the syntax, or change its target type. Use `try_cast` to tolerate malformed input and \
             return NULL instead.",
            column.kind.text().to_uppercase(),
            column.name,
            wanted.text().to_uppercase()
        );
        return Err(Failure::class("CAST_INVALID_INPUT", "22018", text));
    }
    Ok(Column { kind: wanted, values: made, ..column })
}

/// `2026-11-22 13:42:46.5`, as Spark writes it: without zeros at the end.
fn moments(values: &ArrayRef) -> ArrayRef {
    let text = |micros: i64| {
        let moment = chrono::DateTime::from_timestamp_micros(micros)?;
        let text = moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    };
    debug_assert!(matches!(values.data_type(), DataType::Timestamp(..)));
    let texts = values.as_primitive::<TimestampMicrosecondType>().iter().map(|micros| text(micros?));
    Arc::new(texts.collect::<StringArray>())
}
