//! The volume in which rows of managed tables wait: made, written, listed, read and emptied, in the schema of the test.

use bytes::Bytes;

use super::report::Finding;
use super::{Run, STEP_WITHIN};
use crate::evolve::MADE_BY_INLET;
use crate::fault::Fault;
use crate::managed::VOLUME;

const NOTE: &[u8] = b"a connection test";

/// Does with a volume of its own what staging does with Inlet's: `CREATE VOLUME`, `WRITE VOLUME`, `READ VOLUME`, and
/// managed storage for it. Who makes a volume owns it.
pub(super) fn staging(run: &mut Run<'_>) -> Result<Finding, Fault> {
    let (workspace, catalog) = (run.workspace()?.clone(), &run.destination()?.catalog);
    let (schema, deadline) = (run.scratch.name.clone(), run.within(STEP_WITHIN));
    let comment = format!("{MADE_BY_INLET}: a connection test");
    let folder = format!("Volumes/{catalog}/{schema}/{VOLUME}");
    let file = format!("{folder}/note");
    let read = run.wait(async {
        workspace.create_volume(catalog, &schema, VOLUME, &comment, deadline).await?;
        workspace.upload(&file, &Bytes::from_static(NOTE), false, deadline).await?;
        let is_second = workspace.upload(&file, &Bytes::from_static(NOTE), false, deadline).await?;
        let listed = workspace.list_folder(&folder, deadline).await?;
        let read = workspace.download(&file, None, deadline).await?;
        workspace.delete_file(&file, deadline).await?;
        Ok::<_, Fault>((is_second, listed.len(), read.is_some_and(|read| read.bytes == NOTE)))
    })?;
    match read {
        (false, 1, true) => Ok(Finding::Passed(format!("`{catalog}.{schema}.{VOLUME}` was made, written and read"))),
        (true, ..) => {
            Err(Fault::setup("the volume lets a file be written where one is: two deliveries could not be told apart")
                .hint("report this: the Files API keeps `overwrite=false`"))
        }
        _ => Err(Fault::setup("the volume does not give back what was written")
            .hint("see that nothing removes files below the catalog's managed storage")),
    }
}
