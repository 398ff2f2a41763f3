//! The workspace as it stands when a test begins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::knobs::Knobs;

/// The service principal's application id in [`Setup::seeded`].
pub const CLIENT_ID: &str = "5b8a1b1e-6a0c-4f0a-9a39-2d6a5f6f7c11";
/// Its OAuth secret, made by Databricks.
pub const CLIENT_SECRET: &str = "dose0123456789abcdef0123456789abcdef";
/// Its secret in Microsoft Entra.
pub const ENTRA_SECRET: &str = "entra~0123456789.abcdefghijklmnopqrstuv";
/// A personal access token of it.
pub const TOKEN: &str = "dapi0123456789abcdef0123456789abcdef";
/// The name of the person who set everything up and may do everything.
pub const ADMIN: &str = "admin@example.com";
/// Their personal access token.
pub const ADMIN_TOKEN: &str = "dapifedcba9876543210fedcba9876543210";
/// The workspace's tenant in Microsoft Entra.
pub const TENANT: &str = "3f1d2c4b-5a69-4788-9b7a-6c5d4e3f2a1b";
/// The one catalog.
pub const CATALOG: &str = "segment";
/// The external location over the lake.
pub const LOCATION: &str = "segment_lake";
/// Its storage credential.
pub const CREDENTIAL: &str = "segment_storage";
/// The one warehouse.
pub const WAREHOUSE: &str = "dd43ee29fedd958d";

/// Somebody who can sign in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Principal {
    /// The application id of a service principal, the user name of a person.
    pub name: String,
    /// As a person reads it.
    pub display_name: String,
    /// OAuth secrets that Databricks made.
    pub secrets: Vec<String>,
    /// Secrets of the application in Microsoft Entra; none: no application there.
    pub entra_secrets: Vec<String>,
    /// Personal access tokens.
    pub tokens: Vec<String>,
    /// As `databricks-sql-access`.
    pub entitlements: Vec<String>,
    /// Groups, beside `account users` and `users`, where everybody is.
    pub groups: Vec<String>,
    /// Whether it was added to this workspace.
    pub in_workspace: bool,
    /// Whether nothing is refused to it.
    pub admin: bool,
}

/// A catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogSetup {
    /// Its name.
    pub name: String,
    /// `MANAGED_CATALOG`, `FOREIGN_CATALOG`, …
    #[serde(default = "managed_catalog")]
    pub kind: String,
    /// Where its managed tables go.
    #[serde(default)]
    pub storage_root: Option<String>,
    /// Bound to other workspaces only.
    #[serde(default)]
    pub isolated_elsewhere: bool,
}

fn managed_catalog() -> String {
    "MANAGED_CATALOG".to_owned()
}

/// An external location.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationSetup {
    /// Its name.
    pub name: String,
    /// What it covers.
    pub url: String,
    /// The storage credential.
    pub credential: String,
    /// Whether it may only be read.
    #[serde(default)]
    pub read_only: bool,
}

/// A warehouse, stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarehouseSetup {
    /// 16 lower-case hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who may do what: principal to `CAN_USE`, `CAN_MANAGE`, …
    #[serde(default)]
    pub permissions: BTreeMap<String, String>,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Principal or group.
    pub to: String,
    /// As `ALL PRIVILEGES`.
    pub privilege: String,
    /// As `catalog`, `external_location`.
    pub kind: String,
    /// The thing's full name.
    pub on: String,
}

/// The workspace as it stands at first. [`Setup::seeded`] is what a customer has who followed the set-up guide; the
/// methods take from it or add to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// How it behaves.
    pub knobs: Knobs,
    /// The port on loopback; 0: a free one.
    pub port: u16,
    /// `AZURE`, `AWS` or `GCP`.
    pub cloud: String,
    /// The workspace's number.
    pub workspace_id: String,
    /// The tenant in Microsoft Entra.
    pub tenant: String,
    /// As whom a managed identity of this machine signs in.
    pub managed_identity: Option<String>,
    /// Whether a metastore is assigned.
    pub unity_catalog: bool,
    /// Where the metastore keeps managed tables of catalogs that have no place of their own.
    pub metastore_root: Option<String>,
    /// Who can sign in.
    pub principals: Vec<Principal>,
    /// Catalogs.
    pub catalogs: Vec<CatalogSetup>,
    /// Schemas that the admin made: `catalog.schema`.
    pub schemas: Vec<String>,
    /// Names of storage credentials.
    pub credentials: Vec<String>,
    /// External locations.
    pub locations: Vec<LocationSetup>,
    /// Warehouses.
    pub warehouses: Vec<WarehouseSetup>,
    /// Grants.
    pub grants: Vec<Grant>,
    /// How the lake's store is reached, as `object_store` names it: `aws_endpoint`, `azure_storage_account_key`, …;
    /// `buckets_in`: the folder whose folders are the buckets of S3.
    /// Over what the environment says (`AWS_…`, `AZURE_…`). `buckets_in` names a folder whose folders are S3's buckets.
    pub storage: BTreeMap<String, String>,
}

impl Default for Setup {
    /// A workspace with Unity Catalog and its admin, and nothing else.
    fn default() -> Self {
        Self {
            knobs: Knobs::default(),
            port: 0,
            cloud: "AZURE".to_owned(),
            workspace_id: "900800700600".to_owned(),
            tenant: TENANT.to_owned(),
            managed_identity: None,
            unity_catalog: true,
            metastore_root: None,
            principals: vec![Principal {
                name: ADMIN.to_owned(),
                display_name: "Admin".to_owned(),
                tokens: vec![ADMIN_TOKEN.to_owned()],
                entitlements: entitlements(),
                groups: vec!["admins".to_owned()],
                in_workspace: true,
                admin: true,
                ..Principal::default()
            }],
            catalogs: Vec::new(),
            schemas: Vec::new(),
            credentials: Vec::new(),
            locations: Vec::new(),
            warehouses: Vec::new(),
            grants: Vec::new(),
            storage: BTreeMap::new(),
        }
    }
}

