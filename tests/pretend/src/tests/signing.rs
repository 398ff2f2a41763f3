//! Signing in, by every way, and being nobody.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, Bench};
use crate::{CLIENT_ID, CLIENT_SECRET, ENTRA_SECRET, IDENTITY_HEADER, TENANT, TOKEN};

const FORM: &str = "content-type: application/x-www-form-urlencoded";
const ME: &str = "/api/2.0/preview/scim/v2/Me";
const DATABRICKS: &str = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d";

fn basic(secret: &str) -> String {
    format!("authorization: Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{secret}")))
}

fn me(bench: &Bench, token: &Value) -> Answer {
    let authorization = format!("authorization: Bearer {}", token.as_str().unwrap());
    bench.send("GET", ME, &[&authorization], "").unwrap()
}

fn entra(bench: &Bench, tenant: &str, secret: &str, scope: &str) -> Answer {
    let body =
        format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={secret}&scope={scope}%2F.default");
    bench.send("POST", &format!("/{tenant}/oauth2/v2.0/token"), &[FORM], &body).unwrap()
}

#[test]
fn discovery_leads_to_a_token_that_says_who_one_is() {
    let bench = Bench::new();
    let config = bench.send("GET", "/.well-known/databricks-config", &[], "").unwrap().body;
    assert_eq!(config["oidc_endpoint"], format!("{}/oidc", bench.pretend.url()));
    let server = bench.send("GET", "/oidc/.well-known/oauth-authorization-server", &[], "").unwrap().body;
    assert_eq!(server["token_endpoint"], format!("{}/oidc/v1/token", bench.pretend.url()));
    let form = "grant_type=client_credentials&scope=all-apis";
    let token = bench.send("POST", "/oidc/v1/token", &[FORM, &basic(CLIENT_SECRET)], form).unwrap();
    assert_eq!((token.status, &token.body["expires_in"]), (200, &json!(3600)));
    let answer = me(&bench, &token.body["access_token"]);
    assert_eq!((answer.status, &answer.body["userName"]), (200, &json!(CLIENT_ID)));
    assert!(answer.headers.contains("x-request-id: ") && answer.headers.contains("x-databricks-org-id: 9008007"));
    assert!(bench.pretend.requests().iter().any(|seen| seen.principal.as_deref() == Some(CLIENT_ID)));
}

#[test]
fn a_wrong_secret_scope_or_grant_is_refused_by_its_name() {
    let bench = Bench::new();
    let ask = |secret: &str, form: &str| bench.send("POST", "/oidc/v1/token", &[FORM, &basic(secret)], form).unwrap();
    let form = "grant_type=client_credentials&scope=all-apis";
    let wrong = ask("dose-wrong", form);
    assert_eq!((wrong.status, &wrong.body["error"]), (401, &json!("invalid_client")));
    assert_eq!(ask(CLIENT_SECRET, "grant_type=client_credentials&scope=x").body["error"], "invalid_scope");
    assert_eq!(ask(CLIENT_SECRET, "grant_type=password&scope=all-apis").body["error"], "unsupported_grant_type");
    let outside = Bench::with(crate::Setup::not_in_workspace);
    let refused = outside.send("POST", "/oidc/v1/token", &[FORM, &basic(CLIENT_SECRET)], form).unwrap();
    assert_eq!(refused.body["error"], "invalid_client");
}

#[test]
fn no_token_a_bad_one_and_an_old_one_are_told_in_numbers() {
    let bench = Bench::new();
    let nobody = bench.send("GET", ME, &[], "").unwrap();
    assert_eq!((nobody.status, &nobody.body["error_code"]), (401, &json!(401)));
    assert!(nobody.headers.contains("www-authenticate: bearer realm"));
    let bad = me(&bench, &json!("eyJ.bad.token"));
    assert_eq!((bad.status, &bad.body), (403, &json!({"error_code": 403, "message": "Invalid access token."})));
    assert_eq!(me(&bench, &json!("dapi-unknown")).status, 401);
    assert_eq!(me(&bench, &json!(TOKEN)).status, 200);
    let token = entra(&bench, TENANT, ENTRA_SECRET, DATABRICKS).body["access_token"].clone();
    assert_eq!(me(&bench, &token).status, 200);
    bench.pretend.expire_tokens();
    assert_eq!(me(&bench, &token).status, 403);
}

#[test]
fn entra_names_the_set_up_step_that_was_left_out() {
    let bench = Bench::new();
    let code = |answer: Answer| answer.body["error_codes"][0].as_u64();
    assert_eq!(code(entra(&bench, TENANT, "wrong", DATABRICKS)), Some(7_000_215));
    assert_eq!(code(entra(&bench, "0f1d2c4b-5a69-4788-9b7a-6c5d4e3f2a1b", ENTRA_SECRET, DATABRICKS)), Some(90_002));
    assert_eq!(code(entra(&bench, "nonsense", ENTRA_SECRET, DATABRICKS)), Some(900_023));
    assert_eq!(code(entra(&bench, TENANT, ENTRA_SECRET, "api%3A%2F%2Fother")), Some(500_011));
    bench.pretend.knobs(|knobs| knobs.entra_error = Some(7_000_222));
    assert_eq!(code(entra(&bench, TENANT, ENTRA_SECRET, DATABRICKS)), Some(7_000_222));
    let absent = Bench::with(crate::Setup::not_in_tenant);
    let refused = entra(&absent, TENANT, ENTRA_SECRET, DATABRICKS);
    assert!(
        refused.body["error_description"].as_str().unwrap().starts_with("AADSTS700016: Application with identifier")
    );
}

#[test]
fn a_token_for_storage_opens_no_workspace() {
    let bench = Bench::new();
    let token = entra(&bench, TENANT, ENTRA_SECRET, "https%3A%2F%2Fstorage.azure.com").body["access_token"].clone();
    assert_eq!(me(&bench, &token).status, 403);
    let outside = Bench::with(crate::Setup::not_in_workspace);
    let token = entra(&outside, TENANT, ENTRA_SECRET, DATABRICKS).body["access_token"].clone();
    let page = me(&outside, &token);
    assert_eq!(page.status, 403);
    assert!(page.body.as_str().unwrap().contains("<title>Error 403 User not authorized.</title>"));
    let to = outside.send("GET", "/aad/auth", &[], "").unwrap();
    assert_eq!(to.status, 302);
    assert!(to.headers.contains(&format!("/{TENANT}/oauth2/authorize")));
}

#[test]
fn a_managed_identity_gets_its_token() {
    let bench = Bench::new();
    let path = format!("/msi/token?resource={DATABRICKS}&api-version=2019-08-01");
    let token = bench.send("GET", &path, &[&format!("x-identity-header: {IDENTITY_HEADER}")], "").unwrap();
    assert_eq!(me(&bench, &token.body["access_token"]).body["userName"], CLIENT_ID);
    assert_eq!(bench.send("GET", &path, &[], "").unwrap().status, 400);
}

#[test]
fn tokens_are_short_lived_and_oddly_told_when_asked() {
    let bench = Bench::with(|setup| setup.knobs(|knobs| (knobs.token_seconds, knobs.expires_in_as_text) = (0, true)));
    let form =
        format!("grant_type=client_credentials&scope=all-apis&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}");
    let token = bench.send("POST", "/oidc/v1/token", &[FORM], &form).unwrap();
    assert_eq!(token.body["expires_in"], "0");
    assert_eq!(me(&bench, &token.body["access_token"]).status, 403, "it has expired");
}
