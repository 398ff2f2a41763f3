//! Two at once, one of them held back after each of its requests in turn while the other does all of its work: two
//! deliveries of an upload, two windows. Whoever wakes up late finds everything done, and does nothing twice.

use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::evolve::{Ask, EvolveReport};
use inlet_core::fault::FaultKind;
use inlet_core::report::Status;
use inlet_core::upload::Upload;
use pretend::{Fault, Wrong};

use super::{Bench, object, order, well};
use crate::connect::at_once;
use crate::events::{lines, track};
use crate::support::{listing, the_only, touch};

pub(super) const BY_HAND: Ask = Ask { plan: false, all: false, retry: true, by_hand: true };

/// Runs `late`, of which one request is carried out and then answered only when `meanwhile` is over. None: it had no such.
fn held_after<T: Send>(
    bench: &Bench,
    held: Fault,
    late: impl FnOnce() -> T + Send,
    meanwhile: impl FnOnce(),
) -> Option<T> {
    bench.pretend().fault(held);
    std::thread::scope(|scope| {
        let late = scope.spawn(late);
        while bench.pretend().held() == 0 && !late.is_finished() {
            clock::sleep(Duration::from_millis(1), Deadline::after(Duration::from_secs(1)));
        }
        let letting_go = LettingGo(bench);
        let is_held = bench.pretend().held() > 0;
        if is_held {
            meanwhile();
        }
        drop(letting_go);
        let late = late.join().unwrap();
        is_held.then_some(late)
    })
}

/// Lets go of what is held back, also of a test that fails.
struct LettingGo<'a>(&'a Bench);

impl Drop for LettingGo<'_> {
    fn drop(&mut self) {
        self.0.pretend().clear_faults();
    }
}

/// A minute passes for whoever holds the lease and says nothing.
pub(super) fn lease_expires(bench: &Bench) {
    let root = bench.0.room.path("lake-managed");
    let leases = listing(&root).into_iter().filter(|(path, _)| path.display().to_string().contains("/leases/"));
    for (lease, _) in leases {
        touch(&root.join(lease), u64::try_from(clock::now() - 61_000_000).unwrap());
    }
}

/// Nothing is known of earlier uses of the warehouse, each of which a window reads: all windows have the same requests.
pub(super) fn forget_uses(bench: &Bench) {
    let root = bench.0.room.path("lake-managed");
    let uses = listing(&root).into_iter().filter(|(path, _)| path.display().to_string().contains("/_inlet/wakes/"));
    uses.for_each(|(used, _)| std::fs::remove_file(root.join(used)).unwrap());
}

/// The id of each order stands once in both tables, `_loads` counts an upload for each and these others, and a day later
/// the volume has nothing but markers.
pub(super) fn assert_each_once(bench: &Bench, mut ids: Vec<String>, others: usize) {
    well(&bench.try_evolve(BY_HAND).unwrap());
    let root = bench.0.room.path("lake-managed");
    let is_due = |path: &str| path.contains("/volumes/") && (path.contains("/events/") || path.ends_with("swept.json"));
    for (file, _) in listing(&root).into_iter().filter(|(path, _)| is_due(&path.display().to_string())) {
        touch(&root.join(file), u64::try_from(clock::now() - 2 * 86_400_000_000).unwrap());
    }
    stage(bench, [object("a day later", &order("a day later", "{}"))]);
    well(&bench.try_evolve(BY_HAND).unwrap());
    ids.push("a day later".to_owned());
    ids.sort();
    assert_eq!(bench.ids(), ids);
    assert_eq!(bench.read("events.tracks").texts("id"), ids);
    let loads = bench.read("events._loads");
    let own = || loads.rows.iter().filter(|row| !row.contains_key("table_name"));
    let named: std::collections::BTreeSet<_> = own().map(|row| row["upload_id"].text()).collect();
    let uploads = ids.len() + others;
    assert_eq!((named.len(), own().map(|row| row["rows"].number()).sum::<i64>()), (uploads, uploads as i64));
    let left = [bench.files("events/"), bench.files("_inlet/pending"), bench.files("_inlet/catalog/attempts")];
    assert!(left.iter().all(Vec::is_empty), "{left:#?}");
}

