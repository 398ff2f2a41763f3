//! As whom the lake's store is read and written.

use super::auth;
use super::given::Given;
use crate::databricks::Auth;
use crate::secret::Secret;

/// The credentials of the lake's store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StorageAccess {
    /// What the place that we run in gives: a role, a profile, the store's own variables.
    #[default]
    Ambient,
    /// A service principal of Microsoft Entra, of the lake's tenant or let in by it.
    Principal {
        /// The tenant of the storage account; none: the one that the workspace trusts.
        tenant_id: Option<String>,
        /// The application id.
        client_id: String,
        /// The secret's value.
        client_secret: Secret,
    },
    /// The managed identity of the Azure machine or function that we run on.
    ManagedIdentity {
        /// Of a user-assigned identity; none: the system's.
        client_id: Option<String>,
    },
    /// Short-lived credentials that Unity Catalog gives for the lake's path.
    Vended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Ambient,
    Principal,
    ManagedIdentity,
    Vended,
}

impl Method {
    const WORDS: [(&'static str, Self); 4] = [
        ("ambient", Self::Ambient),
        ("principal", Self::Principal),
        ("managed_identity", Self::ManagedIdentity),
        ("vended", Self::Vended),
    ];

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Principal => &["client_id", "client_secret", "tenant_id"],
            Self::ManagedIdentity => &["client_id"],
            Self::Ambient | Self::Vended => &[],
        }
    }
}

/// Whether a lake lies in Azure.
fn is_azure(lake: &str) -> bool {
    ["abfss", "abfs", "az", "azure", "adl"].contains(&scheme(lake).as_str())
}

/// Whether a lake lies on S3.
pub(super) fn is_s3(lake: &str) -> bool {
    ["s3", "s3a"].contains(&scheme(lake).as_str())
}

fn scheme(lake: &str) -> String {
    lake.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default()
}

/// Reads `[storage]`. Left out, a lake in Azure is written as the principal that signs in at the workspace.
pub(super) fn access(given: &mut Given<'_>, lake: Option<&str>, workspace: Option<&Auth>) -> StorageAccess {
    let on_azure = lake.is_none_or(is_azure);
    let chosen = given.choice("storage.method", &Method::WORDS);
    let method = match chosen {
        Some(method) => method,
        None if given.has("storage.method") => return StorageAccess::Ambient,
        None if given.has_table("storage") => Method::Principal,
        None => return inherited(lake, workspace),
    };
    for name in ["client_id", "client_secret", "tenant_id"] {
        let key = format!("storage.{name}");
        if given.has(&key) && !method.keys().contains(&name) {
            given.wrong(&key, "does not go with `storage.method`", "remove it, or choose another storage.method");
        }
    }
    if !on_azure && matches!(method, Method::Principal | Method::ManagedIdentity) {
        let key = if given.has("storage.method") { "storage.method" } else { "storage.client_id" };
        let what = "asks for a sign-in with Microsoft Entra, and the lake is not in Azure";
        given.wrong(key, what, "storage.method = \"ambient\" or \"vended\"");
        return StorageAccess::Ambient;
    }
    match method {
        Method::Ambient => StorageAccess::Ambient,
        Method::ManagedIdentity => StorageAccess::ManagedIdentity { client_id: given.text("storage.client_id") },
        Method::Vended => {
            if !given.has("workspace_url") {
                given.missing("workspace_url", "credentials are vended by the workspace's catalog", "give it");
            }
            StorageAccess::Vended
        }
        Method::Principal => {
            let tenant_id = auth::tenant(given, "storage.tenant_id");
            if !given.has("storage.tenant_id") && !given.has("workspace_url") {
                given.missing("storage.tenant_id", "without a workspace nothing tells the tenant", "give its GUID");
            }
            match auth::principal(given, "storage") {
                Some((client_id, client_secret)) => StorageAccess::Principal { tenant_id, client_id, client_secret },
                None => StorageAccess::Ambient,
            }
        }
    }
}

fn inherited(lake: Option<&str>, workspace: Option<&Auth>) -> StorageAccess {
    match (lake.is_some_and(is_azure), workspace) {
        (true, Some(Auth::Entra { tenant_id, client_id, client_secret })) => StorageAccess::Principal {
            tenant_id: tenant_id.clone(),
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
        },
        (true, Some(Auth::ManagedIdentity { client_id })) => {
            StorageAccess::ManagedIdentity { client_id: client_id.clone() }
        }
        _ => StorageAccess::Ambient,
    }
}
