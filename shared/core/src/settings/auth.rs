//! How we sign in, at the workspace and at the lake's store: which keys go together.

use url::Url;

use super::given::Given;
use super::workspace::{is_allowed, is_loopback};
use crate::databricks::{Auth, Cloud};
use crate::secret::Secret;

/// Where Microsoft Entra signs in: the public cloud, that of the US government, China's (by both its names).
const AUTHORITIES: [&str; 4] = [
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
];

/// Variables of the principal that an installation has of its own, for customers who let it in by their tenant.
pub(super) const INSTALLATION: [&str; 2] = ["INLET_PRINCIPAL_CLIENT_ID", "INLET_PRINCIPAL_CLIENT_SECRET"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Databricks,
    Entra,
    Token,
    ManagedIdentity,
}

impl Method {
    const WORDS: [(&'static str, Self); 4] = [
        ("oauth", Self::Databricks),
        ("entra", Self::Entra),
        ("token", Self::Token),
        ("managed_identity", Self::ManagedIdentity),
    ];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, method)| *method == self).map_or("", |(word, _)| word)
    }

    /// The keys of `[auth]` that it uses.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Databricks => &["client_id", "client_secret"],
            Self::Entra => &["client_id", "client_secret", "tenant_id", "authority"],
            Self::Token => &["token"],
            Self::ManagedIdentity => &["client_id"],
        }
    }
}

/// Reads `[auth]`. `cloud` is none when the workspace's address could not be read.
pub(super) fn auth(given: &mut Given<'_>, cloud: Option<Cloud>) -> Option<Auth> {
    let method = method(given, cloud)?;
    for name in ["client_id", "client_secret", "tenant_id", "authority", "token"] {
        let key = format!("auth.{name}");
        if given.has(&key) && !method.keys().contains(&name) {
            let what = format!("does not go with the sign-in method `{}`", method.word());
            given.wrong(&key, &what, &format!("remove it, or choose another auth.method; it uses {}", list(method)));
        }
    }
    let on_azure = !matches!(cloud, Some(Cloud::Aws | Cloud::Gcp));
    if !on_azure && matches!(method, Method::Entra | Method::ManagedIdentity) {
        let key = if given.has("auth.method") { "auth.method" } else { "auth.tenant_id" };
        let what = "asks for a sign-in with Microsoft Entra, which only workspaces on Azure take";
        given.wrong(key, what, "give client_id and client_secret of the service principal's OAuth secret");
        return None;
    }
    match method {
        Method::Token => match given.secret("auth.token") {
            Some(token) => Some(Auth::Token(token)),
            None => {
                if !given.has("auth.token") {
                    given.missing("auth.token", "the method `token` needs it", "auth.token = \"env:NAME\"");
                }
                None
            }
        },
        Method::ManagedIdentity => Some(Auth::ManagedIdentity { client_id: given.text("auth.client_id") }),
        Method::Databricks => {
            let pair = pair(given, "auth");
            if pair.is_none() && !given.has("auth.client_id") && !given.has("auth.client_secret") {
                given.missing("auth.client_id", "the method `oauth` needs it, and `auth.client_secret`", PRINCIPAL);
            }
            let (client_id, client_secret) = pair?;
            warn_of_no_application_id(given, "auth.client_id", &client_id);
            Some(Auth::Databricks { client_id, client_secret })
        }
        Method::Entra => {
            let tenant_id = tenant(given, "auth.tenant_id");
            let (client_id, client_secret) = principal(given, "auth")?;
            warn_of_no_application_id(given, "auth.client_id", &client_id);
            Some(Auth::Entra { tenant_id, client_id, client_secret })
        }
    }
}

const PRINCIPAL: &str =
    "auth.client_id = \"APPLICATION-ID\" and auth.client_secret = \"env:NAME\" of the service principal";

/// The method that was chosen, else the one that the given keys belong to.
fn method(given: &mut Given<'_>, cloud: Option<Cloud>) -> Option<Method> {
    if given.has("auth.method") {
        return given.choice("auth.method", &Method::WORDS);
    }
    let has = |name: &str| given.has(&format!("auth.{name}"));
    if has("token") {
        return Some(Method::Token);
    }
    if has("tenant_id") || has("authority") {
        return Some(Method::Entra);
    }
    if has("client_id") || has("client_secret") {
        return Some(Method::Databricks);
    }
    match cloud? {
        Cloud::Azure => Some(Method::Entra),
        Cloud::Aws | Cloud::Gcp | Cloud::Other => {
            given.missing("auth.client_id", "nothing says how to sign in at the workspace", PRINCIPAL);
            None
        }
    }
}

