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
use super::token::{self, Cache, Token};
use super::{Auth, Cloud, Connection};
use crate::clock::Deadline;
use crate::secret::Secret;

/// One identity in one workspace.
pub(super) struct Session {
    connection: Connection,
    identity_endpoint: IdentityEndpoint,
    whom: Arc<Whom>,
    http: Arc<Http>,
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
        let (api, storage, found) = (Cache::default(), Cache::default(), OnceCell::new());
        Self { connection, identity_endpoint, whom, http, api, storage, found }
    }

    /// Asks the workspace what it says of itself, before anybody signs in; nothing secret is sent.
    pub(super) async fn reach(&self, deadline: Deadline) -> Result<(), Error> {
        let find = || self.find_endpoint(Subject::Host, deadline);
        match &self.connection.auth {
            Auth::Databricks { .. } => self.found.get_or_try_init(find).await.map(drop),
            _ => find().await.map(drop),
        }
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

    /// The secret that tokens are asked for with.
    pub(super) fn client_secret(&self) -> Option<Secret> {
        match &self.connection.auth {
            Auth::Databricks { client_secret, .. } | Auth::Entra { client_secret, .. } => Some(client_secret.latest()),
            Auth::Token(_) | Auth::ManagedIdentity { .. } => None,
        }
    }

    /// The workspace's number, where it was given or found: hosts that serve several workspaces want it.
    pub(super) fn workspace_id(&self) -> Option<&str> {
        let found = || self.found.get().and_then(|found| found.workspace_id.as_deref());
        self.connection.workspace_id.as_deref().or_else(found)
    }

    fn late(&self, about: Subject) -> Error {
        Error::of(Failure::OutOfTime, about, &self.whom, Said::default())
    }

    async fn ask(&self, resource: Resource, deadline: Deadline) -> Result<Token, Error> {
        match &self.connection.auth {
            Auth::Databricks { client_id, client_secret } if resource == Resource::Databricks => {
                let ask = |secret| async move { self.ask_databricks(client_id, &secret, deadline).await };
                token::ask_with(client_secret, deadline, ask).await
            }
            Auth::Entra { tenant_id, client_id, client_secret } => {
                let tenant = match tenant_id {
                    Some(tenant) => tenant,
                    None => &self.found.get_or_try_init(|| self.find_tenant(deadline)).await?.place,
                };
                let authority = entra::authority(&self.connection);
                let ask = |secret: Secret| {
                    let authority = &authority;
                    async move {
                        let principal = entra::Principal { tenant, client_id, client_secret: &secret };
                        entra::token(&self.http, authority, principal, resource, &self.whom, deadline).await
                    }
                };
                token::ask_with(client_secret, deadline, ask).await
            }
            Auth::ManagedIdentity { client_id } => {
                let endpoint = &self.identity_endpoint;
                entra::managed_token(&self.http, endpoint, client_id.as_deref(), resource, &self.whom, deadline).await
            }
            Auth::Databricks { .. } | Auth::Token(_) => {
                let said = Said::of("this way to sign in has no tokens for Azure storage");
                Err(Error::of(Failure::Refused, Subject::StorageSignIn, &self.whom, said))
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
        let found = self.found.get_or_try_init(|| self.find_endpoint(Subject::SignIn, deadline)).await?;
        let request = Request::new(Method::POST, self.own_url(&found.place)?, Subject::SignIn, &self.whom)
            .form(&[("grant_type", "client_credentials"), ("scope", "all-apis")]);
        let request = self.http.basic(request, client_id, client_secret)?;
        let reply = self.http.send(&request, deadline).await?;
        Token::read(&request, &reply)
    }

    /// Where the workspace gives out tokens, and which workspace it is.
    async fn find_endpoint(&self, about: Subject, deadline: Deadline) -> Result<Found, Error> {
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
        let request = Request::get(url, about.clone(), &self.whom);
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
        let request = Request::get(url, about, &self.whom);
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
            Error::of(Failure::NotTrusted, Subject::SignIn, &self.whom, said)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::databricks::Workspace;
    use crate::databricks::testing::{
        CLIENT, PAT, SECRET, Seen, Server, Step, connection, oauth, pat, reply, rotated, run, soon, workspace,
    };
    use crate::fault::Fault;

    const CONFIG: &str = "GET /.well-known/databricks-config";
    const OIDC: &str = "GET /oidc/.well-known/oauth-authorization-server";
    const ME: &str = "GET /api/2.0/preview/scim/v2/Me";

    fn config() -> Step {
        reply(CONFIG, 200, r#"{"oidc_endpoint":"{host}/oidc","account_id":"a","workspace_id":"900800"}"#)
    }

    fn oidc() -> Step {
        reply(OIDC, 200, r#"{"token_endpoint":"{host}/oidc/v1/token","issuer":"{host}/oidc"}"#)
    }

    fn token(text: &str) -> Step {
        let body = format!(r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":3600}}"#);
        reply("POST /oidc/v1/token", 200, &body)
    }

    fn me() -> Step {
        reply(ME, 200, r#"{"id":"1","userName":"u"}"#)
    }

    fn refused() -> Step {
        reply(ME, 401, r#"{"error_code":401,"message":"Credential was not sent or was of an unsupported type."}"#)
    }

    #[test]
    fn oauth_finds_the_endpoint_and_sends_id_and_secret_once() {
        let server = Server::start(vec![config(), oidc(), token("jwt-1"), me(), me()]);
        let workspace = workspace(&server, oauth());
        run(async {
            workspace.me(soon()).await.unwrap();
            workspace.me(soon()).await.unwrap();
        });
        let seen = server.seen();
        let of = |seen: &Seen, name: &str| seen.header(name).map(str::to_owned);
        assert_eq!(seen[2].body, "grant_type=client_credentials&scope=all-apis");
        assert_eq!(of(&seen[2], "content-type").as_deref(), Some("application/x-www-form-urlencoded"));
        // base64 of `0a1b2c3d-1111-2222-3333-444455556666:dose+of/truth=`
        let basic = "Basic MGExYjJjM2QtMTExMS0yMjIyLTMzMzMtNDQ0NDU1NTU2NjY2OmRvc2Urb2YvdHJ1dGg9";
        assert_eq!(of(&seen[2], "authorization").as_deref(), Some(basic));
        assert_eq!([of(&seen[0], "authorization"), of(&seen[1], "authorization")], [None, None]);
        for call in &seen[3..] {
            assert_eq!(of(call, "authorization").as_deref(), Some("Bearer jwt-1"));
            assert_eq!(of(call, "x-databricks-workspace-id").as_deref(), Some("900800"), "as it was found");
        }
    }

    #[test]
    fn a_secret_that_was_changed_in_its_store_is_used_from_then_on() {
        let wrong = || reply("POST /oidc/v1/token", 401, r#"{"error":"invalid_client"}"#);
        let server = Server::start(vec![config(), oidc(), wrong(), token("jwt-1"), me(), wrong()]);
        let auth = |secret| Auth::Databricks { client_id: CLIENT.to_owned(), client_secret: secret };
        let changed = run(rotated("dose-old", "dose-new"));
        let first = workspace(&server, auth(changed.clone()));
        run(first.me(soon())).unwrap();
        let sent = |seen: &Seen| seen.header("authorization").unwrap().to_owned();
        let session = Session::new(
            connection(&server, auth(changed)),
            IdentityEndpoint::default(),
            Arc::new(Http::new(super::super::http::BACK_OFF)),
            Arc::new(whom(&connection(&server, oauth()))),
        );
        assert_eq!(session.client_secret().unwrap().expose(), "dose-new", "hidden in what is said");
        let found = Found { place: format!("{}oidc/v1/token", server.url), workspace_id: None };
        assert!(session.found.set(found).is_ok());
        assert!(run(session.token(soon())).is_err(), "the new one is wrong too, and was read a moment ago");
        let seen = server.seen();
        assert_ne!(sent(&seen[2]), sent(&seen[3]));
        assert_eq!(sent(&seen[3]), sent(&seen[5]));
    }

    #[test]
    fn a_workspace_without_a_configuration_page_is_found_by_the_usual_path() {
        let no_page = reply(CONFIG, 404, r#"{"error":"Bad Target: /.well-known/databricks-config"}"#);
        let server = Server::start(vec![no_page, oidc(), token("jwt-1"), me()]);
        run(workspace(&server, oauth()).me(soon())).unwrap();
        assert_eq!(server.seen()[3].header("x-databricks-workspace-id"), None);
    }

    #[test]
    fn the_account_stands_in_its_endpoint() {
        let config =
            reply(CONFIG, 200, r#"{"oidc_endpoint":"{host}/oidc/accounts/{account_id}","account_id":"acc-7"}"#);
        let oidc = r#"{"token_endpoint":"{host}/oidc/v1/token"}"#;
        let oidc = reply("GET /oidc/accounts/acc-7/.well-known/oauth-authorization-server", 200, oidc);
        let server = Server::start(vec![config, oidc, token("jwt-1"), me()]);
        run(workspace(&server, oauth()).me(soon())).unwrap();
        server.seen();
    }

    #[test]
    fn the_secret_goes_to_no_other_host() {
        for place in
            ["https://evil.example/token", "http://cloud.databricks.com.evil/", "https://u:p@{host}/x", "//x/y"]
        {
            let oidc = reply(OIDC, 200, &format!(r#"{{"token_endpoint":"{place}"}}"#));
            let server = Server::start(vec![config(), oidc]);
            let error = run(workspace(&server, oauth()).me(soon())).unwrap_err();
            server.seen();
            assert!(error.to_string().contains("not trusted"), "{error}");
        }
    }

    #[test]
    fn a_refused_token_is_asked_for_anew_once() {
        let server = Server::start(vec![config(), oidc(), token("old"), refused(), token("new"), me(), me()]);
        let workspace_here = workspace(&server, oauth());
        run(workspace_here.me(soon())).unwrap();
        run(workspace_here.me(soon())).unwrap();
        assert_eq!(server.seen()[5].header("authorization"), Some("Bearer new"));

        let invalid = reply(ME, 403, r#"{"error_code":403,"message":"Invalid access token."}"#);
        let server = Server::start(vec![config(), oidc(), token("old"), invalid, token("new"), refused()]);
        let error = run(workspace(&server, oauth()).me(soon())).unwrap_err();
        server.seen();
        assert_eq!(error.status(), Some(401));
    }

    #[test]
    fn a_personal_token_is_sent_as_it_is_and_not_twice() {
        let server = Server::start(vec![refused()]);
        let error = run(workspace(&server, pat()).me(soon())).unwrap_err();
        assert_eq!(server.seen()[0].header("authorization"), Some(format!("Bearer {PAT}").as_str()));
        assert_eq!(error.status(), Some(401));
    }

    #[test]
    fn twenty_calls_at_once_sign_in_once() {
        let mut steps = vec![config(), oidc(), token("jwt-1")];
        steps.extend((0..20).map(|_| me()));
        let server = Server::start(steps);
        let workspace = workspace(&server, oauth());
        let calls = (0..20).map(|_| workspace.me(soon()));
        assert!(run(futures::future::join_all(calls)).iter().all(Result::is_ok));
        server.seen();
    }

    #[test]
    fn a_given_workspace_id_is_sent() {
        let server = Server::start(vec![me()]);
        let given = Connection { workspace_id: Some("42".to_owned()), ..connection(&server, pat()) };
        run(Workspace::new(given).unwrap().me(soon())).unwrap();
        assert_eq!(server.seen()[0].header("x-databricks-workspace-id"), Some("42"));
    }

    #[test]
    fn an_error_that_echoes_the_secret_is_masked() {
        let basic = "MGExYjJjM2QtMTExMS0yMjIyLTMzMzMtNDQ0NDU1NTU2NjY2OmRvc2Urb2YvdHJ1dGg9";
        let echo = format!("{CLIENT}:{SECRET} and {basic}");
        let echo = serde_json::json!({ "error": "invalid_client", "error_description": echo }).to_string();
        let server = Server::start(vec![config(), oidc(), reply("POST /oidc/v1/token", 401, &echo)]);
        let error = run(workspace(&server, oauth()).me(soon())).unwrap_err();
        assert_eq!(error.message(), format!("{CLIENT}:*** and ***"));
        let fault = Fault::from(error);
        assert!(!format!("{fault:?} {}", fault.chain()).contains(SECRET));
    }

    #[test]
    fn nothing_of_a_connection_shows_its_secrets() {
        let server = Server::start(vec![]);
        let mut planted = connection(&server, oauth());
        planted.url = Url::parse("https://ann:planted@adb-1.2.azuredatabricks.net/x?token=planted#planted").unwrap();
        planted.entra_authority = Some(Url::parse("https://planted@login.microsoftonline.com/planted").unwrap());
        let debug = format!("{planted:?} {:?}", Workspace::new(planted.clone()).unwrap());
        assert!(!debug.contains("planted") && !debug.contains(SECRET), "{debug}");
        assert!(debug.contains("https://adb-1.2.azuredatabricks.net"), "{debug}");
    }

    #[test]
    fn secrets_are_sent_over_tls_or_on_this_machine() {
        let server = Server::start(vec![]);
        for (url, fine) in [
            ("http://adb-1.2.azuredatabricks.net/", false),
            ("ftp://127.0.0.1/", false),
            ("http://127.0.0.1:8080/", true),
            ("http://[::1]/", true),
            ("http://localhost/", true),
            ("https://dbc-1.cloud.databricks.com/", true),
        ] {
            let other = Connection { url: Url::parse(url).unwrap(), ..connection(&server, pat()) };
            assert_eq!(Workspace::new(other).is_ok(), fine, "{url}");
        }
    }

    #[test]
    fn a_caller_out_of_time_is_told_so() {
        let server = Server::start(vec![]);
        let error = run(workspace(&server, oauth()).me(Deadline::after(Duration::ZERO))).unwrap_err();
        assert!(error.is_out_of_time());
        server.seen();
    }
}
