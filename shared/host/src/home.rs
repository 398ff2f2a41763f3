//! Where the tables live that a run means: in a lake, or in the storage of a catalog, with a volume before it.

use inlet_core::databricks::Workspace;
use inlet_core::delta::Lake;
use inlet_core::fault::Fault;
use inlet_core::managed::Managed;
use inlet_core::route::PlanOver;
use inlet_core::settings::Settings;
use tokio::runtime::Handle;

use crate::address::Address;
use crate::lake::{self, LakeAddress};

/// Where tables live.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    /// In a lake.
    Lake(Box<LakeAddress>),
    /// In the catalog's own storage.
    Catalog(Managed),
}

impl Home {
    /// The home that settings mean; `named` finds the lake, where there is one.
    ///
    /// # Errors
    /// What `named` says.
    pub(crate) fn of(
        settings: &Settings,
        workspace: Option<&Workspace>,
        named: impl FnOnce() -> Result<LakeAddress, Fault>,
    ) -> Result<Self, Fault> {
        match Managed::of(settings, workspace) {
            Some(managed) => Ok(Self::Catalog(managed)),
            None => named().map(|address| Self::Lake(Box::new(address))),
        }
    }

    /// The lake's address; a volume overlaps with nothing that uploads come from.
    pub(crate) fn lake(&self) -> Option<&LakeAddress> {
        match self {
            Self::Lake(address) => Some(address),
            Self::Catalog(_) => None,
        }
    }

    /// The catalog, if it keeps the tables.
    pub(crate) fn managed(&self) -> Option<Managed> {
        match self {
            Self::Lake(_) => None,
            Self::Catalog(managed) => Some(managed.clone()),
        }
    }

    /// Opens the place that ingest writes to: a folder or a volume that is not there is made.
    ///
    /// # Errors
    /// As [`lake::open`]; what the workspace answers.
    pub(crate) fn open(
        &self,
        settings: &Settings,
        workspace: Option<&Workspace>,
        handle: &Handle,
    ) -> Result<Lake, Fault> {
        match self {
            Self::Lake(address) => lake::open(&address.url, settings, workspace, handle),
            Self::Catalog(managed) => managed.volume(handle.clone()),
        }
    }

    /// The same for whoever only looks: no volume is made.
    ///
    /// # Errors
    /// As [`Home::open`].
    pub(crate) fn look(
        &self,
        settings: &Settings,
        workspace: Option<&Workspace>,
        handle: &Handle,
    ) -> Result<Lake, Fault> {
        match self {
            Self::Lake(_) => self.open(settings, workspace, handle),
            Self::Catalog(managed) => managed.standing_volume(handle.clone()),
        }
    }

    /// The lake for a plan; a folder that does not exist holds nothing, and is not made.
    ///
    /// # Errors
    /// As [`Home::open`].
    pub(crate) fn standing_lake(
        &self,
        settings: &Settings,
        workspace: Option<&Workspace>,
        handle: &Handle,
    ) -> Result<Option<Lake>, Fault> {
        match self {
            Self::Catalog(_) => Ok(None),
            Self::Lake(named) if matches!(&named.address, Address::Local(path) if !path.exists()) => Ok(None),
            Self::Lake(_) => self.open(settings, workspace, handle).map(Some),
        }
    }

    /// Where a plan looks for tables.
    pub(crate) fn plan_over<'a>(&'a self, lake: Option<&'a Lake>, handle: &'a Handle) -> PlanOver<'a> {
        match (self, lake) {
            (Self::Catalog(managed), _) => PlanOver::Catalog(managed, handle),
            (Self::Lake(_), Some(lake)) => PlanOver::Lake(lake),
            (Self::Lake(_), None) => PlanOver::Nothing,
        }
    }

    /// Its name for people.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Lake(address) => format!("the lake `{}`", address.url),
            Self::Catalog(managed) => format!("the catalog `{}`", managed.catalog),
        }
    }
}
