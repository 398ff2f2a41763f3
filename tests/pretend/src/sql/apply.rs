//! Statements take effect: rights are checked, logs are written, and Unity Catalog remembers what each statement saw.

use super::copy::copy;
use super::create::{Wanted, create};
use super::failures::{exists, failed, missing_table, not_here, require_catalog};
use super::replace::replace;
use super::staged::{count_only, texts_of};
use super::{CreateTable, CreateView, Dropped, Name, Refused, Sql, alter, rows, view};
use crate::clock;
use crate::lake::{Log, Place};
use crate::locations::clean;
use crate::names::{checked_name, lower};
use crate::privileges::{Kind, Privilege, Securable};
use crate::reply::Code;
use crate::state::{Caller, State, Table, TableKind, uuid};
use crate::statement::{Failure, Rows, Statement};
use crate::workspace::Workspace;

/// Does what a statement says.
pub(crate) async fn apply(workspace: &Workspace, statement: &Statement, sql: &Sql) -> Result<Rows, Failure> {
    let _turn = workspace.turn.lock().await;
    let session = Session { workspace, statement };
    if !matches!(sql, Sql::Literal(_)) {
        session.require_metastore()?;
    }
    match sql {
        Sql::CreateSchema { name, if_not_exists, comment, managed_location } => {
            session.create_schema(name, *if_not_exists, comment.clone(), managed_location.as_deref())
        }
        Sql::CreateTable(wanted) => session.create_table(wanted).await,
        Sql::CreateView(wanted) => session.create_view(wanted),
        Sql::AddColumns { table, columns } => {
            let (full, place) = session.to_alter(table, &[Privilege::Modify])?;
            let log = alter::add_columns(workspace, &place, columns).await?;
            session.seen(&full, &log)
        }
        Sql::SetProperties { table, properties } => {
            let (full, place) = session.to_alter(table, &[Privilege::Modify])?;
            let log = alter::set_properties(workspace, &place, properties).await?;
            session.seen(&full, &log)
        }
        Sql::ColumnComment { table, column, comment } => {
            let (full, place) = session.to_alter(table, &[Privilege::Modify])?;
            let log = alter::column_comment(workspace, &place, column, comment).await?;
            session.seen(&full, &log)
        }
        Sql::CommentOnTable { table, comment } => session.comment_on_table(table, comment.as_deref()).await,
        Sql::CommentOnSchema { schema, comment } => session.comment_on_schema(schema, comment.clone()),
        Sql::SyncMetadata { table } => {
            let (full, place) = session.to_alter(table, &[Privilege::Modify, Privilege::Select])?;
            let log = place.read(None).await?;
            session.seen(&full, &log)
        }
        Sql::Drop { what, name, if_exists } => session.drop(*what, name, *if_exists).await,
        Sql::DescribeDetail { table } => {
            let (full, place) = session.to_alter(table, &[Privilege::Select])?;
            let location = session.table(&full)?.location.unwrap_or_default();
            Ok(rows::detail(&place.read(None).await?, &full, &location))
        }
        Sql::Literal(number) => Ok(rows::literal(*number)),
        Sql::DescribeHistory { table, limit } => {
            let (_, place) = session.to_alter(table, &[Privilege::Select])?;
            let newest = place.read(None).await?.version;
            Ok(rows::history(&place.commits(newest, limit.unwrap_or(usize::MAX)).await?))
        }
        Sql::CopyInto(wanted) => {
            let (full, place) = session.to_alter(&wanted.table, &[Privilege::Modify])?;
            let (log, told) = copy(workspace, &statement.caller, &full, &place, wanted).await?;
            session.seen(&full, &log)?;
            Ok(told)
        }
        Sql::ReplaceTable { table, items, from } => {
            let (_, source) = session.to_alter(from, &[Privilege::Select])?;
            let (full, place) = session.to_replace(table)?;
            let log = replace(workspace, &place, &source, items).await?;
            session.seen(&full, &log)
        }
        Sql::Count { table, only } => {
            let (_, place) = session.to_alter(table, &[Privilege::Select])?;
            let log = place.read(None).await?;
            match only {
                None => rows::count(&log),
                Some(only) => Ok(rows::counted(count_only(&place, &log, only).await?)),
            }
        }
        Sql::Texts { table, column, only } => {
            let (_, place) = session.to_alter(table, &[Privilege::Select])?;
            let log = place.read(None).await?;
            Ok(rows::texts(column, texts_of(&place, &log, column, only).await?))
        }
        Sql::Delete { table, column, value } => {
            let (_, place) = session.to_alter(table, &[Privilege::Select, Privilege::Modify])?;
            Ok(rows::affected(alter::delete(workspace, &place, column, value).await?))
        }
        Sql::Vacuum { table } => {
            // What is younger than seven days stays: of a table of a test that is everything.
            let (full, _) = session.to_alter(table, &[Privilege::Select, Privilege::Modify])?;
            Ok(rows::vacuumed(&session.table(&full)?.location.unwrap_or_default()))
        }
        Sql::Optimize { table } => {
            let (full, place) = session.to_alter(table, &[Privilege::Select, Privilege::Modify])?;
            let files = alter::optimize(workspace, &place).await?;
            Ok(rows::optimized(&session.table(&full)?.location.unwrap_or_default(), files))
        }
        Sql::ShowTables { schema } => session.show_tables(schema.as_ref()),
    }
}

