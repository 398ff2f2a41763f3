//! An admin of the pretend workspace, who does what hints say: the statements and the lines of Databricks' CLI in them.

use std::io::{Read, Write};
use std::net::TcpStream;

use pretend::{ADMIN_TOKEN, Pretend, WAREHOUSE};
use serde_json::{Value, json};

/// One call of the API as the admin; it must be taken. Its answer.
pub(crate) fn call(pretend: &Pretend, method: &str, path: &str, body: &Value) -> Value {
    let host = pretend.url().trim_start_matches("http://");
    let body = if method == "GET" { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(host).expect("the workspace listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).unwrap_or_default();
    assert!(status.starts_with('2'), "{method} {path} {body}: {answer}");
    let (_, told) = answer.split_once("\r\n\r\n").unwrap_or_default();
    serde_json::from_str(told).unwrap_or_default()
}

/// Securables of an account that are neither schemas nor tables, and warehouses, by name.
pub(crate) fn securables(pretend: &Pretend) -> Vec<String> {
    let mut names = Vec::new();
    for (path, list) in [
        ("/api/2.1/unity-catalog/catalogs", "catalogs"),
        ("/api/2.1/unity-catalog/external-locations", "external_locations"),
        ("/api/2.1/unity-catalog/storage-credentials", "storage_credentials"),
        ("/api/2.0/sql/warehouses", "warehouses"),
    ] {
        let told = call(pretend, "GET", path, &Value::Null);
        let all = told[list].as_array().unwrap_or_else(|| panic!("{path}: {told}"));
        names.extend(all.iter().map(|one| format!("{list}: {}", one["name"])));
    }
    names
}

/// Runs a statement as the admin.
pub(crate) fn run(pretend: &Pretend, statement: &str) {
    let body = json!({ "statement": statement, "warehouse_id": WAREHOUSE, "wait_timeout": "30s" });
    call(pretend, "POST", "/api/2.0/sql/statements", &body);
    let failed: Vec<_> = pretend.statements().into_iter().filter_map(|one| one.error).collect();
    assert!(failed.is_empty(), "{statement}: {failed:?}");
}

/// Does everything that a hint says to run; how many things that was.
pub(crate) fn obey(pretend: &Pretend, hint: &str) -> usize {
    let mut done = 0;
    let unity = "/api/2.1/unity-catalog";
    for rest in behind(hint, "CREATE CATALOG ") {
        call(pretend, "POST", &format!("{unity}/catalogs"), &json!({ "name": quoted(rest, '`') }));
        done += 1;
    }
    for rest in behind(hint, "CREATE EXTERNAL LOCATION ") {
        let (_, url) = rest.split_once(" URL ").expect("a location has a URL");
        let (_, credential) = rest.split_once("STORAGE CREDENTIAL ").expect("a location has a credential");
        let (name, url, credential) = (quoted(rest, '`'), quoted(url, '\''), quoted(credential, '`'));
        let body = json!({ "name": name, "url": url, "credential_name": credential });
        call(pretend, "POST", &format!("{unity}/external-locations"), &body);
        done += 1;
    }
    for rest in behind(hint, "DROP TABLE ") {
        let (name, _) = rest.split_once(';').expect("a statement ends");
        run(pretend, &format!("DROP TABLE {name}"));
        done += 1;
    }
    for rest in behind(hint, "GRANT ") {
        let (privileges, rest) = rest.split_once(" ON ").expect("a grant is on something");
        let (on, to) = rest.split_once(" TO ").expect("a grant is to somebody");
        let (kind, name) = on.split_once(" `").expect("its name is quoted");
        let (kind, name) = (kind.to_lowercase().replace(' ', "_"), name.replace('`', ""));
        let privileges: Vec<String> = privileges.split(", ").map(|one| one.replace(' ', "_")).collect();
        let body = json!({ "changes": [{ "principal": quoted(to, '`'), "add": privileges }] });
        call(pretend, "PATCH", &format!("{unity}/permissions/{kind}/{name}"), &body);
        done += 1;
    }
    for (line, method, path) in [
        ("databricks warehouses update-permissions ", "PATCH", "/api/2.0/permissions/warehouses/"),
        ("databricks service-principals patch ", "PATCH", "/api/2.0/preview/scim/v2/ServicePrincipals/"),
        ("databricks service-principals create ", "POST", "/api/2.0/preview/scim/v2/ServicePrincipals"),
        ("databricks workspace-bindings update-bindings catalog ", "PATCH", "/api/2.1/unity-catalog/bindings/catalog/"),
    ] {
        for rest in behind(hint, line) {
            let (id, json) = rest.split_once("--json ").expect("it has a body");
            let body: Value = serde_json::from_str(&quoted(json, '\'')).expect("the body is JSON");
            call(pretend, method, &format!("{path}{}", id.trim()), &body);
            done += 1;
        }
    }
    done
}

/// What stands behind each occurrence of a beginning.
fn behind<'a>(text: &'a str, beginning: &str) -> Vec<&'a str> {
    text.match_indices(beginning).map(|(at, found)| &text[at + found.len()..]).collect()
}

/// The first text between these quotes.
fn quoted(text: &str, quote: char) -> String {
    text.split(quote).nth(1).unwrap_or_default().to_owned()
}
