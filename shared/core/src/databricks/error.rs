//! A failed call to Databricks or Microsoft Entra: what was asked, what came back, and what callers may conclude.
//!
//! An error names the method, the host and the path that were asked, never a query, a header or a body. Whatever a
//! server said passes `Request::error`, which masks the secrets that were sent to it.

use std::fmt;
use std::sync::Arc;

use super::Cloud;
use super::answer::{Meaning, Said};

/// Why a call came to nothing.
#[derive(Clone)]
pub struct Error(pub(super) Box<Detail>);

/// What an error knows.
#[derive(Clone)]
pub(super) struct Detail {
    pub(super) failure: Failure,
    /// `GET https://host/path`.
    pub(super) asked: String,
    pub(super) about: Subject,
    pub(super) whom: Arc<Whom>,
    pub(super) said: Said,
}

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No server has this name.
    NoSuchHost,
    /// Somebody answers, but not as this host, or not by TLS.
    NotTrusted,
    /// Nobody took the connection in time.
    NoConnection,
    /// The connection broke, or its answer did not come: nobody knows whether the request was carried out.
    Lost,
    /// The caller's deadline was over.
    OutOfTime,
    /// A redirect or a page for people came where the API should be.
    NotApi,
    /// An answer that is not what the API documents.
    Unreadable,
    /// An answer that says no.
    Refused,
    /// The request was taken, and the statement failed.
    StatementFailed,
    /// The request was taken, and somebody else cancelled the statement.
    Cancelled,
    /// The request was taken, and the server has forgotten the statement: nobody knows what it came to.
    Forgotten,
    /// The warehouse was still starting when the deadline was over.
    WarehouseStarting,
    /// The warehouse stopped again, or was deleted, while it started.
    WarehouseFailed,
}

/// What a call was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Whether the address is a workspace's at all.
    Host,
    /// A token.
    SignIn,
    /// A token for Azure storage.
    StorageSignIn,
    /// Which tenant the workspace trusts.
    Tenant,
    /// The workspace as such, or one of its lists.
    Workspace,
    /// Whether Unity Catalog is there.
    Metastore,
    /// A catalog.
    Catalog(String),
    /// A schema that is to be made: `catalog.schema`.
    NewSchema(String),
    /// A schema: `catalog.schema`.
    Schema(String),
    /// A table: `catalog.schema.table`.
    Table(String),
    /// A volume, or a file in it: `catalog.schema.volume`.
    Volume(String),
    /// Credentials for a table, by its id.
    TableCredentials(String),
    /// Credentials for a place in storage.
    PathCredentials(String),
    /// A warehouse, by its id.
    Warehouse(String),
    /// A warehouse that is to be made, by its name.
    NewWarehouse(String),
    /// A statement: the id of its warehouse, and how it begins.
    Statement(String, String),
}

/// Who asks, and whom: what hints name.
#[derive(Debug)]
pub(super) struct Whom {
    /// The workspace (for a storage token: the authority), as `https://host`.
    pub(super) host: String,
    pub(super) cloud: Cloud,
    pub(super) way: Way,
    /// The application id; none: a token, or the system's identity.
    pub(super) client_id: Option<String>,
}

/// How one signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Databricks,
    Entra,
    Token,
    ManagedIdentity,
}

/// A privilege that Unity Catalog says is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// As SQL writes it: `CREATE SCHEMA`.
    pub privilege: String,
    /// The kind of object, as SQL writes it: `CATALOG`, `EXTERNAL LOCATION`.
    pub securable: String,
    /// The object's full name, unquoted: `segment.shop`.
    pub name: String,
}

impl Error {
    /// An error without a request of its own: what was never sent, or what a good answer tells.
    pub(super) fn of(failure: Failure, about: Subject, whom: &Arc<Whom>, said: Said) -> Self {
        let (asked, whom, said) = (whom.host.clone(), Arc::clone(whom), said.bounded());
        Self(Box::new(Detail { failure, asked, about, whom, said }))
    }

    /// The HTTP status of the answer; none when no answer came.
    pub fn status(&self) -> Option<u16> {
        self.0.said.status
    }

    /// Databricks' error code (`TABLE_DOES_NOT_EXIST`), or Entra's (`AADSTS700016`).
    pub fn code(&self) -> Option<&str> {
        self.0.said.code.as_deref()
    }

