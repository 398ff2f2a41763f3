//! `inlet sql`: prints the SQL that opens a lake elsewhere.

use inlet_core::delta::{Lake, Table};
use inlet_core::fault::Fault;
use inlet_core::report::FaultReport;
use inlet_core::sql::{self, TableColumns};

use super::arguments::Sql;
use super::output::Streams;
use super::{Call, runtime, words};
use crate::lake;
use crate::landing::nearest;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Sql, call: &Call<'_>, streams: &Streams) -> u8 {
    match statements(asked, &call.program) {
        Ok(text) => {
            streams.out.write(&text);
            0
        }
        Err(fault) => {
            let said = FaultReport::from(&fault);
            streams.err.write(&words::fault(&said, &said.message));
            fault.kind().exit_code()
        }
    }
}

fn statements(asked: &Sql, program: &str) -> Result<String, Fault> {
    let named = lake::to_read(asked.lake.as_deref(), &format!("{program} sql --lake ./lake"))?;
    let runtime = runtime()?;
    let lake = Lake::open(&named.url, runtime.handle().clone())?;
    let schemas = chosen(lake.schemas()?, asked.schema.as_deref())?;
    let mut tables = Vec::new();
    for schema in schemas {
        for table in lake.tables(&schema)? {
            if let Some(opened) = Table::open(&lake, &schema, &table)? {
                let columns = opened.columns().iter().map(|column| (column.name.clone(), column.column_type)).collect();
                tables.push(TableColumns { schema: schema.clone(), table, columns });
            }
        }
    }
    if tables.is_empty() {
        return Err(Fault::setup(format!("the lake `{}` holds no tables yet", named.url))
            .hint(format!("{program} ingest PATH --lake DIR lands the first")));
    }
    let print = if asked.spark { sql::spark } else { sql::duckdb };
    Ok(print(lake.url().as_str(), &tables))
}

fn chosen(schemas: Vec<String>, name: Option<&str>) -> Result<Vec<String>, Fault> {
    let Some(name) = name else { return Ok(schemas) };
    if schemas.iter().any(|schema| schema == name) {
        return Ok(vec![name.to_owned()]);
    }
    let fault = Fault::setup(format!("no schema `{name}` in this lake"));
    Err(match nearest::among(name, schemas.iter().map(String::as_str)) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None if schemas.is_empty() => fault,
        None => fault.hint(format!("it has {}", schemas.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_schema_is_answered_with_the_nearest() {
        let schemas = || vec!["shop".to_owned(), "web".to_owned()];
        assert_eq!(chosen(schemas(), Some("web")).unwrap(), ["web"]);
        assert_eq!(chosen(schemas(), None).unwrap().len(), 2);
        assert_eq!(chosen(schemas(), Some("shp")).unwrap_err().hint_text(), Some("did you mean `shop`?"));
        assert_eq!(chosen(schemas(), Some("other")).unwrap_err().hint_text(), Some("it has shop, web"));
    }
}
