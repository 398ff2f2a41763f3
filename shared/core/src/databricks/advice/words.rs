//! How sentences and statements name things: objects, privileges, us.

use crate::databricks::error::{Denied, Subject, Way, Whom};

pub(super) fn denied_on(privilege: &str, securable: &str, name: &str) -> Denied {
    Denied { privilege: privilege.to_owned(), securable: securable.to_owned(), name: name.to_owned() }
}

impl Denied {
    /// The statement that grants it.
    pub(in crate::databricks) fn grant(&self, whom: &Whom) -> String {
        let Self { privilege, securable, name } = self;
        let quoted: Vec<String> = name.split('.').map(quoted).collect();
        format!("GRANT {privilege} ON {securable} {} TO {}", quoted.join("."), whom.grantee())
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Whom {
    /// As SQL names us.
    pub(super) fn grantee(&self) -> String {
        self.client_id.as_deref().map_or_else(|| "`<principal>`".to_owned(), quoted)
    }

    /// As a sentence names us.
    pub(super) fn principal(&self) -> String {
        match &self.client_id {
            Some(client_id) => format!("`{client_id}`"),
            None if self.way == Way::ManagedIdentity => "the managed identity".to_owned(),
            None => "the owner of this token".to_owned(),
        }
    }
}

impl Subject {
    /// As a sentence names it.
    pub(super) fn what(&self) -> String {
        match self {
            Self::Host => "finding the workspace".to_owned(),
            Self::SignIn => "signing in".to_owned(),
            Self::StorageSignIn => "signing in to Azure storage".to_owned(),
            Self::Tenant => "finding the workspace's tenant".to_owned(),
            Self::Workspace => "the workspace".to_owned(),
            Self::Metastore => "Unity Catalog".to_owned(),
            Self::Catalog(name) => format!("catalog `{name}`"),
            Self::NewSchema(name) => format!("making schema `{name}`"),
            Self::Schema(name) => format!("schema `{name}`"),
            Self::Table(name) => format!("table `{name}`"),
            Self::Volume(name) => format!("volume `{name}`"),
            Self::TableCredentials(id) => format!("credentials for the table with id `{id}`"),
            Self::PathCredentials(url) => format!("credentials for `{url}`"),
            Self::Warehouse(id) => format!("warehouse `{id}`"),
            Self::NewWarehouse(name) => format!("making warehouse `{name}`"),
            Self::Statement(_, head) => format!("the statement `{head}`"),
        }
    }

    pub(super) fn warehouse(&self) -> String {
        match self {
            Self::Warehouse(id) | Self::Statement(id, _) => format!("`{id}`"),
            _ => String::new(),
        }
    }

    /// What is needed for it, when no message says so.
    pub(super) fn privilege(&self) -> Option<Denied> {
        match self {
            Self::Catalog(name) => Some(denied_on("USE CATALOG", "CATALOG", name)),
            Self::NewSchema(name) => name.split('.').next().map(|name| denied_on("CREATE SCHEMA", "CATALOG", name)),
            Self::Schema(name) => Some(denied_on("USE SCHEMA", "SCHEMA", name)),
            Self::Table(name) => Some(denied_on("SELECT", "TABLE", name)),
            Self::Volume(name) => Some(denied_on("READ VOLUME, WRITE VOLUME", "VOLUME", name)),
            _ => None,
        }
    }
}
