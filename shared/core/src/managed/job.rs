//! One table in a window: what it lacks for its staged rows, the statements, and the proof that the rows are there.

use std::sync::Mutex;

use hashbrown::{HashMap, HashSet};
use inlet_events::order::id_hash;
use inlet_events::table::UPLOAD_ID;
use inlet_events::{ColumnType, KnownType};
use object_store::path::Path;

use super::columns_of;
use super::copy::{copies, count, counted, ids, loaded};
use super::staged::{Left, StagedTable};
use crate::clock::Deadline;
use crate::crew::lock;
use crate::databricks::{Answer, Error, TableInfo, TableKind, Workspace};
use crate::delta::KeptFile;
use crate::evolve::{FullName, TableStatus, alter, create_managed, is_made_by_inlet, view};
use crate::fault::Fault;
use crate::gates::BehindGate;
use crate::held::{Wanted, joined};
use crate::sql::{TableColumns, View, unity_views};

/// Uploads whose rows one statement counts.
const UPLOADS_COUNTED: usize = 1_000;

/// A warehouse to say statements to, and what was said.
pub(crate) struct Speaker<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) warehouse: &'a str,
    pub(crate) deadline: Deadline,
    pub(crate) said: Mutex<Vec<String>>,
    /// The gate of the table that is spoken of, where there are gates.
    pub(crate) behind: Option<&'a BehindGate<'a>>,
}

impl Speaker<'_> {
    /// Says a statement, behind the gate if it is closed, and waits for its end. The inner answer is the warehouse's.
    pub(crate) async fn try_say(&self, statement: &str) -> Result<Result<Answer, Error>, Fault> {
        lock(&self.said).push(statement.to_owned());
        match self.behind {
            Some(closed) => closed.run(statement, self.deadline, &mut None).await,
            None => Ok(self.workspace.run(self.warehouse, statement, self.deadline).await),
        }
    }

    async fn say(&self, statement: &str) -> Result<Answer, Fault> {
        Ok(self.try_say(statement).await??)
    }
}

/// A table with staged rows.
pub(super) struct Job {
    pub(super) name: FullName,
    /// The folder of the volume in which its files stand.
    folder: String,
    pub(super) status: TableStatus,
    /// Columns that it lacks.
    pub(super) lacking: Vec<Wanted>,
    /// CREATE or ALTER, when it lacks any.
    pub(super) change: Option<String>,
    /// Its columns; after the change, those that it then has.
    pub(super) columns: Vec<(String, KnownType)>,
    /// Places of its parts: note, and table in the note.
    pub(super) parts: Vec<(usize, usize)>,
}

/// Rows that are to be copied.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) files: Vec<KeptFile>,
    pub(crate) rows: u64,
    /// Rows of the same uploads that stood in the table before, and are not in the files.
    pub(crate) standing: u64,
    /// The uploads that they are of: all rows that the table then holds of these are among them.
    pub(crate) upload_ids: Vec<String>,
}

impl Job {
    /// What a table needs for its parts of the notes in a volume.
    pub(super) fn of(
        name: &FullName,
        volume: &Path,
        there: Option<&TableInfo>,
        notes: &[Left],
        parts: &[(usize, usize)],
    ) -> Self {
        let folder = format!("/{volume}/{}/{}", name.schema, name.table);
        let columns = there.map(columns_of).unwrap_or_default();
        // A table that was dropped since lacks columns that no note had to ask for.
        let in_files = || staged(notes, parts).flat_map(|(_, table)| table.files.iter().flat_map(KeptFile::columns));
        let in_files: Vec<Wanted> = in_files().map(|(name, column_type)| wanted(name, column_type)).collect();
        let asked = staged(notes, parts).flat_map(|(_, table)| &table.columns);
        let wanted = joined(asked.chain(&in_files));
        let lacking: Vec<Wanted> = wanted.into_iter().filter(|column| !has(&columns, column)).collect();
        let (change, status) = match there {
            None => (Some(create_managed(name, &lacking)), TableStatus::Created),
            Some(_) if !lacking.is_empty() => (Some(alter(name, &lacking)), TableStatus::Altered),
            Some(_) => (None, TableStatus::UpToDate),
        };
        Self { name: name.clone(), folder, status, lacking, change, columns, parts: parts.to_vec() }
    }

