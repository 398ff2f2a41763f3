//! Columns beside a column, for values that do not fit its type: `price__string` beside `price`.
//!
//! Names from outside never hold `__`, so such a column is always ours. Which one a value goes to depends on the value
//! and on the columns there are: the least type that holds it. A new one gets the least type that holds all values of
//! the upload which no other takes, so one that comes later never takes values from one that was there.

use crate::kind::{ColumnType, KnownType};
use crate::limits::NAME_BYTES;
use crate::table::TablePlan;

/// What stands between a column's name and the type.
const MARK: &str = "__";

/// Types from the least to the one that holds all.
const RISING: [ColumnType; 5] =
    [ColumnType::Boolean, ColumnType::BigInt, ColumnType::Double, ColumnType::Timestamp, ColumnType::String];

/// The name of the column beside `column` whose type is not settled yet: its beginning.
pub(crate) fn open_name(column: &str) -> String {
    format!("{column}{MARK}")
}

/// The name with its type, when it is one that was open.
pub(crate) fn closed_name(name: &str, column_type: ColumnType) -> String {
    if name.ends_with(MARK) { format!("{name}{}", column_type.name()) } else { name.to_owned() }
}

/// Whether a column can have others beside it: not a STRING, which holds everything but lone surrogates, nor one whose
/// name would become too long.
pub(crate) fn can_vary(column: &str, known: KnownType) -> bool {
    let longest = MARK.len() + ColumnType::Timestamp.name().len();
    known != KnownType::Ours(ColumnType::String) && column.len() + longest <= NAME_BYTES
}

/// The place of the column beside `column` that takes a value of this type: the least of those there are.
pub(crate) fn slot_for(plan: &TablePlan, column: &str, value: ColumnType) -> Option<u32> {
    RISING.into_iter().filter(|column_type| value.join(*column_type) == *column_type).find_map(|column_type| {
        let slot = plan.slot(&closed_name(&open_name(column), column_type))?;
        (plan.columns()[slot as usize].1 == KnownType::Ours(column_type)).then_some(slot)
    })
}

/// The columns of a table that have others beside them, each with those: what a view joins. In a row at most one of
/// the others has a value, and then it is the original, whatever the column itself says.
pub fn variants<'a>(columns: &'a [(String, KnownType)]) -> Vec<(&'a str, Vec<&'a str>)> {
    let beside = |base: &str| -> Vec<&'a str> {
        let is_variant = |name: &str, known: KnownType| {
            let Some((head, tail)) = name.split_at_checked(base.len()) else { return false };
            let own = RISING.into_iter().find(|own| tail.strip_prefix(MARK) == Some(own.name()));
            head.eq_ignore_ascii_case(base) && own.is_some_and(|own| known == KnownType::Ours(own))
        };
        columns.iter().filter(|(name, known)| is_variant(name, *known)).map(|(name, _)| name.as_str()).collect()
    };
    let all = columns.iter().map(|(name, _)| (name.as_str(), beside(name)));
    all.filter(|(_, beside)| !beside.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::ColumnType::{BigInt, Boolean, Double, String as Text, Timestamp};
    use super::*;
    use crate::table::TableKind;

    fn columns(columns: &[(&str, ColumnType)]) -> Vec<(String, KnownType)> {
        columns.iter().map(|&(name, column_type)| (name.to_owned(), KnownType::Ours(column_type))).collect()
    }

    #[test]
    fn a_value_goes_to_the_least_type_that_holds_it() {
        let mut existing =
            columns(&[("a", Timestamp), ("a__string", Text), ("a__bigint", BigInt), ("b__double", Text)]);
        existing.push(("c__double".to_owned(), KnownType::Foreign));
        let plan = TablePlan::new("t", TableKind::Event, &existing);
        let found = |column: &str, value| slot_for(&plan, column, value);
        assert_eq!(
            [Boolean, BigInt, Double, Text].map(|value| found("a", value)),
            [Some(1), Some(2), Some(1), Some(1)]
        );
        assert_eq!([found("b", Double), found("c", BigInt), found("d", Text)], [None; 3]);
    }

    #[test]
    fn a_column_that_comes_later_takes_nothing_from_those_there_were() {
        for there in RISING {
            let mut had = TablePlan::new("t", TableKind::Event, &columns(&[("a", Text)]));
            had.add(&closed_name(&open_name("a"), there), there);
            for newcomer in RISING.into_iter().filter(|new| slot_for(&had, "a", *new).is_none()) {
                let mut grown = had.clone();
                grown.add(&closed_name(&open_name("a"), newcomer), newcomer);
                for value in RISING.into_iter().filter(|value| slot_for(&had, "a", *value).is_some()) {
                    assert_eq!(slot_for(&grown, "a", value), slot_for(&had, "a", value), "{there:?} {newcomer:?}");
                }
            }
        }
    }

    #[test]
    fn pairs_are_found_by_name_and_type() {
        let columns = columns(&[
            ("Price", BigInt),
            ("price__string", Text),
            ("price__double", Double),
            ("price__bigint", Text),
            ("plan", Text),
            ("plan__b", Text),
            ("x__string", Text),
        ]);
        assert_eq!(variants(&columns), [("Price", vec!["price__string", "price__double"])]);
    }

    #[test]
    fn long_names_and_texts_have_none() {
        assert!(can_vary(&"a".repeat(244), KnownType::Ours(BigInt)) && can_vary("a", KnownType::Foreign));
        assert!(!can_vary(&"a".repeat(245), KnownType::Foreign) && !can_vary("a", KnownType::Ours(Text)));
    }
}
