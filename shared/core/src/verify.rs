//! A proof that nothing was lost or doubled: what `_loads` says, against the rows that stand in the tables, and against
//! the uploads' own bytes where they are given.
//!
//! The rows are counted by a second implementation of Delta: a proof must not see with the eyes of the writer. Nothing
//! is taken from what the landing wrote about itself but `_loads`, which is what is to be proved.

mod anew;
mod cells;
mod counted;
mod differences;
mod judge;
mod ledger;
mod log;
mod parquet_file;
mod refused;
mod replay;
mod stored;

use std::collections::{BTreeMap, BTreeSet};

use inlet_events::table::UPLOAD_ID;
use serde::Serialize;

use self::counted::Counted;
use self::differences::Differences;
pub use self::differences::{Check, Difference};
use self::judge::Schema;
use self::ledger::Ledger;
use self::replay::replay;
use self::stored::Stored;
use crate::delta::Lake;
use crate::fault::Fault;
use crate::ledger::{LOADS, REJECTS};
use crate::report::FaultReport;
use crate::settings::Settings;
use crate::underway::{Underway, notes};
use crate::upload::Upload;

/// What was compared, and what does not agree.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// The function that reports: `verify`.
    pub function: &'static str,
    /// Whether every event is accounted for: everything was compared, and there is no difference.
    pub proved: bool,
    /// What was compared in each schema.
    pub schemas: Vec<ProvedSchema>,
    /// Uploads whose bytes were read anew.
    pub uploads: Vec<ProvedUpload>,
    /// The first hundred differences.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub more_differences: u64,
    /// Why the comparison was not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultReport>,
}

impl Proof {
    /// A proof that was not begun, or not finished.
    pub fn failed(fault: &Fault) -> Self {
        let fault = Some(FaultReport::from(fault));
        Self { fault, ..Self::of(Vec::new(), Vec::new(), Differences::default()) }
    }

    fn of(schemas: Vec<ProvedSchema>, uploads: Vec<ProvedUpload>, differences: Differences) -> Self {
        let (differences, more_differences) = differences.finish();
        Self {
            function: "verify",
            proved: differences.is_empty(),
            schemas,
            uploads,
            differences,
            more_differences,
            fault: None,
        }
    }
}

/// One schema: sums over what was read.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProvedSchema {
    /// Its name.
    pub schema: String,
    /// Uploads that `_loads` names.
    pub uploads: u64,
    /// Their events, as `_loads` says.
    pub events: i64,
    /// Event tables that were read.
    pub tables: u64,
    /// Rows that were counted in them.
    pub rows: u64,
    /// Rows that were counted in `_rejects`.
    pub rejected: u64,
    /// Uploads that landed while the tables were read: not compared.
    pub landed_meanwhile: u64,
    /// Tables of others, which have no upload ids: not compared.
    pub others: Vec<String>,
}

/// One upload whose bytes were read anew.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ProvedUpload {
    /// Its path or key, as the user knows it.
    pub upload: String,
    /// Its id, 32 hexadecimal digits.
    pub upload_id: String,
    /// The schema that it was looked for in.
    pub schema: String,
    /// Events in its bytes.
    pub events: u64,
    /// Rows that its bytes give, whichever form of its key landed them.
    pub rows: u64,
}

/// Compares the schemas of a lake with themselves, and these uploads with what stands in them.
///
/// Synchronous: call it from a plain thread while the lake's runtime lives.
///
/// # Errors
/// Setup or Again when the lake or an upload cannot be read. A table or file that is there and cannot be read is a
/// difference.
pub fn verify(lake: &Lake, settings: &Settings, schemas: &[String], uploads: &[Upload]) -> Result<Proof, Fault> {
    let mut differences = Differences::default();
    let (mut proved, mut replayed) = (Vec::new(), Vec::new());
    for schema in schemas {
        let of_schema: Vec<&Upload> = uploads.iter().filter(|upload| upload.schema == *schema).collect();
        let (one, mut uploads) = verify_schema(lake, settings, schema, &of_schema, &mut differences)?;
        proved.push(one);
        replayed.append(&mut uploads);
    }
    Ok(Proof::of(proved, replayed, differences))
}

