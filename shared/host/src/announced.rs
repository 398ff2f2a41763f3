//! From objects that events announce to uploads: allowed, looked at, named with their ids and schemas, and not read.
//!
//! An event is believed in nothing but an object's name. Each is looked at once (one HEAD), for the form that it has now:
//! an event may be late, doubled, or overtaken by a newer form, which has an event of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use inlet_core::fault::{Fault, FaultKind};
use inlet_core::landing_store::{LandingStore, ListedObject};
use inlet_core::report::FaultReport;
use inlet_core::upload::Upload;
use url::Url;

use crate::address::{Address, StoreAddress};
use crate::installation::Open;
use crate::landing::schema::Schemas;
use crate::landing::{self, skip};
use crate::trigger::ObjectEvent;

/// Objects that are looked at at once.
const LOOK_AT_ONCE: usize = 32;

/// What the objects of one message come to.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// In the order of the message.
    pub(crate) uploads: Vec<Upload>,
    /// Objects that are no uploads, by the reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
    /// Objects that fail the message; the others land all the same.
    pub(crate) refused: Vec<Refused>,
}

/// An object that may not land, or that its store says nothing of.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its URL, if its event says it.
    pub(crate) object: Option<String>,
    /// Setup when it comes from a place that is not configured, or its store refuses; Rejected when its name can be none;
    /// Again when the store does not answer.
    pub(crate) fault: FaultReport,
}

impl Announced {
    fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    fn refuse(&mut self, object: String, fault: &Fault) {
        self.refused.push(Refused { object: Some(object), fault: FaultReport::from(fault) });
    }
}

/// Looks at the objects of one message.
///
/// # Errors
/// Setup when the settings name sources that cannot be.
pub(crate) fn look(events: &[ObjectEvent], open: &Open) -> Result<Announced, Fault> {
    let mut announced = Announced::default();
    let mut schemas = Schemas::new(None, &open.settings.sources)?;
    let mut wanted = Vec::new();
    for event in events {
        match wanted_of(event, open, &mut schemas) {
            Ok(Ok(look)) => wanted.push(look),
            Ok(Err(reason)) => announced.skip(reason),
            Err(fault) => announced.refuse(url_of(event), &fault),
        }
    }
    let looks = wanted.into_iter().map(|look| async move { (url_of(look.event), look.upload().await) });
    let mut seen = stream::iter(looks).buffered(LOOK_AT_ONCE);
    while let Some((object, upload)) = open.lake.handle().block_on(seen.next()) {
        match upload {
            Ok(None) => announced.skip("gone"),
            Ok(Some(upload)) if upload.size == 0 => announced.skip("empty"),
            Ok(Some(upload)) => announced.uploads.push(upload),
            Err(fault) => {
                announced.refuse(object, &fault);
                // A store that does not answer is not asked for the others: they come again with the message.
                if fault.kind() == FaultKind::Again {
                    break;
                }
            }
        }
    }
    Ok(announced)
}

/// An object to be looked at, or why it is no upload.
type Wanted<'a> = Result<Look<'a>, &'static str>;

/// An object to be looked at.
struct Look<'a> {
    event: &'a ObjectEvent,
    place: StoreAddress,
    schema: String,
    store: Arc<dyn LandingStore>,
}

fn wanted_of<'a>(event: &'a ObjectEvent, open: &Open, schemas: &mut Schemas<'_>) -> Result<Wanted<'a>, Fault> {
    let place = place_of(event)?;
    if let Some(Address::Store(lake)) = open.home.lake().map(|lake| &lake.address)
        && lake.holds(&place)
    {
        return Ok(Err("own_file"));
    }
    if skip::by_key(&allowed(&place, open)?) {
        return Ok(Err("hidden"));
    }
    Ok(match schemas.of(&[&place.key])? {
        Some(schema) => Ok(Look { event, store: open.store(&place)?, place, schema }),
        None => Err("source_not_connected"),
    })
}

/// The bucket or container that an event names.
fn container_of(event: &ObjectEvent) -> String {
    let (container, account) = (&event.container, event.account.as_deref().unwrap_or_default());
    match event.store {
        "azure" => format!("abfss://{container}@{account}.dfs.core.windows.net/"),
        store => format!("{store}://{container}/"),
    }
}

fn url_of(event: &ObjectEvent) -> String {
    format!("{}{}", container_of(event), event.key)
}

fn place_of(event: &ObjectEvent) -> Result<StoreAddress, Fault> {
    let (container, text) = (&event.container, container_of(event));
    let url = Url::parse(&text).map_err(|error| {
        Fault::rejected(format!("the message names the container `{container}`, which is no name")).because(error)
    })?;
    let account = event.account.clone();
    let (container, key) = (container.clone(), event.key.clone());
    Ok(StoreAddress { store: event.store, container, account, key, prefix: false, url })
}

/// The key below the place that it is allowed by.
fn allowed(place: &StoreAddress, open: &Open) -> Result<String, Fault> {
    let landing = open.landing.iter().find(|landing| landing.holds(place));
    let landing = landing.ok_or_else(|| open.refuses(&format!("{}{}", place.url, place.key)))?;
    Ok(place.key.strip_prefix(&landing.key).unwrap_or(&place.key).trim_start_matches('/').to_owned())
}

impl Look<'_> {
    /// The object as it is now, or the version that the event is about; none when it is gone.
    async fn upload(self) -> Result<Option<Upload>, Fault> {
        let Self { event, place, schema, store } = self;
        let form = store.head(&place.key, event.version.as_deref()).await?;
        let object = form.map(|form| ListedObject { key: place.key.clone(), form });
        Ok(object.map(|object| landing::stored(&place, store, object, schema)))
    }
}
