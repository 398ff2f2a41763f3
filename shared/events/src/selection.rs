//! Which tables and columns land, and which columns are hashed: decided once per table and column, before anything is
//! written.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::event::Field;
use crate::table::{RESCUED_DATA, UPLOAD_ID, UUID_TS};

/// System columns without which rows could not be told apart, proved or found again.
const NEEDED: [&str; 6] = ["id", "received_at", "event", UUID_TS, RESCUED_DATA, UPLOAD_ID];
/// System columns that are moments: a hash is none.
const MOMENTS: [&str; 3] = ["timestamp", "original_timestamp", "sent_at"];
/// Inlet's own tables, which keep the accounts.
const OWN_TABLES: [&str; 2] = ["_loads", "_rejects"];

/// What is to land, as the settings say it. A pattern is a name as it stands in the lake (`context_ip`, not
/// `context.ip`), compared without case, in which `*` stands for any characters. For columns a table may stand before
/// it: `orders.email`. What is denied is denied, even when it is allowed too.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    /// Only these tables; all when there is none.
    pub allowed_tables: Vec<String>,
    /// Not these tables.
    pub denied_tables: Vec<String>,
    /// Of the columns that events bring only these; all when there is none. A pattern with a table speaks of that
    /// table alone. System columns are not concerned.
    pub allowed_columns: Vec<String>,
    /// Not these columns.
    pub denied_columns: Vec<String>,
    /// These as the SHA-256, in hexadecimal digits, of the salt and the value's text.
    pub hashed_columns: Vec<String>,
}

/// A pattern that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Illegal {
    /// The pattern; empty when it is the salt that lacks.
    pub pattern: String,
    /// Why not.
    pub reason: &'static str,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pattern.as_str() {
            "" => f.write_str(self.reason),
            pattern => write!(f, "`{pattern}`: {}", self.reason),
        }
    }
}

impl Patterns {
    /// Every pattern that cannot be followed, in order: one that no name can match, or that names a column or table
    /// which Inlet itself needs. A pattern with `*` passes over those.
    pub fn illegal(&self) -> Vec<Illegal> {
        let mut illegal = Vec::new();
        let mut refuse = |pattern: &str, reason: Option<&'static str>| {
            illegal.extend(reason.map(|reason| Illegal { pattern: pattern.to_owned(), reason }));
        };
        for pattern in self.allowed_tables.iter().chain(&self.denied_tables) {
            let is_own = OWN_TABLES.contains(&pattern.to_lowercase().as_str());
            refuse(pattern, bad_name(pattern).or(is_own.then_some("Inlet's own tables cannot be chosen")));
        }
        for (patterns, never) in [
            (&self.allowed_columns, [].as_slice()),
            (&self.denied_columns, &[NEEDED.as_slice()]),
            (&self.hashed_columns, &[NEEDED.as_slice(), MOMENTS.as_slice()]),
        ] {
            for pattern in patterns {
                let (table, column) = split(pattern);
                let column = column.to_lowercase();
                let is_needed = never.iter().any(|never| never.contains(&column.as_str()));
                let needed = "Inlet needs this column as it is";
                refuse(pattern, table.and_then(bad_name).or(bad_name(&column)).or(is_needed.then_some(needed)));
            }
        }
        illegal
    }
}

fn bad_name(pattern: &str) -> Option<&'static str> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'*');
    match pattern {
        "" => Some("a name is missing"),
        _ if !pattern.bytes().all(is_legal) => {
            Some("names in the lake have letters, digits and `_` only: write `order_completed`, not `Order Completed`")
        }
        _ => None,
    }
}

fn split(pattern: &str) -> (Option<&str>, &str) {
    pattern.split_once('.').map_or((None, pattern), |(table, column)| (Some(table), column))
}

/// What lands of a column; the graver come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Treatment {
    /// Its values.
    Keep,
    /// Hashes of its values.
    Hash,
    /// Nothing.
    Deny,
}

