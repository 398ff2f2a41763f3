//! A whole upload: unpacked, cut into chunks, judged, ordered, flattened, typed, written. Every event is accounted for
//! and the rows say what the counts say, however it is cut and shared between workers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use inlet_events::lines::{Chunks, Sniff, sniff};
use inlet_events::unpack::{Packing, unpack};
use inlet_events::{Call, Limits, mask};

use crate::document::{self, Json};
use crate::generate;
use crate::judge::{self, Verdict};
use crate::landing::{Cell, Landing, Setting, chunks_of, land, land_plainly};

/// So much of what damaged or hostile packings give is looked at.
const BYTES: u64 = 1 << 20;

/// The first byte chooses packing, source and setting, the next two how the lines are cut; the rest is the upload, or
/// what one is generated from.
pub fn upload(data: &[u8]) {
    let [flags, sizes @ .., _] = data.get(..4).unwrap_or_default() else { return };
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(size % 8) + 1).collect();
    let rest = &data[3..];
    let text = if flags & 4 == 0 { rest.to_vec() } else { generate::lines(rest) };
    let Some(text) = through_packing(&text, flags & 3) else { return };
    let setting = setting(*flags);

    let plain = land_plainly(&text, &setting);
    sniffs_right(&text, &setting);
    counts_are_what_the_rows_say(&plain);
    verdicts_are_those_of_the_rules(&text, &plain, &setting);
    for workers in [1, 2] {
        let cut = land(&chunks_of(&text, &sizes), workers, &setting);
        same(&plain, &cut, &format!("{workers} workers, chunks of {sizes:?} lines"));
    }
    columns_are_the_least_that_hold_the_values(&text, &plain, &setting);
    for (.., raw) in &plain.rejects {
        mask(raw);
    }
}

/// Bit 3: narrow limits; bit 4: opt-outs can name us.
fn setting(flags: u8) -> Setting {
    let narrow = Limits { tables_per_schema: 2, new_columns_per_upload: 2, line_bytes: 300, ..Limits::default() };
    Setting {
        limits: if flags & 8 == 0 { Limits::default() } else { narrow },
        warehouse_id: (flags & 16 != 0).then(|| "w".to_owned()),
        ..Setting::default()
    }
}

/// Packs the text and unpacks it again; 3 takes it for packed bytes, which may be damaged.
fn through_packing(text: &[u8], packing: u8) -> Option<Vec<u8>> {
    let packed = match packing {
        0 if Packing::of(text) == Packing::Plain => text.to_vec(),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).expect("memory can be written");
            encoder.finish().expect("memory can be written")
        }
        2 => zstd::encode_all(text, 1).expect("memory can be written"),
        _ => {
            let mut unpacked = Vec::new();
            // A dictionary or window that this machine lacks is damage too.
            unpack(text).ok()?.take(BYTES).read_to_end(&mut unpacked).ok()?;
            return Some(unpacked);
        }
    };
    let mut unpacked = Vec::new();
    unpack(packed.as_slice()).and_then(|mut reader| reader.read_to_end(&mut unpacked)).expect("what we packed unpacks");
    assert_eq!(unpacked, text);
    Some(unpacked)
}

