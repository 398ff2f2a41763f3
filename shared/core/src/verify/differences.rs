//! What does not agree: one entry per finding, with both numbers, what it may mean and what to do.

use serde::Serialize;

/// Differences that a proof lists; the rest is counted.
const LISTED: usize = 100;

/// What was compared. The names are the wire words of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// A table could not be read as a whole: nothing is known about its rows.
    NotProved,
    /// A table that `_loads` names, or Inlet's own, is not there.
    TableMissing,
    /// Versions are missing in a table's log.
    LogGap,
    /// A table's log ends before a version that `_loads` names.
    LogBehind,
    /// A file that the log names is not there.
    FileMissing,
    /// A file that the log names cannot be read to its end.
    FileUnreadable,
    /// A file has another size than the log says.
    FileSize,
    /// A file has another number of rows than the log says.
    FileRows,
    /// A file holds upload ids outside the range that its statistics say: look-ups would pass it by.
    FileStatistics,
    /// The rows of an upload in a table are not as many as `_loads` says.
    Rows,
    /// The values in `_rescued_data` are not as many as `_loads` says.
    Rescued,
    /// The rows of an upload in `_rejects` are not as many as `_loads` says.
    Rejected,
    /// The rows of an upload in the call tables are not as many as its row of `_loads` says.
    Landed,
    /// A row of `_loads` does not add up.
    Equation,
    /// `_loads` lacks a row, has one twice, or its rows disagree.
    Ledger,
    /// Rows without `_upload_id`.
    NoUpload,
    /// Rows of an upload that `_loads` does not know.
    UnknownUpload,
    /// Rows of an upload that was not finished.
    HalfLanded,
    /// Rows without `id`.
    NoId,
    /// An id that stands in a table more than once for one upload, or for the forms of one key.
    DoubledId,
    /// Rows in `tracks` and rows in the tables of their events are not the same.
    TrackWithoutEvent,
    /// The log says that an upload landed, and no row of it is there.
    TxnWithoutRows,
    /// Rows stand in a table whose log does not say that their upload landed: it could land again.
    RowsWithoutTxn,
    /// An upload has not landed.
    NotLanded,
    /// The upload's bytes, read anew, hold another number of events.
    ReadEvents,
    /// The upload's bytes, read anew, give another number of rejections.
    ReadRejected,
    /// The upload's bytes, read anew, give another number of filtered events.
    ReadFiltered,
    /// The upload has another size than `_loads` says.
    ReadBytes,
    /// The upload's bytes, read anew, have rows that do not stand in the table.
    RowMissing,
    /// The table has rows that the upload's bytes, read anew, do not have.
    RowExtra,
    /// A row that stands in the table says something else than the upload's bytes.
    Value,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What was compared.
    pub check: Check,
    /// The schema.
    pub schema: String,
    /// The table, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The upload's key or path, if it is about one that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// The upload's id, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<String>,
    /// The number that should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<i64>,
    /// The number that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<i64>,
    /// What does not agree, in words.
    pub message: String,
    /// What it may mean, and what to do.
    pub hint: String,
}

impl Difference {
    /// A difference about a schema, in words.
    pub(super) fn new(check: Check, schema: &str, message: impl Into<String>, hint: &str) -> Self {
        Self {
            check,
            schema: schema.to_owned(),
            table: None,
            upload: None,
            upload_id: None,
            expected: None,
            found: None,
            message: message.into(),
            hint: hint.to_owned(),
        }
    }

    pub(super) fn table(mut self, table: &str) -> Self {
        self.table = Some(table.to_owned());
        self
    }

    pub(super) fn upload_id(mut self, upload_id: &str) -> Self {
        self.upload_id = Some(upload_id.to_owned());
        self
    }

    pub(super) fn upload(mut self, upload: &str) -> Self {
        self.upload = Some(upload.to_owned());
        self
    }

    pub(super) fn numbers(mut self, expected: i64, found: i64) -> Self {
        (self.expected, self.found) = (Some(expected), Some(found));
        self
    }
}

/// Differences as they are found; memory stays bounded whatever their number.
#[derive(Debug, Default)]
pub(super) struct Differences {
    listed: Vec<Difference>,
    more: u64,
}

impl Differences {
    pub(super) fn push(&mut self, difference: Difference) {
        if self.listed.len() < LISTED {
            self.listed.push(difference);
        } else {
            self.more += 1;
        }
    }

    /// The first hundred, and how many more there are.
    pub(super) fn finish(self) -> (Vec<Difference>, u64) {
        (self.listed, self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hundred_are_listed_and_the_rest_is_counted() {
        let mut differences = Differences::default();
        for number in 0..130 {
            differences.push(Difference::new(Check::Rows, "web", number.to_string(), "").numbers(1, 2));
        }
        let (listed, more) = differences.finish();
        assert_eq!((listed.len(), listed[99].message.as_str(), more), (100, "99", 30));
    }

    #[test]
    fn a_difference_says_only_what_it_is_about() {
        let difference = Difference::new(Check::LogGap, "web", "what", "why").table("tracks");
        assert_eq!(
            serde_json::to_string(&difference).unwrap(),
            r#"{"check":"log_gap","schema":"web","table":"tracks","message":"what","hint":"why"}"#
        );
    }
}
