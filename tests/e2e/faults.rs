//! The executable over a bad line to S3: killed at a request, unanswered, sent away, kept waiting. Each lake must be the
//! one that a run over a good line makes; `faults.py` puts the uploads and compares.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

use crate::failure::Failure;
use crate::proxy::{Fault, Proxy, Which};
use crate::script::Script;
use crate::server::Server;
use crate::tools::{SCRATCH, Tools, plain_environment};

/// Runs that are killed, half of them on a fresh lake.
const KILLS: usize = 8;
/// Commits of a run: `identifies`, `kept`, `tracks`, `_rejects`, `_loads`.
const COMMITS: usize = 5;
/// Just within, and just beyond, what the executable waits for an answer (15 s).
const LATE: [Duration; 2] = [Duration::from_secs(13), Duration::from_secs(17)];

/// A store with uploads, and the executable that lands them.
pub(crate) struct Line<'a> {
    tools: &'a Tools,
    server: &'a Server,
    inlet: &'a Path,
}

impl<'a> Line<'a> {
    pub(crate) fn new(tools: &'a Tools, server: &'a Server) -> Result<Self, Failure> {
        Script::new("faults.py").option("--endpoint", &server.endpoint()).argument("--put").run(tools)?;
        Ok(Self { tools, server, inlet: tools.inlet()? })
    }

    /// All kinds of faults; then every lake is compared.
    pub(crate) fn try_all(&self) -> Result<(), Failure> {
        self.succeeds("clean", &["first", "second"], &self.server.endpoint())?;
        let mut lakes = vec!["clean".to_owned()];
        scope(|scope| {
            let late = LATE.map(|by| scope.spawn(move || self.kept_waiting(by)));
            lakes.extend(self.killed()?);
            lakes.extend(self.unanswered()?);
            lakes.extend(self.sent_away()?);
            for late in late {
                lakes.push(late.join().map_err(|_| Failure("a run panicked".to_owned()))??);
            }
            Ok(())
        })?;
        let script = Script::new("faults.py").option("--endpoint", &self.server.endpoint()).argument("--compare");
        lakes.iter().fold(script, |script, lake| script.argument(lake)).run(self.tools)
    }

    /// Killed by the system at a request, before the store has it or after.
    fn killed(&self) -> Result<Vec<String>, Failure> {
        let counted = Proxy::before(self.server.address())?;
        self.run("counted", &["second"], &counted.endpoint())?;
        let (requests, commits) = counted.counts();
        if commits != COMMITS {
            return Err(Failure(format!("{commits} conditional puts instead of {COMMITS}")));
        }
        let mut lakes = Vec::new();
        for round in 0..KILLS {
            let lake = self.begin(&format!("killed-{round}"), round % 2 == 0)?;
            let proxy = Proxy::before(self.server.address())?;
            // Half of the kills are spread over all requests, half over the commits.
            match round % 4 {
                0 | 1 => proxy.play(Fault::Cut, 1 + round * (requests - 2) / KILLS, Which::Any),
                _ if round % 3 == 0 => proxy.play(Fault::Cut, round % COMMITS, Which::ConditionalPut),
                _ => proxy.play(Fault::CutAfter, round % COMMITS, Which::ConditionalPut),
            }
            let mut child = self.start(&lake, &["second"], &proxy.endpoint())?;
            while !proxy.is_cut() {
                if let Some(status) = child.try_wait().map_err(Failure::of("the executable"))? {
                    return Err(Failure(format!("{lake}: ended by itself ({status})")));
                }
                sleep(Duration::from_millis(1));
            }
            child.kill().map_err(Failure::of("the executable"))?;
            child.wait().map_err(Failure::of("the executable"))?;
            self.finish(&lake)?;
            lakes.push(lake);
        }
        Ok(lakes)
    }

