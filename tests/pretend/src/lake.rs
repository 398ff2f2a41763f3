//! Real Delta logs on `file://`, `s3://` and `abfss://`: read with `deltalake`, committed to by hand, since it refuses
//! what Databricks' own tables list (`invariants`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deltalake::logstore::{StorageConfig, default_logstore};
use deltalake::table::state::DeltaTableState;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde_json::{Value, json};
use url::Url;

use crate::bucket::Bucket;
use crate::clock;
use crate::state::uuid;
use crate::statement::Failure;

/// The option that names a folder: its folders are the buckets of S3.
const BUCKETS_IN: &str = "buckets_in";
/// As commits name who made them.
const ENGINE: &str = "Databricks-Runtime/17.3.x-photon-scala2.13 (pretend)";

/// How stores are reached.
#[derive(Clone, Debug)]
pub(crate) struct Lakes {
    options: BTreeMap<String, String>,
    read: LastRead,
}

/// By location: the log as it was read last, and its newest commit. A statement looks at a log several times, and to read
/// a long one costs more than all else that it does.
type LastRead = Arc<Mutex<BTreeMap<Url, (Log, ObjectMeta)>>>;

/// The folder of one table.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    url: Url,
    root: Arc<dyn ObjectStore>,
    store: Arc<PrefixStore<Arc<dyn ObjectStore>>>,
    read: LastRead,
}

/// What stands at a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Nothing,
    /// Objects, and no Delta log.
    Others,
    Log,
}

/// A table's log as of a version.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) version: u64,
    /// The action `metaData`.
    pub(crate) metadata: Value,
    /// The action `protocol`.
    pub(crate) protocol: Value,
    pub(crate) files: Vec<DataFile>,
    /// When the newest commit was made, milliseconds since 1970.
    pub(crate) modified: u64,
}

/// A file that the log names.
#[derive(Clone, Debug)]
pub(crate) struct DataFile {
    pub(crate) path: String,
    pub(crate) size: i64,
    pub(crate) rows: Option<u64>,
    pub(crate) stats: Option<String>,
    pub(crate) has_deletion_vector: bool,
}

/// How a commit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    IfAbsent,
    /// As Databricks does on S3: whoever stands there is overwritten.
    Unconditional,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    Done,
    Lost,
}

impl Lakes {
    /// Options given win over the environment's `AWS_…` and `AZURE_…`.
    pub(crate) fn new(given: &BTreeMap<String, String>) -> Self {
        #[allow(clippy::disallowed_methods, reason = "stores read their own variables")]
        let of_environment =
            std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("AZURE_"));
        let mut options: BTreeMap<String, String> =
            of_environment.map(|(name, value)| (name.to_lowercase(), value)).collect();
        options.extend(given.iter().map(|(name, value)| (name.to_lowercase(), value.clone())));
        Self { options, read: LastRead::default() }
    }

    /// The folder of a table.
    pub(crate) fn place(&self, location: &str) -> Result<Place, Failure> {
        let unusable =
            |why: String| Failure::class("UNSUPPORTED_FILE_SYSTEM", "0A000", format!("`{location}`: {why}."));
        let url = Url::parse(&format!("{location}/")).map_err(|error| unusable(error.to_string()))?;
        if !["file", "s3", "abfss", "abfs", "az"].contains(&url.scheme()) {
            return Err(unusable(format!("the pretend workspace knows no scheme {}", url.scheme())));
        }
        if let (Some(folder), "s3", Some(bucket)) = (self.options.get(BUCKETS_IN), url.scheme(), url.host_str()) {
            let root = Bucket::at(&std::path::Path::new(folder).join(bucket));
            let root: Arc<dyn ObjectStore> = Arc::new(root.map_err(|error| unusable(error.to_string()))?);
            let prefix = Path::from_url_path(url.path()).map_err(|error| unusable(error.to_string()))?;
            let store = Arc::new(PrefixStore::new(Arc::clone(&root), prefix));
            return Ok(Place { url, root, store, read: Arc::clone(&self.read) });
        }
        // Credentials of one cloud are no options of the other's store.
        let cloud = if url.scheme() == "s3" { "aws_" } else { "azure_" };
        let options = self.options.iter().filter(|(name, _)| name.starts_with(cloud) || name.starts_with("allow_"));
        let (root, prefix) =
            object_store::parse_url_opts(&url, options).map_err(|error| unusable(error.to_string()))?;
        let root: Arc<dyn ObjectStore> = Arc::from(root);
        let store = Arc::new(PrefixStore::new(Arc::clone(&root), prefix));
        Ok(Place { url, root, store, read: Arc::clone(&self.read) })
    }
}

