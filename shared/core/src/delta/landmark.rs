//! By what a log is known again: files of its commits, as the store shows them.
//!
//! A table may be dropped and made anew at the same place. Its log then is another one, perhaps a shorter one: a
//! snapshot of the old log must be neither read on nor committed to. Versions do not tell the two apart, their files do.
//! A log that was dropped does not come back, so one that still has a file that we saw in it is the one that we read.

use futures::future::try_join_all;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::faults::store_fault;
use super::ids::last_commit_file;
use super::lake::LOG_FOLDER;
use super::table::Table;
use crate::fault::Fault;

/// The file of one commit.
#[derive(Clone, Debug)]
pub(super) struct Landmark {
    version: u64,
    size: u64,
    modified_ms: i64,
    /// None for a file from a listing by the kernel.
    e_tag: Option<String>,
}

impl Landmark {
    fn of_object(version: u64, object: ObjectMeta) -> Self {
        let modified_ms = object.last_modified.timestamp_millis();
        Self { version, size: object.size, modified_ms, e_tag: object.e_tag }
    }

    fn is_same(&self, found: &Self) -> bool {
        let tags_differ = self.e_tag.is_some() && found.e_tag.is_some() && self.e_tag != found.e_tag;
        self.size == found.size && is_same_moment(self.modified_ms, found.modified_ms) && !tags_differ
    }
}

/// Stores that list to the millisecond answer for a single object to the second, as HTTP's dates are.
fn is_same_moment(one_ms: i64, other_ms: i64) -> bool {
    let is_whole = |ms: i64| ms % 1_000 == 0;
    one_ms == other_ms || one_ms / 1_000 == other_ms / 1_000 && (is_whole(one_ms) || is_whole(other_ms))
}

impl Table {
    /// Takes the last commit of a log that was just listed as its landmark.
    pub(super) fn with_listed_landmark(mut self) -> Self {
        let last = last_commit_file(&self.snapshot).map(|file| Landmark {
            version: self.version(),
            size: file.size,
            modified_ms: file.last_modified,
            e_tag: None,
        });
        self.landmarks = last.into_iter().collect();
        self
    }

    /// Adds the last commit to the landmarks. Says whether the log can be known again: not when this process made the
    /// table, since an older landmark must vouch that the file is of the log that was read; nor when the store shows no
    /// such file.
    pub(crate) async fn note_landmark(&mut self) -> bool {
        let version = self.version();
        match self.landmarks.last() {
            None => false,
            Some(last) if last.version == version => true,
            Some(_) => {
                let found = self.look_at(version).await;
                found.is_ok_and(|found| {
                    self.landmarks.push(found);
                    true
                })
            }
        }
    }

