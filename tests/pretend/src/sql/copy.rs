//! COPY INTO from volumes and from external locations: each path once per table, whatever it holds later.

use std::collections::BTreeSet;

use bytes::Bytes;
use deltalake::arrow::array::AsArray;
use deltalake::arrow::record_batch::RecordBatch;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::{Value, json};
use sqlparser::ast::SelectItem;

use super::Name;
use super::alter::{commit, with};
use super::failures::{failed, not_here};
use super::project::{Column, project};
use super::rows;
use super::staged::{Staged, io, read_all, write};
use crate::clock;
use crate::files::{VolumeFiles, VolumePath};
use crate::lake::{Log, Operation, Place, schema_string};
use crate::locations::{clean, is_within};
use crate::privileges::{Kind, Privilege, Securable};
use crate::state::{Caller, Table, uuid};
use crate::statement::{Failure, Rows};
use crate::types::{SqlType, field, type_text};
use crate::workspace::Workspace;

/// The most names in FILES.
const MOST_FILES: usize = 1_000;
/// Features of tables whose files need more in their `add` than we write.
const REFUSED: [&str; 3] = ["rowTracking", "clustering", "domainMetadata"];

/// Columns that have statistics, the first ones.
const STATISTICS_COLUMNS: usize = 32;
/// Longer texts are cut in statistics; ours have none then.
const STATISTICS_BYTES: usize = 32;

/// `COPY INTO`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CopyInto {
    pub(crate) table: Name,
    /// What is selected of each file; none: all of it.
    pub(crate) select: Option<Vec<SelectItem>>,
    /// `/Volumes/…`, or a place in storage.
    pub(crate) from: String,
    /// Names below that.
    pub(crate) files: Vec<String>,
    /// FORMAT_OPTIONS: the files' columns are joined; else those of the first are taken.
    pub(crate) merges_files: bool,
    /// COPY_OPTIONS: columns that the table lacks are added to it.
    pub(crate) merges_table: bool,
    /// COPY_OPTIONS: loaded paths are loaded again.
    pub(crate) force: bool,
}

/// Does it.
pub(super) async fn copy(
    workspace: &Workspace,
    caller: &Caller,
    full: &str,
    place: &Place,
    wanted: &CopyInto,
) -> Result<(Log, Rows), Failure> {
    if wanted.files.len() > MOST_FILES {
        let text = format!("FILES lists {} files; at most {MOST_FILES} are possible.", wanted.files.len());
        return Err(Failure::class("INVALID_PARAMETER_VALUE", "22023", text));
    }
    let source = Source::open(workspace, caller, &wanted.from).await?;
    let names: BTreeSet<&String> = wanted.files.iter().collect();
    let loaded = workspace.state().tables.get(full).map(|table| table.copied.clone()).unwrap_or_default();
    let mut staged = Vec::new();
    for name in names {
        if name.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(not_here(&format!("FILES with the name '{name}'")));
        }
        let (path, bytes) = source.read(name).await?;
        if wanted.force || !loaded.contains(&path) {
            staged.push(Staged { path, bytes });
        }
    }
    let paths: Vec<String> = staged.iter().map(|file| file.path.clone()).collect();
    if staged.is_empty() {
        return Ok((place.read(None).await?, rows::copied(0)));
    }
    let mut batches = Vec::new();
    for batch in read_all(staged, wanted.merges_files)? {
        batches.push(project(wanted.select.as_deref(), &batch)?);
    }
    let (log, inserted) = append(workspace, place, batches, wanted.merges_table).await?;
    if let Some(table) = workspace.state().tables.get_mut(full) {
        table.copied.extend(paths);
    }
    Ok((log, rows::copied(inserted)))
}

/// Where files are copied from.
enum Source {
    Volume(VolumePath, VolumeFiles),
    /// A folder under an external location.
    Folder(String, Place),
}

impl Source {
    /// The folder, for a caller who may read it.
    async fn open(workspace: &Workspace, caller: &Caller, from: &str) -> Result<Self, Failure> {
        if from.starts_with('/') {
            let parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
            let folder = VolumePath::of(&parts).map_err(failed)?;
            let stored = folder.open(workspace, caller, Privilege::ReadVolume).map_err(failed)?;
            return Ok(Self::Volume(folder, stored));
        }
        let folder = clean(from);
        {
            let state = workspace.state();
            let location = state.require_location(&folder).map_err(failed)?;
            let by = Securable::new(Kind::StorageCredential, &location.credential);
            let at = Securable::new(Kind::ExternalLocation, &location.name);
            if !state.may(caller, Privilege::ReadFiles, &by) {
                state.require(caller, Privilege::ReadFiles, &at).map_err(failed)?;
            }
            let in_table = |table: &&Table| table.location.as_ref().is_some_and(|root| is_within(&folder, root));
            if let Some(table) = state.tables.values().find(in_table) {
                let text = format!(
                    "Input path url '{folder}' overlaps with other external tables or volumes within 'COPY INTO' call: {}.",
                    table.full_name()
                );
                return Err(Failure::class("INVALID_PARAMETER_VALUE.LOCATION_OVERLAP", "22023", text));
            }
        }
        let place = workspace.lakes.place(&folder)?;
        Ok(Self::Folder(folder, place))
    }

