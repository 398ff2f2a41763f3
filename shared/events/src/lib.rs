//! Ring 1: what the bytes mean. Bytes become events, events become typed columns per table.
//!
//! Pure: no IO of its own, no async, no clock; and it cannot fail on data: a bad line is a rejection beside the rows,
//! never an error.

mod anew;
mod batch;
mod buffers;
mod column;
mod common;
pub mod contract;
mod event;
mod flatten;
mod hide;
mod ids;
mod json;
mod kind;
pub mod limits;
pub mod lines;
mod mask;
mod naming;
mod number;
mod observed;
pub mod order;
mod place;
mod rescue;
mod rows;
pub mod selection;
pub mod table;
#[cfg(test)]
mod testing;
mod text;
mod texts;
mod timestamp;
pub mod unpack;
mod variant;
mod worker;

pub use anew::{Anew, Value, rescued_values};
pub use batch::{Batch, Chunk, Reject, UploadContext};
pub use buffers::Buffers;
pub use column::{Bits, Column, Fit, RowGroup, Values};
pub use event::{Call, Reason};
pub use kind::{ColumnType, KnownType};
pub use limits::Limits;
pub use mask::mask;
pub use naming::{column_name, schema_name, table_name};
pub use observed::{Observed, ObservedColumn};
pub use place::Standing;
pub use texts::Texts;
pub use timestamp::{format as timestamp_text, parse as timestamp_micros};
pub use variant::variants;
pub use worker::{Rooms, Worker};