fn list(method: Method) -> String {
    method.keys().iter().map(|name| format!("`auth.{name}`")).collect::<Vec<_>>().join(", ")
}

/// The principal of `[auth]` or `[storage]`; both fields left blank, the installation's own.
pub(super) fn principal(given: &mut Given<'_>, table: &str) -> Option<(String, Secret)> {
    let (id, secret) = (format!("{table}.client_id"), format!("{table}.client_secret"));
    if given.has(&id) || given.has(&secret) {
        return pair(given, table);
    }
    let [id_variable, secret_variable] = INSTALLATION;
    match (given.variable(id_variable), given.variable(secret_variable).is_some()) {
        (Some(id), true) => Some((id.trim().to_owned(), given.secret_of_variable(secret_variable)?)),
        (own, has_secret) => {
            let unset = [(id_variable, own.is_none()), (secret_variable, !has_secret)];
            let unset: Vec<_> = unset.iter().filter(|(_, unset)| *unset).map(|(name, _)| format!("`{name}`")).collect();
            let why = format!(
                "left blank it means the service principal of this installation, which has none: {} not set",
                if unset.len() == 1 {
                    format!("{} is", unset.join(""))
                } else {
                    format!("{} are", unset.join(" and "))
                }
            );
            given.missing(&id, &why, &format!("set it, or give {id} and {secret} of a service principal of yours"));
            None
        }
    }
}

/// A client id and its secret, of which neither goes without the other.
fn pair(given: &mut Given<'_>, table: &str) -> Option<(String, Secret)> {
    let (id_key, secret_key) = (format!("{table}.client_id"), format!("{table}.client_secret"));
    let (id, secret) = (given.text(&id_key), given.secret(&secret_key));
    if given.has(&secret_key) && id.is_none() {
        given.missing(&id_key, &format!("`{secret_key}` is given"), "give the service principal's application id");
    }
    if !given.has(&secret_key) && id.is_some() {
        given.missing(&secret_key, &format!("`{id_key}` is given"), &format!("{secret_key} = \"env:NAME\""));
    }
    id.zip(secret)
}

/// A tenant of Microsoft Entra: its GUID, or one of its domain names.
pub(super) fn tenant(given: &mut Given<'_>, key: &str) -> Option<String> {
    let tenant = given.text(key)?;
    let legal = tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let is_shared = ["common", "organizations", "consumers"].contains(&tenant.to_ascii_lowercase().as_str());
    if !legal || is_shared || !(is_guid(&tenant) || tenant.contains('.')) {
        given.wrong(key, "is no tenant of Microsoft Entra", "give its GUID, or a domain name of it");
        return None;
    }
    Some(tenant.to_ascii_lowercase())
}

fn is_guid(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok()
}

/// The name of a principal stands beside its id, and is taken for it.
fn warn_of_no_application_id(given: &mut Given<'_>, key: &str, id: &str) {
    if given.has(key) && !is_guid(id) {
        given.warn(key, "is no GUID: the application id of a service principal is one, its name is not");
    }
}

/// Entra's sign-in host: one of Microsoft's, or one that `allow_host` lists.
pub(super) fn authority(given: &mut Given<'_>, allowed: &[String]) -> Option<Url> {
    let text = given.text("auth.authority")?;
    let text = if text.contains("://") { text } else { format!("https://{text}") };
    let url = Url::parse(&text).ok().filter(|url| url.username().is_empty() && url.password().is_none());
    let advice = format!("name one of {}, or list yours in allow_host", AUTHORITIES.join(", "));
    let Some((mut url, host)) = url.and_then(|url| url.host_str().map(str::to_owned).map(|host| (url, host))) else {
        given.wrong("auth.authority", "is no web address", &advice);
        return None;
    };
    let is_allowed = is_allowed(&host, allowed);
    if !is_allowed && !AUTHORITIES.contains(&host.as_str()) {
        given.wrong("auth.authority", &format!("is `{host}`, where Microsoft Entra does not sign in"), &advice);
        return None;
    }
    if url.scheme() != "https" && !(url.scheme() == "http" && is_allowed && is_loopback(&url)) {
        given.wrong("auth.authority", &format!("is `{host}` without encryption"), "write https:// before it");
        return None;
    }
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}
