//! Events that a table had no place for when their upload was read: `_rejects` says which. The tables may have changed
//! since, so it cannot be asked again.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use hashbrown::HashMap;
use inlet_events::Reason;

use super::anew::Given;
use super::parquet_file::Broken;
use super::stored::Stored;
use crate::delta::Lake;
use crate::fault::Fault;

/// Where such an event stood: line, and item from 1 (0: a line of its own).
type Place = (u64, u32);

/// Places of such events, and why they were rejected, by upload id.
#[derive(Debug, Default)]
pub(super) struct RefusedEvents(HashMap<String, HashMap<Place, Reason>>);

impl RefusedEvents {
    /// Looks for those of some uploads.
    ///
    /// # Errors
    /// What the store answers; a file that cannot be read was named when the rows were counted.
    pub(super) fn read(lake: &Lake, rejects: Option<&Stored>, given: &[Given<'_>]) -> Result<Self, Fault> {
        let mut places: HashMap<String, HashMap<Place, Reason>> = HashMap::new();
        let Some(rejects) = rejects else { return Ok(Self::default()) };
        places.extend(given.iter().map(|given| (given.known.id.clone(), HashMap::new())));
        let columns = ["upload_id", "line", "item", "reason"];
        for file in &rejects.files {
            let read = rejects.read(lake, file, Some(&columns), &mut |batch| {
                note(batch, &mut places);
                Ok(())
            });
            if let Err(Broken::Fault(fault)) = read {
                return Err(fault);
            }
        }
        Ok(Self(places))
    }

    /// Whether an event of an upload is one, for this reason.
    pub(super) fn has(&self, upload_id: &str, reason: Reason, line: u64, item: Option<u32>) -> bool {
        let place = (line, item.map_or(0, |item| item + 1));
        self.0.get(upload_id).is_some_and(|places| places.get(&place) == Some(&reason))
    }
}

fn note(batch: &RecordBatch, places: &mut HashMap<String, HashMap<Place, Reason>>) {
    let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let number = |name: &str| batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(uploads), Some(reasons)) = (text("upload_id"), text("reason")) else { return };
    let (Some(lines), Some(items)) = (number("line"), number("item")) else { return };
    for row in 0..batch.num_rows() {
        let is_code = |reason: &Reason| reasons.is_valid(row) && reasons.value(row) == reason.code();
        let Some(reason) = Reason::OF_TABLES.into_iter().find(is_code) else { continue };
        if !uploads.is_valid(row) || !lines.is_valid(row) {
            continue;
        }
        let item = if items.is_valid(row) { u32::try_from(items.value(row) + 1) } else { Ok(0) };
        if let (Some(places), Ok(line), Ok(item)) =
            (places.get_mut(uploads.value(row)), u64::try_from(lines.value(row)), item)
        {
            places.insert((line, item), reason);
        }
    }
}
