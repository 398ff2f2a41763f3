//! The settings file: where it is, and its text. A path, or an object that is read again when it has changed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::landing_store::{LandingStore, ObjectForm};
use inlet_core::settings::Settings;
use tokio::runtime::Handle;

use crate::address::{Address, StoreAddress};
use crate::landing::{nearest, objects};
use crate::secrets;

/// The file that is read when none is named.
pub(crate) const USUAL: &str = "inlet.toml";
/// A larger file holds something else.
const FILE_BYTES: u64 = 1 << 20;

/// The settings of a command: from the file that `--settings` or `INLET_SETTINGS` names, else from `inlet.toml` where
/// the command runs, if there is one; and from variables.
pub(crate) fn load(asked: Option<&OsStr>, runtime: &Handle) -> Result<Settings, Fault> {
    let place = match (asked, Settings::file_of_environment()) {
        (Some(asked), _) => asked.to_owned(),
        (None, Some(named)) => named.into(),
        (None, None) => {
            return match fs::metadata(USUAL) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => runtime.block_on(secrets::load(None)),
                _ => of_path(Path::new(USUAL), runtime),
            };
        }
    };
    match Address::parse(&place)? {
        Address::Local(path) => of_path(&path, runtime),
        Address::Store(address) => {
            let read = runtime.block_on(async { SettingsObject::open(address).await?.current().await })?;
            Ok(Arc::unwrap_or_clone(read))
        }
        Address::Stdin => Err(Fault::setup("settings are not read from standard input").hint("--settings inlet.toml")),
    }
}

/// The settings of a file.
pub(crate) fn of_path(path: &Path, runtime: &Handle) -> Result<Settings, Fault> {
    let text = text_of_path(path)?;
    runtime.block_on(secrets::load(Some((&path.display().to_string(), &text))))
}

/// The text of a settings file.
pub(crate) fn text_of_path(path: &Path) -> Result<String, Fault> {
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) => text(&shown, bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let fault = Fault::setup(format!("no settings file at `{shown}`"));
            Err(match nearest::existing(path) {
                Some(near) => fault.hint(format!("did you mean `{}`?", near.display())),
                None => fault.hint("docs/settings.md has one to copy"),
            })
        }
        Err(error) => Err(Fault::setup(format!("cannot read the settings `{shown}`")).because(error)),
    }
}

