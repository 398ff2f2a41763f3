//! SQL as a warehouse takes it: read strictly, applied to Unity Catalog and to real Delta logs.

mod alter;
pub(crate) mod apply;
mod copy;
mod create;
mod cursor;
mod failures;
pub(crate) mod parse;
mod project;
mod properties;
mod replace;
mod rows;
mod staged;
mod view;

use crate::statement::Failure;

/// Why a text is no statement for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Databricks would fail it so.
    Failed(Failure),
    /// Databricks has it and we do not.
    NotHere(String),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A name of up to three parts as written; missing ones come from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) Vec<String>);

/// `name TYPE COMMENT '…'`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) kind: crate::types::SqlType,
    pub(crate) comment: Option<String>,
}

/// What DROP drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    Table,
    View,
    Schema { cascade: bool },
}

/// `WHERE column IN ('x', …)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Only {
    pub(crate) column: String,
    pub(crate) values: Vec<String>,
}

/// A statement that we can do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sql {
    CreateSchema {
        name: Name,
        if_not_exists: bool,
        comment: Option<String>,
        managed_location: Option<String>,
    },
    CreateTable(CreateTable),
    AddColumns {
        table: Name,
        columns: Vec<ColumnDef>,
    },
    SetProperties {
        table: Name,
        properties: Vec<(String, String)>,
    },
    ColumnComment {
        table: Name,
        column: String,
        comment: String,
    },
    CommentOnTable {
        table: Name,
        comment: Option<String>,
    },
    CommentOnSchema {
        schema: Name,
        comment: Option<String>,
    },
    SyncMetadata {
        table: Name,
    },
    CreateView(Box<CreateView>),
    Drop {
        what: Dropped,
        name: Name,
        if_exists: bool,
    },
    DescribeDetail {
        table: Name,
    },
    /// `SELECT 1`
    Literal(i64),
    DescribeHistory {
        table: Name,
        limit: Option<usize>,
    },
    CopyInto(copy::CopyInto),
    /// `CREATE OR REPLACE TABLE t AS SELECT … FROM t`
    ReplaceTable {
        table: Name,
        items: Vec<sqlparser::ast::SelectItem>,
        from: Name,
    },
    /// `SELECT count(*) FROM t`, `… WHERE c IN ('x', 'y')`
    Count {
        table: Name,
        only: Option<Only>,
    },
    /// `SELECT a FROM t WHERE c IN ('x', 'y')`
    Texts {
        table: Name,
        column: String,
        only: Only,
    },
    /// `DELETE FROM t WHERE column = 'text'`
    Delete {
        table: Name,
        column: String,
        value: String,
    },
    Vacuum {
        table: Name,
    },
    Optimize {
        table: Name,
    },
    ShowTables {
        schema: Option<Name>,
    },
}

/// `CREATE TABLE`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CreateTable {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) location: Option<String>,
    pub(crate) comment: Option<String>,
    pub(crate) properties: Vec<(String, String)>,
}

/// `CREATE VIEW`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CreateView {
    pub(crate) name: Name,
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    /// Name and comment, where the view names its columns.
    pub(crate) columns: Vec<(String, Option<String>)>,
    pub(crate) comment: Option<String>,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) query: sqlparser::ast::Query,
    /// The query as it was written.
    pub(crate) text: String,
}

/// Rows as Parquet, for tests to stage.
#[cfg(test)]
pub(crate) fn write_parquet(batch: &deltalake::arrow::record_batch::RecordBatch) -> Vec<u8> {
    staged::write(batch).unwrap()
}
