//! Uploads in a store whose answers break: what could not be read is no rejection, and lands by the next run.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use inlet_core::clock;
use inlet_core::fault::{Fault as CoreFault, FaultKind};
use inlet_core::landing_store::{LandingStore, ListedObject, ObjectBytes, ObjectForm};
use inlet_core::report::{Report, Status};
use inlet_core::upload::{Place, Upload, UploadId};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::bucket::Bucket;
use crate::events::{calls, gz, lines, track};
use crate::faulty::{ANY, Fault, Faulty, When};
use crate::giant;
use crate::support::{Chance, SCHEMA, land_over, settings};

/// A landing store over one whose faults are played. Nothing that lands asks for a listing or a form.
#[derive(Debug)]
struct Landing(Arc<dyn ObjectStore>);

fn unread(error: object_store::Error) -> CoreFault {
    CoreFault::again("cannot read the object").because(error)
}

#[async_trait]
impl LandingStore for Landing {
    async fn head(&self, _: &str, _: Option<&str>) -> Result<Option<ObjectForm>, CoreFault> {
        Err(CoreFault::bug("a form was asked for"))
    }

    fn list(&self, _: &str) -> BoxStream<'_, Result<Vec<ListedObject>, CoreFault>> {
        stream::iter([Err(CoreFault::bug("a listing was asked for"))]).boxed()
    }

    async fn get(&self, key: &str, _: &ObjectForm) -> Result<ObjectBytes, CoreFault> {
        let got = self.0.get(&Path::from(key)).await.map_err(unread)?;
        Ok(got.into_stream().map(|piece| piece.map_err(unread)).boxed())
    }
}

/// An object of a landing store as an upload.
fn object(landing: &Faulty, key: &str, size: usize) -> Upload {
    let form = ObjectForm { etag: key.to_owned(), size: size as u64, modified: clock::now(), version: None };
    Upload {
        name: key.to_owned(),
        id: UploadId::of_object("s3", "landing", key, key),
        key: Some(key.to_owned()),
        size: size as u64,
        modified: form.modified,
        schema: SCHEMA.to_owned(),
        place: Place::Object { store: Arc::new(Landing(landing.store())), key: key.to_owned(), form },
    }
}

/// Lands two plain uploads, from a store of their own, and between them one from a store with faults.
fn land(lake: &Bucket, bytes: &[u8], play: impl FnOnce(&Faulty)) -> Report {
    let landing = Bucket::default();
    let good = Faulty::over(landing.store());
    let put = |from: &Faulty, key: &str, bytes: &[u8]| {
        landing.put(key, bytes.to_vec());
        object(from, key, bytes.len())
    };
    let bad = Faulty::over(landing.store());
    play(&bad);
    let uploads = vec![
        put(&good, "a", &lines(&[track("a1", "Good", r#"{"a":1}"#)])),
        put(&bad, "m", bytes),
        put(&good, "z", &lines(&[track("z1", "Good", r#"{"a":1}"#)])),
    ];
    land_over(lake.store(), &settings(), uploads)
}

/// The upload that could not be read failed, for now; the others landed; the next run lands it as if nothing had been.
fn assert_lands_later(what: &str, lake: &Bucket, bytes: &[u8], report: &Report) {
    let statuses: Vec<_> = report.uploads.iter().map(|upload| (upload.upload.as_str(), upload.status)).collect();
    let mut sorted = statuses.clone();
    sorted.sort_by_key(|(name, _)| *name);
    let expected = [("a", Status::Landed), ("m", Status::Failed), ("z", Status::Landed)];
    assert_eq!(sorted, expected, "{what}: {report:#?}");
    assert_eq!(report.gravest(), Some(FaultKind::Again), "{what}: {report:#?}");
    let tables = lake.tables();
    assert_eq!(tables["tracks"].texts("id"), ["a1", "z1"], "{what}");
    assert!(!tables.contains_key("_rejects"), "{what}");
    let files: usize = tables.values().map(|table| table.files).sum();
    let left = lake.keys().into_iter().filter(|key| key.ends_with(".parquet")).count();
    assert_eq!(left, files, "{what}: no file of it is left");
    let next = land(lake, bytes, |_| {});
    assert!(next.gravest().is_none(), "{what}: {next:#?}");
    let landed = next.uploads.iter().find(|upload| upload.upload == "m").expect("it is reported");
    assert_eq!(landed.status, Status::Landed, "{what}");
    assert!(landed.counts.events > 2 && landed.counts.landed == landed.counts.events, "{what}: {landed:#?}");
}

fn packings() -> [(&'static str, Vec<u8>); 3] {
    let plain = lines(&calls(&mut Chance::of(71), "m", 60));
    let zstd = zstd::encode_all(&plain[..], 1).expect("memory can be packed");
    [("gzip", gz(&plain)), ("zstd", zstd), ("plain", plain)]
}

#[test]
fn a_body_that_breaks_anywhere_is_no_damage() {
    for (packing, bytes) in packings() {
        for at in [0, 1, 3, 9, 20, bytes.len() / 2, bytes.len() - 5, bytes.len() - 1, bytes.len()] {
            let lake = Bucket::default();
            let report = land(&lake, &bytes, |landing| landing.break_bodies(at));
            assert_lands_later(&format!("{packing}, broken at {at}"), &lake, &bytes, &report);
        }
    }
}

#[test]
fn a_store_that_does_not_answer_fails_the_upload_for_now() {
    let (_, bytes) = &packings()[0];
    for fault in [Fault::Reset, Fault::DropAnswer, Fault::Answer(500), Fault::Answer(503), Fault::Answer(429)] {
        let lake = Bucket::default();
        let report = land(&lake, bytes, |landing| landing.play(fault, When::Always, ANY));
        assert_lands_later(&format!("{fault:?}"), &lake, bytes, &report);
    }
}

#[test]
fn a_giant_that_breaks_off_at_its_end_leaves_no_row() {
    let bytes = giant::packed(|number| track(&format!("m{number}"), "Giant", &format!(r#"{{"n":{number}}}"#)));
    let lake = Bucket::default();
    let report = land(&lake, &bytes, |landing| landing.break_bodies(bytes.len() - 2));
    assert_lands_later("a giant", &lake, &bytes, &report);
}
