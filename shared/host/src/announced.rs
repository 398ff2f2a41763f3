//! From objects that events announce to uploads: allowed, looked at, named with their ids and schemas, and not read.
//!
//! An event is believed in nothing but an object's name. Each is looked at once (one HEAD), for the form that it has now:
//! an event may be late, doubled, or overtaken by a newer form, which has an event of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use inlet_core::clock;
use inlet_core::fault::Fault;
use inlet_core::upload::{Place, Upload};
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectMeta};
use url::Url;

use crate::address::{Address, StoreAddress};
use crate::installation::{Installation, Open};
use crate::landing::objects;
use crate::landing::schema::Schemas;
use crate::landing::skip;
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
pub(crate) fn look(events: &[ObjectEvent], open: &Open, installation: &Installation) -> Result<Announced, Fault> {
    let mut announced = Announced::default();
    let mut skip = |reason: &'static str| *announced.skipped.entry(reason).or_default() += 1;
    let mut schemas = Schemas::new(None, &open.settings.sources)?;
    let mut wanted = Vec::new();
    for event in events {
        let place = place_of(event)?;
        if let Address::Store(lake) = &open.address.address
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
            Some(schema) => wanted.push((event, place, schema)),
            None => skip("source_not_connected"),
        }
    }
    let looks = wanted.into_iter().map(|(event, place, schema)| async move {
        let meta = head(event, &place, open).await?;
        Ok::<_, Fault>((place, schema, meta))
    });
    let seen = stream::iter(looks).buffered(LOOK_AT_ONCE).try_collect::<Vec<_>>();
    for (place, schema, meta) in installation.handle().block_on(seen)? {
        match meta {
            None => skip("gone"),
            Some(meta) if meta.size == 0 => skip("empty"),
            Some(meta) => announced.uploads.push(upload(&place, schema, meta, open)?),
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
async fn head(event: &ObjectEvent, place: &StoreAddress, open: &Open) -> Result<Option<ObjectMeta>, Fault> {
    let store = open.store(place)?;
    let path = Path::parse(&place.key).map_err(|error| objects::explained(place, error.into()))?;
    let options = GetOptions { head: true, version: event.version.clone(), ..GetOptions::default() };
    match store.get_opts(&path, options).await {
        Ok(found) => Ok(Some(found.meta)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(objects::explained(place, error)),
    }
}

fn upload(place: &StoreAddress, schema: String, meta: ObjectMeta, open: &Open) -> Result<Upload, Fault> {
    Ok(Upload {
        id: objects::id(place, &meta)?,
        name: place.key.clone(),
        key: Some(format!("{}/{}/{}", place.store, place.bucket(), place.key)),
        schema,
        size: meta.size,
        modified: clock::micros(meta.last_modified.into()),
        place: Place::Object { store: Arc::clone(&open.store(place)?), path: meta.location, etag: meta.e_tag },
    })
}
