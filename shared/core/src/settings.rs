//! What a run is told, by a file and by variables: the only module that reads the environment.
//!
//! Later wins: defaults, the file, `INLET_…` variables. All faults are said at once, each with its key and its line.
//! `docs/settings.md` describes every key; a test keeps it true.

mod auth;
mod contract;
mod destination;
mod document;
mod evolution;
mod faults;
mod form;
mod given;
mod host;
mod keys;
mod landing;
mod maintenance;
mod secrets;
mod sources;
mod storage;
mod warehouse;
mod workspace;

use std::time::Duration;

use inlet_events::Limits;
use inlet_events::contract::Contracts;
use inlet_events::limits::LINE_BYTES_MAX;
use inlet_events::selection::Selection;

pub use destination::{Destination, Tables};
pub use evolution::{Evolution, Hours, SchemaChanges};
pub use form::{Form, Shown};
pub use given::duration;
pub use host::{Host, LambdaHost};
pub use sources::{Source, SourceOf};
pub use storage::StorageAccess;
pub use warehouse::WarehouseChoice;

use crate::databricks::IdentityEndpoint;
use crate::evolve::{Between, Budget};
use crate::fault::Fault;
use crate::maintain::Rules;
use crate::secret::Secret;
use crate::secret_store::{SecretPlace, StoredSecrets};
use given::Given;

/// The variable that names the settings file.
const FILE_VARIABLE: &str = "INLET_SETTINGS";
/// The variable that says where Azure's emulator listens, as the lake's store reads it.
const EMULATOR_VARIABLE: &str = "AZURITE_BLOB_STORAGE_URL";

const WORKERS_MOST: usize = 64;
const WORKERS_UNLESS_TOLD: usize = 8;
const PATIENCE_SECONDS: u64 = 900;

/// Settings of one run. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A label for people; nothing depends on it.
    pub name: Option<String>,
    /// The lake as it was written, a folder from where the command runs.
    pub lake: Option<String>,
    /// Where uploads may come from when an event tells of them: URLs of buckets, containers and prefixes.
    pub landing: Vec<String>,
    /// How long one call of a function may take where the place does not say: `functionTimeout` of `host.json`.
    pub function_timeout: Duration,
    /// The AWS account that buckets with uploads have to belong to.
    pub landing_owner: Option<String>,
    /// The id by which `integrations.Warehouses.warehouseIds` names us.
    pub warehouse_id: Option<String>,
    /// Worker threads that parse and encode (default: the machine's cores, at most 8).
    pub workers: usize,
    /// Bounds on what landing accepts, since landing is a trust boundary.
    pub limits: Limits,
    /// When a run gives up on lost races and dead stores.
    pub patience: Duration,
    /// The workspace, if there is one.
    pub destination: Option<Destination>,
    /// As whom the lake's store is used.
    pub storage: StorageAccess,
    /// How the catalog is brought up to date.
    pub evolution: Evolution,
    /// What of the tables is put in order, and when.
    pub maintenance: Rules,
    /// Sources that are connected; none: all are.
    pub sources: Vec<Source>,
    /// Which tables and columns land, and which columns are hashed.
    pub selection: Selection,
    /// What may change the tables, globally and by table.
    pub contracts: Contracts,
    /// What works and may surprise, for people.
    pub warnings: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            lake: None,
            landing: Vec::new(),
            function_timeout: Self::usual_function_timeout(),
            landing_owner: None,
            warehouse_id: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_UNLESS_TOLD),
            limits: Limits::default(),
            patience: Duration::from_secs(PATIENCE_SECONDS),
            destination: None,
            storage: StorageAccess::Ambient,
            evolution: Evolution::default(),
            maintenance: Rules::default(),
            sources: Vec::new(),
            selection: Selection::default(),
            contracts: Contracts::default(),
            warnings: Vec::new(),
        }
    }
}

impl Settings {
    /// `function_timeout` where the settings say nothing: that of the `host.json` that comes with Inlet.
    pub fn usual_function_timeout() -> Duration {
        Duration::from_secs(30 * 60)
    }