    /// [`Table::refresh`] for a table that was put aside. Says whether the log still is the one that was read; if not,
    /// this table is good for nothing any more.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn resume(&mut self) -> Result<bool, Fault> {
        self.refresh()?;
        // Only now: a landmark that still stands stood when the log was listed.
        let looks = try_join_all(self.landmarks.iter().map(|landmark| self.look_at(landmark.version)));
        let found = match self.lake.wait(looks) {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(store_fault("cannot look at the log of the table", self.url(), error)),
        };
        let stand = !found.is_empty() && self.landmarks.iter().zip(&found).all(|(noted, found)| noted.is_same(found));
        // From here on the newest is enough.
        self.landmarks = found.into_iter().next_back().into_iter().collect();
        Ok(stand)
    }

    async fn look_at(&self, version: u64) -> Result<Landmark, object_store::Error> {
        let folder = Path::from_url_path(self.url().path())?.join(LOG_FOLDER);
        let object = self.lake.store().head(&folder.join(format!("{version:020}.json"))).await?;
        Ok(Landmark::of_object(version, object))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::testing::*;
    use super::*;

    /// A table that so many runs appended to, opened.
    fn opened(test: &TestLake, runs: usize) -> Table {
        appended(test, 0..runs);
        test.open("t").unwrap()
    }

    fn appended(test: &TestLake, runs: std::ops::Range<usize>) {
        for run in runs {
            let mut table = test.open("t");
            test.append("t", &mut table, &format!("id {run}"), &batch(&[("a", strings(&["a"]))])).unwrap();
        }
    }

    fn note(test: &TestLake, table: &mut Table) -> bool {
        test.lake.wait(table.note_landmark())
    }

    fn drop_table(test: &TestLake) {
        fs::remove_dir_all(test.path("t")).unwrap();
    }

    #[test]
    fn a_table_that_was_put_aside_learns_what_others_committed() {
        let test = TestLake::new();
        let mut table = opened(&test, 2);
        assert!(note(&test, &mut table) && table.resume().unwrap(), "nothing has happened");
        appended(&test, 2..4);
        assert!(table.resume().unwrap());
        assert!(table.has("id 3") && table.version() == 3);
        assert!(note(&test, &mut table) && table.resume().unwrap());
        assert_eq!(table.version(), 3);
    }

    #[test]
    fn its_own_commits_do_not_estrange_it() {
        let test = TestLake::new();
        let mut table = Some(opened(&test, 1));
        for run in 1..4 {
            test.append("t", &mut table, &format!("id {run}"), &batch(&[("a", strings(&["a"]))])).unwrap();
            let table = table.as_mut().unwrap();
            assert!(note(&test, table) && table.resume().unwrap(), "run {run}");
        }
    }

    #[test]
    fn a_log_that_was_made_anew_is_another_whatever_its_length() {
        for length in [0, 1, 2, 3, 5] {
            let test = TestLake::new();
            let mut table = opened(&test, 3);
            assert!(note(&test, &mut table));
            drop_table(&test);
            appended(&test, 10..10 + length);
            assert!(!matches!(table.resume(), Ok(true)), "{length} commits");
        }
    }

    #[test]
    fn a_log_that_was_made_anew_before_the_landmark_was_noted_is_another_too() {
        for length in [2, 5] {
            let test = TestLake::new();
            let mut table = Some(opened(&test, 1));
            test.append("t", &mut table, "ours", &batch(&[("a", strings(&["a"]))])).unwrap();
            let mut table = table.unwrap();
            drop_table(&test);
            appended(&test, 10..10 + length);
            assert!(note(&test, &mut table), "there is a commit of that version");
            // Its size may be the same again, its time cannot.
            let first = test.path("t").join(format!("_delta_log/{:020}.json", 0));
            let file = fs::File::options().write(true).open(first).unwrap();
            let made = file.metadata().unwrap().modified().unwrap();
            file.set_modified(made + Duration::from_secs(2)).unwrap();
            assert!(!table.resume().unwrap(), "{length} commits");
        }
    }

    #[test]
    fn a_log_whose_last_commits_were_replaced_is_another() {
        let test = TestLake::new();
        let mut table = Some(opened(&test, 1));
        test.append("t", &mut table, "ours", &batch(&[("a", strings(&["a"]))])).unwrap();
        let mut table = table.unwrap();
        assert!(note(&test, &mut table));
        fs::remove_file(test.path("t").join(format!("_delta_log/{:020}.json", 1))).unwrap();
        appended(&test, 10..12);
        assert!(!table.resume().unwrap());
    }

    #[test]
    fn without_an_older_landmark_a_log_cannot_be_known_again() {
        let test = TestLake::new();
        let mut table = None;
        test.append("t", &mut table, "1", &batch(&[("a", strings(&["a"]))])).unwrap();
        let mut table = table.unwrap();
        assert!(!note(&test, &mut table));
        assert!(!table.resume().unwrap());
    }

    #[test]
    fn times_are_compared_as_finely_as_both_are_told() {
        assert!(is_same_moment(1_234, 1_234) && is_same_moment(1_234, 1_000) && is_same_moment(1_000, 1_999));
        assert!(!is_same_moment(1_234, 1_235) && !is_same_moment(1_234, 2_000) && !is_same_moment(1_000, 2_000));
    }

    #[test]
    fn a_landmark_that_was_cleaned_up_says_nothing() {
        let test = TestLake::new();
        let mut table = opened(&test, 2);
        assert!(note(&test, &mut table));
        table.snapshot.checkpoint(test.lake.engine().as_ref(), None).unwrap();
        fs::remove_file(test.path("t").join(format!("_delta_log/{:020}.json", 1))).unwrap();
        assert!(!table.resume().unwrap());
    }
}
