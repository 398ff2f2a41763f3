//! Volumes and their files, on real storage.

use serde_json::{Value, json};

use super::Bench;
use crate::{CATALOG, CLIENT_ID};

const VOLUME: &str = "/Volumes/segment/web/stage";

/// A workspace whose catalog has managed storage beside the lake, and the volume `segment.web.stage`.
pub(super) fn bench() -> Bench {
    let bench = Bench::with(|setup| {
        let root = setup.locations[0].url.clone();
        setup.managed_storage(&format!("{root}/managed"))
    });
    bench.done(&["CREATE SCHEMA segment.web"]);
    assert_eq!(create(&bench, "stage").status, 200);
    bench
}

fn create(bench: &Bench, name: &str) -> super::Answer {
    let body = json!({"catalog_name": CATALOG, "schema_name": "web", "name": name, "volume_type": "MANAGED"});
    bench.call("POST", "/api/2.1/unity-catalog/volumes", &body)
}

fn file(bench: &Bench, method: &str, path: &str) -> super::Answer {
    bench.call(method, &format!("/api/2.0/fs/files{VOLUME}/{path}"), &json!({}))
}

fn folder(bench: &Bench, method: &str, path: &str) -> super::Answer {
    bench.call(method, &format!("/api/2.0/fs/directories{VOLUME}{path}"), &json!({}))
}

