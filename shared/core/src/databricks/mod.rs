//! A Databricks workspace: one address, one way to sign in, one client.

use url::Url;

use crate::secret::Secret;

/// The cloud that a workspace's host name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// `*.cloud.databricks.com`, `*.cloud.databricks.us`.
    Aws,
    /// `*.azuredatabricks.net`, `*.databricks.azure.us`, `*.databricks.azure.cn`.
    Azure,
    /// `*.gcp.databricks.com`.
    Gcp,
    /// A host that the settings allow by name.
    Other,
}

/// Which workspace, and as whom.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `https://host/` or `https://host:port/`, nothing behind it; plain http only on loopback.
    pub url: Url,
    /// Whose host it is.
    pub cloud: Cloud,
    /// The number behind `?o=`, where it was given: hosts that serve several workspaces want it in a header.
    pub workspace_id: Option<String>,
    /// As whom.
    pub auth: Auth,
    /// Microsoft Entra's sign-in host; none: the public one, or the one of the workspace's sovereign cloud.
    pub entra_authority: Option<Url>,
}

/// How we sign in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// OAuth M2M: a service principal with a secret that Databricks made.
    Databricks {
        /// The principal's application id.
        client_id: String,
        /// The OAuth secret.
        client_secret: Secret,
    },
    /// A service principal of Microsoft Entra.
    Entra {
        /// The customer's tenant; none: asked of the workspace.
        tenant_id: Option<String>,
        /// The application id.
        client_id: String,
        /// The secret's value.
        client_secret: Secret,
    },
    /// A personal access token.
    Token(Secret),
    /// The managed identity of the Azure machine or function that we run on.
    ManagedIdentity {
        /// Of a user-assigned identity; none: the system's.
        client_id: Option<String>,
    },
}
