//! The Files API: files of volumes, on the storage of the schema in which a volume stands.

use std::collections::BTreeSet;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde_json::{Value, json};

use crate::clock;
use crate::lake::Place;
use crate::names::lower;
use crate::pages::page;
use crate::privileges::Privilege;
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::state::Caller;
use crate::statement::Failure;
use crate::volumes;
use crate::workspace::Workspace;

/// A path in a volume: of a file, or of a folder.
#[derive(Clone, Debug)]
pub(crate) struct VolumePath {
    volume: String,
    path: String,
}

impl VolumePath {
    /// `Volumes`, catalog, schema, volume, …
    pub(crate) fn of(parts: &[&str]) -> Result<Self, Refusal> {
        let ["Volumes", catalog, schema, volume, path @ ..] = parts else {
            return Err(Refusal::invalid("The path must begin with /Volumes/<catalog>/<schema>/<volume>"));
        };
        if path.iter().any(|part| [".", ".."].contains(part)) {
            return Err(Refusal::invalid("The path must not hold . or .. as a part"));
        }
        Ok(Self { volume: lower(&format!("{catalog}.{schema}.{volume}")), path: path.join("/") })
    }

    /// A path below this one.
    pub(crate) fn join(&self, relative: &str) -> Self {
        let path = if self.path.is_empty() { relative.to_owned() } else { format!("{}/{relative}", self.path) };
        Self { volume: self.volume.clone(), path }
    }

    /// `/Volumes/…`
    pub(crate) fn full(&self) -> String {
        format!("/Volumes/{}/{}", self.volume.replace('.', "/"), self.path)
    }

    /// The folders above, the nearest first.
    fn parents(&self) -> impl Iterator<Item = String> {
        let mut at = self.path.as_str();
        std::iter::from_fn(move || {
            at = at.rsplit_once('/')?.0;
            Some(at.to_owned())
        })
    }

    /// The volume's storage, for a caller who has a right on the volume.
    pub(crate) fn open(
        &self,
        workspace: &Workspace,
        caller: &Caller,
        privilege: Privilege,
    ) -> Result<VolumeFiles, Refusal> {
        let (location, folders) = {
            let state = workspace.state();
            let volume = volumes::find(&state, caller, &self.volume, privilege)?;
            (volume.location.clone(), volume.folders.clone())
        };
        Ok(VolumeFiles { place: workspace.lakes.place(&location).map_err(failed)?, folders })
    }

    /// Folders come into being with what stands in them, and stay.
    fn remember_folders(&self, workspace: &Workspace, also: Option<String>) {
        if let Some(volume) = workspace.state().volumes.get_mut(&self.volume) {
            volume.folders.extend(self.parents().chain(also));
        }
    }

    fn not_found(&self) -> Refusal {
        let text = format!("The file or directory {} does not exist.", self.full());
        Refusal::missing("NOT_FOUND", text).reason("FILES_API_RESOURCE_NOT_FOUND")
    }

    fn taken(&self) -> Refusal {
        let text = format!("The file or directory {} already exists.", self.full());
        Refusal::new(409, "ALREADY_EXISTS", text).reason("FILES_API_FILE_ALREADY_EXISTS")
    }
}

/// The storage of a volume, and the folders that it remembers: stores have none of their own.
pub(crate) struct VolumeFiles {
    place: Place,
    folders: BTreeSet<String>,
}

/// What stands directly in a folder.
struct Listed {
    folders: BTreeSet<String>,
    files: Vec<object_store::ObjectMeta>,
}

impl VolumeFiles {
    /// A file's bytes and when it was written, milliseconds since 1970; none: there is no such file.
    pub(crate) async fn read(&self, path: &VolumePath) -> Result<Option<(bytes::Bytes, u64)>, Refusal> {
        let found = match self.place.store().get(&Path::from(path.path.as_str())).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(io(&error)),
        };
        let modified = u64::try_from(found.meta.last_modified.timestamp_millis()).unwrap_or_default();
        Ok(Some((found.bytes().await.map_err(|error| io(&error))?, modified)))
    }

    async fn list(&self, path: &VolumePath) -> Result<Option<Listed>, Refusal> {
        let prefix = Path::from(path.path.as_str());
        let listed = self.place.store().list_with_delimiter(Some(&prefix)).await.map_err(|error| io(&error))?;
        let mut folders: BTreeSet<String> =
            listed.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect();
        let inside = |folder: &String| {
            let rest =
                if path.path.is_empty() { folder } else { folder.strip_prefix(&path.path)?.strip_prefix('/')? };
            (!rest.is_empty() && !rest.contains('/')).then(|| rest.to_owned())
        };
        folders.extend(self.folders.iter().filter_map(inside));
        let is_there = path.path.is_empty() || self.folders.contains(&path.path);
        let is_empty = folders.is_empty() && listed.objects.is_empty();
        Ok((is_there || !is_empty).then_some(Listed { folders, files: listed.objects }))
    }
}

