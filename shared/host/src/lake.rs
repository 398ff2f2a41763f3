//! From `--lake` to the lake's URL, with a look at what stands there: a run must never scatter tables over a folder
//! that is something else.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use inlet_core::databricks::Workspace;
use inlet_core::delta::Lake;
use inlet_core::fault::Fault;
use inlet_core::nearest::among;
use inlet_core::settings::Settings;
#[cfg(feature = "aws")]
use inlet_core::settings::StorageAccess;
use inlet_core::storage::open_lake;
use tokio::runtime::Handle;
use url::Url;

use crate::address::Address;
#[cfg(feature = "aws")]
use crate::cloud::aws;
use crate::landing::nearest;

/// A lake that is named, and not opened yet.
#[derive(Clone, Debug)]
pub(crate) struct LakeAddress {
    /// Its URL: `file:///…/`, or as it was written.
    pub(crate) url: Url,
    /// The same as a place to compare with; a local folder is absolute and without links.
    pub(crate) address: Address,
}

/// The lake that a command means: that of `--lake`, else that of the settings.
///
/// # Errors
/// Setup when both are given, are not one place, and a workspace's tables are registered in the second; when the tables
/// are managed, which stand in no lake.
pub(crate) fn meant(asked: Option<&OsStr>, settings: &Settings) -> Result<Option<OsString>, Fault> {
    if let (Some(asked), true) = (asked, settings.has_managed_tables()) {
        let asked = asked.to_string_lossy();
        return Err(Fault::setup(format!("`--lake {asked}` names a lake, and the settings' tables are managed"))
            .hint("leave `--lake` out, or name settings without a workspace: --settings FILE"));
    }
    let (Some(asked), Some(told)) = (asked, &settings.lake) else {
        return Ok(asked.map(OsStr::to_owned).or_else(|| settings.lake.as_deref().map(OsString::from)));
    };
    if settings.destination.is_some() && !is_one_place(asked, OsStr::new(told))? {
        let asked = asked.to_string_lossy();
        return Err(Fault::setup(format!(
            "`--lake {asked}` is not the lake of the settings, `{told}`, where the workspace looks for its tables"
        ))
        .hint("leave `--lake` out, or name settings without a workspace: --settings FILE"));
    }
    Ok(Some(asked.to_owned()))
}

fn is_one_place(left: &OsStr, right: &OsStr) -> Result<bool, Fault> {
    Ok(match (Address::parse(left)?, Address::parse(right)?) {
        (Address::Local(left), Address::Local(right)) => resolved(&left).ok() == resolved(&right).ok(),
        (Address::Store(left), Address::Store(right)) => left.holds(&right) && right.holds(&left),
        _ => false,
    })
}

/// Names a lake to write to: an empty or missing folder is a fine one.
pub(crate) fn to_write(text: Option<&OsStr>, line: &str) -> Result<LakeAddress, Fault> {
    let lake = named(text, line)?;
    if let Address::Local(path) = &lake.address {
        refuse_another_thing(path)?;
    }
    Ok(lake)
}

/// Names a lake to read from: it must be there.
pub(crate) fn to_read(text: Option<&OsStr>, line: &str) -> Result<LakeAddress, Fault> {
    let lake = to_write(text, line)?;
    match &lake.address {
        Address::Local(path) if !path.exists() => {
            let fault = Fault::setup(format!("no lake at `{}`", path.display()));
            Err(match nearest::existing(path) {
                Some(near) => fault.hint(format!("did you mean `{}`?", near.display())),
                None => fault.hint("inlet ingest PATH --lake DIR makes one"),
            })
        }
        _ => Ok(lake),
    }
}

/// Opens a lake as the settings say. Where they say nothing, a lake in S3 is used as whoever we are in AWS: by a profile or
/// a single sign-on too.
///
/// # Errors
/// As [`open_lake`]; Setup when nothing says who we are.
pub(crate) fn open(
    url: &Url,
    settings: &Settings,
    workspace: Option<&Workspace>,
    runtime: &Handle,
) -> Result<Lake, Fault> {
    #[cfg(feature = "aws")]
    if matches!(url.scheme(), "s3" | "s3a")
        && settings.storage == StorageAccess::Ambient
        && let Some(credentials) = runtime.block_on(aws::for_lake())?
    {
        return Lake::open_as(url, credentials, runtime.clone());
    }
    open_lake(url, settings, workspace, runtime)
}

