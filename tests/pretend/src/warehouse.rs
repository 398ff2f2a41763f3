//! A SQL warehouse as a machine in time: STOPPED, STARTING, RUNNING, STOPPING, DELETED. Pure: the moment is given.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What becomes of a start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It runs.
    #[default]
    Runs,
    /// It falls back to STOPPED, and its health says why.
    Fails {
        /// As `CLOUD_PROVIDER_RESOURCE_STOCKOUT`.
        code: String,
        /// As a person reads it.
        summary: String,
    },
    /// Somebody deletes it while it starts.
    IsDeleted,
    /// It stays STARTING.
    Hangs,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) start: Duration,
    pub(crate) stop: Duration,
    /// How long a minute of `auto_stop_mins` is.
    pub(crate) minute: Duration,
}

/// How a warehouse was asked for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Shape {
    pub(crate) name: String,
    #[serde(default = "default_size")]
    pub(crate) cluster_size: String,
    #[serde(default = "one")]
    pub(crate) min_num_clusters: u32,
    #[serde(default = "one")]
    pub(crate) max_num_clusters: u32,
    #[serde(default = "default_auto_stop")]
    pub(crate) auto_stop_mins: u32,
    #[serde(default)]
    pub(crate) enable_serverless_compute: bool,
    #[serde(default)]
    pub(crate) warehouse_type: Option<String>,
    #[serde(default)]
    pub(crate) tags: Value,
}

fn default_size() -> String {
    "2X-Small".to_owned()
}

fn one() -> u32 {
    1
}

fn default_auto_stop() -> u32 {
    120
}

const SIZES: [&str; 10] =
    ["2X-Small", "X-Small", "Small", "Medium", "Large", "X-Large", "2X-Large", "3X-Large", "4X-Large", "5X-Large"];
/// The longest name.
const NAME: usize = 99;

