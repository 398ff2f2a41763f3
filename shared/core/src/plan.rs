//! What uploads would become: the same reading and typing as a landing, with nothing written.

use std::sync::{Arc, Mutex};

use hashbrown::HashMap;
use inlet_events::table::RESCUED_DATA;
use inlet_events::{Column, KnownType, Limits, Reason, RowGroup};

use crate::clock::{self, Deadline};
use crate::crew::{Crewman, lock};
use crate::fault::Fault;
use crate::group::{counts_of, rejected_report, upload_context};
use crate::held::Pending;
use crate::landing::{Work, land};
use crate::registry::{Past, Registry, Writes};
use crate::report::{FaultReport, PlanReport, PlannedColumn, PlannedConflict, PlannedRejection, PlannedTable};
use crate::route::{PlanOver, Watch};
use crate::settings::Settings;
use crate::source::{Refusal, Source};
use crate::upload::Upload;

/// Rejections and conflicts that a plan shows.
const EXAMPLES: usize = 100;

/// Collects a plan over schemas.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    settings: &'a Settings,
    report: PlanReport,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self { settings, report: PlanReport::new() }
    }

    pub(crate) fn finish(self) -> PlanReport {
        self.report
    }

    fn fail(&mut self, fault: &Fault) {
        let known = self.report.fault.as_ref().map(|known| known.kind.gravity());
        if known.is_none_or(|known| known < fault.kind().gravity()) {
            self.report.fault = Some(FaultReport::from(fault));
        }
    }

    /// Plans the uploads of one schema, one after another.
    pub(crate) fn plan_schema(&mut self, over: PlanOver<'_>, schema: &str, uploads: &[Upload], watch: &dyn Watch) {
        // Reading needs a runtime only for stores; a plan without a lake reads local bytes.
        let own_runtime = match over {
            PlanOver::Nothing => {
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()
            }
            PlanOver::Lake(_) | PlanOver::Catalog(..) => None,
        };
        let handle = match over {
            PlanOver::Nothing => own_runtime.as_ref().map(|own| own.handle().clone()),
            PlanOver::Lake(lake) => Some(lake.handle().clone()),
            PlanOver::Catalog(_, handle) => Some(handle.clone()),
        };
        let limits: &Limits = &self.settings.limits;
        let registry = match over {
            PlanOver::Nothing => Registry::new(None, schema, self.settings, Writes::Nothing, Pending::default()),
            PlanOver::Lake(lake) => {
                Registry::new(Some(lake), schema, self.settings, Writes::Nothing, Pending::default())
            }
            PlanOver::Catalog(managed, handle) => {
                let shown = managed.columns(schema, handle);
                shown.map(|shown| Registry::of_managed(None, schema, self.settings, shown))
            }
        };
        let registry = match (registry, handle) {
            (Ok(registry), Some(handle)) => (Mutex::new(registry), handle),
            (Err(fault), _) => return self.fail(&fault),
            (_, None) => return self.fail(&Fault::again("cannot start a runtime")),
        };
        let (registry, handle) = registry;
        let buffers = Arc::default();
        let mut crew = [Crewman::default()];
        let mut tables: Vec<PlannedTable> = Vec::new();
        for upload in uploads {
            let source = Source { upload, limits, admits: None, handle: &handle, buffers: &buffers };
            let deadline = Deadline::after(self.settings.patience);
            let context = upload_context(upload, clock::now(), self.settings);
            let work = Work { registry: &registry, yard: None, context: &context, rejects_landed: false, deadline };
            self.report.totals.uploads += 1;
            let begun = lock(&registry).begin(Past::default());
            let opened = begun.map_err(Refusal::Fault).and_then(|()| source.open());
            watch.read(upload.size);
            let landed = match opened {
                Ok(opened) => land(work, &source, opened, &mut crew).map_err(|stopped| stopped.refusal),
                Err(refusal) => Err(refusal),
            };
            match landed {
                Ok(landed) => {
                    self.report.totals.counts.add(&counts_of(&landed, &[], &|_| false));
                    self.collect(&registry, &mut crew[0], &mut tables, schema, upload);
                    for (number, counts) in landed.counts.tables.iter().enumerate() {
                        tables[number].rows += counts.rows;
                        tables[number].rescued += landed.rescued.get(number).map_or(0, |counts| counts.rescued);
                    }
                }
                Err(Refusal::Rejected(reason, what)) => {
                    crew = [Crewman::default()];
                    let rejected = rejected_report(upload, reason, what.as_deref());
                    self.report.totals.counts.add(&rejected.counts);
                    self.reject(upload, None, None, reason.code());
                    if let Some(fault) = rejected.fault {
                        let fault = Fault::rejected(format!("`{}`: {}", upload.name, fault.message))
                            .hint(fault.hint.unwrap_or_default());
                        self.fail(&fault);
                    }
                }
                Err(Refusal::Fault(fault)) => {
                    crew = [Crewman::default()];
                    self.fail(&fault);
                }
            }
        }
        let registry = lock(&registry);
        for (number, table) in tables.iter_mut().enumerate() {
            let plan = registry.plan(number as u32);
            let new: Vec<_> = plan.new_columns().into_iter().map(|(name, _)| name).collect();
            let column =
                |name: &str, column_type: String, new| PlannedColumn { name: name.to_owned(), column_type, new };
            let existing = plan.columns().iter().filter(|(name, _)| !new.contains(name));
            table.columns = existing
                .map(|(name, known)| match known {
                    KnownType::Ours(column_type) => column(name, column_type.name().to_owned(), false),
                    KnownType::Foreign => column(name, "another type".to_owned(), false),
                })
                .collect();
            let added = plan.new_columns().into_iter();
            table.columns.extend(added.map(|(name, column_type)| column(&name, column_type.name().to_owned(), true)));
        }
        tables.retain(|table| table.rows > 0);
        self.report.tables.append(&mut tables);
        self.report.tables.sort_by(|a, b| a.table.cmp(&b.table));
    }

    /// Takes the rows out of the builders: examples of conflicts and rejections stay.
    fn collect(
        &mut self,
        registry: &Mutex<Registry>,
        man: &mut Crewman,
        tables: &mut Vec<PlannedTable>,
        schema: &str,
        upload: &Upload,
    ) {
        let plans = lock(registry).plans();
        for plan in &plans[tables.len()..] {
            tables.push(PlannedTable {
                table: format!("{schema}.{}", plan.name),
                exists: lock(registry).exists(tables.len() as u32),
                rows: 0,
                columns: Vec::new(),
                rescued: 0,
                conflicts: Vec::new(),
            });
        }
        for (number, plan) in plans.iter().enumerate() {
            if let Some(rows) = man.worker.row_group(number as u32, plan) {
                collect_conflicts(&rows, &mut tables[number].conflicts);
            }
            man.worker.clear(number as u32);
        }
        let rejects = std::mem::take(&mut man.rejects);
        let rejects = rejects.row_group();
        let numbers = |name: &str| -> HashMap<usize, i64> {
            rejects.column(name).into_iter().flat_map(Column::integers).collect()
        };
        let (lines, items) = (numbers("line"), numbers("item"));
        for (row, code) in rejects.column("reason").into_iter().flat_map(Column::texts) {
            let number = |of: &HashMap<usize, i64>| of.get(&row).and_then(|number| u64::try_from(*number).ok());
            if let Some(reason) = Reason::ALL.iter().map(|reason| reason.code()).find(|known| *known == code) {
                self.reject(upload, number(&lines), number(&items), reason);
            }
        }
    }

    fn reject(&mut self, upload: &Upload, line: Option<u64>, item: Option<u64>, reason: &'static str) {
        if self.report.rejections.len() < EXAMPLES {
            self.report.rejections.push(PlannedRejection { upload: upload.name.clone(), line, item, reason });
        }
    }
}

fn collect_conflicts(rows: &RowGroup<'_>, conflicts: &mut Vec<PlannedConflict>) {
    let texts = |name: &str| rows.column(name).into_iter().flat_map(Column::texts);
    let rescued: Vec<_> = texts(RESCUED_DATA).take(EXAMPLES.saturating_sub(conflicts.len())).collect();
    let ids: HashMap<usize, &str> = match rescued.is_empty() {
        true => HashMap::new(),
        false => texts("id").collect(),
    };
    for (row, rescued_data) in rescued {
        let id = ids.get(&row).copied().unwrap_or_default().to_owned();
        conflicts.push(PlannedConflict { id, rescued_data: rescued_data.to_owned() });
    }
}
