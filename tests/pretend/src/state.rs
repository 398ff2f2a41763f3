//! All that the workspace remembers, and the questions that every part of it asks: who owns this, may they do that,
//! which location covers a path.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;

use crate::auth::IssuedToken;
use crate::clock;
use crate::knobs::Knobs;
use crate::locations::clean;
use crate::privileges::{Grants, Kind, Privilege, Securable};
use crate::reply::Refusal;
use crate::setup::{ADMIN, Principal, Setup};
use crate::statement::Statement;
use crate::warehouse::{Shape, Warehouse};

/// Who asks, and by which names rights reach them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) names: Vec<String>,
    pub(crate) admin: bool,
    pub(crate) entitlements: Vec<String>,
}

/// A catalog.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) owner: String,
    pub(crate) storage_root: Option<String>,
    pub(crate) isolated_elsewhere: bool,
    pub(crate) created_at: u64,
}

/// A schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) catalog: String,
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) comment: Option<String>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) storage_root: Option<String>,
    pub(crate) created_at: u64,
}

/// What a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    Managed,
    External,
    View,
}

/// A table or view as Unity Catalog knows it: columns and properties are those of the last statement or sync, not those
/// of the log.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) kind: TableKind,
    pub(crate) owner: String,
    pub(crate) location: Option<String>,
    /// Fields of a Delta schema, as JSON.
    pub(crate) columns: Vec<Value>,
    pub(crate) comment: Option<String>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) view_definition: Option<String>,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    /// Paths that COPY INTO has loaded: it never looks at what they hold now.
    pub(crate) copied: BTreeSet<String>,
}

impl Table {
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// A volume.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    /// Where its files stand: in the schema's managed storage.
    pub(crate) location: String,
    pub(crate) comment: Option<String>,
    pub(crate) created_at: u64,
    /// Folders that were made, or that a file was written into: stores have none of their own.
    pub(crate) folders: BTreeSet<String>,
}

impl Volume {
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// An external location.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) credential: String,
    pub(crate) read_only: bool,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) setup: Setup,
    pub(crate) knobs: Knobs,
    pub(crate) metastore_id: String,
    pub(crate) tokens: BTreeMap<String, IssuedToken>,
    pub(crate) catalogs: BTreeMap<String, Catalog>,
    pub(crate) schemas: BTreeMap<String, Schema>,
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) locations: BTreeMap<String, Location>,
    pub(crate) grants: Grants,
    pub(crate) warehouses: BTreeMap<String, Warehouse>,
    /// Warehouse and principal to level.
    pub(crate) warehouse_permissions: BTreeMap<(String, String), String>,
    pub(crate) wakes: Vec<crate::warehouses::Wake>,
    pub(crate) statements: BTreeMap<String, Statement>,
}

impl State {
    /// # Errors
    /// A setup that names a thing or privilege that does not exist.
    pub(crate) fn new(setup: Setup) -> Result<Self, String> {
        let mut grants = Grants::default();
        for grant in &setup.grants {
            grants.add(Securable::new(grant.kind.parse::<Kind>()?, &grant.on), &grant.to, grant.privilege.parse()?);
        }
        let mut state = Self {
            knobs: setup.knobs.clone(),
            metastore_id: uuid(),
            tokens: BTreeMap::new(),
            catalogs: BTreeMap::new(),
            schemas: BTreeMap::new(),
            tables: BTreeMap::new(),
            volumes: BTreeMap::new(),
            locations: BTreeMap::new(),
            grants,
            warehouses: BTreeMap::new(),
            warehouse_permissions: BTreeMap::new(),
            wakes: Vec::new(),
            statements: BTreeMap::new(),
            setup,
        };
        for catalog in state.setup.catalogs.clone() {
            let made = Catalog {
                name: catalog.name.clone(),
                kind: catalog.kind,
                owner: ADMIN.to_owned(),
                storage_root: catalog.storage_root.as_deref().map(clean),
                isolated_elsewhere: catalog.isolated_elsewhere,
                created_at: clock::epoch_ms(),
            };
            state.catalogs.insert(catalog.name, made);
        }
        for schema in state.setup.schemas.clone() {
            let (catalog, name) = schema.split_once('.').ok_or(format!("`{schema}` is no catalog.schema"))?;
            state.add_schema(catalog, name, ADMIN, None, BTreeMap::new(), None);
        }
        for location in &state.setup.locations {
            let made = Location {
                name: location.name.clone(),
                url: clean(&location.url),
                credential: location.credential.clone(),
                read_only: location.read_only,
            };
            state.locations.insert(location.name.clone(), made);
        }
        for warehouse in state.setup.warehouses.clone() {
            let shape = serde_json::json!({
                "name": warehouse.name, "warehouse_type": "PRO", "enable_serverless_compute": true,
                "auto_stop_mins": 10,
            });
            let shape: Shape = serde_json::from_value(shape).map_err(|error| error.to_string())?;
            for (principal, level) in warehouse.permissions {
                state.warehouse_permissions.insert((warehouse.id.clone(), principal), level);
            }
            let made = Warehouse::new(warehouse.id.clone(), shape, ADMIN.to_owned());
            state.warehouses.insert(warehouse.id, made);
        }
        Ok(state)
    }

