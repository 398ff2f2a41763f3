//! What is encoded here is read back by the `parquet` crate's own reader, value for value.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::Schema;
use inlet_events::{ColumnType, Fit};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::super::types::arrow_field;
use super::*;

/// A column from a value or none per row.
fn column<T>(column_type: ColumnType, rows: &[Option<T>], push: impl Fn(&mut Column, usize, &T) -> Fit) -> Column {
    let mut column = Column::new(column_type);
    for (row, value) in rows.iter().enumerate() {
        if let Some(value) = value {
            assert_eq!(push(&mut column, row, value), Fit::Exact);
        }
    }
    column
}

/// Writes a column as row groups of a file of its own and reads them back.
fn read_back(groups: &[(Option<&Column>, usize)], column_type: ColumnType, is_optional: bool) -> Vec<ArrayRef> {
    let field = arrow_field("c", column_type, is_optional);
    let schema = ArrowSchemaConverter::new().convert(&Schema::new(vec![field.clone()])).unwrap();
    let properties = Arc::new(WriterProperties::default());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), properties).unwrap();
    let mut encoder = Encoder::new().unwrap();
    for (column, rows) in groups {
        let mut group = writer.next_row_group().unwrap();
        let bounds = column.and_then(Bounds::of);
        let (bytes, close) = encoder.encode(*column, *rows, &schema.column(0), bounds.as_ref(), &field).unwrap();
        group.append_column(&bytes, close).unwrap();
        group.close().unwrap();
    }
    let file = Bytes::from(writer.into_inner().unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(1 << 20).build().unwrap();
    let batches: Vec<_> = reader.map(|batch| Arc::clone(batch.unwrap().column(0))).collect();
    assert_eq!(batches.iter().map(Array::len).sum::<usize>(), groups.iter().map(|(_, rows)| rows).sum::<usize>());
    batches
}

/// Every `nth` row has none.
fn sparse<T>(values: impl Iterator<Item = T>, nth: usize) -> Vec<Option<T>> {
    values.enumerate().map(|(row, value)| (nth == 0 || row % nth != 0).then_some(value)).collect()
}

#[test]
fn texts_come_back_with_a_dictionary_without_one_and_with_half_of_one() {
    let few = |row: usize| format!("browser {}", row % 5);
    let one = |_| "always".to_owned();
    let ids = |row: usize| format!("id {row}");
    let half = |row: usize| if row < 5000 { format!("often {}", row % 300) } else { format!("rare {row}") };
    let makers: [&dyn Fn(usize) -> String; 4] = [&few, &one, &ids, &half];
    for make in makers {
        for (rows, nth) in [(1, 0), (7, 0), (9000, 0), (9000, 3), (9001, 2), (64, 64), (130, 7)] {
            let values = sparse((0..rows).map(make), nth);
            let column =
                column(ColumnType::String, &values, |column, row, text| column.push_text(row, text.as_bytes()));
            let back = read_back(&[(Some(&column), rows), (Some(&column), rows)], ColumnType::String, true);
            let twice: Vec<_> = values.iter().chain(&values).map(Option::as_deref).collect();
            let texts: Vec<_> = back.iter().flat_map(AsArray::as_string::<i32>).collect();
            assert_eq!(texts, twice, "{rows} rows, every {nth}th null");
        }
    }
}

#[test]
fn numbers_flags_and_nothing_come_back() {
    for (rows, nth) in [(1, 0), (8, 0), (1000, 3), (65, 64), (3, 1)] {
        let values = sparse((0..rows).map(|row| row as i64 * -7_000_000_007), nth);
        let numbers = column(ColumnType::BigInt, &values, |column, row, value| column.push_bigint(row, *value));
        let back = read_back(&[(Some(&numbers), rows)], ColumnType::BigInt, true);
        assert_eq!(back[0].as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), values);
        let values = sparse((0..rows).map(|row| row as f64 / 3.0), nth);
        let numbers = column(ColumnType::Double, &values, |column, row, value| column.push_double(row, *value));
        let back = read_back(&[(Some(&numbers), rows)], ColumnType::Double, true);
        assert_eq!(back[0].as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), values);
        let values = sparse((0..rows).map(|row| row % 3 == 0), nth);
        let flags = column(ColumnType::Boolean, &values, |column, row, value| {
            column.push_text(row, value.to_string().as_bytes())
        });
        let back = read_back(&[(Some(&flags), rows)], ColumnType::Boolean, true);
        assert_eq!(back[0].as_boolean().iter().collect::<Vec<_>>(), values);
        let back = read_back(&[(None, rows), (Some(&flags), rows)], ColumnType::Boolean, true);
        let nulls: usize = back.iter().map(Array::null_count).sum();
        assert_eq!(nulls, rows + values.iter().filter(|value| value.is_none()).count());
    }
}

#[test]
fn a_required_column_has_no_levels() {
    let values = sparse((0..100).map(|row| format!("id {row}")), 0);
    let column = column(ColumnType::String, &values, |column, row, text| column.push_text(row, text.as_bytes()));
    let back = read_back(&[(Some(&column), 100)], ColumnType::String, false);
    assert_eq!(
        back[0].as_string::<i32>().iter().collect::<Vec<_>>(),
        values.iter().map(Option::as_deref).collect::<Vec<_>>()
    );
}

#[test]
fn bounds_hold_every_value() {
    let texts = ["b", "a", "ä", "", "zz"].map(Some);
    let texts = column(ColumnType::String, &texts, |column, row, text| column.push_text(row, text.as_bytes()));
    assert_eq!(Bounds::of(&texts), Some(Bounds::Text(b"".to_vec(), "ä".into())));
    let zeros =
        column(ColumnType::Double, &[Some(0.0), Some(-0.0)], |column, row, value| column.push_double(row, *value));
    let Some(Bounds::Double(least, greatest)) = Bounds::of(&zeros) else { panic!("numbers have bounds") };
    assert!(least.is_sign_negative() && greatest.is_sign_positive());
    assert_eq!(Bounds::of(&Column::new(ColumnType::BigInt)), None);
    assert_eq!(Bounds::Int(3, 5).join(Bounds::Int(4, 9)), Bounds::Int(3, 9));
}
