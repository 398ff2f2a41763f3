//! The steps of the two published set-up guides, by number and name: where a person finds what a step of ours misses.

use serde::Serialize;

use crate::databricks::Cloud;
use crate::settings::{Settings, Tables};

/// A published set-up guide for Databricks Delta Lake destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guide {
    /// The one for Azure.
    Azure,
    /// The general one, for AWS and others.
    General,
}

/// A step of a guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SetupStep {
    /// Its number; none: it stands among the prerequisites.
    pub number: Option<u8>,
    /// Its name, as the guide writes it.
    pub name: &'static str,
    /// What the vendor writes about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<&'static str>,
}

/// What a set-up guide sees to, as far as a connection test can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    UnityCatalog,
    WorkspaceUrl,
    /// The principal and its secret.
    Principal,
    /// The principal is one of the workspace's.
    Workspace,
    Entitlements,
    Catalog,
    WarehouseDetails,
    WarehouseSize,
    Container,
    ExternalLocation,
    Settings,
}

impl Topic {
    /// What sees to it for these tables: storage of managed ones is the catalog's.
    pub(super) fn of(self, tables: Option<Tables>) -> Self {
        match (self, tables) {
            (Self::Container | Self::ExternalLocation, Some(Tables::Managed)) => Self::Catalog,
            _ => self,
        }
    }
}

impl Guide {
    /// The guide that a set-up follows: that of the workspace's cloud, else of the lake's.
    pub(super) fn of(settings: Option<&Settings>) -> Self {
        let cloud = settings.and_then(|settings| settings.destination.as_ref()).map(|one| one.connection.cloud);
        let on_s3 = settings.and_then(|settings| settings.lake.as_deref()).is_some_and(|lake| lake.starts_with("s3"));
        match cloud {
            Some(Cloud::Azure) => Self::Azure,
            Some(Cloud::Aws | Cloud::Gcp) => Self::General,
            Some(Cloud::Other) | None if on_s3 => Self::General,
            Some(Cloud::Other) | None => Self::Azure,
        }
    }

    /// The step that sees to a topic; none: this guide does not.
    pub(super) fn step(self, topic: Topic) -> Option<SetupStep> {
        let (number, name) = match self {
            Self::Azure => azure(topic),
            Self::General => general(topic)?,
        };
        Some(SetupStep { number: (number > 0).then_some(number), name, url: self.url(topic) })
    }

    /// The vendor's own guide for a topic.
    fn url(self, topic: Topic) -> Option<&'static str> {
        Some(match (self, topic) {
            (_, Topic::Settings) => return None,
            (_, Topic::Container) => {
                "https://learn.microsoft.com/en-us/azure/storage/blobs/assign-azure-role-data-access"
            }
            (Self::Azure, Topic::UnityCatalog) => {
                "https://learn.microsoft.com/en-us/azure/databricks/data-governance/unity-catalog/enable-workspaces"
            }
            (Self::Azure, Topic::WorkspaceUrl) => {
                "https://learn.microsoft.com/en-us/azure/databricks/workspace/workspace-details"
            }
            (Self::Azure, Topic::Principal) => {
                "https://learn.microsoft.com/en-us/azure/databricks/dev-tools/auth/oauth-m2m"
            }
            (Self::Azure, Topic::Workspace) => {
                "https://learn.microsoft.com/en-us/azure/databricks/administration-guide/users-groups/\
                 service-principals#assign-a-service-principal-to-a-workspace-using-the-account-console"
            }
            (Self::Azure, Topic::Entitlements) => {
                "https://learn.microsoft.com/en-us/azure/databricks/administration-guide/users-groups/\
                 service-principals#--manage-workspace-entitlements-for-a-service-principal"
            }
            (Self::Azure, Topic::WarehouseDetails | Topic::WarehouseSize) => {
                "https://learn.microsoft.com/en-us/azure/databricks/compute/sql-warehouse/create"
            }
            (Self::Azure, Topic::ExternalLocation) => {
                "https://learn.microsoft.com/en-us/azure/databricks/data-governance/unity-catalog/\
                 manage-external-locations-and-credentials"
            }
            (Self::Azure, Topic::Catalog) => {
                "https://learn.microsoft.com/en-us/azure/databricks/data-governance/unity-catalog/create-catalogs"
            }
            (Self::General, Topic::UnityCatalog) => {
                "https://docs.databricks.com/en/data-governance/unity-catalog/enable-workspaces.html"
            }
            (Self::General, Topic::WorkspaceUrl) => "https://docs.databricks.com/en/workspace/workspace-details.html",
            (Self::General, Topic::Principal) => "https://docs.databricks.com/en/dev-tools/auth/oauth-m2m.html",
            (Self::General, Topic::Workspace | Topic::Entitlements) => {
                "https://docs.databricks.com/en/administration-guide/users-groups/service-principals.html"
            }
            (Self::General, Topic::WarehouseDetails | Topic::WarehouseSize) => {
                "https://docs.databricks.com/en/compute/sql-warehouse/create.html"
            }
            (Self::General, Topic::ExternalLocation) => {
                "https://docs.databricks.com/en/connect/unity-catalog/external-locations.html"
            }
            (Self::General, Topic::Catalog) => {
                "https://docs.databricks.com/en/data-governance/unity-catalog/create-catalogs.html"
            }
        })
    }
}

fn azure(topic: Topic) -> (u8, &'static str) {
    match topic {
        Topic::UnityCatalog => (0, "Your Databricks workspace must be Unity Catalog enabled"),
        Topic::WorkspaceUrl => (1, "Find your Databricks Workspace URL"),
        Topic::Principal => {
            (2, "Add the Segment Storage Destinations service principal to your Entra ID (Active Directory)")
        }
        Topic::Container => (3, "Update or create an ADLS Gen2 storage container"),
        Topic::Workspace => (4, "Add the Segment Storage Destinations service principal to the account/workspace"),
        Topic::Entitlements | Topic::WarehouseDetails | Topic::WarehouseSize => {
            (5, "Enable entitlements for the service principal on the workspace")
        }
        Topic::ExternalLocation => (6, "Create an external location and storage credentials"),
        Topic::Catalog => (7, "Create a new catalog in Unity Catalog and grant Segment permissions"),
        Topic::Settings => (8, "Setup the Databricks Delta Lake destination in Segment"),
    }
}

fn general(topic: Topic) -> Option<(u8, &'static str)> {
    Some(match topic {
        Topic::UnityCatalog => (0, "The target Databricks workspace must be Unity Catalog enabled"),
        Topic::WarehouseSize => (0, "Warehouse size"),
        Topic::Settings => (1, "Name your destination"),
        Topic::WorkspaceUrl => (2, "Enter the Databricks compute resources URL"),
        Topic::Catalog => (3, "Enter a Unity catalog name"),
        Topic::WarehouseDetails => (4, "Add the SQL warehouse details from your Databricks warehouse"),
        Topic::Principal | Topic::Workspace | Topic::Entitlements => {
            (5, "Add the Principal service client ID and Client secret")
        }
        // Its tables are Unity Catalog's own.
        Topic::Container | Topic::ExternalLocation => return None,
    })
}
