//! Processes that are killed amid their work, after any of their requests: the next one completes what they left.

use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use pretend::{Fault, Wrong};

use super::raced::{BY_HAND, assert_each_once, assert_windows, first, forget_uses, lease_expires, second, stage};
use super::{Bench, order, well};
use crate::process::{inlet, run, wait};

/// Runs a command and kills it when its n-th request is carried out, before it is answered. False: it had less.
fn killed_after(bench: &Bench, nth: u64, line: &[&str]) -> bool {
    let pause = || clock::sleep(Duration::from_millis(1), Deadline::after(Duration::from_secs(1)));
    bench.pretend().fault(Fault::on("*", "*", Wrong::Hold).nth(nth));
    let mut command = inlet();
    command.args(&line[..1]).arg("--settings").arg(bench.0.file()).args(&line[1..]);
    let mut child = command.spawn().expect("the executable starts");
    while bench.pretend().held() == 0 && child.try_wait().expect("it can be asked").is_none() {
        pause();
    }
    let is_held = bench.pretend().held() > 0;
    child.kill().expect("it can be killed");
    let said = wait(child);
    assert_eq!(said.code.is_none(), is_held, "request {nth}: {said:#?}");
    bench.pretend().clear_faults();
    while bench.pretend().held() > 0 {
        pause();
    }
    is_held
}

#[test]
fn an_ingest_that_is_killed_after_any_request_is_completed_by_the_next() {
    let bench = Bench::new();
    let mut ids = Vec::new();
    for nth in (1..).step_by(2) {
        let id = format!("{nth:02}");
        let place = bench.0.room.file(&format!("segment-logs/events/1/{id}.ndjson"), &order(&id, r#"{"total":1}"#));
        ids.push(id);
        if !killed_after(&bench, nth, &["ingest", &place.display().to_string()]) {
            break;
        }
    }
    assert!(ids.len() > 5, "only {} were killed", ids.len());
    let uploads = bench.0.room.path("segment-logs").display().to_string();
    let again = || {
        let mut command = inlet();
        run(command.arg("ingest").arg("--settings").arg(bench.0.file()).arg(&uploads)).success()
    };
    again();
    well(&bench.evolve());
    assert!(again().out.contains("are already landed"));
    assert_each_once(&bench, ids, 0);
}

#[test]
fn a_window_that_is_killed_after_any_request_is_completed_by_the_next() {
    let bench = Bench::new();
    let killed: Vec<u64> = (1..=97).step_by(12).collect();
    let names: Vec<String> = killed.iter().map(|nth| format!("{nth:03}")).collect();
    stage(&bench, names.iter().map(|name| first(name)));
    well(&bench.evolve());
    for (nth, name) in killed.into_iter().zip(&names) {
        stage(&bench, second(name));
        forget_uses(&bench);
        assert!(killed_after(&bench, nth, &["evolve"]), "less than {nth} requests");
        lease_expires(&bench);
        well(&bench.try_evolve(BY_HAND).unwrap());
    }
    assert_windows(&bench, &names);
}
