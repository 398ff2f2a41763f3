//! A pretend Databricks workspace: one HTTP server on loopback, state in memory, tables in real Delta logs.
//!
//! It is an independent reading of the API and depends on none of Inlet's rings. It signs in (OAuth M2M, Microsoft
//! Entra, tokens, managed identities), runs SQL warehouses as machines in time, takes statements strictly and applies
//! them to Delta logs on `file://`, `s3://` and `abfss://`, keeps Unity Catalog's objects with columns that lag the log
//! until a statement looks at it, and checks every right. What it cannot do it refuses with 501 NOT_IMPLEMENTED.
//!
//! ```no_run
//! let pretend = pretend::Pretend::start(pretend::Setup::seeded("file:///tmp/lake")).unwrap();
//! println!("{}", pretend.url());
//! assert!(pretend.wakes().is_empty());
//! ```

mod admin;
mod auth;
mod bucket;
mod catalogs;
mod clock;
mod control;
mod entra;
mod faults;
mod files;
mod knobs;
mod lake;
mod locations;
mod log;
mod names;
mod pages;
mod permissions;
mod privileges;
mod reply;
mod request;
mod route;
mod schemas;
mod server;
mod setup;
mod sql;
mod state;
mod statement;
mod statements;
mod tables;
#[cfg(test)]
mod tests;
mod tokens;
mod types;
mod vending;
mod volumes;
mod warehouse;
mod warehouses;
mod workspace;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub use crate::bucket::Bucket;
pub use crate::entra::IDENTITY_HEADER;
pub use crate::faults::{Fault, StatementFault, Wrong};
pub use crate::knobs::{Knobs, Vended};
pub use crate::log::Seen;
pub use crate::setup::{
    ADMIN, ADMIN_TOKEN, CATALOG, CLIENT_ID, CLIENT_SECRET, CREDENTIAL, CatalogSetup, ENTRA_SECRET, Grant, LOCATION,
    LocationSetup, Principal, Setup, TENANT, TOKEN, WAREHOUSE, WarehouseSetup,
};
pub use crate::statement::Said;
pub use crate::warehouse::Fate;
pub use crate::warehouses::Wake;

use crate::state::State;
use crate::workspace::Workspace;

/// A workspace that runs until it is dropped, on threads of its own: it serves tests with and without a runtime.
#[derive(Debug)]
pub struct Pretend {
    workspace: Arc<Workspace>,
    runtime: Option<Runtime>,
}

/// A table or view as Unity Catalog shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSeen {
    /// Its id.
    pub table_id: String,
    /// Names and types, as `bigint`.
    pub columns: Vec<(String, String)>,
    /// Comments of columns that have one.
    pub column_comments: BTreeMap<String, String>,
    /// The table's comment.
    pub comment: Option<String>,
    /// Where its files stand; a view has none.
    pub location: Option<String>,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// A view's query.
    pub view_definition: Option<String>,
}