    /// A file's path, as it is remembered, and its bytes.
    async fn read(&self, name: &str) -> Result<(String, Bytes), Failure> {
        let (path, shown, bytes) = match self {
            Self::Volume(folder, stored) => {
                let path = folder.join(name);
                let bytes = stored.read(&path).await.map_err(failed)?.map(|(bytes, _)| bytes);
                (path.full(), format!("dbfs:{}", path.full()), bytes)
            }
            Self::Folder(folder, place) => {
                let path = format!("{folder}/{name}");
                let bytes = match place.store().get(&Path::from(name)).await {
                    Ok(found) => Some(found.bytes().await.map_err(|error| io(&error))?),
                    Err(object_store::Error::NotFound { .. }) => None,
                    Err(error) => return Err(io(&error)),
                };
                (path.clone(), path, bytes)
            }
        };
        let missing = || Failure::class("PATH_NOT_FOUND", "42K03", format!("Path does not exist: {shown}."));
        Ok((path, bytes.ok_or_else(missing)?))
    }
}

/// One commit with a file per batch of columns.
async fn append(
    workspace: &Workspace,
    place: &Place,
    batches: Vec<Vec<Column>>,
    merges: bool,
) -> Result<(Log, u64), Failure> {
    let base = place.read(None).await?;
    refuse_foreign("COPY INTO", &base)?;
    let fields = target(&base.fields(), batches.first().map_or(&[][..], Vec::as_slice), merges)?;
    let (mut adds, mut inserted, mut bytes) = (Vec::new(), 0, 0);
    for columns in &batches {
        let batch: RecordBatch = super::staged::to_fields(columns, &fields)?;
        let (added, size) = add(place, &batch).await?;
        adds.push(added);
        inserted += batch.num_rows() as u64;
        bytes += size;
    }
    let operation = Operation {
        name: "COPY INTO",
        parameters: json!({"statsOnLoad": "false"}),
        metrics: json!({
            "numFiles": adds.len().to_string(), "numOutputRows": inserted.to_string(),
            "numOutputBytes": bytes.to_string(),
        }),
    };
    let log = commit(workspace, place, &operation, |log| {
        let changed = fields.len() > log.fields().len();
        let metadata = changed.then(|| with(log, "schemaString", json!(schema_string(&fields))));
        Ok(metadata.into_iter().chain(adds.iter().cloned()).collect())
    })
    .await?;
    Ok((log, inserted))
}

/// Refuses tables whose files need more than rows.
pub(super) fn refuse_foreign(statement: &str, log: &Log) -> Result<(), Failure> {
    let refused = |what: &str| Err(not_here(&format!("{statement} of a table {what}")));
    if let Some(feature) = log.features().into_iter().find(|feature| REFUSED.contains(&feature.as_str())) {
        return refused(&format!("with the feature {feature}"));
    }
    let configuration = log.configuration();
    if configuration.keys().any(|key| key.starts_with("delta.constraints.")) {
        return refused("with a CHECK constraint");
    }
    if configuration.get("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
        return refused("that maps columns");
    }
    if log.metadata["partitionColumns"].as_array().is_some_and(|columns| !columns.is_empty()) {
        return refused("with partitions");
    }
    Ok(())
}

/// Writes rows as a data file; the action that adds it, and its bytes.
pub(super) async fn add(place: &Place, batch: &RecordBatch) -> Result<(Value, usize), Failure> {
    let content = write(batch)?;
    let path = format!("part-00000-{}.c000.zstd.parquet", uuid());
    let size = content.len();
    let put = place.store().put(&Path::from(path.as_str()), content.into()).await;
    put.map_err(|error| io(&error))?;
    let action = json!({"add": {
        "path": path, "partitionValues": {}, "size": size, "modificationTime": clock::epoch_ms(),
        "dataChange": true, "stats": statistics(batch).to_string(),
    }});
    Ok((action, size))
}

/// What Delta keeps of a file: how many rows, and least and greatest of short texts.
fn statistics(batch: &RecordBatch) -> Value {
    let (mut least, mut greatest) = (serde_json::Map::new(), serde_json::Map::new());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()).take(STATISTICS_COLUMNS) {
        let Some(texts) = column.as_string_opt::<i32>() else { continue };
        let bounds = texts.iter().flatten().min().zip(texts.iter().flatten().max());
        if let Some((first, last)) = bounds.filter(|(first, last)| first.len().max(last.len()) <= STATISTICS_BYTES) {
            least.insert(field.name().clone(), json!(first));
            greatest.insert(field.name().clone(), json!(last));
        }
    }
    json!({"numRecords": batch.num_rows(), "minValues": least, "maxValues": greatest})
}

/// The table's fields after the copy: by name, a type must be the very one.
fn target(table: &[Value], columns: &[Column], merges: bool) -> Result<Vec<Value>, Failure> {
    let mut fields = table.to_vec();
    for column in columns {
        let same = |field: &&Value| field["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(&column.name));
        match table.iter().find(same) {
            Some(known) if known["type"].as_str().and_then(SqlType::of_delta) == Some(column.kind) => {}
            Some(known) => {
                let (name, before) = (&column.name, type_text(&known["type"]));
                let text = format!(
                    "Failed to merge fields '{name}' and '{name}'. Failed to merge incompatible data types {before} \
                     and {}.",
                    column.kind.text()
                );
                return Err(Failure::class("DELTA_FAILED_TO_MERGE_FIELDS", "22005", text));
            }
            None if merges => fields.push(field(&column.name, column.kind, None)),
            None => {
                let text = format!(
                    "A schema mismatch was detected while copying into the Delta table. This may indicate an issue \
                     with the incoming data, or the Delta table schema can be evolved automatically by setting: \
                     COPY_OPTIONS ('mergeSchema' = 'true'). Schema difference: Latest schema has additional field(s): \
                     {}",
                    column.name
                );
                return Err(Failure::class("COPY_INTO_SCHEMA_MISMATCH_WITH_TARGET_TABLE", "42KDG", text));
            }
        }
    }
    Ok(fields)
}