/// The schemas of a lake, or the one that was asked for.
pub(crate) fn chosen(schemas: Vec<String>, name: Option<&str>) -> Result<Vec<String>, Fault> {
    let Some(name) = name else { return Ok(schemas) };
    if schemas.iter().any(|schema| schema == name) {
        return Ok(vec![name.to_owned()]);
    }
    let fault = Fault::setup(format!("no schema `{name}` in this lake"));
    Err(match among(name, schemas.iter().map(String::as_str)) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None if schemas.is_empty() => fault,
        None => fault.hint(format!("it has {}", schemas.join(", "))),
    })
}

fn named(text: Option<&OsStr>, line: &str) -> Result<LakeAddress, Fault> {
    let Some(text) = text else {
        return Err(Fault::setup("no lake is named: `--lake`, or `lake` in the settings, says where the tables live")
            .hint(line));
    };
    match Address::parse(text)? {
        Address::Stdin => Err(Fault::setup("`-` is no lake").hint(line)),
        Address::Local(path) => {
            let unusable = |error: io::Error| Fault::setup(format!("cannot use `{}`", path.display())).because(error);
            let path = resolved(&path).map_err(unusable)?;
            let url = Url::from_directory_path(&path)
                .map_err(|()| Fault::setup(format!("`{}` is no path that a URL can name", path.display())))?;
            Ok(LakeAddress { url, address: Address::Local(path) })
        }
        Address::Store(store) => Ok(LakeAddress { url: store.url.clone(), address: Address::Store(store) }),
    }
}

