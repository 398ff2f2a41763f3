//! From a request to who answers it.

use std::sync::Arc;

use crate::auth::{authenticate, config, discovery, me, require_entitlement, token};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::state::{Caller, uuid};
use crate::workspace::Workspace;
use crate::{admin, catalogs, entra, files, permissions, schemas, statements, tables, vending, volumes, warehouses};

/// An answer, and who asked.
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) principal: Option<String>,
}

/// Answers a request; every answer has an id.
pub(crate) async fn answer(workspace: &Arc<Workspace>, request: &Request) -> Answered {
    let request_id = uuid();
    let parts: Vec<&str> = request.parts.iter().map(String::as_str).collect();
    let (answer, principal) = match open(workspace, request, &parts) {
        Some(answer) => (answer, None),
        None => {
            let caller = authenticate(&workspace.state(), request);
            match caller {
                Err(reply) => (Ok(reply), None),
                Ok(caller) => (api(workspace, &caller, request, &parts).await, Some(caller.name)),
            }
        }
    };
    let reply = answer.unwrap_or_else(|refusal| refusal.into_reply(&request_id));
    let workspace_id = workspace.state().setup.workspace_id.clone();
    let reply = reply
        .header("x-request-id", request_id)
        .header("x-databricks-org-id", workspace_id)
        .header("server", "databricks");
    Answered { reply, principal }
}

/// What nobody has to be signed in for.
fn open(workspace: &Workspace, request: &Request, parts: &[&str]) -> Option<Answer> {
    let url = workspace.url.as_str();
    let mut state = workspace.state();
    Some(match (request.method.as_str(), parts) {
        ("GET", [".well-known", "databricks-config"]) => config(&state, url),
        ("GET", ["oidc", ".well-known", "oauth-authorization-server" | "openid-configuration"]) => discovery(url),
        ("POST", ["oidc", "v1", "token"]) => token(&mut state, url, request),
        ("GET", ["aad", "auth"]) => entra::authorize(&state, url),
        ("POST", [tenant, "oauth2", "v2.0", "token"]) => entra::token(&mut state, url, tenant, 2, request),
        ("POST", [tenant, "oauth2", "token"]) => entra::token(&mut state, url, tenant, 1, request),
        ("GET", ["msi", "token"]) => entra::identity(&mut state, request, true),
        ("GET", ["metadata", "identity", "oauth2", "token"]) => entra::identity(&mut state, request, false),
        _ => return None,
    })
}

async fn api(workspace: &Arc<Workspace>, caller: &Caller, request: &Request, parts: &[&str]) -> Answer {
    match parts {
        ["api", "2.0", "preview", "scim", "v2", "Me"] if request.method == "GET" => me(&workspace.state(), caller),
        ["api", "2.0", "preview", "scim", "v2", "ServicePrincipals", rest @ ..] => {
            admin::principals(&mut workspace.state(), caller, request, rest)
        }
        ["api", "2.0", "sql", rest @ ..] => {
            require_entitlement(caller, "databricks-sql-access")?;
            match rest {
                ["warehouses", rest @ ..] => {
                    warehouses::handle(&mut workspace.state(), workspace.host(), caller, request, rest)
                }
                ["statements", rest @ ..] => statements::handle(workspace, caller, request, rest).await,
                _ => not_here(request),
            }
        }
        ["api", "2.0", "permissions", "warehouses", id] => {
            warehouses::permissions(&mut workspace.state(), caller, request, id)
        }
        ["api", "2.0" | "2.1", "unity-catalog", rest @ ..] => unity(workspace, caller, request, rest),
        ["api", "2.0", "fs", "files", rest @ ..] => files::file(workspace, caller, request, rest).await,
        ["api", "2.0", "fs", "directories", rest @ ..] => files::directory(workspace, caller, request, rest).await,
        _ => not_here(request),
    }
}

fn unity(workspace: &Workspace, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    let mut state = workspace.state();
    state.require_metastore()?;
    match (request.method.as_str(), rest) {
        ("GET", ["current-metastore-assignment"]) => catalogs::assignment(&state),
        ("GET", ["metastore_summary"]) => catalogs::summary(&state),
        ("POST", ["catalogs"]) => admin::create_catalog(&mut state, caller, request),
        ("PATCH", ["bindings", "catalog", name]) => admin::bind(&mut state, caller, request, name),
        ("POST", ["external-locations"]) => admin::create_location(&mut state, caller, request),
        (_, ["catalogs", rest @ ..]) => catalogs::handle(&state, caller, request, rest),
        (_, ["schemas", rest @ ..]) => schemas::handle(&mut state, caller, request, rest),
        (_, ["tables", rest @ ..]) => tables::handle(&mut state, caller, request, rest),
        ("GET", ["table-summaries"]) => tables::summaries(&state, caller, request),
        (_, ["permissions", kind, name]) => permissions::handle(&mut state, caller, request, false, kind, name),
        (_, ["effective-permissions", kind, name]) => {
            permissions::handle(&mut state, caller, request, true, kind, name)
        }
        (_, ["external-locations", rest @ ..]) => vending::locations(&state, caller, request, rest),
        (_, ["storage-credentials", rest @ ..]) => vending::credentials(&state, caller, request, rest),
        ("POST", ["temporary-table-credentials"]) => vending::for_table(&state, caller, request),
        ("POST", ["temporary-path-credentials"]) => vending::for_path(&state, caller, request),
        (_, ["volumes", rest @ ..]) => volumes::handle(&mut state, caller, request, rest),
        _ => not_here(request),
    }
}

fn not_here(request: &Request) -> Answer {
    Err(Refusal::not_implemented(format!("{} {}", request.method, request.path)))
}
