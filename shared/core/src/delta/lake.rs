//! Where tables live: a folder, an S3 prefix or an Azure container's prefix, and the kernel's engine over it.
//!
//! A lake's tables are `<lake>/<schema>/<table>/`. The kernel uses only the path of a table's URL as the object's
//! key, so a local lake is a `LocalFileSystem` rooted at `/`. There a commit is a hard link of a finished file, which
//! is atomic and fails when the version exists; it is not forced to disk (`object_store` never calls fsync), so after
//! a power cut the last commits of a local lake may be gone or empty. Buckets have no such gap.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use delta_kernel::Engine;
use delta_kernel_default_engine::DefaultEngine;
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::azure::{AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use tokio::runtime::{Handle, RuntimeFlavor};
use url::Url;

use super::faults::store_fault;
use super::listing::ListsPlainly;
use super::work::{Counters, Work};
use crate::fault::Fault;

/// No retry starts later than this after a request's start: a dead store may not eat a function's deadline.
const RETRY_WITHIN: Duration = Duration::from_secs(12);
/// Retries of one request; the last waits 2 s.
const RETRIES: usize = 6;
/// One request, its body included: the longest is a part of 8 MiB.
const REQUEST_TIMEOUT: &str = "15 seconds";
/// So a request is over, whatever becomes of it, this long after it was begun.
pub(crate) const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// Opening a connection.
const CONNECT_TIMEOUT: &str = "4 seconds";
/// Files of a log that the kernel reads at once. Each holds a decoder with room for a whole batch: at the kernel's own
/// 1,000 files of 1,000 rows, memory grew with every commit behind the last checkpoint.
const FILES_READ_AHEAD: NonZero<usize> = NonZero::new(32).unwrap();
/// Rows of a log in one batch.
const LOG_BATCH_ROWS: NonZero<usize> = NonZero::new(256).unwrap();
/// Rows in one batch where only ids are read: they are narrow, and a checkpoint holds hundreds of thousands.
const ID_BATCH_ROWS: NonZero<usize> = NonZero::new(8192).unwrap();
/// What says where a bucket lies.
const REGION: AmazonS3ConfigKey = AmazonS3ConfigKey::Region;
/// How many folders are looked into at once when tables are listed.
const LOOK_INTO_AT_ONCE: usize = 16;
/// The scheme of volumes.
const VOLUME: &str = "dbfs";
/// The folder that makes a folder a table.
pub(crate) const LOG_FOLDER: &str = "_delta_log";

/// The folder of Inlet's own small files: notes, leases, cursors.
pub(crate) const STATE: &str = "_inlet";
/// Held rows that cannot lie in their table's folder yet: `_inlet/held-rows/<schema>/<table>/`.
const ASIDE: &str = "held-rows";

/// Where tables live; cheap to clone.
#[derive(Clone)]
pub struct Lake(Arc<Inner>);

/// Credentials that are asked for before each request to a lake's store.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// For S3.
    Aws {
        /// Gives them.
        provider: AwsCredentialProvider,
        /// Where the bucket lies, unless variables say it.
        region: Option<String>,
    },
    /// For Azure.
    Azure(AzureCredentialProvider),
}

struct Inner {
    url: Url,
    root: Path,
    store: Arc<dyn ObjectStore>,
    handle: Handle,
    engine: Arc<dyn Engine>,
    id_engine: Arc<dyn Engine>,
    /// An engine over an empty store: the layout of a table that does not exist yet is drafted there, without a request.
    nowhere: Arc<dyn Engine>,
    counters: Counters,
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lake").field(&self.0.url.as_str()).finish()
    }
}

impl Lake {
    /// The lake at `url`: `file:///…/`, `s3://bucket/prefix/`, `abfss://container@account.dfs.core.windows.net/prefix/`
    /// or `az://container/prefix/`. Credentials of S3 and Azure come from the environment, as `object_store` reads it
    /// (keys, web identity, container and instance roles, service principals). A local folder is made when missing.
    ///
    /// # Errors
    /// Setup when the URL names no lake that we can write to or the store's settings are incomplete.
    pub fn open(url: &Url, handle: Handle) -> Result<Self, Fault> {
        Self::open_store(url, None, handle)
    }

