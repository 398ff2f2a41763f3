//! What is asked of Inlet itself: `{"action": "evolve", "all": true}`, from a schedule's input, a queue, or an
//! invocation by hand. Read strictly, as arguments are: a misspelt member would change what happens without a word.

use inlet_core::fault::Fault;
use inlet_core::nearest;
use serde_json::{Map, Value};

use super::content::{described, quoted};

/// Every action with its members.
const ACTIONS: [(&str, &[&str]); 7] = [
    ("backfill", &["prefix", "from", "to", "max_objects", "continuation", "again", "scheduled_time"]),
    ("connect", &["wake"]),
    ("evolve", &["all", "plan", "retry"]),
    ("ingest", &["places", "schema"]),
    ("maintain", &["plan", "schema"]),
    ("status", &["schema"]),
    ("tidy", &["schema"]),
];

/// Something that Inlet is asked to do. A member that is left out or `null` is `None`, or `false`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Land what a listing of the landing store finds and no event announced.
    Backfill(Backfill),
    /// Test the connection.
    Connect {
        /// Start the warehouse too.
        wake: bool,
    },
    /// Bring the catalog up to date.
    Evolve {
        /// Compare every table.
        all: bool,
        /// Do nothing: say what would be done.
        plan: bool,
        /// Try tables again that failed too often.
        retry: bool,
    },
    /// Land uploads by their names.
    Ingest {
        /// URLs of objects, or of prefixes; one or more.
        places: Vec<String>,
        /// The schema to land in.
        schema: Option<String>,
    },
    /// Put tables in order: few files, a short log, nothing that nobody needs.
    Maintain {
        /// Do nothing: say what would be done.
        plan: bool,
        /// Only this schema.
        schema: Option<String>,
    },
    /// Say what landed lately.
    Status {
        /// Only this schema.
        schema: Option<String>,
    },
    /// Write checkpoints that are due, and remove expired log files.
    Tidy {
        /// Only this schema.
        schema: Option<String>,
    },
}

/// What a backfill lands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backfill {
    /// Only keys under this prefix.
    pub prefix: Option<String>,
    /// Only objects modified at this time or later, as it was written.
    pub from: Option<String>,
    /// Only objects modified before this time, as it was written.
    pub to: Option<String>,
    /// At most so many objects in one run.
    pub max_objects: Option<u64>,
    /// Where an earlier run stopped, in its own words.
    pub continuation: Option<String>,
    /// Land what had landed before for the second, third, … time.
    pub again: Option<u64>,
    /// The time of the schedule that asks, as it was written; it stands in the log.
    pub scheduled_time: Option<String>,
}

impl Ask {
    /// Reads an ask. Every fault is `Setup`: somebody wrote it.
    pub(super) fn read(members: &Map<String, Value>) -> Result<Self, Fault> {
        let (action, known) = action(members)?;
        if let Some(unknown) = members.keys().find(|name| *name != "action" && !known.contains(&name.as_str())) {
            return Err(Fault::setup(format!("{} is no member of the action `{action}`", quoted(unknown)))
                .hint(did_you_mean(unknown, known)));
        }
        let members = Members { action, members };
        Ok(match action {
            "backfill" => Self::Backfill(Backfill {
                prefix: members.text("prefix")?,
                from: members.text("from")?,
                to: members.text("to")?,
                max_objects: members.number("max_objects")?,
                continuation: members.text("continuation")?,
                again: members.number("again")?,
                scheduled_time: members.text("scheduled_time")?,
            }),
            "connect" => Self::Connect { wake: members.flag("wake")? },
            "evolve" => {
                Self::Evolve { all: members.flag("all")?, plan: members.flag("plan")?, retry: members.flag("retry")? }
            }
            "ingest" => Self::Ingest { places: members.texts("places")?, schema: members.text("schema")? },
            "maintain" => Self::Maintain { plan: members.flag("plan")?, schema: members.text("schema")? },
            "status" => Self::Status { schema: members.text("schema")? },
            "tidy" => Self::Tidy { schema: members.text("schema")? },
            other => return Err(Fault::bug(format!("the action `{other}` is known but not read"))),
        })
    }
}

fn action(members: &Map<String, Value>) -> Result<(&'static str, &'static [&'static str]), Fault> {
    let names = ACTIONS.map(|(name, _)| name);
    match members.get("action") {
        Some(Value::String(action)) => ACTIONS
            .into_iter()
            .find(|(name, _)| name == action)
            .ok_or_else(|| Fault::setup(format!("{} is no action", quoted(action))).hint(did_you_mean(action, &names))),
        other => {
            let found = other.map_or_else(|| "missing".to_owned(), described);
            Err(Fault::setup(format!("`action` must be a text, not {found}")).hint(one_of(&names)))
        }
    }
}

fn did_you_mean(name: &str, names: &[&str]) -> String {
    match nearest::among(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => one_of(names),
    }
}

fn one_of(names: &[&str]) -> String {
    format!("write one of `{}`", names.join("`, `"))
}

/// The members of an ask, each of the type that is wanted.
struct Members<'a> {
    action: &'static str,
    members: &'a Map<String, Value>,
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, "`true` or `false`", other)),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let number = |value: &Value| value.as_u64().filter(|number| *number > 0);
        let read = |value| number(value).ok_or_else(|| self.wrong(name, "a whole number above 0", value));
        self.get(name).map(read).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        let read = |value| of_text(value).ok_or_else(|| self.wrong(name, "a text that is not empty", value));
        self.get(name).map(read).transpose()
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        let value = self.get(name).unwrap_or(&Value::Null);
        let texts = value.as_array().and_then(|texts| texts.iter().map(of_text).collect::<Option<Vec<_>>>());
        texts
            .filter(|texts| !texts.is_empty())
            .ok_or_else(|| self.wrong(name, "a list of texts, one or more of them", value))
    }

    fn wrong(&self, name: &str, wanted: &str, found: &Value) -> Fault {
        let found = if found.as_str() == Some("") { "an empty one".to_owned() } else { described(found) };
        Fault::setup(format!("`{name}` of the action `{}` must be {wanted}, not {found}", self.action))
    }
}

