//! The connection test as a page: its settings in fields, a button, the steps as they are done.
//!
//! One file, served on 127.0.0.1 to the one browser that was given the link. The page drives the same test with the same
//! JSON as a terminal and a function do. What it is told stays in this process: a secret is never sent back, and nothing
//! is written unless somebody asks for it. The server ends when it is told to, or when nobody has used it for a while.

mod asset;
mod browser;
mod door;
mod form;
mod requests;
mod save;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inlet_core::clock::{self, Deadline};
use inlet_core::connect::{self, Ask, ConnectReport, Parts, Progress};
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::settings::Settings;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex as Turn;

use crate::address::{Address, StoreAddress};
use crate::functions::Functions;
use crate::{lake, secrets, settings, tested};
use door::Door;
use form::{Filled, KEYS, Values};
use save::Keep;

/// Nobody looks at the page any more.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What the command was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The settings file, when one was named.
    pub(crate) settings: Option<OsString>,
    /// The lake, when one was named.
    pub(crate) lake: Option<OsString>,
    /// Places that uploads come from.
    pub(crate) places: Vec<OsString>,
    /// What is asked of a test; the page decides on waking.
    pub(crate) ask: Ask,
    /// How the command was called, for lines to copy.
    pub(crate) program: String,
}

/// Serves the page until somebody ends it. `said` hears where it is, and why it ends. Answers the gravest fault of the last
/// test.
///
/// # Errors
/// Setup for settings that cannot be on a page, Again when no port can be had.
pub(crate) fn serve(
    told: Told,
    functions: &Functions,
    runtime: &Runtime,
    said: &dyn Fn(&str),
) -> Result<Option<FaultKind>, Fault> {
    let file = File::of(told.settings.as_deref())?;
    runtime.block_on(async {
        let unusable = |error: io::Error| Fault::again("cannot listen on 127.0.0.1").because(error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let page = Arc::new(Page::new(told, file, *functions, runtime.handle().clone(), address));
        let link = page.door.link();
        let opened = browser::open(&link);
        said(&link);
        said(match opened {
            true => "is the connection test, in a browser of this machine. Ctrl-C ends it.",
            false => "is the connection test: open it in a browser of this machine. Ctrl-C ends it.",
        });
        let why = until_its_end(Arc::clone(&page), listener).await?;
        said(why);
        Ok(page.last())
    })
}

/// The settings file that the page shows.
enum File {
    /// One that can be written; perhaps it is not there yet.
    Local(PathBuf),
    /// An object of a store: read, not written.
    Elsewhere(StoreAddress),
}

impl File {
    fn of(asked: Option<&OsStr>) -> Result<Self, Fault> {
        let named = asked.map(OsStr::to_owned).or_else(|| Settings::file_of_environment().map(OsString::from));
        match Address::parse(&named.unwrap_or_else(|| settings::USUAL.into()))? {
            Address::Local(path) => Ok(Self::Local(path)),
            Address::Store(address) => Ok(Self::Elsewhere(address)),
            Address::Stdin => {
                Err(Fault::setup("settings are not read from standard input").hint("--settings inlet.toml"))
            }
        }
    }

    /// Its name in messages.
    fn name(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Elsewhere(address) => address.url.to_string(),
        }
    }

    /// Its text as it is now; a file that is not there is empty.
    fn text(&self, runtime: &Handle) -> Result<String, Fault> {
        match self {
            Self::Local(path) => match fs::exists(path) {
                Ok(false) => Ok(String::new()),
                _ => settings::text_of_path(path),
            },
            Self::Elsewhere(address) => settings::text_of_object(address, runtime),
        }
    }
}

/// What all requests share.
struct Page {
    told: Told,
    file: File,
    functions: Functions,
    runtime: Handle,
    door: Door,
    /// One test at a time.
    turn: Arc<Turn<()>>,
    /// When somebody last asked for something.
    touched: AtomicI64,
    /// What the last test came to.
    last: Mutex<Option<FaultKind>>,
}

/// What the page sends to be tested or saved.
#[derive(Deserialize)]
struct Asked {
    values: Values,
    #[serde(default)]
    wake: bool,
    /// Where a typed secret goes: `file` or `env`.
    #[serde(default)]
    secret: String,
}

impl Page {
    fn new(told: Told, file: File, functions: Functions, runtime: Handle, address: SocketAddr) -> Self {
        Self {
            told,
            file,
            functions,
            runtime,
            door: Door::new(address),
            turn: Arc::new(Turn::new(())),
            touched: AtomicI64::new(clock::now()),
            last: Mutex::new(None),
        }
    }

