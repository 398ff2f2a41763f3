//! A customer of a pretend workspace: a lake in a folder, settings in a file, and the set-up guide's rights.

use std::path::PathBuf;

use inlet_core::clock::Deadline;
use inlet_core::databricks::Workspace;
use inlet_core::delta::Lake;
use inlet_core::evolve::{Ask, EvolveReport, Parts, TableStatus, evolve};
use inlet_core::report::Report;
use inlet_core::settings::Settings;
use inlet_core::upload::Upload;
use pretend::{CATALOG, CLIENT_ID, CLIENT_SECRET, Pretend, Setup, WAREHOUSE};
use std::time::Duration;
use url::Url;

use crate::support::{Room, land, runtime};

/// A room with a workspace beside it.
pub(crate) struct Customer {
    pub(crate) room: Room,
    pub(crate) pretend: Pretend,
    pub(crate) settings: Settings,
}

impl Customer {
    /// With exactly the rights that the set-up guide gives.
    pub(crate) fn new() -> Self {
        Self::with(|setup| setup)
    }

    /// With a set-up that differs.
    pub(crate) fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        Self::told(change, "")
    }

    /// With further settings.
    pub(crate) fn told(change: impl FnOnce(Setup) -> Setup, more: &str) -> Self {
        Self::set_up(change, &format!("{}\nlake = \"lake\"\n{more}", http_path()))
    }

    /// With a workspace, and no warehouse in it that the settings name.
    pub(crate) fn without_warehouse() -> Self {
        Self::set_up(|setup| setup, "lake = \"lake\"")
    }

    /// Without a lake: the catalog keeps the tables. A warehouse is named among the further settings.
    pub(crate) fn managed(change: impl FnOnce(Setup) -> Setup, more: &str) -> Self {
        Self::set_up(change, more)
    }

    fn set_up(change: impl FnOnce(Setup) -> Setup, more: &str) -> Self {
        let room = Room::new();
        std::fs::create_dir_all(room.lake()).expect("a lake can be made");
        let setup = Setup::seeded(&place(&room)).knobs(|knobs| knobs.start_ms = 50);
        let pretend = Pretend::start(change(setup)).expect("a port is free");
        let file = settings_file(&room, &pretend, more);
        let text = std::fs::read_to_string(&file).expect("the settings are there");
        let settings = Settings::from_file(&file.display().to_string(), &text).expect("the settings are right");
        Self { room, pretend, settings: Settings { workers: 2, ..settings } }
    }

    /// The settings as a file, for processes.
    pub(crate) fn file(&self) -> PathBuf {
        self.room.path("inlet.toml")
    }

    /// Lands an upload of these bytes under this name.
    pub(crate) fn land(&self, name: &str, bytes: &[u8]) -> Report {
        self.land_all(vec![self.room.upload(name, bytes)])
    }

    pub(crate) fn land_all(&self, uploads: Vec<Upload>) -> Report {
        land(&self.room.lake(), &self.settings, uploads)
    }

    /// Evolves as a person would.
    pub(crate) fn evolve(&self) -> EvolveReport {
        self.evolve_as(Ask { by_hand: true, ..Ask::default() })
    }

    pub(crate) fn evolve_as(&self, ask: Ask) -> EvolveReport {
        evolve(&self.parts(), ask, Deadline::after(Duration::from_secs(30)), &|_| {})
    }

    pub(crate) fn parts(&self) -> Parts {
        let destination = self.settings.destination.clone().expect("a workspace is set");
        let url = Url::from_directory_path(self.room.lake().canonicalize().expect("the lake is there")).expect("a URL");
        Parts {
            lake: Lake::open(&url, runtime().handle().clone()).expect("the lake opens"),
            workspace: Workspace::new(destination.connection).expect("the address is good"),
            catalog: destination.catalog,
            warehouse: destination.warehouse,
            budget: self.settings.budget(),
            schema_changes: self.settings.evolution.schema_changes,
            hold_limit: self.settings.evolution.hold_limit,
            commits_within: Duration::ZERO,
        }
    }

    /// The columns of a table as `GET tables` shows them; none when the catalog does not know it.
    pub(crate) fn shown(&self, table: &str) -> Option<Vec<String>> {
        let table = self.pretend.table(&format!("{CATALOG}.{table}"))?;
        Some(table.columns.into_iter().map(|(name, _)| name).collect())
    }

    pub(crate) fn stop_warehouse(&self) {
        self.pretend.stop_warehouse(WAREHOUSE);
    }
}

/// The setting that names the one warehouse.
pub(crate) fn http_path() -> String {
    format!("http_path = \"/sql/1.0/warehouses/{WAREHOUSE}\"")
}

/// The settings as a person writes them.
fn settings_file(room: &Room, pretend: &Pretend, more: &str) -> PathBuf {
    room.file("client-secret", CLIENT_SECRET.as_bytes());
    let text = format!(
        r#"
        workspace_url = "{}"
        allow_host = ["127.0.0.1"]
        catalog = "{CATALOG}"
        {more}
        [auth]
        client_id = "{CLIENT_ID}"
        client_secret = "file:client-secret"
        "#,
        pretend.url()
    );
    room.file("inlet.toml", text.as_bytes())
}

/// The lake's place as the catalog spells it.
pub(crate) fn place(room: &Room) -> String {
    format!("file://{}", room.lake().canonicalize().expect("the lake is there").display())
}

/// The status of a table in a report.
pub(crate) fn status(report: &EvolveReport, table: &str) -> Option<TableStatus> {
    report.tables.iter().find(|one| one.table == table).map(|one| one.status)
}
