//! `inlet status`: what a lake did lately, in words or JSON.

use inlet_core::fault::Fault;
use inlet_core::status::{SchemaStatus, Staged, Status, Sums, staged_status, status};
use inlet_core::waiting::FailedAttempts;

use super::arguments::{Form, Status as Asked};
use super::output::Streams;
use super::table::{counted, number, plain};
use super::{Call, told, words, workspace};
use crate::home::Home;
use crate::lake;
use crate::runtime;

/// Notes under way, and tables that wait, that are named.
const NOTES: usize = 5;
/// A longer line is cut.
const LINE_CHARACTERS: usize = 120;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Asked, call: &Call<'_>, streams: &Streams) -> u8 {
    let status = look(asked, &call.program, streams).unwrap_or_else(|fault| Status::failed(&fault));
    match call.form {
        Form::Words => streams.out.write(&said(&status)),
        Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&status).unwrap_or_default()),
    }
    match &status.fault {
        Some(fault) => {
            streams.err.write(&words::fault(fault, &fault.message));
            fault.kind.exit_code()
        }
        None => 0,
    }
}

fn look(asked: &Asked, program: &str, streams: &Streams) -> Result<Status, Fault> {
    let runtime = runtime()?;
    let told = told(asked.settings.as_deref(), asked.lake.as_deref(), &runtime, streams)?;
    let workspace = workspace(&told.settings)?;
    let line = format!("{program} status --lake ./lake");
    let home = Home::of(&told.settings, workspace.as_ref(), || lake::to_read(told.lake.as_deref(), &line))?;
    let lake = home.look(&told.settings, workspace.as_ref(), runtime.handle())?;
    let status = match home.managed() {
        Some(_) => staged_status(&lake, asked.schema.as_deref())?,
        None => status(&lake, &lake::chosen(lake.schemas()?, asked.schema.as_deref())?)?,
    };
    if status.schemas.is_empty() {
        return Err(Fault::setup(format!("nothing has landed in {} yet", home.name()))
            .hint(format!("{program} ingest PATH lands the first uploads")));
    }
    Ok(status)
}

/// The whole answer for standard output.
fn said(status: &Status) -> String {
    let schemas: Vec<String> = status.schemas.iter().map(one).collect();
    let mut text = schemas.join("\n");
    for lease in &status.leases {
        let state = if lease.is_expired { "stopped in the middle" } else { "is at work" };
        text.push_str(&format!("\n{} {state}, last seen {} ago\n", plain(&lease.name), duration(lease.seconds)));
    }
    text
}

