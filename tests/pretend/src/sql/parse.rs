//! The grammar: the statements that Databricks takes and that we can do, no more. What Databricks takes and we cannot
//! do is told apart from what makes no sense.

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Query, SelectItem, SetExpr, TableFactor, Value,
};
use sqlparser::tokenizer::Token;

use super::copy::CopyInto;
use super::cursor::Cursor;
use super::{ColumnDef, CreateTable, CreateView, Dropped, Name, Only, Refused, Sql};
use crate::statement::Failure;
use crate::types::SqlType;

/// First words of statements that Databricks has and we have not.
const NOT_HERE: [&str; 31] = [
    "ANALYZE", "BEGIN", "CACHE", "CALL", "CLEAR", "CONVERT", "DECLARE", "EXECUTE", "EXPLAIN", "FROM", "FSCK", "GRANT",
    "INSERT", "LIST", "LOAD", "MERGE", "PUT", "REFRESH", "REMOVE", "REORG", "RESET", "RESTORE", "REVOKE", "SET",
    "SYNC", "TABLE", "TRUNCATE", "UNCACHE", "UNDROP", "UPDATE", "USE",
];

/// Reads one statement.
pub(crate) fn parse(text: &str) -> Result<Sql, Refused> {
    let mut cursor = Cursor::new(text)?;
    let sql = statement(&mut cursor)?;
    cursor.end()?;
    Ok(sql)
}

fn statement(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    match cursor.word().as_deref() {
        Some("CREATE") => create(cursor),
        Some("ALTER") => alter(cursor),
        Some("COMMENT") => comment_on(cursor),
        Some("MSCK" | "REPAIR") => {
            cursor.take("MSCK");
            cursor.expect("REPAIR TABLE")?;
            let table = cursor.name()?;
            if !cursor.take("SYNC METADATA") {
                return Err(not_here("REPAIR TABLE without SYNC METADATA"));
            }
            Ok(Sql::SyncMetadata { table })
        }
        Some("DROP") => drop(cursor),
        Some("DESC" | "DESCRIBE") => {
            cursor.next();
            if cursor.take("DETAIL") {
                return Ok(Sql::DescribeDetail { table: cursor.name()? });
            }
            if !cursor.take("HISTORY") {
                return Err(not_here("DESCRIBE but DETAIL and HISTORY"));
            }
            let table = cursor.name()?;
            let limit = if cursor.take("LIMIT") { Some(cursor.number()?) } else { None };
            Ok(Sql::DescribeHistory { table, limit })
        }
        Some("COPY") => copy(cursor),
        Some("OPTIMIZE") => {
            cursor.next();
            let table = cursor.name()?;
            match cursor.word().as_deref() {
                Some(word @ ("WHERE" | "ZORDER" | "FULL")) => Err(not_here(&format!("OPTIMIZE … {word}"))),
                _ => Ok(Sql::Optimize { table }),
            }
        }
        Some("DELETE") => {
            cursor.expect("DELETE FROM")?;
            let table = cursor.name()?;
            if !cursor.take("WHERE") {
                return Err(not_here("DELETE without WHERE"));
            }
            let column = cursor.identifier()?;
            cursor.expect_token(&Token::Eq)?;
            Ok(Sql::Delete { table, column, value: cursor.string()? })
        }
        Some("VACUUM") => {
            cursor.next();
            let table = cursor.name()?;
            match cursor.word().as_deref() {
                Some(word @ ("RETAIN" | "DRY" | "LITE" | "FULL")) => Err(not_here(&format!("VACUUM … {word}"))),
                _ => Ok(Sql::Vacuum { table }),
            }
        }
        Some("SHOW") => {
            cursor.next();
            if !cursor.take("TABLES") {
                return Err(not_here("SHOW but SHOW TABLES"));
            }
            let named = cursor.take("IN") || cursor.take("FROM");
            let schema = if named { Some(cursor.name()?) } else { None };
            if cursor.word().is_some() {
                return Err(not_here("SHOW TABLES … LIKE"));
            }
            Ok(Sql::ShowTables { schema })
        }
        Some("SELECT" | "WITH" | "VALUES") => {
            let (query, _) = cursor.query()?;
            select(&query).ok_or_else(|| {
                not_here("SELECT but of one integer, of count(*) of one table [WHERE column IN (texts)], or of one column so")
            })
        }
        Some(word) if NOT_HERE.contains(&word) => Err(not_here(word)),
        _ => Err(cursor.stuck()),
    }
}

