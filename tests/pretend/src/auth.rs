//! Signing in to the workspace: discovery, its own OAuth endpoint, who a request comes from, who am I.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::clock;
use crate::reply::{Answer, Code, Refusal, Reply};
use crate::request::Request;
use crate::setup::Principal;
use crate::state::{Caller, State, uuid};
pub(crate) use crate::tokens::IssuedToken;
use crate::tokens::{DATABRICKS, Issuer};

const NOT_SENT: &str = "Credential was not sent or was of an unsupported type for this API.";
const INVALID: &str = "Invalid access token.";

/// `GET /.well-known/databricks-config`
pub(crate) fn config(state: &State, url: &str) -> Answer {
    Ok(Reply::ok(&json!({
        "oidc_endpoint": format!("{url}/oidc"), "account_id": "c0a8f0de-0000-4000-8000-00000000ac17",
        "workspace_id": state.setup.workspace_id, "cloud": state.setup.cloud,
        "token_federation_default_oidc_audiences": [],
    })))
}

/// `GET /oidc/.well-known/oauth-authorization-server`, and `openid-configuration`
pub(crate) fn discovery(url: &str) -> Answer {
    Ok(Reply::ok(&json!({
        "authorization_endpoint": format!("{url}/oidc/v1/authorize"), "token_endpoint": format!("{url}/oidc/v1/token"),
        "issuer": format!("{url}/oidc"), "jwks_uri": format!("{url}/oidc/jwks.json"),
        "scopes_supported": ["all-apis", "email", "offline_access", "openid", "profile", "sql"],
        "response_types_supported": ["code", "id_token"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["iss", "sub", "aud", "iat", "exp", "jti", "name", "family_name", "given_name"],
        "request_uri_parameter_supported": false,
    })))
}

/// `POST /oidc/v1/token`
pub(crate) fn token(state: &mut State, url: &str, request: &Request) -> Answer {
    let form = request.form();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let refused = |status: u16, error: &str, description: &str| {
        let body = json!({"error": error, "error_id": uuid(), "error_description": description});
        Ok(Reply::json(status, &body))
    };
    match field("grant_type").as_deref() {
        Some("client_credentials") => {}
        Some("urn:ietf:params:oauth:grant-type:token-exchange") => {
            return Err(Refusal::not_implemented("token exchange"));
        }
        Some(other) => {
            return refused(400, "unsupported_grant_type", &format!("Grant type '{other}' is not supported"));
        }
        None => return refused(400, "invalid_request", "grant_type is missing"),
    }
    let scope = field("scope").unwrap_or_default();
    if !scope.split(' ').any(|scope| ["all-apis", "sql"].contains(&scope)) {
        return refused(400, "invalid_scope", &format!("Scope '{scope}' is not supported"));
    }
    let (id, secret) = match request.header("authorization").and_then(basic) {
        Some(pair) => pair,
        None => (field("client_id").unwrap_or_default(), field("client_secret").unwrap_or_default()),
    };
    // A principal that is not in this workspace cannot be told from a wrong secret.
    let known =
        |principal: &&Principal| principal.name == id && principal.in_workspace && principal.secrets.contains(&secret);
    if !state.setup.principals.iter().any(|principal| known(&principal)) {
        return refused(401, "invalid_client", "Client authentication failed");
    }
    let audience = state.setup.workspace_id.clone();
    let token = state.issue(&id, Issuer::Workspace, &format!("{url}/oidc"), &audience);
    let seconds = state.knobs.token_seconds;
    let expires_in = if state.knobs.expires_in_as_text { json!(seconds.to_string()) } else { json!(seconds) };
    Ok(Reply::ok(&json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in, "scope": scope})))
}

/// `Basic base64(id:secret)`
fn basic(header: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ")?).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Who sends a request.
///
/// # Errors
/// The answer to one who is nobody here.
pub(crate) fn authenticate(state: &State, request: &Request) -> Result<Caller, Reply> {
    let not_sent = || numbered(401, NOT_SENT).header("www-authenticate", "Bearer realm=\"DatabricksRealm\"");
    let Some(token) = request.header("authorization").and_then(|header| header.strip_prefix("Bearer ")) else {
        return Err(not_sent());
    };
    if token.starts_with("dapi") {
        let owner = |principal: &&Principal| principal.in_workspace && principal.tokens.iter().any(|one| one == token);
        return state.setup.principals.iter().find(owner).map(|owner| state.caller(owner)).ok_or_else(not_sent);
    }
    let issued = state.tokens.get(token).filter(|issued| issued.expires > clock::now());
    let Some(issued) = issued else { return Err(numbered(403, INVALID)) };
    let for_us = match issued.issuer {
        Issuer::Workspace => issued.audience == state.setup.workspace_id,
        Issuer::Entra => issued.audience == DATABRICKS,
    };
    let principal = state.principal(&issued.principal).filter(|_| for_us).ok_or_else(|| numbered(403, INVALID))?;
    if !principal.in_workspace {
        let page = format!(
            "<html><head><meta http-equiv=\"Content-Type\" content=\"text/html;charset=utf-8\"/>\n<title>Error 403 \
             User not authorized.</title>\n</head><body><h2>HTTP ERROR 403</h2>\n<p>Problem accessing {}. \
             Reason:\n<pre>    User not authorized.</pre></p>\n</body></html>\n",
            request.path
        );
        return Err(Reply::text(403, "text/html;charset=utf-8", page));
    }
    Ok(state.caller(principal))
}

fn numbered(status: u16, message: &str) -> Reply {
    Refusal { status, code: Code::Number(status), message: message.to_owned(), reason: None }.into_reply("")
}

/// An API that needs an entitlement.
///
/// # Errors
/// The caller has it not.
pub(crate) fn require_entitlement(caller: &Caller, entitlement: &str) -> Result<(), Refusal> {
    if caller.entitlements.iter().any(|one| one == entitlement) {
        return Ok(());
    }
    Err(Refusal::denied(format!("This API is disabled for users without the {entitlement} entitlement.")))
}

/// The number of the principal at this place of the setup.
pub(crate) fn number(place: usize) -> String {
    (7_000_000_000_000_000_u64 + place as u64).to_string()
}

/// `GET /api/2.0/preview/scim/v2/Me`
pub(crate) fn me(state: &State, caller: &Caller) -> Answer {
    let Some(place) = state.setup.principals.iter().position(|principal| principal.name == caller.name) else {
        return Err(Refusal::missing("RESOURCE_DOES_NOT_EXIST", "the caller is gone"));
    };
    let principal = &state.setup.principals[place];
    let values = |names: &[String]| names.iter().map(|name| json!({"value": name})).collect::<Vec<_>>();
    let groups = principal.groups.iter().map(|name| json!({"display": name, "value": name, "type": "direct"}));
    Ok(Reply::ok(&json!({
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:workspace:2.0:User",
        ],
        "id": number(place), "userName": principal.name,
        "displayName": principal.display_name, "active": true, "groups": groups.collect::<Vec<_>>(),
        "entitlements": values(&principal.entitlements), "roles": [],
    })))
}
