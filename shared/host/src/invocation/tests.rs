//! Calls from their envelope to their answer, over a lake in a folder and a landing store in memory.

use std::time::Duration;

use inlet_core::delta::Table;
use inlet_core::fault::FaultKind;
use inlet_core::status;
use serde_json::{Value, json};

use super::*;
use crate::installation::testing::Site;
use crate::landing::testing::Odd;
use crate::log::{self, Metrics};
use crate::trigger::Trigger;

const HOUR: Duration = Duration::from_secs(3_600);

fn event(id: &str) -> String {
    json!({"type": "identify", "messageId": id, "userId": "u", "receivedAt": "2026-01-02T03:04:05Z"}).to_string()
}

fn notification(keys: &[&str]) -> Value {
    let record = |key: &&str| {
        json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "acme-landing"}, "object": {"key": key, "size": 9, "eTag": "stale"}}})
    };
    json!({"Records": keys.iter().map(record).collect::<Vec<_>>()})
}

fn sqs(messages: &[(&str, u32, String)]) -> Value {
    let message = |(id, receives, body): &(&str, u32, String)| {
        json!({"eventSource": "aws:sqs", "messageId": id, "body": body,
            "attributes": {"ApproximateReceiveCount": receives.to_string()}})
    };
    json!({"Records": messages.iter().map(message).collect::<Vec<_>>()})
}

fn called(site: &Site, function: Function, payload: &Value, left: Duration) -> Vec<Outcome> {
    let log = Log::new("test", "1", Metrics::Plain);
    let dock = Dock { functions: &site.functions, installation: &site.installation, host: "lambda", whole: HOUR };
    let call = Call { dock, function, ends: Deadline::after(left), log: &log };
    let messages = Trigger::of_lambda(payload).messages;
    let tasks = messages.into_iter().map(|message| Task::of(&call, message)).collect();
    answer(&call, tasks)
}

fn ingest(site: &Site, payload: &Value) -> Vec<Outcome> {
    called(site, Function::Ingest, payload, HOUR)
}

/// What this thread's log says since it was last asked: the lines with a message, and the numbers of the calls.
fn lines() -> (Vec<Value>, Vec<Value>) {
    log::testing::taken().into_iter().partition(|line| line["message"] != "metrics")
}

/// The line with this message; there is one.
fn line(lines: &[Value], message: &str) -> Value {
    let mut found = lines.iter().filter(|line| line["message"].as_str().unwrap().starts_with(message));
    let (Some(line), None) = (found.next(), found.next()) else { panic!("not one `{message}` in {lines:#?}") };
    line.clone()
}

fn kinds(outcomes: &[Outcome]) -> Vec<Option<FaultKind>> {
    outcomes.iter().map(|outcome| outcome.fault.as_ref().map(|fault| fault.kind)).collect()
}

/// Events that landed, and commits of their call table.
fn landed(site: &Site) -> (u64, u64) {
    let open = site.open();
    let status = status::status(&open.lake, &open.lake.schemas().unwrap()).unwrap();
    let table = Table::open(&open.lake, "events", "identifies").unwrap();
    (status.schemas.iter().map(|schema| schema.all.counts.landed).sum(), table.map_or(0, |table| table.version() + 1))
}

#[test]
fn a_batch_lands_in_one_commit_and_a_poison_message_fails_alone() {
    let site = Site::new();
    let messages: Vec<_> = (0..9)
        .map(|number| {
            let key = format!("in/{number}.json");
            site.landing.put(&key, &event(&format!("m{number}")));
            (["a", "b", "c", "d", "e", "f", "g", "h", "i"][number], 1, notification(&[&key]).to_string())
        })
        .chain([("poison", 1, "{\"what\": 1}".to_owned())])
        .collect();
    let outcomes = ingest(&site, &sqs(&messages));
    let mut expected = vec![None; 9];
    expected.push(Some(FaultKind::Rejected));
    assert_eq!(kinds(&outcomes), expected);
    assert_eq!(landed(&site), (9, 1));
}

