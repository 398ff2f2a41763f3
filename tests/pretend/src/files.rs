//! Volumes and the Files API; files stand in memory.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock;
use crate::names::{checked_name, lower};
use crate::pages::page;
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::{Answer, Refusal, Reply};
use crate::request::Request;
use crate::state::{Caller, File, State, Volume, uuid};

#[derive(Deserialize)]
struct Create {
    catalog_name: String,
    schema_name: String,
    name: String,
    volume_type: String,
    storage_location: Option<String>,
    comment: Option<String>,
}

/// Everything below `/volumes` of Unity Catalog.
pub(crate) fn volumes(state: &mut State, caller: &Caller, request: &Request, rest: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("POST", []) => {
            let body: Create = request.json()?;
            if body.volume_type != "MANAGED" || body.storage_location.is_some() {
                return Err(Refusal::not_implemented("external volumes"));
            }
            let schema = format!("{}.{}", lower(&body.catalog_name), lower(&body.schema_name));
            let name = lower(&body.name);
            let full = format!("{schema}.{name}");
            crate::tables::enter(state, caller, &full)?;
            state.require(caller, Privilege::CreateVolume, &Securable::new(Kind::Schema, &schema))?;
            checked_name(&name)?;
            if state.volumes.contains_key(&full) {
                return Err(Refusal::new(409, "VOLUME_ALREADY_EXISTS", format!("Volume '{full}' already exists")));
            }
            let volume = Volume {
                id: uuid(),
                schema,
                name,
                owner: caller.name.clone(),
                location: None,
                comment: body.comment,
                created_at: clock::epoch_ms(),
                files: std::collections::BTreeMap::new(),
            };
            let answer = told(state, &volume);
            state.volumes.insert(full, volume);
            Ok(Reply::ok(&answer))
        }
        ("GET", [full]) => {
            let full = lower(full);
            crate::tables::enter(state, caller, &full)?;
            let volume = state.volumes.get(&full).ok_or_else(|| missing(&full))?;
            state.require(caller, Privilege::ReadVolume, &Securable::new(Kind::Volume, &full))?;
            Ok(Reply::ok(&told(state, volume)))
        }
        ("DELETE", [full]) => {
            let full = lower(full);
            crate::tables::enter(state, caller, &full)?;
            state.volumes.get(&full).ok_or_else(|| missing(&full))?;
            state.require_owner(caller, &Securable::new(Kind::Volume, &full))?;
            state.volumes.remove(&full);
            Ok(Reply::ok(&json!({})))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

fn told(state: &State, volume: &Volume) -> Value {
    let (catalog, schema) = volume.schema.split_once('.').unwrap_or_default();
    json!({
        "volume_id": volume.id, "name": volume.name, "catalog_name": catalog, "schema_name": schema,
        "full_name": format!("{}.{}", volume.schema, volume.name), "volume_type": "MANAGED", "owner": volume.owner,
        "comment": volume.comment, "metastore_id": state.metastore_id, "created_at": volume.created_at,
    })
}

fn missing(full: &str) -> Refusal {
    Refusal::missing("NOT_FOUND", format!("Volume '{full}' does not exist."))
}

/// A volume and the path in it.
struct Place {
    volume: String,
    path: String,
}

impl Place {
    /// `Volumes/catalog/schema/volume/…`
    fn of(parts: &[&str]) -> Result<Self, Refusal> {
        let ["Volumes", catalog, schema, volume, path @ ..] = parts else {
            return Err(Refusal::invalid("The path must begin with /Volumes/<catalog>/<schema>/<volume>"));
        };
        Ok(Self { volume: lower(&format!("{catalog}.{schema}.{volume}")), path: path.join("/") })
    }

    fn full(&self) -> String {
        format!("/Volumes/{}/{}", self.volume.replace('.', "/"), self.path)
    }

    /// The volume, which the caller may read or write.
    fn volume<'a>(
        &self,
        state: &'a mut State,
        caller: &Caller,
        privilege: Privilege,
    ) -> Result<&'a mut Volume, Refusal> {
        crate::tables::enter(state, caller, &self.volume)?;
        state.volumes.get(&self.volume).ok_or_else(|| missing(&self.volume))?;
        state.require(caller, privilege, &Securable::new(Kind::Volume, &self.volume))?;
        state.volumes.get_mut(&self.volume).ok_or_else(|| missing(&self.volume))
    }

    fn not_found(&self) -> Refusal {
        Refusal::missing("NOT_FOUND", format!("The file or directory {} does not exist.", self.full()))
    }
}

