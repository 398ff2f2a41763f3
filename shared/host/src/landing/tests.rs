//! What is found, what is skipped, and what is refused before anything lands.

use std::fs;
use std::path::PathBuf;

use inlet_core::fault::FaultKind;
use tempfile::TempDir;

use super::*;

struct Here {
    folder: TempDir,
    runtime: tokio::runtime::Runtime,
    settings: Settings,
}

impl Here {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        Self { folder, runtime, settings: Settings::from_environment().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gather(&self, places: &[&str], lake: Option<&str>, stdin: &str) -> Result<Landing, Fault> {
        let places: Vec<OsString> = places
            .iter()
            .map(|place| if *place == "-" { OsString::from("-") } else { self.path(place).into_os_string() })
            .collect();
        let lake = lake.map(|lake| crate::lake::to_write(Some(self.path(lake).as_os_str()), "").unwrap());
        let ask = Ask { schema: None, lake: lake.as_ref(), settings: &self.settings, runtime: self.runtime.handle() };
        gather(&places, &ask, &mut stdin.as_bytes())
    }

    fn refusal(&self, places: &[&str], lake: Option<&str>) -> (String, String) {
        let fault = self.gather(places, lake, "").unwrap_err();
        assert_eq!(fault.kind(), FaultKind::Setup);
        (fault.to_string(), fault.hint_text().unwrap_or_default().to_owned())
    }
}

#[test]
fn a_folder_is_walked_in_key_order_and_what_is_no_upload_is_counted() {
    let here = Here::new(&[
        ("in/b/2.gz", "2"),
        ("in/b/1.gz", "1"),
        ("in/a.ndjson", "{}"),
        ("in/.DS_Store", "x"),
        ("in/.git/config", "x"),
        ("in/empty.gz", ""),
        ("in/segment-logs/dummy-object.txt", "hello"),
    ]);
    let landing = here.gather(&["in"], Some("lake"), "").unwrap();
    let names: Vec<&str> = landing.uploads.iter().map(|upload| upload.name.as_str()).collect();
    let expected = ["in/a.ndjson", "in/b/1.gz", "in/b/2.gz"].map(|name| here.path(name).display().to_string());
    assert_eq!(names, expected);
    assert_eq!(landing.skipped, 4);
    assert!(landing.uploads.iter().all(|upload| upload.schema == "events" && upload.size > 0));
}

#[test]
fn the_same_content_is_the_same_upload_under_another_key() {
    let here = Here::new(&[("a/x.ndjson", "{}"), ("b/y.ndjson", "{}")]);
    let landing = here.gather(&["a", "b/y.ndjson", "-"], None, "{}").unwrap();
    let [a, b, stdin] = landing.uploads.as_slice() else { panic!("{landing:?}") };
    assert!(a.id == b.id && b.id == stdin.id);
    assert!(a.key != b.key && stdin.key.is_none());
    assert_eq!(stdin.name, "-");
}

#[test]
fn one_file_named_twice_is_one_upload() {
    let here = Here::new(&[("a/x.ndjson", "{}")]);
    let landing = here.gather(&["a", "a/x.ndjson", "a/../a", "a"], None, "").unwrap();
    assert_eq!(landing.uploads.len(), 1);
}

#[test]
fn a_single_empty_file_and_empty_input_are_skipped_not_refused() {
    let here = Here::new(&[("empty", "")]);
    let landing = here.gather(&["empty", "-"], None, "").unwrap();
    assert_eq!((landing.uploads.len(), landing.skipped), (0, 2));
}

#[test]
fn an_empty_folder_is_refused() {
    let here = Here::new(&[]);
    fs::create_dir_all(here.path("in/deeper")).unwrap();
    assert!(here.refusal(&["in"], None).0.ends_with("is empty: there is nothing to land"));
}

#[test]
fn a_wrong_name_is_answered_with_the_nearest() {
    let here = Here::new(&[("uploads/x", "{}")]);
    let (message, hint) = here.refusal(&["uplods"], None);
    assert_eq!(message, format!("no such file or folder: `{}`", here.path("uplods").display()));
    assert_eq!(hint, format!("did you mean `{}`?", here.path("uploads").display()));
}

#[test]
fn lake_and_input_must_not_lie_inside_each_other() {
    let here = Here::new(&[("lake/events/tracks/_delta_log/0.json", "{}"), ("in/x", "{}")]);
    assert!(here.refusal(&["lake/events"], Some("lake")).0.contains("lies inside the lake"));
    assert!(here.refusal(&["lake"], Some("lake")).0.contains("lies inside the lake"));
    assert!(here.refusal(&["in"], Some("in/lake")).0.contains("lies inside the input"));
    here.gather(&["in/x"], Some("in.lake"), "").unwrap();
    here.gather(&["in/x"], Some("in/lake"), "").unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_into_the_lake_is_inside_it() {
    let here = Here::new(&[("lake/events/tracks/_delta_log/0.json", "{}"), ("in/x", "{}")]);
    std::os::unix::fs::symlink(here.path("lake"), here.path("in/link")).unwrap();
    assert!(here.refusal(&["in"], Some("lake")).0.contains("lies inside the lake"));
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_fails_alone() {
    let here = Here::new(&[("in/x", "{}")]);
    std::os::unix::fs::symlink("nowhere", here.path("in/broken")).unwrap();
    let landing = here.gather(&["in"], None, "").unwrap();
    assert_eq!(landing.uploads.len(), 1);
    let failed = &landing.unreadable[0];
    assert_eq!((failed.status, failed.fault.as_ref().unwrap().kind), (Status::Failed, FaultKind::Setup));
}

#[test]
fn sources_give_schemas_and_a_line_that_offers_a_name() {
    let here = Here::new(&[("segment-logs/web/1432684800000/a", "1"), ("segment-logs/ios/1432684800000/b", "2")]);
    let landing = here.gather(&["segment-logs"], None, "").unwrap();
    let schemas: Vec<&str> = landing.uploads.iter().map(|upload| upload.schema.as_str()).collect();
    assert_eq!(schemas, ["ios", "web"]);
    assert!(landing.notes[0].ends_with("--schema NAME"), "{:?}", landing.notes);
}

#[test]
fn two_sources_of_one_name_are_refused_before_a_file_is_read() {
    let here = Here::new(&[("segment-logs/my-site/1/a", "1"), ("segment-logs/my_site/1/b", "2")]);
    assert!(here.refusal(&["segment-logs"], None).0.contains("would share the schema `my_site`"));
}

#[test]
fn standard_input_has_a_bound() {
    let mut here = Here::new(&[]);
    here.settings.limits.upload_bytes = 3;
    let fault = here.gather(&["-"], None, "1234").unwrap_err();
    assert_eq!(fault.to_string(), "standard input is larger than 3 bytes");
    assert_eq!(here.gather(&["-"], None, "123").unwrap().uploads.len(), 1);
}
