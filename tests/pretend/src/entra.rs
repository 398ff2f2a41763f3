//! Microsoft Entra as far as a service principal or a managed identity meets it: tokens for the workspace and for
//! storage, and the errors of a set-up step that was left out.

use serde_json::json;

use crate::clock;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::state::{State, uuid};
use crate::tokens::{DATABRICKS, Issuer};

/// What a function's identity endpoint wants in `X-IDENTITY-HEADER`.
pub const IDENTITY_HEADER: &str = "3c1e7a52-identity-header";
/// Azure's management API; some clients ask for it beside the workspace.
const MANAGEMENT: &str = "https://management.core.windows.net/";

/// One of Entra's errors.
struct Fault {
    status: u16,
    error: &'static str,
    code: u32,
    text: String,
}

/// Entra's words for a code; what is about this request goes in.
fn fault(code: u32, client: &str, tenant: &str) -> Fault {
    let (status, error) = match code {
        7_000_215 | 7_000_222 => (401, "invalid_client"),
        700_016 | 7_000_229 | 7_000_112 => (400, "unauthorized_client"),
        500_011 => (400, "invalid_resource"),
        1_002_012 => (400, "invalid_scope"),
        53_003 => (400, "invalid_grant"),
        90_033 => (503, "temporarily_unavailable"),
        _ => (400, "invalid_request"),
    };
    let text = match code {
        7_000_215 => format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, \
             not the client secret ID, for a secret added to app '{client}'."
        ),
        7_000_222 => format!("The provided client secret keys for app '{client}' are expired."),
        700_016 => format!(
            "Application with identifier '{client}' was not found in the directory '{tenant}'. This can happen if the \
             application has not been installed by the administrator of the tenant or consented to by any user in \
             the tenant. You may have sent your authentication request to the wrong tenant."
        ),
        7_000_229 => format!("The client application {client} is missing service principal in the tenant {tenant}."),
        90_002 => format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the \
             correct cloud. This may happen if there are no active subscriptions for the tenant."
        ),
        900_023 => {
            format!("Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid external domain.")
        }
        7_000_112 => format!("Application '{client}' is disabled."),
        500_011 => format!("The resource principal that was asked for was not found in the tenant named {tenant}."),
        1_002_012 => "The provided value for scope is not valid. Client credential flows must have a scope value \
                      with /.default suffixed to the resource identifier (application ID URI)."
            .to_owned(),
        53_003 => "Access has been blocked by Conditional Access policies.".to_owned(),
        90_033 => "A transient error has occurred. Please try again.".to_owned(),
        _ => "The request was refused.".to_owned(),
    };
    Fault { status, error, code, text }
}

impl Fault {
    fn into_reply(self, url: &str) -> Reply {
        let (trace, correlation) = (uuid(), uuid());
        let moment = clock::iso(clock::epoch_ms());
        let timestamp = format!("{}Z", moment.get(..19).unwrap_or(&moment).replace('T', " "));
        let code = self.code;
        let description = format!(
            "AADSTS{code}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}",
            self.text
        );
        Reply::json(
            self.status,
            &json!({
                "error": self.error, "error_description": description, "error_codes": [code], "timestamp": timestamp,
                "trace_id": trace, "correlation_id": correlation, "error_uri": format!("{url}/error?code={code}"),
            }),
        )
    }
}

/// `POST /{tenant}/oauth2/v2.0/token`, and v1's `/oauth2/token`
pub(crate) fn token(state: &mut State, url: &str, tenant: &str, version: u8, request: &Request) -> Answer {
    let form = request.form();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let client = field("client_id").to_owned();
    let judged = judge(
        state,
        tenant,
        version,
        &client,
        field("client_secret"),
        field("grant_type"),
        match version {
            1 => field("resource"),
            _ => field("scope"),
        },
    );
    let audience = match judged {
        Ok(audience) => audience,
        Err(code) => return Ok(fault(code, &client, tenant).into_reply(url)),
    };
    let issuer = format!("https://sts.windows.net/{}/", state.setup.tenant);
    let token = state.issue(&client, Issuer::Entra, &issuer, &audience);
    let seconds = state.knobs.token_seconds;
    if version == 1 {
        let now = clock::epoch_ms() / 1000;
        return Ok(Reply::ok(&json!({
            "token_type": "Bearer", "expires_in": seconds.to_string(), "ext_expires_in": seconds.to_string(),
            "expires_on": (now + seconds).to_string(), "not_before": now.to_string(), "resource": audience,
            "access_token": token,
        })));
    }
    let seconds = if state.knobs.expires_in_as_text { json!(seconds.to_string()) } else { json!(seconds) };
    Ok(Reply::ok(&json!({
        "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
    })))
}

