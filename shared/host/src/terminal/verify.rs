//! `inlet verify`: has a lake compared with itself and with uploads, and says what does not agree.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use inlet_core::fault::{Fault, FaultKind};
use inlet_core::verify::{Difference, Proof, verify};

use super::arguments::{Form, Verify};
use super::output::Streams;
use super::table::{Table, counted, number, plain};
use super::{Call, Told, needs_lake, opened, told, words};
use crate::lake;
use crate::landing::{self, Ask};
use crate::runtime;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Verify, call: &Call<'_>, streams: &mut Streams) -> u8 {
    let proof = prove(asked, call, streams).unwrap_or_else(|fault| Proof::failed(&fault));
    match call.form {
        Form::Words if proof.fault.is_some() => {}
        Form::Words => streams.out.write(&said(&proof)),
        Form::Json | Form::JsonLines => streams.out.line(&serde_json::to_string(&proof).unwrap_or_default()),
    }
    match &proof.fault {
        Some(fault) => {
            streams.err.write(&words::fault(fault, &fault.message));
            fault.kind.exit_code()
        }
        None if proof.proved => 0,
        None => FaultKind::Rejected.exit_code(),
    }
}

fn prove(asked: &Verify, call: &Call<'_>, streams: &mut Streams) -> Result<Proof, Fault> {
    let runtime = runtime()?;
    let Told { settings, lake } = told(asked.settings.as_deref(), asked.lake.as_deref(), &runtime, streams)?;
    needs_lake(
        &settings,
        "only the warehouse can read them, and verify wakes none",
        "`inlet status` names what is staged; each window counts the rows of every upload before it calls it loaded",
    )?;
    let line = format!("{} verify --lake ./lake", call.program);
    let named = lake::to_read(lake.as_deref(), &line)?;
    if asked.places.iter().any(|place| place == "-") {
        return Err(Fault::setup("`verify` reads no standard input")
            .hint("name a file of the same bytes: an upload is known by its content"));
    }
    let lake = opened(&named.url, &settings, &runtime)?;
    let schemas = lake.schemas()?;
    if schemas.is_empty() {
        return Err(Fault::setup(format!("the lake `{}` holds no tables yet", named.url))
            .hint(format!("{} ingest PATH --lake DIR lands the first", call.program)));
    }
    let ask =
        Ask { schema: asked.schema.as_deref(), lake: Some(&named), settings: &settings, runtime: runtime.handle() };
    if asked.places.is_empty() {
        let schemas = lake::chosen(schemas, asked.schema.as_deref())?;
        return caught(|| verify(&lake, &settings, &schemas, &[]));
    }
    let found = landing::gather(&asked.places, &ask, &mut streams.input)?;
    if let Some(fault) = found.unreadable.into_iter().find_map(|upload| upload.fault) {
        return Err(Fault::setup(fault.message).hint(fault.hint.unwrap_or_default()));
    }
    for note in &found.notes {
        streams.err.line(&format!("note: {note}"));
    }
    if found.uploads.is_empty() {
        return Err(Fault::setup("there is no upload to compare with the tables: all were skipped")
            .hint("name other uploads; without any, the tables are compared with `_loads` alone"));
    }
    let schemas: BTreeSet<String> = found.uploads.iter().map(|upload| upload.schema.clone()).collect();
    let schemas: Vec<String> = schemas.into_iter().collect();
    caught(|| verify(&lake, &settings, &schemas, &found.uploads))
}

/// A panic is a bug, ours or the second reader's, and no proof.
fn caught(work: impl FnOnce() -> Result<Proof, Fault>) -> Result<Proof, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Fault::bug("verify stopped by a bug; nothing is proved").hint("report the lines above"))
    })
}

