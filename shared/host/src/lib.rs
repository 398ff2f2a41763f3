//! Ring 3: where we run. A face finds uploads, hands them to a function, and says in its place's own words what came of
//! them: the terminal, AWS Lambda, and the custom handler of Azure Functions.

mod address;
mod announced;
mod azure;
mod backfill;
mod cloud;
mod delivery;
mod functions;
mod home;
mod http;
mod installation;
mod invocation;
mod joined;
mod lake;
mod lambda;
mod landing;
mod log;
mod page;
mod secrets;
mod settings;
pub mod terminal;
mod tested;
mod told;
pub mod trigger;

use std::process::ExitCode;

use inlet_core::fault::Fault;
use inlet_core::settings::{Host, LambdaHost};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

pub use functions::{ConnectFunction, EvolveFunction, Functions};

/// Threads that wait for a disk: as many as commits that are under way at once.
const BLOCKING_THREADS: usize = 8;
/// Where memory is limited hard, each thread's stack counts whole.
const STACK_BYTES: usize = 1 << 20;

/// Runs in the place that the process finds itself in, to its end.
pub fn run(functions: &Functions) -> ExitCode {
    match Host::of_environment() {
        Ok(Host::Terminal) => terminal::run(functions),
        Ok(Host::Lambda(host)) => lambda::run(functions, &host),
        Ok(Host::Azure(port)) => azure::run(functions, port),
        Err(fault) => terminal::refused(&fault),
    }
}

/// Runs one function alone, in a cloud: the handler's setting does not choose. Other commands than that function's are not
/// in the executable, so the linker leaves out whatever only they need.
pub fn run_alone(name: &str, functions: &Functions) -> ExitCode {
    match Host::of_environment() {
        Ok(Host::Lambda(host)) => lambda::run(functions, &LambdaHost { handler: name.to_owned(), ..host }),
        Ok(Host::Azure(port)) => azure::run(functions, port),
        Ok(Host::Terminal) => terminal::refused(
            &Fault::setup(format!("this is the function `{name}` for AWS Lambda and Azure Functions"))
                .hint("the command line is another executable: inlet"),
        ),
        Err(fault) => terminal::refused(&fault),
    }
}

/// Works on a thread of its own: what waits for stores there must not take the threads on which stores work. None: it
/// panicked.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    std::thread::spawn(move || answer.send(work()).is_ok());
    answered.await.ok()
}

/// The threads that wait for stores; it lives as long as the run.
fn runtime() -> Result<Runtime, Fault> {
    let mut runtime = Builder::new_multi_thread();
    runtime
        .enable_all()
        .thread_name("inlet-store")
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK_BYTES);
    runtime.build().map_err(|error| Fault::again("cannot start threads").because(error))
}
