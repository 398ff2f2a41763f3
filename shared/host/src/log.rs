//! What a function says while it runs: a line of JSON for each thing, on standard output, where both clouds take logs
//! from. Numbers, names and faults; never the content of an event.
//!
//! On Lambda the numbers of a call are a line in CloudWatch's embedded metric format besides, so that they are metrics
//! without a request. On Azure the same line, without that part, is for queries.

use inlet_core::clock;
use inlet_core::fault::FaultKind;
use inlet_core::report::FaultReport;
use serde_json::{Map, Value, json};

/// What every line of one call says: which call it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    common: Map<String, Value>,
    metrics: Metrics,
}

/// Who reads the numbers of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Metrics {
    /// CloudWatch: embedded metric format.
    Embedded,
    /// Queries over the lines.
    #[default]
    Plain,
}

/// The unit of a metric, in CloudWatch's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number of things.
    Count,
    /// A length of time.
    Milliseconds,
    /// A length of time.
    Seconds,
    /// An amount of memory.
    Megabytes,
}

/// One number of a call.
pub(crate) type Metric = (&'static str, f64, Unit);

/// The namespace of all metrics.
const NAMESPACE: &str = "Inlet";

impl Log {
    /// A log whose lines all say that they belong to a function and one call of it.
    pub(crate) fn new(function: &str, invocation: &str, metrics: Metrics) -> Self {
        let mut common = Map::new();
        common.insert("function".to_owned(), function.into());
        common.insert("invocation".to_owned(), invocation.into());
        Self { common, metrics }
    }

    /// The same, with one thing more on every line.
    pub(crate) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.common.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Says something that went as it should.
    pub(crate) fn info(&self, message: &str, more: Value) {
        self.line("INFO", message, more);
    }

    /// Says something that somebody should look at.
    pub(crate) fn warn(&self, message: &str, more: Value) {
        self.line("WARN", message, more);
    }

    /// Says a fault. What comes again by itself is a warning: alarms watch for errors.
    pub(crate) fn fault(&self, fault: &FaultReport, more: Value) {
        let level = if fault.kind == FaultKind::Again { "WARN" } else { "ERROR" };
        let mut more = more;
        if let Value::Object(members) = &mut more {
            members.insert("kind".to_owned(), fault.kind.name().into());
            members.extend(fault.hint.as_deref().map(|hint| ("hint".to_owned(), hint.into())));
        }
        self.line(level, &fault.message, more);
    }

    /// Says the numbers of a call.
    pub(crate) fn metrics(&self, metrics: &[Metric]) {
        write(&self.metrics_line(metrics, clock::now()));
    }

    fn line(&self, level: &str, message: &str, more: Value) {
        write(&self.text(level, message, more, clock::now()));
    }

    fn text(&self, level: &str, message: &str, more: Value, now: clock::Micros) -> String {
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), rfc3339(now).into());
        line.insert("level".to_owned(), level.into());
        line.insert("message".to_owned(), message.into());
        line.extend(self.common.clone());
        if let Value::Object(more) = more {
            line.extend(more);
        }
        Value::Object(line).to_string()
    }

    fn metrics_line(&self, metrics: &[Metric], now: clock::Micros) -> String {
        let mut line = self.common.clone();
        line.extend(metrics.iter().map(|(name, value, _)| ((*name).to_owned(), json!(value))));
        match self.metrics {
            Metrics::Plain => {
                line.insert("timestamp".to_owned(), rfc3339(now).into());
                line.insert("level".to_owned(), "INFO".into());
                line.insert("message".to_owned(), "metrics".into());
            }
            Metrics::Embedded => {
                let described: Vec<Value> =
                    metrics.iter().map(|(name, _, unit)| json!({"Name": name, "Unit": unit.name()})).collect();
                let directive = json!({
                    "Timestamp": now / 1_000,
                    "CloudWatchMetrics": [
                        {"Namespace": NAMESPACE, "Dimensions": [["function"]], "Metrics": described},
                    ],
                });
                line.insert("_aws".to_owned(), directive);
            }
        }
        Value::Object(line).to_string()
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
            Self::Megabytes => "Megabytes",
        }
    }
}

/// A test's output is shown when it fails; what its own thread said can be looked at.
#[cfg(test)]
fn write(line: &str) {
    println!("{line}");
    testing::LINES.with_borrow_mut(|lines| lines.push(line.to_owned()));
}

/// Whole lines only: calls that run at once share the stream. A log that cannot be written has nobody to be told to.
#[cfg(not(test))]
fn write(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    drop(out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()));
}

/// `2026-01-02T03:04:05.678Z`.
fn rfc3339(now: clock::Micros) -> String {
    let micros = inlet_events::timestamp_text(now);
    format!("{}Z", micros.get(..23).unwrap_or(&micros))
}

#[cfg(test)]
pub(crate) mod testing {
    //! What was logged.

    use std::cell::RefCell;

    use super::*;

    thread_local! {
        pub(super) static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// The lines of this thread since this was last asked.
    pub(crate) fn taken() -> Vec<Value> {
        let lines = LINES.take();
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: clock::Micros = 1_767_323_045_678_901;

    fn log(metrics: Metrics) -> Log {
        Log::new("ingest", "8f-1", metrics).with("trace", Some("Root=1-5759e988")).with("none", None)
    }

    #[test]
    fn a_line_is_one_object_that_names_its_call() {
        let line = log(Metrics::Plain).text("INFO", "a\nb", json!({"rows": 3}), NOW);
        assert!(!line.contains('\n'));
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap(),
            json!({
                "timestamp": "2026-01-02T03:04:05.678Z", "level": "INFO", "message": "a\nb",
                "function": "ingest", "invocation": "8f-1", "trace": "Root=1-5759e988", "rows": 3,
            })
        );
    }

    #[test]
    fn metrics_are_cloudwatchs_embedded_form_on_lambda_and_a_plain_line_elsewhere() {
        let metrics = [("Rows", 3.0, Unit::Count), ("Lag", 1.5, Unit::Seconds)];
        let line: Value = serde_json::from_str(&log(Metrics::Embedded).metrics_line(&metrics, NOW)).unwrap();
        assert_eq!(line["_aws"]["Timestamp"], 1_767_323_045_678_i64);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], json!([["function"]]));
        assert_eq!(directive["Metrics"][1], json!({"Name": "Lag", "Unit": "Seconds"}));
        assert_eq!((&line["function"], &line["Rows"]), (&json!("ingest"), &json!(3.0)));
        let line: Value = serde_json::from_str(&log(Metrics::Plain).metrics_line(&metrics, NOW)).unwrap();
        assert!(line.get("_aws").is_none());
        assert_eq!((&line["message"], &line["Lag"]), (&json!("metrics"), &json!(1.5)));
    }
}