impl Place {
    /// The objects below.
    pub(crate) fn store(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    /// What stands here.
    pub(crate) async fn standing(&self) -> Result<Standing, Failure> {
        let log: Vec<_> = self.store.list(Some(&Path::from("_delta_log"))).try_collect().await.map_err(|e| io(&e))?;
        let is_of_log = |path: &Path| {
            let name = path.filename().unwrap_or_default();
            name.starts_with(|c: char| c.is_ascii_digit()) && (name.ends_with(".json") || name.contains(".checkpoint"))
        };
        if log.iter().any(|object| is_of_log(&object.location)) {
            return Ok(Standing::Log);
        }
        let mut all = self.store.list(None);
        let first = all.try_next().await.map_err(|error| io(&error))?;
        Ok(if first.is_some() { Standing::Others } else { Standing::Nothing })
    }

    /// Reads the log: its newest version, or that one.
    pub(crate) async fn read(&self, version: Option<u64>) -> Result<Log, Failure> {
        if version.is_none()
            && let Some(log) = self.unchanged().await
        {
            return Ok(log);
        }
        let prefixed = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        let log_store = default_logstore(prefixed, Arc::clone(&self.root), &self.url, &StorageConfig::default());
        let state = DeltaTableState::try_new(log_store.as_ref(), version).await.map_err(|error| io(&error))?;
        let metadata = serde_json::to_value(state.metadata()).map_err(|error| io(&error))?;
        let protocol = serde_json::to_value(state.protocol()).map_err(|error| io(&error))?;
        let files: Vec<DataFile> = state
            .log_data()
            .iter()
            .map(|file| DataFile {
                path: file.path().into_owned(),
                size: file.size(),
                rows: file.num_records().and_then(|rows| u64::try_from(rows).ok()),
                stats: file.stats(),
                has_deletion_vector: file.deletion_vector_descriptor().is_some(),
            })
            .collect();
        let commit = self.store.head(&commit_path(state.version())).await.ok();
        let modified = commit.as_ref().and_then(|commit| u64::try_from(commit.last_modified.timestamp_millis()).ok());
        let modified = modified.unwrap_or_default();
        let log = Log { version: state.version(), metadata, protocol, files, modified };
        if let (None, Some(commit)) = (version, commit) {
            self.last_read().insert(self.url.clone(), (log.clone(), commit));
        }
        Ok(log)
    }

    /// The log as it was read last, if its newest commit still is what it was.
    async fn unchanged(&self) -> Option<Log> {
        let (log, commit) = self.last_read().get(&self.url).cloned()?;
        let now = self.store.head(&commit_path(log.version)).await.ok()?;
        let next = self.store.head(&commit_path(log.version + 1)).await;
        (now == commit && matches!(next, Err(object_store::Error::NotFound { .. }))).then_some(log)
    }

    fn last_read(&self) -> MutexGuard<'_, BTreeMap<Url, (Log, ObjectMeta)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits actions as a version.
    pub(crate) async fn commit(&self, version: u64, actions: &[Value], put: Put) -> Result<Committed, Failure> {
        let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
        if put == Put::Unconditional {
            // It may be an older commit that is written over.
            self.last_read().remove(&self.url);
        }
        let mode = if put == Put::IfAbsent { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions::from(mode);
        match self.store.put_opts(&commit_path(version), PutPayload::from(text), options).await {
            Ok(_) => Ok(Committed::Done),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Committed::Lost)
            }
            Err(error) => Err(io(&error)),
        }
    }

    /// What the newest commits up to a version say of themselves, the newest first; those that were cleaned up are not
    /// there any more.
    pub(crate) async fn commits(&self, newest: u64, at_most: usize) -> Result<Vec<(u64, Value)>, Failure> {
        let mut found = Vec::new();
        for version in (0..=newest).rev().take(at_most) {
            let text = match self.store.get(&commit_path(version)).await {
                Ok(object) => object.bytes().await.map_err(|error| io(&error))?,
                Err(object_store::Error::NotFound { .. }) => break,
                Err(error) => return Err(io(&error)),
            };
            let actions = String::from_utf8_lossy(&text);
            let actions = actions.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let info = actions.filter_map(|mut action| Some(action.get_mut("commitInfo")?.take())).next();
            found.push((version, info.unwrap_or_default()));
        }
        Ok(found)
    }