fn verify_schema(
    lake: &Lake,
    settings: &Settings,
    schema: &str,
    uploads: &[&Upload],
    differences: &mut Differences,
) -> Result<(ProvedSchema, Vec<ProvedUpload>), Fault> {
    let mut proved = ProvedSchema { schema: schema.to_owned(), ..ProvedSchema::default() };
    let names = lake.tables(schema)?;
    // `_loads` first: what lands from here on has rows that it does not know, never the other way round.
    let underway: Vec<Underway> = notes(lake, schema)?.into_iter().flat_map(|note| note.uploads).collect();
    let loads = match names.iter().any(|name| name == LOADS) {
        true => Stored::open(lake, schema, LOADS, differences)?,
        false => None,
    };
    let has_loads = names.iter().any(|name| name == LOADS);
    let mut ledger = match &loads {
        Some(loads) => Ledger::read(lake, loads, &underway, differences)?,
        None => Ledger::default(),
    };
    ledger.judge(schema, differences);
    proved.uploads = ledger.uploads.iter().filter(|upload| !upload.is_stranger()).count() as u64;
    proved.events = ledger.uploads.iter().flat_map(|upload| &upload.whole).map(|load| load.events).sum();

    let mut tables: BTreeMap<String, Option<(Stored, Counted)>> = BTreeMap::new();
    for name in names.into_iter().filter(|name| name != LOADS) {
        let opened = Stored::open(lake, schema, &name, differences)?;
        let is_named = name == REJECTS || !ledger.of_table(&name).is_empty();
        let table = match opened {
            Some(table) if !is_named && !table.has_column(UPLOAD_ID) => {
                proved.others.push(name);
                continue;
            }
            Some(table) => {
                let counted = Counted::of(lake, &table, &mut ledger, differences)?;
                match name.as_str() {
                    REJECTS => proved.rejected = counted.rows,
                    _ => (proved.tables, proved.rows) = (proved.tables + 1, proved.rows + counted.rows),
                }
                Some((table, counted))
            }
            None => None,
        };
        tables.insert(name, table);
    }
    let Some(loads) = loads else {
        if !has_loads && (!tables.is_empty() || !uploads.is_empty()) {
            differences.push(no_ledger(schema));
        }
        return Ok((proved, Vec::new()));
    };
    let landed_meanwhile = landed_meanwhile(lake, &ledger, schema)?;
    proved.landed_meanwhile = landed_meanwhile.len() as u64;
    let schema =
        Schema { name: schema, ledger: &ledger, loads: &loads, tables: &tables, landed_meanwhile: &landed_meanwhile };
    schema.judge(differences);
    let replayed = replay(lake, settings, &schema, uploads, differences)?;
    Ok((proved, replayed))
}

fn no_ledger(schema: &str) -> Difference {
    let message = format!("schema `{schema}` has no `{LOADS}`: nothing says what became of its uploads");
    let hint = "the first run was killed: run ingest again with its uploads; or the folder is lost: restore it";
    Difference::new(Check::TableMissing, schema, message, hint).table(LOADS).numbers(1, 0)
}

/// Uploads whose rows were met, that `_loads` did not know at first and knows now.
fn landed_meanwhile(lake: &Lake, ledger: &Ledger, schema: &str) -> Result<BTreeSet<String>, Fault> {
    let strangers = || ledger.uploads.iter().filter(|upload| upload.is_stranger());
    if strangers().next().is_none() {
        return Ok(BTreeSet::new());
    }
    // What does not agree in `_loads` has been said.
    let mut unheard = Differences::default();
    let Some(loads) = Stored::open(lake, schema, LOADS, &mut unheard)? else { return Ok(BTreeSet::new()) };
    let now = Ledger::read(lake, &loads, &[], &mut unheard)?;
    Ok(strangers().filter(|upload| now.knows(&upload.id)).map(|upload| upload.id.clone()).collect())
}
