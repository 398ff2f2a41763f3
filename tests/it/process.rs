//! The executable as a process: arguments in, an exit code and two streams out.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The executable, as cargo builds it beside these tests.
fn executable() -> PathBuf {
    let tests = std::env::current_exe().expect("this process has an executable");
    let target = tests.parent().and_then(Path::parent).expect("tests lie in `target/<profile>/deps`");
    let path = target.join("examples").join(format!("inlet{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is not built: run `cargo test -p it`", path.display());
    path
}

/// The command `inlet`, with nothing from the environment of the tests.
pub(crate) fn inlet() -> Command {
    let mut command = Command::new(executable());
    command.env_clear().env("INLET_WORKERS", "2").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `inlet ingest … --lake … --json`.
pub(crate) fn ingest<P: AsRef<OsStr>>(places: &[P], lake: &Path) -> Command {
    let mut command = inlet();
    command.arg("ingest").args(places).arg("--lake").arg(lake).arg("--json");
    command
}

/// What a process said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the streams are text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output as one JSON object and nothing besides.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The exit code was 0.
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Said {
    Said::of(command.output().expect("the executable starts"))
}

/// Runs a command with an answer to its standard input.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> Said {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the executable starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(input).expect("it reads its input");
    drop(stdin);
    wait(child)
}

/// Waits for the end of a process that was started.
pub(crate) fn wait(child: Child) -> Said {
    Said::of(child.wait_with_output().expect("the process ends"))
}