impl Pretend {
    /// Starts a workspace.
    ///
    /// # Errors
    /// The port is taken, or the setup names what does not exist.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, setup.port)))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = State::new(setup).map_err(io::Error::other)?;
        let workspace = Arc::new(Workspace::new(url, state));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("pretend")
            .enable_all()
            .build()?;
        let served = Arc::clone(&workspace);
        let guard = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(guard);
        runtime.spawn(server::serve(served, listener));
        Ok(Self { workspace, runtime: Some(runtime) })
    }

    /// `http://127.0.0.1:<port>`: the workspace, and Microsoft Entra's authority.
    pub fn url(&self) -> &str {
        &self.workspace.url
    }

    /// Every request since the start, or since [`Pretend::forget_requests`].
    pub fn requests(&self) -> Vec<Seen> {
        self.workspace.log().all()
    }

    /// Begins a new log of requests.
    pub fn forget_requests(&self) {
        self.workspace.log().clear();
    }

    /// Every statement, in the order in which they came.
    pub fn statements(&self) -> Vec<Said> {
        control::said(&self.workspace.state())
    }

    /// Every time that a warehouse left STOPPED.
    pub fn wakes(&self) -> Vec<Wake> {
        self.workspace.state().wakes.clone()
    }

    /// Orders a fault of requests.
    pub fn fault(&self, fault: Fault) {
        self.workspace.faults().add(fault);
    }

    /// Orders a fault of statements.
    pub fn statement_fault(&self, fault: StatementFault) {
        self.workspace.faults().add_to_statements(fault);
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.workspace.faults().clear();
    }

    /// How many answers are held back by [`Wrong::Hold`].
    pub fn held(&self) -> usize {
        self.workspace.faults().held()
    }

    /// Grants to [`CLIENT_ID`], as `("EXTERNAL USE SCHEMA", "schema", "segment.web")`.
    ///
    /// # Errors
    /// No such privilege, or no such kind of thing.
    pub fn grant(&self, privilege: &str, kind: &str, on: &str) -> Result<(), String> {
        control::grant(&mut self.workspace.state(), &setup::grant(privilege, kind, on), true)
    }

    /// Takes a grant from [`CLIENT_ID`].
    ///
    /// # Errors
    /// No such privilege, or no such kind of thing.
    pub fn revoke(&self, privilege: &str, kind: &str, on: &str) -> Result<(), String> {
        control::grant(&mut self.workspace.state(), &setup::grant(privilege, kind, on), false)
    }

    /// Turns knobs.
    pub fn knobs(&self, turn: impl FnOnce(&mut Knobs)) {
        turn(&mut self.workspace.state().knobs);
    }

    /// No token that was handed out is good any more.
    pub fn expire_tokens(&self) {
        self.workspace.state().tokens.clear();
    }

    /// `STOPPED`, `STARTING`, …; none: no such warehouse.
    pub fn warehouse_state(&self, id: &str) -> Option<String> {
        let mut state = self.workspace.state();
        state.advance(clock::now());
        state.warehouses.get(id).map(|warehouse| warehouse.state().to_owned())
    }

    /// How long warehouses have been RUNNING in all, in seconds.
    pub fn seconds_up(&self) -> f64 {
        let mut state = self.workspace.state();
        let now = clock::now();
        state.advance(now);
        state.warehouses.values().map(|warehouse| warehouse.up(now).as_secs_f64()).sum()
    }

    /// Ids of all warehouses.
    pub fn warehouses(&self) -> Vec<String> {
        self.workspace.state().warehouses.keys().cloned().collect()
    }

    /// Stops a warehouse at once.
    pub fn stop_warehouse(&self, id: &str) {
        control::stop(&mut self.workspace.state(), id);
    }

    /// Deletes a warehouse, as somebody else would.
    pub fn delete_warehouse(&self, id: &str) {
        if let Some(warehouse) = self.workspace.state().warehouses.get_mut(id) {
            warehouse.delete();
        }
    }

    /// A table or view by its full name, as Unity Catalog shows it.
    pub fn table(&self, full_name: &str) -> Option<TableSeen> {
        let state = self.workspace.state();
        let table = state.tables.get(full_name)?;
        let name = |field: &serde_json::Value| field["name"].as_str().unwrap_or_default().to_owned();
        let comment =
            |field: &serde_json::Value| Some((name(field), field["metadata"]["comment"].as_str()?.to_owned()));
        Some(TableSeen {
            table_id: table.id.clone(),
            columns: table.columns.iter().map(|field| (name(field), types::type_text(&field["type"]))).collect(),
            column_comments: table.columns.iter().filter_map(comment).collect(),
            comment: table.comment.clone(),
            location: table.location.clone(),
            properties: table.properties.clone(),
            view_definition: table.view_definition.clone(),
        })
    }

    /// Full names of all tables and views.
    pub fn tables(&self) -> Vec<String> {
        self.workspace.state().tables.keys().cloned().collect()
    }

    /// Full names of all schemas.
    pub fn schemas(&self) -> Vec<String> {
        self.workspace.state().schemas.keys().cloned().collect()
    }
}

impl Drop for Pretend {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Without waiting: a test with a runtime may drop it too.
            runtime.shutdown_background();
        }
    }
}
