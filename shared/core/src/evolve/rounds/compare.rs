//! What tables need: their logs compared with what the catalog shows.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::{Rounds, Work, location_of, plain};
use crate::databricks::{SchemaInfo, TableInfo, TableKind};
use crate::delta::{Column, Table};
use crate::evolve::Parts;
use crate::evolve::catalog::{self, FullName, MADE_BY_INLET, Need, is_made_by_inlet};
use crate::evolve::holding::columns_after;
use crate::evolve::managed::refuse_overlap;
use crate::evolve::notes::{self, ATTEMPTS, Attempts};
use crate::evolve::report::{EvolveReport, TableStatus};
use crate::fault::Fault;
use crate::held;
use crate::sql::{TableColumns, unity_views};

const PARKED_HINT: &str = "mend what it says, then run: inlet evolve --retry";

/// What the catalog shows of a schema, by name.
type Shown = HashMap<String, TableInfo>;

impl Rounds<'_> {
    /// The catalog is there, ours to use, and its own managed files are not where the lake is.
    pub(super) fn check_catalog(&self) -> Result<(), Fault> {
        let Parts { lake, workspace, catalog, .. } = self.parts;
        let info = lake.handle().block_on(workspace.catalog(catalog, self.deadline))?;
        info.may_hold_tables()?;
        let managed = (info.storage_root.as_deref(), info.storage_location.as_deref());
        refuse_overlap(&catalog::spelled(lake.url()), &format!("catalog `{catalog}`"), managed)
    }

    /// Compares logs and catalog; what fails for one table stands in the report and stops no other.
    pub(super) fn compare(
        &mut self,
        asked: BTreeSet<(String, String)>,
        report: &mut EvolveReport,
    ) -> Result<Vec<Work>, Fault> {
        let mut works = Vec::new();
        let mut catalog: HashMap<String, Result<Shown, Fault>> = HashMap::new();
        for (schema, table) in asked {
            let name = FullName { catalog: self.parts.catalog.clone(), schema, table };
            if !catalog.contains_key(&name.schema) {
                catalog.insert(name.schema.clone(), self.shown(&name.schema, report));
            }
            let compared = match &catalog[&name.schema] {
                Ok(shown) => self.compare_one(&name, shown, report),
                Err(fault) => Err(fault.repeated()),
            };
            match compared {
                Ok(Some(work)) => works.push(work),
                Ok(None) => report.tables.push(plain(&name, TableStatus::Waiting, None)),
                Err(fault) => self.failed(&name, Vec::new(), &fault, report)?,
            }
        }
        Ok(works)
    }

    /// What one table needs; nothing when its commit has not come yet.
    fn compare_one(
        &mut self,
        name: &FullName,
        shown: &Shown,
        report: &mut EvolveReport,
    ) -> Result<Option<Work>, Fault> {
        let lake = &self.parts.lake;
        let log = Table::columns_in_log(lake, &name.schema, &name.table)?;
        let log = log.as_deref();
        let (held, shown_as) = (self.held_for(name), shown.get(&name.table));
        let location = location_of(lake, name)?;
        let copies = self.copies_of(name, &held)?;
        let are_copies_due = copies.as_ref().is_some_and(|copies| copies.are_due);
        let is_changed_for_rows = match copies {
            Some(_) => are_copies_due,
            None => !held.is_empty() && !self.adds_columns(),
        };
        let wanted = match is_changed_for_rows {
            false => None,
            true => {
                let wanted = held::wanted(held.iter().map(|left| &left.note));
                catalog::need_of_held(name, &location, log, shown_as, wanted)?
            }
        };
        let need = match (wanted, log) {
            (Some(need), _) => need,
            (None, Some(log)) => catalog::need(name, &location, log, shown_as)?,
            // Its held rows make it, and leave a note.
            (None, None) if !held.is_empty() => {
                return Ok(Some(Work {
                    name: name.clone(),
                    need: Need::Nothing,
                    columns: Vec::new(),
                    table: Vec::new(),
                    views: Vec::new(),
                    held,
                    copies,
                }));
            }
            (None, None) => {
                self.leave_notes(name, None)?;
                return Ok(None);
            }
        };
        let columns = columns_after(&need, log.unwrap_or_default());
        if (need != Need::Nothing || are_copies_due)
            && let Some(before) = self.parked(name)?
        {
            let why = before.message;
            return Err(Fault::setup(format!("left alone after {ATTEMPTS} attempts: {why}")).hint(PARKED_HINT));
        }
        let table = need.statements(name, &location);
        let views = self.views(name, &columns, shown, report)?;
        Ok(Some(Work { name: name.clone(), need, columns, table, views, held, copies }))
    }

    /// The attempts at a table that failed too often; whoever says `--retry` tries again.
    fn parked(&self, name: &FullName) -> Result<Option<Attempts>, Fault> {
        if self.ask.retry || self.ask.plan {
            return Ok(None);
        }
        let before = notes::attempts(&self.parts.lake, &name.schema, &name.table)?;
        Ok(before.filter(|before| before.failed >= ATTEMPTS))
    }

    /// What the catalog shows of a schema, in one listing; a schema that is missing is made, but for a plan.
    fn shown(&mut self, schema: &str, report: &mut EvolveReport) -> Result<Shown, Fault> {
        let Parts { lake, workspace, catalog, .. } = self.parts;
        let handle = lake.handle();
        if !self.schemas_there.contains(schema) {
            let named = format!("{catalog}.{schema}");
            let there = handle.block_on(workspace.schema(catalog, schema, self.deadline))?;
            if let Some(SchemaInfo { storage_root, storage_location, .. }) = &there {
                let managed = (storage_root.as_deref(), storage_location.as_deref());
                refuse_overlap(&catalog::spelled(lake.url()), &format!("schema `{named}`"), managed)?;
            } else {
                if !report.schemas_created.contains(&named) {
                    report.schemas_created.push(named);
                }
                if self.ask.plan {
                    return Ok(Shown::default());
                }
                let comment = format!("{MADE_BY_INLET}: the events of `{schema}`");
                handle.block_on(workspace.create_schema(catalog, schema, &comment, self.deadline))?;
            }
            self.schemas_there.insert(schema.to_owned());
        }
        let tables = handle.block_on(workspace.tables(catalog, schema, self.deadline))?;
        Ok(tables.into_iter().map(|table| (table.name.to_lowercase(), table)).collect())
    }

    /// The statements of views that are missing or show other columns than they should. A name that somebody else has
    /// taken stays theirs.
    fn views(
        &mut self,
        name: &FullName,
        columns: &[Column],
        shown: &Shown,
        report: &mut EvolveReport,
    ) -> Result<Vec<String>, Fault> {
        let known = self.tables_of(&name.schema)?;
        let table = TableColumns {
            schema: name.schema.clone(),
            table: name.table.clone(),
            columns: columns.iter().map(Column::named).collect(),
        };
        let mut statements = Vec::new();
        for view in unity_views(&name.catalog, &table, &|other| known.contains(other)) {
            let full = FullName { table: view.name.clone(), ..name.clone() };
            match shown.get(&view.name) {
                Some(there) if !is_our_view(there) => {
                    let taken =
                        format!("view {} is not made: the catalog has another object of that name", full.quoted());
                    report.warn(taken);
                }
                Some(there) if there.columns.iter().map(|column| &column.name).eq(&view.columns) => {}
                _ => statements.push(catalog::view(&full, &view.body)),
            }
        }
        Ok(statements)
    }
}

/// Whether a view is one that Inlet may replace.
fn is_our_view(there: &TableInfo) -> bool {
    there.kind == TableKind::View && is_made_by_inlet(there.comment.as_deref())
}
