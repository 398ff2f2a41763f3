//! Many small uploads, one commit each, put in order from time to time: what a table costs does not grow.
//!
//! Time is pretended. A table's properties say how long its log, its removed files and its ids are kept; said in seconds
//! instead of days they make a minute of as many milliseconds as one upload takes here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inlet_core::clock::{self, Micros};
use inlet_core::delta::{Lake, Table};
use inlet_core::maintain::{Ask, Rules};
use inlet_core::upload::Upload;
use url::Url;

use super::{ask_in, maintained_within};
use crate::databricks_made as made;
use crate::faulty::{Faulty, Method, Object};
use crate::kept::process;
use crate::support::{Room, SCHEMA, assert_landed, land_by, listing, runtime, upload_of};

/// One upload a minute.
const OF_A_DAY: usize = 24 * 60;
/// Uploads between two maintenances: six hours.
const COMMITS: usize = OF_A_DAY / 4;
const MONTH: usize = 30 * OF_A_DAY;

fn upload(number: usize) -> Upload {
    let call = |n: usize| {
        let id = number * 10 + n;
        format!(
            r#"{{"type":"identify","messageId":"m{id}","userId":"user {}","traits":{{"plan":"p{}","logins":{id}}}}}"#,
            id % 997,
            id % 7
        )
    };
    let text = (0..10).map(|n| call(n) + "\n").collect::<String>();
    upload_of(&format!("uploads/{number:08}.ndjson"), text.into_bytes())
}

fn since(begun: Micros) -> Duration {
    Duration::from_micros(u64::try_from(clock::now() - begun).expect("time goes on"))
}

/// What a table is at one moment.
#[derive(Debug)]
struct Figures {
    live_files: usize,
    data_files: usize,
    log_files: usize,
    log_bytes: u64,
    checkpoint_bytes: u64,
    /// Requests that reading it takes.
    opens_with: usize,
    opens_in: Duration,
}

struct Stream {
    room: Room,
    parts: inlet_core::route::Parts,
    landed: usize,
}

impl Stream {
    fn new() -> Self {
        let room = Room::new();
        fs::create_dir_all(room.lake()).expect("a lake can be made");
        let parts = process(Self::lake_at(&room.lake()));
        Self { room, parts, landed: 0 }
    }

    fn lake_at(folder: &Path) -> Lake {
        let url = Url::from_directory_path(fs::canonicalize(folder).expect("the lake is there")).expect("a URL");
        Lake::open(&url, runtime().handle().clone()).expect("the lake opens")
    }

    fn table(&self) -> PathBuf {
        self.room.lake().join(SCHEMA).join("identifies")
    }

    fn land(&mut self, count: usize) {
        for _ in 0..count {
            assert_landed(&land_by(&self.parts, vec![upload(self.landed)]));
            self.landed += 1;
        }
    }

    fn maintain(&self, ask: &Ask) {
        let report = maintained_within(&self.parts.lake, ask, Duration::from_secs(600));
        assert!(report.gravest().is_none() && !report.unfinished, "{report:#?}");
    }

