//! A table as the second implementation of Delta sees it: its version and its files, and what stands where they should
//! be. Nothing here comes from the code that wrote it.

use std::sync::Arc;

use arrow_array::RecordBatch;
use deltalake::kernel::LogicalFileView;
use deltalake::logstore::{StorageConfig, default_logstore};
use deltalake::table::state::DeltaTableState;
use futures::TryStreamExt;
use hashbrown::HashMap;
use inlet_events::table::UPLOAD_ID;
use inlet_events::{ColumnType, KnownType};
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use super::differences::{Check, Difference, Differences};
use super::log::{Log, Txns};
use super::parquet_file::{Broken, ParquetFile};
use crate::delta::{Lake, store_fault};
use crate::fault::Fault;

/// What makes rows unreadable to the second implementation, or a log incomplete.
const CATALOG_MANAGED: [&str; 2] = ["catalogManaged", "catalogOwned-preview"];

const RESTORE: &str = "restore the file (versions of the bucket, a backup), or land the uploads again into another \
                       schema: their rows in this file are gone";

/// One table, opened.
pub(super) struct Stored {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) version: u64,
    /// Its columns and their types, in order.
    pub(super) columns: Vec<(String, KnownType)>,
    pub(super) files: Vec<StoredFile>,
    pub(super) txns: Txns,
}

/// One file that the log names.
pub(super) struct StoredFile {
    /// As the log names it.
    name: String,
    path: Path,
    logged_size: u64,
    logged_rows: Option<u64>,
    /// The least and the greatest upload id, as its statistics say.
    upload_ids: Option<(String, String)>,
    /// Its size as the store says; nothing when it is not there.
    size: Option<u64>,
}

impl Stored {
    /// Opens a table. Nothing when it cannot be proved; then a difference says why.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) fn open(
        lake: &Lake,
        schema: &str,
        name: &str,
        differences: &mut Differences,
    ) -> Result<Option<Self>, Fault> {
        let root = lake.root().clone().join(schema).join(name);
        let not_proved = |why: String| {
            Difference::new(
                Check::NotProved,
                schema,
                format!("nothing is known about the rows of table `{schema}.{name}`: {why}"),
                "mend the table's log, or compare its rows by hand; the uploads' bytes can be landed again elsewhere",
            )
            .table(name)
        };
        let state = match load(lake, schema, name)? {
            Ok(state) => Some(state),
            Err(why) => {
                differences.push(not_proved(why));
                None
            }
        };
        let (log, sizes) = list(lake, &root)?;
        for (first, last) in log.gaps() {
            differences.push(gap(schema, name, first, last, log.is_in_checkpoint(last)));
        }
        let Some(state) = state else { return Ok(None) };
        let version = state.version();
        let mut files = Vec::new();
        for view in state.log_data().iter() {
            match StoredFile::of(&root, &view, &sizes) {
                Ok(file) => files.push(file),
                Err(why) => {
                    differences.push(not_proved(why));
                    return Ok(None);
                }
            }
        }
        let txns = match log.upload_ids(lake, version) {
            Ok(txns) => txns,
            Err(Broken::Fault(fault)) => return Err(fault),
            Err(Broken::Missing) => return Err(moved(schema, name)),
            Err(Broken::Damaged(why)) => {
                differences.push(not_proved(format!("the ids in its log cannot be read: {why}")));
                return Ok(None);
            }
        };
        let column_of = |name: &str, named: &str| (name.to_owned(), known_type(named));
        let fields = state.schema();
        let columns = fields.fields().map(|field| column_of(field.name(), &field.data_type().to_string())).collect();
        Ok(Some(Self { schema: schema.to_owned(), name: name.to_owned(), version, columns, files, txns }))
    }

    /// `schema.table`, for messages.
    pub(super) fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub(super) fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|(column, _)| column == name)
    }

    /// Rows as the log says.
    pub(super) fn logged_rows(&self) -> u64 {
        self.files.iter().filter_map(|file| file.logged_rows).sum()
    }

    /// Reads columns of a file (all for `None`), and answers how many rows it has.
    pub(super) fn read(
        &self,
        lake: &Lake,
        file: &StoredFile,
        columns: Option<&[&str]>,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), Fault>,
    ) -> Result<u64, Broken> {
        let Some(size) = file.size else { return Err(Broken::Missing) };
        ParquetFile { path: file.path.clone(), size }.read(lake, columns, each)
    }

    /// What a file's reading came to, compared with what the log says.
    ///
    /// # Errors
    /// What the store answers.
    pub(super) fn judge_file(
        &self,
        file: &StoredFile,
        read: Result<u64, Broken>,
        range: Option<&(String, String)>,
        differences: &mut Differences,
    ) -> Result<(), Fault> {
        let named = format!("file `{}` of table `{}`", file.name, self.label());
        let mut push = |check, message: String, hint: &str, numbers: Option<(u64, u64)>| {
            let difference = Difference::new(check, &self.schema, message, hint).table(&self.name);
            differences.push(match numbers {
                Some((expected, found)) => difference.numbers(expected as i64, found as i64),
                None => difference,
            });
        };
        if let Some(size) = file.size
            && size != file.logged_size
        {
            let message = format!("{named} has {size} bytes, its log says {}", file.logged_size);
            push(Check::FileSize, message, RESTORE, Some((file.logged_size, size)));
        }
        match read {
            Err(Broken::Fault(fault)) => return Err(fault),
            Err(Broken::Missing) => push(Check::FileMissing, format!("{named} is not there"), RESTORE, None),
            Err(Broken::Damaged(why)) => {
                push(Check::FileUnreadable, format!("{named} cannot be read: {why}"), RESTORE, None);
            }
            Ok(rows) => {
                if let Some(logged) = file.logged_rows.filter(|logged| *logged != rows) {
                    let message = format!("{named} has {rows} rows, its log says {logged}");
                    let hint = "readers that count by the log are wrong; if the file was replaced, restore it";
                    push(Check::FileRows, message, hint, Some((logged, rows)));
                }
                if let (Some((least, greatest)), Some((first, last))) = (&file.upload_ids, range)
                    && (first < least || last > greatest)
                {
                    let message = format!("{named} holds upload ids outside the range that its statistics say");
                    let hint = "look-ups by `_upload_id` pass the file by, and an overwritten upload would land twice; \
                                rewrite the file: OPTIMIZE the table";
                    push(Check::FileStatistics, message, hint, None);
                }
            }
        }
        Ok(())
    }
}

