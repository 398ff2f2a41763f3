//! Commits under races and lost answers: each row once, whatever the store says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inlet_events::ColumnType;

use super::testing::*;
use super::*;
use crate::clock::Deadline;
use crate::fault::FaultKind;

fn one(value: &str) -> arrow_array::RecordBatch {
    batch(&[("id", strings(&[value]))])
}

#[test]
fn an_upload_that_landed_is_not_landed_again() {
    let test = TestLake::new();
    let mut table = None;
    test.append("t", &mut table, "1", &one("a")).unwrap();
    let again = test.append("t", &mut table, "1", &one("a")).unwrap();
    assert_eq!(again, Appended::Landed { app_ids: vec!["1".into()] });
    assert_eq!(table.as_ref().unwrap().version(), 0);

    // Another delivery lands two of three between our look and our commit.
    let files = [test.file("t", table.as_ref(), &[], &one("b"))];
    let mut theirs = test.open("t");
    test.append("t", &mut theirs, "2", &one("b")).unwrap();
    test.append("t", &mut theirs, "4", &one("d")).unwrap();
    let append = Append { app_ids: vec!["2".into(), "3".into(), "4".into()], files: &files, ..Append::default() };
    let landed = commit(&test.lake, SCHEMA, "t", &mut table, &[], &append, soon()).unwrap();
    assert_eq!(landed, Appended::Landed { app_ids: vec!["2".into(), "4".into()] });
    let mut table = table.unwrap();
    assert_eq!(sweep_uncommitted(&test.lake, &mut table, &files).unwrap(), 1);
    assert!(!test.path("t").join(files[0].path()).exists());
    assert_eq!(test.rows(&table, &["id"]), ["a", "b", "d"]);
}

#[test]
fn whoever_loses_the_creation_appends() {
    let test = TestLake::new();
    let (mut ours, mut theirs) = (test.open("t"), test.open("t"));
    let mine = batch(&[("id", strings(&["m"])), ("n", numbers(&[1]))]);
    let other = batch(&[("id", strings(&["o"])), ("x", doubles(&[0.5]))]);
    assert_eq!(test.append("t", &mut theirs, "2", &other).unwrap(), Appended::Committed { version: 0 });
    assert_eq!(test.append("t", &mut ours, "1", &mine).unwrap(), Appended::Committed { version: 1 });
    let table = ours.unwrap();
    assert_eq!(test.rows(&table, &["id", "n", "x"]), ["m|1|-", "o|-|0.5"]);
    assert!(table.has("1") && table.has("2"));

    let mut late = None;
    let clash = batch(&[("id", strings(&["c"])), ("n", strings(&["text"]))]);
    let files = [test.file("t", None, &columns_of(&clash), &clash)];
    let append = Append { app_ids: vec!["3".into()], files: &files, ..Append::default() };
    let moved = commit(&test.lake, SCHEMA, "t", &mut late, &columns_of(&clash), &append, soon()).unwrap();
    assert_eq!(moved, Appended::Moved);
    assert_eq!(late.unwrap().version(), 1);
}

#[test]
fn a_column_that_somebody_else_added_is_no_drift_unless_its_type_differs() {
    let test = TestLake::new();
    let mut ours = None;
    test.append("t", &mut ours, "1", &one("a")).unwrap();
    let with_n = batch(&[("id", strings(&["b"])), ("n", numbers(&[2]))]);
    let new = named(&[("n", ColumnType::BigInt)]);
    let files = [test.file("t", ours.as_ref(), &new, &with_n)];
    let mut theirs = test.open("t");
    test.append("t", &mut theirs, "2", &batch(&[("id", strings(&["c"])), ("n", numbers(&[3]))])).unwrap();
    let append = Append { app_ids: vec!["3".into()], new_columns: new, files: &files, ..Append::default() };
    let done = commit(&test.lake, SCHEMA, "t", &mut ours, &[], &append, soon()).unwrap();
    assert_eq!(done, Appended::Committed { version: 2 });
    assert_eq!(test.rows(ours.as_ref().unwrap(), &["id", "n"]), ["a|-", "b|2", "c|3"]);

    let with_x = batch(&[("id", strings(&["d"])), ("x", numbers(&[4]))]);
    let new = named(&[("x", ColumnType::BigInt)]);
    let files = [test.file("t", ours.as_ref(), &new, &with_x)];
    let mut theirs = test.open("t");
    test.append("t", &mut theirs, "4", &batch(&[("id", strings(&["e"])), ("x", strings(&["text"]))])).unwrap();
    let append = Append { app_ids: vec!["5".into()], new_columns: new, files: &files, ..Append::default() };
    let moved = commit(&test.lake, SCHEMA, "t", &mut ours, &[], &append, soon()).unwrap();
    assert_eq!(moved, Appended::Moved);
    let mut table = ours.unwrap();
    assert!(!table.has("5"));
    assert_eq!(sweep_uncommitted(&test.lake, &mut table, &files).unwrap(), 1);
}