fn names(answer: &super::Answer) -> Vec<String> {
    let entries = answer.body["contents"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_file_is_written_once_read_listed_and_deleted() {
    let bench = bench();
    assert_eq!(bench.put(&format!("{VOLUME}/a/b/one.json?overwrite=false"), b"[1]"), 204);
    assert_eq!(bench.put(&format!("{VOLUME}/a/b/one.json?overwrite=false"), b"[2]"), 409);
    assert_eq!(file(&bench, "GET", "a/b/one.json").body, json!([1]));
    assert_eq!(bench.put(&format!("{VOLUME}/a/b/one.json?overwrite=true"), b"[22]"), 204);
    let head = file(&bench, "HEAD", "a/b/one.json");
    assert!(head.status == 200 && head.headers.contains("content-length: 4"), "{head:?}");
    assert!(head.headers.contains("last-modified: "), "{head:?}");
    let token = format!("authorization: Bearer {}", crate::TOKEN);
    let path = format!("/api/2.0/fs/files{VOLUME}/a/b/one.json");
    let part = |range: &str| bench.send("GET", &path, &[&token, range], "").unwrap();
    let two = part("range: bytes=1-2");
    assert_eq!((two.status, two.body), (206, json!(22)));
    assert!(two.headers.contains("content-range: bytes 1-2/4"), "{}", two.headers);
    assert_eq!(part("range: bytes=4-9").status, 416);
    let listed = folder(&bench, "GET", "/a/b");
    assert_eq!(listed.body["contents"][0]["path"], "/Volumes/segment/web/stage/a/b/one.json");
    assert_eq!(listed.body["contents"][0]["file_size"], 4);
    assert_eq!(file(&bench, "DELETE", "a/b/one.json").status, 204);
    for method in ["GET", "DELETE"] {
        let gone = file(&bench, method, "a/b/one.json");
        assert_eq!((gone.status, &gone.body["error_code"]), (404, &json!("NOT_FOUND")), "{method}");
        assert_eq!(gone.body["details"][0]["reason"], "FILES_API_RESOURCE_NOT_FOUND");
    }
}

#[test]
fn folders_come_with_files_and_stay_until_they_are_deleted_empty() {
    let bench = bench();
    assert_eq!(folder(&bench, "GET", "/a").status, 404);
    bench.put(&format!("{VOLUME}/a/b/one"), b"1");
    assert_eq!(folder(&bench, "PUT", "/made/deep").status, 204);
    assert_eq!(folder(&bench, "PUT", "/made/deep").status, 204);
    assert_eq!(folder(&bench, "PUT", "/a/b/one").status, 409, "a file stands there");
    assert_eq!(bench.put(&format!("{VOLUME}/made"), b"1"), 409, "a folder stands there");
    assert_eq!(names(&folder(&bench, "GET", "")), ["a", "made"]);
    assert_eq!(names(&folder(&bench, "GET", "/a")), ["b"]);
    let refused = folder(&bench, "DELETE", "/a/b");
    assert_eq!(
        (refused.status, &refused.body["details"][0]["reason"]),
        (400, &json!("FILES_API_DIRECTORY_IS_NOT_EMPTY"))
    );
    file(&bench, "DELETE", "a/b/one");
    assert_eq!(names(&folder(&bench, "GET", "/a/b")), Vec::<String>::new());
    assert_eq!(folder(&bench, "DELETE", "/a/b").status, 204);
    assert_eq!(folder(&bench, "GET", "/a/b").status, 404);
}

#[test]
fn files_stand_in_the_managed_storage_of_the_catalog() {
    let bench = bench();
    bench.put(&format!("{VOLUME}/one"), b"content");
    let volume = bench.get("/api/2.1/unity-catalog/volumes/segment.web.stage");
    let location = volume.body["storage_location"].as_str().unwrap().strip_prefix("file://").unwrap();
    assert!(location.contains("/managed/__unitystorage/schemas/"), "{location}");
    assert_eq!(std::fs::read(format!("{location}/one")).unwrap(), b"content");
    let none = Bench::new();
    none.done(&["CREATE SCHEMA segment.web"]);
    assert_eq!(create(&none, "stage").body["message"], "Metastore storage root URL does not exist.");
}

#[test]
fn volumes_are_made_once_listed_and_deleted() {
    let bench = bench();
    let again = create(&bench, "Stage");
    assert_eq!((again.status, &again.body["error_code"]), (409, &json!("VOLUME_ALREADY_EXISTS")));
    let list = "/api/2.1/unity-catalog/volumes?catalog_name=segment&schema_name=web";
    let seen = |bench: &Bench| -> Vec<Value> {
        bench.get(list).body["volumes"].as_array().unwrap().iter().map(|volume| volume["full_name"].clone()).collect()
    };
    assert_eq!(seen(&bench), ["segment.web.stage"]);
    assert_eq!(bench.call("DELETE", "/api/2.1/unity-catalog/volumes/segment.web.stage", &json!({})).status, 200);
    assert!(seen(&bench).is_empty());
    assert_eq!(file(&bench, "GET", "one").status, 404);
}

#[test]
fn each_right_is_asked_for() {
    // Made by somebody else, so that owning it brings nothing.
    let bench = Bench::with(|setup| {
        let root = setup.locations[0].url.clone();
        let mut setup =
            setup.managed_storage(&format!("{root}/managed")).without_grant("ALL PRIVILEGES", "catalog", CATALOG);
        setup.schemas.push("segment.web".to_owned());
        setup.grant("USE CATALOG", "catalog", CATALOG).grant("USE SCHEMA", "schema", "segment.web")
    });
    let denied = create(&bench, "stage");
    assert_eq!(denied.body["message"], "User does not have CREATE VOLUME on Schema 'segment.web'.");
    let admin = format!("authorization: Bearer {}", crate::ADMIN_TOKEN);
    let body = json!({"catalog_name": CATALOG, "schema_name": "web", "name": "stage", "volume_type": "MANAGED"});
    bench.send("POST", "/api/2.1/unity-catalog/volumes", &[&admin], &body.to_string()).unwrap();
    assert_eq!(bench.put(&format!("{VOLUME}/one"), b"1"), 403);
    bench.pretend.grant("WRITE VOLUME", "volume", "segment.web.stage").unwrap();
    assert_eq!(bench.put(&format!("{VOLUME}/one"), b"1"), 204);
    assert_eq!(
        file(&bench, "GET", "one").body["message"],
        "User does not have READ VOLUME on Volume 'segment.web.stage'."
    );
    bench.pretend.grant("READ VOLUME", "catalog", CATALOG).unwrap();
    assert_eq!(file(&bench, "GET", "one").body, json!(1));
    let deleted = bench.call("DELETE", "/api/2.1/unity-catalog/volumes/segment.web.stage", &json!({}));
    assert_eq!(deleted.status, 403, "{CLIENT_ID} does not own it");
}
