//! The face for Azure Functions: a custom handler, which the Functions host starts once per instance and calls over the
//! loopback, many calls at once.
//!
//! What the host's contract asks: any answer to `GET /` says that we are ready; a call is `POST /<function>` and is
//! always answered with a JSON object (an empty body would leave it open until its timeout); any status but 2xx fails
//! it, and its message comes again. Standard output is the log. A process that ends with 0 is not started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use inlet_core::clock::Deadline;
use inlet_core::fault::Fault;
use inlet_core::report::FaultReport;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::delivery::{Delivered, Delivery, Dock};
use crate::functions::{Function, Functions};
use crate::http;
use crate::installation::Installation;
use crate::invocation::{Call, Outcome, Task, answer};
use crate::joined::Joined;
use crate::log::{Log, Metrics};
use crate::trigger::{Answers, Ask, Trigger};
use crate::{on_thread, runtime};

/// The largest message of a queue is 64 KiB, and an event at most 1 MiB; JSON in JSON grows.
const BODY_BYTES: usize = 8 << 20;
/// Calls besides landing that run at once; more wait.
const OTHERS: usize = 4;
/// Cores of the largest instance.
const WORKERS: usize = 4;

/// Answers calls until the host asks the process to end.
pub(crate) fn run(functions: &Functions, port: u16) -> ExitCode {
    let log = Log::new("inlet", "start", Metrics::Plain);
    let served = runtime().and_then(|runtime| {
        let installation = Installation::new(runtime.handle().clone(), WORKERS);
        let face = Arc::new(Face::new(*functions, installation));
        runtime.block_on(async { serve(face, listen(port).await?).await })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            log.fault(&FaultReport::from(&fault), json!({}));
            ExitCode::from(fault.kind().exit_code())
        }
    }
}

async fn listen(port: u16) -> Result<TcpListener, Fault> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| Fault::again(format!("cannot listen at {address}")).because(error))
}

async fn serve(face: Arc<Face>, listener: TcpListener) -> Result<(), Fault> {
    let mut end = signal(SignalKind::terminate())
        .map_err(|error| Fault::again("cannot wait for the signal to end").because(error))?;
    let routes = Router::new()
        .route("/", get(|| async { object(StatusCode::OK, &json!({})) }))
        .route("/{function}", post(call))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(face);
    // What is under way is finished, nothing new is taken.
    let ended = async move {
        end.recv().await;
    };
    let served = axum::serve(listener, routes).with_graceful_shutdown(ended).await;
    served.map_err(|error| Fault::again("the handler stopped listening").because(error))
}

struct Face {
    functions: Functions,
    installation: Installation,
    joined: Joined,
    /// Calls that land no announced uploads and run at once.
    others: Semaphore,
    /// One evolve at a time: several notes are several calls, and a second evolve is sent away by the first one's lease.
    /// Its message would be counted as failed, and given up while a warehouse takes minutes to start.
    evolve: Semaphore,
}

async fn call(State(face): State<Arc<Face>>, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let ends = Deadline::after(face.installation.function_timeout());
    let function = Function::named(&name);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let log = Log::new(function.name(), &header("x-azure-functions-invocationid").unwrap_or_default(), Metrics::Plain)
        .with("trace", header("traceparent").as_deref());
    let trigger = match serde_json::from_slice::<Value>(&body) {
        Ok(body) => Trigger::of_custom_handler(&name, &body),
        Err(error) => {
            let fault = Fault::rejected("the host's request is no JSON").because(error);
            log.fault(&FaultReport::from(&fault), json!({}));
            return object(StatusCode::BAD_REQUEST, &json!({"fault": FaultReport::from(&fault)}));
        }
    };
    let mut outcomes = Vec::new();
    for message in trigger.messages {
        let task = Task::of(&face.call(function, ends, &log), message);
        outcomes.push(match task {
            Task::Land(delivery) => face.land(delivery).await,
            task => face.perform(task, function, ends, log.clone()).await,
        });
    }
    said(trigger.answers, &outcomes)
}

impl Face {
    fn new(functions: Functions, installation: Installation) -> Self {
        Self {
            functions,
            installation,
            joined: Joined::default(),
            others: Semaphore::new(OTHERS),
            evolve: Semaphore::new(1),
        }
    }

    /// Lands what a message announces, together with those of other calls.
    async fn land(self: &Arc<Self>, delivery: Delivery) -> Outcome {
        let face = Arc::clone(self);
        let land = move |all: &[Delivery]| -> Vec<Delivered> { face.dock().land(all) };
        match self.joined.land(delivery, land).await {
            Some(delivered) => Outcome::of(delivered),
            None => Outcome::bug(),
        }
    }

    async fn perform(self: &Arc<Self>, task: Task, function: Function, ends: Deadline, log: Log) -> Outcome {
        let turns = match &task {
            Task::Do(Ask::Evolve { .. }) => &self.evolve,
            _ => &self.others,
        };
        let Ok(_turn) = turns.acquire().await else { return Outcome::bug() };
        let face = Arc::clone(self);
        let done = on_thread(move || answer(&face.call(function, ends, &log), vec![task]).pop());
        done.await.flatten().unwrap_or_else(Outcome::bug)
    }

    fn call<'a>(&'a self, function: Function, ends: Deadline, log: &'a Log) -> Call<'a> {
        Call { dock: self.dock(), function, ends, log }
    }

    fn dock(&self) -> Dock<'_> {
        let whole = self.installation.function_timeout();
        Dock { functions: &self.functions, installation: &self.installation, host: "azure", whole }
    }
}

