//! `inlet sql`: prints the SQL that opens a lake elsewhere.

use inlet_core::delta::Table;
use inlet_core::fault::Fault;
use inlet_core::report::FaultReport;
use inlet_core::sql::{self, TableColumns};

use super::arguments::Sql;
use super::output::Streams;
use super::{Call, needs_lake, opened, told, words};
use crate::lake;
use crate::runtime;

/// Runs the command and returns its exit code.
pub(super) fn run(asked: &Sql, call: &Call<'_>, streams: &Streams) -> u8 {
    match statements(asked, &call.program, streams) {
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

fn statements(asked: &Sql, program: &str, streams: &Streams) -> Result<String, Fault> {
    let runtime = runtime()?;
    let told = told(asked.settings.as_deref(), asked.lake.as_deref(), &runtime, streams)?;
    needs_lake(
        &told.settings,
        "Unity Catalog opens them, and nobody else",
        "query them in Databricks by their names: `catalog`.`schema`.`table`; the views stand beside them",
    )?;
    let named = lake::to_read(told.lake.as_deref(), &format!("{program} sql --lake ./lake"))?;
    let lake = opened(&named.url, &told.settings, &runtime)?;
    let schemas = lake::chosen(lake.schemas()?, asked.schema.as_deref())?;
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