    fn last(&self) -> Option<FaultKind> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self) -> bool {
        let since = clock::now().saturating_sub(self.touched.load(Ordering::Relaxed));
        u128::try_from(since).is_ok_and(|since| since > IDLE.as_micros()) && self.turn.try_lock().is_ok()
    }

    /// The fields as they are given now, and the steps to come.
    fn fields(&self) -> Result<Value, Fault> {
        let (name, text) = (self.file.name(), self.file.text(&self.runtime)?);
        let shown = Settings::shown(Some((&name, &text)), KEYS);
        let fields = shown
            .into_iter()
            .map(|(key, shown)| (key.to_owned(), json!({"text": shown.text, "variable": shown.variable})));
        let steps = connect::outline().map(|(step, title)| json!({"step": step, "title": title}));
        Ok(json!({
            "fields": fields.collect::<serde_json::Map<_, _>>(),
            "file": name,
            "can_save": matches!(self.file, File::Local(_)),
            "steps": steps.collect::<Vec<_>>(),
        }))
    }

    fn filled(&self, values: &Values) -> Result<Filled, Fault> {
        Filled::over(&self.file.text(&self.runtime)?, values)
    }

    /// The parts of a test of what was filled in.
    fn parts(&self, values: &Values) -> Result<Parts, Fault> {
        let filled = self.filled(values)?;
        let text = filled.text();
        let settings = self.runtime.block_on(secrets::filled((&self.file.name(), &text), &filled.form))?;
        let line = format!("{} connect --open --lake DIR", self.told.program);
        let lake = lake::meant(self.told.lake.as_deref(), &settings)?;
        let lake = lake.map(|lake| lake::to_write(Some(&lake), &line)).transpose()?;
        tested::parts(settings, lake, &self.told.places, &self.runtime)
    }

    /// Runs a test to its end, whoever still listens: what it made must go.
    fn test(&self, asked: &Asked, line: &(dyn Fn(Value) + Sync)) {
        let ask = Ask { wake: asked.wake, ..self.told.ask };
        let progress = |progress: Progress<'_>| line(json!(progress));
        let report = match self.parts(&asked.values) {
            Ok(parts) => {
                let deadline = Deadline::after(parts.settings.patience);
                (self.functions.connect)(&parts, ask, deadline, &progress)
            }
            Err(fault) => ConnectReport::without_settings(&fault, ask.wake),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = report.gravest();
        line(json!({"report": report}));
    }

    fn save(&self, asked: &Asked) -> Result<Value, Fault> {
        let File::Local(path) = &self.file else {
            return Err(Fault::setup("settings in a store are not written from here"));
        };
        let keep = if asked.secret == "env" { Keep::Variable } else { Keep::File };
        let said = save::save(path, self.filled(&asked.values)?, keep)?;
        Ok(json!({"saved": said}))
    }
}

/// Answers until somebody asks the process to end, twice if a test is under way, or nobody has used the page for long.
async fn until_its_end(page: Arc<Page>, listener: TcpListener) -> Result<&'static str, Fault> {
    let unusable = |error: io::Error| Fault::again("cannot wait for the signal to end").because(error);
    let mut interrupted = signal(SignalKind::interrupt()).map_err(unusable)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(unusable)?;
    let mut ended = async || {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    };
    let serving = tokio::spawn(axum::serve(listener, requests::routes(Arc::clone(&page))).into_future());
    let why = tokio::select! {
        () = ended() => "ended",
        () = idle(&page) => "ended: nobody has used the page for 30 minutes",
    };
    // A test under way removes what it made; whoever does not want to wait for that says so again.
    tokio::select! {
        () = ended() => {}
        _ = page.turn.lock() => {}
    }
    serving.abort();
    Ok(why)
}

async fn idle(page: &Page) {
    while !page.is_idle() {
        clock::pause(LOOK, Deadline::after(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installation::testing::Site;

    #[test]
    fn a_page_that_nobody_uses_is_idle_unless_it_tests() {
        let site = Site::new();
        let told =
            Told { settings: None, lake: None, places: Vec::new(), ask: Ask::default(), program: "inlet".to_owned() };
        let file = File::of(Some(OsStr::new("inlet.toml"))).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
        let page = Page::new(told, file, site.functions, site.installation.handle().clone(), address);
        assert!(!page.is_idle());
        let long_ago = clock::now() - i64::try_from(IDLE.as_micros()).unwrap() - 1;
        page.touched.store(long_ago, Ordering::Relaxed);
        assert!(page.is_idle());
        let _test = page.turn.try_lock().unwrap();
        assert!(!page.is_idle());
    }

    #[test]
    fn settings_are_not_read_from_standard_input() {
        assert!(File::of(Some(OsStr::new("-"))).is_err());
    }
}