    /// Copies a data file to a new name beside it; answers that.
    pub(crate) async fn copy(&self, path: &str) -> Result<String, Failure> {
        let from = Path::parse(path).map_err(|error| io(&error))?;
        let to = format!("part-00000-{}.c000.zstd.parquet", uuid());
        self.store.copy(&from, &Path::from(to.clone())).await.map_err(|error| io(&error))?;
        Ok(to)
    }

    /// Removes every object: what DROP does to a managed table, in the end.
    pub(crate) async fn remove_all(&self) -> Result<(), Failure> {
        self.last_read().remove(&self.url);
        let all: Vec<_> = self.store.list(None).try_collect().await.map_err(|error| io(&error))?;
        for object in all {
            self.store.delete(&object.location).await.map_err(|error| io(&error))?;
        }
        Ok(())
    }
}

impl Log {
    /// The fields of the schema.
    pub(crate) fn fields(&self) -> Vec<Value> {
        let schema = self.metadata["schemaString"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        schema.and_then(|schema| schema["fields"].as_array().cloned()).unwrap_or_default()
    }

    /// `delta.…` properties, and those of the user.
    pub(crate) fn configuration(&self) -> BTreeMap<String, String> {
        let all = self.metadata["configuration"].as_object().into_iter().flatten();
        all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// The table's comment.
    pub(crate) fn description(&self) -> Option<String> {
        self.metadata["description"].as_str().map(str::to_owned)
    }

    /// Features that the protocol lists.
    pub(crate) fn features(&self) -> Vec<String> {
        let of = |key: &str| self.protocol[key].as_array().cloned().unwrap_or_default();
        let mut all: Vec<String> = of("readerFeatures")
            .into_iter()
            .chain(of("writerFeatures"))
            .filter_map(|feature| feature.as_str().map(str::to_owned))
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// The properties that Unity Catalog shows: the table's, and what it derives from the protocol.
    pub(crate) fn catalog_properties(&self) -> BTreeMap<String, String> {
        let mut all = self.configuration();
        let version = |key: &str| self.protocol[key].as_u64().unwrap_or_default().to_string();
        all.insert("delta.minReaderVersion".to_owned(), version("minReaderVersion"));
        all.insert("delta.minWriterVersion".to_owned(), version("minWriterVersion"));
        all.insert("delta.lastUpdateVersion".to_owned(), self.version.to_string());
        all.insert("delta.lastCommitTimestamp".to_owned(), self.modified.to_string());
        all.extend(
            self.features().into_iter().map(|feature| (format!("delta.feature.{feature}"), "supported".to_owned())),
        );
        all
    }
}

/// What a commit says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) parameters: Value,
    /// Numbers, as text.
    pub(crate) metrics: Value,
}

impl Operation {
    /// Without metrics.
    pub(crate) fn new(name: &'static str, parameters: Value) -> Self {
        Self { name, parameters, metrics: json!({}) }
    }
}

/// The first line of a commit.
pub(crate) fn commit_info(operation: &Operation, read_version: Option<u64>) -> Value {
    let mut info = json!({
        "timestamp": clock::epoch_ms(), "operation": operation.name, "operationParameters": operation.parameters,
        "isolationLevel": "WriteSerializable", "isBlindAppend": read_version.is_none(),
        "operationMetrics": operation.metrics,
        "engineInfo": ENGINE, "txnId": uuid(),
    });
    if let Some(version) = read_version {
        info["readVersion"] = json!(version);
    }
    json!({"commitInfo": info})
}

/// A schema as `schemaString`.
pub(crate) fn schema_string(fields: &[Value]) -> String {
    json!({"type": "struct", "fields": fields}).to_string()
}

fn commit_path(version: u64) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

fn io(error: &dyn std::fmt::Display) -> Failure {
    Failure {
        error_code: "IO_ERROR".to_owned(),
        message: format!(
            "[FAILED_READ_FILE.NO_HINT] Error while reading or writing the table: {error} SQLSTATE: KD001"
        ),
        sql_state: Some("KD001".to_owned()),
    }
}
