//! A store on its worst day: it stands before a real one, counts what is asked, and answers as stores do when a
//! connection breaks, a server is busy, a client's own second try meets its first, or the process that asks dies.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Barrier;

/// Whoever is held gives up when the others do not come.
const HELD_AT_MOST: Duration = Duration::from_secs(20);

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Method {
    Put,
    Get,
    List,
    Delete,
}

/// What it is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    /// A version in a table's log.
    Commit,
    /// Anything else in a log: checkpoints, and the hint that leads to the last.
    Log,
    /// A Parquet file of a table.
    Data,
    /// A note of uploads under way.
    Note,
    /// Any other of Inlet's own small files.
    State,
    /// A folder, for listings.
    Folder,
}

/// What is asked, and about what.
pub(crate) type Kind = (Method, Object);

/// Requests that a rule may be about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Which {
    kind: Option<Kind>,
    table: Option<&'static str>,
    conditional: bool,
}

/// Any request.
pub(crate) const ANY: Which = Which { kind: None, table: None, conditional: false };
/// A put that must fail when the object exists.
pub(crate) const CONDITIONAL: Which = Which { conditional: true, ..ANY };
/// A commit, of any table.
pub(crate) const COMMIT: Which = Which { kind: Some((Method::Put, Object::Commit)), ..ANY };
/// A checkpoint, or the hint that leads to it, written.
pub(crate) const CHECKPOINT: Which = Which { kind: Some((Method::Put, Object::Log)), ..ANY };
/// A data file, written.
pub(crate) const DATA: Which = Which { kind: Some((Method::Put, Object::Data)), ..ANY };
/// One of Inlet's own small files, written.
pub(crate) const STATE: Which = Which { kind: Some((Method::Put, Object::State)), ..ANY };
/// A note of uploads under way, written.
pub(crate) const NOTE: Which = Which { kind: Some((Method::Put, Object::Note)), ..ANY };
/// The same, removed.
pub(crate) const NOTE_REMOVAL: Which = Which { kind: Some((Method::Delete, Object::Note)), ..ANY };
/// Another small file of Inlet's, removed.
pub(crate) const STATE_REMOVAL: Which = Which { kind: Some((Method::Delete, Object::State)), ..ANY };

impl Which {
    /// Those of one table.
    pub(crate) const fn of(self, table: &'static str) -> Self {
        Self { table: Some(table), ..self }
    }

    fn holds(&self, asked: &Asked<'_>) -> bool {
        self.kind.is_none_or(|kind| kind == asked.kind)
            && self.table.is_none_or(|table| asked.path.split('/').any(|part| part == table))
            && (!self.conditional || asked.conditional)
    }
}

/// Which of the requests that a rule is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// The one of this number, from 0.
    Nth(usize),
    /// All of them.
    Always,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks before the store has it.
    Reset,
    /// The store does it; the answer is lost.
    DropAnswer,
    /// The store does it; the client's own second try is told that the object exists.
    BeatItself,
    /// The store does not do it, and says so with this status.
    Answer(u16),
    /// Somebody else is faster: the object is there, with this text, when the request reaches the store.
    Overtaken(&'static str),
    /// The process dies: this request and all later ones never reach the store.
    Kill,
}

struct Asked<'a> {
    kind: Kind,
    path: &'a str,
    conditional: bool,
}

impl<'a> Asked<'a> {
    fn new(method: Method, path: &'a Path) -> Self {
        let path = path.as_ref();
        let name = path.rsplit('/').next().unwrap_or_default();
        let object = if method == Method::List {
            Object::Folder
        } else if path.contains("/_inlet/underway/") {
            Object::Note
        } else if path.contains("/_inlet/") {
            Object::State
        } else if path.contains("/_delta_log/") {
            let is_commit = name.strip_suffix(".json").is_some_and(|version| version.len() == 20);
            if is_commit { Object::Commit } else { Object::Log }
        } else {
            Object::Data
        };
        Self { kind: (method, object), path, conditional: false }
    }
}

struct Rule {
    fault: Fault,
    when: When,
    which: Which,
    seen: usize,
}

struct Hold {
    which: Which,
    /// How many are still to come.
    left: usize,
    barrier: Arc<Barrier>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    holds: Vec<Hold>,
    counts: BTreeMap<Kind, usize>,
    struck: Vec<String>,
    dead: bool,
    /// Bodies break before this byte.
    bodies_end: Option<usize>,
}

fn broken() -> Error {
    Error::Generic { store: "Faulty", source: "error sending request: connection reset".into() }
}

