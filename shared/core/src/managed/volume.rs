//! A volume of Unity Catalog as a store: what a lake, its small files and its Parquet writer need of one, by the Files
//! API. Keys are the API's own paths: `Volumes/<catalog>/<schema>/<volume>/…`.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::clock::Deadline;
use crate::databricks::{self, Entry, Workspace};

/// How long one request may take, its repetitions included.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);
/// What the store is called in errors.
const NAME: &str = "volume";

/// The volumes of a workspace.
#[derive(Clone, Debug)]
pub(super) struct Volumes(pub(super) Workspace);

impl fmt::Display for Volumes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "volumes of {:?}", self.0)
    }
}

impl Volumes {
    async fn folder(&self, folder: &Path) -> Result<Vec<(Path, Entry)>> {
        let entries = self.0.list_folder(folder.as_ref(), soon()).await.map_err(|error| failed(folder, error))?;
        Ok(entries.into_iter().map(|entry| (folder.clone().join(entry.name.as_str()), entry)).collect())
    }

    async fn look(&self, path: &Path) -> Result<ObjectMeta> {
        let found = self.0.look_at(path.as_ref(), soon()).await.map_err(|error| failed(path, error))?;
        found.map(|entry| meta(path.clone(), &entry)).ok_or_else(|| missing(path))
    }
}

#[async_trait]
impl ObjectStore for Volumes {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let over = match options.mode {
            PutMode::Overwrite => true,
            PutMode::Create => false,
            PutMode::Update(_) => return Err(not_here("a put that depends on a version")),
        };
        let put = self.0.upload(path.as_ref(), &Bytes::from(payload), over, soon()).await;
        match put.map_err(|error| failed(path, error))? {
            true => Ok(PutResult { e_tag: None, version: None }),
            false => Err(Error::AlreadyExists { path: path.to_string(), source: "a file stands there".into() }),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_here("a file in parts"))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let is_plain = options.if_match.is_none() && options.if_none_match.is_none();
        if !is_plain || options.if_modified_since.is_some() || options.if_unmodified_since.is_some() {
            return Err(not_here("a condition of a read"));
        }
        let asked = match options.range {
            None => None,
            Some(GetRange::Bounded(range)) => Some(range),
            Some(_) => return Err(not_here("a range without its end")),
        };
        let (meta, content) = if options.head {
            (self.look(path).await?, Bytes::new())
        } else {
            let content = self.0.download(path.as_ref(), asked.clone(), soon()).await;
            let content = content.map_err(|error| failed(path, error))?.ok_or_else(|| missing(path))?;
            let entry = Entry { bytes: content.size, ..Entry::default() };
            (meta(path.clone(), &entry), content.bytes)
        };
        let from = asked.map_or(0, |asked| asked.start);
        let range = from..if options.head { meta.size } else { from + content.len() as u64 };
        let payload = GetResultPayload::Stream(stream::once(std::future::ready(Ok(content))).boxed());
        Ok(GetResult { payload, meta, range, attributes: object_store::Attributes::default() })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Path| {
            let store = store.clone();
            async move {
                let deleted = store.0.delete_file(path.as_ref(), soon()).await;
                deleted.map_err(|error| failed(&path, error)).map(|()| path)
            }
        };
        paths.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let root = prefix.cloned().unwrap_or_default();
        let store = self.clone();
        // Folder by folder; what each holds is told before the next is asked for.
        let walk = stream::try_unfold(vec![root], move |mut open| {
            let store = store.clone();
            async move {
                let Some(folder) = open.pop() else { return Ok::<_, Error>(None) };
                let mut files = Vec::new();
                for (path, entry) in store.folder(&folder).await? {
                    match entry.is_folder {
                        true => open.push(path),
                        false => files.push(Ok(meta(path, &entry))),
                    }
                }
                Ok(Some((stream::iter(files), open)))
            }
        });
        walk.try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        for (path, entry) in self.folder(&prefix.cloned().unwrap_or_default()).await? {
            match entry.is_folder {
                true => listed.common_prefixes.push(path),
                false => listed.objects.push(meta(path, &entry)),
            }
        }
        Ok(listed)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_here("a copy"))
    }
}

fn soon() -> Deadline {
    Deadline::after(REQUEST_WITHIN)
}

fn meta(location: Path, entry: &Entry) -> ObjectMeta {
    let last_modified = chrono::DateTime::from_timestamp_micros(entry.modified).unwrap_or_default();
    ObjectMeta { location, last_modified, size: entry.bytes, e_tag: None, version: None }
}

fn failed(path: &Path, error: databricks::Error) -> Error {
    let (is_missing, is_denied) = (error.is_missing(), error.is_denied());
    // As a fault it says what to do; whoever wraps the store's error finds it.
    let source = Box::new(crate::fault::Fault::from(error));
    match () {
        () if is_missing => Error::NotFound { path: path.to_string(), source },
        () if is_denied => Error::PermissionDenied { path: path.to_string(), source },
        () => Error::Generic { store: NAME, source },
    }
}

fn missing(path: &Path) -> Error {
    Error::NotFound { path: path.to_string(), source: "no such file, or it is hidden".into() }
}

fn not_here(what: &str) -> Error {
    Error::NotSupported { source: format!("the Files API has no {what}").into() }
}
