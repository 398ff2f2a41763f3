//! Azure storage without a workspace: the token of a principal or of a managed identity.

use std::fmt;
use std::sync::Arc;

use url::Url;

use super::Cloud;
use super::answer::Said;
use super::entra::{self, IdentityEndpoint, Principal, Resource};
use super::error::{Error, Failure, Subject, Way, Whom};
use super::http::{BACK_OFF, Http, shown};
use super::token::{self, Cache, Token};
use crate::clock::Deadline;
use crate::secret::Secret;

/// An identity of Microsoft Entra for Azure storage alone, without a workspace.
pub struct StorageIdentity {
    kind: Kind,
    whom: Arc<Whom>,
    http: Http,
    cache: Cache,
}

enum Kind {
    Principal { authority: String, tenant_id: String, client_id: String, client_secret: Secret },
    Managed { client_id: Option<String>, endpoint: IdentityEndpoint },
}

impl StorageIdentity {
    /// A service principal of the tenant that the storage account belongs to. `authority` is Entra's sign-in host;
    /// none: the public one.
    pub fn principal(tenant_id: &str, client_id: &str, client_secret: Secret, authority: Option<&Url>) -> Self {
        let authority = authority.map_or_else(|| entra::PUBLIC.to_owned(), shown);
        let whom = whom(&authority, Way::Entra, Some(client_id));
        let (tenant_id, client_id) = (tenant_id.to_owned(), client_id.to_owned());
        let kind = Kind::Principal { authority, tenant_id, client_id, client_secret };
        Self { kind, whom, http: Http::new(BACK_OFF), cache: Cache::default() }
    }

    /// The managed identity of the machine or function that we run on. `client_id` names a user-assigned one.
    pub fn managed(client_id: Option<&str>, endpoint: IdentityEndpoint) -> Self {
        let whom = whom("the identity endpoint", Way::ManagedIdentity, client_id);
        let kind = Kind::Managed { client_id: client_id.map(str::to_owned), endpoint };
        Self { kind, whom, http: Http::new(BACK_OFF), cache: Cache::default() }
    }

    /// The token for Azure storage; asked for once, and renewed before it expires.
    ///
    /// # Errors
    /// Entra, or the identity endpoint, cannot be reached or refuses.
    pub async fn token(&self, deadline: Deadline) -> Result<Token, Error> {
        let late = || Error::of(Failure::OutOfTime, Subject::StorageSignIn, &self.whom, Said::default());
        self.cache.token(deadline, late, || self.ask(deadline)).await
    }

    async fn ask(&self, deadline: Deadline) -> Result<Token, Error> {
        let (http, whom) = (&self.http, &self.whom);
        match &self.kind {
            Kind::Principal { authority, tenant_id, client_id, client_secret } => {
                let ask = |secret: Secret| async move {
                    let principal = Principal { tenant: tenant_id, client_id, client_secret: &secret };
                    entra::token(http, authority, principal, Resource::Storage, whom, deadline).await
                };
                token::ask_with(client_secret, deadline, ask).await
            }
            Kind::Managed { client_id, endpoint } => {
                entra::managed_token(http, endpoint, client_id.as_deref(), Resource::Storage, whom, deadline).await
            }
        }
    }
}

fn whom(host: &str, way: Way, client_id: Option<&str>) -> Arc<Whom> {
    Arc::new(Whom { host: host.to_owned(), cloud: Cloud::Azure, way, client_id: client_id.map(str::to_owned) })
}

impl fmt::Debug for StorageIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageIdentity({:?})", self.whom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databricks::testing::{CLIENT, SECRET, Server, reply, rotated, run, soon};

    const TENANT: &str = "7f5e0a3c-0000-4000-8000-000000000001";

    #[test]
    fn a_secret_that_was_changed_in_its_store_is_used() {
        let line = format!("POST /{TENANT}/oauth2/v2.0/token");
        let over = r#"{"error":"invalid_client","error_description":"AADSTS7000222: over","error_codes":[7000222]}"#;
        let answer = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"entra-1"}"#;
        let server = Server::start(vec![reply(&line, 401, over), reply(&line, 200, answer)]);
        let secret = run(rotated("dose-old", "dose-new"));
        let identity = StorageIdentity::principal(TENANT, CLIENT, secret, Some(&server.url));
        assert_eq!(run(identity.token(soon())).unwrap().secret.expose(), "entra-1");
        let bodies: Vec<bool> = server.seen().iter().map(|seen| seen.body.contains("dose-new")).collect();
        assert_eq!(bodies, [false, true]);
    }

    #[test]
    fn storage_alone_needs_no_workspace() {
        let answer = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"entra-1"}"#;
        let server = Server::start(vec![reply(&format!("POST /{TENANT}/oauth2/v2.0/token"), 200, answer)]);
        let identity = StorageIdentity::principal(TENANT, CLIENT, Secret::new(SECRET), Some(&server.url));
        for _ in 0..2 {
            let token = run(identity.token(soon())).unwrap();
            assert!(token.expires_at > crate::clock::now() + 3_000_000_000);
        }
        let body = format!(
            "grant_type=client_credentials&client_id={CLIENT}&client_secret=dose%2Bof%2Ftruth%3D&\
             scope=https%3A%2F%2Fstorage.azure.com%2F.default"
        );
        assert_eq!(server.seen()[0].body, body);
        assert!(!format!("{identity:?}").contains(SECRET));
    }

    #[test]
    fn a_machine_asks_its_metadata_service() {
        let query = "api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F";
        let line = format!("GET /metadata/identity/oauth2/token?{query}");
        let server = Server::start(vec![reply(&line, 200, r#"{"access_token":"mi-1","expires_in":"86399"}"#)]);
        let host = server.url.as_str().trim_end_matches('/').to_owned();
        let identity = StorageIdentity::managed(None, IdentityEndpoint::Machine(host));
        assert_eq!(run(identity.token(soon())).unwrap().secret.expose(), "mi-1");
        assert_eq!(server.seen()[0].header("metadata"), Some("true"));
    }
}