    /// Its rows in the notes.
    pub(super) fn rows(&self, notes: &[Left]) -> Rows {
        let staged: Vec<_> = staged(notes, &self.parts).collect();
        Rows {
            files: staged.iter().flat_map(|(_, table)| table.files.iter().cloned()).collect(),
            rows: staged.iter().map(|(_, table)| table.rows).sum(),
            standing: staged.iter().map(|(_, table)| self.standing(table)).sum(),
            upload_ids: staged.iter().map(|(left, _)| left.note.upload_id.clone()).collect(),
        }
    }

    /// How many rows of a part a note says to stand in the table: there are none in one that was just made.
    pub(super) fn standing(&self, part: &StagedTable) -> u64 {
        if self.status == TableStatus::Created { 0 } else { part.standing }
    }

    /// The columns that it has, or will have.
    pub(super) fn columns_after(&self) -> Vec<(String, KnownType)> {
        let lacking = self.lacking.iter().filter(|column| !has(&self.columns, column));
        let lacking = lacking.map(|column| (column.name.clone(), KnownType::Ours(column.column_type)));
        self.columns.iter().cloned().chain(lacking).collect()
    }

    /// The statements that load rows.
    ///
    /// # Errors
    /// A file does not fit the columns.
    pub(super) fn copies(&self, rows: &Rows, columns: &[(String, KnownType)]) -> Result<Vec<String>, Fault> {
        copies(&self.name, &self.folder, columns, &rows.files.iter().collect::<Vec<_>>())
    }

    /// The views over it that are missing or show other columns, as statements. A name that somebody else has taken
    /// stays theirs.
    pub(super) fn views(&self, shown: &HashMap<String, TableInfo>) -> Vec<String> {
        let table = TableColumns {
            schema: self.name.schema.clone(),
            table: self.name.table.clone(),
            columns: self.columns_after(),
        };
        let is_table = |name: &str| shown.get(name).is_some_and(|there| there.kind != TableKind::View);
        let is_due = |view: &View| match shown.get(&view.name) {
            Some(there) if !is_made_by_inlet(there.comment.as_deref()) => false,
            Some(there) => !there.columns.iter().map(|column| &column.name).eq(&view.columns),
            None => true,
        };
        let views = unity_views(&self.name.catalog, &table, &is_table).into_iter().filter(is_due);
        views.map(|due| view(&FullName { table: due.name, ..self.name.clone() }, &due.body)).collect()
    }

    /// Makes or alters the table, and learns its columns.
    pub(super) async fn make(&mut self, speaker: &Speaker<'_>) -> Result<(), Fault> {
        let Some(change) = &self.change else { return Ok(()) };
        match speaker.try_say(change).await? {
            Err(error) if !error.already_exists() => return Err(error.into()),
            _ => {}
        }
        let FullName { catalog, schema, table } = &self.name;
        let Some(seen) = speaker.workspace.table(catalog, schema, table, speaker.deadline).await? else {
            return Err(Fault::again(format!("{} is still not in the catalog", self.name.quoted()))
                .hint("run `inlet evolve` again"));
        };
        self.columns = columns_of(&seen);
        Ok(())
    }

    /// The ids of rows that these uploads landed in the table, hashed; there are none in a table that was just made.
    pub(super) async fn ids(&self, upload_ids: &[String], speaker: &Speaker<'_>) -> Result<HashSet<u128>, Fault> {
        if self.status == TableStatus::Created || !self.columns.iter().any(|(name, _)| name == UPLOAD_ID) {
            return Ok(HashSet::new());
        }
        let mut found = HashSet::new();
        for some in upload_ids.chunks(UPLOADS_COUNTED) {
            let answer = speaker.say(&ids(&self.name, some)).await?;
            found.extend(answer.rows.iter().filter_map(|row| row.first()?.as_deref()).map(id_hash));
        }
        Ok(found)
    }

    /// How many rows of these uploads stand in the table; none do in one that was just made.
    pub(super) async fn count(&self, upload_ids: &[String], speaker: &Speaker<'_>) -> Result<u64, Fault> {
        match self.status {
            TableStatus::Created => Ok(0),
            _ => count_rows(&self.name, upload_ids, speaker).await,
        }
    }

