//! Volumes of Unity Catalog and the files in them, by REST: no warehouse wakes.

use std::ops::Range;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, LAST_MODIFIED};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer;
use super::error::{Error, Subject};
use super::http::Reply;
use super::unity::optional;
use super::{Page, Workspace};
use crate::clock::{Deadline, Micros};

const VOLUMES: &str = "api/2.1/unity-catalog/volumes";
const FILES: &str = "api/2.0/fs/files";
const DIRECTORIES: &str = "api/2.0/fs/directories";

/// A file, or a folder, of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The last part of its path.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its size; 0 for a folder.
    pub bytes: u64,
    /// When it was written, by the server's clock; 0 for a folder.
    pub modified: Micros,
}

/// What was read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The bytes that were asked for.
    pub bytes: Bytes,
    /// The size of the whole file.
    pub size: u64,
}

impl Content {
    fn of(reply: Reply) -> Self {
        // `bytes 0-9/100`
        let range = reply.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let size = range.and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        Self { size: size.unwrap_or(reply.body.len() as u64), bytes: reply.body }
    }
}

#[derive(Deserialize)]
struct RawEntry {
    name: String,
    #[serde(default)]
    is_directory: bool,
    #[serde(default)]
    file_size: u64,
    /// Milliseconds.
    #[serde(default)]
    last_modified: Micros,
}

#[derive(Deserialize)]
struct RawEntries {
    #[serde(default)]
    contents: Vec<RawEntry>,
    next_page_token: Option<String>,
}

impl Page for RawEntries {
    type Item = RawEntry;

    fn take(self) -> (Vec<RawEntry>, Option<String>) {
        (self.contents, self.next_page_token)
    }
}