    /// Whether a sign-in was refused for its secret: one that is wrong, or over.
    pub(super) fn refuses_secret(&self) -> bool {
        matches!(self.code(), Some("invalid_client" | "AADSTS7000215" | "AADSTS7000222"))
    }

    /// The class of an SQL error: `DELTA_METADATA_CHANGED`.
    pub fn class(&self) -> Option<&str> {
        self.0.said.class.as_deref()
    }

    /// The SQLSTATE of an SQL error: five characters.
    pub fn sql_state(&self) -> Option<&str> {
        self.0.said.sql_state.as_deref()
    }

    /// What the server said, on one line, without the secrets that were sent to it.
    pub fn message(&self) -> &str {
        &self.0.said.message
    }

    /// What to quote to the server's support.
    pub fn request_id(&self) -> Option<&str> {
        self.0.said.request_id.as_deref()
    }

    /// Whether the object is not there. One that we have no rights on may look the same.
    pub fn is_missing(&self) -> bool {
        let by_class = |class: &str| class.ends_with("_NOT_FOUND") || class.starts_with("NO_SUCH_");
        self.answered() && (self.0.said.meaning() == Meaning::Missing || self.class().is_some_and(by_class))
    }

    /// Whether it is the catalog or the metastore that is missing, and not what was asked for in it.
    pub(super) fn is_of_the_whole(&self) -> bool {
        matches!(self.code(), Some("CATALOG_DOES_NOT_EXIST" | "METASTORE_DOES_NOT_EXIST"))
    }

    /// Whether a right is missing.
    pub fn is_denied(&self) -> bool {
        let by_class = |class: &str| class.starts_with("INSUFFICIENT_P") || class.starts_with("PERMISSION_DENIED");
        self.answered()
            && (self.0.said.meaning() == Meaning::Denied
                || self.class().is_some_and(by_class)
                || self.message().contains("PERMISSION_DENIED"))
    }

    /// Whether the object, or the column, was there before: for whoever makes things, as good as made.
    pub fn already_exists(&self) -> bool {
        let by_class = |class: &str| class.ends_with("ALREADY_EXISTS");
        // A taken name of a warehouse has no code of its own.
        let taken = matches!(self.0.about, Subject::NewWarehouse(_)) && self.message().contains("already exists");
        self.answered() && (self.0.said.meaning() == Meaning::Exists || self.class().is_some_and(by_class) || taken)
    }

    /// Whether the same call may well succeed later, with nothing changed by anybody.
    pub fn is_passing(&self) -> bool {
        match self.0.failure {
            Failure::NoConnection | Failure::Lost | Failure::OutOfTime => true,
            Failure::Cancelled | Failure::Forgotten | Failure::WarehouseStarting => true,
            Failure::NoSuchHost | Failure::NotTrusted | Failure::NotApi | Failure::Unreadable => false,
            Failure::WarehouseFailed => false,
            Failure::Refused | Failure::StatementFailed => self.0.said.is_passing(),
        }
    }

    /// Whether a statement that was to be submitted was not taken: nothing of it runs.
    pub(crate) fn never_began(&self) -> bool {
        matches!(self.0.failure, Failure::Refused | Failure::NoSuchHost | Failure::NotTrusted)
    }

    /// Whether a statement that was taken has come to its end.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.0.failure, Failure::StatementFailed | Failure::Cancelled | Failure::Forgotten)
    }

    /// Whether the caller's deadline was over.
    pub fn is_out_of_time(&self) -> bool {
        self.0.failure == Failure::OutOfTime
    }

    /// Whether a statement may be submitted again at once. What HTTP could ask again, it has.
    pub(super) fn may_run_again(&self) -> bool {
        let passing = || self.0.said.is_passing();
        self.0.failure == Failure::Forgotten || (self.0.failure == Failure::StatementFailed && passing())
    }

    /// Whether a warehouse was still starting when the deadline was over; it goes on starting.
    pub fn is_starting(&self) -> bool {
        self.0.failure == Failure::WarehouseStarting
    }

    /// The privilege that is missing, where the message names it.
    pub fn privilege(&self) -> Option<Denied> {
        denied(self.message())
    }

    /// The entitlement that is missing, where the message names it: `databricks-sql-access`.
    pub fn entitlement(&self) -> Option<&str> {
        let (_, rest) = self.message().split_once("without the ")?;
        rest.split_once(" entitlement").map(|(entitlement, _)| entitlement)
    }

    /// Whether a server carried the request out and said no.
    fn answered(&self) -> bool {
        matches!(self.0.failure, Failure::Refused | Failure::StatementFailed)
    }
}