/// The answer in the host's words.
fn said(answers: Answers, outcomes: &[Outcome]) -> Response {
    let first = outcomes.first();
    if answers == Answers::Http {
        let (status, body) = first.map_or((500, Value::Null), http::response);
        let headers = json!({"content-type": "application/json"});
        // A text that is base64 by chance would be taken for bytes: JSON never is.
        let response = json!({"statusCode": status, "headers": headers, "body": body.to_string()});
        return object(StatusCode::OK, &json!({"Outputs": {"res": response}, "Logs": [], "ReturnValue": null}));
    }
    let gravest = FaultReport::gravest(outcomes.iter().filter_map(|outcome| outcome.fault.as_ref()));
    let report = first.map_or(Value::Null, |outcome| outcome.report.clone());
    match gravest {
        None => object(StatusCode::OK, &json!({"Outputs": {}, "Logs": [], "ReturnValue": report})),
        Some(fault) => object(StatusCode::INTERNAL_SERVER_ERROR, &json!({"fault": fault, "report": report})),
    }
}

fn object(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::installation::testing::Site;

    fn asked(address: SocketAddr, request: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn queued(key: &str, dequeued: u32) -> String {
        let event = json!({"topic": "t/storageAccounts/acme", "eventType": "Microsoft.Storage.BlobCreated",
            "data": {"api": "PutBlob", "contentLength": 9, "url": format!("https://acme.blob.core.windows.net/landing/{key}")}});
        // A text that holds JSON is JSON again, as the host sends it.
        let message = Value::from(event.to_string()).to_string();
        json!({"Data": {"msg": message}, "Metadata": {"DequeueCount": dequeued.to_string()}}).to_string()
    }

    /// A handler that answers until the test is over.
    fn served(site: &Site) -> SocketAddr {
        let installation = site.installation.again();
        let handle = installation.handle().clone();
        let listener = handle.block_on(listen(0)).unwrap();
        let address = listener.local_addr().unwrap();
        handle.spawn(serve(Arc::new(Face::new(site.functions, installation)), listener));
        address
    }

    #[test]
    fn uploads_of_managed_tables_are_staged_and_a_timer_opens_the_window() {
        let (site, pretend) = Site::managed("");
        for key in ["in/a.json", "in/b.json"] {
            site.azure.put(key, &json!({"type": "identify", "messageId": key, "userId": "u"}).to_string());
        }
        let address = served(&site);
        let status = |key: &str, dequeued: u32| {
            let (status, answer) = asked(address, "POST /ingest", &queued(key, dequeued));
            assert_eq!(status, 200, "{answer:#}");
            answer["ReturnValue"]["uploads"][0]["status"].clone()
        };
        assert_eq!([status("in/a.json", 1), status("in/b.json", 1)], ["staged"; 2]);
        assert_eq!(status("in/a.json", 2), "already staged");
        assert!(pretend.wakes().is_empty() && pretend.statements().is_empty(), "ingest wakes nobody");
        let timer = include_str!("trigger/fixtures/azure_timer.json");
        let (code, answer) = asked(address, "POST /evolve", timer);
        let report = &answer["ReturnValue"];
        assert_eq!((code, &report["notes"]["settled"], pretend.wakes().len()), (200, &json!(2), 1), "{answer:#}");
        assert_eq!([status("in/a.json", 2), status("in/b.json", 1)], ["already landed"; 2]);
        let (code, answer) = asked(address, "POST /evolve", timer);
        assert_eq!((code, &answer["ReturnValue"]["statements"]), (200, &json!([])), "nothing is staged");
    }

    #[test]
    fn calls_of_evolve_that_come_together_are_done_one_after_another() {
        let (site, pretend) = Site::managed("");
        site.azure.put("in/a.json", &json!({"type": "identify", "messageId": "m", "userId": "u"}).to_string());
        let address = served(&site);
        assert_eq!(asked(address, "POST /ingest", &queued("in/a.json", 1)).0, 200);
        let timer = include_str!("trigger/fixtures/azure_timer.json");
        let calls: Vec<_> = (0..6).map(|_| std::thread::spawn(move || asked(address, "POST /evolve", timer))).collect();
        for call in calls {
            let (status, answer) = call.join().unwrap();
            assert_eq!(status, 200, "{answer:#}");
        }
        assert_eq!(pretend.wakes().len(), 1);
    }

    #[test]
    fn a_handler_is_ready_at_once_and_answers_each_call_with_an_object() {
        let site = Site::new();
        site.azure.put("in/a b.json", "{\"type\":\"identify\",\"userId\":\"u\"}");
        let address = served(&site);
        assert_eq!(asked(address, "GET /", ""), (200, json!({})));
        let (status, answer) = asked(address, "POST /ingest", &queued("in/a%20b.json", 1));
        assert_eq!((status, &answer["ReturnValue"]["uploads"][0]["status"]), (200, &json!("landed")));
        assert!(answer["Outputs"].is_object() && answer["Logs"].is_array());
        let calls: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(move || asked(address, "POST /ingest", &queued("in/a%20b.json", 2))))
            .collect();
        for call in calls {
            let (status, answer) = call.join().unwrap();
            assert_eq!((status, &answer["ReturnValue"]["uploads"][0]["status"]), (200, &json!("already landed")));
        }
        let (status, answer) = asked(address, "POST /ingest", &queued("elsewhere/a.json", 1));
        assert_eq!((status, &answer["fault"]["kind"]), (500, &json!("setup")));
        assert_eq!(asked(address, "POST /ingest", "{").0, 400);
        let request = json!({"Data": {"req": {"Url": "https://x/api/evolve", "Method": "POST", "Body": "{\"action\":\"status\"}"}}});
        let (status, answer) = asked(address, "POST /evolve", &request.to_string());
        let response = &answer["Outputs"]["res"];
        assert_eq!((status, &response["statusCode"]), (200, &json!(200)));
        assert!(response["body"].as_str().unwrap().contains("\"function\":\"status\""));
    }
}
