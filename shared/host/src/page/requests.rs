//! What the page asks of this process, and the answers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use inlet_core::clock;
use inlet_core::fault::Fault;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::door::Refusal;
use super::{Asked, Page, asset};
use crate::on_thread;

/// What is filled in is short.
const BODY_BYTES: usize = 64 << 10;

/// All requests and who may make them.
pub(super) fn routes(page: Arc<Page>) -> Router {
    let kept = Router::new()
        .route("/settings", get(fields))
        .route("/test", post(test))
        .route("/save", post(saved))
        .layer(middleware::from_fn_with_state(Arc::clone(&page), admitted));
    Router::new()
        .route("/", get(shown))
        .route("/session", post(session))
        .merge(kept)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&page), guarded))
        .with_state(page)
}

/// What every request must be, and every answer says.
async fn guarded(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let mut response = match page.door.refuses(request.method(), request.headers()) {
        Some(refusal) => refused(refusal),
        None => next.run(request).await,
    };
    for (name, value) in asset::HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::try_from(asset::policy()) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// For those who have the cookie.
async fn admitted(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    if !page.door.admits(request.headers()) {
        return refused((
            StatusCode::UNAUTHORIZED,
            "This link was used before, or is an old one. Start inlet connect --open again, \
                                                   at once if it was not you who used it.",
        ));
    }
    page.touched.store(clock::now(), Ordering::Relaxed);
    next.run(request).await
}

fn refused((status, message): Refusal) -> Response {
    answered(status, &json!({ "message": message }))
}

fn answered(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// What became of a request.
fn became(done: Option<Result<Value, Fault>>) -> Response {
    match done {
        Some(Ok(body)) => answered(StatusCode::OK, &body),
        Some(Err(fault)) => {
            let hint = fault.hint_text().map(|hint| format!(": {hint}")).unwrap_or_default();
            answered(StatusCode::CONFLICT, &json!({"message": format!("{}{hint}", fault.chain())}))
        }
        None => refused((StatusCode::INTERNAL_SERVER_ERROR, "a bug: the request broke off")),
    }
}

async fn shown() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], asset::PAGE).into_response()
}

#[derive(Deserialize)]
struct Session {
    token: String,
}

async fn session(State(page): State<Arc<Page>>, body: Bytes) -> Response {
    let cookie = serde_json::from_slice::<Session>(&body).ok().and_then(|asked| page.door.exchange(&asked.token));
    match cookie {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], answered(StatusCode::OK, &json!({}))).into_response(),
        None => refused((StatusCode::FORBIDDEN, "This link was used before, or is an old one.")),
    }
}

async fn fields(State(page): State<Arc<Page>>) -> Response {
    became(on_thread(move || page.fields()).await)
}

/// What was sent; why it is none is not said in the parser's words, which repeat values.
fn read(body: &Bytes) -> Result<Asked, Refusal> {
    serde_json::from_slice(body).map_err(|_| (StatusCode::BAD_REQUEST, "this is not what the page sends"))
}

async fn saved(State(page): State<Arc<Page>>, body: Bytes) -> Response {
    match read(&body) {
        Ok(asked) => became(on_thread(move || page.save(&asked)).await),
        Err(refusal) => refused(refusal),
    }
}

/// Starts a test; the answer is a line of JSON for each step that begins or is done, and the report at last.
async fn test(State(page): State<Arc<Page>>, body: Bytes) -> Response {
    let asked = match read(&body) {
        Ok(asked) => asked,
        Err(refusal) => return refused(refusal),
    };
    let Ok(turn) = Arc::clone(&page.turn).try_lock_owned() else {
        return refused((StatusCode::CONFLICT, "A test is under way. It ends by itself."));
    };
    let (lines, heard) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let line = |said: Value| drop(lines.send(Bytes::from(format!("{said}\n"))));
        let _turn: OwnedMutexGuard<()> = turn;
        page.test(&asked, &line);
        page.touched.store(clock::now(), Ordering::Relaxed);
    });
    let body = futures::stream::unfold(heard, |mut heard| async {
        let line = heard.recv().await?;
        Some((Ok::<_, io::Error>(line), heard))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}
