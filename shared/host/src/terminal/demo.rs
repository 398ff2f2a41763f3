//! `inlet demo`: a pretend Databricks workspace on loopback, a lake in a folder, and what three uploads cause there.
//!
//! Everything but the workspace is real: settings from a file, uploads from files, tables in Delta logs, statements
//! over HTTP. The workspace keeps the log of requests that the story is told from.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inlet_core::clock::Deadline;
use inlet_core::evolve::{Ask as EvolveAsk, EvolveReport, Parts as EvolveParts};
use inlet_core::fault::Fault;
use inlet_core::report::{FaultReport, Report};
use inlet_core::route::{Parts, Unwatched};
use inlet_core::settings::Settings;
use pretend::{CATALOG, CLIENT_ID, CLIENT_SECRET, Pretend, Setup, WAREHOUSE};
use tokio::runtime::Runtime;

use super::arguments::Demo as Asked;
use super::output::Streams;
use super::table::{counted, plain};
use super::{Call, opened, runtime, words, workspace};
use crate::lake;
use crate::landing::{self, Ask};

/// The schema that the demo's uploads land in.
const SCHEMA: &str = "webshop";
/// How long the pretend warehouse takes to start: a serverless one takes seconds.
const START: Duration = Duration::from_millis(800);
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Asked, call: &Call<'_>, streams: &Streams) -> u8 {
    match shown(asked, call, streams) {
        Ok(()) => 0,
        Err(fault) => {
            let said = FaultReport::from(&fault);
            streams.err.write(&words::fault(&said, &said.message));
            fault.kind().exit_code()
        }
    }
}

fn shown(asked: &Asked, call: &Call<'_>, streams: &Streams) -> Result<(), Fault> {
    let unusable = |error| Fault::setup("cannot make a folder for the demo").because(error);
    let temporary = tempfile::tempdir().map_err(unusable)?;
    let folder = match &asked.keep {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err(Fault::setup(format!("`{}` is not empty", folder.display()))
                    .hint("name a new folder: --keep ./demo"));
            }
            fs::create_dir_all(&folder).map_err(unusable)?;
            folder
        }
        None => temporary.path().to_owned(),
    };
    let folder = folder.canonicalize().map_err(unusable)?;
    let demo = Demo::begin(&folder, call, streams)?;
    demo.tell()?;
    if asked.keep.is_some() {
        streams.out.line(&format!("\nlake, uploads and settings are kept in {}", folder.display()));
    }
    Ok(())
}

/// A workspace, a lake, and where the story is told.
struct Demo<'a> {
    pretend: Pretend,
    folder: &'a Path,
    settings: Settings,
    runtime: Runtime,
    call: &'a Call<'a>,
    streams: &'a Streams,
}

impl<'a> Demo<'a> {
    fn begin(folder: &'a Path, call: &'a Call<'a>, streams: &'a Streams) -> Result<Self, Fault> {
        let lake = format!("file://{}", folder.join("lake").display());
        let setup = Setup::seeded(&lake).knobs(|knobs| knobs.start_ms = START.as_millis() as u64);
        let pretend = Pretend::start(setup)
            .map_err(|error| Fault::again("the pretend workspace cannot listen on 127.0.0.1").because(error))?;
        let unwritten = |error| Fault::setup("cannot write into the demo's folder").because(error);
        fs::write(folder.join("client-secret"), CLIENT_SECRET).map_err(unwritten)?;
        let text = settings_text(pretend.url());
        let file = folder.join("inlet.toml");
        fs::write(&file, &text).map_err(unwritten)?;
        let settings = Settings::from_file(&file.display().to_string(), &text)?;
        Ok(Self { pretend, folder, settings, runtime: runtime()?, call, streams })
    }

    fn tell(&self) -> Result<(), Fault> {
        self.say(&format!(
            "a pretend workspace at {}: catalog `{CATALOG}`, a stopped SQL warehouse, the set-up guide's rights\n",
            self.pretend.url()
        ));
        self.say("1. a first upload\n");
        self.upload("1-first.ndjson", &events(0, ""))?;
        self.evolve()?;
        self.pretend.stop_warehouse(WAREHOUSE);
        self.say("\n2. a second one of the same shape\n");
        self.upload("2-same.ndjson", &events(3, ""))?;
        self.evolve()?;
        self.say("\n3. one with a new property, `coupon`\n");
        self.upload("3-new.ndjson", &events(6, r#","coupon":"SPRING""#))?;
        self.evolve()?;
        self.say(&format!("\nin all: the warehouse was woken {} times\n\n", self.pretend.wakes().len()));
        self.say(&self.catalog());
        Ok(())
    }

    /// Lands an upload, and says what that asked of the workspace.
    fn upload(&self, name: &str, text: &str) -> Result<(), Fault> {
        let folder = self.folder.join("uploads");
        let path = folder.join(name);
        let unwritten = |error| Fault::setup("cannot write into the demo's folder").because(error);
        fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text)).map_err(unwritten)?;
        let (named, handle) = (self.lake()?, self.runtime.handle());
        let ask = Ask { schema: Some(SCHEMA), lake: Some(&named), settings: &self.settings, runtime: handle };
        let found = landing::gather(&[path.into_os_string()], &ask, &mut std::io::empty())?;
        self.pretend.forget_requests();
        let lake = opened(&named.url, &self.settings, &self.runtime)?;
        let parts = Parts {
            lake,
            managed: None,
            settings: self.settings.clone(),
            host: "terminal",
            allowance: None,
            kept: None,
        };
        let report = (self.call.functions.ingest)(&parts, found.uploads, &Unwatched);
        if let Some(fault) = report.uploads.iter().find_map(|upload| upload.fault.as_ref()).or(report.fault.as_ref()) {
            return Err(Fault::bug(format!("the demo's upload did not land: {}", fault.message)));
        }
        self.say(&landed(&report, self.pretend.requests().len()));
        Ok(())
    }