    /// Copies rows into the table, and looks whether all are there.
    pub(super) async fn load(&self, rows: &Rows, speaker: &Speaker<'_>) -> Result<(), Fault> {
        copy_rows(&self.name, &self.folder, &self.columns, rows, speaker).await
    }

    /// Makes views. One that cannot be made is no reason to call the table failed: what went wrong is answered.
    pub(super) async fn show(&self, views: &[String], speaker: &Speaker<'_>) -> Vec<String> {
        let mut warnings = Vec::new();
        for statement in views {
            if let Err(error) = speaker.say(statement).await {
                warnings.push(format!("a view over {} is not made: {}", self.name.quoted(), error.chain()));
            }
        }
        warnings
    }
}

/// Copies rows into a table with these columns, from the folder in which all their files stand, and looks whether all
/// are there.
///
/// # Errors
/// A file does not fit the columns; what the workspace answers; Setup when the table then holds other rows of these
/// uploads than the files.
pub(crate) async fn copy_rows(
    name: &FullName,
    folder: &str,
    columns: &[(String, KnownType)],
    rows: &Rows,
    speaker: &Speaker<'_>,
) -> Result<(), Fault> {
    let mut inserted = Some(0);
    for statement in copies(name, folder, columns, &rows.files.iter().collect::<Vec<_>>())? {
        let answer = speaker.say(&statement).await?;
        inserted = inserted.zip(loaded(&answer)).map(|(sum, more)| sum + more);
    }
    if inserted == Some(rows.rows) && rows.standing == 0 {
        return Ok(());
    }
    // Some paths were loaded before, and nobody heard of it: the rows themselves say of which upload they are.
    must_hold(name, rows.rows + rows.standing, count_rows(name, &rows.upload_ids, speaker).await?)
}

async fn count_rows(name: &FullName, upload_ids: &[String], speaker: &Speaker<'_>) -> Result<u64, Fault> {
    let mut found = 0;
    for ids in upload_ids.chunks(UPLOADS_COUNTED) {
        let answer = speaker.say(&count(name, ids)).await?;
        found += counted(&answer).ok_or_else(|| Fault::again("a count of rows was answered without a number"))?;
    }
    Ok(found)
}

/// Compares the rows of uploads that a table holds with those of their staged rows that should stand there.
///
/// # Errors
/// Setup when they are not as many.
pub(super) fn must_hold(name: &FullName, staged: u64, found: u64) -> Result<(), Fault> {
    if found == staged {
        return Ok(());
    }
    Err(Fault::setup(format!("{} holds {found} rows of staged uploads, not {staged}", name.quoted()))
        .hint("compare DESCRIBE HISTORY with what else writes to the table; the staged files are kept"))
}

fn wanted(name: &str, column_type: ColumnType) -> Wanted {
    Wanted { name: name.to_owned(), column_type, comment: None }
}

fn has(columns: &[(String, KnownType)], column: &Wanted) -> bool {
    columns.iter().any(|(known, _)| known.eq_ignore_ascii_case(&column.name))
}

fn staged<'a>(notes: &'a [Left], parts: &[(usize, usize)]) -> impl Iterator<Item = (&'a Left, &'a StagedTable)> {
    parts.iter().map(|&(note, table)| (&notes[note], &notes[note].note.tables[table]))
}

/// Refuses a name that something else has.
///
/// # Errors
/// Setup, with what it is.
pub(super) fn refuse_another_thing(name: &FullName, there: Option<&TableInfo>) -> Result<(), Fault> {
    let other = there.and_then(|there| match &there.kind {
        TableKind::Managed => there.format.as_deref().filter(|format| *format != "DELTA"),
        TableKind::External => Some("an external table"),
        TableKind::View => Some("a view"),
        TableKind::Other(kind) => Some(kind.as_str()),
    });
    match other {
        None => Ok(()),
        Some(other) => {
            Err(Fault::setup(format!("{} is taken in the catalog by another object: {other}", name.quoted()))
                .hint("rename or drop it; the rows wait in the volume"))
        }
    }
}