fn one(schema: &SchemaStatus) -> String {
    let mut text = format!("{}\n", plain(&schema.schema));
    let mut line = |what: &str, says: &str| text.push_str(&format!("  {what:<9} {says}\n"));
    if let Some(staged) = &schema.staged {
        staged_lines(staged, &mut line);
        return text;
    }
    if let Some(last) = &schema.last {
        let upload = plain(&last.upload);
        line("last load", &format!("{} ago: `{upload}`, done {}", duration(last.seconds_ago), last.finished_at));
    }
    if let Some(lag) = schema.lag {
        line("lag", &format!("median {:.1} s, greatest {:.1} s", lag.median, lag.greatest));
    }
    line("last 24 h", &sums(&schema.lately));
    line("all", &sums(&schema.all));
    if !schema.reasons.is_empty() {
        let reasons: Vec<String> =
            schema.reasons.iter().map(|one| format!("{} {}", number(one.count), plain(&one.reason))).collect();
        line("rejected", &format!("lately: {}", reasons.join(", ")));
    }
    let held = schema.all.counts.held;
    line("held", &if held > 0 { counted(held, "event") } else { "none".to_owned() });
    for held in schema.waiting.held.iter().take(NOTES) {
        let (rows, age) = (counted(held.rows, "row"), duration(held.seconds));
        let says = format!("for {age}: {rows} of `{}` wait for", plain(&held.table));
        if let (Some(refused), "load") = (&held.refused, held.waits_for) {
            let why = format!("{says} the warehouse to load them: run inlet evolve; {}", plain(&refused.message));
            line("", &format!("{why}{}", failed(held.failed.as_ref())));
            continue;
        }
        if let Some(refused) = &held.refused {
            line("", &format!("{says} it to take them: {}", plain(&refused.message)));
            refused.hint.iter().for_each(|hint| line("", &format!("{}; then inlet evolve", plain(hint))));
            continue;
        }
        if held.waits_for == "gate" {
            line("", &format!("{says} its gate: the next run after it has opened lands them"));
            continue;
        }
        let columns = if held.columns.is_empty() { "its table".to_owned() } else { held.columns.join(", ") };
        line("", &format!("{}{}", cut(&format!("{says} {columns}")), failed(held.failed.as_ref())));
    }
    if let Some(oldest) = schema.waiting.catalog.first() {
        let tables = counted(schema.waiting.catalog.len() as u64, "table");
        line(
            "catalog",
            &format!("{tables} changed since, the first {} ago: run inlet evolve", duration(oldest.seconds)),
        );
        for table in schema.waiting.catalog.iter().filter(|table| table.failed.is_some()).take(NOTES) {
            line("", &format!("`{}`{}", plain(&table.table), failed(table.failed.as_ref())));
        }
    }
    for note in schema.underway.iter().take(NOTES) {
        let first = note.uploads.first().map(String::as_str).unwrap_or_default();
        let more = note.uploads.len().saturating_sub(1);
        let more = if more > 0 { format!(" and {}", counted(more as u64, "more upload")) } else { String::new() };
        line("under way", &format!("for {}: `{}`{more}", duration(note.seconds), plain(first)));
    }
    if schema.underway.len() > NOTES {
        line("", &format!("… and {}", counted((schema.underway.len() - NOTES) as u64, "more run")));
    }
    if !schema.underway.is_empty() {
        line("", "a run is at work or was killed: if none is, run ingest again with these uploads");
    }
    text
}

/// What waits for the warehouse, and what it has loaded.
fn staged_lines(staged: &Staged, line: &mut dyn FnMut(&str, &str)) {
    let loaded = counted(staged.loaded, "upload");
    match staged.seconds_since_load {
        Some(seconds) => line("loaded", &format!("{loaded} in 30 days, the last {} ago", duration(seconds))),
        None => line("loaded", "nothing in 30 days"),
    }
    let (uploads, rows) = (counted(staged.uploads, "upload"), counted(staged.rows, "row"));
    match staged.seconds {
        Some(seconds) => line("staged", &format!("{uploads} with {rows}, the oldest {} ago", duration(seconds))),
        None => line("staged", "none"),
    }
    for table in staged.tables.iter().take(NOTES) {
        let rows = counted(table.rows, "row");
        line("", &format!("{rows} of `{}`{}", plain(&table.table), failed(table.failed.as_ref())));
    }
    for what in &staged.damaged {
        line("", &plain(what));
    }
}

/// `; failed 2 times: …`
fn failed(attempts: Option<&FailedAttempts>) -> String {
    let Some(attempts) = attempts else { return String::new() };
    format!(", which failed {}: {}", counted(u64::from(attempts.count), "time"), plain(&attempts.message))
}

/// A long list of columns helps nobody.
fn cut(text: &str) -> String {
    if text.chars().count() <= LINE_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(LINE_CHARACTERS).chain(['…']).collect()
}

/// `3 uploads, 120 events: 100 landed (180 rows), …`: only what happened.
fn sums(sums: &Sums) -> String {
    if sums.uploads == 0 {
        return "nothing landed".to_owned();
    }
    let counts = &sums.counts;
    let mut text = format!("{}, {}", counted(sums.uploads, "upload"), counted(counts.events, "event"));
    text.push_str(&format!(": {} landed ({})", number(counts.landed), counted(counts.rows, "row")));
    let parts = [
        (counts.duplicates, if counts.duplicates == 1 { "duplicate" } else { "duplicates" }),
        (counts.rejected, "rejected"),
        (counts.filtered, "filtered"),
        (counts.rescued, if counts.rescued == 1 { "value rescued" } else { "values rescued" }),
    ];
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {} {what}", number(count)));
    }
    text
}