    fn evolve(&self) -> Result<(), Fault> {
        let named = self.lake()?;
        let lake = opened(&named.url, &self.settings, &self.runtime)?;
        let parts = workspace(&self.settings)?.and_then(|workspace| EvolveParts::of(&self.settings, lake, workspace));
        let parts = parts.ok_or_else(|| Fault::bug("the demo's settings name no workspace"))?;
        let ask = EvolveAsk { by_hand: true, ..EvolveAsk::default() };
        let report = (self.call.functions.evolve)(&parts, ask, Deadline::after(PATIENCE), &|_| {});
        self.say(&evolved(&report));
        let fault = report.tables.iter().find_map(|table| table.fault.as_ref()).or(report.fault.as_ref());
        fault.map_or(Ok(()), |fault| Err(Fault::bug(format!("the demo's evolve failed: {}", fault.message))))
    }

    /// What the catalog shows at the end.
    fn catalog(&self) -> String {
        let mut text = String::from("Unity Catalog now has:\n");
        for name in self.pretend.tables() {
            let Some(table) = self.pretend.table(&name) else { continue };
            let kind = if table.view_definition.is_some() { "view " } else { "table" };
            text.push_str(&format!("  {kind} {name} ({} columns)\n", table.columns.len()));
        }
        let coupon = self.pretend.table(&format!("{CATALOG}.{SCHEMA}.order_completed"));
        if let Some(comment) = coupon.as_ref().and_then(|table| table.column_comments.get("coupon")) {
            text.push_str(&format!("the column `coupon` says: {}\n", plain(comment)));
        }
        text
    }

    fn lake(&self) -> Result<lake::LakeAddress, Fault> {
        lake::to_write(self.settings.lake.as_deref().map(OsString::from).as_deref(), "")
    }

    fn say(&self, text: &str) {
        self.streams.out.write(text);
    }
}

/// The settings as a person would write them.
fn settings_text(url: &str) -> String {
    format!(
        r#"workspace_url = "{url}"   # Databricks Workspace URL
allow_host = ["127.0.0.1"]   # a pretend workspace; Databricks' own hosts need no such line
catalog = "{CATALOG}"   # Target Unity Catalog
http_path = "/sql/1.0/warehouses/{WAREHOUSE}"   # HTTP Path
lake = "lake"

[auth]
client_id = "{CLIENT_ID}"   # Service Principal Client ID
client_secret = "file:client-secret"   # OAuth Secret
"#
    )
}

/// A page and two events of a web shop. Ids begin with `from`.
fn events(from: usize, more: &str) -> String {
    let call = |n: usize, what: &str| {
        format!(
            r#"{{"messageId":"m-{}","anonymousId":"a-{}","receivedAt":"2026-03-14T10:0{n}:00Z",{what}}}"#,
            from + n,
            from % 5
        )
    };
    let ordered = format!(r#""type":"track","event":"Order Completed","properties":{{"total":25.5,"items":2{more}}}"#);
    let lines = [
        call(0, r#""type":"page","name":"Home","properties":{"path":"/"}"#),
        call(1, r#""type":"track","event":"Product Viewed","properties":{"sku":"X1"}"#),
        call(2, &ordered),
    ];
    lines.join("\n")
}

fn landed(report: &Report, requests: usize) -> String {
    let counts = &report.totals.counts;
    let mut columns = Vec::new();
    for table in report.uploads.iter().flat_map(|upload| &upload.tables) {
        columns.extend(table.new_columns.iter().map(|column| format!("{}.{}", table.table, column.name)));
    }
    let columns = match columns.as_slice() {
        [] => String::new(),
        [one] => format!(", the new column `{one}` with them"),
        all => format!(", {} new columns with them", all.len()),
    };
    let (events, rows) = (counted(counts.landed, "event"), counted(counts.rows, "row"));
    format!("   ingest: {events} landed at once, {rows}{columns}; requests to the workspace: {requests}\n")
}

fn evolved(report: &EvolveReport) -> String {
    let Some(used) = &report.warehouse else {
        return "   evolve: no note says that the catalog is behind; the warehouse sleeps on\n".to_owned();
    };
    let woken = if used.woken { "the warehouse was woken" } else { "the warehouse was running" };
    let mut text = format!(
        "   evolve: {woken}; {} in {:.1} s\n",
        counted(report.statements.len() as u64, "statement"),
        used.seconds
    );
    for schema in &report.schemas_created {
        text.push_str(&format!("     POST /api/2.1/unity-catalog/schemas: {schema}\n"));
    }
    for statement in &report.statements {
        let line = statement.lines().next().unwrap_or_default();
        text.push_str(&format!("     {}{}\n", plain(line), if statement.contains('\n') { " …" } else { "" }));
    }
    text
}
