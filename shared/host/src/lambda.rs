//! The face for AWS Lambda: one call at a time, from the Runtime API.
//!
//! A batch of SQS is answered with the messages that must come again; any other call that fails is an error of the
//! function, so that whoever called (S3, EventBridge, a schedule, a person) repeats or reports it. An HTTP caller gets
//! its answer as a response.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::report::FaultReport;
use inlet_core::settings::LambdaHost;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde_json::{Value, json};

use crate::delivery::Dock;
use crate::functions::{Function, Functions};
use crate::installation::Installation;
use crate::invocation::{Call, Outcome, Task, answer};
use crate::log::{Log, Metrics};
use crate::trigger::{Answers, Trigger};
use crate::{http, on_thread, runtime};

/// Memory of one core: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
const MIB_PER_CORE: u64 = 1_769;

/// Answers calls until Lambda ends the process.
pub(crate) fn run(functions: &Functions, host: &LambdaHost) -> ExitCode {
    let log = Log::new(Function::named(&host.handler).name(), "start", Metrics::Embedded);
    let served = runtime().and_then(|runtime| {
        let workers = host.memory_mib.div_ceil(MIB_PER_CORE) as usize;
        let face = Arc::new(Face {
            functions: *functions,
            function: Function::named(&host.handler),
            installation: Installation::new(runtime.handle().clone(), workers),
        });
        let serve = service_fn(move |event: LambdaEvent<Value>| {
            let face = Arc::clone(&face);
            async move {
                let called = on_thread(move || face.call(&event.payload, &event.context));
                called
                    .await
                    .unwrap_or_else(|| Err(diagnostic(&FaultReport::from(&Fault::bug("the call stopped by a bug")))))
            }
        });
        runtime
            .block_on(lambda_runtime::run(serve))
            .map_err(|error| Fault::again("the Lambda runtime stopped").because(error))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            log.fault(&FaultReport::from(&fault), json!({}));
            ExitCode::from(fault.kind().exit_code())
        }
    }
}

/// Lambda's longest timeout is 15 minutes.
const LONGEST_CALL: Duration = Duration::from_secs(24 * 60 * 60);

struct Face {
    functions: Functions,
    function: Function,
    installation: Installation,
}

impl Face {
    fn call(&self, payload: &Value, context: &Context) -> Result<Value, Diagnostic> {
        let log = Log::new(self.function.name(), &context.request_id, Metrics::Embedded)
            .with("trace", context.xray_trace_id.as_deref());
        // Lambda hands over a call when its time begins: what is left is the whole.
        let left = left(context.deadline);
        let dock = Dock { functions: &self.functions, installation: &self.installation, host: "lambda", whole: left };
        let call = Call { dock, function: self.function, ends: Deadline::after(left), log: &log };
        let trigger = Trigger::of_lambda(payload);
        let ids: Vec<Option<String>> = trigger.messages.iter().map(|message| message.id.clone()).collect();
        let tasks = trigger.messages.into_iter().map(|message| Task::of(&call, message)).collect();
        said(trigger.answers, &ids, answer(&call, tasks))
    }
}

/// The answer in Lambda's words.
fn said(answers: Answers, ids: &[Option<String>], outcomes: Vec<Outcome>) -> Result<Value, Diagnostic> {
    let failed = |outcome: &Outcome| outcome.fault.is_some();
    match answers {
        Answers::Batch => {
            let mut failures = Vec::new();
            for (id, outcome) in ids.iter().zip(&outcomes) {
                match (&outcome.fault, id) {
                    (None, _) => {}
                    (Some(_), Some(id)) => failures.push(json!({"itemIdentifier": id})),
                    // A message that cannot be named fails the batch.
                    (Some(fault), None) => return Err(diagnostic(fault)),
                }
            }
            Ok(json!({"batchItemFailures": failures}))
        }
        Answers::Http => {
            let outcome = outcomes.into_iter().next();
            let (status, body) = outcome.as_ref().map_or((500, Value::Null), http::response);
            Ok(json!({
                "statusCode": status,
                "headers": {"content-type": "application/json"},
                "body": body.to_string(),
                "isBase64Encoded": false,
            }))
        }
        Answers::Whole => {
            let faults = outcomes.iter().filter(|outcome| failed(outcome)).filter_map(|outcome| outcome.fault.as_ref());
            if let Some(fault) = FaultReport::gravest(faults) {
                return Err(diagnostic(fault));
            }
            let mut reports: Vec<Value> = outcomes.into_iter().map(|outcome| outcome.report).collect();
            Ok(if reports.len() == 1 { reports.remove(0) } else { Value::Array(reports) })
        }
    }
}

