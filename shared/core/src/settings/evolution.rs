//! When and how schemas change, and what a warehouse may cost.

use std::time::Duration;

use super::given::{Given, shown};
use super::storage::is_s3;
use crate::clock::Micros;

/// Who changes a table's log when its schema must change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaChanges {
    /// Inlet, in the data's own commit; the catalog follows.
    #[default]
    Writer,
    /// The SQL warehouse; the rows that need the change are held until then.
    Warehouse,
}

/// Hours of each day, UTC; those that end before they begin go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Minutes since midnight.
    from: u16,
    to: u16,
}

impl Hours {
    /// Reads `08:00-18:30`.
    pub fn parse(text: &str) -> Option<Self> {
        let minute = |text: &str| {
            let (hours, minutes) = text.trim().split_once(':')?;
            let two_digits = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2);
            let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
            (minutes < 60 && (hours < 24 || (hours, minutes) == (24, 0))).then_some(hours * 60 + minutes)
        };
        let (from, to) = text.split_once('-')?;
        let (from, to) = (minute(from)?, minute(to)?);
        (from != to && from < DAY_MINUTES).then_some(Self { from, to })
    }

    /// When these hours end, if a moment lies in them: in how many seconds.
    pub fn seconds_left(self, at: Micros) -> Option<u64> {
        let second = u64::try_from((at / 1_000_000).rem_euclid(86_400)).ok()?;
        let (from, to) = (u64::from(self.from) * 60, u64::from(self.to) * 60);
        match from < to {
            true => (from..to).contains(&second).then(|| to - second),
            false if second >= from => Some(86_400 - second + to),
            false => (second < to).then(|| to - second),
        }
    }
}

const DAY_MINUTES: u16 = 24 * 60;

/// How the catalog is brought up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evolution {
    /// Who changes the log.
    pub schema_changes: SchemaChanges,
    /// Of external tables: at most one wake of the warehouse in this time; the first after quiet comes at once.
    pub window: Duration,
    /// Of managed tables: their rows are loaded once in this time; those that come after quiet at once.
    pub every: Duration,
    /// Hours in which nobody but a person uses the warehouse.
    pub never_between: Vec<Hours>,
    /// At most so many wakes in a day.
    pub max_wakes_per_day: Option<u32>,
    /// At most so many seconds of a running warehouse in a day.
    pub max_warehouse_seconds_per_day: Option<u64>,
    /// How long rows are held before they land without the change.
    pub hold_limit: Duration,
}

impl Default for Evolution {
    fn default() -> Self {
        Self {
            schema_changes: SchemaChanges::Writer,
            window: Duration::from_secs(15 * 60),
            every: Duration::from_secs(15 * 60),
            never_between: Vec::new(),
            max_wakes_per_day: None,
            max_warehouse_seconds_per_day: None,
            hold_limit: Duration::from_secs(60 * 60),
        }
    }
}

/// Reads the keys of evolution.
pub(super) fn evolution(given: &mut Given<'_>, lake: Option<&str>) -> Evolution {
    let usual = Evolution::default();
    let words = [("writer", SchemaChanges::Writer), ("warehouse", SchemaChanges::Warehouse)];
    let schema_changes = given.choice("schema_changes", &words).unwrap_or_default();
    let on_s3 = lake.is_some_and(is_s3);
    if schema_changes == SchemaChanges::Warehouse && on_s3 {
        // https://docs.databricks.com/delta/s3-limitations: commits from outside a workspace are not coordinated with its own.
        let what = "is `warehouse`, and the lake is on S3: there commits of Databricks do not coordinate with those of \
                    other writers, and one could overwrite the other";
        given.wrong("schema_changes", what, "schema_changes = \"writer\": Inlet alone writes the tables' logs");
    }
    if schema_changes == SchemaChanges::Warehouse && !given.has("workspace_url") {
        given.missing(
            "workspace_url",
            "`schema_changes` asks for a warehouse",
            "give it, or schema_changes = \"writer\"",
        );
    }
    Evolution {
        schema_changes,
        window: given.duration("window").unwrap_or(usual.window),
        every: given.duration("every").unwrap_or(usual.every),
        never_between: never_between(given),
        max_wakes_per_day: given.small("max_wakes_per_day"),
        max_warehouse_seconds_per_day: given.number("max_warehouse_seconds_per_day"),
        hold_limit: given.duration("hold_limit").unwrap_or(usual.hold_limit),
    }
}

fn never_between(given: &mut Given<'_>) -> Vec<Hours> {
    let mut hours = Vec::new();
    for text in given.list("never_between") {
        match Hours::parse(&text) {
            Some(read) => hours.push(read),
            None => {
                let what = format!("must be hours of the day, not {}", shown(&text));
                given.wrong("never_between", &what, "write them as \"08:00-18:30\", in UTC");
            }
        }
    }
    hours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_hold_their_minutes_and_may_go_over_midnight() {
        let at = |hour: i64, minute: i64| (20_000 * 86_400 + hour * 3_600 + minute * 60) * 1_000_000;
        let day = Hours::parse("08:00-18:30").unwrap();
        assert_eq!([7, 8, 18].map(|hour| day.seconds_left(at(hour, 0))), [None, Some(37_800), Some(1_800)]);
        assert_eq!(day.seconds_left(at(18, 30)), None);
        let night = Hours::parse("22:00 - 06:00").unwrap();
        assert_eq!(
            [21, 23, 0, 6].map(|hour| night.seconds_left(at(hour, 0))),
            [None, Some(25_200), Some(21_600), None]
        );
        assert_eq!(Hours::parse("00:00-24:00").unwrap().seconds_left(at(12, 0)), Some(43_200));
        for wrong in ["8-18", "08:00", "08:00-08:00", "25:00-26:00", "08:60-09:00", "24:00-01:00", "8:0-9:0", ""] {
            assert_eq!(Hours::parse(wrong), None, "{wrong}");
        }
    }
}
