//! What a function keeps from one call to the next: its settings, its lake, its workspace and its landing stores.
//!
//! Settings are asked for at each call, and whatever depends on them is opened anew when they have changed. Nothing is
//! opened before the first call: a start is not waited for by anybody, a cold call is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inlet_core::databricks::Workspace;
use inlet_core::delta::Lake;
use inlet_core::evolve;
use inlet_core::fault::Fault;
use inlet_core::kept::KeptTables;
use inlet_core::landing_store::LandingStore;
use inlet_core::settings::Settings;
use tokio::runtime::Handle;

use crate::address::{Address, StoreAddress};
use crate::home::Home;
use crate::lake::{self, LakeAddress};
use crate::landing::objects;
use crate::secrets;
use crate::settings::{self, SettingsObject};

/// The settings object in the state prefix, read when the environment names no other.
const USUAL_OBJECT: &str = "_inlet/inlet.toml";

/// The installation that this process is a part of.
#[derive(Debug)]
pub(crate) struct Installation {
    handle: Handle,
    /// Workers that the memory of a call is enough for.
    workers: usize,
    /// Held while stores are waited for: only threads of calls may ask for it, never those on which stores work.
    kept: Mutex<Kept>,
    /// Of the settings as they were read last. Apart, since it is asked for on any thread.
    function_timeout: Mutex<Duration>,
}

#[derive(Debug, Default)]
struct Kept {
    source: Option<Source>,
    /// The settings as they were read, and what they led to.
    open: Option<(Arc<Settings>, Arc<Open>)>,
}

/// Where the settings come from.
#[derive(Debug)]
enum Source {
    /// Variables alone.
    Environment,
    /// A file that came with the package.
    File(PathBuf),
    /// An object, whoever named it.
    Object(Box<SettingsObject>),
    /// An object that may be missing.
    Usual(Box<SettingsObject>),
}

/// Everything that settings lead to.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) settings: Settings,
    /// Where uploads land: the lake, or the volume of managed tables.
    pub(crate) lake: Lake,
    /// Where the tables live.
    pub(crate) home: Home,
    pub(crate) workspace: Option<Workspace>,
    /// Where uploads may come from.
    pub(crate) landing: Vec<StoreAddress>,
    /// Tables that one call leaves to the next.
    pub(crate) kept: Arc<KeptTables>,
    stores: Mutex<Stores>,
}