/// `/api/2.0/fs/files/Volumes/…`
pub(crate) async fn file(workspace: &Workspace, caller: &Caller, request: &Request, parts: &[&str]) -> Answer {
    let path = VolumePath::of(parts)?;
    if path.path.is_empty() {
        return Err(Refusal::invalid("The path names no file."));
    }
    let at = Path::from(path.path.as_str());
    match request.method.as_str() {
        "PUT" => {
            let files = path.open(workspace, caller, Privilege::WriteVolume)?;
            if files.folders.contains(&path.path) {
                return Err(path.taken());
            }
            let overwrites = request.parameter("overwrite") == Some("true");
            let mode = if overwrites { PutMode::Overwrite } else { PutMode::Create };
            let content = PutPayload::from_bytes(request.body.clone());
            match files.place.store().put_opts(&at, content, PutOptions::from(mode)).await {
                Ok(_) => {}
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    return Err(path.taken());
                }
                Err(error) => return Err(io(&error)),
            }
            path.remember_folders(workspace, None);
            Ok(Reply::empty(204))
        }
        "GET" | "HEAD" => {
            let files = path.open(workspace, caller, Privilege::ReadVolume)?;
            if request.headers.contains_key("if-unmodified-since") {
                return Err(Refusal::not_implemented("If-Unmodified-Since of files"));
            }
            let (content, modified) = files.read(&path).await?.ok_or_else(|| path.not_found())?;
            if let Some(asked) = request.header("range") {
                return part(asked, &content, modified);
            }
            // The length of a HEAD is that of the body that it leaves out; the server sees to that.
            Ok(Reply::text(200, "application/octet-stream", content)
                .header("last-modified", clock::http_date(modified)))
        }
        "DELETE" => {
            let files = path.open(workspace, caller, Privilege::WriteVolume)?;
            // Stores do not tell whether what they deleted was there.
            files.read(&path).await?.ok_or_else(|| path.not_found())?;
            files.place.store().delete(&at).await.map_err(|error| io(&error))?;
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

/// The bytes that a header `range` asks for: `bytes=0-9`.
fn part(asked: &str, content: &bytes::Bytes, modified: u64) -> Answer {
    let (from, to) = asked.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap_or_default();
    let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>()) else {
        return Err(Refusal::not_implemented(format!("Range of files as {asked}")));
    };
    let end = to.saturating_add(1).min(content.len());
    if from >= end {
        let text = format!("The range {asked} is outside of {} bytes.", content.len());
        return Err(Refusal::new(416, "OUT_OF_RANGE", text));
    }
    let told = format!("bytes {from}-{}/{}", end - 1, content.len());
    Ok(Reply::text(206, "application/octet-stream", content.slice(from..end))
        .header("content-range", told)
        .header("last-modified", clock::http_date(modified)))
}

/// `/api/2.0/fs/directories/Volumes/…`
pub(crate) async fn directory(workspace: &Workspace, caller: &Caller, request: &Request, parts: &[&str]) -> Answer {
    let path = VolumePath::of(parts)?;
    match request.method.as_str() {
        "PUT" => {
            let files = path.open(workspace, caller, Privilege::WriteVolume)?;
            if !path.path.is_empty() && files.read(&path).await?.is_some() {
                return Err(path.taken());
            }
            path.remember_folders(workspace, Some(path.path.clone()).filter(|path| !path.is_empty()));
            Ok(Reply::empty(204))
        }
        "GET" | "HEAD" => {
            let files = path.open(workspace, caller, Privilege::ReadVolume)?;
            let listed = files.list(&path).await?.ok_or_else(|| path.not_found())?;
            let at = path.full();
            let at = at.trim_end_matches('/');
            let folder = |name: String| json!({"path": format!("{at}/{name}"), "name": name, "is_directory": true});
            let file = |file: object_store::ObjectMeta| {
                let name = file.location.filename().unwrap_or_default();
                json!({
                    "path": format!("{at}/{name}"), "name": name, "is_directory": false, "file_size": file.size,
                    "last_modified": file.last_modified.timestamp_millis(),
                })
            };
            let contents: Vec<Value> =
                listed.folders.into_iter().map(folder).chain(listed.files.into_iter().map(file)).collect();
            let page_size = workspace.state().knobs.page_size;
            Ok(Reply::ok(&page("contents", contents, page_size, request)))
        }
        "DELETE" => {
            let files = path.open(workspace, caller, Privilege::WriteVolume)?;
            let listed = files.list(&path).await?.ok_or_else(|| path.not_found())?;
            if path.path.is_empty() || !listed.folders.is_empty() || !listed.files.is_empty() {
                let text = format!("The directory {} is not empty.", path.full());
                return Err(Refusal::new(400, "BAD_REQUEST", text).reason("FILES_API_DIRECTORY_IS_NOT_EMPTY"));
            }
            if let Some(volume) = workspace.state().volumes.get_mut(&path.volume) {
                volume.folders.remove(&path.path);
            }
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

fn io(error: &object_store::Error) -> Refusal {
    Refusal::new(500, "INTERNAL_ERROR", format!("The volume's storage: {error}"))
}

fn failed(failure: Failure) -> Refusal {
    Refusal::new(500, "INTERNAL_ERROR", failure.message)
}