    /// The same, with credentials from elsewhere.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub fn open_as(url: &Url, credentials: Credentials, handle: Handle) -> Result<Self, Fault> {
        Self::open_store(url, Some(credentials), handle)
    }

    fn open_store(url: &Url, credentials: Option<Credentials>, handle: Handle) -> Result<Self, Fault> {
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new()),
            "s3" | "s3a" => {
                let mut builder = AmazonS3Builder::from_env()
                    .with_url(url.as_str())
                    .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                    .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT)
                    .with_retry(retries());
                if let Some(Credentials::Aws { provider, region }) = credentials {
                    builder = builder.with_credentials(provider);
                    if let Some(region) = region.filter(|_| builder.get_config_value(&REGION).is_none()) {
                        builder = builder.with_region(region);
                    }
                }
                Arc::new(builder.build().map_err(|error| incomplete(url, error))?)
            }
            "abfss" | "abfs" | "az" | "azure" => {
                let mut builder = MicrosoftAzureBuilder::from_env()
                    .with_url(url.as_str())
                    .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
                    .with_config(AzureConfigKey::Client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT)
                    .with_retry(retries());
                if let Some(Credentials::Azure(provider)) = credentials {
                    builder = builder.with_credentials(provider);
                }
                Arc::new(builder.build().map_err(|error| incomplete(url, error))?)
            }
            other => {
                return Err(Fault::setup(format!("`{other}` is no kind of lake that Inlet knows")).hint(
                    "give the lake as file:///folder/, s3://bucket/prefix/ or \
                     abfss://container@account.dfs.core.windows.net/prefix/",
                ));
            }
        };
        Self::with_store(url, store, handle)
    }

    /// The lake at `url` over a given store, whose keys are the URL's paths: for tests and fault injection.
    /// On Azure schemes the store's listings are made safe like those of [`Lake::open`].
    ///
    /// # Errors
    /// Setup for a URL that cannot be a folder, a bug when the runtime has no worker threads of its own.
    pub fn with_store(url: &Url, store: Arc<dyn ObjectStore>, handle: Handle) -> Result<Self, Fault> {
        if handle.runtime_flavor() != RuntimeFlavor::MultiThread {
            return Err(Fault::bug("a lake needs a multi-thread runtime: checkpoints hang on any other"));
        }
        let mut url = if url.scheme() == "file" { local_folder(url)? } else { url.clone() };
        // Everything below is joined to the URL: without the slash the last folder would be replaced.
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let root = Path::from_url_path(url.path()).map_err(|error| {
            Fault::setup(format!("{url} cannot be a lake")).hint("use plain folder names").because(error)
        })?;
        let store = match url.scheme() {
            "abfss" | "abfs" | "az" | "azure" => Arc::new(ListsPlainly(store)) as Arc<dyn ObjectStore>,
            _ => store,
        };
        let engine = engine_over(Arc::clone(&store), &handle, LOG_BATCH_ROWS);
        let id_engine = engine_over(Arc::clone(&store), &handle, ID_BATCH_ROWS);
        let nowhere = engine_over(Arc::new(InMemory::new()), &handle, LOG_BATCH_ROWS);
        Ok(Self(Arc::new(Inner {
            url,
            root,
            store,
            handle,
            engine,
            id_engine,
            nowhere,
            counters: Counters::default(),
        })))
    }

    /// The lake's address; ends in `/`.
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// Whether it is a volume of Unity Catalog, where rows of managed tables wait.
    pub fn is_volume(&self) -> bool {
        self.0.url.scheme() == VOLUME
    }

    /// The lake's own path in its store.
    pub(crate) fn root(&self) -> &Path {
        &self.0.root
    }

    /// Whether Databricks may put its commits over ours, so that it must write to tables behind their gates only.
    pub(crate) fn needs_gates(&self) -> bool {
        matches!(self.0.url.scheme(), "s3" | "s3a")
    }

    /// The store; its keys are paths of URLs, not relative to the lake.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.0.store
    }

    /// A folder of this lake as a lake of its own: its tables and its state lie below that folder, in the same store.
    pub(crate) fn folder(&self, name: &str) -> Result<Self, Fault> {
        Self::with_store(&self.url_of(&[name, ""])?, Arc::clone(&self.0.store), self.0.handle.clone())
    }

    /// The runtime that drives the store.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// The tables of a schema, sorted: names of folders that hold a Delta log.
    ///
    /// # Errors
    /// What the store answers; a schema that does not exist is an empty list.
    pub fn tables(&self, schema: &str) -> Result<Vec<String>, Fault> {
        let folder = self.0.root.clone().join(schema);
        let folders = self.table_folders(schema)?;
        let look = futures::stream::iter(folders).map(|name| {
            let log = folder.clone().join(name.as_str()).join(LOG_FOLDER);
            async move {
                let is_table = self.0.store.list(Some(&log)).try_next().await?.is_some();
                Ok::<_, object_store::Error>(is_table.then_some(name))
            }
        });
        let found = look.buffered(LOOK_INTO_AT_ONCE).try_filter_map(|name| std::future::ready(Ok(name)));
        self.wait(found.try_collect()).map_err(|error| self.unlisted(schema, error))
    }

    /// The folders of a schema, sorted: its tables, those that are just being made, and what a run left that stopped
    /// before it made one. One listing, however many there are.
    ///
    /// # Errors
    /// What the store answers; a schema that does not exist is an empty list.
    pub(crate) fn table_folders(&self, schema: &str) -> Result<Vec<String>, Fault> {
        let folder = self.0.root.clone().join(schema);
        let listed = self.wait(self.0.store.list_with_delimiter(Some(&folder)));
        let folders = listed.map_err(|error| self.unlisted(schema, error))?.common_prefixes;
        let mut names: Vec<String> = folders.iter().filter_map(Path::filename).map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn unlisted(&self, schema: &str, error: object_store::Error) -> Fault {
        store_fault(&format!("cannot list the tables of schema `{schema}`"), self.url(), error)
    }

    /// The schemas of the lake, sorted: names of its folders, without Inlet's own state and those that begin with `.`.
    /// A schema may begin with `_`: a source id that begins with a digit does.
    ///
    /// # Errors
    /// What the store answers.
    pub fn schemas(&self) -> Result<Vec<String>, Fault> {
        let listed = self
            .wait(self.0.store.list_with_delimiter(Some(&self.0.root)))
            .map_err(|error| store_fault("cannot list the schemas", self.url(), error))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        let mut names: Vec<String> =
            names.filter(|name| *name != STATE && !name.starts_with('.')).map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The address of a table; ends in `/`.
    pub(crate) fn table_url(&self, schema: &str, name: &str) -> Result<Url, Fault> {
        self.url_of(&[schema, name, ""])
    }

    /// Where files lie that cannot lie in their table's folder yet; ends in `/`.
    pub(crate) fn aside_url(&self, schema: &str, name: &str) -> Result<Url, Fault> {
        self.url_of(&[STATE, ASIDE, schema, name, ""])
    }

    /// The address of something in the lake.
    pub(super) fn url_of(&self, parts: &[&str]) -> Result<Url, Fault> {
        let mut url = self.0.url.clone();
        url.path_segments_mut()
            .map_err(|()| Fault::setup(format!("{} cannot be a lake: it has no path", self.0.url)))?
            .pop_if_empty()
            .extend(parts);
        Ok(url)
    }

    /// Makes the folder of a local table, which the kernel wants to see before it speaks of the table; buckets have none.
    pub(super) fn make_folder(&self, table: &Url) -> Result<(), Fault> {
        match table.scheme() {
            "file" => local_folder(table).map(drop),
            _ => Ok(()),
        }
    }

    /// The kernel's engine over this lake's store.
    pub(super) fn engine(&self) -> &Arc<dyn Engine> {
        &self.0.engine
    }

    /// The kernel's engine over this lake's store, for reading the ids of a whole log.
    pub(super) fn id_engine(&self) -> &Arc<dyn Engine> {
        &self.0.id_engine
    }

    /// The kernel's engine over an empty store.
    pub(super) fn nowhere(&self) -> &Arc<dyn Engine> {
        &self.0.nowhere
    }

    /// What its commits came to since this was last asked.
    pub fn take_work(&self) -> Work {
        self.0.counters.take()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Removes objects; one that is gone already is no fault.
    ///
    /// # Errors
    /// The store refuses one, or does not answer.
    pub(crate) fn remove(&self, places: Vec<Path>) -> object_store::Result<()> {
        let removed = self.store().delete_stream(futures::stream::iter(places.into_iter().map(Ok)).boxed());
        let unless_gone = |removed| match removed {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => removed.map(drop),
        };
        self.wait(removed.map(unless_gone).try_collect())
    }

    /// Waits for the store on this (plain) thread.
    pub(crate) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.0.handle.block_on(answer)
    }
}

fn engine_over(store: Arc<dyn ObjectStore>, handle: &Handle, batch_rows: NonZero<usize>) -> Arc<dyn Engine> {
    // Without this executor the builder takes its own single-threaded one, and a checkpoint then waits for ever.
    let executor = Arc::new(TokioMultiThreadExecutor::new(handle.clone()));
    let builder = DefaultEngine::builder(store).with_task_executor(executor);
    Arc::new(builder.with_buffer_size(FILES_READ_AHEAD).with_batch_size(batch_rows).build())
}

/// The real address of a local lake, whose folder is made when missing: the kernel resolves links in a table's address,
/// and what it then says must begin with ours.
fn local_folder(url: &Url) -> Result<Url, Fault> {
    let unusable = |error: Option<std::io::Error>| {
        let fault = Fault::setup(format!("{url} is no folder that a lake can be in"))
            .hint("give the lake as file:///absolute/folder/, writable for this user");
        match error {
            Some(error) => fault.because(error),
            None => fault,
        }
    };
    let folder = url.to_file_path().map_err(|()| unusable(None))?;
    std::fs::create_dir_all(&folder).map_err(|error| unusable(Some(error)))?;
    let folder = folder.canonicalize().map_err(|error| unusable(Some(error)))?;
    Url::from_directory_path(folder).map_err(|()| unusable(None))
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: RETRY_WITHIN,
    }
}

fn incomplete(url: &Url, error: object_store::Error) -> Fault {
    Fault::setup(format!("the settings of the lake at {url} are incomplete"))
        .hint("set the store's credentials and region (AWS_… or AZURE_…) in the environment")
        .because(error)
}