/// The whole answer for standard output.
fn said(proof: &Proof) -> String {
    let mut table = Table::new(&["schema", "uploads", "events", "tables", "rows", "rejected"], &[1, 2, 3, 4, 5]);
    for schema in &proof.schemas {
        table.push(&[
            schema.schema.clone(),
            number(schema.uploads),
            number(u64::try_from(schema.events).unwrap_or(0)),
            number(schema.tables),
            number(schema.rows),
            number(schema.rejected),
        ]);
    }
    let mut text = table.text("");
    for schema in &proof.schemas {
        if schema.landed_meanwhile > 0 {
            let uploads = counted(schema.landed_meanwhile, "upload");
            text.push_str(&format!("{uploads} landed in `{}` meanwhile: not compared\n", schema.schema));
        }
        if !schema.others.is_empty() {
            let tables = schema.others.join("`, `");
            text.push_str(&format!("not Inlet's in `{}`, and not compared: `{}`\n", schema.schema, plain(&tables)));
        }
    }
    if !proof.uploads.is_empty() {
        let events = proof.uploads.iter().map(|upload| upload.events).sum();
        let rows = proof.uploads.iter().map(|upload| upload.rows).sum();
        text.push_str(&format!(
            "{} read anew: {}, {}\n",
            counted(proof.uploads.len() as u64, "upload"),
            counted(events, "event"),
            counted(rows, "row")
        ));
    }
    text.push('\n');
    if proof.proved {
        text.push_str("proved: every event is accounted for\n");
        return text;
    }
    let all = proof.differences.len() as u64 + proof.more_differences;
    text.push_str(&format!("not proved: {}\n", counted(all, "difference")));
    let mut hint = None;
    for difference in &proof.differences {
        text.push_str(&one(difference, &mut hint));
    }
    if proof.more_differences > 0 {
        text.push_str(&format!("… and {}\n", counted(proof.more_differences, "more difference")));
    }
    text
}

/// A difference and, unless the one before said the same, what to do about it.
fn one<'a>(difference: &'a Difference, last_hint: &mut Option<&'a str>) -> String {
    let check = serde_json::to_value(difference.check).unwrap_or_default();
    let mut text = format!("{}: {}\n", check.as_str().unwrap_or_default(), plain(&difference.message));
    if *last_hint != Some(&difference.hint) {
        text.push_str(&format!("  hint: {}\n", plain(&difference.hint)));
    }
    *last_hint = Some(&difference.hint);
    text
}

#[cfg(test)]
mod tests {
    use inlet_core::verify::{Check, ProvedSchema, ProvedUpload};

    use super::*;

    fn proof() -> Proof {
        Proof {
            proved: true,
            schemas: vec![ProvedSchema {
                schema: "web".to_owned(),
                uploads: 2,
                events: 1_200,
                tables: 4,
                rows: 2_300,
                rejected: 3,
                ..ProvedSchema::default()
            }],
            fault: None,
            ..Proof::failed(&Fault::again("x"))
        }
    }

    #[test]
    fn a_proof_says_what_was_compared() {
        let mut proof = proof();
        proof.uploads.push(ProvedUpload {
            upload: "a.gz".to_owned(),
            upload_id: "00".to_owned(),
            schema: "web".to_owned(),
            events: 1,
            rows: 2,
        });
        assert_eq!(
            said(&proof),
            "schema  uploads  events  tables   rows  rejected\n\
             web           2   1,200       4  2,300         3\n\
             1 upload read anew: 1 event, 2 rows\n\n\
             proved: every event is accounted for\n"
        );
    }

    #[test]
    fn differences_are_listed_and_a_hint_is_said_once_in_a_row() {
        let difference = |message: &str| Difference {
            check: Check::LogGap,
            schema: "web".to_owned(),
            table: None,
            upload: None,
            upload_id: None,
            expected: Some(1),
            found: Some(0),
            message: message.to_owned(),
            hint: "restore it".to_owned(),
        };
        let differences = vec![difference("one"), difference("two")];
        let proof = Proof { proved: false, differences, more_differences: 5, ..proof() };
        let text = said(&proof);
        let (_, listed) = text.split_once("\n\n").unwrap();
        assert_eq!(
            listed,
            "not proved: 7 differences\nlog_gap: one\n  hint: restore it\nlog_gap: two\n… and 5 more differences\n"
        );
    }
}
