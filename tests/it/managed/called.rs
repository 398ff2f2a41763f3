//! The commands as a person calls them, where the catalog keeps the tables.

use pretend::{Fault, Wrong};
use serde_json::json;

use super::{Bench, order};
use crate::process::{Said, inlet, run};
use crate::workspace::http_path;

fn said(bench: &Bench, line: &[&str]) -> Said {
    let mut command = inlet();
    command.args(&line[..1]).arg("--settings").arg(bench.0.file()).args(&line[1..]);
    run(&mut command)
}

fn upload(bench: &Bench, id: &str) -> String {
    let name = format!("segment-logs/shop/1/{id}.ndjson");
    bench.0.room.file(&name, &order(id, r#"{"total":1}"#)).display().to_string()
}

#[test]
fn uploads_are_staged_named_loaded_and_known_afterwards() {
    let bench = Bench::new();
    let place = upload(&bench, "a");
    let plan = said(&bench, &["ingest", "--plan", &place]).success();
    assert!(plan.out.contains("shop.order_completed"), "{plan:#?}");
    assert!(!bench.pretend().schemas().contains(&"segment._inlet".to_owned()), "a plan makes nothing");
    let first = said(&bench, &["ingest", &place]).success();
    assert!(first.out.starts_with("1 upload staged\n1 event: 1 staged\n"), "{first:#?}");
    assert!(first.out.contains(" evolve   # loads what is staged now"), "{first:#?}");
    let again = said(&bench, &["ingest", &place]).success();
    assert!(again.out.starts_with("nothing to do: all 1 uploads are already staged"), "{again:#?}");
    let status = said(&bench, &["status"]).success();
    assert!(status.out.contains("staged    1 upload with 2 rows, the oldest "), "{status:#?}");
    assert!(bench.pretend().wakes().is_empty() && bench.pretend().statements().is_empty());
    let plan = said(&bench, &["evolve", "--plan"]).success();
    assert!(plan.out.contains("COPY INTO") && bench.pretend().statements().is_empty(), "{plan:#?}");
    let evolved = said(&bench, &["evolve"]).success();
    assert!(evolved.out.contains("shop.order_completed") && evolved.out.contains("was woken"), "{evolved:#?}");
    let status = said(&bench, &["status", "--json"]).success().json();
    let staged = &status["schemas"][0]["staged"];
    assert_eq!((staged["uploads"].as_u64(), staged["loaded"].as_u64()), (Some(0), Some(1)));
    let again = said(&bench, &["ingest", "--json", &place]).success().json();
    assert_eq!(again["uploads"][0]["status"], "already landed");
    assert_eq!(bench.read("shop.tracks").texts("id"), ["a"]);
}

#[test]
fn commands_that_need_a_lake_say_what_to_do_instead() {
    let bench = Bench::new();
    for line in [&["verify"][..], &["sql"], &["mend"], &["run-sql", "OPTIMIZE web.tracks"]] {
        let said = said(&bench, line);
        assert_eq!(said.code, Some(78), "{said:#?}");
        assert!(format!("{}{}", said.out, said.err).contains("the tables are managed"), "{said:#?}");
    }
    let place = upload(&bench, "a");
    let lake = bench.0.room.lake().display().to_string();
    let said = said(&bench, &["ingest", "--lake", &lake, &place]);
    assert!(said.code == Some(78) && said.err.contains("the settings' tables are managed"), "{said:#?}");
}

#[test]
fn what_inlet_made_goes_and_staged_rows_only_when_they_are_named() {
    let bench = Bench::told(&format!("{}\nname = \"x\"", http_path()));
    said(&bench, &["ingest", &upload(&bench, "a")]).success();
    said(&bench, &["evolve"]).success();
    said(&bench, &["ingest", &upload(&bench, "b")]).success();
    let listed = said(&bench, &["teardown"]).success();
    assert!(listed.out.contains("segment.shop.tracks") && listed.out.contains("segment._inlet.staging"), "{listed:#?}");
    let kept = said(&bench, &["teardown", "--yes"]).success();
    assert!(kept.err.contains("they stay in the volume"), "{kept:#?}");
    assert!(bench.pretend().table("segment.shop.tracks").is_some());
    assert!(bench.pretend().table("segment.shop.tracks__unique").is_none(), "views go");
    let refused = said(&bench, &["teardown", "--yes", "--data"]);
    assert_eq!(refused.code, Some(78), "{refused:#?}");
    said(&bench, &["teardown", "--yes", "--data", "--held"]).success();
    assert!(bench.pretend().tables().is_empty(), "{:?}", bench.pretend().tables());
    assert!(!bench.pretend().schemas().iter().any(|name| name.ends_with("shop") || name.ends_with("_inlet")));
}

#[test]
fn the_connection_test_proves_the_volume() {
    let bench = Bench::new();
    let report = said(&bench, &["connect", "--json"]).success().json();
    let step = |name: &str| report["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap();
    assert_eq!((&step("staging")["status"], &step("storage")["status"]), (&"passed".into(), &"skipped".into()));
    assert!(!bench.pretend().schemas().iter().any(|name| name.contains("inlet_connect")), "nothing is left");
    let denied = json!({"error_code": "PERMISSION_DENIED",
                        "message": "User does not have CREATE VOLUME on Schema 'segment.inlet_connect'."});
    let denied = Wrong::Answer { status: 403, body: denied, headers: vec![] };
    bench.pretend().fault(Fault::on("POST", "/api/2.1/unity-catalog/volumes", denied));
    let blamed = said(&bench, &["connect", "--json"]);
    assert_eq!(blamed.code, Some(78), "{blamed:#?}");
    let blamed = blamed.json();
    let failed: Vec<_> = blamed["steps"].as_array().unwrap().iter().filter(|step| step["status"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{blamed:#?}");
    assert!(
        failed[0]["step"] == "staging" && failed[0]["fault"]["message"].as_str().unwrap().contains("CREATE VOLUME")
    );
}