fn create(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    cursor.expect("CREATE")?;
    let or_replace = cursor.take("OR REPLACE");
    match cursor.word().as_deref() {
        Some("SCHEMA" | "DATABASE") if !or_replace => create_schema(cursor),
        Some("TABLE") if !or_replace => create_table(cursor),
        Some("TABLE") => replace_table(cursor),
        Some("VIEW") => create_view(cursor, or_replace),
        Some(
            "EXTERNAL" | "CATALOG" | "VOLUME" | "FUNCTION" | "TEMP" | "TEMPORARY" | "MATERIALIZED" | "STREAMING"
            | "GLOBAL" | "LOCATION" | "STORAGE" | "SHARE" | "CONNECTION",
        ) => {
            let what = if or_replace { "CREATE OR REPLACE" } else { "CREATE" };
            Err(not_here(&format!("{what} {}", cursor.word().unwrap_or_default())))
        }
        _ => Err(cursor.stuck()),
    }
}

fn create_schema(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    cursor.next();
    let if_not_exists = cursor.take("IF NOT EXISTS");
    let name = cursor.name()?;
    let (mut comment, mut managed_location) = (None, None);
    loop {
        if comment.is_none() && cursor.take("COMMENT") {
            comment = Some(cursor.string()?);
        } else if managed_location.is_none() && cursor.take("MANAGED LOCATION") {
            managed_location = Some(cursor.string()?);
        } else if cursor.take("WITH") || cursor.take("LOCATION") || cursor.take("DEFAULT") {
            return Err(not_here("CREATE SCHEMA with DBPROPERTIES, LOCATION or DEFAULT"));
        } else {
            return Ok(Sql::CreateSchema { name, if_not_exists, comment, managed_location });
        }
    }
}

fn create_table(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    cursor.next();
    let if_not_exists = cursor.take("IF NOT EXISTS");
    let name = cursor.name()?;
    let columns = if cursor.peek() == Some(&Token::LParen) { cursor.list(column)? } else { Vec::new() };
    let (mut using, mut location, mut comment, mut properties) = (None, None, None, None);
    loop {
        if using.is_none() && cursor.take("USING") {
            using = Some(cursor.identifier()?.to_uppercase());
        } else if location.is_none() && cursor.take("LOCATION") {
            location = Some(cursor.string()?);
        } else if comment.is_none() && cursor.take("COMMENT") {
            comment = Some(cursor.string()?);
        } else if properties.is_none() && cursor.take("TBLPROPERTIES") {
            properties = Some(cursor.list(property)?);
        } else {
            break;
        }
    }
    if let Some(
        word @ ("PARTITIONED" | "CLUSTER" | "CLUSTERED" | "OPTIONS" | "AS" | "SELECT" | "LIKE" | "SHALLOW" | "DEEP"
        | "WITH"),
    ) = cursor.word().as_deref()
    {
        return Err(not_here(&format!("CREATE TABLE … {word}")));
    }
    if using.as_deref().is_some_and(|using| using != "DELTA") {
        return Err(not_here(&format!("CREATE TABLE … USING {}", using.unwrap_or_default())));
    }
    let properties = properties.unwrap_or_default();
    Ok(Sql::CreateTable(CreateTable { name, if_not_exists, columns, location, comment, properties }))
}

fn replace_table(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    cursor.next();
    let table = cursor.name()?;
    if !cursor.take("AS") {
        return Err(not_here("CREATE OR REPLACE TABLE but AS SELECT"));
    }
    cursor.expect("SELECT")?;
    let items = cursor.select_items()?;
    cursor.expect("FROM")?;
    let from = cursor.name()?;
    match cursor.word() {
        None => Ok(Sql::ReplaceTable { table, items, from }),
        Some(word) => Err(not_here(&format!("CREATE OR REPLACE TABLE … AS SELECT … {word}"))),
    }
}

