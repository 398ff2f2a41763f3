//! Runs one Python script of this folder to its end, within a bound, and passes on what it says.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::{Failure, say};
use crate::tools::{SCRATCH, Tools, plain_environment, workspace};

/// No script of the tier takes longer, on a machine with other work too.
const AT_MOST: Duration = Duration::from_secs(900);
/// So much of a failed script's words is shown.
const SHOWN: usize = 20_000;

/// A script and its arguments.
pub(crate) struct Script {
    file: PathBuf,
    arguments: Vec<OsString>,
    aloud: bool,
}

impl Script {
    /// A script of this folder.
    pub(crate) fn new(name: &str) -> Self {
        Self::at(&format!("tests/e2e/{name}"))
    }

    /// A script anywhere in the workspace.
    pub(crate) fn at(path: &str) -> Self {
        Self { file: workspace().join(path), arguments: Vec::new(), aloud: false }
    }

    /// All of what it says is passed on, not only its last line.
    pub(crate) fn aloud(self) -> Self {
        Self { aloud: true, ..self }
    }

    /// One word.
    pub(crate) fn argument(mut self, word: &str) -> Self {
        self.arguments.push(word.into());
        self
    }

    /// A name and its value.
    pub(crate) fn option(self, name: &str, value: &str) -> Self {
        self.argument(name).argument(value)
    }

    /// A name and a place in the workspace.
    pub(crate) fn path(mut self, name: &str, path: &str) -> Self {
        self.arguments.extend([name.into(), workspace().join(path).into()]);
        self
    }

    /// A name and a program.
    pub(crate) fn program(mut self, name: &str, program: PathBuf) -> Self {
        self.arguments.extend([name.into(), program.into()]);
        self
    }

    /// The executable under test.
    pub(crate) fn inlet(mut self, tools: &Tools) -> Result<Self, Failure> {
        self.arguments.extend(["--inlet".into(), tools.inlet()?.into()]);
        Ok(self)
    }

    /// Runs it; its last line (or all of it) is said when it succeeds, all of it when it does not.
    pub(crate) fn run(self, tools: &Tools) -> Result<(), Failure> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let words: Vec<_> = self.arguments.iter().map(|word| word.to_string_lossy()).collect();
        let words = words.join(" ");
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let log = Path::new(SCRATCH).join(format!("e2e-{}-{run}-{name}.log", std::process::id()));
        let output = File::create(&log).map_err(Failure::at(&log))?;
        let errors = output.try_clone().map_err(Failure::at(&log))?;
        let mut command = Command::new(tools.interpreter());
        plain_environment(&mut command);
        command.arg(&self.file).args(&self.arguments).stdin(Stdio::null()).stdout(output).stderr(errors);
        let began = Instant::now();
        let mut child = command.spawn().map_err(Failure::at(&self.file))?;
        let status = loop {
            match child.try_wait().map_err(Failure::at(&self.file))? {
                Some(status) => break Some(status),
                None if began.elapsed() > AT_MOST => {
                    child.kill().map_err(Failure::at(&self.file))?;
                    child.wait().map_err(Failure::at(&self.file))?;
                    break None;
                }
                None => sleep(Duration::from_millis(20)),
            }
        };
        let said = std::fs::read(&log).map_err(Failure::at(&log))?;
        let said = String::from_utf8_lossy(&said);
        let how = match status {
            Some(status) if status.success() => {
                let shown = if self.aloud { said.trim_end() } else { said.lines().last().unwrap_or("ok") };
                say(&format!("{name} {words}\n    {shown} ({:.1} s)", began.elapsed().as_secs_f32()));
                return std::fs::remove_file(&log).map_err(Failure::at(&log));
            }
            Some(status) => status.to_string(),
            None => format!("stopped after {} s", AT_MOST.as_secs()),
        };
        let end = said.char_indices().nth(SHOWN).map_or(said.len(), |(end, _)| end);
        let cut = if end < said.len() { "\n…" } else { "" };
        let shown = said.get(..end).unwrap_or_default();
        Err(Failure(format!("{name} {words}: {how}\n{shown}{cut}\nall of it: {}", log.display())))
    }
}