/// The text of a settings file in a store, as it is now.
pub(crate) fn text_of_object(address: &StoreAddress, runtime: &Handle) -> Result<String, Fault> {
    runtime.block_on(async {
        let object = SettingsObject::open(address.clone()).await?;
        match object.store.head(&object.address.key, None).await? {
            Some(form) => object.text(&form).await,
            None => Err(Fault::setup(format!("no settings file at `{}`", object.address.url))),
        }
    })
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, Fault> {
    if bytes.len() as u64 > FILE_BYTES {
        return Err(too_large(name));
    }
    String::from_utf8(bytes).map_err(|_| Fault::setup(format!("the settings `{name}` are no UTF-8 text")))
}

fn too_large(name: &str) -> Fault {
    Fault::setup(format!("the settings `{name}` are larger than {FILE_BYTES} bytes"))
        .hint("name the settings file, a small text in TOML")
}

/// A settings file in a store. It is cheap to ask again and again: the store answers whether it has changed.
#[derive(Debug)]
pub(crate) struct SettingsObject {
    address: StoreAddress,
    store: Arc<dyn LandingStore>,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    etag: String,
    settings: Arc<Settings>,
}

impl SettingsObject {
    /// Names the object; nothing is read yet.
    ///
    /// # Errors
    /// Setup when this build does not know the store, or nobody says who we are there.
    pub(crate) async fn open(address: StoreAddress) -> Result<Self, Fault> {
        let mut address = address;
        // What stands there may be a signature, and the URL is repeated in messages.
        address.url.set_query(None);
        address.url.set_fragment(None);
        let store = objects::open(&address, None).await?;
        Ok(Self { address, store, last: None })
    }

    /// The settings as they are now: read anew when the object has another ETag than before. Secrets that they name
    /// are read with them.
    ///
    /// # Errors
    /// Setup when there is no such object or its text is wrong, also when an earlier text was right: what somebody has
    /// changed must not be passed over in silence. Again when the store does not answer.
    pub(crate) async fn current(&mut self) -> Result<Arc<Settings>, Fault> {
        match self.store.head(&self.address.key, None).await? {
            Some(form) => self.read(form).await,
            None => Err(Fault::setup(format!("no settings file at `{}`", self.address.url))),
        }
    }

    async fn read(&mut self, form: ObjectForm) -> Result<Arc<Settings>, Fault> {
        let name = self.address.url.to_string();
        if let Some(last) = &self.last
            && last.etag == form.etag
        {
            return Ok(Arc::clone(&last.settings));
        }
        let settings = Arc::new(secrets::load(Some((&name, &self.text(&form).await?))).await?);
        self.last = Some(Last { etag: form.etag, settings: Arc::clone(&settings) });
        Ok(settings)
    }

    async fn text(&self, form: &ObjectForm) -> Result<String, Fault> {
        let name = self.address.url.to_string();
        if form.size > FILE_BYTES {
            return Err(too_large(&name));
        }
        let pieces: Vec<_> = self.store.get(&self.address.key, form).await?.try_collect().await?;
        text(&name, pieces.concat())
    }

    /// The same where nobody named the object: when it is missing, variables alone are the settings.
    ///
    /// # Errors
    /// As [`SettingsObject::current`], but for a missing object.
    pub(crate) async fn current_or_environment(&mut self) -> Result<Arc<Settings>, Fault> {
        // S3 says "forbidden" for a missing object to those who may not list.
        let unseen = match self.store.head(&self.address.key, None).await {
            Ok(Some(form)) => return self.read(form).await,
            Ok(None) => None,
            Err(fault) if fault.kind() == FaultKind::Setup => Some(fault),
            Err(fault) => return Err(fault),
        };
        if let Some(Last { etag, settings }) = &self.last
            && etag.is_empty()
        {
            return Ok(Arc::clone(settings));
        }
        let mut settings = secrets::load(None).await?;
        settings.warnings.extend(unseen.map(|fault| {
            format!("cannot look for settings at `{}`: variables alone hold ({})", self.address.url, fault.chain())
        }));
        let settings = Arc::new(settings);
        self.last = Some(Last { etag: String::new(), settings: Arc::clone(&settings) });
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::landing::testing::Held;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    fn object(store: &Held) -> SettingsObject {
        let Ok(Address::Store(address)) = Address::parse(OsStr::new("s3://bucket/_inlet/inlet.toml")) else { panic!() };
        SettingsObject { address, store: Arc::new(store.clone()), last: None }
    }

    #[test]
    fn an_object_is_read_again_when_it_has_changed() {
        let (runtime, store) = (runtime(), Held::default());
        let put = |text: &str| store.put("_inlet/inlet.toml", text);
        let mut object = object(&store);
        let mut current = || runtime.block_on(object.current());
        assert_eq!(current().unwrap_err().to_string(), "no settings file at `s3://bucket/_inlet/inlet.toml`");
        put("name = 'one'");
        let one = current().unwrap();
        assert_eq!(one.name.as_deref(), Some("one"));
        assert!(Arc::ptr_eq(&one, &current().unwrap()), "nothing was read anew");
        put("name = 'two'");
        assert_eq!(current().unwrap().name.as_deref(), Some("two"));
        put("nome = 'three'");
        let said = current().unwrap_err().to_string();
        assert_eq!(said, "`nome` (s3://bucket/_inlet/inlet.toml, line 1) is no key of the settings");
        assert!(current().is_err(), "a wrong text is said each time");
        put(&"#".repeat(1 << 20));
        assert!(current().is_ok());
        put(&"#".repeat((1 << 20) + 1));
        assert!(current().unwrap_err().to_string().contains("larger than 1048576 bytes"));
    }

    #[test]
    fn an_object_that_nobody_named_may_be_missing() {
        let (runtime, store) = (runtime(), Arc::new(Held::default()));
        let mut object = object(&store);
        let mut current = || runtime.block_on(object.current_or_environment());
        let alone = current().unwrap();
        assert_eq!(alone.name, None);
        assert!(Arc::ptr_eq(&alone, &current().unwrap()), "nothing was read anew");
        store.put("_inlet/inlet.toml", "name = 'one'");
        assert_eq!(current().unwrap().name.as_deref(), Some("one"));
        store.remove("_inlet/inlet.toml");
        assert_eq!(current().unwrap().name, None, "it went away");
    }

    #[test]
    fn a_path_is_read_and_a_wrong_one_answered_with_the_nearest() {
        let here = tempfile::tempdir().unwrap();
        let runtime = runtime();
        let load = |name: &str| load(Some(here.path().join(name).as_os_str()), runtime.handle());
        fs::write(here.path().join("inlet.toml"), "name = 'here'").unwrap();
        fs::write(here.path().join("latin.toml"), b"name = '\xe9'").unwrap();
        fs::write(here.path().join("large.toml"), "#".repeat((1 << 20) + 1)).unwrap();
        assert_eq!(load("inlet.toml").unwrap().name.as_deref(), Some("here"));
        let fault = load("inlte.toml").unwrap_err();
        assert!(fault.hint_text().unwrap().contains("inlet.toml"), "{fault}");
        assert!(load("latin.toml").unwrap_err().to_string().ends_with("are no UTF-8 text"));
        assert!(load("large.toml").unwrap_err().to_string().contains("larger than"));
        assert!(load("").is_err(), "a folder");
    }
}