impl StoredFile {
    fn of(root: &Path, view: &LogicalFileView, sizes: &HashMap<Path, u64>) -> Result<Self, String> {
        let name = view.path().into_owned();
        if view.deletion_vector_descriptor().is_some() {
            return Err("it has deletion vectors, which the second reader does not apply".to_owned());
        }
        if name.starts_with('/') || name.contains("://") {
            return Err(format!("its log names a file outside of the table: `{name}`"));
        }
        let path = Path::parse(format!("{root}/{name}")).unwrap_or_else(|_| Path::from(format!("{root}/{name}")));
        let stats: serde_json::Value =
            view.stats().and_then(|stats| serde_json::from_str(&stats).ok()).unwrap_or_default();
        let upload_id = |side: &str| Some(stats.get(side)?.get(UPLOAD_ID)?.as_str()?.to_owned());
        Ok(Self {
            size: sizes.get(&path).copied(),
            logged_size: u64::try_from(view.size()).unwrap_or(0),
            logged_rows: view.num_records().map(|rows| rows as u64),
            upload_ids: upload_id("minValues").zip(upload_id("maxValues")),
            path,
            name,
        })
    }
}

/// A type by Delta's name for it.
fn known_type(name: &str) -> KnownType {
    KnownType::Ours(match name {
        "boolean" => ColumnType::Boolean,
        "long" => ColumnType::BigInt,
        "double" => ColumnType::Double,
        "string" => ColumnType::String,
        "timestamp" => ColumnType::Timestamp,
        _ => return KnownType::Foreign,
    })
}

/// The state of a table's log by the second implementation, or why it has none.
fn load(lake: &Lake, schema: &str, name: &str) -> Result<Result<DeltaTableState, String>, Fault> {
    let url = lake.table_url(schema, name)?;
    let root: Arc<dyn ObjectStore> = Arc::clone(lake.store());
    let prefix = lake.root().clone().join(schema).join(name);
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(&root), prefix));
    let log_store = default_logstore(prefixed, root, &url, &StorageConfig::default());
    let state = match lake.wait(DeltaTableState::try_new(log_store.as_ref(), None)) {
        Ok(state) => state,
        Err(error) if url.scheme() != "file" && is_of_store(&error) => {
            return Err(Fault::again(format!("cannot read table `{schema}.{name}`")).because(error));
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mapping = state.metadata().configuration().get("delta.columnMapping.mode").filter(|mode| *mode != "none");
    if let Some(mode) = mapping {
        return Ok(Err(format!("it maps columns (by {mode}), which the second reader does not follow")));
    }
    let features = state.protocol().reader_features().unwrap_or_default();
    let managed = features.iter().map(ToString::to_string).find(|name| CATALOG_MANAGED.contains(&name.as_str()));
    Ok(match managed {
        Some(feature) => Err(format!("its commits may stand in a catalog only (feature `{feature}`)")),
        None => Ok(state),
    })
}

fn is_of_store(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<object_store::Error>().is_some() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// All files of a table: those of its log, and the sizes of the others.
fn list(lake: &Lake, root: &Path) -> Result<(Log, HashMap<Path, u64>), Fault> {
    let folder = root.clone().join("_delta_log");
    let depth = folder.parts().count() + 1;
    let (mut log, mut sizes) = (Log::default(), HashMap::new());
    let listed = lake.wait(lake.store().list(Some(root)).try_for_each(|file| {
        if !file.location.prefix_matches(&folder) {
            sizes.insert(file.location, file.size);
        } else if file.location.parts().count() == depth {
            log.note(&file.location, file.size);
        }
        std::future::ready(Ok(()))
    }));
    listed.map_err(|error| store_fault("cannot list the files of a table", lake.url(), error))?;
    Ok((log, sizes))
}

fn gap(schema: &str, name: &str, first: u64, last: u64, is_in_checkpoint: bool) -> Difference {
    let versions = if first == last { format!("version {first}") } else { format!("versions {first} to {last}") };
    let hint = if is_in_checkpoint {
        "a checkpoint stands for them, so no row is lost by it; older versions cannot be read"
    } else {
        "files that they added or removed are unknown; restore the log's files (versions of the bucket, a backup)"
    };
    let message = format!("{versions} of table `{schema}.{name}` are missing in its log");
    Difference::new(Check::LogGap, schema, message, hint).table(name)
}

fn moved(schema: &str, name: &str) -> Fault {
    Fault::again(format!("the log of table `{schema}.{name}` was cleaned up while it was read"))
        .hint("run the command again")
}