    /// Reads the process's variables alone.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn from_environment() -> Result<Self, Fault> {
        Self::load(None, variable)
    }

    /// Reads a file's text and the process's variables. `name` is the file's path or URL as people know it; relative
    /// paths in the file begin at its folder.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn from_file(name: &str, text: &str) -> Result<Self, Fault> {
        Self::load(Some((name, text)), variable)
    }

    /// Where the secrets stand that the settings name and a store has to be asked for, before they can be read whole.
    pub fn secret_places(file: Option<(&str, &str)>) -> Vec<SecretPlace> {
        Given::read(file, &variable, &StoredSecrets::new()).secret_places()
    }

    /// Reads a file, if there is one (its name and text), and the process's variables, with the secrets that stores gave.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn with_secrets(file: Option<(&str, &str)>, stored: &StoredSecrets) -> Result<Self, Fault> {
        Self::load_with(file, variable, stored)
    }

    /// Reads a file, if there is one (its name and text), and variables.
    ///
    /// # Errors
    /// A Setup fault that lists every wrong value, unknown key and contradiction, each with its key or variable.
    pub fn load(file: Option<(&str, &str)>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        Self::load_with(file, variable, &StoredSecrets::new())
    }

    fn load_with(
        file: Option<(&str, &str)>,
        variable: impl Fn(&str) -> Option<String>,
        stored: &StoredSecrets,
    ) -> Result<Self, Fault> {
        let mut given = Given::read(file, &variable, stored);
        let settings = read(&mut given);
        let warnings = given.finish()?;
        Ok(Self { warnings, ..settings })
    }

    /// Whether a catalog shows the tables, and must learn of what is new.
    pub fn has_catalog(&self) -> bool {
        self.destination.is_some()
    }

    /// Whether the tables are managed: rows are staged, and the warehouse loads them.
    pub fn has_managed_tables(&self) -> bool {
        self.destination.as_ref().is_some_and(|destination| destination.tables == Tables::Managed)
    }

    /// What the warehouse may cost.
    pub fn budget(&self) -> Budget {
        let evolution = &self.evolution;
        let (window, between) = match self.has_managed_tables() {
            true => (evolution.every, Between::Uses),
            false => (evolution.window, Between::Wakes),
        };
        Budget {
            window,
            between,
            never_between: evolution.never_between.clone(),
            wakes_per_day: evolution.max_wakes_per_day,
            seconds_per_day: evolution.max_warehouse_seconds_per_day,
        }
    }

    /// Where tokens of a managed identity come from: a function's own endpoint, else the machine's.
    pub fn identity_endpoint(&self) -> IdentityEndpoint {
        match (variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER")) {
            (Some(url), Some(header)) => IdentityEndpoint::Function { url, header: Secret::new(header) },
            _ => IdentityEndpoint::default(),
        }
    }

    /// The lake that the environment names, for those who look for the settings file there.
    pub fn lake_of_environment() -> Option<String> {
        variable("INLET_LAKE").filter(|name| !name.is_empty())
    }

    /// Where the environment says that Azure's emulator listens.
    pub fn emulator_of_environment() -> Option<String> {
        variable(EMULATOR_VARIABLE).filter(|url| !url.is_empty())
    }

    /// Where the environment says that the settings file is: a path or an object's URL.
    pub fn file_of_environment() -> Option<String> {
        variable(FILE_VARIABLE).filter(|name| !name.is_empty())
    }
}

/// Every value in turn, whatever is wrong with the ones before.
fn read(given: &mut Given<'_>) -> Settings {
    let lake = lake(given);
    let destination = destination::destination(given, lake.as_deref());
    let storage = storage::access(given, lake.as_deref(), destination.as_ref().map(|one| &one.connection.auth));
    let usual = Settings::default();
    Settings {
        name: given.text("name"),
        landing: landing::landing(given, lake.as_deref()),
        function_timeout: given.duration("function_timeout").unwrap_or(usual.function_timeout),
        landing_owner: landing_owner(given),
        warehouse_id: given.text("warehouse_id"),
        workers: given.number("workers").map_or(usual.workers, size).min(WORKERS_MOST),
        limits: limits(given),
        patience: given.number("patience_seconds").map_or(usual.patience, Duration::from_secs),
        evolution: evolution::evolution(given, lake.as_deref()),
        maintenance: maintenance::rules(given),
        sources: sources::sources(given),
        selection: contract::selection(given),
        contracts: contract::contracts(given),
        lake,
        destination,
        storage,
        warnings: Vec::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn limits(given: &mut Given<'_>) -> Limits {
    let bounds = Limits::default();
    let limits = Limits {
        tables_per_schema: given.number("limits.max_tables").map_or(bounds.tables_per_schema, size),
        columns_per_table: given.number("limits.max_columns").map_or(bounds.columns_per_table, size),
        new_columns_per_upload: given.number("limits.max_new_columns").map_or(bounds.new_columns_per_upload, size),
        line_bytes: given.number("limits.max_line_bytes").map_or(bounds.line_bytes, size),
        upload_bytes: given.number("limits.max_upload_bytes").unwrap_or(bounds.upload_bytes),
        expansion: given.number("limits.max_expansion").unwrap_or(bounds.expansion),
    };
    if limits.line_bytes > LINE_BYTES_MAX {
        let what = format!("must be at most {LINE_BYTES_MAX}, not `{}`", limits.line_bytes);
        given.wrong("limits.max_line_bytes", &what, "");
    }
    limits
}

/// The lake's place; a signed URL is refused before it can be repeated anywhere.
fn lake(given: &mut Given<'_>) -> Option<String> {
    let text = given.text("lake")?;
    if !text.contains("://") {
        let path = secrets::beside(&text, given.file_of("lake"));
        if path.is_none() {
            let what = "is a path, and the settings come from a store: it would be another folder on each machine";
            given.wrong("lake", what, "give a URL, or a path that begins with `/`");
        }
        return path.map(|path| path.display().to_string());
    }
    let is_bare = url::Url::parse(&text)
        .is_ok_and(|url| url.query().is_none() && url.fragment().is_none() && url.password().is_none());
    if !is_bare {
        let what = "must be a URL without password, query and fragment";
        given.wrong("lake", what, "[storage] says how to sign in at the store");
        return None;
    }
    Some(text)
}

/// An AWS account: twelve digits.
fn landing_owner(given: &mut Given<'_>) -> Option<String> {
    let text = given.text("landing_owner")?;
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text);
    }
    let what = format!("must be the twelve digits of an AWS account, not {}", given::shown(&text));
    given.wrong("landing_owner", &what, "aws sts get-caller-identity says the account that the bucket's owner is in");
    None
}

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;
