//! Ring 2: what we do. One upload is opened, read, compared with its tables and appended to them, each row once.

pub mod allowance;
pub mod clock;
pub mod connect;
mod crew;
pub mod databricks;
pub mod delta;
pub mod evolve;
pub mod fault;
mod group;
mod held;
mod landing;
pub mod landing_store;
mod lease;
pub mod ledger;
pub mod nearest;
mod plan;
mod registry;
pub mod report;
pub mod route;
mod schema;
pub mod secret;
pub mod settings;
mod source;
pub mod sql;
mod state;
pub mod status;
pub mod storage;
pub mod teardown;
mod underway;
pub mod upkeep;
pub mod upload;
#[cfg(feature = "verify")]
pub mod verify;
pub mod waiting;
