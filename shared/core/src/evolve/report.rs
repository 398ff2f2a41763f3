//! What an evolve came to: the wire words of `--json`.

use serde::Serialize;

use crate::fault::FaultKind;
use crate::held::Refused;
use crate::report::FaultReport;

/// One run of `evolve`.
#[derive(Debug, Serialize)]
pub struct EvolveReport {
    /// The function that reports: `evolve`.
    pub function: &'static str,
    /// Whether nothing was done but looking.
    pub plan: bool,
    /// The notes that were found.
    pub notes: NoteCounts,
    /// Schemas that were created, by REST.
    pub schemas_created: Vec<String>,
    /// What became of each table that a note speaks of.
    pub tables: Vec<TableEvolved>,
    /// The statements, in the order in which they were submitted.
    pub statements: Vec<String>,
    /// What the warehouse was needed for; absent when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warehouse: Option<WarehouseUse>,
    /// Why staged rows wait for a later evolve: their window is not open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postponed: Option<String>,
    /// What was noticed besides.
    pub warnings: Vec<String>,
    /// The fault that stopped more than one table, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

/// Notes of changed tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NoteCounts {
    /// Notes that were read.
    pub read: usize,
    /// Notes of held rows among them.
    pub held: usize,
    /// Notes whose tables the catalog now shows as they are; they are gone.
    pub settled: usize,
    /// Notes that could not be read, with what is wrong with them; every table of their schemas was looked at instead.
    pub damaged: Vec<String>,
}

/// How the warehouse was used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WarehouseUse {
    /// Its id.
    pub id: String,
    /// Whether it had to be woken.
    pub woken: bool,
    /// From the first look at it to the last statement's end.
    pub seconds: f64,
}

/// What became of a table in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TableStatus {
    /// The catalog shows what the log has.
    #[serde(rename = "up to date")]
    UpToDate,
    /// It was not in the catalog and now is.
    #[serde(rename = "registered")]
    Registered,
    /// The catalog was behind its log and now is not.
    #[serde(rename = "synced")]
    Synced,
    /// It was made, as held rows wanted it.
    #[serde(rename = "created")]
    Created,
    /// It got the columns that held rows wanted.
    #[serde(rename = "altered")]
    Altered,
    /// It could not be changed as held rows wanted, and they landed as it is: what it has no column for stands in
    /// `_rescued_data`. The fault says why.
    #[serde(rename = "rescued")]
    Rescued,
    /// A plan: it would be made.
    #[serde(rename = "to create")]
    ToCreate,
    /// A plan: it would get columns.
    #[serde(rename = "to alter")]
    ToAlter,
    /// A plan: it would be registered.
    #[serde(rename = "to register")]
    ToRegister,
    /// A plan: it would be synced.
    #[serde(rename = "to sync")]
    ToSync,
    /// The commit that its note speaks of has not come yet.
    #[serde(rename = "waiting")]
    Waiting,
    /// The warehouse stays asleep for now.
    #[serde(rename = "postponed")]
    Postponed,
    /// It failed too often and is left alone until somebody says `--retry`.
    #[serde(rename = "parked")]
    Parked,
    /// It failed; the fault says why.
    #[serde(rename = "failed")]
    Failed,
}

/// One table of an evolve.
#[derive(Debug, Serialize)]
pub struct TableEvolved {
    /// `schema.table`.
    pub table: String,
    /// What became of it.
    pub status: TableStatus,
    /// Columns that the catalog did not show.
    pub new_columns: Vec<String>,
    /// Rows that were held and now stand in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldRows>,
    /// Why the warehouse loads its held rows, where it does: what keeps Inlet from appending them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_because: Option<Refused>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

/// Rows that were held and landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeldRows {
    /// How many.
    pub rows: u64,
    /// Rows that were left out: an earlier form of their key had landed their ids.
    pub duplicates: u64,
    /// Values that they keep in `_rescued_data`.
    pub rescued: u64,
}

impl EvolveReport {
    pub(crate) fn new(plan: bool) -> Self {
        Self {
            function: "evolve",
            plan,
            notes: NoteCounts::default(),
            schemas_created: Vec::new(),
            tables: Vec::new(),
            statements: Vec::new(),
            warehouse: None,
            postponed: None,
            warnings: Vec::new(),
            fault: None,
        }
    }

    /// Notes what a person should know, once.
    pub(crate) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// A report of nothing but a fault.
    pub fn failed(fault: FaultReport) -> Self {
        Self { fault: Some(fault), ..Self::new(false) }
    }

    /// The gravest fault met, if any.
    pub fn gravest(&self) -> Option<FaultKind> {
        let faults = self.tables.iter().filter_map(|table| table.fault.as_ref()).chain(self.fault.as_ref());
        faults.map(|fault| fault.kind).max_by_key(|kind| kind.gravity())
    }
}
