//! `inlet demo` in a build without it: says which build has it.

use inlet_core::fault::Fault;
use inlet_core::report::FaultReport;

use super::arguments::{Demo, Form};
use super::output::Streams;
use super::{Call, words};

/// Runs the command and returns its exit code.
pub(super) fn run(_asked: &Demo, call: &Call<'_>, streams: &Streams) -> u8 {
    let fault = Fault::setup("this build of `inlet` has no `demo`")
        .hint("builds for terminals have it (cargo build --release -p inlet), those for functions leave it out");
    let said = FaultReport::from(&fault);
    if call.form != Form::Words {
        streams.out.line(&serde_json::json!({ "function": "demo", "fault": said }).to_string());
    }
    streams.err.write(&words::fault(&said, &said.message));
    fault.kind().exit_code()
}
