//! Microsoft Entra: tokens for principals and managed identities, and which tenant a workspace trusts.

use std::sync::Arc;

use reqwest::Method;
use url::Url;

use super::Connection;
use super::answer::{self, Said};
use super::error::{Error, Failure, Subject, Whom};
use super::http::{Http, Request, shown};
use super::token::Token;
use crate::clock::Deadline;
use crate::secret::Secret;

/// Azure Databricks as a resource: the same id in every tenant and cloud.
const DATABRICKS: &str = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d";
const STORAGE: &str = "https://storage.azure.com";
/// The sign-in host of the public cloud.
pub(super) const PUBLIC: &str = "https://login.microsoftonline.com";

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Databricks,
    Storage,
}

impl Resource {
    fn subject(self) -> Subject {
        match self {
            Self::Databricks => Subject::SignIn,
            Self::Storage => Subject::StorageSignIn,
        }
    }

    /// As the v2 endpoint wants it: everything that the principal was granted.
    fn scope(self) -> String {
        match self {
            Self::Databricks => format!("{DATABRICKS}/.default"),
            Self::Storage => format!("{STORAGE}/.default"),
        }
    }

    /// As identity endpoints want it.
    fn name(self) -> &'static str {
        match self {
            Self::Databricks => DATABRICKS,
            Self::Storage => "https://storage.azure.com/",
        }
    }
}

/// Where a managed identity's tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityEndpoint {
    /// The metadata service of an Azure machine: scheme and host.
    Machine(String),
    /// A function's own.
    Function {
        /// The value of `IDENTITY_ENDPOINT`.
        url: String,
        /// The value of `IDENTITY_HEADER`.
        header: Secret,
    },
}

impl Default for IdentityEndpoint {
    fn default() -> Self {
        Self::Machine("http://169.254.169.254".to_owned())
    }
}

/// A service principal with its secret.
#[derive(Clone, Copy)]
pub(super) struct Principal<'a> {
    pub(super) tenant: &'a str,
    pub(super) client_id: &'a str,
    pub(super) client_secret: &'a Secret,
}

/// The sign-in host for a workspace: the one that the settings name, or that of the workspace's own cloud.
pub(super) fn authority(connection: &Connection) -> String {
    let host = connection.url.host_str().unwrap_or_default();
    match &connection.entra_authority {
        Some(url) => shown(url),
        None if host.ends_with(".azure.us") => "https://login.microsoftonline.us".to_owned(),
        None if host.ends_with(".azure.cn") => "https://login.chinacloudapi.cn".to_owned(),
        None => PUBLIC.to_owned(),
    }
}

/// A token for a service principal: the client credentials grant of the v2 endpoint.
pub(super) async fn token(
    http: &Http,
    authority: &str,
    principal: Principal<'_>,
    resource: Resource,
    whom: &Arc<Whom>,
    deadline: Deadline,
) -> Result<Token, Error> {
    let Principal { tenant, client_id, client_secret } = principal;
    if !is_tenant(tenant) {
        let said = Said { code: Some("AADSTS900023".to_owned()), ..Said::of("the tenant id is malformed") };
        return Err(Error::of(Failure::Refused, resource.subject(), whom, said));
    }
    let url = address(&format!("{authority}/{tenant}/oauth2/v2.0/token"), resource.subject(), whom)?;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("client_secret", client_secret.expose()),
        ("scope", &resource.scope()),
    ];
    let request = Request::new(Method::POST, url, resource.subject(), whom).form(&fields).secret(client_secret);
    let reply = http.send(&request, deadline).await?;
    Token::read(&request, &reply)
}

/// A token for the managed identity of the machine or function that we run on.
pub(super) async fn managed_token(
    http: &Http,
    endpoint: &IdentityEndpoint,
    client_id: Option<&str>,
    resource: Resource,
    whom: &Arc<Whom>,
    deadline: Deadline,
) -> Result<Token, Error> {
    let (text, version) = match endpoint {
        IdentityEndpoint::Machine(host) => (format!("{host}/metadata/identity/oauth2/token"), "2018-02-01"),
        IdentityEndpoint::Function { url, .. } => (url.clone(), "2019-08-01"),
    };
    let mut url = address(&text, resource.subject(), whom)?;
    url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", resource.name());
    if let Some(client_id) = client_id {
        url.query_pairs_mut().append_pair("client_id", client_id);
    }
    let request = Request::get(url, resource.subject(), whom);
    let request = match endpoint {
        IdentityEndpoint::Machine(_) => request.header("metadata", "true")?,
        IdentityEndpoint::Function { header, .. } => {
            request.secret(header).header("x-identity-header", header.expose())?
        }
    };
    let reply = http.send(&request, deadline).await?;
    Token::read(&request, &reply)
}