/// The two greatest units: `3 days 4 h`, `5 min 10 s`.
fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} {} h", counted(days.unsigned_abs(), "day"), hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use inlet_core::report::Counts;
    use inlet_core::status::{Lag, LastLoad, ReasonCount, UnderwayNote};
    use inlet_core::waiting::{BehindTable, HeldTable, Refused, Waiting};

    use super::*;

    #[test]
    fn a_schema_is_said_in_a_few_lines() {
        let counts = Counts { events: 1_200, landed: 1_190, rows: 2_300, rejected: 10, ..Counts::default() };
        let lately = Sums { uploads: 2, counts: counts.clone() };
        let schema = SchemaStatus {
            schema: "web".to_owned(),
            staged: None,
            last: Some(LastLoad {
                upload: "a.gz".to_owned(),
                upload_id: "00".to_owned(),
                finished_at: "2026-03-14T10:00:00Z".to_owned(),
                seconds_ago: 125,
            }),
            all: Sums { uploads: 2, counts: Counts { rescued: 7, ..counts } },
            lately,
            lag: Some(Lag { median: 1.25, greatest: 30.0 }),
            reasons: vec![ReasonCount { reason: "invalid_json".to_owned(), count: 10 }],
            underway: vec![UnderwayNote { uploads: vec!["b".to_owned(), "c".to_owned()], seconds: 4_000 }],
            waiting: Waiting {
                held: vec![
                    HeldTable {
                        table: "orders".to_owned(),
                        rows: 12,
                        seconds: 70,
                        waits_for: "change",
                        columns: vec!["coupon".to_owned()],
                        refused: None,
                        failed: Some(FailedAttempts { count: 2, message: "denied".to_owned(), hint: None }),
                    },
                    HeldTable {
                        table: "refunds".to_owned(),
                        rows: 1,
                        seconds: 20,
                        waits_for: "load",
                        columns: Vec::new(),
                        refused: Some(Refused { message: "it has checks".to_owned(), hint: None }),
                        failed: None,
                    },
                    HeldTable {
                        table: "pages".to_owned(),
                        rows: 3,
                        seconds: 9,
                        waits_for: "gate",
                        columns: vec!["a".to_owned()],
                        refused: None,
                        failed: None,
                    },
                ],
                catalog: vec![BehindTable { table: "pages".to_owned(), seconds: 9, failed: None }],
            },
        };
        assert_eq!(
            one(&schema),
            "web\n\
             \x20 last load 2 min 5 s ago: `a.gz`, done 2026-03-14T10:00:00Z\n\
             \x20 lag       median 1.2 s, greatest 30.0 s\n\
             \x20 last 24 h 2 uploads, 1,200 events: 1,190 landed (2,300 rows), 10 rejected\n\
             \x20 all       2 uploads, 1,200 events: 1,190 landed (2,300 rows), 10 rejected, 7 values rescued\n\
             \x20 rejected  lately: 10 invalid_json\n\
             \x20 held      none\n\
             \x20           for 1 min 10 s: 12 rows of `orders` wait for coupon, which failed 2 times: denied\n\
             \x20           for 20 s: 1 row of `refunds` wait for the warehouse to load them: run inlet evolve; it has checks\n\
             \x20           for 9 s: 3 rows of `pages` wait for its gate: the next run after it has opened lands them\n\
             \x20 catalog   1 table changed since, the first 9 s ago: run inlet evolve\n\
             \x20 under way for 1 h 6 min: `b` and 1 more upload\n\
             \x20           a run is at work or was killed: if none is, run ingest again with these uploads\n"
        );
    }

    #[test]
    fn durations_have_their_two_greatest_units() {
        assert_eq!([9, 70, 7_300, 90_000].map(duration), ["9 s", "1 min 10 s", "2 h 1 min", "1 day 1 h"]);
    }
}
