//! Why signing in failed: Databricks' one answer for everything, and Entra's many codes, each a set-up step that was
//! missed.

use super::{AGAIN, Advice, no_workspace};
use crate::databricks::Cloud;
use crate::databricks::answer::Meaning;
use crate::databricks::error::{Detail, Error, Failure, Subject, Way, Whom};

/// A token was not given.
pub(super) fn refused(error: &Error) -> Advice {
    let Detail { about, whom, said, .. } = &*error.0;
    let principal = whom.principal();
    let entra = said.code.as_deref().and_then(|code| code.strip_prefix("AADSTS"));
    if let Some(advice) = entra.and_then(|code| of_entra(code, error)) {
        return advice;
    }
    if said.is_passing() {
        return Advice::again(format!("{} is not possible just now: {}", about.what(), said.message), AGAIN);
    }
    if matches!(said.code.as_deref(), Some("invalid_scope" | "unsupported_grant_type")) {
        return Advice::bug(format!("{} asks for what cannot be given: {}", about.what(), said.message));
    }
    match (about, whom.way) {
        (Subject::Tenant, _) => Advice::setup(
            format!("`{}` does not say which tenant of Microsoft Entra it trusts", whom.host),
            "set `auth.tenant_id`: the tenant of the workspace, not the one of the application",
        ),
        (Subject::StorageSignIn, Way::Databricks | Way::Token) => Advice::setup(
            "signing in with Databricks' own secret or token gives no access to Azure storage",
            "name an identity for the lake in [storage]",
        ),
        (_, Way::ManagedIdentity) => Advice::setup(
            format!("this machine gives no token for {principal}: {}", said.message),
            "assign the identity to the machine or function, or leave it out of the settings: az functionapp identity \
             assign --name <app> --resource-group <group>",
        ),
        (_, Way::Entra) => Advice::setup(
            format!("Microsoft Entra gives {principal} no token: {}", said.message),
            "check `auth.client_id`, `auth.client_secret` and `auth.tenant_id`",
        ),
        _ if matches!(said.meaning(), Meaning::Missing | Meaning::NoSuchCall) => no_workspace(whom),
        _ => Advice::setup(
            format!("`{}` does not accept the client id {principal} with this secret: {}", whom.host, said.message),
            "make a new OAuth secret for the service principal and copy its Application ID into \
             `auth.client_id` and the secret into `auth.client_secret`; \
             see that it is active and assigned to the workspace; a secret made in \
             Microsoft Entra wants `auth.method = \"entra\"`",
        ),
    }
}

/// Nobody at Microsoft's side took the question.
pub(super) fn not_reached(error: &Error, server: &str) -> Advice {
    let Detail { whom, failure, said, .. } = &*error.0;
    match failure {
        _ if whom.way == Way::ManagedIdentity => Advice::setup(
            format!("nobody at `{server}` gives tokens of a managed identity"),
            "managed identities are Azure's: run on a machine or function that has one, or choose another `auth.method`",
        ),
        Failure::NoConnection => Advice::again(
            format!("no connection to `{server}`, where Microsoft Entra signs in"),
            "run it again; if it stays so, let this network reach it",
        ),
        _ => Advice::setup(
            format!("`{server}` is not where Microsoft Entra signs in: {}", said.message),
            "correct `auth.authority`, or leave it out; a proxy that opens TLS needs its certificate among this \
             machine's roots",
        ),
    }
}

/// The token is good for its issuer, and the workspace does not take it.
pub(super) fn token_refused(error: &Error) -> Advice {
    let Detail { whom, said, .. } = &*error.0;
    match whom.way {
        Way::Token => Advice::setup(
            format!("`{}` does not accept the personal access token: {}", whom.host, said.message),
            "make a new token under Settings > Developer > Access tokens of this workspace, or sign in with OAuth",
        ),
        _ => not_a_member(whom),
    }
}

/// The identity is not one of the workspace's.
pub(super) fn not_a_member(whom: &Whom) -> Advice {
    let principal = whom.principal();
    let managed = if whom.way == Way::Databricks { "" } else { ", as managed by Microsoft Entra ID" };
    let managed = if whom.cloud == Cloud::Azure { managed } else { "" };
    let add = whom.client_id.as_ref().map(|client_id| {
        format!(", or: databricks service-principals create --json '{{\"applicationId\":\"{client_id}\"}}'")
    });
    Advice::setup(
        format!("{principal} is not assigned to `{}`", whom.host),
        format!(
            "a workspace admin: Settings > Identity and access > Service principals > Add, with {principal}{managed} \
             (set-up step: add the service principal to the workspace){}",
            add.unwrap_or_default()
        ),
    )
}

/// One of Entra's codes; none: one that says nothing to us.
fn of_entra(code: &str, error: &Error) -> Option<Advice> {
    let Detail { about, whom, said, failure, .. } = &*error.0;
    let principal = whom.principal();
    let id = whom.client_id.as_deref().unwrap_or("<application id>");
    let setup = |message: String, hint: String| Some(Advice::setup(message, hint));
    match code {
        "7000215" => setup(
            format!("Microsoft Entra does not accept the client secret of {principal}"),
            "copy the secret's value, not its id, into `auth.client_secret`; it is shown only once: make a new one if need be"
                .to_owned(),
        ),
        "7000222" => setup(
            format!("the client secret of {principal} has expired"),
            format!("az ad app credential reset --id {id} -- and put the new one into `auth.client_secret`"),
        ),
        "700016" | "7000229" => setup(
            format!("{principal} is unknown in the tenant of Microsoft Entra"),
            format!(
                "az ad sp create --id {id} -- in the customer's tenant (set-up step: add the service principal to \
                 Entra ID), or correct `auth.tenant_id`"
            ),
        ),
        "90002" | "900023" => setup(
            format!("there is no such tenant of Microsoft Entra: {}", said.message),
            "correct `auth.tenant_id`, or leave it out: it is then asked of the workspace".to_owned(),
        ),
        "7000112" => setup(
            format!("{principal} is disabled in the tenant of Microsoft Entra"),
            format!("az ad sp update --id {id} --set accountEnabled=true"),
        ),
        "500011" if *about == Subject::SignIn => setup(
            "this tenant of Microsoft Entra has no Azure Databricks".to_owned(),
            "correct `auth.tenant_id` (the tenant of the workspace), or `workspace_url`".to_owned(),
        ),
        "50194" => setup(
            format!("{principal} belongs to one tenant only"),
            format!("az ad app update --id {id} --sign-in-audience AzureADMultipleOrgs"),
        ),
        "53003" => setup(
            format!("a Conditional Access policy keeps {principal} out"),
            "Entra admin center > Conditional Access: exclude the service principal, or admit this network".to_owned(),
        ),
        "700027" | "700024" | "700213" => setup(
            format!("Microsoft Entra does not accept the federated identity of {principal}: {}", said.message),
            format!("az ad app federated-credential list --id {id} -- and compare issuer, subject and audience"),
        ),
        "1002012" | "70011" => Some(Advice::bug(format!("Microsoft Entra knows no such scope: {}", said.message))),
        "90033" | "50000" | "50001" if *failure == Failure::Refused => Some(Advice::again(
            format!("Microsoft Entra is not well just now: {}", said.message),
            AGAIN,
        )),
        _ => None,
    }
}