/// The absolute path without links; what does not exist yet is kept as it was written.
pub(crate) fn resolved(path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    let absolute = std::path::absolute(path)?;
    let mut known = absolute.as_path();
    loop {
        match fs::canonicalize(known) {
            Ok(found) => return Ok(missing.iter().rev().fold(found, |path, name| path.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match (known.parent(), known.components().next_back()) {
                    (Some(parent), Some(name)) => {
                        missing.push(name);
                        known = parent;
                    }
                    _ => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Refuses a file, a table, a schema of a lake, and a folder of other things.
fn refuse_another_thing(path: &Path) -> Result<(), Fault> {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Fault::setup(format!("cannot read the lake `{shown}`")).because(error)),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(Fault::setup(format!("the lake `{shown}` is a file")).hint("name a folder: --lake ./lake"));
        }
        Ok(_) => {}
    }
    let parent = |levels: usize| path.ancestors().nth(levels).unwrap_or(path).display().to_string();
    if path.join("_delta_log").is_dir() {
        let fault = Fault::setup(format!("`{shown}` is a Delta table, not a lake of schemas of tables"));
        return Err(fault.hint(format!("--lake {}", parent(2))));
    }
    let unreadable = |error: io::Error| Fault::setup(format!("cannot read the lake `{shown}`")).because(error);
    let entries = entries(path).map_err(unreadable)?;
    if entries.iter().any(|entry| entry.join("_delta_log").is_dir()) {
        let fault = Fault::setup(format!("`{shown}` holds Delta tables directly: a schema of a lake, not a lake"));
        return Err(fault.hint(format!("--lake {}", parent(1))));
    }
    match entries.iter().find(|entry| !may_stand_in_a_lake(entry)) {
        Some(other) if !is_lake(&entries) => {
            let name = other.file_name().unwrap_or_default().to_string_lossy();
            let fault = Fault::setup(format!("the folder `{shown}` is no lake: it holds `{name}` and no tables"));
            Err(fault.hint(format!("name a new folder: --lake {}", path.join("lake").display())))
        }
        _ => Ok(()),
    }
}

fn is_lake(entries: &[PathBuf]) -> bool {
    let has_table = |schema: &PathBuf| entries_or_none(schema).iter().any(|table| table.join("_delta_log").is_dir());
    entries.iter().any(|entry| entry.ends_with("_inlet") || has_table(entry))
}

/// A run that was killed before its first commit leaves `<schema>/<table>/*.parquet` without a log: still a lake.
fn may_stand_in_a_lake(entry: &Path) -> bool {
    let is_data = |file: &PathBuf| {
        file.file_name().is_some_and(|name| name == "_delta_log" || name.to_string_lossy().contains(".parquet"))
    };
    let may_be_table = |table: &PathBuf| table.is_dir() && entries_or_none(table).iter().all(is_data);
    entry.is_dir() && entries_or_none(entry).iter().all(may_be_table)
}

fn entries_or_none(folder: &Path) -> Vec<PathBuf> {
    entries(folder).unwrap_or_default()
}

/// What a folder holds, sorted; names that begin with a dot belong to the system, not to the lake.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(folder: &Path) -> Result<LakeAddress, Fault> {
        to_write(Some(folder.as_os_str()), "inlet ingest x --lake ./lake")
    }

    fn refusal(folder: &Path) -> (String, String) {
        let fault = check(folder).unwrap_err();
        assert_eq!(fault.kind().exit_code(), 78);
        (fault.to_string(), fault.hint_text().unwrap().to_owned())
    }

    #[test]
    fn a_missing_or_empty_folder_is_a_fine_lake() {
        let here = tempfile::tempdir().unwrap();
        let lake = check(&here.path().join("a/b")).unwrap();
        assert!(lake.url.as_str().ends_with("/a/b/"), "{}", lake.url);
        fs::write(here.path().join(".DS_Store"), "x").unwrap();
        check(here.path()).unwrap();
    }

    #[test]
    fn a_lake_and_what_a_killed_run_left_are_lakes() {
        let here = tempfile::tempdir().unwrap();
        let table = here.path().join("events/tracks");
        fs::create_dir_all(&table).unwrap();
        fs::write(table.join("part-1.parquet"), "x").unwrap();
        check(here.path()).unwrap();
        fs::create_dir_all(table.join("_delta_log")).unwrap();
        fs::write(here.path().join("README"), "notes of its owner").unwrap();
        check(here.path()).unwrap();
        assert!(refusal(&table).1.starts_with("--lake "), "a table");
        assert!(refusal(&here.path().join("events")).0.contains("a schema of a lake"));
    }

    #[test]
    fn other_folders_and_files_are_refused() {
        let here = tempfile::tempdir().unwrap();
        fs::create_dir_all(here.path().join("src/bin")).unwrap();
        fs::write(here.path().join("src/main.rs"), "fn main() {}").unwrap();
        let (message, hint) = refusal(here.path());
        assert!(message.contains("holds `src` and no tables"), "{message}");
        assert!(hint.ends_with("/lake"), "{hint}");
        assert!(refusal(&here.path().join("src/main.rs")).0.ends_with("is a file"));
    }

    #[test]
    fn no_lake_gives_the_line_to_run() {
        let fault = to_write(None, "inlet ingest x --lake ./lake").unwrap_err();
        assert_eq!(fault.hint_text(), Some("inlet ingest x --lake ./lake"));
    }

    #[test]
    fn reading_needs_a_lake_that_is_there() {
        let here = tempfile::tempdir().unwrap();
        fs::create_dir(here.path().join("lake")).unwrap();
        let fault = to_read(Some(here.path().join("lakes").as_os_str()), "").unwrap_err();
        assert!(fault.hint_text().unwrap().ends_with("/lake`?"), "{fault:?}");
    }

    #[test]
    fn an_unknown_schema_is_answered_with_the_nearest() {
        let schemas = || vec!["shop".to_owned(), "web".to_owned()];
        assert_eq!(chosen(schemas(), Some("web")).unwrap(), ["web"]);
        assert_eq!(chosen(schemas(), None).unwrap().len(), 2);
        assert_eq!(chosen(schemas(), Some("shp")).unwrap_err().hint_text(), Some("did you mean `shop`?"));
        assert_eq!(chosen(schemas(), Some("other")).unwrap_err().hint_text(), Some("it has shop, web"));
    }
}
