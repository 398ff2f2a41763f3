//! Delta tables in a lake: open them, write Parquet beside them, append to them so that each upload lands once.
//!
//! [`Lake`] says where tables live, [`Table`] is one table as last read, [`FileLayout`] and [`FileWriter`] make data
//! files, [`commit`] puts files into a table, [`tidy()`] keeps its log short,
//! `compact` its files few. Everything is synchronous: it runs on
//! plain threads (never on a runtime's own thread) and drives stores by the lake's runtime handle.
//!
//! The log is written by `delta_kernel`. Its internal API is used in four files only: `create`, `features`, `ids` and
//! `removed`.

mod access;
mod append;
mod column_chunk;
mod compact;
mod create;
mod data_file;
mod faults;
mod features;
mod gate;
mod ids;
mod kept_file;
mod lake;
mod landmark;
mod layout;
mod listing;
mod read;
mod removed;
mod replace;
mod small_files;
mod sweep;
mod table;
mod tail;
mod tidy;
mod types;
mod upload_sink;
mod work;

#[cfg(test)]
mod append_tests;
#[cfg(test)]
mod protocol_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use access::LAKE_IDENTITY;
pub use append::{Append, Appended, Comments, add_columns_only, commit};
pub use column_chunk::Encoder;
pub use compact::FILE_BYTES;
pub(crate) use compact::{LiveFiles, may_compact};
pub(crate) use create::{IDS_KEPT, statistics_columns};
pub use data_file::{DataFile, FileWriter, ROW_GROUP_BYTES, SentFile};
pub(crate) use faults::{fault_within, is_denied, store_fault};
pub(crate) use features::{run_on, sql_name};
pub(crate) use kept_file::KeptFile;
pub use lake::{Credentials, Lake};
pub(crate) use lake::{LOG_FOLDER, REQUEST_WITHIN, STATE};
pub use layout::FileLayout;
pub(crate) use replace::{Replaced, replace};
pub(crate) use small_files::Small;
pub use sweep::{delete_files, sweep_uncommitted};
pub use table::{Column, Table};
pub use tidy::{COMMITS_PER_CHECKPOINT, Tidied, tidy};
pub(crate) use tidy::{clean_log, tidy_beyond};
#[cfg(feature = "verify")]
pub(crate) use types::arrow_field;
pub(crate) use types::{by_name, value};
pub use work::Work;

/// What our commits and files call their writer.
const ENGINE_INFO: &str = concat!("inlet/", env!("CARGO_PKG_VERSION"));
