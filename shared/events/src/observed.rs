//! The types of values whose columns a table lacks, as one worker sees them.

use hashbrown::{HashMap, HashSet};

use crate::kind::ColumnType;
use crate::variant::closed_name;

/// A column that a table lacks.
#[derive(Clone, Debug)]
pub struct ObservedColumn {
    /// Its name.
    pub name: String,
    /// The least type that holds all values observed.
    pub column_type: ColumnType,
    /// Where it was first seen: line, item, place in the row.
    pub first: (u64, u32, u32),
}

impl ObservedColumn {
    /// The name that it gets: that of a column beside another ends with its type.
    pub fn full_name(&self) -> String {
        closed_name(&self.name, self.column_type)
    }
}

/// Columns that a table lacks, as one worker observed them.
#[derive(Debug, Default)]
pub struct Observed {
    columns: Vec<ObservedColumn>,
    places: HashMap<String, usize>,
    /// Whether there were more names than may be added: then only the first names count, and a second look at just
    /// those gives their types.
    pub overflow: bool,
}

impl Observed {
    /// The columns in the order in which this worker met them.
    pub fn columns(&self) -> &[ObservedColumn] {
        &self.columns
    }

    pub(crate) fn see(
        &mut self,
        name: &str,
        column_type: ColumnType,
        at: (u64, u32, u32),
        room: usize,
        only: Option<&HashSet<String>>,
    ) {
        if only.is_some_and(|only| !only.contains(name)) {
            return;
        }
        match self.places.get(name) {
            Some(&place) => {
                let column = &mut self.columns[place];
                column.column_type = column.column_type.join(column_type);
            }
            None if self.columns.len() < room => {
                self.places.insert(name.to_owned(), self.columns.len());
                self.columns.push(ObservedColumn { name: name.to_owned(), column_type, first: at });
            }
            None => self.overflow = true,
        }
    }
}
