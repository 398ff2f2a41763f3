//! Column types, and what a new column becomes when its values differ.
//!
//! A new column's type is the least type that holds all its values: bigint with double is double, any other mix is
//! string. [`Kind::join`] is that rule; it is commutative, associative and idempotent, so the order in which an
//! upload's values are seen cannot change the schema.

/// The five types that Inlet gives a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// BOOLEAN
    Boolean,
    /// BIGINT, 64 bits signed
    BigInt,
    /// DOUBLE
    Double,
    /// STRING
    String,
    /// TIMESTAMP: UTC, microseconds
    Timestamp,
}

impl ColumnType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Boolean, Self::BigInt, Self::Double, Self::String, Self::Timestamp];

    /// The type of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column_type| column_type.name() == name)
    }

    /// The SQL name in lower case, as reports print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::BigInt => "bigint",
            Self::Double => "double",
            Self::String => "string",
            Self::Timestamp => "timestamp",
        }
    }

    /// The least type that holds the values of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::BigInt, Self::Double) | (Self::Double, Self::BigInt) => Self::Double,
            _ => Self::String,
        }
    }
}

/// The type of a column that a table already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KnownType {
    /// A type that Inlet writes.
    Ours(ColumnType),
    /// A type that somebody else chose (DECIMAL, DATE, STRUCT …): values for it are rescued, the column stays NULL.
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::ColumnType::{self, *};

    #[test]
    fn join_is_a_semilattice() {
        for a in ColumnType::ALL {
            assert_eq!(a.join(a), a);
            for b in ColumnType::ALL {
                assert_eq!(a.join(b), b.join(a));
                for c in ColumnType::ALL {
                    assert_eq!(a.join(b).join(c), a.join(b.join(c)));
                }
            }
        }
    }

    #[test]
    fn only_numbers_meet_below_string() {
        assert_eq!(BigInt.join(Double), Double);
        assert_eq!(Boolean.join(BigInt), String);
        assert_eq!(Timestamp.join(String), String);
    }
}
