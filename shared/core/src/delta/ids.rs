//! The `txn` ids of a table, all read in one pass. One of the four files that use the kernel's internal API.
//!
//! Asking the kernel for one id reads the log again each time (25-38 ms each at 300,000 ids); one pass over the txn
//! column of the checkpoint and over the commits since reads all in about 0.1 s. Expired ids that still stand there
//! count: knowing too much is safe, knowing too little lands an upload twice.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use delta_kernel::actions::LOG_TXN_SCHEMA;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::{Engine, FileMeta, KernelResult, SnapshotRef};
use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128;

/// A set of app ids, 16 bytes each.
#[derive(Clone, Default)]
pub(super) struct Ids(HashSet<u128>);

impl Ids {
    /// All ids of a snapshot.
    pub(super) fn read(engine: &dyn Engine, snapshot: &SnapshotRef) -> KernelResult<Self> {
        let mut ids = Self::default();
        for batch in snapshot.log_segment().read_actions(engine, LOG_TXN_SCHEMA.clone())? {
            each_app_id(&batch?.actions.try_into_record_batch()?, &mut |app_id| ids.insert(app_id));
        }
        Ok(ids)
    }

    pub(super) fn insert(&mut self, app_id: &str) {
        self.0.insert(hash(app_id));
    }

    pub(super) fn contains(&self, app_id: &str) -> bool {
        self.0.contains(&hash(app_id))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The version of the checkpoint that a snapshot stands on.
pub(super) fn checkpoint_version(snapshot: &SnapshotRef) -> Option<u64> {
    snapshot.log_segment().checkpoint_version
}

/// The file of a snapshot's last commit, as a listing showed it; as it was written when the snapshot is of our commit.
pub(super) fn last_commit_file(snapshot: &SnapshotRef) -> Option<&FileMeta> {
    let last = snapshot.log_segment().listed.latest_commit_file.as_ref()?;
    (last.version == snapshot.version()).then_some(&last.location)
}

/// Calls `each` with the `txn.appId` of every row that has one.
pub(super) fn each_app_id(actions: &RecordBatch, each: &mut dyn FnMut(&str)) {
    each_text(actions, "txn", "appId", each);
}

/// Calls `each` with `action.member` of every row that has one.
pub(super) fn each_text(actions: &RecordBatch, action: &str, member: &str, each: &mut dyn FnMut(&str)) {
    let Some(action) = actions.column_by_name(action).and_then(|column| column.as_struct_opt()) else { return };
    let Some(texts) = action.column_by_name(member).and_then(|column| column.as_string_opt::<i32>()) else { return };
    for row in 0..texts.len() {
        if action.is_valid(row) && texts.is_valid(row) {
            each(texts.value(row));
        }
    }
}

/// Not a secret and no defence: who can write ids to the log needs no collision to stop an upload.
fn hash(app_id: &str) -> u128 {
    xxh3_128(app_id.as_bytes())
}