/// Whom the token is for, or the code of what is wrong.
fn judge(
    state: &State,
    tenant: &str,
    version: u8,
    client: &str,
    secret: &str,
    grant: &str,
    wanted: &str,
) -> Result<String, u32> {
    if let Some(code) = state.knobs.entra_error {
        return Err(code);
    }
    let is_id = uuid::Uuid::try_parse(tenant).is_ok();
    if !is_id && !tenant.contains('.') {
        return Err(900_023);
    }
    if tenant != state.setup.tenant {
        return Err(90_002);
    }
    let known = state.principal(client).filter(|principal| !principal.entra_secrets.is_empty()).ok_or(700_016_u32)?;
    if !known.entra_secrets.iter().any(|one| one == secret) {
        return Err(7_000_215);
    }
    if grant != "client_credentials" {
        return Err(70_003);
    }
    let resource = match version {
        1 => wanted,
        _ => wanted.strip_suffix("/.default").ok_or(1_002_012_u32)?,
    };
    is_known(resource).then(|| resource.to_owned()).ok_or(500_011)
}

fn is_known(resource: &str) -> bool {
    let bare = resource.trim_end_matches('/');
    bare == DATABRICKS
        || bare == MANAGEMENT.trim_end_matches('/')
        || bare == "https://storage.azure.com"
        || (bare.starts_with("https://") && bare.ends_with(".blob.core.windows.net"))
}

/// `GET /aad/auth`: where the workspace sends browsers; its tenant stands in the address.
pub(crate) fn authorize(state: &State, url: &str) -> Answer {
    let to = format!("{url}/{}/oauth2/authorize?client_id={DATABRICKS}&response_type=code", state.setup.tenant);
    Ok(Reply::empty(302).header("location", to))
}

/// `GET /msi/token` of a function, `GET /metadata/identity/oauth2/token` of a machine.
pub(crate) fn identity(state: &mut State, request: &Request, of_function: bool) -> Answer {
    let refused = |status: u16, error: &str, text: &str| {
        Ok(Reply::json(status, &json!({"error": error, "error_description": text})))
    };
    let (header, value, version) = match of_function {
        true => ("x-identity-header", IDENTITY_HEADER, "2019-08-01"),
        false => ("metadata", "true", "2018-02-01"),
    };
    if request.header(header) != Some(value) {
        return refused(400, "invalid_request", &format!("header {header} is missing or wrong"));
    }
    if request.parameter("api-version") != Some(version) {
        return refused(400, "invalid_request", &format!("api-version must be {version}"));
    }
    let resource = request.parameter("resource").unwrap_or_default().to_owned();
    if !is_known(&resource) {
        return refused(
            400,
            "invalid_resource",
            &format!("AADSTS500011: the resource principal named {resource} was not found"),
        );
    }
    let asked = request.parameter("client_id").map(str::to_owned);
    let Some(client) = state.setup.managed_identity.clone().filter(|one| asked.is_none_or(|asked| asked == *one))
    else {
        return refused(400, "invalid_request", "Identity not found");
    };
    let issuer = format!("https://sts.windows.net/{}/", state.setup.tenant);
    let token = state.issue(&client, Issuer::Entra, &issuer, resource.trim_end_matches('/'));
    let seconds = state.knobs.token_seconds;
    let expires_on = clock::epoch_ms() / 1000 + seconds;
    Ok(Reply::ok(&json!({
        "access_token": token, "expires_in": seconds.to_string(), "expires_on": expires_on.to_string(),
        "resource": resource, "token_type": "Bearer", "client_id": client,
    })))
}
