//! Who may do what: grants, groups, ownership, and how rights flow from a catalog to its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// What can be granted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The metastore itself.
    Metastore,
    /// A catalog.
    Catalog,
    /// A schema, `catalog.schema`.
    Schema,
    /// A table or view, `catalog.schema.table`.
    Table,
    /// A volume, `catalog.schema.volume`.
    Volume,
    /// An external location.
    ExternalLocation,
    /// A storage credential.
    StorageCredential,
}

impl Kind {
    /// As messages say it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Metastore => "Metastore",
            Self::Catalog => "Catalog",
            Self::Schema => "Schema",
            Self::Table => "Table",
            Self::Volume => "Volume",
            Self::ExternalLocation => "External Location",
            Self::StorageCredential => "Storage Credential",
        }
    }

    /// As paths say it: `external_location`.
    pub(crate) fn path(self) -> String {
        self.words().to_lowercase().replace(' ', "_")
    }

    const ALL: [Self; 7] = [
        Self::Metastore,
        Self::Catalog,
        Self::Schema,
        Self::Table,
        Self::Volume,
        Self::ExternalLocation,
        Self::StorageCredential,
    ];
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_lowercase().replace(['-', ' '], "_");
        let found = Self::ALL.into_iter().find(|kind| kind.path() == wanted);
        found.ok_or_else(|| format!("Securable type '{text}' is not supported"))
    }
}

/// Something that can be granted on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Securable {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

impl Securable {
    pub(crate) fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// Where rights flow from, the nearest first.
    fn parents(&self) -> Vec<Self> {
        let mut parts: Vec<&str> = self.name.split('.').collect();
        let mut parents = Vec::new();
        if matches!(self.kind, Kind::Table | Kind::Volume) {
            parts.pop();
            parents.push(Self::new(Kind::Schema, parts.join(".")));
        }
        if matches!(self.kind, Kind::Table | Kind::Volume | Kind::Schema) {
            parts.pop();
            parents.push(Self::new(Kind::Catalog, parts.join(".")));
        }
        parents
    }
}

impl fmt::Display for Securable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind.words(), self.name)
    }
}

macro_rules! privileges {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// What can be granted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Privilege { $($name),* }

        impl Privilege {
            /// As REST says it: `USE_CATALOG`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }

        impl FromStr for Privilege {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text.to_uppercase().replace(' ', "_").as_str() {
                    $($text => Ok(Self::$name),)*
                    _ => Err(format!("Privilege {text} is not applicable to this entity")),
                }
            }
        }
    };
}

privileges! {
    AllPrivileges = "ALL_PRIVILEGES",
    Browse = "BROWSE",
    CreateExternalLocation = "CREATE_EXTERNAL_LOCATION",
    CreateExternalTable = "CREATE_EXTERNAL_TABLE",
    CreateManagedStorage = "CREATE_MANAGED_STORAGE",
    CreateSchema = "CREATE_SCHEMA",
    CreateTable = "CREATE_TABLE",
    CreateVolume = "CREATE_VOLUME",
    ExternalUseLocation = "EXTERNAL_USE_LOCATION",
    ExternalUseSchema = "EXTERNAL_USE_SCHEMA",
    Manage = "MANAGE",
    Modify = "MODIFY",
    ReadFiles = "READ_FILES",
    ReadVolume = "READ_VOLUME",
    Select = "SELECT",
    UseCatalog = "USE_CATALOG",
    UseSchema = "USE_SCHEMA",
    WriteFiles = "WRITE_FILES",
    WriteVolume = "WRITE_VOLUME",
}

impl Privilege {
    /// As SQL and messages say it: `USE CATALOG`.
    pub(crate) fn words(self) -> String {
        self.name().replace('_', " ")
    }

    /// What ALL PRIVILEGES, and owning a thing, never bring.
    pub(crate) fn must_be_granted_by_name(self) -> bool {
        matches!(self, Self::ExternalUseSchema | Self::ExternalUseLocation)
    }

    fn is_in_all_privileges(self) -> bool {
        self != Self::Manage && !self.must_be_granted_by_name()
    }
}

/// A right that somebody has, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) principal: String,
    pub(crate) privilege: Privilege,
    /// Where it was granted, unless on the thing itself.
    pub(crate) from: Option<Securable>,
}

/// All grants: thing, principal or group, rights.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants(BTreeMap<Securable, BTreeMap<String, BTreeSet<Privilege>>>);

impl Grants {
    pub(crate) fn add(&mut self, on: Securable, to: &str, privilege: Privilege) {
        self.0.entry(on).or_default().entry(to.to_owned()).or_default().insert(privilege);
    }

    pub(crate) fn remove(&mut self, on: &Securable, from: &str, privilege: Privilege) {
        if let Some(privileges) = self.0.get_mut(on).and_then(|grants| grants.get_mut(from)) {
            privileges.remove(&privilege);
        }
    }

