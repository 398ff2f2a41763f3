//! One HTTP server on loopback: requests are noted, faults are played, answers are sent or withheld.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::clock;
use crate::log::{Seen, kept};
use crate::reply::Reply;
use crate::request::Request;
use crate::workspace::Workspace;
use crate::{control, route};

/// How often it is looked whether an answer is still held back.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Serves until its runtime ends.
pub(crate) async fn serve(workspace: Arc<Workspace>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(Arc::clone(&workspace), stream));
            }
            // Too many open files, or a peer that left: the next may be better.
            Err(_) => clock::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(workspace: Arc<Workspace>, stream: TcpStream) {
    let is_reset = Arc::new(AtomicBool::new(false));
    let resets = Arc::clone(&is_reset);
    let service = service_fn(move |request| {
        let (workspace, resets) = (Arc::clone(&workspace), Arc::clone(&resets));
        Box::pin(async move {
            let answered = one(&workspace, request).await;
            resets.store(answered.is_err(), Ordering::Relaxed);
            answered
        })
    });
    let mut served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A peer that goes away in the middle ends it with an error, which is nobody's.
    drop(poll_fn(|context| served.poll_without_shutdown(context)).await);
    if is_reset.load(Ordering::Relaxed) {
        // Closed so, the peer sees a reset and not an end.
        drop(served.into_parts().io.into_inner().set_zero_linger());
    }
}

/// Answers one request; an error cuts the connection.
async fn one(workspace: &Arc<Workspace>, request: hyper::Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let (path, query) = (head.uri.path(), head.uri.query());
    let request = Request::new(head.method.as_str(), path, query, head.headers, body);
    if let ["_pretend", rest @ ..] = &request.parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        let answer = control::handle(workspace, &request, rest);
        return response(answer.unwrap_or_else(|refusal| refusal.into_reply("")));
    }
    let number = workspace.log().begin(Seen {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        status: 0,
        principal: None,
        body: kept(&request.body),
        user_agent: request.header("user-agent").map(str::to_owned),
        at: clock::epoch_ms(),
    });
    let fate = workspace.faults().judge(&request.method, &request.path);
    clock::sleep(fate.delay).await;
    if fate.reset {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let (reply, principal) = match fate.instead {
        Some(reply) => (reply.header("x-request-id", crate::state::uuid()), None),
        None => {
            let answered = route::answer(workspace, &request).await;
            (answered.reply, answered.principal)
        }
    };
    if let Some(since) = fate.held {
        let _held = HeldBack::begin(workspace);
        while workspace.faults().holds(since) {
            clock::sleep(LOOK_AGAIN).await;
        }
    }
    let status = if fate.lost { 0 } else { reply.status };
    workspace.log().end(number, status, principal);
    if fate.lost {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    response(reply)
}

/// An answer that is held back, until it is sent or its peer is gone.
struct HeldBack<'a>(&'a Workspace);

impl<'a> HeldBack<'a> {
    fn begin(workspace: &'a Workspace) -> Self {
        workspace.faults().hold();
        Self(workspace)
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.faults().let_go();
    }
}

fn response(reply: Reply) -> io::Result<Response<Full<Bytes>>> {
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).map_err(io::Error::other)?);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(reply.body)).map_err(io::Error::other)
}