fn of_text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use inlet_core::fault::FaultKind;
    use serde_json::json;

    use super::*;

    fn read(ask: &Value) -> Result<Ask, Fault> {
        Ask::read(ask.as_object().unwrap())
    }

    #[test]
    fn every_member_of_every_action_is_read() {
        let some = |text: &str| Some(text.to_owned());
        let cases = [
            (
                json!({
                    "action": "backfill", "prefix": "segment-logs/src1/", "from": "2026-01-01T00:00:00Z",
                    "to": "2026-01-02T00:00:00Z", "max_objects": 50000, "continuation": "c",
                    "again": 2, "scheduled_time": "2026-01-02T03:04:05Z",
                }),
                Ask::Backfill(Backfill {
                    prefix: some("segment-logs/src1/"),
                    from: some("2026-01-01T00:00:00Z"),
                    to: some("2026-01-02T00:00:00Z"),
                    max_objects: Some(50_000),
                    continuation: some("c"),
                    again: Some(2),
                    scheduled_time: some("2026-01-02T03:04:05Z"),
                }),
            ),
            (json!({"action": "connect", "wake": true}), Ask::Connect { wake: true }),
            (
                json!({"action": "evolve", "all": true, "plan": true, "retry": true}),
                Ask::Evolve { all: true, plan: true, retry: true },
            ),
            (
                json!({"action": "ingest", "places": ["s3://acme-landing/a b.gz"], "schema": "shop"}),
                Ask::Ingest { places: vec!["s3://acme-landing/a b.gz".to_owned()], schema: some("shop") },
            ),
            (
                json!({"action": "maintain", "plan": true, "schema": "shop"}),
                Ask::Maintain { plan: true, schema: some("shop") },
            ),
            (json!({"action": "status", "schema": "shop"}), Ask::Status { schema: some("shop") }),
            (json!({"action": "tidy", "schema": "shop"}), Ask::Tidy { schema: some("shop") }),
        ];
        assert_eq!(cases.len(), ACTIONS.len());
        for (ask, expected) in cases {
            let (_, known) = action(ask.as_object().unwrap()).unwrap();
            assert_eq!(ask.as_object().unwrap().len(), known.len() + 1, "the case has every member: {ask}");
            assert_eq!(read(&ask).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_left_out_or_null_is_not_asked() {
        let nothing = Ask::Evolve { all: false, plan: false, retry: false };
        assert_eq!(read(&json!({"action": "evolve"})).unwrap(), nothing);
        assert_eq!(read(&json!({"action": "evolve", "all": null})).unwrap(), nothing);
        assert_eq!(read(&json!({"action": "tidy", "schema": null})).unwrap(), Ask::Tidy { schema: None });
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_nearest() {
        let hint = |ask: Value| {
            let fault = read(&ask).unwrap_err();
            assert_eq!(fault.kind(), FaultKind::Setup);
            fault.hint_text().unwrap().to_owned()
        };
        assert_eq!(hint(json!({"action": "evlove"})), "did you mean `evolve`?");
        assert_eq!(hint(json!({"action": "backfill", "form": "2026"})), "did you mean `from`?");
        assert!(hint(json!({"action": "drop tables"})).contains("`ingest`, `maintain`, `status`"));
        assert!(hint(json!({"action": ["evolve"]})).contains("`evolve`"));
        assert_eq!(hint(json!({"action": "connect", "all": true})), "write one of `wake`");
    }

    #[test]
    fn a_member_of_another_type_is_refused() {
        for (ask, wanted) in [
            (json!({"action": "evolve", "all": "yes"}), "`all` of the action `evolve` must be `true` or `false`"),
            (json!({"action": "backfill", "max_objects": 0}), "a whole number above 0, not a number"),
            (json!({"action": "backfill", "max_objects": 1.5}), "a whole number above 0, not a number"),
            (json!({"action": "tidy", "schema": ""}), "a text that is not empty, not an empty one"),
            (json!({"action": "ingest"}), "a list of texts, one or more of them, not `null`"),
            (json!({"action": "ingest", "places": []}), "a list of texts"),
            (json!({"action": "ingest", "places": ["a", 1]}), "a list of texts"),
            (json!({"action": "ingest", "places": "a"}), "a list of texts"),
        ] {
            let fault = read(&ask).unwrap_err();
            assert!(fault.to_string().contains(wanted), "{fault}");
        }
    }
}