    /// A thing is gone, and what was granted on it.
    pub(crate) fn forget(&mut self, on: &Securable) {
        self.0.remove(on);
    }

    /// What was granted on the thing itself: principal and rights.
    pub(crate) fn direct(&self, on: &Securable) -> Vec<(String, Vec<Privilege>)> {
        let all = self.0.get(on).into_iter().flatten();
        all.filter(|(_, privileges)| !privileges.is_empty())
            .map(|(who, privileges)| (who.clone(), privileges.iter().copied().collect()))
            .collect()
    }

    /// Every right on a thing, its own and those that flow to it.
    pub(crate) fn effective(&self, on: &Securable) -> Vec<Held> {
        let mut held = Vec::new();
        for (from, thing) in
            std::iter::once((None, on.clone())).chain(on.parents().into_iter().map(|p| (Some(p.clone()), p)))
        {
            for (principal, privileges) in self.direct(&thing) {
                held.extend(privileges.into_iter().map(|privilege| Held {
                    principal: principal.clone(),
                    privilege,
                    from: from.clone(),
                }));
            }
        }
        held
    }

    /// Whether one of these names (a principal and its groups) has a right on a thing.
    pub(crate) fn allow(&self, names: &[String], privilege: Privilege, on: &Securable) -> bool {
        let enough = |held: &Held| {
            held.privilege == privilege
                || (held.privilege == Privilege::AllPrivileges && privilege.is_in_all_privileges())
        };
        self.effective(on).iter().any(|held| names.contains(&held.principal) && enough(held))
    }

    /// Whether one of these names has any right at all on the thing itself.
    pub(crate) fn allow_anything(&self, names: &[String], on: &Securable) -> bool {
        self.direct(on).iter().any(|(principal, _)| names.contains(principal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Vec<String> {
        vec!["me".to_owned(), "writers".to_owned()]
    }

    fn granted(privilege: Privilege, kind: Kind, name: &str) -> Grants {
        let mut grants = Grants::default();
        grants.add(Securable::new(kind, name), "me", privilege);
        grants
    }

    #[test]
    fn rights_flow_from_a_catalog_to_its_tables_and_to_no_other() {
        let grants = granted(Privilege::Select, Kind::Catalog, "c");
        assert!(grants.allow(&me(), Privilege::Select, &Securable::new(Kind::Table, "c.s.t")));
        assert!(!grants.allow(&me(), Privilege::Select, &Securable::new(Kind::Table, "d.s.t")));
        assert!(!grants.allow(&me(), Privilege::Modify, &Securable::new(Kind::Table, "c.s.t")));
        let grants = granted(Privilege::Select, Kind::Table, "c.s.t");
        assert!(!grants.allow(&me(), Privilege::Select, &Securable::new(Kind::Schema, "c.s")));
    }

    #[test]
    fn all_privileges_bring_everything_but_external_use_and_manage() {
        let grants = granted(Privilege::AllPrivileges, Kind::Catalog, "c");
        let schema = Securable::new(Kind::Schema, "c.s");
        for privilege in [Privilege::UseCatalog, Privilege::UseSchema, Privilege::CreateTable, Privilege::Modify] {
            assert!(grants.allow(&me(), privilege, &schema), "{privilege:?}");
        }
        for privilege in [Privilege::ExternalUseSchema, Privilege::ExternalUseLocation, Privilege::Manage] {
            assert!(!grants.allow(&me(), privilege, &schema), "{privilege:?}");
        }
    }

    #[test]
    fn a_group_brings_its_rights_and_what_is_taken_away_is_gone() {
        let location = Securable::new(Kind::ExternalLocation, "lake");
        let mut grants = Grants::default();
        grants.add(location.clone(), "writers", Privilege::CreateExternalTable);
        assert!(grants.allow(&me(), Privilege::CreateExternalTable, &location));
        assert!(!grants.allow(&["another".to_owned()], Privilege::CreateExternalTable, &location));
        grants.remove(&location, "writers", Privilege::CreateExternalTable);
        assert!(!grants.allow(&me(), Privilege::CreateExternalTable, &location));
        assert!(grants.direct(&location).is_empty());
    }

    #[test]
    fn names_read_as_they_are_written() {
        assert_eq!("external-location".parse(), Ok(Kind::ExternalLocation));
        assert_eq!("USE CATALOG".parse(), Ok(Privilege::UseCatalog));
        assert_eq!("use_schema".parse(), Ok(Privilege::UseSchema));
        assert!("OWN".parse::<Privilege>().is_err());
        assert_eq!(Securable::new(Kind::ExternalLocation, "lake").to_string(), "External Location 'lake'");
    }
}