fn entitlements() -> Vec<String> {
    ["databricks-sql-access", "allow-cluster-create"].map(str::to_owned).to_vec()
}

impl Setup {
    /// A customer's workspace after the set-up guide: the catalog [`CATALOG`], a service principal with exactly the
    /// guide's rights, an external location over `lake` (`file:///…`, `s3://…`, `abfss://…`), a stopped warehouse that
    /// the principal may use.
    pub fn seeded(lake: &str) -> Self {
        let mut setup = Self::default();
        setup.principals.push(Principal {
            name: CLIENT_ID.to_owned(),
            display_name: "Segment Storage Destinations".to_owned(),
            secrets: vec![CLIENT_SECRET.to_owned()],
            entra_secrets: vec![ENTRA_SECRET.to_owned()],
            tokens: vec![TOKEN.to_owned()],
            entitlements: entitlements(),
            in_workspace: true,
            ..Principal::default()
        });
        setup.managed_identity = Some(CLIENT_ID.to_owned());
        setup.catalogs.push(CatalogSetup {
            name: CATALOG.to_owned(),
            kind: managed_catalog(),
            storage_root: None,
            isolated_elsewhere: false,
        });
        setup.credentials.push(CREDENTIAL.to_owned());
        setup.locations.push(LocationSetup {
            name: LOCATION.to_owned(),
            url: lake.to_owned(),
            credential: CREDENTIAL.to_owned(),
            read_only: false,
        });
        setup.warehouses.push(WarehouseSetup {
            id: WAREHOUSE.to_owned(),
            name: "starter".to_owned(),
            permissions: BTreeMap::from([(CLIENT_ID.to_owned(), "CAN_USE".to_owned())]),
        });
        let setup = setup.grant("ALL PRIVILEGES", "catalog", CATALOG);
        ["CREATE EXTERNAL TABLE", "READ FILES", "WRITE FILES"]
            .into_iter()
            .fold(setup, |setup, privilege| setup.grant(privilege, "storage_credential", CREDENTIAL))
    }

    /// Turns knobs.
    pub fn knobs(mut self, turn: impl FnOnce(&mut Knobs)) -> Self {
        turn(&mut self.knobs);
        self
    }

    /// How the lake's store is reached: see [`Setup::storage`].
    pub fn store(mut self, key: &str, value: &str) -> Self {
        self.storage.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Grants to [`CLIENT_ID`], as `("EXTERNAL USE SCHEMA", "catalog", CATALOG)`.
    pub fn grant(mut self, privilege: &str, kind: &str, on: &str) -> Self {
        self.grants.push(grant(privilege, kind, on));
        self
    }

    /// Leaves a grant to [`CLIENT_ID`] out.
    pub fn without_grant(mut self, privilege: &str, kind: &str, on: &str) -> Self {
        let gone = grant(privilege, kind, on);
        self.grants.retain(|grant| *grant != gone);
        self
    }

    /// Leaves an entitlement of [`CLIENT_ID`] out.
    pub fn without_entitlement(mut self, entitlement: &str) -> Self {
        self.client(|client| client.entitlements.retain(|one| one != entitlement));
        self
    }

    /// [`CLIENT_ID`] was never added to the workspace.
    pub fn not_in_workspace(mut self) -> Self {
        self.client(|client| client.in_workspace = false);
        self
    }

    /// [`CLIENT_ID`] was never created in the customer's tenant.
    pub fn not_in_tenant(mut self) -> Self {
        self.client(|client| client.entra_secrets.clear());
        self
    }

    /// No metastore is assigned.
    pub fn without_unity_catalog(mut self) -> Self {
        self.unity_catalog = false;
        self
    }

    /// There is no warehouse.
    pub fn without_warehouse(mut self) -> Self {
        self.warehouses.clear();
        self
    }

    /// [`CLIENT_ID`] may not use the warehouse.
    pub fn without_use_of_the_warehouse(mut self) -> Self {
        for warehouse in &mut self.warehouses {
            warehouse.permissions.remove(CLIENT_ID);
        }
        self
    }

    /// Where the catalog keeps its managed tables.
    pub fn managed_storage(mut self, url: &str) -> Self {
        for catalog in &mut self.catalogs {
            catalog.storage_root = Some(url.to_owned());
        }
        self
    }

    fn client(&mut self, change: impl FnOnce(&mut Principal)) {
        if let Some(client) = self.principals.iter_mut().find(|principal| principal.name == CLIENT_ID) {
            change(client);
        }
    }
}

pub(crate) fn grant(privilege: &str, kind: &str, on: &str) -> Grant {
    Grant { to: CLIENT_ID.to_owned(), privilege: privilege.to_owned(), kind: kind.to_owned(), on: on.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn a_setup_can_be_written_as_json_and_what_is_unknown_is_refused() {
        let seeded = Setup::seeded("s3://bucket/lake").store("aws_region", "eu-west-1");
        let text = serde_json::to_string(&seeded).unwrap();
        let read: Setup = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(serde_json::from_str::<Setup>(r#"{"catalogues": []}"#).is_err());
        assert!(State::new(seeded.grant("DO ANYTHING", "catalog", CATALOG)).is_err());
    }
}
