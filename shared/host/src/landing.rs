//! From places on the command line to uploads: found, named, with their ids and schemas, and not read further.
//!
//! Everything that can be known to be wrong is refused here, before anything lands: no such place, an empty folder, a
//! lake and its input inside each other, two sources in one schema.

#[cfg(feature = "azure")]
mod azure;
mod folder;
pub(crate) mod nearest;
pub(crate) mod objects;
#[cfg(any(feature = "aws", feature = "azure"))]
mod resumed;
#[cfg(feature = "aws")]
mod s3;
pub(crate) mod schema;
pub(crate) mod skip;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inlet_core::clock;
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::landing_store::{LandingStore, ListedObject};
use inlet_core::report::{Counts, FaultReport, SkippedSource, Status, UploadReport};
use inlet_core::settings::Settings;
use inlet_core::upload::{Place, Upload, UploadId};
use tokio::runtime::Handle;

use crate::address::{Address, StoreAddress};
use crate::lake::{LakeAddress, resolved};
use folder::{LocalFile, Walk};
use schema::Schemas;

/// What a run is given to land.
#[derive(Debug, Default)]
pub(crate) struct Landing {
    /// In the order of their keys; standard input last.
    pub(crate) uploads: Vec<Upload>,
    /// Files and objects that are no uploads.
    pub(crate) skipped: u64,
    /// Uploads of sources that are not connected.
    pub(crate) skipped_sources: Vec<SkippedSource>,
    /// Files that could not be opened: they fail, the others land.
    pub(crate) unreadable: Vec<UploadReport>,
    /// What the user may want to know before it begins.
    pub(crate) notes: Vec<String>,
}

/// What the finding of uploads depends on.
pub(crate) struct Ask<'a> {
    /// The name from `--schema`.
    pub(crate) schema: Option<&'a str>,
    /// The lake, which must not overlap with the uploads.
    pub(crate) lake: Option<&'a LakeAddress>,
    /// Bounds and patience.
    pub(crate) settings: &'a Settings,
    /// Lists object stores.
    pub(crate) runtime: &'a Handle,
}

/// Finds the uploads at all places; reads `stdin` to its end when `-` is among them.
pub(crate) fn gather(places: &[OsString], ask: &Ask<'_>, stdin: &mut dyn Read) -> Result<Landing, Fault> {
    let mut schemas = Schemas::new(ask.schema, &ask.settings.sources)?;
    let mut landing = Landing::default();
    let (mut walk, mut stores, mut from_stdin) = (Walk::default(), Vec::new(), false);
    for place in places {
        let address = Address::parse(place)?;
        refuse_overlap(&address, ask.lake)?;
        match address {
            Address::Stdin => from_stdin = true,
            Address::Local(path) => walk.add(&path)?,
            Address::Store(store) => stores.push(store),
        }
    }
    for address in &stores {
        landing.objects(address, ask, &mut schemas)?;
    }
    landing.files(walk, ask, &mut schemas)?;
    landing.uploads.sort_by(|left, right| left.key.cmp(&right.key));
    if from_stdin {
        landing.stdin(ask, &mut schemas, stdin)?;
    }
    landing.notes = schemas.notes();
    landing.skipped_sources = schemas.skipped();
    Ok(landing)
}

impl Landing {
    fn objects(&mut self, address: &StoreAddress, ask: &Ask<'_>, schemas: &mut Schemas<'_>) -> Result<(), Fault> {
        let owner = ask.settings.landing_owner.as_deref();
        let store = ask.runtime.block_on(objects::open(address, owner))?;
        let listing = ask.runtime.block_on(objects::list(address, &*store))?;
        self.skipped += listing.skipped;
        let known: HashSet<String> = self.uploads.iter().filter_map(|upload| upload.key.clone()).collect();
        for object in listing.objects {
            let upload = address.upload_key(&object.key);
            if known.contains(&upload) {
                continue;
            }
            if let Some(schema) = schemas.of(&[&object.key])? {
                self.uploads.push(stored(address, Arc::clone(&store), object, schema));
            }
        }
        Ok(())
    }

    fn files(&mut self, walk: Walk, ask: &Ask<'_>, schemas: &mut Schemas<'_>) -> Result<(), Fault> {
        self.skipped += walk.skipped;
        for (path, error) in &walk.unreadable {
            self.fail(path, error);
        }
        // All names are judged before the first file is read.
        let mut named = Vec::with_capacity(walk.files.len());
        for file in walk.files {
            refuse_inside(&file.real, ask.lake)?;
            let written = std::path::absolute(&file.shown).unwrap_or_default();
            if let Some(schema) = schemas.of(&[&folder::text(&written), &folder::text(&file.real)])? {
                named.push((file, schema));
            }
        }
        let ids = content_ids(&named, ask.settings.workers);
        for ((file, schema), id) in named.into_iter().zip(ids) {
            let shown = file.shown.clone();
            let upload = match id {
                Some(id) => id.map(|id| Some(local(file, schema, id))),
                None => piped(&file, schema, ask)?,
            };
            match upload {
                Ok(Some(upload)) => self.uploads.push(upload),
                Ok(None) => self.skipped += 1,
                Err(error) => self.fail(&shown, &error),
            }
        }
        Ok(())
    }

