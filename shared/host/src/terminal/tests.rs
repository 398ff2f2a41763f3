//! The face from arguments to exit code, with functions that land nothing.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use inlet_core::report::{Counts, Totals, UploadReport};
use serde_json::Value;

use super::output::Output;
use inlet_core::route::{Parts, PlanOver, Watch};
use inlet_core::upload::Upload;

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Answer {
    code: u8,
    out: String,
    err: String,
}

/// Lands every upload with one rejected line; an upload called `bad` is rejected whole, `bug` panics.
fn landing(_: &Parts, uploads: Vec<Upload>, watch: &dyn Watch) -> Report {
    let mut report = Report::new();
    for upload in uploads {
        assert!(!upload.name.ends_with("bug"), "a bug");
        let rejected = upload.name.ends_with("bad");
        let one = UploadReport {
            upload_id: upload.id.to_string(),
            status: if rejected { Status::Rejected } else { Status::Landed },
            counts: Counts { events: 2, landed: u64::from(!rejected), rejected: 1, ..Counts::default() },
            tables: Vec::new(),
            fault: rejected.then(|| FaultReport::from(&Fault::rejected("no lines of JSON"))),
            upload: upload.name,
        };
        watch.finished(&one);
        report.push(one);
    }
    report
}

fn planning(over: PlanOver<'_>, _: &Settings, uploads: Vec<Upload>, watch: &dyn Watch) -> PlanReport {
    assert!(matches!(over, PlanOver::Nothing));
    let mut totals = Totals::default();
    for upload in uploads {
        watch.read(upload.size);
        totals.uploads += 1;
    }
    PlanReport { totals, ..PlanReport::new() }
}

fn inlet(line: &[&str], input: &'static str) -> Answer {
    let (out, err) = (Buffer::default(), Buffer::default());
    let streams = Streams {
        input: Box::new(input.as_bytes()),
        out: Output::new(Box::new(out.clone())),
        err: Output::new(Box::new(err.clone())),
        progress: false,
        keyboard: false,
    };
    let line: Vec<OsString> = std::iter::once("inlet").chain(line.iter().copied()).map(OsString::from).collect();
    let functions = Functions {
        ingest: landing,
        evolve: inlet_core::evolve::evolve,
        connect: inlet_core::connect::connect,
        plan: planning,
    };
    let code = answer(&line, &functions, streams);
    Answer { code, out: out.text(), err: err.text() }
}

fn one_object(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).unwrap()
}

/// A folder with these uploads, and the words for it and for its lake.
fn here(names: &[&str]) -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    for name in names {
        fs::write(folder.path().join("in").join(name), name).unwrap();
    }
    let word = |name: &str| folder.path().join(name).display().to_string();
    let (input, lake) = (word("in"), word("lake"));
    (folder, input, lake)
}

#[test]
fn each_time_that_an_upload_lands_it_has_another_id() {
    let (_folder, input, lake) = here(&["a"]);
    let id = |more: &[&str]| {
        let answer = inlet(&[&["ingest", &input, "--lake", &lake, "--json"], more].concat(), "");
        one_object(&answer.out)["uploads"][0]["upload_id"].clone()
    };
    assert_eq!(id(&["--again", "2"]), id(&["--again", "2"]));
    assert_ne!(id(&["--again", "2"]), id(&["--again", "3"]));
    assert_ne!(id(&[]), id(&["--again", "2"]));
    assert_eq!(inlet(&["ingest", &input, "--lake", &lake, "--again", "1"], "").code, 64);
}

#[test]
fn json_is_one_object_with_the_totals() {
    let (_folder, input, lake) = here(&["a", "b", ".hidden"]);
    let answer = inlet(&["ingest", &input, "--lake", &lake, "--json"], "");
    let object = one_object(&answer.out);
    assert_eq!(object["function"], "ingest");
    assert_eq!(object["uploads"].as_array().unwrap().len(), 2);
    assert_eq!(object["uploads"][0]["status"], "landed");
    assert_eq!((&object["totals"]["skipped"], &object["totals"]["events"]), (&1.into(), &4.into()));
    assert!(object.get("fault").is_none());
    assert_eq!(answer.err, "warning: 2 events were rejected: see `_rejects`\n");
    assert_eq!(answer.code, 0);
    assert_eq!(inlet(&["ingest", &input, "--lake", &lake, "--json", "--strict"], "").code, 65);
}

#[test]
fn json_lines_end_with_the_totals() {
    let (_folder, input, lake) = here(&["a", "b"]);
    let answer = inlet(&["ingest", &input, "--lake", &lake, "--json-lines"], "");
    let lines: Vec<Value> = answer.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[..2].iter().all(|line| line["status"] == "landed"));
    assert_eq!(lines[2]["totals"]["uploads"], 2);
}

