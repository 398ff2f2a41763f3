//! Which workspace, and as whom: what the settings say.

use std::fmt;

use url::{Host, Url};

use super::http::shown;
use crate::fault::Fault;
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

/// Endings of workspace hosts: `azuredatabricks.net` of the Azure clouds, `databricks.com` of AWS and Google.
pub(crate) const HOST_SUFFIXES: [(&str, Cloud); 6] = [
    (".gcp.databricks.com", Cloud::Gcp),
    (".cloud.databricks.com", Cloud::Aws),
    (".cloud.databricks.us", Cloud::Aws),
    (".azuredatabricks.net", Cloud::Azure),
    (".databricks.azure.us", Cloud::Azure),
    (".databricks.azure.cn", Cloud::Azure),
];

impl Cloud {
    /// Whose host this is.
    pub fn of(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        HOST_SUFFIXES.iter().find(|(suffix, _)| host.ends_with(suffix)).map_or(Self::Other, |(_, cloud)| *cloud)
    }
}

/// Which workspace, and as whom.
#[derive(Clone)]
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

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of a URL but its host: people paste them with whatever stands in front and behind.
        let Self { url, cloud, workspace_id, auth, entra_authority } = self;
        f.debug_struct("Connection")
            .field("url", &shown(url))
            .field("cloud", cloud)
            .field("workspace_id", workspace_id)
            .field("auth", auth)
            .field("entra_authority", &entra_authority.as_ref().map(shown))
            .finish()
    }
}

/// Cuts a URL down to its host. Secrets go over TLS, or stay on this machine.
pub(super) fn trusted(url: &mut Url, what: &str) -> Result<(), Fault> {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let cut = url.set_username("").and(url.set_password(None));
    if cut.is_err() || !(url.scheme() == "https" || url.scheme() == "http" && loopback) {
        return Err(Fault::setup(format!("{what} is `{}`: secrets are sent over https only", shown(url)))
            .hint("write it as https://<host>"));
    }
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    Ok(())
}
