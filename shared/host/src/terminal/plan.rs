//! A plan in words: which tables and columns the uploads would become, and what would be put aside.

use inlet_core::report::{PlanReport, PlannedRejection, PlannedTable};

use super::table::{Table, counted, plain};
use super::words;

/// The whole answer for standard output.
pub(crate) fn plan(plan: &PlanReport) -> String {
    let mut text = String::new();
    for table in &plan.tables {
        text.push_str(&one_table(table));
        text.push('\n');
    }
    for rejection in &plan.rejections {
        text.push_str(&rejected(rejection));
    }
    if !plan.rejections.is_empty() {
        text.push('\n');
    }
    if plan.fault.is_none() || plan.totals.uploads > 0 {
        let events = words::events(&plan.totals).replace(" landed", " would land");
        text.push_str(&format!("{events}; nothing was written\n"));
    }
    text
}

fn one_table(table: &PlannedTable) -> String {
    let new = if table.exists { "" } else { " (new table)" };
    let mut text = format!("{}{new}: {}\n", plain(&table.table), counted(table.rows, "row"));
    let mut columns = Table::new(&["column", "type", ""], &[]);
    for column in &table.columns {
        let mark = if column.new { "new" } else { "" };
        columns.push(&[column.name.clone(), column.column_type.clone(), mark.to_owned()]);
    }
    text.push_str(&columns.text("  "));
    if table.rescued > 0 {
        text.push_str(&format!("  {} would not fit; `_rescued_data` would keep:\n", counted(table.rescued, "value")));
        for conflict in &table.conflicts {
            text.push_str(&format!("    {}: {}\n", plain(&conflict.id), plain(&conflict.rescued_data)));
        }
        let shown: usize = table.conflicts.iter().map(|conflict| values(&conflict.rescued_data)).sum();
        if table.rescued > shown as u64 {
            text.push_str("    …\n");
        }
    }
    text
}

/// How many values one row's `_rescued_data` holds.
fn values(rescued_data: &str) -> usize {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(rescued_data).map_or(0, |object| object.len())
}

fn rejected(rejection: &PlannedRejection) -> String {
    let mut text = format!("rejected: `{}`", plain(&rejection.upload));
    match rejection.line {
        Some(line) => {
            text.push_str(&format!(" line {line}"));
        }
        None => text.push_str(" as a whole"),
    }
    if let Some(item) = rejection.item {
        text.push_str(&format!(" item {item}"));
    }
    text.push_str(&format!(": {}\n", rejection.reason));
    text
}

#[cfg(test)]
mod tests {
    use inlet_core::report::{Counts, PlannedColumn, PlannedConflict, Totals};

    use super::*;

    #[test]
    fn a_plan_reads_as_tables_conflicts_and_rejections() {
        let column = |name: &str, column_type: &str, new| PlannedColumn {
            name: name.to_owned(),
            column_type: column_type.to_owned(),
            new,
        };
        let report = PlanReport {
            function: "ingest",
            plan: true,
            tables: vec![PlannedTable {
                table: "events.tracks".to_owned(),
                exists: true,
                rows: 1,
                columns: vec![column("id", "string", false), column("context_ip", "string", true)],
                rescued: 1,
                conflicts: vec![PlannedConflict { id: "m1".to_owned(), rescued_data: r#"{"a":"b"}"#.to_owned() }],
            }],
            rejections: vec![
                PlannedRejection { upload: "-".to_owned(), line: Some(2), item: Some(0), reason: "unknown_type" },
                PlannedRejection { upload: "b.gz".to_owned(), line: None, item: None, reason: "unreadable" },
            ],
            skipped: Vec::new(),
            totals: Totals {
                uploads: 2,
                skipped: 0,
                counts: Counts { events: 3, landed: 1, rows: 1, rejected: 2, rescued: 1, ..Counts::default() },
            },
            fault: None,
        };
        assert_eq!(
            plan(&report),
            r#"events.tracks: 1 row
  column      type
  id          string
  context_ip  string  new
  1 value would not fit; `_rescued_data` would keep:
    m1: {"a":"b"}

rejected: `-` line 2 item 0: unknown_type
rejected: `b.gz` as a whole: unreadable

3 events: 1 would land, 2 rejected; nothing was written
"#
        );
    }
}
