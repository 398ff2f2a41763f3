//! SQL warehouses: how one is, waking it, and a small one of our own.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::answer::Said;
use super::error::{Error, Failure, Subject};
use super::{Page, Workspace};
use crate::clock::{self, Deadline};

const WAREHOUSES: &str = "api/2.0/sql/warehouses";
/// The tag by which our own warehouse is found again, whatever people call it; its value is the name it was made with.
const TAG: &str = "inlet-warehouse";
/// How often a warehouse that stops while it starts is started.
const STARTS: u32 = 2;

/// The warehouse that Inlet makes when it is told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarehouseSpec {
    /// Its name; names are unique in a workspace.
    pub name: String,
    /// `2X-Small`, `Small`, …
    pub cluster_size: String,
    /// The fewest clusters.
    pub min_clusters: u32,
    /// The most clusters.
    pub max_clusters: u32,
    /// Serverless; where the workspace has none, a pro warehouse.
    pub serverless: bool,
    /// After so many idle minutes it stops: at least 1 if serverless, 10 if not.
    pub auto_stop_minutes: u32,
}

/// A warehouse as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Warehouse {
    /// Its id, as in its HTTP path.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub state: State,
    /// How it is; none: well.
    pub health: Option<Health>,
    /// `2X-Small`, `Small`, …
    #[serde(default, rename = "cluster_size")]
    pub size: String,
    /// `CLASSIC` or `PRO`; serverless ones are `PRO`.
    #[serde(default, rename = "warehouse_type")]
    pub kind: String,
    /// Whether it is serverless: those start in seconds, others in minutes.
    #[serde(default, rename = "enable_serverless_compute")]
    pub serverless: bool,
    /// The fewest clusters.
    #[serde(default, rename = "min_num_clusters")]
    pub min_clusters: u32,
    /// The most clusters.
    #[serde(default, rename = "max_num_clusters")]
    pub max_clusters: u32,
    /// After so many idle minutes it stops; 0: never.
    #[serde(default, rename = "auto_stop_mins", deserialize_with = "minutes")]
    pub auto_stop: u32,
    /// Who uses it now.
    #[serde(default, rename = "num_active_sessions")]
    pub sessions: u64,
    #[serde(default)]
    tags: Tags,
}

/// What a warehouse does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// It is on its way to running.
    Starting,
    /// It takes statements.
    Running,
    /// It is on its way to being stopped.
    Stopping,
    /// It costs nothing.
    Stopped,
    /// It is on its way to being gone.
    Deleting,
    /// It is gone.
    Deleted,
    /// Something newer than this program.
    #[default]
    #[serde(other)]
    Unknown,
}

/// How a warehouse is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `HEALTHY`, `DEGRADED` or `FAILED`.
    pub status: String,
    /// In a few words.
    pub summary: String,
    /// In more words.
    pub details: String,
    failure_reason: FailureReason,
}

