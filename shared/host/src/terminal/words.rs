//! A report in words: what landed in which table, what was put aside and where to find it, and what to ask next.

use std::collections::{BTreeMap, BTreeSet};

use inlet_core::report::{Counts, FaultReport, Report, Status, Totals};
use url::Url;

use super::query;
use super::table::{Table, counted, number, plain};

/// More lines of one sort than this help nobody.
const LINES: usize = 10;
/// Queries that show where things were put aside; one for each table would bury them.
const QUERIES: usize = 3;
/// Tables that are listed, those with the most rows first; the rest is counted.
const TABLES_LISTED: usize = 25;
/// A longer name is cut.
const NAME_CHARACTERS: usize = 56;
/// New columns that are named; the rest is counted.
const COLUMNS_NAMED: usize = 4;

/// What the words need to know besides the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// The lake, and as the user named it; none: the tables are managed, and their rows are staged.
    pub(crate) place: Option<&'a (Url, String)>,
    /// The executable as it was called.
    pub(crate) program: &'a str,
    /// Upload name to schema.
    pub(crate) schemas: &'a BTreeMap<String, String>,
}

/// The whole answer for standard output.
pub(crate) fn report(report: &Report, context: Context<'_>) -> String {
    let uploads = report.uploads.len();
    let skipped = format!("{}{}", released(report), skipped(report));
    if uploads == 0 {
        return if report.fault.is_some() { String::new() } else { format!("nothing to land\n{skipped}") };
    }
    if report.uploads.iter().all(|upload| upload.status == Status::AlreadyLanded) {
        return format!("nothing to do: all {uploads} uploads are already landed\n{skipped}");
    }
    if report.uploads.iter().all(|upload| upload.status == Status::AlreadyStaged) {
        return format!("nothing to do: all {uploads} uploads are already staged\n{skipped}{}", load_now(context));
    }
    let failed = report.uploads.iter().any(|upload| upload.status == Status::Failed);
    let again = if failed { "nothing is acknowledged of what failed: mend it and run the command again\n" } else { "" };
    let mut text =
        format!("{}\n{}\n{again}{skipped}", statuses(report), events_as(&report.totals, waiting_word(context)));
    let tables = tables(report);
    if !tables.is_empty() {
        text.push_str(&format!("\n{}", table_of(&tables, waiting_word(context))));
    }
    text.push_str(&put_aside(report, &tables, context));
    text.push_str(&next(&tables, context));
    text
}

/// One line for each thing that did not go as its sender meant; they leave the exit code at 0 unless `--strict`.
pub(crate) fn warnings(totals: &Counts) -> Vec<String> {
    let mut warnings = Vec::new();
    if totals.rejected > 0 {
        let were = if totals.rejected == 1 { "was" } else { "were" };
        warnings.push(format!("{} {were} rejected: see `_rejects`", counted(totals.rejected, "event")));
    }
    if totals.rescued > 0 {
        let stand = if totals.rescued == 1 { "stands" } else { "stand" };
        warnings.push(format!("{} did not fit and {stand} in `_rescued_data`", counted(totals.rescued, "value")));
    }
    warnings
}

/// The same of a run, and what it holds. Events are held by their call tables; rows of other tables may be held alone.
pub(crate) fn warnings_of(report: &Report) -> Vec<String> {
    let mut warnings = warnings(&report.totals.counts);
    let tables = tables(report);
    let (events, rows) = (report.totals.counts.held, tables.values().map(|table| table.held).sum());
    let (count, word) = if events > 0 { (events, "event") } else { (rows, "row") };
    let parts = report.uploads.iter().flat_map(|upload| &upload.tables);
    // What is staged lands with the next window; that is no reason to warn.
    let waiting: Vec<_> = parts.filter(|part| part.status == Status::Held && part.because.is_none()).collect();
    if count > 0 && !waiting.is_empty() {
        let are = if count == 1 { "is" } else { "are" };
        let held = counted(count, word);
        let is_gated = waiting.iter().any(|part| part.waits_for == Some("gate"));
        warnings.push(match is_gated {
            true => format!("{held} {are} held until the gates of their tables open; the next run lands what is left"),
            false => format!("{held} {are} held until the tables' columns have changed: inlet evolve has that done"),
        });
    }
    warnings.extend(refusals(report));
    warnings
}

/// Why tables take no rows as they are: those are held, and land by the warehouse or once the tables can take them.
fn refusals(report: &Report) -> BTreeSet<String> {
    let tables = report.uploads.iter().flat_map(|upload| &upload.tables);
    let said = |waits_for: Option<&str>, fault: &FaultReport| match (waits_for, &fault.hint) {
        (Some("load"), Some(hint)) => {
            format!("{}; inlet evolve has the warehouse load its rows; for rows without it {hint}", fault.message)
        }
        (Some("load"), None) => format!("{}; inlet evolve has the warehouse load its rows", fault.message),
        (_, Some(hint)) => format!("{}; its rows are held: {hint}; then inlet evolve", fault.message),
        (_, None) => format!("{}; its rows are held", fault.message),
    };
    tables.filter_map(|table| Some(plain(&said(table.waits_for, table.because.as_ref()?)))).collect()
}

