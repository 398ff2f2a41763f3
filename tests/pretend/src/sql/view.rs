//! What a view's query yields: every table and column that it names must be there, and the type of every column of its
//! answer is told, or refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, Value as Literal, Visit, Visitor,
    WildcardAdditionalOptions,
};

use super::{Name, Refused};
use crate::statement::Failure;
use crate::types::SqlType;

/// Finds the columns (fields of a Delta schema) of a table by its name.
pub(super) type Lookup<'a> = dyn Fn(&Name) -> Result<Vec<Value>, Failure> + 'a;

/// Functions that answer with the type of their first argument.
const LIKE_THE_FIRST: [&str; 14] = [
    "any_value",
    "coalesce",
    "first",
    "first_value",
    "ifnull",
    "lag",
    "last",
    "last_value",
    "lead",
    "max",
    "max_by",
    "min",
    "min_by",
    "nullif",
];
const TEXTS: [&str; 12] = [
    "concat",
    "concat_ws",
    "get_json_object",
    "lower",
    "ltrim",
    "md5",
    "rtrim",
    "sha2",
    "substring",
    "to_json",
    "trim",
    "upper",
];

/// The fields of the view.
pub(super) fn fields(query: &Query, lookup: &Lookup<'_>) -> Result<Vec<Value>, Refused> {
    check_names(query, lookup)?;
    of_query(query, &[], lookup)
}

/// Names of a query: what it reads, what it calls things.
#[derive(Default)]
struct Names {
    relations: Vec<ObjectName>,
    ctes: BTreeSet<String>,
    aliases: BTreeSet<String>,
    columns: Vec<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| cte.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.aliases.insert(alias.value.to_lowercase());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.relations.push(relation.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.columns.push(ident.value.clone()),
            Expr::CompoundIdentifier(parts) => self.columns.extend(parts.last().map(|ident| ident.value.clone())),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Every table is there, and every column stands in one of them or is an alias.
fn check_names(query: &Query, lookup: &Lookup<'_>) -> Result<(), Refused> {
    let mut names = Names::default();
    // It never breaks off.
    if query.visit(&mut names).is_break() {
        return Ok(());
    }
    let mut known = names.aliases;
    for relation in &names.relations {
        let name = name_of(relation)?;
        if let [one] = &name.0[..]
            && names.ctes.contains(&one.to_lowercase())
        {
            continue;
        }
        known.extend(lookup(&name)?.iter().filter_map(|field| field["name"].as_str().map(str::to_lowercase)));
    }
    match names.columns.iter().find(|column| !known.contains(&column.to_lowercase())) {
        Some(column) => Err(unresolved(column).into()),
        None => Ok(()),
    }
}

/// A column that a query can name.
#[derive(Clone)]
struct Column {
    qualifier: Option<String>,
    field: Value,
}

type Ctes = [(String, Vec<Value>)];

fn of_query(query: &Query, outer: &Ctes, lookup: &Lookup<'_>) -> Result<Vec<Value>, Refused> {
    let mut ctes = outer.to_vec();
    for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
        let fields = of_query(&cte.query, &ctes, lookup)?;
        ctes.push((cte.alias.name.value.to_lowercase(), fields));
    }
    of_set(&query.body, &ctes, lookup)
}

fn of_set(set: &SetExpr, ctes: &Ctes, lookup: &Lookup<'_>) -> Result<Vec<Value>, Refused> {
    match set {
        SetExpr::Select(select) => of_select(select, ctes, lookup),
        SetExpr::Query(query) => of_query(query, ctes, lookup),
        SetExpr::SetOperation { left, right, .. } => {
            let (left, right) = (of_set(left, ctes, lookup)?, of_set(right, ctes, lookup)?);
            if left.len() != right.len() {
                let text = format!(
                    "Set operations need inputs of the same number of columns: {} and {}.",
                    left.len(),
                    right.len()
                );
                return Err(Failure::class("NUM_COLUMNS_MISMATCH", "42826", text).into());
            }
            Ok(left)
        }
        _ => Err(Refused::NotHere("views over VALUES or TABLE".to_owned())),
    }
}

fn of_select(select: &Select, ctes: &Ctes, lookup: &Lookup<'_>) -> Result<Vec<Value>, Refused> {
    let mut scope = Vec::new();
    for from in &select.from {
        scope.extend(of_factor(&from.relation, ctes, lookup)?);
        for join in &from.joins {
            scope.extend(of_factor(&join.relation, ctes, lookup)?);
        }
    }
    let mut fields = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = match expr {
                    Expr::Identifier(ident) => ident.value.clone(),
                    Expr::CompoundIdentifier(parts) => {
                        parts.last().map_or_else(String::new, |ident| ident.value.clone())
                    }
                    other => other.to_string(),
                };
                fields.push(named(&name, &kind(expr, &scope)?));
            }
            SelectItem::ExprWithAlias { expr, alias } => fields.push(named(&alias.value, &kind(expr, &scope)?)),
            SelectItem::Wildcard(options) => fields.extend(all(&scope, None, options)?),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let qualifier = name_of(name)?.0.pop().unwrap_or_default().to_lowercase();
                fields.extend(all(&scope, Some(&qualifier), options)?);
            }
            other => return Err(Refused::NotHere(format!("views that select {other}"))),
        }
    }
    let mut seen = BTreeSet::new();
    for field in &fields {
        let name = field["name"].as_str().unwrap_or_default().to_lowercase();
        if !seen.insert(name.clone()) {
            return Err(Failure::class(
                "COLUMN_ALREADY_EXISTS",
                "42711",
                format!("The column `{name}` already exists."),
            )
            .into());
        }
    }
    Ok(fields)
}

