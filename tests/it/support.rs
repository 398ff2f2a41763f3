//! What all topics share: a folder to work in, uploads, and runs within this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use inlet_core::clock;
use inlet_core::delta::Lake;
use inlet_core::report::{Report, Status, UploadReport};
use inlet_core::route::{self, Parts, Unwatched};
use inlet_core::settings::Settings;
use inlet_core::upload::{Place, Upload, UploadId};
use object_store::ObjectStore;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;

/// The schema of uploads that say nothing else.
pub(crate) const SCHEMA: &str = "events";

/// The threads that wait for stores; they live as long as the tests.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// A folder of one test: uploads and a lake side by side; gone when the test is.
pub(crate) struct Room(TempDir);

impl Room {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for the test"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The lake; it is made by the first run.
    pub(crate) fn lake(&self) -> PathBuf {
        self.path("lake")
    }

    /// Writes an upload and names it.
    pub(crate) fn upload(&self, name: &str, bytes: &[u8]) -> Upload {
        self.file(name, bytes);
        upload(&self.path(name))
    }

    /// Writes a file below the room.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
        fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// Lands uploads in this room's lake; every report must add up.
    pub(crate) fn land(&self, uploads: Vec<Upload>) -> Report {
        land(&self.lake(), &settings(), uploads)
    }
}

/// A file as an upload: named by its path, known by its content.
pub(crate) fn upload(path: &Path) -> Upload {
    let real = fs::canonicalize(path).expect("the upload is there");
    let bytes = fs::read(&real).expect("the upload can be read");
    let metadata = fs::metadata(&real).expect("the upload is there");
    Upload {
        name: path.display().to_string(),
        id: UploadId::of_content(&Sha256::digest(&bytes).into()),
        key: Some(real.display().to_string()),
        size: metadata.len(),
        modified: clock::micros(metadata.modified().expect("files have times")),
        schema: SCHEMA.to_owned(),
        place: Place::File(real),
    }
}

/// Bytes as the upload of a key, without a file.
pub(crate) fn upload_of(key: &str, bytes: Vec<u8>) -> Upload {
    Upload {
        name: key.to_owned(),
        id: UploadId::of_content(&Sha256::digest(&bytes).into()),
        key: Some(key.to_owned()),
        size: bytes.len() as u64,
        modified: clock::now(),
        schema: SCHEMA.to_owned(),
        place: Place::Bytes(Arc::new(bytes)),
    }
}

/// Gives a file a time; its next upload arrived then.
pub(crate) fn touch(path: &Path, micros: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
    let file = fs::File::options().write(true).open(path).expect("the file is there");
    file.set_modified(time).expect("a file's time can be set");
}

/// Two workers, the usual limits, no warehouse id.
pub(crate) fn settings() -> Settings {
    Settings { workers: 2, patience: Duration::from_secs(120), ..Settings::default() }
}

/// Lands uploads; every upload's counts and the totals must add up.
pub(crate) fn land(lake: &Path, settings: &Settings, uploads: Vec<Upload>) -> Report {
    fs::create_dir_all(lake).expect("a lake can be made");
    let url = Url::from_directory_path(fs::canonicalize(lake).expect("the lake is there")).expect("a path is a URL");
    land_into(Lake::open(&url, runtime().handle().clone()).expect("the lake opens"), settings, uploads)
}

/// Lands uploads in a lake over a store of the test's own; keys are `lake/<schema>/<table>/…`.
pub(crate) fn land_over(store: Arc<dyn ObjectStore>, settings: &Settings, uploads: Vec<Upload>) -> Report {
    land_into(lake_over(store), settings, uploads)
}

/// A lake over a store of the test's own.
pub(crate) fn lake_over(store: Arc<dyn ObjectStore>) -> Lake {
    let url = Url::parse("s3://bucket/lake/").expect("a URL");
    Lake::with_store(&url, store, runtime().handle().clone()).expect("the lake opens")
}

fn land_into(lake: Lake, settings: &Settings, uploads: Vec<Upload>) -> Report {
    land_by(
        &Parts { lake, managed: None, settings: settings.clone(), host: "terminal", allowance: None, kept: None },
        uploads,
    )
}

/// Lands uploads with a test's own parts.
pub(crate) fn land_by(parts: &Parts, uploads: Vec<Upload>) -> Report {
    let named = uploads.len();
    let report = route::ingest(parts, uploads, &Unwatched);
    assert_eq!(report.uploads.len(), named, "each upload has its report: {report:#?}");
    for upload in &report.uploads {
        assert!(upload.counts.balance(), "does not add up: {upload:#?}");
        let landed = upload.tables.iter().filter(|table| table.status != Status::Held);
        let rows: u64 = landed.map(|table| table.rows).sum();
        assert_eq!(rows, upload.counts.rows, "rows of all tables: {upload:#?}");
    }
    assert!(report.totals.counts.balance(), "{:#?}", report.totals);
    report
}

/// What became of one upload; the whole run must be free of faults.
pub(crate) fn the_only(report: &Report) -> &UploadReport {
    assert!(report.fault.is_none(), "{report:#?}");
    assert_eq!(report.uploads.len(), 1, "{report:#?}");
    &report.uploads[0]
}

/// Every upload landed just now.
pub(crate) fn assert_landed(report: &Report) {
    assert!(report.fault.is_none(), "{report:#?}");
    for upload in &report.uploads {
        assert_eq!(upload.status, Status::Landed, "{upload:#?}");
    }
}

/// All files below a folder, as paths from it, with their sizes.
pub(crate) fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                found.push((path.strip_prefix(folder).expect("it is below").to_path_buf(), size));
            }
        }
    }
    found.sort();
    found
}

/// A folder of this repository's `tests/`.
pub(crate) fn tests_folder(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in `tests`");
    fs::canonicalize(tests.join(name)).expect("it is part of the repository")
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for (name, _) in listing(from) {
        let target = to.join(&name);
        fs::create_dir_all(target.parent().expect("a file has a folder")).expect("a folder can be made");
        fs::copy(from.join(&name), target).expect("a file can be copied");
    }
}

/// Chance that repeats: the same seed, the same numbers (splitmix64).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Somewhere in 0 … `end` - 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    pub(crate) fn is(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}