#[test]
fn eight_eager_writers_land_every_row_once() {
    let test = TestLake::new();
    let committed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (test, committed) = (&test, &committed);
            scope.spawn(move || {
                let mut table = test.open("t");
                for n in 0..10 {
                    let id = format!("{thread}-{n}");
                    let done = test.append("t", &mut table, &id, &one(&id)).unwrap();
                    assert!(matches!(done, Appended::Committed { .. }), "{done:?}");
                    committed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(committed.into_inner(), 80);
    let table = test.open("t").unwrap();
    assert_eq!(table.version(), 79);
    let mut expected: Vec<String> = (0..8).flat_map(|thread| (0..10).map(move |n| format!("{thread}-{n}"))).collect();
    expected.sort_unstable();
    assert_eq!(test.rows(&table, &["id"]), expected);
    assert!(expected.iter().all(|id| table.has(id)));
}

#[test]
fn the_log_is_believed_and_not_the_answer() {
    for trick in [Trick::LoseAnswer, Trick::BeatMyself, Trick::Collide, Trick::Fail] {
        let test = TestLake::new();
        let mut table = None;
        test.tricks.play(trick);
        assert_eq!(
            test.append("t", &mut table, "1", &one("a")).unwrap(),
            Appended::Committed { version: 0 },
            "{trick:?}"
        );
        test.tricks.play(trick);
        assert_eq!(
            test.append("t", &mut table, "2", &one("b")).unwrap(),
            Appended::Committed { version: 1 },
            "{trick:?}"
        );
        test.tricks.play(trick);
        let ids_alone = Append { app_ids: vec!["3".into()], ..Append::default() };
        let done = commit(&test.lake, SCHEMA, "t", &mut table, &[], &ids_alone, soon()).unwrap();
        assert_eq!(done, Appended::Committed { version: 2 }, "{trick:?}");
        let table = table.unwrap();
        assert_eq!(table.version(), 2);
        assert!(["1", "2", "3"].iter().all(|id| table.has(id)), "{trick:?}");
        assert_eq!(test.rows(&table, &["id"]), ["a", "b"], "{trick:?}");
    }
}

#[test]
fn our_commit_is_known_as_ours_behind_others() {
    let test = TestLake::new();
    let mut table = None;
    test.append("t", &mut table, "1", &one("a")).unwrap();
    let files = [test.file("t", table.as_ref(), &[], &one("b"))];
    let append = Append { app_ids: vec!["2".into()], files: &files, ..Append::default() };
    test.tricks.play(Trick::Fail);
    test.tricks.play(Trick::LoseAnswer);
    let done = commit(&test.lake, SCHEMA, "t", &mut table, &[], &append, soon()).unwrap();
    assert_eq!(done, Appended::Committed { version: 1 });
    let mut table = table.unwrap();
    assert_eq!(sweep_uncommitted(&test.lake, &mut table, &files).unwrap(), 0, "the log names it");
    assert!(test.path("t").join(files[0].path()).exists());
}

#[test]
fn a_store_that_refuses_or_never_answers_ends_in_a_fault() {
    let test = TestLake::new();
    let mut table = None;
    test.append("t", &mut table, "1", &one("a")).unwrap();
    test.tricks.play(Trick::Refuse);
    let refused = test.append("t", &mut table, "2", &one("b")).unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Setup, "{}", refused.chain());
    assert!(refused.hint_text().unwrap().contains("grant"), "{refused:?}");

    let files = [test.file("t", table.as_ref(), &[], &one("c"))];
    (0..1_000).for_each(|_| test.tricks.play(Trick::Fail));
    let append = Append { app_ids: vec!["3".into()], files: &files, ..Append::default() };
    let deadline = Deadline::after(Duration::from_millis(300));
    let late = commit(&test.lake, SCHEMA, "t", &mut table, &[], &append, deadline).unwrap_err();
    assert_eq!(late.kind(), FaultKind::Again, "{}", late.chain());
    assert!(late.chain().contains("connection reset"), "{}", late.chain());
    let mut table = table.unwrap();
    // The last put may still be under way, so its file has to stay.
    assert_eq!(sweep_uncommitted(&test.lake, &mut table, &files).unwrap(), 0);
    assert!(test.path("t").join(files[0].path()).exists());
}