#[test]
fn a_message_that_came_before_lands_alone() {
    let site = Site::new();
    for key in ["in/a.json", "in/b.json", "in/c.json"] {
        site.landing.put(key, &event(key));
    }
    let message = |id, receives, key| (id, receives, notification(&[key]).to_string());
    let all = [message("1", 1, "in/a.json"), message("2", 2, "in/b.json"), message("3", 1, "in/c.json")];
    assert_eq!(kinds(&ingest(&site, &sqs(&all))), [None, None, None]);
    assert_eq!(landed(&site), (3, 2), "the new ones together, then the old one");
}

#[test]
fn an_object_that_is_announced_twice_lands_once_in_the_form_that_it_has() {
    let site = Site::new();
    site.landing.put("in/a b+c.json", &event("m"));
    let twice = [("1", 1, notification(&["in/a+b%2Bc.json"]).to_string()); 1];
    let both = [twice[0].clone(), ("2", 1, twice[0].2.clone())];
    let outcomes = ingest(&site, &sqs(&both));
    assert_eq!(kinds(&outcomes), [None, None]);
    let statuses: Vec<_> = outcomes.iter().map(|one| one.report["uploads"][0]["status"].clone()).collect();
    assert_eq!(statuses, ["landed", "already landed"]);
    assert_eq!(ingest(&site, &notification(&["in/a+b%2Bc.json"]))[0].report["uploads"][0]["status"], "already landed");
    assert_eq!(landed(&site), (1, 1));
}

#[test]
fn what_is_gone_or_no_upload_is_acknowledged_and_counted() {
    let site = Site::new();
    site.landing.put("in/.hidden/a.json", &event("m"));
    let outcomes = ingest(&site, &notification(&["in/gone.json", "in/.hidden/a.json", "in/dummy-object.txt"]));
    assert_eq!(kinds(&outcomes), [None]);
    assert_eq!(outcomes[0].report["totals"]["skipped"], 3);
    assert_eq!(landed(&site), (0, 0));
}

#[test]
fn a_place_that_is_not_configured_is_refused_and_fails_its_message_alone() {
    let site = Site::new();
    site.landing.put("in/a.json", &event("m"));
    site.landing.put("other/a.json", &event("n"));
    let message = |id, key| (id, 1, notification(&[key]).to_string());
    let outcomes = ingest(&site, &sqs(&[message("1", "other/a.json"), message("2", "in/a.json")]));
    assert_eq!(kinds(&outcomes), [Some(FaultKind::Setup), None]);
    let fault = outcomes[0].fault.as_ref().unwrap();
    assert_eq!(fault.message, "`s3://acme-landing/other/a.json` is no place that uploads come from");
    assert!(fault.hint.as_ref().unwrap().contains("s3://acme-landing/in/"));
    assert_eq!(landed(&site), (1, 1));
}