    fn figures(&self) -> Figures {
        let files = listing(&self.table());
        let (log, data): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| path.starts_with("_delta_log"));
        let name = |path: &PathBuf| path.to_string_lossy().into_owned();
        let newest = log.iter().filter(|(path, _)| name(path).ends_with(".checkpoint.parquet")).max();
        let store = Faulty::over(Arc::new(object_store::local::LocalFileSystem::new()));
        let url = self.parts.lake.url().clone();
        let lake = Lake::with_store(&url, store.store(), runtime().handle().clone()).expect("the lake opens");
        let begun = clock::now();
        let table = Table::open(&lake, SCHEMA, "identifies").expect("it can be read").expect("it is there");
        let opens_in = since(begun);
        assert!(table.has(&upload(self.landed - 1).id.app_id()), "its ids are known");
        let asked = |object| store.counts().get(&(Method::Get, object)).copied().unwrap_or_default();
        let live = crate::lake::open(&self.room.lake(), SCHEMA, "identifies");
        Figures {
            live_files: live.snapshot().expect("an opened table has a snapshot").log_data().num_files(),
            data_files: data.len(),
            log_files: log.len(),
            log_bytes: log.iter().map(|(_, bytes)| bytes).sum(),
            checkpoint_bytes: newest.map_or(0, |(_, bytes)| *bytes),
            opens_with: asked(Object::Commit) + asked(Object::Log),
            opens_in,
        }
    }

    /// Rows that the table has, by the second implementation.
    fn rows(&self) -> usize {
        let live = crate::lake::open(&self.room.lake(), SCHEMA, "identifies");
        live.snapshot().expect("a snapshot").log_data().iter().filter_map(|file| file.num_records()).sum()
    }

    /// Has the tables keep these things for so long, as their owner may.
    fn keep(&self, days: f64, of_a_day: Duration) {
        let interval = |days: f64| format!("interval {} milliseconds", (of_a_day.as_secs_f64() * days * 1e3) as u64);
        for name in ["identifies", "_loads"] {
            let table = self.room.lake().join(SCHEMA).join(name);
            let log = made::log(&table);
            let mut metadata = log.iter().flatten().find_map(|action| action.get("metaData")).expect("made").clone();
            metadata["configuration"]["delta.logRetentionDuration"] = interval(days).into();
            metadata["configuration"]["delta.deletedFileRetentionDuration"] = interval(7.0).into();
            metadata["configuration"]["delta.setTransactionRetentionDuration"] = interval(30.0).into();
            made::commit(&table, &serde_json::json!({"metaData": metadata}).to_string());
        }
    }
}

#[test]
fn a_table_of_many_small_commits_stays_few_files_and_opens_with_few_requests() {
    let mut stream = Stream::new();
    let ask =
        Ask { rules: Rules { compact_after: Duration::ZERO, ..Rules::default() }, ..ask_in(Duration::from_secs(1)) };
    let mut opens = Vec::new();
    for _ in 0..3 {
        stream.land(COMMITS / 3);
        stream.maintain(&Ask { now: clock::after(Duration::from_secs(1)), ..ask });
        let figures = stream.figures();
        assert!(figures.live_files <= 4, "{figures:#?}");
        opens.push(figures.opens_with);
    }
    assert!(opens.iter().all(|count| *count <= 12), "{opens:?}");
    assert_eq!(stream.rows(), 10 * stream.landed);
    crate::lake::assert_ledger(&stream.room.lake(), SCHEMA);
}

/// `cargo test --release -p it --test it a_month_of -- --ignored --nocapture` (12 minutes where `TMPDIR` is in memory; hours
/// on a disk, which every commit waits for): a commit a minute for a month, each six hours put in order, with logs that
/// are kept for seven days instead of Delta's thirty, so that they are cut within the month. A minute is as long as an
/// upload takes here, measured at the beginning.
#[test]
#[ignore = "takes many minutes; it prints figures"]
fn a_month_of_one_commit_a_minute() {
    let mut stream = Stream::new();
    stream.land(100);
    let begun = clock::now();
    stream.land(200);
    let of_a_day = since(begun) / 200 * OF_A_DAY as u32;
    stream.keep(7.0, of_a_day);
    println!("a day is {of_a_day:?}");
    let rules = Rules { compact_after: of_a_day / 24, keep_removed: of_a_day * 7, ..Rules::default() };
    println!(
        "{:>8} {:>6} {:>6} {:>6} {:>10} {:>10} {:>5} {:>8} {:>8}",
        "commits", "live", "data", "log", "log B", "checkpt B", "reqs", "open", "RSS MB"
    );
    while stream.landed < MONTH {
        stream.land(COMMITS.min(MONTH - stream.landed));
        stream.maintain(&Ask { rules, ..ask_in(Duration::ZERO) });
        if stream.landed % (2 * OF_A_DAY) < COMMITS {
            let figures = stream.figures();
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let rss = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .and_then(|rest| rest.split_whitespace().next())
                .and_then(|kb| kb.parse::<u64>().ok())
                .unwrap_or_default()
                / 1024;
            let Figures { live_files, data_files, log_files, log_bytes, checkpoint_bytes, opens_with, opens_in } =
                figures;
            println!(
                "{:>8} {live_files:>6} {data_files:>6} {log_files:>6} {log_bytes:>10} {checkpoint_bytes:>10} {opens_with:>5} {:>6.1}ms {rss:>8}",
                stream.landed,
                opens_in.as_secs_f64() * 1e3,
            );
        }
    }
    assert_eq!(stream.rows(), 10 * stream.landed);
}