/// Landing stores by their kind and container.
type Stores = HashMap<(&'static str, String), Arc<dyn LandingStore>>;

impl Installation {
    /// Nothing is read yet.
    pub(crate) fn new(handle: Handle, workers: usize) -> Self {
        let function_timeout = Mutex::new(Settings::usual_function_timeout());
        Self { handle, workers, kept: Mutex::default(), function_timeout }
    }

    /// The installation as it is set up now.
    ///
    /// # Errors
    /// Setup when the settings are wrong or incomplete; Again when a store does not answer.
    pub(crate) fn current(&self) -> Result<Arc<Open>, Fault> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *kept;
        let source = match kept.source.take() {
            Some(source) => kept.source.insert(source),
            None => kept.source.insert(Source::of_environment(&self.handle)?),
        };
        let read = source.read(kept.open.as_ref().map(|(read, _)| read), &self.handle)?;
        if let Some((_, open)) = kept.open.as_ref().filter(|(before, _)| Arc::ptr_eq(before, &read)) {
            return Ok(Arc::clone(open));
        }
        let settings = Settings { workers: read.workers.min(self.workers).max(1), ..Settings::clone(&read) };
        *self.function_timeout.lock().unwrap_or_else(PoisonError::into_inner) = read.function_timeout;
        let open = Arc::new(Open::new(settings, &self.handle)?);
        kept.open = Some((read, Arc::clone(&open)));
        Ok(open)
    }

    /// The settings alone, read anew: for a test of what they lead to.
    ///
    /// # Errors
    /// Setup when they are wrong; Again when a store does not answer.
    pub(crate) fn settings(&self) -> Result<Settings, Fault> {
        let read = Source::of_environment(&self.handle)?.read(None, &self.handle)?;
        Ok(Arc::unwrap_or_clone(read))
    }

    /// How long one call may take where the place does not say: of the settings, once they were read.
    pub(crate) fn function_timeout(&self) -> Duration {
        *self.function_timeout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runtime on which stores are waited for.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Source {
    fn of_environment(handle: &Handle) -> Result<Self, Fault> {
        let object = |address| handle.block_on(SettingsObject::open(address)).map(Box::new);
        let Some(named) = Settings::file_of_environment() else {
            return Ok(
                match Settings::lake_of_environment().map(|lake| Address::parse(lake.as_ref())).transpose()? {
                    Some(Address::Store(lake)) => Self::Usual(object(lake.below(USUAL_OBJECT))?),
                    _ => Self::Environment,
                },
            );
        };
        match Address::parse(named.as_ref())? {
            Address::Store(address) => Ok(Self::Object(object(address)?)),
            Address::Local(path) => Ok(Self::File(path)),
            Address::Stdin => Err(Fault::setup("`INLET_SETTINGS` is `-`, and a function has no standard input")
                .hint("give it the URL of an object: s3://bucket/inlet.toml")),
        }
    }

    /// The settings as they are; those from before when nothing has changed.
    fn read(&mut self, before: Option<&Arc<Settings>>, handle: &Handle) -> Result<Arc<Settings>, Fault> {
        match (self, before) {
            // Neither changes while the process lives.
            (Self::Environment | Self::File(_), Some(before)) => Ok(Arc::clone(before)),
            (Self::Environment, None) => handle.block_on(secrets::load(None)).map(Arc::new),
            (Self::File(path), None) => settings::of_path(path, handle).map(Arc::new),
            (Self::Object(object), _) => handle.block_on(object.current()),
            (Self::Usual(object), _) => handle.block_on(object.current_or_environment()),
        }
    }
}

impl Open {
    fn new(settings: Settings, handle: &Handle) -> Result<Self, Fault> {
        let workspace = match &settings.destination {
            Some(destination) => {
                Some(Workspace::with_identity_endpoint(destination.connection.clone(), settings.identity_endpoint())?)
            }
            None => None,
        };
        let named = settings.lake.as_deref().map(std::ffi::OsStr::new);
        let line = "give the function the variable INLET_LAKE=s3://bucket/prefix/";
        let home = Home::of(&settings, workspace.as_ref(), || lake::to_write(named, line))?;
        let landing = settings.landing.iter().map(|place| landing_place(place, &home)).collect::<Result<_, _>>()?;
        let lake = home.open(&settings, workspace.as_ref(), handle)?;
        Ok(Self { settings, lake, home, workspace, landing, kept: Arc::default(), stores: Mutex::default() })
    }

    /// The parts of an evolve; none without a workspace: there is no catalog.
    pub(crate) fn evolve_parts(&self) -> Option<evolve::Parts> {
        evolve::Parts::of(&self.settings, self.lake.clone(), self.workspace.clone()?)
    }

    /// The schemas of which this keeps tables in order: all, or the one that is named; none of managed tables, which are
    /// Databricks' to keep.
    ///
    /// # Errors
    /// The lake cannot be listed, or has no schema of this name.
    pub(crate) fn schemas_to_keep(&self, named: Option<&str>) -> Result<Vec<String>, Fault> {
        match self.home.managed() {
            Some(_) => Ok(Vec::new()),
            None => lake::chosen(self.lake.schemas()?, named),
        }
    }

    /// Refuses a place that somebody names and that uploads do not come from.
    ///
    /// # Errors
    /// Setup, with the places that are allowed.
    pub(crate) fn admits(&self, place: &str) -> Result<(), Fault> {
        if let Address::Store(address) = Address::parse(place.as_ref())?
            && self.landing.iter().any(|landing| landing.holds(&address))
        {
            return Ok(());
        }
        Err(self.refuses(place))
    }

    /// A place that uploads do not come from.
    pub(crate) fn refuses(&self, place: &str) -> Fault {
        let hint = match self.settings.landing.as_slice() {
            [] => "give the function the variable INLET_LANDING: the URLs that uploads may come from".to_owned(),
            places => format!("`landing` allows {}; add the place, or take its notifications away", places.join(", ")),
        };
        Fault::setup(format!("`{place}` is no place that uploads come from")).hint(hint)
    }

    /// The landing store of a container; opened once.
    ///
    /// # Errors
    /// Setup when its variables name nobody to be.
    pub(crate) fn store(&self, place: &StoreAddress) -> Result<Arc<dyn LandingStore>, Fault> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (place.store, place.bucket());
        if let Some(store) = stores.get(&name) {
            return Ok(Arc::clone(store));
        }
        let owner = self.settings.landing_owner.as_deref();
        let store = self.lake.handle().block_on(objects::open(place, owner))?;
        stores.insert(name, Arc::clone(&store));
        Ok(store)
    }
}

/// A place that uploads come from; it may neither hold the lake nor lie in it.
fn landing_place(text: &str, home: &Home) -> Result<StoreAddress, Fault> {
    let Address::Store(place) = Address::parse(text.as_ref())? else {
        return Err(Fault::setup(format!("`landing` names `{text}`, which is no bucket or container")));
    };
    if let Some(LakeAddress { url, address: Address::Store(lake) }) = home.lake()
        && (lake.holds(&place) || place.holds(lake))
    {
        return Err(Fault::setup(format!("the landing `{text}` and the lake `{url}` lie inside each other"))
            .hint("the lake's own files would wake the function again and again; name a prefix beside the lake"));
    }
    Ok(place)
}

#[cfg(test)]
pub(crate) mod testing {
    //! An installation over a lake in a folder, or over managed tables of a pretend workspace, and a landing store in
    //! memory.

    use inlet_core::report::Report;
    use inlet_core::route::{self, Parts, Unwatched};
    use inlet_core::upload::Upload;
    use pretend::{CATALOG, CLIENT_ID, CLIENT_SECRET, Pretend, Setup, WAREHOUSE};
    use tempfile::TempDir;

    use super::*;
    use crate::functions::Functions;
    use crate::landing::testing::Held;

    /// What a face's test works with.
    pub(crate) struct Site {
        pub(crate) installation: Installation,
        /// The bucket `acme-landing`.
        pub(crate) landing: Held,
        /// The container `landing` of the account `acme`.
        pub(crate) azure: Held,
        pub(crate) functions: Functions,
        _runtime: tokio::runtime::Runtime,
        _folder: TempDir,
    }

    impl Installation {
        /// The same, for a face that wants one of its own.
        pub(crate) fn again(&self) -> Self {
            let kept = self.kept.lock().unwrap();
            let kept = Kept { source: Some(Source::Environment), open: kept.open.clone() };
            Self { kept: Mutex::new(kept), ..Self::new(self.handle.clone(), self.workers) }
        }
    }

    impl Site {
        pub(crate) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let lake = Some(folder.path().join("lake").display().to_string());
            Self::over(Settings { lake, ..Settings::default() }, folder)
        }

        /// Without a lake: the catalog of a pretend workspace keeps the tables. With further settings.
        pub(crate) fn managed(more: &str) -> (Self, Pretend) {
            let folder = tempfile::tempdir().unwrap();
            let place = |name: &str| {
                std::fs::create_dir_all(folder.path().join(name)).unwrap();
                format!("file://{}", folder.path().join(name).canonicalize().unwrap().display())
            };
            let setup = Setup::seeded(&place("lake")).managed_storage(&place("managed"));
            let pretend = Pretend::start(setup).unwrap();
            std::fs::write(folder.path().join("client-secret"), CLIENT_SECRET).unwrap();
            let text = format!(
                r#"
                workspace_url = "{}"
                allow_host = ["127.0.0.1"]
                catalog = "{CATALOG}"
                http_path = "/sql/1.0/warehouses/{WAREHOUSE}"
                {more}
                [auth]
                client_id = "{CLIENT_ID}"
                client_secret = "file:client-secret"
                "#,
                pretend.url()
            );
            let file = folder.path().join("inlet.toml").display().to_string();
            (Self::over(Settings::from_file(&file, &text).unwrap(), folder), pretend)
        }

        fn over(settings: Settings, folder: TempDir) -> Self {
            let runtime = crate::runtime().unwrap();
            let landing = ["s3://acme-landing/in/", "abfss://landing@acme.dfs.core.windows.net/in/"];
            let landing = landing.map(str::to_owned).to_vec();
            let settings = Arc::new(Settings { landing, workers: 2, ..settings });
            let open = Open::new(Settings::clone(&settings), runtime.handle()).unwrap();
            let (landing, azure) = (Held::default(), Held::default());
            for (place, held) in open.landing.iter().zip([&landing, &azure]) {
                let store: Arc<dyn LandingStore> = Arc::new(held.clone());
                open.stores.lock().unwrap().insert((place.store, place.bucket()), store);
            }
            let installation = Installation::new(runtime.handle().clone(), 2);
            *installation.kept.lock().unwrap() =
                Kept { source: Some(Source::Environment), open: Some((settings, Arc::new(open))) };
            let functions = Functions {
                ingest: route::ingest,
                evolve: inlet_core::evolve::evolve,
                connect: inlet_core::connect::connect,
                plan: route::plan,
            };
            Self { installation, landing, azure, functions, _runtime: runtime, _folder: folder }
        }

        /// Lands uploads without a face.
        pub(crate) fn ingest(&self, uploads: Vec<Upload>) -> Report {
            let open = self.open();
            let parts = Parts {
                lake: open.lake.clone(),
                managed: None,
                settings: open.settings.clone(),
                host: "test",
                allowance: None,
                kept: None,
            };
            route::ingest(&parts, uploads, &Unwatched)
        }

        pub(crate) fn open(&self) -> Arc<Open> {
            self.installation.current().unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn how_long_a_call_may_take_is_told_while_a_store_is_waited_for() {
        let installation = Arc::new(Installation::new(Handle::current(), 1));
        let _waiting = installation.kept.lock().unwrap();
        let ((told, tells), asking) = (mpsc::channel(), Arc::clone(&installation));
        std::thread::spawn(move || told.send(asking.function_timeout()).unwrap());
        assert_eq!(tells.recv_timeout(Duration::from_secs(30)), Ok(Settings::usual_function_timeout()));
    }
}