#[test]
fn an_object_that_may_not_land_fails_its_message_and_the_others_of_it_land_once() {
    let site = Site::new();
    for key in ["in/a.json", "in/c.json", "other/b.json"] {
        site.landing.put(key, &event(key));
    }
    let body = notification(&["in/a.json", "other/b.json", "in/gone.json", "in/c.json"]).to_string();
    for (receives, became) in [(1, "landed"), (2, "already landed")] {
        let outcomes = ingest(&site, &sqs(&[("1", receives, body.clone())]));
        assert_eq!(kinds(&outcomes), [Some(FaultKind::Setup)]);
        let report = &outcomes[0].report;
        let statuses: Vec<_> = report["uploads"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
        assert_eq!((statuses, &report["totals"]["skipped"]), (vec![&json!(became); 2], &json!(1)));
        assert_eq!(report["fault"]["kind"], "setup");
        let (said, numbers) = lines();
        let refused = line(&said, "`s3://acme-landing/other/b.json` is no place");
        assert_eq!(
            (&refused["object"], &refused["level"]),
            (&json!("s3://acme-landing/other/b.json"), &json!("ERROR"))
        );
        assert_eq!((&refused["receives"], &numbers[0]["Failed"]), (&json!(receives), &json!(1.0)));
        assert_eq!(landed(&site), (2, 1));
    }
}

#[test]
fn an_object_that_the_store_says_nothing_of_gives_its_message_back_and_nothing_lands_twice() {
    let site = Site::new();
    for key in ["in/a.json", "in/b.json", "in/c.json"] {
        site.landing.put(key, &event(key));
    }
    site.landing.set_odd("in/b.json", Some(Odd::Silent));
    let message =
        |receives| sqs(&[("1", receives, notification(&["in/a.json", "in/b.json", "in/c.json"]).to_string())]);
    assert_eq!(kinds(&ingest(&site, &message(1))), [Some(FaultKind::Again)]);
    assert_eq!(landed(&site), (1, 1), "what was looked at before");
    site.landing.set_odd("in/b.json", None);
    assert_eq!(kinds(&ingest(&site, &message(2))), [None]);
    assert_eq!(landed(&site), (3, 2));
}

#[test]
fn an_object_that_is_deleted_or_rewritten_while_it_is_read_lands_as_it_is_then() {
    let site = Site::new();
    for key in ["in/a.json", "in/b.json", "in/c.json"] {
        site.landing.put(key, &event(key));
    }
    for key in ["in/b.json", "in/c.json"] {
        site.landing.set_odd(key, Some(Odd::Vanishing));
    }
    let message =
        |receives| sqs(&[("1", receives, notification(&["in/a.json", "in/b.json", "in/c.json"]).to_string())]);
    assert_eq!(kinds(&ingest(&site, &message(1))), [Some(FaultKind::Again)]);
    assert_eq!(landed(&site).0, 1);
    site.landing.set_odd("in/c.json", None);
    site.landing.put("in/c.json", &format!("{}\n{}", event("new"), event("in/a.json")));
    let outcomes = ingest(&site, &message(2));
    assert_eq!((kinds(&outcomes), &outcomes[0].report["totals"]["skipped"]), (vec![None], &json!(1)));
    assert_eq!(landed(&site).0, 3, "the first, and both events of the form that the third has now");
    lines();
    assert_eq!(kinds(&ingest(&site, &message(3))), [None]);
    assert_eq!((landed(&site).0, &lines().1[0]["Rows"]), (3, &json!(0.0)));
}

#[test]
fn an_event_of_an_unknown_form_fails_its_message_and_the_others_of_it_land() {
    let site = Site::new();
    site.landing.put("in/a.json", &event("m"));
    let mut mixed = notification(&["in/a.json", "in/b.json"]);
    mixed["Records"][1]["eventName"] = json!("ObjectTeleported:Put");
    let outcomes = ingest(&site, &sqs(&[("1", 1, mixed.to_string())]));
    assert_eq!((kinds(&outcomes), landed(&site)), (vec![Some(FaultKind::Rejected)], (1, 1)));
    assert!(line(&lines().0, "S3 announces `ObjectTeleported:Put`").get("upload").is_none());
    assert_eq!(kinds(&called(&site, Function::Evolve, &mixed, HOUR)), [Some(FaultKind::Rejected)]);
}

#[test]
fn many_notes_are_one_evolve() {
    let site = Site::new();
    let note = |number: u32| notification(&[&format!("lake/_inlet/catalog/behind/{number}.json")]).to_string();
    let messages = [("1", 1, note(1)), ("2", 2, note(2)), ("3", 1, note(3))];
    for function in [Function::Evolve, Function::Any] {
        let outcomes = called(&site, function, &sqs(&messages), HOUR);
        assert_eq!(kinds(&outcomes), [Some(FaultKind::Setup); 3], "there is no workspace");
        line(&lines().0, "the settings name no Databricks workspace");
    }
}

#[test]
fn an_upload_that_no_call_could_land_is_refused_with_the_line_that_does_and_the_others_land() {
    let site = Site::new();
    for key in ["in/a.json", "in/b.json", "in/c.json"] {
        site.landing.put(key, &event(key));
    }
    site.landing.set_odd("in/b.json", Some(Odd::Bytes(100 << 30)));
    let outcomes = ingest(&site, &sqs(&[("1", 1, notification(&["in/a.json", "in/b.json", "in/c.json"]).to_string())]));
    assert_eq!(kinds(&outcomes), [Some(FaultKind::Setup)]);
    let fault = outcomes[0].fault.as_ref().unwrap();
    assert!(fault.message.starts_with("larger than one call of this function can land"), "{}", fault.message);
    assert!(fault.hint.as_ref().unwrap().contains("inlet ingest 's3://acme-landing/in/b.json' --lake '"));
    assert_eq!((landed(&site).0, &lines().1[0]["Failed"]), (2, &json!(1.0)));
}

#[test]
fn a_folder_that_was_renamed_to_a_landing_place_is_told() {
    let site = Site::new();
    let renamed = |to: &str| {
        json!({"specversion": "1.0", "type": "Microsoft.Storage.DirectoryRenamed", "source": "s", "id": "1",
            "data": {"api": "RenameDirectory", "destinationUrl": format!("https://acme.dfs.core.windows.net/{to}")}})
    };
    let outcomes = ingest(&site, &json!([renamed("landing/in/day%201"), renamed("archive/day")]));
    assert_eq!((kinds(&outcomes), &outcomes[0].report["totals"]["skipped"]), (vec![None], &json!(2)));
    let (said, _) = lines();
    let told = line(&said, "a folder was renamed");
    assert_eq!(told["object"], "abfss://landing@acme.dfs.core.windows.net/in/day%201/");
    let (_, ask) = told["hint"].as_str().unwrap().split_once("ask for ").unwrap();
    let asked = Trigger::of_lambda(&serde_json::from_str(ask).unwrap()).messages.remove(0).content.unwrap();
    let places = vec![told["object"].as_str().unwrap().to_owned()];
    let Content::Ask(asked) = asked else { panic!("{asked:?}") };
    assert_eq!(asked, Ask::Ingest { places, schema: None }, "the hint is an ask as it stands");
    assert_eq!(line(&said, "skipped")["reasons"], json!({"folder_renamed": 2}));
}

#[test]
fn an_upload_that_can_never_land_is_acknowledged_since_it_is_put_aside() {
    let site = Site::new();
    site.landing.put("in/a.gz", "\u{1f}\u{8b}no gzip");
    site.landing.put("in/b.txt", "no json at all");
    let outcomes = ingest(&site, &notification(&["in/a.gz", "in/b.txt"]));
    assert_eq!(kinds(&outcomes), [None]);
    let statuses: Vec<_> = (0..2).map(|place| outcomes[0].report["uploads"][place]["status"].clone()).collect();
    assert_eq!(statuses, ["rejected", "rejected"]);
}

#[test]
fn with_little_time_left_nothing_is_begun() {
    let site = Site::new();
    site.landing.put("in/a.json", &event("m"));
    let outcomes = called(&site, Function::Ingest, &notification(&["in/a.json"]), Duration::from_secs(10));
    assert_eq!(kinds(&outcomes), [Some(FaultKind::Again)]);
    assert_eq!(landed(&site), (0, 0));
    assert_eq!(kinds(&ingest(&site, &notification(&["in/a.json"]))), [None]);
    assert_eq!(landed(&site), (1, 1));
}

#[test]
fn a_schedule_and_a_person_call_a_function_by_what_it_does() {
    let site = Site::new();
    site.landing.put("in/a.json", &event("m"));
    let tick = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
    let outcomes = called(&site, Function::Backfill, &tick, HOUR);
    assert_eq!((kinds(&outcomes), landed(&site)), (vec![None], (1, 1)));
    assert_eq!(kinds(&called(&site, Function::Ingest, &tick, HOUR)), [Some(FaultKind::Setup)]);
    let outcomes = called(&site, Function::Evolve, &tick, HOUR);
    assert!(outcomes[0].fault.as_ref().unwrap().message.contains("no Databricks workspace"));
    let outcomes = called(&site, Function::Maintain, &tick, HOUR);
    assert_eq!((kinds(&outcomes), &outcomes[0].report["looked_at"]), (vec![None], &json!(2)), "tracks and _loads");
    for (ask, function) in [("status", "status"), ("tidy", "tidy"), ("backfill", "backfill"), ("maintain", "maintain")]
    {
        let outcomes = called(&site, Function::Any, &json!({"action": ask}), HOUR);
        assert_eq!((kinds(&outcomes), &outcomes[0].report["function"]), (vec![None], &json!(function)));
    }
}

#[test]
fn asks_that_are_the_same_are_done_once() {
    let site = Site::new();
    let ask = |id| (id, 1, json!({"action": "status"}).to_string());
    let outcomes = called(&site, Function::Any, &sqs(&[ask("1"), ask("2")]), HOUR);
    assert_eq!(outcomes[0].report, outcomes[1].report);
    assert_eq!(kinds(&outcomes), [None, None]);
}

#[test]
fn a_call_says_how_late_what_it_landed_was_and_nothing_of_what_had_landed() {
    let site = Site::new();
    site.landing.put("in/a.json", &event("m"));
    ingest(&site, &notification(&["in/a.json", "in/dummy-object.txt"]));
    let (said, numbers) = lines();
    assert_eq!(line(&said, "skipped")["reasons"], json!({"placeholder": 1}));
    let upload = line(&said, "landed");
    assert_eq!((&upload["rows"], &upload["upload"]), (&json!(1), &json!("in/a.json")));
    assert!(said.iter().chain(&numbers).all(|line| line["invocation"] == "1" && line["function"] == "test"));
    let [numbers] = numbers.as_slice() else { panic!("{numbers:?}") };
    assert_eq!((&numbers["Uploads"], &numbers["Rows"], &numbers["Skipped"]), (&json!(1.0), &json!(1.0), &json!(1.0)));
    assert!(numbers["Lag"].as_f64().unwrap() > 1e9, "it was last changed in 1970");
    let is_above = |name: &str| numbers[name].as_f64().unwrap() > 0.0;
    assert!(["Commits", "Duration", "Memory"].into_iter().all(is_above), "{numbers}");
    ingest(&site, &notification(&["in/a.json"]));
    assert!(lines().1[0].get("Lag").is_none());
}

#[test]
fn what_a_listing_leads_to_is_said_as_what_is_announced() {
    let site = Site::new();
    site.landing.put("in/a.json", &event("m"));
    site.landing.put("in/b.txt", "no json at all");
    let backfill = json!({"action": "backfill"});
    called(&site, Function::Backfill, &backfill, HOUR);
    let (said, numbers) = lines();
    assert_eq!(line(&said, "landed")["upload"], "in/a.json");
    assert_eq!(said.iter().filter(|line| line["status"] == "rejected" && line["level"] == "WARN").count(), 1);
    assert_eq!(line(&said, "backfilled")["listed"], 2);
    assert_eq!((&numbers[0]["Uploads"], &numbers[0]["Rejected"]), (&json!(2.0), &json!(1.0)));
    called(&site, Function::Backfill, &backfill, HOUR);
    let (said, numbers) = lines();
    assert_eq!(line(&said, "backfilled")["already_landed"], 2);
    assert_eq!((&numbers[0]["Uploads"], &numbers[0]["Failed"]), (&json!(0.0), &json!(0.0)));
    called(&site, Function::Any, &json!({"action": "tidy"}), HOUR);
    assert_eq!(line(&lines().0, "tidy")["looked_at"], 3);
}

#[test]
fn a_connection_test_is_said_in_one_line_and_what_is_wrong_in_lines_of_its_own() {
    let site = Site::new();
    let outcomes = called(&site, Function::Connect, &json!({"action": "connect"}), HOUR);
    let steps = outcomes[0].report["steps"].as_array().unwrap();
    let (said, _) = lines();
    let whole = line(&said, "connect");
    let count = |status: &str| steps.iter().filter(|step| step["status"] == status).count();
    assert_eq!(whole["status"], outcomes[0].report["status"]);
    for (name, status) in [("passed", "passed"), ("warnings", "warning"), ("failed", "failed"), ("skipped", "skipped")]
    {
        assert_eq!(whole[name], count(status), "{name}");
    }
    assert!(whole["milliseconds"].is_u64());
    assert_eq!(said.iter().filter(|line| line.get("step").is_some()).count(), count("failed") + count("warning"));
}

#[test]
fn a_connection_test_is_answered_with_its_report_whatever_it_found() {
    let site = Site::new();
    let tick = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
    for payload in [json!({"action": "connect"}), tick] {
        let outcomes = called(&site, Function::Connect, &payload, HOUR);
        assert_eq!(kinds(&outcomes), [None]);
        let steps = outcomes[0].report["steps"].as_array().unwrap();
        assert!(steps.len() > 10 && steps.iter().all(|step| step["status"].is_string()), "{}", outcomes[0].report);
    }
}
