//! Column types in the three vocabularies that meet here: ours, the Delta kernel's and Arrow's.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType as ArrowType, Field, TimeUnit};
use delta_kernel::schema::{DataType, StructField};
use inlet_events::{ColumnType, KnownType, Value};

use super::append::Comments;

/// Our type as the kernel calls it.
pub(super) fn kernel_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Boolean => DataType::BOOLEAN,
        ColumnType::BigInt => DataType::LONG,
        ColumnType::Double => DataType::DOUBLE,
        ColumnType::String => DataType::STRING,
        ColumnType::Timestamp => DataType::TIMESTAMP,
    }
}

/// A table's type as Inlet sees it.
pub(super) fn known_type(data_type: &DataType) -> KnownType {
    ColumnType::ALL
        .into_iter()
        .find(|column_type| kernel_type(*column_type) == *data_type)
        .map_or(KnownType::Foreign, KnownType::Ours)
}

/// Our type as the exact Arrow type that files are written from.
pub(super) fn arrow_type(column_type: ColumnType) -> ArrowType {
    match column_type {
        ColumnType::Boolean => ArrowType::Boolean,
        ColumnType::BigInt => ArrowType::Int64,
        ColumnType::Double => ArrowType::Float64,
        ColumnType::String => ArrowType::Utf8,
        // Milliseconds would be written as they are and another zone refused: only this spelling is right.
        ColumnType::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
    }
}

/// The type that files have as this Arrow type.
pub(super) fn column_type(data_type: &ArrowType) -> Option<ColumnType> {
    ColumnType::ALL.into_iter().find(|column_type| arrow_type(*column_type) == *data_type)
}

/// A nullable column of ours for the kernel's schema.
pub(super) fn kernel_field((name, column_type): &(String, ColumnType)) -> StructField {
    StructField::nullable(name, kernel_type(*column_type))
}

/// The same with what the log says of it; Spark and Unity Catalog show a field's `comment`.
pub(super) fn commented(field: StructField, comments: &Comments) -> StructField {
    match comments.get(field.name()) {
        Some(comment) => field.with_metadata([("comment", comment.as_str())]),
        None => field,
    }
}

/// A nullable column of ours for an Arrow schema.
pub(crate) fn arrow_field(name: &str, column_type: ColumnType, nullable: bool) -> Field {
    Field::new(name, arrow_type(column_type), nullable)
}

/// A cell of an array that has our exact type; none when it is NULL.
pub(crate) fn value(column_type: ColumnType, array: &ArrayRef, row: usize) -> Option<Value<'_>> {
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

/// A type in JSON: its name.
pub(crate) mod by_name {
    use inlet_events::ColumnType;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(column_type: &ColumnType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(column_type.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ColumnType, D::Error> {
        let name = String::deserialize(deserializer)?;
        ColumnType::named(&name).ok_or_else(|| de::Error::custom(format!("`{name}` is no type of a column")))
    }
}