fn create_view(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<Sql, Refused> {
    cursor.next();
    let if_not_exists = cursor.take("IF NOT EXISTS");
    let name = cursor.name()?;
    let mut columns = Vec::new();
    if cursor.peek() == Some(&Token::LParen) {
        columns = cursor.list(|cursor| {
            let name = cursor.identifier()?;
            let comment = if cursor.take("COMMENT") { Some(cursor.string()?) } else { None };
            Ok((name, comment))
        })?;
    }
    let (mut comment, mut properties) = (None, None);
    loop {
        if comment.is_none() && cursor.take("COMMENT") {
            comment = Some(cursor.string()?);
        } else if properties.is_none() && cursor.take("TBLPROPERTIES") {
            properties = Some(cursor.list(property)?);
        } else {
            break;
        }
    }
    if cursor.word().as_deref() == Some("WITH") {
        return Err(not_here("CREATE VIEW … WITH"));
    }
    cursor.expect("AS")?;
    let (query, text) = cursor.query()?;
    let properties = properties.unwrap_or_default();
    Ok(Sql::CreateView(Box::new(CreateView {
        name,
        or_replace,
        if_not_exists,
        columns,
        comment,
        properties,
        query,
        text,
    })))
}

fn alter(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    cursor.expect("ALTER")?;
    if !cursor.take("TABLE") {
        return Err(not_here(&format!("ALTER {}", cursor.word().unwrap_or_default())));
    }
    let table = cursor.name()?;
    if cursor.take("ADD COLUMNS") || cursor.take("ADD COLUMN") {
        let columns = match cursor.peek() {
            Some(Token::LParen) => cursor.list(column)?,
            _ => vec![column(cursor)?],
        };
        if let Some(word @ ("FIRST" | "AFTER")) = cursor.word().as_deref() {
            return Err(not_here(&format!("ADD COLUMNS … {word}")));
        }
        return Ok(Sql::AddColumns { table, columns });
    }
    if cursor.take("SET TBLPROPERTIES") {
        return Ok(Sql::SetProperties { table, properties: cursor.list(property)? });
    }
    if cursor.take("ALTER COLUMN") || cursor.take("CHANGE COLUMN") {
        let column = cursor.identifier()?;
        if !cursor.take("COMMENT") {
            return Err(not_here("ALTER COLUMN but COMMENT"));
        }
        return Ok(Sql::ColumnComment { table, column, comment: cursor.string()? });
    }
    match cursor.word().as_deref() {
        Some(
            word @ ("ADD" | "SET" | "UNSET" | "DROP" | "RENAME" | "ALTER" | "CHANGE" | "CLUSTER" | "REPLACE" | "OWNER"),
        ) => Err(not_here(&format!("ALTER TABLE … {word}"))),
        _ => Err(cursor.stuck()),
    }
}

fn comment_on(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    cursor.expect("COMMENT ON")?;
    let of_table = cursor.take("TABLE");
    if !of_table && !cursor.take("SCHEMA") && !cursor.take("DATABASE") {
        return match cursor.word().as_deref() {
            Some(word @ ("COLUMN" | "CATALOG" | "VOLUME" | "CONNECTION" | "SHARE")) => {
                Err(not_here(&format!("COMMENT ON {word}")))
            }
            _ => Err(cursor.stuck()),
        };
    }
    let name = cursor.name()?;
    cursor.expect("IS")?;
    let comment = if cursor.take("NULL") { None } else { Some(cursor.string()?) };
    Ok(match of_table {
        true => Sql::CommentOnTable { table: name, comment },
        false => Sql::CommentOnSchema { schema: name, comment },
    })
}

fn drop(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    cursor.expect("DROP")?;
    let word = cursor.word().unwrap_or_default();
    let mut what = match word.as_str() {
        "TABLE" => Dropped::Table,
        "VIEW" => Dropped::View,
        "SCHEMA" | "DATABASE" => Dropped::Schema { cascade: false },
        "CATALOG" | "VOLUME" | "FUNCTION" | "CONNECTION" | "SHARE" => return Err(not_here(&format!("DROP {word}"))),
        _ => return Err(cursor.stuck()),
    };
    cursor.next();
    let if_exists = cursor.take("IF EXISTS");
    let name = cursor.name()?;
    if let Dropped::Schema { cascade } = &mut what {
        *cascade = cursor.take("CASCADE");
        if !*cascade {
            cursor.take("RESTRICT");
        }
    }
    Ok(Sql::Drop { what, name, if_exists })
}

fn copy(cursor: &mut Cursor<'_>) -> Result<Sql, Refused> {
    cursor.expect("COPY INTO")?;
    let table = cursor.name()?;
    if cursor.peek() == Some(&Token::LParen) || cursor.word().as_deref() == Some("BY") {
        return Err(not_here("COPY INTO with columns or BY POSITION"));
    }
    cursor.expect("FROM")?;
    let (select, from) = if cursor.take_token(&Token::LParen) {
        cursor.expect("SELECT")?;
        let items = cursor.select_items()?;
        cursor.expect("FROM")?;
        let from = cursor.string()?;
        cursor.expect_token(&Token::RParen)?;
        (Some(items), from)
    } else {
        (None, cursor.string()?)
    };
    if !from.starts_with("/Volumes/") && !from.contains("://") {
        return Err(not_here("COPY INTO but from volumes and places in storage"));
    }
    cursor.expect("FILEFORMAT")?;
    cursor.expect_token(&Token::Eq)?;
    let format = cursor.identifier()?.to_uppercase();
    if format != "PARQUET" {
        return Err(not_here(&format!("COPY INTO with FILEFORMAT = {format}")));
    }
    if !cursor.take("FILES") {
        return Err(not_here("COPY INTO without FILES"));
    }
    cursor.expect_token(&Token::Eq)?;
    let files = cursor.list(Cursor::string)?;
    let of_format = switched_on(cursor, "FORMAT_OPTIONS", &["mergeschema"])?;
    let of_copy = switched_on(cursor, "COPY_OPTIONS", &["mergeschema", "force"])?;
    let merges = |switches: &[String]| switches.iter().any(|switch| switch == "mergeschema");
    Ok(Sql::CopyInto(CopyInto {
        table,
        select,
        from,
        files,
        merges_files: merges(&of_format),
        merges_table: merges(&of_copy),
        force: of_copy.iter().any(|switch| switch == "force"),
    }))
}

/// The options that are `'true'`, in lower case.
fn switched_on(cursor: &mut Cursor<'_>, words: &str, known: &[&str]) -> Result<Vec<String>, Refused> {
    let given = if cursor.take(words) { cursor.list(property)? } else { Vec::new() };
    let mut on = Vec::new();
    for (key, value) in given {
        match value.to_lowercase().as_str() {
            "true" if known.contains(&key.to_lowercase().as_str()) => on.push(key.to_lowercase()),
            "false" if known.contains(&key.to_lowercase().as_str()) => {}
            _ => return Err(not_here(&format!("COPY INTO with {words} ('{key}' = '{value}')"))),
        }
    }
    Ok(on)
}

fn column(cursor: &mut Cursor<'_>) -> Result<ColumnDef, Refused> {
    let name = cursor.identifier()?;
    let word = cursor.word().ok_or_else(|| cursor.stuck())?;
    cursor.next();
    let kind = match word.as_str() {
        "DECIMAL" | "DEC" | "NUMERIC" => decimal(cursor)?,
        "ARRAY" | "MAP" | "STRUCT" | "VARIANT" | "VARCHAR" | "CHAR" | "CHARACTER" | "INTERVAL" | "VOID" | "OBJECT"
        | "GEOMETRY" | "GEOGRAPHY" => return Err(not_here(&format!("columns of type {word}"))),
        other => SqlType::parse(other).ok_or_else(|| {
            let class = Failure::class("UNSUPPORTED_DATATYPE", "0A000", format!("Unsupported data type \"{other}\"."));
            Refused::Failed(class)
        })?,
    };
    let comment = if cursor.take("COMMENT") { Some(cursor.string()?) } else { None };
    match cursor.word().as_deref() {
        Some(
            word @ ("NOT" | "DEFAULT" | "GENERATED" | "COLLATE" | "PRIMARY" | "MASK" | "CONSTRAINT" | "REFERENCES"),
        ) => Err(not_here(&format!("columns with {word}"))),
        _ => Ok(ColumnDef { name, kind, comment }),
    }
}

fn decimal(cursor: &mut Cursor<'_>) -> Result<SqlType, Refused> {
    if cursor.peek() != Some(&Token::LParen) {
        return Ok(SqlType::Decimal(10, 0));
    }
    let numbers = cursor.list(|cursor| match cursor.next() {
        Some(Token::Number(digits, false)) => digits.parse::<u8>().map_err(|_| cursor.stuck()),
        _ => Err(cursor.stuck()),
    })?;
    match numbers[..] {
        [precision] if precision <= 38 => Ok(SqlType::Decimal(precision, 0)),
        [precision, scale] if precision <= 38 && scale <= precision => Ok(SqlType::Decimal(precision, scale)),
        _ => Err(cursor.stuck()),
    }
}

/// `'key' = 'value'`
fn property(cursor: &mut Cursor<'_>) -> Result<(String, String), Refused> {
    let key = match cursor.peek() {
        Some(Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)) => cursor.string()?,
        _ => {
            let mut key = cursor.identifier()?;
            while cursor.take_token(&Token::Period) {
                key = format!("{key}.{}", cursor.identifier()?);
            }
            key
        }
    };
    cursor.take_token(&Token::Eq);
    let value = match cursor.peek().cloned() {
        Some(Token::Number(digits, _)) => {
            cursor.next();
            digits
        }
        _ if cursor.take("TRUE") => "true".to_owned(),
        _ if cursor.take("FALSE") => "false".to_owned(),
        _ => cursor.string()?,
    };
    Ok((key, value))
}