/// Faults for standard error: each said once, whatever number of uploads met it.
pub(crate) fn faults(report: &Report) -> String {
    let mut said: Vec<(String, &FaultReport)> = Vec::new();
    for upload in &report.uploads {
        if let Some(fault) = &upload.fault {
            let named = fault.message.contains(&upload.upload);
            let name = if named { String::new() } else { format!("`{}`: ", upload.upload) };
            said.push((format!("{name}{}", fault.message), fault));
        }
    }
    let more = said.len().saturating_sub(LINES);
    let mut text: String = said.iter().take(LINES).map(|(message, one)| fault(one, message)).collect();
    if more > 0 {
        text.push_str(&format!("… and {}; --json has them all\n", counted(more as u64, "more fault")));
    }
    if let Some(whole) = &report.fault {
        text.push_str(&fault(whole, &whole.message));
    }
    text
}

/// `kind: message`, and the hint on a line of its own.
pub(crate) fn fault(fault: &FaultReport, message: &str) -> String {
    // Several lines are several faults; behind a beginning of its own none of them can be taken for another message.
    let message: Vec<String> = message.split('\n').map(plain).collect();
    let mut text = format!("{}: {}\n", fault.kind.name(), message.join("\n  "));
    if let Some(hint) = &fault.hint {
        text.push_str(&format!("hint: {}\n", plain(hint)));
    }
    text
}

/// Rows of earlier uploads that had waited for a gate, in lines of their own.
fn released(report: &Report) -> String {
    let mut text = String::new();
    for one in &report.released {
        let table = plain(&one.table);
        if one.rows > 0 {
            text.push_str(&format!("{} held before landed in {table}\n", counted(one.rows, "row")));
        }
        if let Some(fault) = &one.fault {
            text.push_str(&format!("rows stay held for {table}, whose gate is open: {}\n", plain(&fault.message)));
        }
    }
    text
}

/// What was found and is not landed, in lines of its own.
fn skipped(report: &Report) -> String {
    let of_sources: u64 = report.skipped.iter().map(|source| source.uploads).sum();
    let mut text = String::new();
    match report.totals.skipped.saturating_sub(of_sources) {
        0 => {}
        files => text.push_str(&format!("{} skipped: hidden, empty or `dummy-object.txt`\n", counted(files, "file"))),
    }
    if of_sources > 0 {
        text.push_str(&format!("{} skipped: of sources that are not connected\n", counted(of_sources, "upload")));
    }
    text
}

fn statuses(report: &Report) -> String {
    use Status::{AlreadyLanded, AlreadyStaged, Failed, Landed, PartlyHeld, Rejected, Staged};
    let mut parts = Vec::new();
    for status in [Landed, PartlyHeld, Staged, AlreadyLanded, AlreadyStaged, Rejected, Failed] {
        let count = report.uploads.iter().filter(|upload| upload.status == status).count() as u64;
        if count > 0 {
            let uploads = if parts.is_empty() { counted(count, "upload") } else { number(count) };
            parts.push(format!("{uploads} {}", status.name()));
        }
    }
    parts.join(", ")
}

/// `1,234 events: 1,200 landed, 34 duplicates`: only what happened.
pub(crate) fn events(totals: &Totals) -> String {
    events_as(totals, "held")
}

/// The same with another word for what is held.
fn events_as(totals: &Totals, held: &str) -> String {
    let counts = &totals.counts;
    let mut text = counted(counts.events, "event");
    let parts = [
        (counts.landed, "landed"),
        (counts.held, held),
        (counts.duplicates, if counts.duplicates == 1 { "duplicate" } else { "duplicates" }),
        (counts.rejected, "rejected"),
        (counts.filtered, "filtered"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    for (place, (count, word)) in parts.enumerate() {
        text.push_str(&format!("{} {} {word}", if place == 0 { ":" } else { "," }, number(*count)));
    }
    text
}

/// One table over all uploads of the run.
#[derive(Debug, Default)]
struct Landed<'a> {
    rows: u64,
    held: u64,
    rescued: u64,
    new_columns: BTreeSet<&'a str>,
}

fn tables(report: &Report) -> BTreeMap<&str, Landed<'_>> {
    let mut tables: BTreeMap<&str, Landed<'_>> = BTreeMap::new();
    let parts = report.uploads.iter().flat_map(|upload| &upload.tables);
    for part in parts.filter(|part| part.status != Status::AlreadyLanded) {
        let table = tables.entry(&part.table).or_default();
        let waits = matches!(part.status, Status::Held | Status::Staged);
        let rows = if waits { &mut table.held } else { &mut table.rows };
        *rows += part.rows;
        table.rescued += part.rescued;
        table.new_columns.extend(part.new_columns.iter().map(|column| column.name.as_str()));
    }
    tables
}

