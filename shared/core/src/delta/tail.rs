//! The newest commits of a table: the ids they brought, and whether they name files of ours.

use std::sync::Arc;

use delta_kernel::commit_range::{CommitRange, DeltaAction};
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::{Engine, KernelResult, SnapshotRef};

use super::ids::{each_app_id, each_text};

/// What stands in some commits.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// App ids of their `txn` actions.
    pub(super) app_ids: Vec<String>,
    /// The watched paths among their `add` actions, each with its commit's version.
    pub(super) added: Vec<(u64, String)>,
}

/// Reads the commits `from ..= snapshot's version`, looking out for `watched` paths.
pub(super) fn read_tail(
    engine: &Arc<dyn Engine>,
    snapshot: &SnapshotRef,
    from: u64,
    watched: &[&str],
) -> KernelResult<Tail> {
    let mut tail = Tail::default();
    if from > snapshot.version() {
        return Ok(tail);
    }
    // A snapshot that stands on a newer checkpoint no longer lists the commits before it; the store still does.
    let range = CommitRange::builder_from(Arc::clone(snapshot), from).build(engine.as_ref()).or_else(|_| {
        CommitRange::builder_for(snapshot.table_root(), from)
            .with_end_version(snapshot.version())
            .build(engine.as_ref())
    })?;
    let with_adds = [DeltaAction::SetTxn, DeltaAction::Add];
    let actions = if watched.is_empty() { &with_adds[..1] } else { &with_adds[..] };
    for commit in range.commits(Arc::clone(engine), None, actions)? {
        let commit = commit?;
        for batch in commit.get_actions(engine.as_ref())? {
            let batch = batch.try_into_record_batch()?;
            each_app_id(&batch, &mut |app_id| tail.app_ids.push(app_id.to_owned()));
            each_text(&batch, "add", "path", &mut |path| {
                if watched.contains(&path) {
                    tail.added.push((commit.version(), path.to_owned()));
                }
            });
        }
    }
    Ok(tail)
}