#[test]
fn a_delivery_that_is_held_back_anywhere_is_staged_once() {
    let bench = Bench::new();
    let mut ids = Vec::new();
    for nth in 1.. {
        let id = format!("{nth:02}");
        let bytes = lines(&[track(&id, "Order Completed", r#"{"total":1}"#), r#"{"type":"alias"}"#.to_owned()]);
        let stage = || the_only(&bench.try_stage(object(&id, &bytes)).unwrap()).status;
        let before = bench.files("events/order_completed").len();
        let mut statuses = Vec::new();
        // Every other time a window has come and gone when it wakes up.
        let late = held_after(&bench, Fault::on("*", "*", Wrong::Hold).nth(nth), stage, || {
            statuses.push(stage());
            if nth % 2 == 0 {
                well(&bench.evolve());
            }
        });
        ids.push(id.clone());
        let Some(late) = late else { break };
        let files = bench.files("events/order_completed");
        statuses.push(late);
        let staged = statuses.iter().filter(|status| **status == Status::Staged).count();
        match nth % 2 {
            0 => assert!(staged > 0, "{nth}: {statuses:?}"),
            _ => assert_eq!((staged, files.len()), (1, before + 1), "{nth}: {statuses:?}: {files:#?}"),
        }
    }
    assert!(ids.len() > 10, "only {} requests", ids.len());
    let uploads = ids.len();
    assert_each_once(&bench, ids, 0);
    assert_eq!(bench.read("events._rejects").rows.len(), uploads);
}

/// The uploads of a window with all that one can have to do: a key in its second form, which is alone in its tables, and a
/// column whose type only two others together tell.
pub(super) fn second(name: &str) -> [Upload; 3] {
    let event = |id: &str| track(&format!("{name}-{id}"), "Order Completed", "{}");
    let user = |id: &str, size: &str| {
        let call =
            format!(r#"{{"type":"identify","messageId":"{name}-{id}","userId":"u","traits":{{"size{name}":{size}}}}}"#);
        object(&format!("{name}-{id}"), &lines(&[call]))
    };
    [object(name, &lines(&[event("old"), event("new")])), user("half", "1.5"), user("yes", "true")]
}

/// The first form of the key, which is loaded before.
pub(super) fn first(name: &str) -> Upload {
    object(name, &order(&format!("{name}-old"), "{}"))
}

/// Ids of the orders, or of the users, of so many windows.
pub(super) fn ids_of(names: &[String], which: [&str; 2]) -> Vec<String> {
    names.iter().flat_map(|name| which.map(|which| format!("{name}-{which}"))).collect()
}

/// [`assert_each_once`] of the uploads of so many windows, each of which brings a row of its own.
pub(super) fn assert_windows(bench: &Bench, names: &[String]) {
    let mut users = ids_of(names, ["half", "yes"]);
    users.sort();
    let orders = ids_of(names, ["old", "new"]);
    assert_each_once(bench, orders, users.len());
    let table = bench.read("events.identifies");
    assert_eq!(table.texts("id"), users);
    for name in names {
        let sizes = [format!("{name}-half"), format!("{name}-yes")]
            .map(|id| table.row(&id)[&format!("size{name}")].text().to_owned());
        assert_eq!(sizes, ["1.5", "true"], "{name}");
    }
}

pub(super) fn stage(bench: &Bench, uploads: impl IntoIterator<Item = Upload>) -> Vec<Status> {
    uploads.into_iter().map(|upload| the_only(&bench.stage_upload(upload)).status).collect()
}

fn is_fine_or_late(report: &EvolveReport) -> bool {
    matches!(report.gravest(), None | Some(FaultKind::Again))
}

/// Looks of a window at its lease: they come right before a note is written anew, and again before anything is said of a
/// table.
const LEASE_LOOKS: [u64; 4] = [3, 4, 5, 7];
/// Requests of a window with these uploads, one more or less.
const REQUESTS: u64 = 105;
/// Of these each so many is one after which a window is held back: of neighbours nearly all are of one kind.
const EVERY: usize = 4;
/// As many windows share a bench: each makes the logs of its tables longer, and so the next slower.
const WINDOWS: usize = 8;

/// Holds a window back after a request, until another one that took its lease has done everything.
fn hold_back(bench: &Bench, name: &str, held: &Fault) {
    stage(bench, second(name));
    forget_uses(bench);
    let evolve = || bench.try_evolve(BY_HAND).unwrap();
    let late = held_after(bench, held.clone(), evolve, || {
        let again = stage(bench, second(name));
        let is_known = |status: &Status| matches!(status, Status::AlreadyStaged | Status::AlreadyLanded);
        assert!(again.iter().all(is_known), "{held:?}: {again:?}");
        let refused = bench.evolve_as(Ask::default());
        assert!(is_fine_or_late(&refused), "{held:?}: {refused:#?}");
        lease_expires(bench);
        well(&evolve());
    });
    let late = late.unwrap_or_else(|| panic!("it has no request {held:?}"));
    assert!(is_fine_or_late(&late), "{held:?}: {late:#?}");
    assert!(bench.files("_inlet/catalog/attempts").is_empty(), "{held:?}: to be late is no failure of a table");
}

#[test]
fn a_window_that_is_held_back_anywhere_and_loses_its_lease_loads_nothing_twice() {
    let looks = LEASE_LOOKS.iter().map(|nth| Fault::on("GET", "*/leases/evolve", Wrong::Hold).nth(*nth));
    let all = (1..=REQUESTS).step_by(EVERY).map(|nth| Fault::on("*", "*", Wrong::Hold).nth(nth));
    let held: Vec<Fault> = looks.chain(all).collect();
    at_once(held.chunks(WINDOWS).collect(), |held| {
        let bench = Bench::new();
        let names: Vec<String> = (0..held.len()).map(|number| format!("w{number}")).collect();
        stage(&bench, names.iter().map(|name| first(name)));
        well(&bench.evolve());
        for (name, fault) in names.iter().zip(held) {
            hold_back(&bench, name, fault);
        }
        assert_windows(&bench, &names);
    });
}