impl Workspace {
    /// Makes a managed volume; one that is there already is fine.
    ///
    /// # Errors
    /// `CREATE VOLUME` is missing on the schema, or the schema itself, or the catalog has no managed storage.
    pub async fn create_volume(
        &self,
        catalog: &str,
        schema: &str,
        volume: &str,
        comment: &str,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let about = Subject::Volume(format!("{catalog}.{schema}.{volume}"));
        let body = json!({
            "catalog_name": catalog, "schema_name": schema, "name": volume, "volume_type": "MANAGED",
            "comment": comment,
        });
        match self.post::<Value>(VOLUMES, &[], &body, &about, deadline).await {
            Err(error) if !error.already_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes a volume with all its files. A missing one is fine.
    ///
    /// # Errors
    /// It is not ours to delete.
    pub async fn delete_volume(
        &self,
        catalog: &str,
        schema: &str,
        volume: &str,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let name = format!("{catalog}.{schema}.{volume}");
        self.delete(VOLUMES, &[&name], &Subject::Volume(name.clone()), deadline).await
    }

    /// Writes a file, whose path begins with `Volumes/`, over what is there or only where nothing is: then false says
    /// that something was. Its folders come into being with it.
    ///
    /// # Errors
    /// `WRITE VOLUME` is missing, or the volume.
    pub async fn upload(&self, path: &str, content: &Bytes, over: bool, deadline: Deadline) -> Result<bool, Error> {
        let about = volume_of(path);
        let mut url = self.address(FILES, &segments(path));
        url.query_pairs_mut().append_pair("overwrite", if over { "true" } else { "false" });
        let put = || self.request(Method::PUT, &url, &about).bytes(content.clone());
        let (request, reply) = self.send(put, deadline).await?;
        match answer::accepted(&request, &reply) {
            Err(error) if !over && error.already_exists() => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Reads a file, or these bytes of it; none: it is not there, or its volume is not.
    ///
    /// # Errors
    /// `READ VOLUME` is missing.
    pub async fn download(
        &self,
        path: &str,
        range: Option<Range<u64>>,
        deadline: Deadline,
    ) -> Result<Option<Content>, Error> {
        let (about, url) = (volume_of(path), self.address(FILES, &segments(path)));
        let get = || {
            let request = self.request(Method::GET, &url, &about);
            match &range {
                Some(range) => request.range(range),
                None => request,
            }
        };
        let (request, reply) = self.send(get, deadline).await?;
        optional(answer::accepted(&request, &reply).map(|()| Content::of(reply)))
    }

    /// A file without its content; none: it is not there, or its volume is not.
    ///
    /// # Errors
    /// `READ VOLUME` is missing.
    pub async fn look_at(&self, path: &str, deadline: Deadline) -> Result<Option<Entry>, Error> {
        let (about, url) = (volume_of(path), self.address(FILES, &segments(path)));
        let (request, reply) = self.send(|| self.request(Method::HEAD, &url, &about), deadline).await?;
        // An answer to HEAD has no body: only its status tells that nothing is there.
        if reply.status == 404 {
            return Ok(None);
        }
        answer::accepted(&request, &reply)?;
        let header = |name| reply.headers.get(&name).and_then(|value| value.to_str().ok());
        let modified = header(LAST_MODIFIED).and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok());
        Ok(Some(Entry {
            name: segments(path).pop().unwrap_or_default().to_owned(),
            is_folder: false,
            bytes: header(CONTENT_LENGTH).and_then(|length| length.parse().ok()).unwrap_or_default(),
            modified: modified.map(|date| date.timestamp_micros()).unwrap_or_default(),
        }))
    }

    /// What stands directly in a folder; nothing: it is not there, or its volume is not.
    ///
    /// # Errors
    /// `READ VOLUME` is missing.
    pub async fn list_folder(&self, path: &str, deadline: Deadline) -> Result<Vec<Entry>, Error> {
        let (about, segments) = (volume_of(path), segments(path));
        let entries = self.pages::<RawEntries>(DIRECTORIES, &segments, &[], &about, deadline).await;
        let entries = optional(entries)?.unwrap_or_default();
        let entry = |raw: RawEntry| Entry {
            name: raw.name,
            is_folder: raw.is_directory,
            bytes: raw.file_size,
            modified: raw.last_modified.saturating_mul(1_000),
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// Removes a file; one that is not there is removed.
    ///
    /// # Errors
    /// `WRITE VOLUME` is missing.
    pub async fn delete_file(&self, path: &str, deadline: Deadline) -> Result<(), Error> {
        self.delete(FILES, &segments(path), &volume_of(path), deadline).await
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

/// The volume of a path, as errors name it.
fn volume_of(path: &str) -> Subject {
    Subject::Volume(segments(path).into_iter().skip(1).take(3).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databricks::testing::{Server, pat, reply, run, soon, workspace};

    const FILE: &str = "/api/2.0/fs/files/Volumes/c/s/v/a%20b/f";

    #[test]
    fn a_file_is_written_where_nothing_is_or_over_what_is_there() {
        let taken = r#"{"error_code":"ALREADY_EXISTS","message":"The file exists."}"#;
        let server = Server::start(vec![
            reply(&format!("PUT {FILE}?overwrite=false"), 204, ""),
            reply(&format!("PUT {FILE}?overwrite=false"), 409, taken),
            reply(&format!("PUT {FILE}?overwrite=true"), 204, ""),
        ]);
        let workspace = workspace(&server, pat());
        let put = |over| run(workspace.upload("Volumes/c/s/v/a b/f", &Bytes::from_static(b"x"), over, soon())).unwrap();
        assert_eq!([put(false), put(false), put(true)], [true, false, true]);
        assert_eq!(server.seen()[0].body, "x");
    }

    #[test]
    fn what_is_not_there_is_none_and_what_is_denied_an_error() {
        let missing = r#"{"error_code":"NOT_FOUND","message":"The file does not exist."}"#;
        let denied =
            r#"{"error_code":"PERMISSION_DENIED","message":"User does not have READ VOLUME on Volume 'c.s.v'."}"#;
        let server = Server::start(vec![
            reply(&format!("GET {FILE}"), 404, missing),
            reply(&format!("HEAD {FILE}"), 404, ""),
            reply("GET /api/2.0/fs/directories/Volumes/c/s/v", 404, missing),
            reply(&format!("DELETE {FILE}"), 404, missing),
            reply(&format!("GET {FILE}"), 403, denied),
        ]);
        let workspace = workspace(&server, pat());
        run(async {
            assert_eq!(workspace.download("Volumes/c/s/v/a b/f", None, soon()).await.unwrap(), None);
            assert_eq!(workspace.look_at("Volumes/c/s/v/a b/f", soon()).await.unwrap(), None);
            assert_eq!(workspace.list_folder("Volumes/c/s/v", soon()).await.unwrap(), []);
            workspace.delete_file("Volumes/c/s/v/a b/f", soon()).await.unwrap();
            assert!(workspace.download("Volumes/c/s/v/a b/f", None, soon()).await.unwrap_err().is_denied());
        });
        server.seen();
    }

    #[test]
    fn a_part_of_a_file_says_how_large_the_whole_is() {
        let server = Server::start(vec![
            reply(&format!("GET {FILE}"), 206, "cd").header("content-range: bytes 2-3/10"),
            reply(&format!("GET {FILE}"), 200, "abcd"),
        ]);
        let workspace = workspace(&server, pat());
        let get = |range| run(workspace.download("Volumes/c/s/v/a b/f", range, soon())).unwrap().unwrap();
        assert_eq!(get(Some(2..4)), Content { bytes: Bytes::from_static(b"cd"), size: 10 });
        assert_eq!(get(None), Content { bytes: Bytes::from_static(b"abcd"), size: 4 });
        assert_eq!(server.seen()[0].header("range"), Some("bytes=2-3"));
    }

    #[test]
    fn a_folder_is_listed_page_by_page() {
        let line = "GET /api/2.0/fs/directories/Volumes/c/s/v/d";
        let one = r#"{"contents":[{"path":"/Volumes/c/s/v/d/f","name":"f","is_directory":false,"file_size":3,
            "last_modified":1700000000123}],"next_page_token":"x"}"#;
        let two = r#"{"contents":[{"path":"/Volumes/c/s/v/d/g","name":"g","is_directory":true}]}"#;
        let server = Server::start(vec![reply(line, 200, one), reply(&format!("{line}?page_token=x"), 200, two)]);
        let listed = run(workspace(&server, pat()).list_folder("Volumes/c/s/v/d", soon())).unwrap();
        server.seen();
        let entry =
            |name: &str, is_folder, bytes, modified| Entry { name: name.to_owned(), is_folder, bytes, modified };
        assert_eq!(listed, [entry("f", false, 3, 1_700_000_000_123_000), entry("g", true, 0, 0)]);
    }
}