/// The tenant that a workspace trusts: its sign-in page sends browsers to `https://<authority>/<tenant>/…`.
pub(super) async fn tenant(
    http: &Http,
    workspace: &Url,
    whom: &Arc<Whom>,
    deadline: Deadline,
) -> Result<String, Error> {
    let mut url = workspace.clone();
    url.set_path("/aad/auth");
    let request = Request::get(url, Subject::Tenant, whom);
    let reply = http.send(&request, deadline).await?;
    let location = reply.location().and_then(|location| Url::parse(location).ok());
    let first = location.as_ref().and_then(|location| location.path_segments()?.next());
    if let Some(tenant) = first.filter(|tenant| is_tenant(tenant)) {
        return Ok(tenant.to_owned());
    }
    answer::accepted(&request, &reply)?;
    Err(request.error(Failure::NotApi, reply.head()))
}

/// Whether this is a tenant's id or domain: anything else would be another path.
fn is_tenant(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    text.bytes().any(|byte| byte.is_ascii_alphanumeric()) && text.bytes().all(plain)
}

fn address(text: &str, about: Subject, whom: &Arc<Whom>) -> Result<Url, Error> {
    let unusable = |error| Error::of(Failure::NoSuchHost, about, whom, Said::of(&format!("no URL: {error}")));
    Url::parse(text).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databricks::testing::{
        CLIENT, Server, Step, at, bytes, connection, entra, oauth, pat, reply, run, soon, workspace,
    };
    use crate::databricks::{Auth, Workspace};

    const TENANT: &str = "7f5e0a3c-0000-4000-8000-000000000001";
    const ME: &str = "GET /api/2.0/preview/scim/v2/Me";

    fn token_line() -> String {
        format!("POST /{TENANT}/oauth2/v2.0/token")
    }

    fn token(expiry: &str) -> Step {
        reply(&token_line(), 200, &format!(r#"{{"token_type":"Bearer",{expiry},"access_token":"entra-1"}}"#))
    }

    fn me() -> Step {
        reply(ME, 200, r#"{"id":"1","userName":"u"}"#)
    }

    fn form(scope: &str) -> String {
        let secret = "dose%2Bof%2Ftruth%3D";
        format!("grant_type=client_credentials&client_id={CLIENT}&client_secret={secret}&scope={scope}%2F.default")
    }

    #[test]
    fn a_principal_signs_in_at_the_v2_endpoint() {
        for expiry in [r#""expires_in":3599"#, r#""expires_in":"3599""#, r#""expires_on":"99999999999""#] {
            let server = Server::start(vec![token(expiry), me(), me()]);
            let workspace = workspace(&server, entra(Some(TENANT)));
            run(workspace.me(soon())).unwrap();
            run(workspace.me(soon())).unwrap();
            let seen = server.seen();
            assert_eq!(seen[0].body, form(DATABRICKS));
            assert_eq!(seen[0].header("authorization"), None);
            assert_eq!(seen[2].header("authorization"), Some("Bearer entra-1"));
        }
    }

    #[test]
    fn the_tenant_is_asked_of_the_workspace() {
        let to = format!("location: https://login.microsoftonline.com/{TENANT}/oauth2/authorize?client_id=x");
        let server = Server::start(vec![reply("GET /aad/auth", 302, "").header(&to), token(r#""expires_in":1"#), me()]);
        run(workspace(&server, entra(None)).me(soon())).unwrap();
        server.seen();
    }

    #[test]
    fn a_workspace_that_does_not_name_its_tenant_is_told_about() {
        for answer in [
            reply("GET /aad/auth", 302, "").header("location: /login.html"),
            reply("GET /aad/auth", 302, "").header("location: https://login.microsoftonline.com/%2e%2e%2fx/y"),
            reply("GET /aad/auth", 200, "<html>"),
            reply("GET /aad/auth", 200, "{}"),
            reply("GET /aad/auth", 404, ""),
        ] {
            let server = Server::start(vec![answer]);
            let error = run(workspace(&server, entra(None)).me(soon())).unwrap_err();
            server.seen();
            let fault = crate::fault::Fault::from(error);
            assert!(fault.hint_text().unwrap().contains("`auth.tenant_id`"), "{fault:?}");
        }
    }

    #[test]
    fn a_tenant_is_no_path() {
        for tenant in ["", "..", "a/../b", "a?b", "a b"] {
            let server = Server::start(vec![]);
            let error = run(workspace(&server, entra(Some(tenant))).me(soon())).unwrap_err();
            server.seen();
            assert_eq!(error.code(), Some("AADSTS900023"), "{tenant}");
        }
        assert!(is_tenant("contoso.onmicrosoft.com") && is_tenant(TENANT));
    }

    #[test]
    fn storage_has_a_token_of_its_own() {
        let server = Server::start(vec![token(r#""expires_in":3599"#), me(), token(r#""expires_in":3599"#)]);
        let workspace = workspace(&server, entra(Some(TENANT)));
        run(workspace.me(soon())).unwrap();
        for _ in 0..2 {
            assert_eq!(run(workspace.storage_token(soon())).unwrap().secret.expose(), "entra-1");
        }
        assert_eq!(server.seen()[2].body, form("https%3A%2F%2Fstorage.azure.com"));
        for auth in [oauth(), pat()] {
            let error = run(at(connection(&server, auth), IdentityEndpoint::default()).storage_token(soon()));
            let fault = crate::fault::Fault::from(error.unwrap_err());
            assert!(fault.hint_text().unwrap().contains("[storage]"), "{fault:?}");
        }
    }

    #[test]
    fn a_function_asks_its_own_endpoint() {
        let resource = format!("api-version=2019-08-01&resource={DATABRICKS}&client_id=user-1");
        let step = bytes(
            &format!("GET /msi/token?{resource}"),
            br#"{"access_token":"mi-1","expires_on":"99999999999","resource":"x","token_type":"Bearer"}"#.to_vec(),
        );
        let server = Server::start(vec![step, me()]);
        let (url, header) = (format!("{}msi/token", server.url), Secret::new("planted"));
        let auth = Auth::ManagedIdentity { client_id: Some("user-1".to_owned()) };
        let endpoint = IdentityEndpoint::Function { url, header };
        assert!(!format!("{endpoint:?}").contains("planted"));
        run(at(connection(&server, auth), endpoint).me(soon())).unwrap();
        let seen = server.seen();
        assert_eq!(seen[0].header("x-identity-header"), Some("planted"));
        assert_eq!(seen[1].header("authorization"), Some("Bearer mi-1"));
    }

    #[test]
    fn each_cloud_has_its_sign_in_host() {
        let server = Server::start(vec![]);
        let of = |host: &str| {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            authority(&Connection { url, entra_authority: None, ..connection(&server, pat()) })
        };
        assert_eq!(of("adb-1.2.azuredatabricks.net"), "https://login.microsoftonline.com");
        assert_eq!(of("adb-1.2.databricks.azure.us"), "https://login.microsoftonline.us");
        assert_eq!(of("adb-1.2.databricks.azure.cn"), "https://login.chinacloudapi.cn");
        let own = Connection { entra_authority: Some(server.url.clone()), ..connection(&server, pat()) };
        assert_eq!(format!("{}/", authority(&own)), server.url.as_str());
    }

    #[test]
    fn a_managed_identity_is_none_of_the_workspaces_secrets() {
        let server = Server::start(vec![]);
        let auth = Auth::ManagedIdentity { client_id: None };
        let nowhere = IdentityEndpoint::Machine("not a url".to_owned());
        let workspace: Workspace = at(connection(&server, auth), nowhere);
        let error = run(workspace.me(soon())).unwrap_err();
        assert!(error.message().starts_with("no URL"), "{error}");
    }
}
