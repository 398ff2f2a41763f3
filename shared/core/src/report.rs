//! What comes back from a run: per upload and per table, and the totals.
//!
//! These are the wire words of `--json`; every count obeys
//! `events = landed + held + duplicates + rejected + filtered`.

use serde::{Serialize, Serializer};

use crate::fault::{Fault, FaultKind};
use crate::upload::Upload;

/// One run of `ingest`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The function that reports: `ingest`.
    pub function: &'static str,
    /// One entry per upload, in the order they were planned.
    pub uploads: Vec<UploadReport>,
    /// Uploads that were left out since their source is not connected, by source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedSource>,
    /// Tables with rows that earlier runs held behind a gate which is open now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<ReleasedTable>,
    /// Sums over the uploads.
    pub totals: Totals,
    /// The gravest fault that stopped more than one upload, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

/// Uploads of one source that were left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedSource {
    /// `source_not_connected`: the settings name sources, and not this one.
    pub reason: &'static str,
    /// The source's id; none when the key or path carries no id.
    pub source: Option<String>,
    /// How many uploads.
    pub uploads: u64,
}

impl SkippedSource {
    /// Uploads of a source that no setting connects.
    pub fn not_connected(source: Option<String>, uploads: u64) -> Self {
        Self { reason: "source_not_connected", source, uploads }
    }
}

/// A table whose gate is open again, and what came of the rows that had waited for it. They are of earlier uploads: no
/// upload of this run counts them.
#[derive(Clone, Debug, Serialize)]
pub struct ReleasedTable {
    /// `<schema>.<table>`.
    pub table: String,
    /// Rows that landed.
    pub rows: u64,
    /// Rows that were left out since their ids had landed.
    pub duplicates: u64,
    /// Values of them that stand in `_rescued_data`.
    pub rescued: u64,
    /// Why what is left stays held; the next run tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        let (uploads, skipped, released) = (Vec::new(), Vec::new(), Vec::new());
        Self { function: "ingest", uploads, skipped, released, totals: Totals::default(), fault: None }
    }

    /// Adds an upload and its counts to the totals.
    pub fn push(&mut self, upload: UploadReport) {
        self.totals.uploads += 1;
        self.totals.counts.add(&upload.counts);
        self.uploads.push(upload);
    }

    /// The gravest fault met anywhere in the run, if any.
    pub fn gravest(&self) -> Option<FaultKind> {
        let faults = self.uploads.iter().filter_map(|upload| upload.fault.as_ref());
        FaultReport::gravest(faults.chain(&self.fault)).map(|fault| fault.kind)
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

/// How many events came and where they went; `rows` counts rows of all event tables, a track twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events in the upload.
    pub events: u64,
    /// Events whose row stands in its call table.
    pub landed: u64,
    /// Rows of all event tables.
    pub rows: u64,
    /// Events written but not yet part of a table.
    pub held: u64,
    /// Events whose call-table row was left out because its id had landed.
    pub duplicates: u64,
    /// Events that were opted out.
    pub filtered: u64,
    /// Events that can never become rows; the upload's rows in `_rejects`.
    pub rejected: u64,
    /// Values kept in `_rescued_data`.
    pub rescued: u64,
}

impl Counts {
    /// Adds another's numbers to these.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.landed += other.landed;
        self.rows += other.rows;
        self.held += other.held;
        self.duplicates += other.duplicates;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.rescued += other.rescued;
    }

    /// The accounting equation.
    pub fn balance(&self) -> bool {
        self.events == self.landed + self.held + self.duplicates + self.rejected + self.filtered
    }
}

/// Sums over a run.
#[derive(Debug, Default, Serialize)]
pub struct Totals {
    /// Uploads in the report.
    pub uploads: u64,
    /// Files that are no uploads (dot files, empty files, `dummy-object.txt`), and uploads of sources that are not
    /// connected.
    pub skipped: u64,
    /// Sums of the uploads' counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What became of an upload or of its part in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Status {
    /// Its rows stand in the tables.
    #[serde(rename = "landed")]
    Landed,
    /// An earlier run landed it; nothing was done.
    #[serde(rename = "already landed")]
    AlreadyLanded,
    /// Its rows wait in the volume of managed tables; the warehouse's next window makes them part of their tables.
    #[serde(rename = "staged")]
    Staged,
    /// An earlier run staged it; nothing was done.
    #[serde(rename = "already staged")]
    AlreadyStaged,
    /// Some of its tables wait for a schema change (uploads only).
    #[serde(rename = "partly held")]
    PartlyHeld,
    /// Its rows for this table wait for a schema change (tables only).
    #[serde(rename = "held")]
    Held,
    /// Its rows were held, and the warehouse has copied them into the table (rows of `_loads` only).
    #[serde(rename = "loaded")]
    Loaded,
    /// Rejected whole: nothing of it lands, the reason is in `_rejects`.
    #[serde(rename = "rejected")]
    Rejected,
    /// Not landed and not acknowledged; the fault says why.
    #[serde(rename = "failed")]
    Failed,
}

