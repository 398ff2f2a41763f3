//! Every number that bounds what an upload may do, since landing is a trust boundary: whoever can write an event can
//! choose names, sizes and depths.

/// Bounds on one upload and on the tables it may grow; beyond them values go to `_rescued_data`, or lines and uploads
/// to `_rejects`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Event tables in one schema; beyond, a track lands in `tracks` only.
    pub tables_per_schema: usize,
    /// Columns in one table.
    pub columns_per_table: usize,
    /// New columns that one upload may bring to one table.
    pub new_columns_per_upload: usize,
    /// Bytes in one line.
    pub line_bytes: usize,
    /// Bytes of one upload, decompressed.
    pub upload_bytes: u64,
    /// Decompressed bytes per stored byte, judged once an upload has grown beyond the typing window.
    pub expansion: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tables_per_schema: 300,
            columns_per_table: 1_000,
            new_columns_per_upload: 300,
            line_bytes: 16 << 20,
            upload_bytes: 64 << 30,
            expansion: 500,
        }
    }
}

/// Objects flatten this deep; an object below becomes JSON text.
pub const FLATTEN_DEPTH: usize = 16;

/// The longest table or column name in bytes (Unity Catalog's limit).
pub const NAME_BYTES: usize = 255;

/// An upload up to this size (decompressed) is held in memory, checked to its end before any of it is used; a larger
/// one streams, into files of its own.
pub const TYPING_WINDOW_BYTES: usize = 64 << 20;

/// The largest line limit that may be set: a line must fit the window in which an upload is looked at.
pub const LINE_BYTES_MAX: usize = 32 << 20;

/// What an envelope's context may come to once each of its items has a copy; beyond, the line is rejected.
pub const ENVELOPE_BYTES: usize = 64 << 20;

/// How much of a line that is too long is kept in `_rejects`.
pub const REJECTED_LINE_BYTES: usize = 64 << 10;

/// An upload without a JSON object among the lines that begin in its first bytes is rejected whole.
pub const SNIFF_BYTES: usize = 1 << 20;