/// The queries that we can answer.
fn select(query: &Query) -> Option<Sql> {
    let plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let filtered = select.having.is_some() || select.distinct.is_some() || select.qualify.is_some();
    let [item] = &select.projection[..] else { return None };
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { return None };
    match (expr, &select.from[..]) {
        _ if !plain || filtered => None,
        (Expr::Value(value), []) => match &value.value {
            Value::Number(digits, false) if select.selection.is_none() => Some(Sql::Literal(digits.parse().ok()?)),
            _ => None,
        },
        (Expr::Identifier(column), [from]) if from.joins.is_empty() => {
            let only = only(select.selection.as_ref()?)?;
            Some(Sql::Texts { table: table_of(&from.relation)?, column: column.value.clone(), only })
        }
        (Expr::Function(function), [from]) if from.joins.is_empty() => {
            let table = table_of(&from.relation)?;
            let FunctionArguments::List(arguments) = &function.args else { return None };
            let is_count = function.name.to_string().eq_ignore_ascii_case("count")
                && function.filter.is_none()
                && function.over.is_none();
            let all = matches!(arguments.args[..], [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
            let only = match &select.selection {
                Some(condition) => Some(only(condition)?),
                None => None,
            };
            (is_count && all).then_some(Sql::Count { table, only })
        }
        _ => None,
    }
}

/// A table by its name alone.
fn table_of(relation: &TableFactor) -> Option<Name> {
    let TableFactor::Table { name, alias: None, args: None, .. } = relation else { return None };
    let parts = name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.clone()));
    parts.collect::<Option<Vec<_>>>().map(Name)
}

/// `column IN ('x', …)`
fn only(condition: &Expr) -> Option<Only> {
    let Expr::InList { expr, list, negated: false } = condition else { return None };
    let Expr::Identifier(column) = expr.as_ref() else { return None };
    let text = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    Some(Only { column: column.value.clone(), values: list.iter().map(text).collect::<Option<_>>()? })
}

fn not_here(what: &str) -> Refused {
    Refused::NotHere(what.to_owned())
}