fn sniffs_right(text: &[u8], setting: &Setting) {
    let line_bytes = setting.limits.line_bytes;
    let body = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    let is_blank = |line: &&[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    let objects: Option<Vec<bool>> = lines.iter().map(|line| judge::is_object(line, line_bytes)).collect();
    let Some(objects) = objects else { return };
    let expected = match () {
        () if objects.contains(&true) => Sniff::Events,
        () if lines.iter().all(is_blank) => Sniff::Nothing,
        () => Sniff::NotNdjson,
    };
    let mut chunks = Chunks::of_bytes(text.to_vec().into(), line_bytes);
    chunks.read_ahead(text.len(), || true).expect("memory can be read");
    assert_eq!(sniff(chunks.held(), line_bytes), expected);
}

fn counts_are_what_the_rows_say(landing: &Landing) {
    let counts = &landing.counts;
    assert_eq!(counts.events, landing.landed() + counts.duplicates + counts.rejected + counts.filtered);
    assert_eq!(counts.rejected, landing.rejects.len() as u64);
    let mut duplicates = 0;
    for (name, table) in &landing.tables {
        assert_eq!(table.counts.rows, table.rows.len() as u64, "{name}");
        let is_call = Call::ALL.iter().any(|call| call.table() == name);
        duplicates += if is_call { table.counts.duplicates } else { 0 };
        let mut rescued = 0;
        for row in &table.rows {
            assert!(row.contains_key("id") && row.contains_key("timestamp"), "{name}: {row:?}");
            let Some(Cell::Text(json)) = row.get("_rescued_data") else { continue };
            let json = document::mended(json);
            if document::is_comparable(&json) {
                let object = document::parse(&json).expect("`_rescued_data` is JSON");
                let keys: BTreeSet<_> = object.entries().iter().map(|(key, _)| key).collect();
                assert_eq!(keys.len(), object.entries().len(), "{name}: a rescued key stands there twice");
                rescued += keys.len() as u64;
            } else {
                return;
            }
        }
        assert_eq!(table.counts.rescued, rescued, "{name}");
    }
    assert_eq!(counts.duplicates, duplicates);
}

fn verdicts_are_those_of_the_rules(text: &[u8], landing: &Landing, setting: &Setting) {
    let Some(verdicts) = judge::verdicts(text, setting) else { return };
    assert_eq!(landing.counts.events, verdicts.len() as u64);
    let rejected = verdicts.iter().filter_map(|(line, item, offset, verdict)| match verdict {
        Verdict::Rejected(reason) => Some((*line, *item, *offset, *reason)),
        _ => None,
    });
    let rejects = landing.rejects.iter().map(|&(line, item, offset, reason, _)| (line, item, offset, reason));
    assert_eq!(rejects.collect::<Vec<_>>(), rejected.collect::<Vec<_>>());
    let filtered = verdicts.iter().filter(|(.., verdict)| *verdict == Verdict::Filtered).count();
    assert_eq!(landing.counts.filtered, filtered as u64);
    // Events without an id have one of their own; numbers are not compared, since their text may be spelled anew here.
    let mut ids: BTreeMap<&str, (BTreeSet<String>, usize)> = BTreeMap::new();
    for (.., verdict) in &verdicts {
        let Verdict::Lands(call, id) = verdict else { continue };
        let known = ids.entry(call.table()).or_default();
        match id {
            None => known.1 += 1,
            Some(Json::Text(id)) => drop(known.0.insert(id.clone())),
            Some(_) => return,
        }
    }
    for (table, (named, nameless)) in ids {
        assert_eq!(landing.rows(table).len(), named.len() + nameless, "{table}");
    }
}

fn same(plain: &Landing, cut: &Landing, how: &str) {
    assert_eq!(plain.tables, cut.tables, "{how}");
    assert_eq!(plain.rejects, cut.rejects, "{how}");
    let counts = |landing: &Landing| {
        let counts = landing.counts.clone();
        let filtered: BTreeMap<_, _> = counts.filtered_tables.into_iter().collect();
        (counts.events, counts.rejected, counts.filtered, counts.duplicates, counts.tables, filtered)
    };
    assert_eq!(counts(plain), counts(cut), "{how}");
}

/// Each new column holds a value; and tables that have just these columns get the same rows, and nothing new.
fn columns_are_the_least_that_hold_the_values(text: &[u8], landing: &Landing, setting: &Setting) {
    for (name, table) in &landing.tables {
        for (column, _) in &table.brought {
            assert!(table.rows.iter().any(|row| row.contains_key(column)), "{name}.{column} holds nothing");
        }
    }
    if !landing.had_room {
        return;
    }
    let existing = landing.tables.iter().map(|(name, table)| (name.clone(), table.columns.clone()));
    let again = land_plainly(text, &Setting { existing: existing.collect(), ..setting.clone() });
    for (name, table) in &landing.tables {
        let (again, none) = (&again.tables[name], Vec::new());
        assert_eq!((&again.rows, &again.brought), (&table.rows, &none), "{name}");
    }
}