    fn stdin(&mut self, ask: &Ask<'_>, schemas: &mut Schemas<'_>, stdin: &mut dyn Read) -> Result<(), Fault> {
        let Some(schema) = schemas.of(&[])? else { return Ok(()) };
        let bytes = read_all(stdin, ask.settings.limits.upload_bytes, "standard input")?;
        let bytes = bytes.map_err(|error| Fault::again("cannot read standard input").because(error))?;
        match in_memory("-".to_owned(), schema, bytes) {
            Some(upload) => self.uploads.push(upload),
            None => self.skipped += 1,
        }
        Ok(())
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        let upload = folder::text(path);
        let message = format!("cannot read `{upload}`: {error}");
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "a link that leads nowhere, or a file that went away",
            _ => "check who may read it",
        };
        self.unreadable.push(UploadReport {
            upload,
            upload_id: String::new(),
            status: Status::Failed,
            counts: Counts::default(),
            tables: Vec::new(),
            fault: Some(FaultReport { kind: FaultKind::Setup, message, hint: Some(hint.to_owned()) }),
        });
    }
}

/// The ids of files' contents, by as many threads as will land them; none for a pipe, which can be read only once.
fn content_ids(files: &[(LocalFile, String)], workers: usize) -> Vec<Option<io::Result<UploadId>>> {
    let next = AtomicUsize::new(0);
    let ids = Mutex::new(files.iter().map(|_| None).collect::<Vec<_>>());
    let hash = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((file, _)) = files.get(place) else { return };
            if !file.once {
                let id = folder::content_id(&file.real);
                ids.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(id);
            }
        }
    };
    std::thread::scope(|scope| {
        // This thread hashes too.
        for _ in 1..workers.min(files.len()) {
            scope.spawn(hash);
        }
        hash();
    });
    ids.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn local(file: LocalFile, schema: String, id: UploadId) -> Upload {
    Upload {
        name: folder::text(&file.shown),
        id,
        key: Some(folder::text(&file.real)),
        size: file.size,
        modified: file.modified,
        schema,
        place: Place::File(file.real),
    }
}

/// An object of a store as an upload.
pub(crate) fn stored(
    address: &StoreAddress,
    store: Arc<dyn LandingStore>,
    object: ListedObject,
    schema: String,
) -> Upload {
    let ListedObject { key, form } = object;
    Upload {
        name: key.clone(),
        id: UploadId::of_object(address.store, &address.bucket(), &key, &form.etag),
        key: Some(address.upload_key(&key)),
        size: form.size,
        modified: form.modified,
        schema,
        place: Place::Object { store, key, form },
    }
}

/// The fault of an object that one form of cannot be told from the next.
#[cfg(any(feature = "aws", feature = "azure"))]
fn unnamed(place: &str) -> Fault {
    Fault::setup(format!("the store gives no ETag, size or time for `{place}`"))
        .hint("Inlet needs a store that names each form of an object; copy the uploads to a folder or a bucket")
}

/// A pipe that was named as a file (`<(zcat …)`) is read like standard input.
fn piped(file: &LocalFile, schema: String, ask: &Ask<'_>) -> Result<io::Result<Option<Upload>>, Fault> {
    let name = folder::text(&file.shown);
    let mut pipe = match File::open(&file.shown) {
        Ok(pipe) => pipe,
        Err(error) => return Ok(Err(error)),
    };
    let bytes = read_all(&mut pipe, ask.settings.limits.upload_bytes, &name)?;
    Ok(bytes.map(|bytes| in_memory(name, schema, bytes)))
}

/// Bytes that have no place: their content alone is who they are. None when there are none.
fn in_memory(name: String, schema: String, bytes: Vec<u8>) -> Option<Upload> {
    (!bytes.is_empty()).then(|| Upload {
        name,
        id: folder::bytes_id(&bytes),
        key: None,
        size: bytes.len() as u64,
        modified: clock::now(),
        schema,
        place: Place::Bytes(Arc::new(bytes)),
    })
}

fn read_all(from: &mut dyn Read, at_most: u64, name: &str) -> Result<io::Result<Vec<u8>>, Fault> {
    let mut bytes = Vec::new();
    match from.take(at_most.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(read) if read as u64 > at_most => Err(Fault::setup(format!("{name} is larger than {at_most} bytes"))
            .hint("name a file or folder, which are streamed, or raise INLET_MAX_UPLOAD_BYTES")),
        Ok(_) => Ok(Ok(bytes)),
        Err(error) => Ok(Err(error)),
    }
}

pub(crate) fn refuse_overlap(place: &Address, lake: Option<&LakeAddress>) -> Result<(), Fault> {
    let Some(lake) = lake else { return Ok(()) };
    match (place, &lake.address) {
        (Address::Local(path), Address::Local(lake_path)) => {
            let Ok(real) = resolved(path) else { return Ok(()) };
            refuse_inside(&real, Some(lake))?;
            if lake_path.starts_with(&real) && real.is_dir() {
                return Err(lake_in_input(&path.display().to_string(), &lake_path.display().to_string()));
            }
            Ok(())
        }
        (Address::Store(input), Address::Store(lake)) if lake.holds(input) => {
            Err(input_in_lake(input.url.as_str(), lake.url.as_str()))
        }
        (Address::Store(input), Address::Store(lake)) if input.holds(lake) => {
            Err(lake_in_input(input.url.as_str(), lake.url.as_str()))
        }
        _ => Ok(()),
    }
}

fn refuse_inside(real: &Path, lake: Option<&LakeAddress>) -> Result<(), Fault> {
    match lake.map(|lake| &lake.address) {
        Some(Address::Local(lake)) if real.starts_with(lake) => {
            Err(input_in_lake(&real.display().to_string(), &lake.display().to_string()))
        }
        _ => Ok(()),
    }
}

fn input_in_lake(input: &str, lake: &str) -> Fault {
    Fault::setup(format!("the input `{input}` lies inside the lake `{lake}`"))
        .hint("a lake holds tables only; name uploads that lie outside it, or another --lake")
}

fn lake_in_input(input: &str, lake: &str) -> Fault {
    Fault::setup(format!("the lake `{lake}` lies inside the input `{input}`"))
        .hint("the next run would land the lake's own files; name a lake outside the input")
}

#[cfg(test)]
mod tests;