fn of_factor(factor: &TableFactor, ctes: &Ctes, lookup: &Lookup<'_>) -> Result<Vec<Column>, Refused> {
    let (fields, qualifier) = match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            let name = name_of(name)?;
            let last = name.0.last().cloned().unwrap_or_default().to_lowercase();
            let cte = ctes.iter().rev().find(|(cte, _)| name.0.len() == 1 && *cte == last);
            let fields = match cte {
                Some((_, fields)) => fields.clone(),
                None => lookup(&name)?,
            };
            (fields, Some(alias.as_ref().map_or(last, |alias| alias.name.value.to_lowercase())))
        }
        TableFactor::Derived { subquery, alias, .. } => {
            (of_query(subquery, ctes, lookup)?, alias.as_ref().map(|alias| alias.name.value.to_lowercase()))
        }
        other => return Err(Refused::NotHere(format!("views over {other}"))),
    };
    Ok(fields.into_iter().map(|field| Column { qualifier: qualifier.clone(), field }).collect())
}

fn all(scope: &[Column], qualifier: Option<&str>, options: &WildcardAdditionalOptions) -> Result<Vec<Value>, Refused> {
    let mut without = BTreeSet::new();
    if let Some(except) = &options.opt_except {
        without.insert(except.first_element.value.to_lowercase());
        without.extend(except.additional_elements.iter().map(|ident| ident.value.to_lowercase()));
    }
    if options.opt_exclude.is_some() || options.opt_replace.is_some() || options.opt_rename.is_some() {
        return Err(Refused::NotHere("* but * EXCEPT".to_owned()));
    }
    let name = |column: &Column| column.field["name"].as_str().unwrap_or_default().to_lowercase();
    if let Some(missing) = without.iter().find(|wanted| !scope.iter().any(|column| name(column) == **wanted)) {
        return Err(unresolved(missing).into());
    }
    let mine = scope.iter().filter(|column| qualifier.is_none() || column.qualifier.as_deref() == qualifier);
    let mine = mine.filter(|column| !without.contains(&name(column)));
    Ok(mine.map(|column| named(column.field["name"].as_str().unwrap_or_default(), &column.field["type"])).collect())
}

/// The Delta type of an expression.
fn kind(expr: &Expr, scope: &[Column]) -> Result<Value, Refused> {
    match expr {
        Expr::Identifier(ident) => find(scope, None, &ident.value),
        Expr::CompoundIdentifier(parts) => match &parts[..] {
            [.., table, column] => find(scope, Some(&table.value.to_lowercase()), &column.value),
            _ => unknown(expr),
        },
        Expr::Nested(inner) => kind(inner, scope),
        Expr::Cast { data_type, .. } => match SqlType::parse(&data_type.to_string()) {
            Some(kind) => Ok(json!(kind.delta())),
            None => unknown(expr),
        },
        Expr::Value(value) => match &value.value {
            Literal::Number(digits, _) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(json!("integer")),
            Literal::SingleQuotedString(_) | Literal::DoubleQuotedString(_) => Ok(json!("string")),
            Literal::Boolean(_) => Ok(json!("boolean")),
            _ => unknown(expr),
        },
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::InList { .. } | Expr::Between { .. } | Expr::Like { .. } => {
            Ok(json!("boolean"))
        }
        Expr::BinaryOp { op, .. } => match op {
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::And
            | BinaryOperator::Or => Ok(json!("boolean")),
            BinaryOperator::StringConcat => Ok(json!("string")),
            _ => unknown(expr),
        },
        Expr::Case { conditions, .. } => match conditions.first() {
            Some(first) => kind(&first.result, scope),
            None => unknown(expr),
        },
        Expr::Function(function) => of_function(function, expr, scope),
        _ => unknown(expr),
    }
}

fn of_function(function: &Function, expr: &Expr, scope: &[Column]) -> Result<Value, Refused> {
    let name = function.name.to_string().to_lowercase();
    match name.as_str() {
        "row_number" | "rank" | "dense_rank" => Ok(json!("integer")),
        "count" => Ok(json!("long")),
        "current_timestamp" | "now" | "to_timestamp" => Ok(json!("timestamp")),
        name if TEXTS.contains(&name) => Ok(json!("string")),
        name if LIKE_THE_FIRST.contains(&name) => {
            let FunctionArguments::List(list) = &function.args else { return unknown(expr) };
            match list.args.first() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) => kind(first, scope),
                _ => unknown(expr),
            }
        }
        _ => unknown(expr),
    }
}

fn find(scope: &[Column], qualifier: Option<&str>, name: &str) -> Result<Value, Refused> {
    let named = |column: &&Column| {
        let fits = column.field["name"].as_str().is_some_and(|field| field.eq_ignore_ascii_case(name));
        fits && (qualifier.is_none() || column.qualifier.as_deref() == qualifier)
    };
    scope.iter().find(named).map(|column| column.field["type"].clone()).ok_or_else(|| unresolved(name).into())
}

fn named(name: &str, kind: &Value) -> Value {
    json!({"name": name, "type": kind, "nullable": true, "metadata": {}})
}

fn name_of(name: &ObjectName) -> Result<Name, Refused> {
    let parts = name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.clone()));
    parts.collect::<Option<Vec<_>>>().map(Name).ok_or_else(|| Refused::NotHere(format!("views over {name}")))
}

fn unknown(expr: &Expr) -> Result<Value, Refused> {
    Err(Refused::NotHere(format!("type for the expression {expr} in a view")))
}

fn unresolved(column: &str) -> Failure {
    let text = format!("A column, variable, or function parameter with name `{column}` cannot be resolved.");
    Failure::class("UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", "42703", text)
}