impl Status {
    /// The word used in reports and in `_loads`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::AlreadyLanded => "already landed",
            Self::Staged => "staged",
            Self::AlreadyStaged => "already staged",
            Self::PartlyHeld => "partly held",
            Self::Held => "held",
            Self::Loaded => "loaded",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// One upload.
#[derive(Debug, Serialize)]
pub struct UploadReport {
    /// Its path or key, as the user knows it.
    pub upload: String,
    /// Its id, 32 hexadecimal digits.
    pub upload_id: String,
    /// What became of it.
    pub status: Status,
    /// Its counts; all zero when it was already landed or staged. What is staged counts as held.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its part in each event table, sorted by name.
    pub tables: Vec<TableReport>,
    /// Why it failed or was rejected whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

impl UploadReport {
    /// An upload of which nothing is known but its name.
    pub fn new(upload: &Upload, status: Status) -> Self {
        let (upload, upload_id) = (upload.name.clone(), upload.id.to_string());
        Self { upload, upload_id, status, counts: Counts::default(), tables: Vec::new(), fault: None }
    }

    /// An upload that did not land and was not acknowledged.
    pub fn failed(upload: &Upload, fault: &Fault) -> Self {
        Self { fault: Some(FaultReport::from(fault)), ..Self::new(upload, Status::Failed) }
    }
}

/// An upload's part in one table.
#[derive(Debug, Serialize)]
pub struct TableReport {
    /// `<schema>.<table>`.
    pub table: String,
    /// What became of it.
    pub status: Status,
    /// Rows of this upload in this table.
    pub rows: u64,
    /// Values of these rows kept in `_rescued_data`.
    pub rescued: u64,
    /// The table version that holds the rows, when this run committed it.
    pub version: Option<u64>,
    /// Columns that this upload brought.
    pub new_columns: Vec<NewColumn>,
    /// What its held rows wait for: `change` (of the table), `gate`, `load` (by the warehouse: the table takes none from
    /// Inlet), or `window` (the warehouse loads staged rows then).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<&'static str>,
    /// Why its rows are held, when the table takes none from Inlet as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<FaultReport>,
}

/// A column that an upload brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// `boolean`, `bigint`, `double`, `string` or `timestamp`.
    #[serde(rename = "type")]
    pub column_type: &'static str,
}

/// A fault in a report.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// What the reader can do.
    #[serde(serialize_with = "kind_name")]
    pub kind: FaultKind,
    /// What happened, with its causes.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl FaultReport {
    /// The one that says what the whole run came to, if there is any.
    pub fn gravest<'a>(faults: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        faults.into_iter().max_by_key(|fault| fault.kind.gravity())
    }
}

impl From<&Fault> for FaultReport {
    fn from(fault: &Fault) -> Self {
        Self { kind: fault.kind(), message: fault.chain(), hint: fault.hint_text().map(str::to_owned) }
    }
}

fn kind_name<S: Serializer>(kind: &FaultKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// What `--plan` answers: what would land, without writing anything.
#[derive(Debug, Serialize)]
pub struct PlanReport {
    /// `ingest`.
    pub function: &'static str,
    /// Always true; tells this object from a [`Report`].
    pub plan: bool,
    /// Event tables, sorted by name.
    pub tables: Vec<PlannedTable>,
    /// Lines and uploads that can never become rows; the first hundred.
    pub rejections: Vec<PlannedRejection>,
    /// Uploads that would be left out since their source is not connected, by source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedSource>,
    /// Sums over the uploads; `landed` and `rows` are what would land.
    pub totals: Totals,
    /// The gravest fault met, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

impl PlanReport {
    /// A plan of nothing.
    pub fn new() -> Self {
        Self {
            function: "ingest",
            plan: true,
            tables: Vec::new(),
            rejections: Vec::new(),
            skipped: Vec::new(),
            totals: Totals::default(),
            fault: None,
        }
    }
}

impl Default for PlanReport {
    fn default() -> Self {
        Self::new()
    }
}

/// One table of a plan.
#[derive(Debug, Serialize)]
pub struct PlannedTable {
    /// `<schema>.<table>`.
    pub table: String,
    /// Whether it stands in the lake already.
    pub exists: bool,
    /// Rows that would land.
    pub rows: u64,
    /// Its columns in order.
    pub columns: Vec<PlannedColumn>,
    /// Values that would be kept in `_rescued_data`.
    pub rescued: u64,
    /// The first few of them: the conflicts.
    pub conflicts: Vec<PlannedConflict>,
}

/// One column of a plan.
#[derive(Debug, Serialize)]
pub struct PlannedColumn {
    /// Its name.
    pub name: String,
    /// Its type, in SQL's words.
    #[serde(rename = "type")]
    pub column_type: String,
    /// Whether it would be added.
    pub new: bool,
}

/// A value that fits no column.
#[derive(Debug, Serialize)]
pub struct PlannedConflict {
    /// The row's `id`.
    pub id: String,
    /// What `_rescued_data` would hold: one JSON object `{key: original value}`.
    pub rescued_data: String,
}

/// A line, an item of an envelope, or an upload (`line` absent) that would be rejected.
#[derive(Debug, Serialize)]
pub struct PlannedRejection {
    /// The upload's path or key.
    pub upload: String,
    /// Its line, from 1.
    pub line: Option<u64>,
    /// Its place in a batch envelope, from 0.
    pub item: Option<u64>,
    /// Segment's reason code, or ours.
    pub reason: &'static str,
}