impl Health {
    /// Why it failed, in one of Databricks' codes: `AZURE_QUOTA_EXCEEDED_EXCEPTION`.
    pub fn code(&self) -> Option<&str> {
        Some(self.failure_reason.code.as_str()).filter(|code| !code.is_empty())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct FailureReason {
    code: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Tags {
    custom_tags: Vec<Tag>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Tag {
    key: String,
    value: String,
}

/// What waking a warehouse took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Whether we started it; else it ran, or somebody else had started it.
    pub started: bool,
    /// How long we waited for it.
    pub waited: Duration,
}

#[derive(Deserialize)]
struct Warehouses {
    #[serde(default)]
    warehouses: Vec<Warehouse>,
    next_page_token: Option<String>,
}

impl Page for Warehouses {
    type Item = Warehouse;

    fn take(self) -> (Vec<Warehouse>, Option<String>) {
        (self.warehouses, self.next_page_token)
    }
}

/// A warehouse that we may call our own.
struct Own {
    id: String,
    /// It has our tag; else only the name.
    is_tagged: bool,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

impl Workspace {
    /// How a warehouse is; nothing is started.
    ///
    /// # Errors
    /// There is none of this id, or we may not use it.
    pub async fn warehouse(&self, id: &str, deadline: Deadline) -> Result<Warehouse, Error> {
        self.get(WAREHOUSES, &[id], &[], &Subject::Warehouse(id.to_owned()), deadline).await
    }

    /// The warehouses that we may see.
    ///
    /// # Errors
    /// The list may not be read.
    pub async fn warehouses(&self, deadline: Deadline) -> Result<Vec<Warehouse>, Error> {
        self.pages::<Warehouses>(WAREHOUSES, &[], &[], &Subject::Workspace, deadline).await
    }

    /// Starts a warehouse if it does not run, and waits for it. `told` hears what is waited for.
    ///
    /// # Errors
    /// It cannot be started, or stopped again while it started: its health says why. At the deadline the error is a
    /// passing one, [`Error::is_starting`], and the warehouse goes on starting.
    pub async fn running(&self, id: &str, deadline: Deadline, told: &(dyn Fn(&str) + Sync)) -> Result<Wake, Error> {
        let about = Subject::Warehouse(id.to_owned());
        let whole = deadline.left();
        let waited = || whole.saturating_sub(deadline.left());
        // Right after a start the warehouse may still be called stopped.
        let (mut starts, mut settled, mut looks) = (0, deadline, 0);
        loop {
            let warehouse = match self.warehouse(id, deadline).await {
                Err(error) if error.is_out_of_time() && looks > 0 => return Err(self.still_starting(&about, waited())),
                warehouse => warehouse?,
            };
            let failing = warehouse.health.as_ref().is_some_and(|health| health.status == "FAILED");
            match warehouse.state {
                State::Running => return Ok(Wake { started: starts > 0, waited: waited() }),
                State::Deleting | State::Deleted => return Err(self.not_running(&about, &warehouse)),
                State::Stopped if starts > 0 && !settled.is_over() => {}
                State::Stopped if starts == STARTS || (starts > 0 && failing) => {
                    return Err(self.not_running(&about, &warehouse));
                }
                State::Stopped => {
                    told(&format!("starting warehouse `{}`", warehouse.name));
                    self.start_warehouse(id, deadline).await?;
                    (starts, settled) = (starts + 1, Deadline::after(self.pace().grace));
                }
                State::Starting => {
                    // From here on a stop is a failure.
                    settled = Deadline::after(Duration::ZERO);
                    told(&format!("warehouse `{}` is starting ({} s)", warehouse.name, waited().as_secs()));
                }
                State::Stopping | State::Unknown => told(&format!("waiting for warehouse `{}`", warehouse.name)),
            }
            clock::pause(self.pace().poll(looks), deadline).await;
            looks += 1;
            if deadline.is_over() {
                return Err(self.still_starting(&about, waited()));
            }
        }
    }

    /// Has a warehouse start, and does not wait for it.
    ///
    /// # Errors
    /// It cannot be started, or not by us.
    pub async fn start_warehouse(&self, id: &str, deadline: Deadline) -> Result<(), Error> {
        let about = Subject::Warehouse(id.to_owned());
        let _: Value = self.post(WAREHOUSES, &[id, "start"], &json!({}), &about, deadline).await?;
        Ok(())
    }

    /// Our own warehouse: found by its tag, else by its name, else made. However often and from wherever this is
    /// called, there is one.
    ///
    /// # Errors
    /// We may not make one.
    pub async fn own_warehouse(&self, spec: &WarehouseSpec, deadline: Deadline) -> Result<String, Error> {
        if let Some(own) = self.find_own(spec, deadline).await? {
            return Ok(own.id);
        }
        let made = match self.make(spec, spec.serverless, deadline).await {
            // Serverless is not there in every region, and not allowed in every workspace.
            Err(error) if spec.serverless && error.message().to_ascii_lowercase().contains("serverless") => {
                self.make(spec, false, deadline).await
            }
            made => made,
        };
        match made {
            // Somebody was faster, or our first request did arrive.
            Err(error) if error.already_exists() => self.find_own(spec, deadline).await?.map(|own| own.id).ok_or(error),
            made => made,
        }
    }

    /// The warehouse that [`Workspace::own_warehouse`] would take, if it is there; nothing is made.
    ///
    /// # Errors
    /// What the workspace answers.
    pub async fn known_warehouse(&self, spec: &WarehouseSpec, deadline: Deadline) -> Result<Option<String>, Error> {
        Ok(self.find_own(spec, deadline).await?.map(|own| own.id))
    }

    /// The warehouse that [`Workspace::own_warehouse`] made, known by its tag.
    ///
    /// # Errors
    /// What the workspace answers.
    pub async fn tagged_warehouse(&self, spec: &WarehouseSpec, deadline: Deadline) -> Result<Option<String>, Error> {
        let own = self.find_own(spec, deadline).await?;
        Ok(own.filter(|own| own.is_tagged).map(|own| own.id))
    }

    /// Stops a warehouse. A missing one is fine.
    ///
    /// # Errors
    /// We may not stop it.
    pub async fn stop_warehouse(&self, id: &str, deadline: Deadline) -> Result<(), Error> {
        let about = Subject::Warehouse(id.to_owned());
        match self.post::<Value>(WAREHOUSES, &[id, "stop"], &json!({}), &about, deadline).await {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes a warehouse. A missing one is fine.
    ///
    /// # Errors
    /// We may not delete it.
    pub async fn delete_warehouse(&self, id: &str, deadline: Deadline) -> Result<(), Error> {
        self.delete(WAREHOUSES, &[id], &Subject::Warehouse(id.to_owned()), deadline).await
    }

    /// Our warehouse among those that we may see. Of several the one of the least id: all callers choose the same.
    async fn find_own(&self, spec: &WarehouseSpec, deadline: Deadline) -> Result<Option<Own>, Error> {
        let about = Subject::NewWarehouse(spec.name.clone());
        let mut all = self.pages::<Warehouses>(WAREHOUSES, &[], &[], &about, deadline).await?;
        all.retain(|one| !matches!(one.state, State::Deleting | State::Deleted));
        let tagged = |one: &&Warehouse| one.tags.custom_tags.iter().any(|tag| tag.key == TAG && tag.value == spec.name);
        let named = |one: &&Warehouse| one.name == spec.name;
        let own = |found: Option<&Warehouse>, is_tagged| found.map(|one| Own { id: one.id.clone(), is_tagged });
        let by_tag = own(all.iter().filter(tagged).min_by_key(|one| &one.id), true);
        Ok(by_tag.or_else(|| own(all.iter().find(named), false)))
    }

    async fn make(&self, spec: &WarehouseSpec, serverless: bool, deadline: Deadline) -> Result<String, Error> {
        let auto_stop = if serverless { spec.auto_stop_minutes.max(1) } else { spec.auto_stop_minutes.max(10) };
        // Both are always said: left out, the type would be classic.
        let body = json!({
            "name": spec.name,
            "cluster_size": spec.cluster_size,
            "min_num_clusters": spec.min_clusters,
            "max_num_clusters": spec.max_clusters,
            "auto_stop_mins": auto_stop,
            "warehouse_type": "PRO",
            "enable_serverless_compute": serverless,
            "tags": { "custom_tags": [{ "key": TAG, "value": spec.name }] },
        });
        let about = Subject::NewWarehouse(spec.name.clone());
        let made: Made = self.post(WAREHOUSES, &[], &body, &about, deadline).await?;
        Ok(made.id)
    }

    fn still_starting(&self, about: &Subject, waited: Duration) -> Error {
        self.failed(Failure::WarehouseStarting, about, Said::of(&format!("waited {} s", waited.as_secs())))
    }

    /// Why a warehouse does not run, in its own words.
    fn not_running(&self, about: &Subject, warehouse: &Warehouse) -> Error {
        let health = warehouse.health.clone().unwrap_or_default();
        let state = format!("{:?}", warehouse.state).to_uppercase();
        let words = [health.summary.as_str(), health.details.as_str()].into_iter().filter(|text| !text.is_empty());
        let words = words.collect::<Vec<_>>().join(" ");
        let said = Said::of(&format!("its state is {state}. {words}"));
        let code = health.code().map_or(state, str::to_owned);
        self.failed(Failure::WarehouseFailed, about, Said { code: Some(code), ..said })
    }
}

/// The API writes minutes as a number, its older clients as a text.
fn minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default();
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
