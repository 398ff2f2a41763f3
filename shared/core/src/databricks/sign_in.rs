//! Signing in to a workspace: which token its calls carry, and where it comes from.

use std::sync::Arc;

use reqwest::Method;
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use super::answer::{self, Said};
use super::entra::{self, IdentityEndpoint, Resource};
use super::error::{Error, Failure, Subject, Way, Whom};
use super::http::{Http, Request, shown};
use super::token::{Cache, Token};
use super::{Auth, Cloud, Connection};
use crate::clock::Deadline;
use crate::secret::Secret;

/// One identity in one workspace.
pub(super) struct Session {
    connection: Connection,
    identity_endpoint: IdentityEndpoint,
    whom: Arc<Whom>,
    http: Arc<Http>,
    /// Identity endpoints are on this machine: no proxy.
    here: Http,
    api: Cache,
    storage: Cache,
    /// Found once, at the first token.
    found: OnceCell<Found>,
}

/// What a workspace says of itself.
struct Found {
    /// Where tokens come from (Databricks), or the tenant's id (Entra).
    place: String,
    workspace_id: Option<String>,
}

impl Session {
    pub(super) fn new(
        connection: Connection,
        identity_endpoint: IdentityEndpoint,
        http: Arc<Http>,
        whom: Arc<Whom>,
    ) -> Self {
        let (here, api, storage, found) = (Http::direct(), Cache::default(), Cache::default(), OnceCell::new());
        Self { connection, identity_endpoint, whom, http, here, api, storage, found }
    }

    /// The token for the workspace's API.
    pub(super) async fn token(&self, deadline: Deadline) -> Result<Secret, Error> {
        if let Auth::Token(token) = &self.connection.auth {
            return Ok(token.clone());
        }
        let late = || self.late(Subject::SignIn);
        let token = self.api.token(deadline, late, || self.ask(Resource::Databricks, deadline)).await?;
        Ok(token.secret)
    }

    /// A token of the same identity for Azure storage; only Entra's identities have one.
    pub(super) async fn storage_token(&self, deadline: Deadline) -> Result<Token, Error> {
        let late = || self.late(Subject::StorageSignIn);
        self.storage.token(deadline, late, || self.ask(Resource::Storage, deadline)).await
    }

    /// Drops a token that the workspace refused; says whether another can be had.
    pub(super) async fn forget(&self, refused: &Secret, deadline: Deadline) -> bool {
        self.api.forget(refused, deadline).await;
        !matches!(self.connection.auth, Auth::Token(_))
    }

    /// The workspace's number, where it was given or found: hosts that serve several workspaces want it.
    pub(super) fn workspace_id(&self) -> Option<&str> {
        let found = || self.found.get().and_then(|found| found.workspace_id.as_deref());
        self.connection.workspace_id.as_deref().or_else(found)
    }

    fn late(&self, about: Subject) -> Error {
        Error::unsent(Failure::OutOfTime, about, &self.whom, Said::default())
    }

    async fn ask(&self, resource: Resource, deadline: Deadline) -> Result<Token, Error> {
        match &self.connection.auth {
            Auth::Databricks { client_id, client_secret } if resource == Resource::Databricks => {
                self.ask_databricks(client_id, client_secret, deadline).await
            }
            Auth::Entra { tenant_id, client_id, client_secret } => {
                let tenant = match tenant_id {
                    Some(tenant) => tenant,
                    None => &self.found.get_or_try_init(|| self.find_tenant(deadline)).await?.place,
                };
                let authority = entra::authority(&self.connection);
                let principal = entra::Principal { tenant, client_id, client_secret };
                entra::token(&self.http, &authority, principal, resource, &self.whom, deadline).await
            }
            Auth::ManagedIdentity { client_id } => {
                let endpoint = &self.identity_endpoint;
                entra::managed_token(&self.here, endpoint, client_id.as_deref(), resource, &self.whom, deadline).await
            }
            Auth::Databricks { .. } | Auth::Token(_) => {
                let said = Said::of("this way to sign in has no tokens for Azure storage");
                Err(Error::unsent(Failure::Refused, Subject::StorageSignIn, &self.whom, said))
            }
        }
    }