/// A fault as Lambda shows it: its kind is the error's type, by which alarms and retries can tell them apart.
fn diagnostic(fault: &FaultReport) -> Diagnostic {
    let kind = match fault.kind {
        FaultKind::Again => "Inlet.Again",
        FaultKind::Setup => "Inlet.Setup",
        FaultKind::Rejected => "Inlet.Rejected",
        FaultKind::Bug => "Inlet.Bug",
    };
    let hint = fault.hint.as_ref().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
    Diagnostic { error_type: kind.to_owned(), error_message: format!("{}{hint}", fault.message) }
}

/// The time until Lambda ends the call, told in milliseconds since 1970; or how long it may take, as `cargo lambda watch`
/// tells it: no call takes days.
fn left(deadline_ms: u64) -> Duration {
    let told = Duration::from_millis(deadline_ms);
    if told < LONGEST_CALL {
        return told;
    }
    let now_ms = u64::try_from(clock::now() / 1_000).unwrap_or_default();
    told.saturating_sub(Duration::from_millis(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installation::testing::Site;
    use crate::log;

    fn outcome(fault: Option<&Fault>) -> Outcome {
        Outcome { report: json!({"ok": fault.is_none()}), fault: fault.map(FaultReport::from) }
    }

    fn id(id: &str) -> Option<String> {
        Some(id.to_owned())
    }

    #[test]
    fn a_batch_names_the_messages_that_must_come_again() {
        let outcomes = vec![outcome(None), outcome(Some(&Fault::again("not now"))), outcome(None)];
        let said = said(Answers::Batch, &[id("a"), id("b"), id("c")], outcomes).unwrap();
        assert_eq!(said, json!({"batchItemFailures": [{"itemIdentifier": "b"}]}));
    }

    #[test]
    fn a_message_of_a_batch_without_an_id_fails_the_batch() {
        let said = said(Answers::Batch, &[id("a"), None], vec![outcome(None), outcome(Some(&Fault::again("x")))]);
        assert_eq!(said.unwrap_err().error_type, "Inlet.Again");
        assert_eq!(self::said(Answers::Batch, &[], Vec::new()).unwrap(), json!({"batchItemFailures": []}));
    }

    #[test]
    fn any_other_call_fails_with_its_gravest_fault_and_hint() {
        let outcomes =
            vec![outcome(Some(&Fault::again("x"))), outcome(Some(&Fault::setup("no lake").hint("INLET_LAKE")))];
        let said = said(Answers::Whole, &[None, None], outcomes).unwrap_err();
        assert_eq!(
            (said.error_type.as_str(), said.error_message.as_str()),
            ("Inlet.Setup", "no lake; hint: INLET_LAKE")
        );
        let said = self::said(Answers::Whole, &[None], vec![outcome(None)]).unwrap();
        assert_eq!(said, json!({"ok": true}));
    }

    #[test]
    fn a_call_is_answered_from_its_envelope_to_its_rows() {
        let site = Site::new();
        site.landing.put("in/a.json", "{\"type\":\"identify\",\"userId\":\"u\"}");
        let face =
            Face { functions: site.functions, function: Function::Ingest, installation: site.installation.again() };
        let body = json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "acme-landing"}, "object": {"key": "in/a.json", "size": 9}}}]});
        let message = |id: &str, body: &str| json!({"eventSource": "aws:sqs", "messageId": id, "body": body});
        let batch = json!({"Records": [message("1", &body.to_string()), message("2", "nonsense")]});
        let context = |seconds: u64| {
            let mut context = Context::default();
            context.deadline = (clock::now() / 1_000) as u64 + seconds * 1_000;
            context.request_id = "8f-1".to_owned();
            context.xray_trace_id = Some("Root=1-5759e988".to_owned());
            context
        };
        let failures = |said: &Value| said["batchItemFailures"].as_array().unwrap().len();
        assert_eq!(
            failures(&face.call(&batch, &context(2)).unwrap()),
            1,
            "two seconds are a whole call of that function"
        );
        let lines = log::testing::taken();
        assert!(lines.len() > 1 && lines.iter().all(|line| line["invocation"] == "8f-1"), "{lines:?}");
        assert!(lines.iter().all(|line| line["trace"] == "Root=1-5759e988"), "the numbers too: {lines:?}");
        let report = face.call(&body, &context(300)).unwrap();
        assert_eq!(report["uploads"][0]["status"], "already landed");
        assert_eq!(face.call(&json!({"hello": 1}), &context(300)).unwrap_err().error_type, "Inlet.Rejected");
        assert_eq!(face.call(&json!({}), &context(300)).unwrap_err().error_type, "Inlet.Setup");
        assert_eq!(left(0), Duration::ZERO);
        assert_eq!(left(1_700_000_000_000), Duration::ZERO, "a moment that is over");
        assert_eq!(left(600_000), Duration::from_secs(600), "what `cargo lambda watch` sends");
    }

    /// A payload of SQS: ids of messages, and the keys that they announce.
    fn batch(messages: &[(&str, &str, u32)]) -> Value {
        let message = |(id, key, receives): &(&str, &str, u32)| {
            let body = json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": "acme-landing"}, "object": {"key": key, "size": 9}}}]});
            json!({"eventSource": "aws:sqs", "messageId": id, "body": body.to_string(),
                "attributes": {"ApproximateReceiveCount": receives.to_string()}})
        };
        json!({"Records": messages.iter().map(message).collect::<Vec<_>>()})
    }

    #[test]
    fn uploads_of_managed_tables_are_staged_message_by_message_and_a_schedule_opens_the_window() {
        let (site, pretend) = Site::managed("");
        for key in ["in/a.json", "in/b.json", "other/c.json"] {
            site.landing.put(key, &json!({"type": "identify", "messageId": key, "userId": "u"}).to_string());
        }
        let face = |function| Face { functions: site.functions, function, installation: site.installation.again() };
        let (ingest, evolve) = (face(Function::Ingest), face(Function::Evolve));
        let mut context = Context::default();
        context.deadline = (clock::now() / 1_000) as u64 + 300_000;
        let statuses = |key: &str| {
            let body = batch(&[("1", key, 1)])["Records"][0]["body"].clone();
            let announced: Value = serde_json::from_str(body.as_str().unwrap()).unwrap();
            ingest.call(&announced, &context).unwrap()["uploads"][0]["status"].clone()
        };
        let failed = |messages: &[(&str, &str, u32)]| ingest.call(&batch(messages), &context).unwrap();
        let all = [("1", "in/a.json", 1), ("2", "other/c.json", 1), ("3", "in/b.json", 1)];
        assert_eq!(failed(&all), json!({"batchItemFailures": [{"itemIdentifier": "2"}]}), "no place of uploads");
        assert_eq!(statuses("in/a.json"), "already staged");
        assert!(pretend.wakes().is_empty() && pretend.statements().is_empty(), "ingest wakes nobody");

        let tick = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
        let report = evolve.call(&tick, &context).unwrap();
        assert_eq!((&report["notes"]["settled"], pretend.wakes().len()), (&json!(2), 1), "{report:#}");
        assert_eq!(failed(&[("1", "in/a.json", 2), ("3", "in/b.json", 2)]), json!({"batchItemFailures": []}));
        assert_eq!([statuses("in/a.json"), statuses("in/b.json")], ["already landed"; 2]);
        let statements = pretend.statements().len();
        evolve.call(&tick, &context).unwrap();
        assert_eq!(pretend.statements().len(), statements, "nothing is staged, and nobody is asked");
        let copies = pretend.statements().into_iter().filter(|said| said.text.starts_with("COPY INTO"));
        assert_eq!(copies.count(), 2, "`identifies` and `_loads`, both uploads at once");
    }

    #[test]
    fn a_schedule_leaves_managed_tables_alone_in_hours_that_are_not_its_own() {
        let (site, pretend) = Site::managed("never_between = [\"00:00-24:00\"]");
        site.landing.put("in/a.json", "{\"type\":\"identify\",\"userId\":\"u\"}");
        let mut context = Context::default();
        context.deadline = (clock::now() / 1_000) as u64 + 300_000;
        let face = |function| Face { functions: site.functions, function, installation: site.installation.again() };
        let staged = face(Function::Ingest).call(&batch(&[("1", "in/a.json", 1)]), &context).unwrap();
        assert_eq!(staged, json!({"batchItemFailures": []}));
        let schedule = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
        for asked in [schedule, json!({"action": "evolve"})] {
            let report = face(Function::Evolve).call(&asked, &context).unwrap();
            assert!(
                report["postponed"].as_str().unwrap().starts_with("`never_between` lets the warehouse be"),
                "{report:#}"
            );
        }
        assert!(pretend.wakes().is_empty() && pretend.statements().is_empty());
    }

    #[test]
    fn an_http_caller_gets_a_response_whatever_happened() {
        let said = said(Answers::Http, &[None], vec![outcome(Some(&Fault::rejected("no JSON")))]).unwrap();
        assert_eq!((said["statusCode"].as_u64(), said["body"].as_str()), (Some(400), Some("{\"ok\":false}")));
    }
}