    /// Every commit's answer is lost or denied once: the run itself finds out, and lands everything.
    fn unanswered(&self) -> Result<Vec<String>, Failure> {
        let mut lakes = Vec::new();
        for fault in [Fault::DropAnswer, Fault::AnswerAfter(503), Fault::Reset] {
            for number in 0..COMMITS {
                let lake = self.begin(&format!("unanswered-{}", lakes.len()), number % 2 == 0)?;
                self.survives(&lake, |proxy| proxy.play(fault, number, Which::ConditionalPut))?;
                lakes.push(lake);
            }
        }
        Ok(lakes)
    }

    /// Bursts of refusals, anywhere: the run asks again until it is served.
    fn sent_away(&self) -> Result<Vec<String>, Failure> {
        let mut lakes = Vec::new();
        for status in [429, 503, 500] {
            let lake = self.begin(&format!("sent-away-{status}"), status == 429)?;
            self.survives(&lake, |proxy| {
                for from in [3, 14, 25, 36] {
                    proxy.play_burst(Fault::Answer(status), from, from + 3, Which::Any);
                }
            })?;
            lakes.push(lake);
        }
        Ok(lakes)
    }

    /// The answer to a commit comes late, or later than the executable waits.
    fn kept_waiting(&self, by: Duration) -> Result<String, Failure> {
        let lake = self.begin(&format!("late-{}", by.as_secs()), false)?;
        self.survives(&lake, |proxy| proxy.play(Fault::Slow(by), 1, Which::ConditionalPut))?;
        Ok(lake)
    }

    /// A lake for one run, fresh or with the first batch in it.
    fn begin(&self, lake: &str, fresh: bool) -> Result<String, Failure> {
        if !fresh {
            self.succeeds(lake, &["first"], &self.server.endpoint())?;
        }
        Ok(lake.to_owned())
    }

    /// A run whose line goes bad lands everything by itself.
    fn survives(&self, lake: &str, play: impl FnOnce(&Proxy)) -> Result<(), Failure> {
        let proxy = Proxy::before(self.server.address())?;
        play(&proxy);
        self.succeeds(lake, &["second"], &proxy.endpoint())?;
        if proxy.struck() == 0 {
            return Err(Failure(format!("{lake}: no request met its fault")));
        }
        self.finish(lake)
    }

    /// Both batches over a good line: afterwards the lake is whole.
    fn finish(&self, lake: &str) -> Result<(), Failure> {
        self.succeeds(lake, &["first", "second"], &self.server.endpoint())
    }

    fn succeeds(&self, lake: &str, batches: &[&str], endpoint: &str) -> Result<(), Failure> {
        let status = self.run(lake, batches, endpoint)?;
        if status.success() {
            return Ok(());
        }
        let said = std::fs::read_to_string(log(lake)).unwrap_or_default();
        Err(Failure(format!("{lake}, {batches:?}: {status}\n{said}")))
    }

    fn run(&self, lake: &str, batches: &[&str], endpoint: &str) -> Result<ExitStatus, Failure> {
        self.start(lake, batches, endpoint)?.wait().map_err(Failure::of("the executable"))
    }

    fn start(&self, lake: &str, batches: &[&str], endpoint: &str) -> Result<Child, Failure> {
        let log = log(lake);
        let output = std::fs::File::create(&log).map_err(Failure::at(&log))?;
        let errors = output.try_clone().map_err(Failure::at(&log))?;
        let mut command = Command::new(self.inlet);
        plain_environment(&mut command);
        command
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_ACCESS_KEY_ID", "testing")
            .env("AWS_SECRET_ACCESS_KEY", "testing")
            .env("AWS_REGION", "eu-west-1")
            .arg("ingest")
            .args(batches.iter().map(|batch| format!("s3://landing/{batch}/")))
            .args(["--lake", &format!("s3://lake/{lake}/"), "--json"])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(Failure::at(self.inlet))
    }
}

/// What the last run over a lake said.
fn log(lake: &str) -> PathBuf {
    Path::new(SCRATCH).join(format!("e2e-faults-{}-{lake}.log", std::process::id()))
}