    async fn find_tenant(&self, deadline: Deadline) -> Result<Found, Error> {
        let place = entra::tenant(&self.http, &self.connection.url, &self.whom, deadline).await?;
        Ok(Found { place, workspace_id: None })
    }

    /// OAuth M2M: the client credentials grant, at the endpoint that the workspace names.
    async fn ask_databricks(
        &self,
        client_id: &str,
        client_secret: &Secret,
        deadline: Deadline,
    ) -> Result<Token, Error> {
        let found = self.found.get_or_try_init(|| self.find_endpoint(deadline)).await?;
        let request = Request::new(Method::POST, self.own_url(&found.place)?, Subject::SignIn, &self.whom)
            .form(&[("grant_type", "client_credentials"), ("scope", "all-apis")]);
        let request = self.http.basic(request, client_id, client_secret)?;
        let reply = self.http.send(&request, deadline).await?;
        Token::read(&request, &reply)
    }

    /// Where the workspace gives out tokens, and which workspace it is.
    async fn find_endpoint(&self, deadline: Deadline) -> Result<Found, Error> {
        #[derive(Default, Deserialize)]
        struct Config {
            oidc_endpoint: Option<String>,
            account_id: Option<String>,
            workspace_id: Option<String>,
        }
        #[derive(Deserialize)]
        struct Oidc {
            token_endpoint: String,
        }
        let mut url = self.connection.url.clone();
        url.set_path("/.well-known/databricks-config");
        let request = Request::get(url, Subject::SignIn, &self.whom);
        // Older workspaces have no such page, and none needs it; but a host that cannot be reached says so here.
        let config: Config = match self.http.send(&request, deadline).await {
            Ok(reply) => answer::read(&request, &reply).unwrap_or_default(),
            Err(error) => return Err(error),
        };
        let oidc = match (config.oidc_endpoint, config.account_id) {
            (Some(endpoint), Some(account)) => endpoint.replace("{account_id}", &account),
            (Some(endpoint), None) if !endpoint.contains('{') => endpoint,
            _ => format!("{}/oidc", shown(&self.connection.url)),
        };
        let url = self.own_url(&format!("{}/.well-known/oauth-authorization-server", oidc.trim_end_matches('/')))?;
        let request = Request::get(url, Subject::SignIn, &self.whom);
        let reply = self.http.send(&request, deadline).await?;
        let oidc: Oidc = answer::read(&request, &reply)?;
        self.own_url(&oidc.token_endpoint)?;
        Ok(Found { place: oidc.token_endpoint, workspace_id: config.workspace_id.filter(|id| !id.is_empty()) })
    }

    /// An address that the workspace named: the secret goes only to the workspace itself or to a host of Databricks.
    fn own_url(&self, named: &str) -> Result<Url, Error> {
        let base = &self.connection.url;
        let own = |url: &Url| {
            let databricks = url.scheme() == "https" && Cloud::of(url.host_str().unwrap_or_default()) != Cloud::Other;
            let user_info = !url.username().is_empty() || url.password().is_some();
            (url.origin() == base.origin() || databricks) && !user_info
        };
        base.join(named).ok().filter(own).ok_or_else(|| {
            let said = Said::of("the workspace names a token endpoint on a host that is not Databricks'");
            Error::unsent(Failure::NotTrusted, Subject::SignIn, &self.whom, said)
        })
    }
}

/// Who asks, for errors.
pub(super) fn whom(connection: &Connection) -> Whom {
    let (way, client_id) = match &connection.auth {
        Auth::Databricks { client_id, .. } => (Way::Databricks, Some(client_id)),
        Auth::Entra { client_id, .. } => (Way::Entra, Some(client_id)),
        Auth::Token(_) => (Way::Token, None),
        Auth::ManagedIdentity { client_id } => (Way::ManagedIdentity, client_id.as_ref()),
    };
    Whom { host: shown(&connection.url), cloud: connection.cloud, way, client_id: client_id.cloned() }
}