fn table_of(tables: &BTreeMap<&str, Landed<'_>>, held: &str) -> String {
    let any_held = tables.values().any(|table| table.held > 0);
    let mut headings = vec!["table", "rows"];
    if any_held {
        headings.push(held);
    }
    headings.extend(["rescued", "new columns"]);
    let mut text = Table::new(&headings, if any_held { &[1, 2, 3] } else { &[1, 2] });
    let mut largest: Vec<_> = tables.iter().collect();
    largest.sort_by(|(a_name, a), (b_name, b)| (b.rows + b.held).cmp(&(a.rows + a.held)).then(a_name.cmp(b_name)));
    let rest = largest.split_off(largest.len().min(TABLES_LISTED));
    for (name, table) in largest {
        let mut cells = vec![cut(name), number(table.rows)];
        if any_held {
            cells.push(number(table.held));
        }
        cells.extend([number(table.rescued), columns(&table.new_columns)]);
        text.push(&cells);
    }
    let mut text = text.text("");
    if !rest.is_empty() {
        let rows = rest.iter().map(|(_, table)| table.rows + table.held).sum();
        let tables = counted(rest.len() as u64, "more table");
        text.push_str(&format!("… and {tables} with {}; --json lists them all\n", counted(rows, "row")));
    }
    text
}

fn cut(name: &str) -> String {
    if name.chars().count() <= NAME_CHARACTERS {
        return name.to_owned();
    }
    let head: String = name.chars().take(NAME_CHARACTERS - 1).collect();
    format!("{head}…")
}

fn columns(names: &BTreeSet<&str>) -> String {
    let named: Vec<&str> = names.iter().copied().take(COLUMNS_NAMED).collect();
    match names.len() {
        0 => String::new(),
        all if all > COLUMNS_NAMED => format!("{all}: {}, …", named.join(", ")),
        all => format!("{all}: {}", named.join(", ")),
    }
}

/// What was rejected, rescued or held, and the query that shows it.
fn put_aside(report: &Report, tables: &BTreeMap<&str, Landed<'_>>, context: Context<'_>) -> String {
    let mut text = String::new();
    let rejecting = report.uploads.iter().filter(|upload| upload.counts.rejected > 0);
    let schemas: BTreeSet<&String> = rejecting.filter_map(|upload| context.schemas.get(&upload.upload)).collect();
    let rescuing = tables.iter().filter(|(_, table)| table.rescued > 0);
    let mut queries = BTreeMap::new();
    queries
        .insert("`_rejects`", schemas.iter().filter_map(|schema| rejects_query(schema, context)).collect::<Vec<_>>());
    queries.insert("`_rescued_data`", rescuing.filter_map(|(name, _)| rescued_query(name, context)).collect());
    for warning in warnings_of(report) {
        let queries = queries.iter().find(|(place, _)| warning.contains(*place)).map(|(_, queries)| queries.as_slice());
        let queries = queries.unwrap_or_default();
        text.push_str(&format!("\nwarning: {warning}{}\n", if queries.is_empty() { "" } else { ":" }));
        for query in queries.iter().take(QUERIES) {
            text.push_str(&format!("  {query}\n"));
        }
        if queries.len() > QUERIES {
            text.push_str(&format!("  … and in {}\n", counted((queries.len() - QUERIES) as u64, "more table")));
        }
    }
    text
}

fn rejects_query(schema: &str, context: Context<'_>) -> Option<String> {
    let (lake, _) = context.place?;
    Some(query::duckdb(lake, schema, "_rejects", "upload, line, reason, raw", "ORDER BY loaded_at DESC"))
}

fn rescued_query(name: &str, context: Context<'_>) -> Option<String> {
    let (lake, _) = context.place?;
    let (schema, table) = name.split_once('.')?;
    Some(query::duckdb(lake, schema, table, "id, _rescued_data", "WHERE _rescued_data IS NOT NULL"))
}

/// What rows that wait are called.
fn waiting_word(context: Context<'_>) -> &'static str {
    if context.place.is_some() { "held" } else { "staged" }
}

/// Staged rows can wait for the schedule, or not.
fn load_now(context: Context<'_>) -> String {
    format!("\nnext:\n  {} evolve   # loads what is staged now; else the schedule does\n", context.program)
}

/// The next query to copy: events by name where there are tracks, else a look at the largest table.
fn next(tables: &BTreeMap<&str, Landed<'_>>, context: Context<'_>) -> String {
    let Some((lake, lake_as_named)) = context.place else { return load_now(context) };
    let landed = || tables.iter().filter(|(_, table)| table.rows > 0);
    let tracks = landed().find(|(name, _)| name.ends_with(".tracks"));
    let Some((name, _)) = tracks.or_else(|| landed().max_by_key(|(_, table)| table.rows)) else {
        return String::new();
    };
    let Some((schema, table)) = name.split_once('.') else { return String::new() };
    let query = if table == "tracks" {
        query::duckdb(lake, schema, table, "event, count(*) AS events", "GROUP BY ALL ORDER BY events DESC")
    } else {
        query::duckdb(lake, schema, table, "*", "LIMIT 10")
    };
    let lake = query::shell_word(lake_as_named);
    format!("\nnext:\n  {query}\n  {} sql --lake {lake}   # opens every table and view\n", context.program)
}

#[cfg(test)]
mod tests;