impl Shape {
    /// What Databricks would refuse, in its words.
    pub(crate) fn fault(&self) -> Option<String> {
        let serverless_minimum = if self.enable_serverless_compute { 1 } else { 10 };
        if self.name.is_empty() || self.name.len() > NAME {
            return Some("SQL warehouse name must be between 1 and 99 characters".to_owned());
        }
        if !SIZES.contains(&self.cluster_size.as_str()) {
            return Some(format!("{} is not a supported cluster size", self.cluster_size));
        }
        if self.min_num_clusters == 0
            || self.min_num_clusters > self.max_num_clusters.min(30)
            || self.max_num_clusters > 40
        {
            return Some("min_num_clusters must be > 0 and <= min(max_num_clusters, 30)".to_owned());
        }
        if self.auto_stop_mins != 0 && self.auto_stop_mins < serverless_minimum {
            return Some(format!("auto_stop_mins must be 0 or at least {serverless_minimum}"));
        }
        match self.warehouse_type.as_deref() {
            Some("CLASSIC") | None if self.enable_serverless_compute => {
                Some("Serverless compute needs warehouse_type PRO".to_owned())
            }
            Some("PRO" | "CLASSIC") | None => None,
            Some(other) => Some(format!("{other} is not a supported warehouse type")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Stopped,
    Starting { at: Instant },
    Running { idle_since: Instant },
    Stopping { at: Instant },
    Deleted,
}

/// One warehouse.
#[derive(Clone, Debug)]
pub(crate) struct Warehouse {
    pub(crate) id: String,
    pub(crate) shape: Shape,
    pub(crate) creator: String,
    pub(crate) fate: Fate,
    /// Answers after a start that still say STOPPED.
    pub(crate) late: u32,
    still_late: u32,
    phase: Phase,
    busy: u32,
    health: Option<(String, String)>,
    up_since: Option<Instant>,
    /// How long it has been RUNNING, until it last stopped.
    was_up: Duration,
}

impl Warehouse {
    pub(crate) fn new(id: String, shape: Shape, creator: String) -> Self {
        Self {
            id,
            shape,
            creator,
            fate: Fate::Runs,
            late: 0,
            still_late: 0,
            phase: Phase::Stopped,
            busy: 0,
            health: None,
            up_since: None,
            was_up: Duration::ZERO,
        }
    }

    /// How long it has been RUNNING in all.
    pub(crate) fn up(&self, now: Instant) -> Duration {
        self.was_up + self.up_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn down(&mut self, at: Instant) {
        self.was_up = self.up(at);
        self.up_since = None;
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, now: Instant, pace: &Pace) {
        if let Phase::Starting { at } = self.phase
            && now >= at + pace.start
        {
            match self.fate.clone() {
                Fate::Runs => {
                    self.phase = Phase::Running { idle_since: at + pace.start };
                    self.up_since = Some(at + pace.start);
                }
                Fate::Fails { code, summary } => {
                    self.phase = Phase::Stopped;
                    self.health = Some((code, summary));
                }
                Fate::IsDeleted => self.phase = Phase::Deleted,
                Fate::Hangs => {}
            }
        }
        if let Phase::Running { idle_since } = self.phase
            && self.busy == 0
            && self.shape.auto_stop_mins > 0
        {
            let end = idle_since + pace.minute * self.shape.auto_stop_mins;
            if now >= end {
                self.phase = Phase::Stopping { at: end };
                self.down(end);
            }
        }
        if let Phase::Stopping { at } = self.phase
            && now >= at + pace.stop
        {
            self.phase = Phase::Stopped;
        }
    }

    /// Whether this woke it: nothing happens to one that is up or on its way.
    pub(crate) fn start(&mut self, now: Instant) -> bool {
        if !matches!(self.phase, Phase::Stopped | Phase::Stopping { .. }) {
            return false;
        }
        self.phase = Phase::Starting { at: now };
        self.still_late = self.late;
        self.health = None;
        true
    }

    pub(crate) fn stop(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Starting { .. } | Phase::Running { .. }) {
            self.phase = Phase::Stopping { at: now };
            self.down(now);
        }
    }

    pub(crate) fn delete(&mut self) {
        self.phase = Phase::Deleted;
    }

    /// A statement begins to use it.
    pub(crate) fn occupy(&mut self) {
        self.busy += 1;
    }

    /// A statement is done with it.
    pub(crate) fn release(&mut self, now: Instant) {
        self.busy = self.busy.saturating_sub(1);
        if let Phase::Running { idle_since } = &mut self.phase {
            *idle_since = now;
        }
    }

    /// When the phase that it is in may end.
    pub(crate) fn next_change(&self, pace: &Pace) -> Option<Instant> {
        match self.phase {
            Phase::Starting { .. } if self.fate == Fate::Hangs => None,
            Phase::Starting { at } => Some(at + pace.start),
            Phase::Stopping { at } => Some(at + pace.stop),
            _ => None,
        }
    }

    pub(crate) fn state(&self) -> &'static str {
        match self.phase {
            Phase::Stopped => "STOPPED",
            Phase::Starting { .. } => "STARTING",
            Phase::Running { .. } => "RUNNING",
            Phase::Stopping { .. } => "STOPPING",
            Phase::Deleted => "DELETED",
        }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.phase == Phase::Deleted
    }

    /// Why the last start failed.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.health.as_ref().map(|(_, summary)| summary.as_str())
    }

    /// As a GET says it; right after a start that may still be STOPPED.
    pub(crate) fn told(&mut self, host: &str) -> Value {
        let mut state = self.state();
        if matches!(self.phase, Phase::Starting { .. }) && self.still_late > 0 {
            self.still_late -= 1;
            state = "STOPPED";
        }
        let health = match &self.health {
            None => json!({"status": "HEALTHY"}),
            Some((code, summary)) => json!({
                "status": "FAILED", "summary": summary, "details": summary,
                "failure_reason": {"code": code, "type": "CLOUD_FAILURE", "parameters": {}},
            }),
        };
        let (host, port) = host.split_once(':').unwrap_or((host, "443"));
        let path = format!("/sql/1.0/warehouses/{}", self.id);
        let jdbc_url =
            format!("jdbc:spark://{host}:{port}/default;transportMode=http;ssl=1;AuthMech=3;httpPath={path};");
        let running = matches!(self.phase, Phase::Running { .. });
        json!({
            "id": self.id, "name": self.shape.name, "cluster_size": self.shape.cluster_size,
            "min_num_clusters": self.shape.min_num_clusters, "max_num_clusters": self.shape.max_num_clusters,
            "num_clusters": if running { self.shape.min_num_clusters } else { 0 },
            "num_active_sessions": self.busy, "auto_stop_mins": self.shape.auto_stop_mins,
            "creator_name": self.creator, "state": state, "health": health,
            "warehouse_type": self.shape.warehouse_type.as_deref().unwrap_or("CLASSIC"),
            "enable_serverless_compute": self.shape.enable_serverless_compute, "enable_photon": true,
            "spot_instance_policy": "COST_OPTIMIZED", "channel": {"name": "CHANNEL_NAME_CURRENT"},
            "tags": if self.shape.tags.is_null() { json!({}) } else { self.shape.tags.clone() },
            "odbc_params": {"hostname": host, "path": path, "port": port.parse().unwrap_or(443_u16),
            "protocol": "https"},
            "jdbc_url": jdbc_url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const PACE: Pace =
        Pace { start: Duration::from_secs(4), stop: Duration::from_secs(2), minute: Duration::from_secs(60) };

    fn warehouse(auto_stop_mins: u32) -> Warehouse {
        let shape = serde_json::from_value(json!({
            "name": "small", "auto_stop_mins": auto_stop_mins, "enable_serverless_compute": true,
            "warehouse_type": "PRO",
        }));
        Warehouse::new("dd43ee29fedd958d".to_owned(), shape.unwrap(), "me".to_owned())
    }

    fn state_after(warehouse: &mut Warehouse, begin: Instant, seconds: u64) -> &'static str {
        warehouse.advance(begin + Duration::from_secs(seconds), &PACE);
        warehouse.state()
    }

    #[test]
    fn it_starts_runs_idles_and_stops_by_itself() {
        let (mut one, begin) = (warehouse(1), clock::now());
        assert!(one.start(begin));
        assert!(!one.start(begin), "a second start is no second wake");
        assert_eq!(state_after(&mut one, begin, 3), "STARTING");
        assert_eq!(state_after(&mut one, begin, 4), "RUNNING");
        assert_eq!(state_after(&mut one, begin, 63), "RUNNING");
        assert_eq!(state_after(&mut one, begin, 64), "STOPPING");
        assert_eq!(state_after(&mut one, begin, 66), "STOPPED");
        assert_eq!(one.up(begin + Duration::from_secs(99)), Duration::from_secs(60));
    }

    #[test]
    fn it_does_not_stop_while_a_statement_runs() {
        let (mut one, begin) = (warehouse(1), clock::now());
        one.start(begin);
        assert_eq!(state_after(&mut one, begin, 4), "RUNNING");
        one.occupy();
        assert_eq!(state_after(&mut one, begin, 500), "RUNNING");
        one.release(begin + Duration::from_secs(500));
        assert_eq!(state_after(&mut one, begin, 559), "RUNNING");
        assert_eq!(state_after(&mut one, begin, 560), "STOPPING");
    }

    #[test]
    fn a_start_can_fail_with_a_reason_be_deleted_or_hang() {
        let begin = clock::now();
        let ends_as = |fate| {
            let mut one = warehouse(10);
            one.fate = fate;
            one.start(begin);
            let state = state_after(&mut one, begin, 10);
            (state, one.told("h")["health"]["failure_reason"]["code"].as_str().map(str::to_owned))
        };
        let stockout = "CLOUD_PROVIDER_RESOURCE_STOCKOUT".to_owned();
        let fails = Fate::Fails { code: stockout.clone(), summary: "no machines".to_owned() };
        assert_eq!(ends_as(fails), ("STOPPED", Some(stockout)));
        assert_eq!(ends_as(Fate::IsDeleted), ("DELETED", None));
        assert_eq!(ends_as(Fate::Hangs), ("STARTING", None));
    }

    #[test]
    fn the_first_answers_after_a_start_may_be_late() {
        let (mut one, begin) = (warehouse(10), clock::now());
        one.late = 1;
        one.start(begin);
        assert_eq!(one.told("h")["state"], "STOPPED");
        assert_eq!(one.told("h")["state"], "STARTING");
    }

    #[test]
    fn shapes_that_databricks_refuses_are_refused() {
        let with = |change: fn(&mut Shape)| {
            let mut shape = warehouse(10).shape;
            change(&mut shape);
            shape.fault()
        };
        assert_eq!(with(|_| ()), None);
        assert!(with(|shape| shape.cluster_size = "Tiny".to_owned()).is_some());
        assert!(with(|shape| shape.max_num_clusters = 0).is_some());
        assert!(with(|shape| shape.warehouse_type = Some("CLASSIC".to_owned())).is_some());
        assert!(with(|shape| (shape.auto_stop_mins, shape.enable_serverless_compute) = (5, false)).is_some());
    }
}