/// Reads `… does not have USE CATALOG on Catalog 'x'.`; the wording around it drifts between releases.
fn denied(message: &str) -> Option<Denied> {
    const WORDS: &str = "does not have ";
    let start = message.to_ascii_lowercase().find(WORDS)? + WORDS.len();
    let (privilege, rest) = split_at_word(message.get(start..)?, " on ")?;
    let at = rest.find(['\'', '`', '"'])?;
    let (securable, quoted) = (rest.get(..at)?, rest.get(at..)?);
    let quote = quoted.chars().next()?;
    let (name, _) = quoted.get(1..)?.split_once(quote)?;
    let words = |text: &str| {
        let words = text.trim().replace('_', " ").to_ascii_uppercase();
        let plain = !words.is_empty() && words.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ');
        plain.then_some(words)
    };
    let privilege = words(privilege)?;
    let privilege = privilege.strip_prefix("PERMISSION ").unwrap_or(&privilege);
    let privilege = privilege.strip_suffix(" PERMISSION").unwrap_or(privilege).to_owned();
    Some(Denied { privilege, securable: words(securable)?, name: name.to_owned() })
}

fn split_at_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let at = text.to_ascii_lowercase().find(word)?;
    Some((text.get(..at)?, text.get(at + word.len()..)?))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}

/// An error without what the server said, for those who have said that already.
#[derive(Debug)]
pub(super) struct Unsaid(pub(super) Error);

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, false)
    }
}

impl std::error::Error for Unsaid {}

impl Error {
    fn write(&self, f: &mut fmt::Formatter<'_>, with_message: bool) -> fmt::Result {
        let Detail { failure, asked, said, .. } = &*self.0;
        f.write_str(asked)?;
        match failure {
            Failure::NoSuchHost => f.write_str(" found no such host")?,
            Failure::NotTrusted => f.write_str(" met a server that is not trusted")?,
            Failure::NoConnection => f.write_str(" got no connection")?,
            Failure::Lost => f.write_str(" got no whole answer")?,
            Failure::OutOfTime => f.write_str(" was not done by the deadline")?,
            Failure::NotApi => f.write_str(" was answered with something else than the API's JSON")?,
            Failure::Unreadable => f.write_str(" was answered with JSON that is not the documented one")?,
            Failure::Refused => f.write_str(" was refused")?,
            Failure::StatementFailed => f.write_str(" ran a statement that failed")?,
            Failure::Cancelled => f.write_str(" ran a statement that somebody cancelled")?,
            Failure::Forgotten => f.write_str(" ran a statement that the server has forgotten")?,
            Failure::WarehouseStarting => f.write_str(" found the warehouse still starting")?,
            Failure::WarehouseFailed => f.write_str(" found the warehouse not running")?,
        }
        for part in [said.status.map(|status| status.to_string()), said.code.clone()].into_iter().flatten() {
            write!(f, " {part}")?;
        }
        if with_message && !said.message.is_empty() {
            write!(f, ": {}", said.message)?;
        }
        said.request_id.as_ref().map_or(Ok(()), |id| write!(f, " (request {id})"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(message: &str) -> Option<(String, String, String)> {
        denied(message).map(|denied| (denied.privilege, denied.securable, denied.name))
    }

    #[test]
    fn a_denial_names_privilege_kind_and_object() {
        let of = |privilege: &str, securable: &str, name: &str| {
            Some((privilege.to_owned(), securable.to_owned(), name.to_owned()))
        };
        assert_eq!(
            parts("PERMISSION_DENIED: User does not have CREATE SCHEMA on Catalog 'segment'."),
            of("CREATE SCHEMA", "CATALOG", "segment")
        );
        assert_eq!(
            parts("user does NOT HAVE permission Use_Schema ON schema 'a.b'"),
            of("USE SCHEMA", "SCHEMA", "a.b")
        );
        assert_eq!(
            parts("User `x` does not have READ FILES on External Location `bronze`"),
            of("READ FILES", "EXTERNAL LOCATION", "bronze")
        );
        for other in
            ["", "does not have", "does not have USE on Catalog", "does not have 'x' on 'y'", "İ does not have"]
        {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