/// One statement and who says it.
struct Session<'a> {
    workspace: &'a Workspace,
    statement: &'a Statement,
}

impl Session<'_> {
    fn caller(&self) -> &Caller {
        &self.statement.caller
    }

    fn require_metastore(&self) -> Result<(), Failure> {
        self.workspace.state().require_metastore().map_err(|_| {
            let text = "Operation requires Unity Catalog enabled.";
            Failure::class("OPERATION_REQUIRES_UNITY_CATALOG", "0AKUD", text)
        })
    }

    /// Catalog and schema of a name of one or two parts, or of none.
    fn schema_of(&self, name: Option<&Name>) -> Result<(String, String), Failure> {
        let default = |given: &Option<String>, otherwise: &str| {
            given.clone().map_or_else(|| otherwise.to_owned(), |name| lower(&name))
        };
        let catalog = || default(&self.statement.catalog, "hive_metastore");
        match name.map(|name| &name.0[..]) {
            None => Ok((catalog(), default(&self.statement.schema, "default"))),
            Some([schema]) => Ok((catalog(), lower(schema))),
            Some([catalog, schema]) => Ok((lower(catalog), lower(schema))),
            Some(_) => Err(Failure::class("REQUIRES_SINGLE_PART_NAMESPACE", "42K05", "The name has too many parts.")),
        }
    }

    /// Catalog, schema and table of a name.
    fn table_of(&self, name: &Name) -> Result<(String, String, String), Failure> {
        let Some((table, rest)) = name.0.split_last() else { return Err(missing_table("")) };
        let schema = (!rest.is_empty()).then(|| Name(rest.to_vec()));
        let (catalog, schema) = match &schema {
            Some(schema) => self.schema_of(Some(schema))?,
            None => self.schema_of(None)?,
        };
        Ok((catalog, schema, lower(table)))
    }

    /// The way into a schema that is there.
    fn enter(&self, state: &State, catalog: &str, schema: &str) -> Result<(), Failure> {
        require_catalog(state, catalog)?;
        state.require(self.caller(), Privilege::UseCatalog, &Securable::new(Kind::Catalog, catalog)).map_err(failed)?;
        if !state.schemas.contains_key(&format!("{catalog}.{schema}")) {
            let text = format!(
                "The schema `{catalog}`.`{schema}` cannot be found. Verify the spelling and correctness of the \
                 schema and catalog."
            );
            return Err(Failure::class("SCHEMA_NOT_FOUND", "42704", text));
        }
        state.require_use(self.caller(), catalog, schema).map_err(failed)
    }

    fn table(&self, full: &str) -> Result<Table, Failure> {
        self.workspace.state().tables.get(full).cloned().ok_or_else(|| missing_table(full))
    }

    /// A table with a log, on which the caller has these rights.
    fn to_alter(&self, name: &Name, privileges: &[Privilege]) -> Result<(String, Place), Failure> {
        let (catalog, schema, table) = self.table_of(name)?;
        let full = format!("{catalog}.{schema}.{table}");
        let location = {
            let state = self.workspace.state();
            self.enter(&state, &catalog, &schema)?;
            let Some(known) = state.tables.get(&full) else { return Err(missing_table(&full)) };
            for privilege in privileges {
                state.require(self.caller(), *privilege, &Securable::new(Kind::Table, &full)).map_err(failed)?;
            }
            known.location.clone()
        };
        let Some(location) = location else {
            return Err(Failure::class(
                "EXPECT_TABLE_NOT_VIEW.NO_ALTERNATIVE",
                "42809",
                format!("`{full}` is a view."),
            ));
        };
        Ok((full, self.workspace.lakes.place(&location)?))
    }

    /// A table that is there and that the caller may replace.
    fn to_replace(&self, name: &Name) -> Result<(String, Place), Failure> {
        let (catalog, schema, table) = self.table_of(name)?;
        let full = format!("{catalog}.{schema}.{table}");
        {
            let state = self.workspace.state();
            if !state.tables.contains_key(&full) {
                return Err(not_here("CREATE OR REPLACE TABLE … AS SELECT of a table that is not there"));
            }
            state.require_owner(self.caller(), &Securable::new(Kind::Table, &full)).map_err(failed)?;
        }
        self.to_alter(name, &[])
    }

    /// Unity Catalog takes over what the log says now.
    fn seen(&self, full: &str, log: &Log) -> Result<Rows, Failure> {
        if let Some(table) = self.workspace.state().tables.get_mut(full) {
            table.columns = log.fields();
            table.properties = log.catalog_properties();
            table.comment = log.description().or_else(|| table.comment.take());
            table.updated_at = clock::epoch_ms();
        }
        Ok(Rows::default())
    }

    fn create_schema(
        &self,
        name: &Name,
        if_not_exists: bool,
        comment: Option<String>,
        root: Option<&str>,
    ) -> Result<Rows, Failure> {
        let (catalog, schema) = self.schema_of(Some(name))?;
        let mut state = self.workspace.state();
        require_catalog(&state, &catalog)?;
        let made =
            crate::schemas::create(&mut state, self.caller(), &catalog, &schema, comment, Default::default(), root);
        match made {
            Err(refusal) if refusal.code == Code::Word("SCHEMA_ALREADY_EXISTS") => match if_not_exists {
                true => Ok(Rows::default()),
                false => {
                    let text = format!("Cannot create schema `{catalog}`.`{schema}` because it already exists.");
                    Err(Failure::class("SCHEMA_ALREADY_EXISTS", "42P06", text))
                }
            },
            Err(refusal) => Err(failed(refusal)),
            Ok(()) => Ok(Rows::default()),
        }
    }

    async fn create_table(&self, wanted: &CreateTable) -> Result<Rows, Failure> {
        let (catalog, schema, name) = self.table_of(&wanted.name)?;
        let full = format!("{catalog}.{schema}.{name}");
        let in_schema = format!("{catalog}.{schema}");
        let id = uuid();
        let location = {
            let state = self.workspace.state();
            self.enter(&state, &catalog, &schema)?;
            state
                .require(self.caller(), Privilege::CreateTable, &Securable::new(Kind::Schema, &in_schema))
                .map_err(failed)?;
            checked_name(&name).map_err(failed)?;
            if state.tables.contains_key(&full) {
                return if wanted.if_not_exists { Ok(Rows::default()) } else { Err(exists(&full)) };
            }
            match &wanted.location {
                Some(location) => {
                    let location = clean(location);
                    crate::tables::require_external(&state, self.caller(), &location).map_err(failed)?;
                    location
                }
                None => crate::tables::managed_location(&state, &in_schema, "tables", &id).map_err(failed)?,
            }
        };
        let fields = alter::fields_of(&wanted.columns, &[])?;
        let place = self.workspace.lakes.place(&location)?;
        let is_managed = wanted.location.is_none();
        let comment = wanted.comment.as_deref();
        let properties = &wanted.properties;
        let asked = Wanted { label: &full, location: &location, is_managed, fields, comment, properties };
        let log = create(self.workspace, &place, &asked).await?;
        let now = clock::epoch_ms();
        let table = Table {
            schema: in_schema,
            name,
            id,
            kind: if is_managed { TableKind::Managed } else { TableKind::External },
            owner: self.caller().name.clone(),
            location: Some(location),
            columns: log.fields(),
            comment: wanted.comment.clone().or_else(|| log.description()),
            properties: log.catalog_properties(),
            view_definition: None,
            created_at: now,
            updated_at: now,
            copied: std::collections::BTreeSet::new(),
        };
        self.workspace.state().tables.insert(full, table);
        Ok(Rows::default())
    }

    fn create_view(&self, wanted: &CreateView) -> Result<Rows, Failure> {
        let (catalog, schema, name) = self.table_of(&wanted.name)?;
        let full = format!("{catalog}.{schema}.{name}");
        let in_schema = format!("{catalog}.{schema}");
        let mut state = self.workspace.state();
        self.enter(&state, &catalog, &schema)?;
        checked_name(&name).map_err(failed)?;
        let mut id = uuid();
        let mut created_at = clock::epoch_ms();
        match state.tables.get(&full) {
            Some(_) if wanted.if_not_exists => return Ok(Rows::default()),
            Some(known) if wanted.or_replace && known.kind == TableKind::View => {
                state.require_owner(self.caller(), &Securable::new(Kind::Table, &full)).map_err(failed)?;
                (id, created_at) = (known.id.clone(), known.created_at);
            }
            Some(known) if wanted.or_replace && known.kind != TableKind::View => {
                return Err(Failure::class(
                    "EXPECT_VIEW_NOT_TABLE.NO_ALTERNATIVE",
                    "42809",
                    format!("`{full}` is a table."),
                ));
            }
            Some(_) => return Err(exists(&full)),
            None => {
                state
                    .require(self.caller(), Privilege::CreateTable, &Securable::new(Kind::Schema, &in_schema))
                    .map_err(failed)?;
            }
        }
        let lookup = |name: &Name| {
            let (catalog, schema, table) = self.table_of(name)?;
            let full = format!("{catalog}.{schema}.{table}");
            self.enter(&state, &catalog, &schema)?;
            let known = state.tables.get(&full).ok_or_else(|| missing_table(&full))?;
            state.require(self.caller(), Privilege::Select, &Securable::new(Kind::Table, &full)).map_err(failed)?;
            Ok(known.columns.clone())
        };
        let mut columns = view::fields(&wanted.query, &lookup).map_err(|refused| match refused {
            Refused::Failed(failure) => failure,
            Refused::NotHere(what) => not_here(&what),
        })?;
        if !wanted.columns.is_empty() {
            if wanted.columns.len() != columns.len() {
                let text = format!(
                    "Cannot create view `{full}`, the reason is that it names another number of columns than its query."
                );
                return Err(Failure::class("CREATE_VIEW_COLUMN_ARITY_MISMATCH", "21S01", text));
            }
            for (field, (name, comment)) in columns.iter_mut().zip(&wanted.columns) {
                field["name"] = name.as_str().into();
                if let Some(comment) = comment {
                    field["metadata"]["comment"] = comment.as_str().into();
                }
            }
        }
        let table = Table {
            schema: in_schema,
            name,
            id,
            kind: TableKind::View,
            owner: self.caller().name.clone(),
            location: None,
            columns,
            comment: wanted.comment.clone(),
            properties: wanted.properties.iter().cloned().collect(),
            view_definition: Some(wanted.text.clone()),
            created_at,
            updated_at: clock::epoch_ms(),
            copied: std::collections::BTreeSet::new(),
        };
        state.tables.insert(full, table);
        Ok(Rows::default())
    }

    async fn comment_on_table(&self, name: &Name, comment: Option<&str>) -> Result<Rows, Failure> {
        let (catalog, schema, table) = self.table_of(name)?;
        let full = format!("{catalog}.{schema}.{table}");
        {
            let mut state = self.workspace.state();
            self.enter(&state, &catalog, &schema)?;
            let is_view = state.tables.get(&full).is_some_and(|table| table.kind == TableKind::View);
            if is_view {
                state.require_owner(self.caller(), &Securable::new(Kind::Table, &full)).map_err(failed)?;
                if let Some(view) = state.tables.get_mut(&full) {
                    view.comment = comment.map(str::to_owned);
                }
                return Ok(Rows::default());
            }
        }
        let (full, place) = self.to_alter(name, &[Privilege::Modify])?;
        let log = alter::comment(self.workspace, &place, comment).await?;
        if let Some(table) = self.workspace.state().tables.get_mut(&full) {
            table.comment = None;
        }
        self.seen(&full, &log)
    }

    fn comment_on_schema(&self, name: &Name, comment: Option<String>) -> Result<Rows, Failure> {
        let (catalog, schema) = self.schema_of(Some(name))?;
        let mut state = self.workspace.state();
        self.enter(&state, &catalog, &schema)?;
        let full = format!("{catalog}.{schema}");
        state.require_owner(self.caller(), &Securable::new(Kind::Schema, &full)).map_err(failed)?;
        if let Some(schema) = state.schemas.get_mut(&full) {
            schema.comment = comment;
        }
        Ok(Rows::default())
    }

    async fn drop(&self, what: Dropped, name: &Name, if_exists: bool) -> Result<Rows, Failure> {
        let managed = {
            let mut state = self.workspace.state();
            match what {
                Dropped::Schema { cascade } => {
                    let (catalog, schema) = self.schema_of(Some(name))?;
                    let full = format!("{catalog}.{schema}");
                    if if_exists && !state.schemas.contains_key(&full) {
                        return Ok(Rows::default());
                    }
                    self.enter(&state, &catalog, &schema)?;
                    crate::schemas::delete(&mut state, self.caller(), &full, cascade).map_err(failed)?
                }
                Dropped::Table | Dropped::View => {
                    let (catalog, schema, table) = self.table_of(name)?;
                    let full = format!("{catalog}.{schema}.{table}");
                    let found = state.tables.get(&full).map(|table| table.kind == TableKind::View);
                    if found.is_none() && if_exists {
                        return Ok(Rows::default());
                    }
                    self.enter(&state, &catalog, &schema)?;
                    match found {
                        None => return Err(missing_table(&full)),
                        Some(is_view) if is_view != (what == Dropped::View) => {
                            let class = if is_view { "EXPECT_TABLE_NOT_VIEW" } else { "EXPECT_VIEW_NOT_TABLE" };
                            return Err(Failure::class(
                                &format!("{class}.NO_ALTERNATIVE"),
                                "42809",
                                format!("`{full}` is another thing."),
                            ));
                        }
                        Some(_) => crate::tables::delete(&mut state, self.caller(), &full).map_err(failed)?,
                    }
                }
            }
        };
        for location in managed {
            self.workspace.lakes.place(&location)?.remove_all().await?;
        }
        Ok(Rows::default())
    }

    fn show_tables(&self, name: Option<&Name>) -> Result<Rows, Failure> {
        let (catalog, schema) = self.schema_of(name)?;
        let state = self.workspace.state();
        self.enter(&state, &catalog, &schema)?;
        let full = format!("{catalog}.{schema}");
        let sees = |table: &&Table| {
            state.may(self.caller(), Privilege::Select, &Securable::new(Kind::Table, table.full_name()))
        };
        let mine = state.tables.values().filter(|table| table.schema == full).filter(sees);
        Ok(rows::tables(&schema, mine.map(|table| table.name.clone()).collect()))
    }
}
