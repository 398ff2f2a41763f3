//! What a connection test is told, on a terminal and as a function: the settings, the lake, and the places that uploads
//! come from.

use std::ffi::{OsStr, OsString};

use inlet_core::connect::{Landing, LandingSource, Parts};
use inlet_core::fault::Fault;
use inlet_core::report::FaultReport;
use inlet_core::settings::Settings;
use tokio::runtime::Handle;

use crate::address::Address;
use crate::lake::LakeAddress;
use crate::landing::{objects, refuse_overlap};

/// The parts of a test. No places: those that the settings name.
///
/// # Errors
/// Setup for a name that is no place.
pub(crate) fn parts(
    settings: Settings,
    lake: Option<LakeAddress>,
    places: &[OsString],
    handle: &Handle,
) -> Result<Parts, Fault> {
    let told: Vec<OsString> = settings.landing.iter().map(OsString::from).collect();
    let places = if places.is_empty() { &told } else { places };
    let landing = places.iter().map(|place| landing(place, lake.as_ref(), &settings, handle));
    let landing = landing.collect::<Result<Vec<_>, _>>()?;
    Ok(Parts { settings, lake: lake.map(|lake| lake.url), landing, on_function: false, handle: handle.clone() })
}

/// A place that uploads come from, as `ingest` takes it.
fn landing(place: &OsStr, lake: Option<&LakeAddress>, settings: &Settings, handle: &Handle) -> Result<Landing, Fault> {
    let address = Address::parse(place)?;
    let overlap = refuse_overlap(&address, lake).err().as_ref().map(FaultReport::from);
    let source = match address {
        Address::Stdin => {
            return Err(Fault::setup("standard input is no place that uploads come from")
                .hint("name a folder, or a prefix of a store: s3://bucket/segment-logs"));
        }
        Address::Local(path) => Ok(LandingSource::Folder(path)),
        Address::Store(address) => {
            let prefix = if address.prefix { address.key.clone() } else { format!("{}/", address.key) };
            let store = handle.block_on(objects::open(&address, settings.landing_owner.as_deref()));
            store.map(|store| LandingSource::Store(store, prefix)).map_err(|fault| FaultReport::from(&fault))
        }
    };
    Ok(Landing { name: place.to_string_lossy().into_owned(), source, overlap })
}