/// `/api/2.0/fs/files/Volumes/…`
pub(crate) fn file(state: &mut State, caller: &Caller, request: &Request, parts: &[&str]) -> Answer {
    let place = Place::of(parts)?;
    match request.method.as_str() {
        "PUT" => {
            let volume = place.volume(state, caller, Privilege::WriteVolume)?;
            if volume.files.contains_key(&place.path) && request.parameter("overwrite") != Some("true") {
                return Err(Refusal::new(409, "ALREADY_EXISTS", format!("The file {} already exists.", place.full())));
            }
            add_folders(volume, &place.path);
            let file = File { content: request.body.clone(), modified: clock::epoch_ms() };
            volume.files.insert(place.path, Some(file));
            Ok(Reply::empty(204))
        }
        "GET" | "HEAD" => {
            let volume = place.volume(state, caller, Privilege::ReadVolume)?;
            let Some(Some(file)) = volume.files.get(&place.path) else { return Err(place.not_found()) };
            if request.headers.contains_key("range") || request.headers.contains_key("if-unmodified-since") {
                return Err(Refusal::not_implemented("Range and If-Unmodified-Since of files"));
            }
            // The length of a HEAD is that of the body that it leaves out; the server sees to that.
            Ok(Reply::text(200, "application/octet-stream", file.content.clone()))
        }
        "DELETE" => {
            let volume = place.volume(state, caller, Privilege::WriteVolume)?;
            match volume.files.get(&place.path) {
                Some(Some(_)) => {
                    volume.files.remove(&place.path);
                    Ok(Reply::empty(204))
                }
                _ => Err(place.not_found()),
            }
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

/// `/api/2.0/fs/directories/Volumes/…`
pub(crate) fn directory(state: &mut State, caller: &Caller, request: &Request, parts: &[&str]) -> Answer {
    let place = Place::of(parts)?;
    let page_size = state.knobs.page_size;
    let inside = |path: &str| {
        let rest = if place.path.is_empty() {
            Some(path)
        } else {
            path.strip_prefix(&place.path).and_then(|rest| rest.strip_prefix('/'))
        };
        rest.filter(|rest| !rest.is_empty()).map(str::to_owned)
    };
    match request.method.as_str() {
        "PUT" => {
            let volume = place.volume(state, caller, Privilege::WriteVolume)?;
            if matches!(volume.files.get(&place.path), Some(Some(_))) {
                return Err(Refusal::new(409, "ALREADY_EXISTS", format!("{} is a file.", place.full())));
            }
            add_folders(volume, &format!("{}/x", place.path));
            Ok(Reply::empty(204))
        }
        "GET" | "HEAD" => {
            let volume = place.volume(state, caller, Privilege::ReadVolume)?;
            if !place.path.is_empty() && !matches!(volume.files.get(&place.path), Some(None)) {
                return Err(place.not_found());
            }
            let entry = |(path, file): (&String, &Option<File>)| {
                let name = inside(path).filter(|rest| !rest.contains('/'))?;
                let path = format!("{}/{name}", place.full().trim_end_matches('/'));
                Some(match file {
                    None => json!({"path": path, "name": name, "is_directory": true}),
                    Some(file) => json!({
                        "path": path, "name": name, "is_directory": false, "file_size": file.content.len(),
                        "last_modified": file.modified,
                    }),
                })
            };
            let contents: Vec<Value> = volume.files.iter().filter_map(entry).collect();
            Ok(Reply::ok(&page("contents", contents, page_size, request)))
        }
        "DELETE" => {
            let volume = place.volume(state, caller, Privilege::WriteVolume)?;
            if !matches!(volume.files.get(&place.path), Some(None)) {
                return Err(place.not_found());
            }
            if volume.files.keys().any(|path| inside(path).is_some()) {
                return Err(Refusal::new(
                    400,
                    "DIRECTORY_NOT_EMPTY",
                    format!("The directory {} is not empty.", place.full()),
                ));
            }
            volume.files.remove(&place.path);
            Ok(Reply::empty(204))
        }
        _ => Err(Refusal::not_implemented(format!("{} {}", request.method, request.path))),
    }
}

/// The folders above a path come into being with it.
fn add_folders(volume: &mut Volume, path: &str) {
    let mut at = path;
    while let Some((folder, _)) = at.rsplit_once('/') {
        volume.files.entry(folder.to_owned()).or_insert(None);
        at = folder;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::setup::{ADMIN, CATALOG, CLIENT_ID, Setup};

    fn request(method: &str, query: Option<&str>, body: &'static [u8]) -> Request {
        Request::new(method, "/", query, hyper::HeaderMap::new(), Bytes::from_static(body))
    }

    #[test]
    fn a_file_is_written_once_read_listed_and_deleted() {
        let mut state = State::new(Setup::seeded("file:///lake")).unwrap();
        state.add_schema(CATALOG, "web", CLIENT_ID, None, Default::default(), None);
        let me = state.caller(&state.principal(CLIENT_ID).unwrap().clone());
        let body = br#"{"catalog_name":"segment","schema_name":"web","name":"stage","volume_type":"MANAGED"}"#;
        volumes(&mut state, &me, &request("POST", None, body), &[]).unwrap();
        let at = ["Volumes", "segment", "web", "stage", "a", "b.parquet"];
        assert_eq!(file(&mut state, &me, &request("PUT", None, b"x"), &at).unwrap().status, 204);
        let again = file(&mut state, &me, &request("PUT", Some("overwrite=false"), b"y"), &at).unwrap_err();
        assert_eq!((again.status, again.code), (409, crate::reply::Code::Word("ALREADY_EXISTS")));
        assert_eq!(&file(&mut state, &me, &request("GET", None, b""), &at).unwrap().body[..], b"x");
        let listed = directory(&mut state, &me, &request("GET", None, b""), &at[..5]).unwrap();
        assert!(String::from_utf8_lossy(&listed.body).contains("/Volumes/segment/web/stage/a/b.parquet"));
        assert_eq!(directory(&mut state, &me, &request("DELETE", None, b""), &at[..5]).unwrap_err().status, 400);
        file(&mut state, &me, &request("DELETE", None, b""), &at).unwrap();
        assert_eq!(file(&mut state, &me, &request("GET", None, b""), &at).unwrap_err().status, 404);
        assert_eq!(state.owns(&me, &Securable::new(Kind::Catalog, CATALOG)), me.name == ADMIN);
    }
}
