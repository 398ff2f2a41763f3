//! Types in three vocabularies: SQL's, Delta's, and Unity Catalog's.

use serde_json::{Value, json};

/// A column type that statements can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SqlType {
    Boolean,
    Byte,
    Short,
    Int,
    Long,
    Float,
    Double,
    Decimal(u8, u8),
    String,
    Binary,
    Date,
    Timestamp,
    TimestampNtz,
}

impl SqlType {
    /// A type without parameters by its SQL name.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_uppercase().as_str() {
            "BOOLEAN" => Self::Boolean,
            "TINYINT" | "BYTE" => Self::Byte,
            "SMALLINT" | "SHORT" => Self::Short,
            "INT" | "INTEGER" => Self::Int,
            "BIGINT" | "LONG" => Self::Long,
            "FLOAT" | "REAL" => Self::Float,
            "DOUBLE" => Self::Double,
            "STRING" => Self::String,
            "BINARY" => Self::Binary,
            "DATE" => Self::Date,
            "TIMESTAMP" => Self::Timestamp,
            "TIMESTAMP_NTZ" => Self::TimestampNtz,
            _ => return None,
        })
    }

    /// A type by its name in a Delta schema.
    pub(crate) fn of_delta(name: &str) -> Option<Self> {
        if let Some(parameters) = name.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
            let (precision, scale) = parameters.split_once(',')?;
            return Some(Self::Decimal(precision.trim().parse().ok()?, scale.trim().parse().ok()?));
        }
        Some(match name {
            "boolean" => Self::Boolean,
            "byte" => Self::Byte,
            "short" => Self::Short,
            "integer" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "string" => Self::String,
            "binary" => Self::Binary,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "timestamp_ntz" => Self::TimestampNtz,
            _ => return None,
        })
    }

    /// As Delta's schema writes it.
    pub(crate) fn delta(self) -> String {
        match self {
            Self::Int => "integer".to_owned(),
            Self::Byte => "byte".to_owned(),
            Self::Short => "short".to_owned(),
            Self::Long => "long".to_owned(),
            other => other.text(),
        }
    }

    /// As SQL writes it, in lower case: Unity Catalog's `type_text`.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::Byte => "tinyint".to_owned(),
            Self::Short => "smallint".to_owned(),
            Self::Int => "int".to_owned(),
            Self::Long => "bigint".to_owned(),
            Self::Float => "float".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Decimal(precision, scale) => format!("decimal({precision},{scale})"),
            Self::String => "string".to_owned(),
            Self::Binary => "binary".to_owned(),
            Self::Date => "date".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::TimestampNtz => "timestamp_ntz".to_owned(),
        }
    }

    /// As enumerations name it: `LONG`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Byte => "BYTE",
            Self::Short => "SHORT",
            Self::Int => "INT",
            Self::Long => "LONG",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Decimal(..) => "DECIMAL",
            Self::String => "STRING",
            Self::Binary => "BINARY",
            Self::Date => "DATE",
            Self::Timestamp => "TIMESTAMP",
            Self::TimestampNtz => "TIMESTAMP_NTZ",
        }
    }
}

/// A field of a Delta schema.
pub(crate) fn field(name: &str, kind: SqlType, comment: Option<&str>) -> Value {
    let metadata = comment.map_or_else(|| json!({}), |comment| json!({"comment": comment}));
    json!({"name": name, "type": kind.delta(), "nullable": true, "metadata": metadata})
}

/// The text of a Delta type, nested ones included: `struct<a:bigint>`.
pub(crate) fn type_text(delta: &Value) -> String {
    if let Some(name) = delta.as_str() {
        return SqlType::of_delta(name).map_or_else(|| name.to_owned(), SqlType::text);
    }
    match delta["type"].as_str().unwrap_or_default() {
        "array" => format!("array<{}>", type_text(&delta["elementType"])),
        "map" => format!("map<{},{}>", type_text(&delta["keyType"]), type_text(&delta["valueType"])),
        _ => {
            let fields = delta["fields"].as_array().into_iter().flatten();
            let texts = fields.map(|f| format!("{}:{}", f["name"].as_str().unwrap_or_default(), type_text(&f["type"])));
            format!("struct<{}>", texts.collect::<Vec<_>>().join(","))
        }
    }
}

/// Unity Catalog's ColumnInfo of a field.
pub(crate) fn column_info(field: &Value, position: usize) -> Value {
    let kind = field["type"].as_str();
    let simple = kind.and_then(SqlType::of_delta);
    let (precision, scale) = match simple {
        Some(SqlType::Decimal(precision, scale)) => (precision, scale),
        _ => (0, 0),
    };
    let name = match (simple, kind, field["type"]["type"].as_str()) {
        (Some(simple), ..) => simple.name().to_owned(),
        (None, Some(other), _) => other.to_uppercase(),
        (None, None, nested) => nested.unwrap_or_default().to_uppercase(),
    };
    let mut info = json!({
        "name": field["name"], "type_text": type_text(&field["type"]), "type_json": field.to_string(),
        "type_name": name,
        "type_precision": precision, "type_scale": scale, "position": position, "nullable": field["nullable"],
    });
    if let Some(comment) = field["metadata"]["comment"].as_str() {
        info["comment"] = json!(comment);
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_reads_as_unity_catalog_shows_it() {
        let info = column_info(&field("n", SqlType::Long, Some("how many")), 3);
        assert_eq!(info["type_text"], "bigint");
        assert_eq!(info["type_name"], "LONG");
        assert_eq!(info["comment"], "how many");
        assert_eq!(
            info["type_json"],
            r#"{"metadata":{"comment":"how many"},"name":"n","nullable":true,"type":"long"}"#
        );
    }

    #[test]
    fn nested_and_decimal_types_have_their_texts() {
        let nested = json!({"type": "struct", "fields": [
            {"name": "a", "type": "long"}, {"name": "b", "type": {"type": "array", "elementType": "decimal(10,2)"}},
        ]});
        assert_eq!(type_text(&nested), "struct<a:bigint,b:array<decimal(10,2)>>");
        assert_eq!(SqlType::of_delta("decimal(10,2)"), Some(SqlType::Decimal(10, 2)));
        for word in ["BOOLEAN", "BIGINT", "DOUBLE", "STRING", "TIMESTAMP", "INT", "DATE"] {
            let kind = SqlType::parse(word).unwrap();
            assert_eq!(SqlType::of_delta(&kind.delta()), Some(kind), "{word}");
        }
    }
}