/// A name with `*` for any characters, in lower case.
#[derive(Clone, Debug)]
struct Pattern(String);

impl Pattern {
    fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(head) else { return false };
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return name.ends_with(part);
            }
            match name.find(part) {
                Some(at) => name = &name[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

fn one_matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Which tables and columns land, and which columns are hashed. Cheap to clone; nothing at all when nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Selection(Option<Arc<Lists>>);

#[derive(Debug)]
struct Lists {
    allowed_tables: Vec<Pattern>,
    denied_tables: Vec<Pattern>,
    /// With the table that they are for, if they say one.
    allowed_columns: Vec<(Option<Pattern>, Pattern)>,
    denied_columns: Vec<(Option<Pattern>, Pattern)>,
    hashed_columns: Vec<(Option<Pattern>, Pattern)>,
    salted: Salted,
}

/// SHA-256 that has read the salt.
#[derive(Clone)]
struct Salted(Sha256);

impl fmt::Debug for Salted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Selection {
    /// Takes up what the settings say.
    ///
    /// # Errors
    /// Every pattern that cannot be followed, and that hashes without a salt could be guessed.
    pub fn new(patterns: &Patterns, salt: &str) -> Result<Self, Vec<Illegal>> {
        let mut illegal = patterns.illegal();
        if !patterns.hashed_columns.is_empty() && salt.is_empty() {
            illegal
                .push(Illegal { pattern: String::new(), reason: "hashes need a salt: without one they are guessed" });
        }
        if !illegal.is_empty() {
            return Err(illegal);
        }
        let of_tables = |patterns: &[String]| patterns.iter().map(|text| Pattern::new(text)).collect::<Vec<_>>();
        let of_columns = |patterns: &[String]| {
            let pattern = |text: &String| {
                let (table, column) = split(text);
                (table.map(Pattern::new), Pattern::new(column))
            };
            patterns.iter().map(pattern).collect::<Vec<_>>()
        };
        let lists = Lists {
            allowed_tables: of_tables(&patterns.allowed_tables),
            denied_tables: of_tables(&patterns.denied_tables),
            allowed_columns: of_columns(&patterns.allowed_columns),
            denied_columns: of_columns(&patterns.denied_columns),
            hashed_columns: of_columns(&patterns.hashed_columns),
            salted: Salted(Sha256::new().chain_update(salt)),
        };
        Ok(Self(lists.says_something().then(|| Arc::new(lists))))
    }

    /// Whether everything lands as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether some tables are left out.
    pub(crate) fn chooses_tables(&self) -> bool {
        self.0.as_ref().is_some_and(|lists| !lists.allowed_tables.is_empty() || !lists.denied_tables.is_empty())
    }

    /// Whether rows may land in a table.
    pub fn takes_table(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|lists| {
            let is_allowed = lists.allowed_tables.is_empty() || one_matches(&lists.allowed_tables, name);
            is_allowed && !one_matches(&lists.denied_tables, name)
        })
    }

    /// What is said about the columns of a table.
    pub(crate) fn columns_of(&self, table: &str) -> Option<ColumnRules> {
        let lists = self.0.as_ref()?;
        let of_table = |patterns: &[(Option<Pattern>, Pattern)]| -> Vec<Pattern> {
            let is_concerned = |of: &Option<Pattern>| of.as_ref().is_none_or(|of| of.matches(table));
            patterns.iter().filter(|(of, _)| is_concerned(of)).map(|(_, column)| column.clone()).collect()
        };
        let allowed = of_table(&lists.allowed_columns);
        let rules = ColumnRules {
            allowed: if allowed.is_empty() { Vec::new() } else { vec![allowed] },
            denied: of_table(&lists.denied_columns),
            hashed: of_table(&lists.hashed_columns),
            salted: lists.salted.clone(),
        };
        rules.says_something().then_some(rules)
    }

    /// What is said about columns in any table: for text of which nobody knows the table.
    pub(crate) fn columns_of_any(&self) -> Option<ColumnRules> {
        let lists = self.0.as_ref()?;
        let all = |patterns: &[(Option<Pattern>, Pattern)]| -> Vec<Pattern> {
            patterns.iter().map(|(_, column)| column.clone()).collect()
        };
        let everywhere = lists.allowed_columns.iter().filter(|(table, _)| table.is_none());
        let everywhere: Vec<Pattern> = everywhere.map(|(_, column)| column.clone()).collect();
        let rules = ColumnRules {
            allowed: if lists.allowed_columns.is_empty() { Vec::new() } else { vec![everywhere] },
            denied: all(&lists.denied_columns),
            hashed: all(&lists.hashed_columns),
            salted: lists.salted.clone(),
        };
        rules.says_something().then_some(rules)
    }
}

impl Lists {
    fn says_something(&self) -> bool {
        let columns = [&self.allowed_columns, &self.denied_columns, &self.hashed_columns];
        let tables = [&self.allowed_tables, &self.denied_tables];
        columns.iter().any(|list| !list.is_empty()) || tables.iter().any(|list| !list.is_empty())
    }
}

/// What is said about the columns of one table.
#[derive(Clone, Debug)]
pub(crate) struct ColumnRules {
    /// Each list has to allow a column.
    allowed: Vec<Vec<Pattern>>,
    denied: Vec<Pattern>,
    hashed: Vec<Pattern>,
    salted: Salted,
}

impl ColumnRules {
    fn says_something(&self) -> bool {
        !self.allowed.is_empty() || !self.denied.is_empty() || !self.hashed.is_empty()
    }

    /// The rules of two tables at once, for values that are addressed to both.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.allowed.extend(other.allowed);
        self.denied.extend(other.denied);
        self.hashed.extend(other.hashed);
        self
    }

    /// Whether a column that events bring may be there.
    pub(crate) fn allows(&self, column: &str) -> bool {
        self.allowed.iter().all(|allowed| one_matches(allowed, column))
    }

    /// What the lists of denied and hashed columns say of a name.
    pub(crate) fn lists(&self, column: &str) -> Treatment {
        if one_matches(&self.denied, column) {
            Treatment::Deny
        } else if one_matches(&self.hashed, column) {
            Treatment::Hash
        } else {
            Treatment::Keep
        }
    }

    /// A column that events bring.
    pub(crate) fn of_brought(&self, column: &str) -> Treatment {
        if self.allows(column) { self.lists(column) } else { Treatment::Deny }
    }

    /// A system column.
    pub(crate) fn of_system(&self, column: &str) -> Treatment {
        match self.lists(column) {
            _ if NEEDED.contains(&column) => Treatment::Keep,
            Treatment::Hash if MOMENTS.contains(&column) => Treatment::Keep,
            treatment => treatment,
        }
    }

    /// A field of a call: the system column that it fills. What fills none is kept.
    pub(crate) fn of_field(&self, field: Field) -> Treatment {
        let column = match field {
            Field::AnonymousId => "anonymous_id",
            Field::UserId => "user_id",
            Field::Event => "event_text",
            Field::Name => "name",
            Field::Category => "category",
            Field::GroupId => "group_id",
            Field::PreviousId => "previous_id",
            Field::Timestamp => "timestamp",
            Field::SentAt => "sent_at",
            Field::OriginalTimestamp => "original_timestamp",
            Field::Type
            | Field::MessageId
            | Field::ReceivedAt
            | Field::Properties
            | Field::Traits
            | Field::Context
            | Field::Integrations
            | Field::Batch => return Treatment::Keep,
        };
        self.of_system(column)
    }

    /// The hash that stands for a value's text: 64 hexadecimal digits.
    pub(crate) fn hash(&self, text: &[u8]) -> String {
        let digest = self.salted.0.clone().chain_update(text).finalize();
        digest.iter().fold(String::with_capacity(64), |hash, byte| hash + &format!("{byte:02x}"))
    }
}

#[cfg(test)]
pub(crate) mod tests;
