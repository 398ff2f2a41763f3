//! From objects that events announce to uploads: allowed, looked at, named with their ids and schemas, and not read.
//!
//! An event is believed in nothing but an object's name. Each is looked at once (one HEAD), for the form that it has now:
//! an event may be late, doubled, or overtaken by a newer form, which has an event of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use inlet_core::fault::Fault;
use inlet_core::landing_store::{LandingStore, ListedObject};
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
}

/// Looks at the objects of one message.
///
/// # Errors
/// Setup when one comes from a place that is not configured, or its store refuses; Again when the store does not answer.
pub(crate) fn look(events: &[ObjectEvent], open: &Open) -> Result<Announced, Fault> {
    let mut announced = Announced::default();
    let mut skip = |reason: &'static str| *announced.skipped.entry(reason).or_default() += 1;
    let mut schemas = Schemas::new(None, &open.settings.sources)?;
    let mut wanted = Vec::new();
    for event in events {
        let place = place_of(event)?;
        if let Some(Address::Store(lake)) = open.home.lake().map(|lake| &lake.address)
            && lake.holds(&place)
        {
            skip("own_file");
            continue;
        }
        let below = allowed(&place, open)?;
        if skip::by_key(&below) {
            skip("hidden");
            continue;
        }
        match schemas.of(&[&place.key])? {
            Some(schema) => wanted.push((event, open.store(&place)?, place, schema)),
            None => skip("source_not_connected"),
        }
    }
    let looks = wanted.into_iter().map(|(event, store, place, schema)| upload(event, place, schema, store));
    let seen = stream::iter(looks).buffered(LOOK_AT_ONCE).try_collect::<Vec<_>>();
    for upload in open.lake.handle().block_on(seen)? {
        match upload {
            None => skip("gone"),
            Some(upload) if upload.size == 0 => skip("empty"),
            Some(upload) => announced.uploads.push(upload),
        }
    }
    Ok(announced)
}

fn place_of(event: &ObjectEvent) -> Result<StoreAddress, Fault> {
    let (container, account) = (&event.container, event.account.as_deref().unwrap_or_default());
    let text = match event.store {
        "azure" => format!("abfss://{container}@{account}.dfs.core.windows.net/"),
        store => format!("{store}://{container}/"),
    };
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

/// The object as it is now, or the version that the event is about; none when it is gone.
async fn upload(
    event: &ObjectEvent,
    place: StoreAddress,
    schema: String,
    store: Arc<dyn LandingStore>,
) -> Result<Option<Upload>, Fault> {
    let form = store.head(&place.key, event.version.as_deref()).await?;
    let object = form.map(|form| ListedObject { key: place.key.clone(), form });
    Ok(object.map(|object| landing::stored(&place, store, object, schema)))
}