    pub(crate) fn add_schema(
        &mut self,
        catalog: &str,
        name: &str,
        owner: &str,
        comment: Option<String>,
        properties: BTreeMap<String, String>,
        storage_root: Option<String>,
    ) {
        let schema = Schema {
            catalog: catalog.to_owned(),
            name: name.to_owned(),
            id: uuid(),
            owner: owner.to_owned(),
            comment,
            properties,
            storage_root,
            created_at: clock::epoch_ms(),
        };
        self.schemas.insert(format!("{catalog}.{name}"), schema);
    }

    pub(crate) fn principal(&self, name: &str) -> Option<&Principal> {
        self.setup.principals.iter().find(|principal| principal.name == name)
    }

    /// Somebody, with the groups in which everybody is.
    pub(crate) fn caller(&self, principal: &Principal) -> Caller {
        let mut names = vec![principal.name.clone(), "account users".to_owned(), "users".to_owned()];
        names.extend(principal.groups.iter().cloned());
        Caller {
            name: principal.name.clone(),
            names,
            admin: principal.admin,
            entitlements: principal.entitlements.clone(),
        }
    }

    fn owner(&self, thing: &Securable) -> Option<&str> {
        let name = &thing.name;
        match thing.kind {
            Kind::Catalog => self.catalogs.get(name).map(|catalog| catalog.owner.as_str()),
            Kind::Schema => self.schemas.get(name).map(|schema| schema.owner.as_str()),
            Kind::Table => self.tables.get(name).map(|table| table.owner.as_str()),
            Kind::Volume => self.volumes.get(name).map(|volume| volume.owner.as_str()),
            Kind::Metastore | Kind::ExternalLocation | Kind::StorageCredential => Some(ADMIN),
        }
    }

    /// Whether the caller owns the thing itself.
    pub(crate) fn owns(&self, caller: &Caller, thing: &Securable) -> bool {
        self.owner(thing) == Some(caller.name.as_str())
    }

    /// Whether the caller has a right: granted, by a group, by owning the thing, or as admin.
    pub(crate) fn may(&self, caller: &Caller, privilege: Privilege, thing: &Securable) -> bool {
        caller.admin
            || self.grants.allow(&caller.names, privilege, thing)
            || (self.owns(caller, thing) && !privilege.must_be_granted_by_name())
    }

    /// # Errors
    /// The denial, in Databricks' words.
    pub(crate) fn require(&self, caller: &Caller, privilege: Privilege, thing: &Securable) -> Result<(), Refusal> {
        if self.may(caller, privilege, thing) {
            return Ok(());
        }
        Err(Refusal::denied(format!("User does not have {} on {thing}.", privilege.words())))
    }

    /// The way into a schema: USE CATALOG and USE SCHEMA.
    ///
    /// # Errors
    /// The denial.
    pub(crate) fn require_use(&self, caller: &Caller, catalog: &str, schema: &str) -> Result<(), Refusal> {
        self.require(caller, Privilege::UseCatalog, &Securable::new(Kind::Catalog, catalog))?;
        self.require(caller, Privilege::UseSchema, &Securable::new(Kind::Schema, format!("{catalog}.{schema}")))
    }

    /// To remove or replace a thing one must own it, or manage it or what it stands in.
    ///
    /// # Errors
    /// The denial.
    pub(crate) fn require_owner(&self, caller: &Caller, thing: &Securable) -> Result<(), Refusal> {
        if caller.admin || self.owns(caller, thing) || self.grants.allow(&caller.names, Privilege::Manage, thing) {
            return Ok(());
        }
        Err(Refusal::denied(format!("User does not have MANAGE on {thing}.")))
    }

    /// # Errors
    /// No metastore is assigned to the workspace.
    pub(crate) fn require_metastore(&self) -> Result<(), Refusal> {
        if self.setup.unity_catalog {
            return Ok(());
        }
        Err(Refusal::missing("METASTORE_DOES_NOT_EXIST", "No metastore assigned for the current workspace."))
    }

    /// Lets time pass for every warehouse.
    pub(crate) fn advance(&mut self, now: Instant) {
        let pace = self.knobs.pace();
        for warehouse in self.warehouses.values_mut() {
            warehouse.advance(now, &pace);
        }
    }
}

/// A new random id.
pub(crate) fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}