#[test]
fn a_setup_fault_is_one_object_too() {
    let answer = inlet(&["ingest", "-", "--json"], "{}");
    let object = one_object(&answer.out);
    assert_eq!((object["uploads"].as_array().unwrap().len(), &object["totals"]["events"]), (0, &0.into()));
    assert_eq!(object["fault"]["kind"], "setup");
    assert_eq!(object["fault"]["hint"], "inlet ingest - --lake ./lake");
    assert_eq!(answer.code, 78);
    assert!(answer.err.contains("\nhint: inlet ingest - --lake ./lake\n"), "{}", answer.err);
    let lines = inlet(&["ingest", "-", "--json-lines"], "{}");
    assert_eq!(one_object(&lines.out)["fault"]["kind"], "setup");
}

#[test]
fn a_wrong_line_is_answered_in_its_form() {
    let answer = inlet(&["ingest", "--json", "--nonsense", "x"], "");
    assert_eq!(one_object(&answer.out)["fault"]["message"], "unexpected argument '--nonsense' found");
    assert_eq!(answer.code, 64);
    assert!(inlet(&["ingest"], "").out.is_empty());
    let version = inlet(&["--version"], "");
    assert_eq!((version.code, version.out), (0, format!("inlet {}\n", env!("CARGO_PKG_VERSION"))));
    assert!(inlet(&["--help"], "").out.contains("Examples:"));
}

#[cfg(not(feature = "verify"))]
#[test]
fn a_build_without_verify_says_which_has_it() {
    let answer = inlet(&["verify", "--lake", "./lake", "--json"], "");
    assert_eq!((answer.code, &one_object(&answer.out)["fault"]["kind"]), (78, &"setup".into()));
    assert!(answer.err.contains("\nhint: builds for terminals have it"), "{}", answer.err);
}

#[cfg(feature = "verify")]
#[test]
fn verify_reads_no_standard_input() {
    let (_folder, _, lake) = here(&[]);
    let answer = inlet(&["verify", "-", "--lake", &lake, "--json"], "{}");
    assert_eq!((answer.code, &one_object(&answer.out)["fault"]["kind"]), (78, &"setup".into()));
    fs::create_dir(&lake).unwrap();
    let answer = inlet(&["verify", "-", "--lake", &lake], "{}");
    assert!(answer.err.starts_with("setup: `verify` reads no standard input\nhint: "), "{}", answer.err);
}

#[test]
fn an_upload_rejected_whole_does_not_stop_the_others() {
    let (_folder, input, lake) = here(&["a", "bad", "c"]);
    let answer = inlet(&["ingest", &input, "--lake", &lake], "");
    assert_eq!(answer.code, 65);
    assert!(answer.out.starts_with("2 uploads landed, 1 rejected\n"), "{}", answer.out);
    assert!(answer.err.starts_with("rejected: `") && answer.err.ends_with("no lines of JSON\n"), "{}", answer.err);
}

#[test]
fn a_panic_is_answered_as_a_bug() {
    let (_folder, input, lake) = here(&["bug"]);
    let answer = inlet(&["ingest", &input, "--lake", &lake, "--json"], "");
    assert_eq!((answer.code, &one_object(&answer.out)["fault"]["kind"]), (70, &"bug".into()));
}

#[test]
fn a_plan_needs_no_lake() {
    let answer = inlet(&["ingest", "-", "--plan", "--json"], "{}");
    let object = one_object(&answer.out);
    assert_eq!((&object["plan"], &object["totals"]["uploads"]), (&true.into(), &1.into()));
    assert_eq!(answer.code, 0);
}

#[test]
fn a_plan_makes_no_lake() {
    let (folder, input, lake) = here(&["a"]);
    assert_eq!(inlet(&["ingest", &input, "--plan", "--lake", &lake], "").code, 0);
    assert!(!folder.path().join("lake").exists());
}

#[test]
fn the_gravest_fault_is_the_exit_code() {
    let mut report = Report::new();
    for fault in [Fault::rejected("a"), Fault::again("b"), Fault::setup("c")] {
        report.push(UploadReport {
            upload: "x".to_owned(),
            upload_id: String::new(),
            status: Status::Failed,
            counts: Counts::default(),
            tables: Vec::new(),
            fault: Some(FaultReport::from(&fault)),
        });
        let own = fault.kind().exit_code();
        assert_eq!(exit_code(&report, false), own, "each is graver than those before");
    }
    report.fault = Some(FaultReport::from(&Fault::bug("d")));
    assert_eq!(exit_code(&report, false), 70);
    let mut rescued = Report::new();
    rescued.totals.counts.rescued = 1;
    assert_eq!((exit_code(&rescued, false), exit_code(&rescued, true)), (0, 65));
}