/// What is to become of a request.
enum Verdict {
    Do,
    Fail(Error),
    DoAndFail(Error),
    Overtake(&'static str),
}

/// A store that behaves as its rules say; cheap to clone.
#[derive(Clone)]
pub(crate) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

impl Faulty {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, state: Arc::default() }
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.clone())
    }

    /// Adds a rule.
    pub(crate) fn play(&self, fault: Fault, when: When, which: Which) {
        self.state().rules.push(Rule { fault, when, which, seen: 0 });
    }

    /// From now on connections break within bodies, before this byte.
    pub(crate) fn break_bodies(&self, at: usize) {
        self.state().bodies_end = Some(at);
    }

    /// Holds the first `count` of these requests until all of them are there.
    pub(crate) fn hold(&self, count: usize, which: Which) {
        self.state().holds.push(Hold { which, left: count, barrier: Arc::new(Barrier::new(count)) });
    }

    /// Whether everybody came who was to be held.
    pub(crate) fn all_held(&self) -> bool {
        self.state().holds.iter().all(|hold| hold.left == 0)
    }

    /// What was asked so far, by kind.
    pub(crate) fn counts(&self) -> BTreeMap<Kind, usize> {
        self.state().counts.clone()
    }

    /// How many requests of a kind were asked so far.
    pub(crate) fn count(&self, which: Which) -> usize {
        self.counts().iter().filter(|(kind, _)| which.kind.is_none_or(|wanted| wanted == **kind)).map(|(_, n)| n).sum()
    }

    /// The requests that met a fault.
    pub(crate) fn struck(&self) -> Vec<String> {
        self.state().struck.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it asks")
    }

    fn judge(&self, asked: &Asked<'_>) -> (Verdict, Option<Arc<Barrier>>) {
        let mut state = self.state();
        *state.counts.entry(asked.kind).or_default() += 1;
        let mut fault = state.dead.then_some(Fault::Kill);
        for rule in state.rules.iter_mut().filter(|rule| rule.which.holds(asked)) {
            let due = match rule.when {
                When::Nth(number) => rule.seen == number,
                When::Always => true,
            };
            rule.seen += 1;
            if due {
                fault = fault.or(Some(rule.fault));
            }
        }
        let mut barrier = None;
        if let Some(hold) = state.holds.iter_mut().find(|hold| hold.left > 0 && hold.which.holds(asked)) {
            hold.left -= 1;
            barrier = Some(Arc::clone(&hold.barrier));
        }
        let Some(fault) = fault else { return (Verdict::Do, barrier) };
        if !state.dead {
            state.struck.push(format!("{fault:?} at {:?} {}", asked.kind, asked.path));
        }
        state.dead |= matches!(fault, Fault::Kill);
        let exists = || Error::AlreadyExists { path: asked.path.to_owned(), source: "412 Precondition Failed".into() };
        let verdict = match fault {
            Fault::Reset | Fault::Kill => Verdict::Fail(broken()),
            Fault::DropAnswer => Verdict::DoAndFail(broken()),
            Fault::BeatItself => Verdict::DoAndFail(exists()),
            Fault::Overtaken(text) => Verdict::Overtake(text),
            Fault::Answer(409 | 412) => Verdict::Fail(exists()),
            Fault::Answer(status) => {
                let text = format!("Server returned non-2xx status code: {status}: Please reduce your request rate.");
                Verdict::Fail(Error::Generic { store: "Faulty", source: text.into() })
            }
        };
        (verdict, barrier)
    }

    async fn answer<T>(&self, asked: Asked<'_>, work: impl Future<Output = Result<T>>) -> Result<T> {
        let (verdict, barrier) = self.judge(&asked);
        if let Some(barrier) = barrier {
            let held = tokio::time::timeout(HELD_AT_MOST, barrier.wait()).await;
            assert!(held.is_ok(), "nobody else came for {}", asked.path);
        }
        match verdict {
            Verdict::Do => work.await,
            Verdict::Fail(error) => Err(error),
            Verdict::DoAndFail(error) => work.await.and(Err(error)),
            Verdict::Overtake(text) => {
                self.inner.put(&Path::from(asked.path), text.into()).await?;
                work.await
            }
        }
    }

    fn listing(
        &self,
        prefix: Option<&Path>,
        list: impl FnOnce() -> BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.cloned().unwrap_or_default();
        match self.judge(&Asked::new(Method::List, &folder)).0 {
            Verdict::Do | Verdict::Overtake(_) => list(),
            Verdict::Fail(error) | Verdict::DoAndFail(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

/// What an asynchronous method of the trait returns.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl ObjectStore for Faulty {
    fn put_opts<'s, 'p, 'a>(&'s self, path: &'p Path, payload: PutPayload, options: PutOptions) -> Answer<'a, PutResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        let conditional = options.mode == PutMode::Create;
        let asked = Asked { conditional, ..Asked::new(Method::Put, path) };
        Box::pin(self.answer(asked, self.inner.put_opts(path, payload, options)))
    }

    fn put_multipart_opts<'s, 'p, 'a>(
        &'s self,
        path: &'p Path,
        options: PutMultipartOptions,
    ) -> Answer<'a, Box<dyn MultipartUpload>>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        Box::pin(self.answer(Asked::new(Method::Put, path), self.inner.put_multipart_opts(path, options)))
    }

    fn get_opts<'s, 'p, 'a>(&'s self, path: &'p Path, options: GetOptions) -> Answer<'a, GetResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let got = self.answer(Asked::new(Method::Get, path), self.inner.get_opts(path, options)).await?;
            let Some(end) = self.state().bodies_end else { return Ok(got) };
            let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
            let body = got.bytes().await?;
            let pieces = [Ok(body.slice(..end.min(body.len()))), Err(broken())];
            let payload = GetResultPayload::Stream(futures::stream::iter(pieces).boxed());
            Ok(GetResult { payload, meta, range, attributes })
        })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let faulty = self.clone();
        let delete = move |path: Path| {
            let faulty = faulty.clone();
            async move {
                faulty.answer(Asked::new(Method::Delete, &path), faulty.inner.delete(&path)).await?;
                Ok(path)
            }
        };
        paths.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, || self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, || self.inner.list_with_offset(prefix, offset))
    }

    fn list_with_delimiter<'s, 'p, 'a>(&'s self, prefix: Option<&'p Path>) -> Answer<'a, ListResult>
    where
        's: 'a,
        'p: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let folder = prefix.cloned().unwrap_or_default();
            self.answer(Asked::new(Method::List, &folder), self.inner.list_with_delimiter(prefix)).await
        })
    }

    fn copy_opts<'s, 'f, 't, 'a>(&'s self, from: &'f Path, to: &'t Path, options: CopyOptions) -> Answer<'a, ()>
    where
        's: 'a,
        'f: 'a,
        't: 'a,
        Self: 'a,
    {
        self.inner.copy_opts(from, to, options)
    }
}
