//! What can be said on the command line.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

/// Lands customer events (Segment's spec, NDJSON) in a Delta lake, each event once.
#[derive(Debug, Parser)]
#[command(name = "inlet", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  inlet ingest tests/fixtures/uploads --lake ./lake     land every upload under a folder
  inlet ingest a.gz b.ndjson --lake ./lake --json       answer with one JSON object
  echo '{…}' | inlet ingest - --plan                    what would this event become?
  inlet ingest s3://bucket/segment-logs --lake s3://other/lake --schema shop
  inlet ingest s3://bucket/segment-logs --settings inlet.toml
  inlet sql --lake ./lake | duckdb events.db            open every table and view
  inlet verify --lake ./lake tests/fixtures/uploads     prove that nothing was lost or doubled
  inlet status --lake ./lake                            what landed lately, and what waits
  inlet run-sql 'OPTIMIZE shop.tracks'                  by the warehouse, without losing what lands meanwhile
  inlet maintain --plan                                 which files and logs would be put in order
  inlet connect --wake                                  is everything set up? what is missing?
  inlet connect --open                                  the same on a page, with the settings to fill in

Environment: INLET_WAREHOUSE_ID, the id by which `integrations.Warehouses.warehouseIds` names this lake; stores take
their own variables (AWS_…, AZURE_STORAGE_…).

Exit codes: 0 landed, 65 an upload was rejected or a proof found a difference, 70 a bug, 75 try again, 78 change the set-up,
64 a wrong line.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Land uploads: files, folders, standard input or objects of a store
    Ingest(Ingest),
    /// Print the SQL that opens every table and makes the users, accounts and de-duplicated views
    Sql(Sql),
    /// Prove that nothing was lost or doubled: compare the tables with `_loads`, and with uploads
    Verify(Verify),
    /// Say what landed lately, how late it was, and what was rejected, rescued or left half done
    Status(Status),
    /// Bring Unity Catalog up to date with the lake; wakes the warehouse once, and only when something changed
    Evolve(Evolve),
    /// Have the warehouse run OPTIMIZE, DELETE, UPDATE or ALTER TABLE on a table; on S3 behind a gate that keeps its commits and
    /// Inlet's apart
    RunSql(RunSql),
    /// Land again what somebody else's commits have overwritten
    Mend(Mend),
    /// Put tables in order: small files become large ones, logs are kept short, files that nobody needs go
    Maintain(Maintain),
    /// Test a set-up step by step: workspace, catalog, warehouse, lake; what is missing is named with the line to run
    #[command(visible_alias = "test")]
    Connect(Connect),
    /// Show what three uploads cause in a pretend Databricks workspace: statements, wakes, tables; no account needed
    Demo(Demo),
    /// List what Inlet made in the catalog and the lake, and remove it
    Teardown(Teardown),
}

#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// Files, folders (walked), `-` for standard input, or s3://, abfss://, az://, file:// URLs
    #[arg(value_name = "PATH|URL|-", required = true)]
    pub(crate) places: Vec<OsString>,
    /// Where the tables live: a folder or a URL; a missing or empty folder is a fine lake [default: that of the settings]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// Settings to read: a file or an object's URL [default: INLET_SETTINGS, else inlet.toml where it stands]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) settings: Option<OsString>,
    /// The schema to land in [default: the source id of `segment-logs/<source-id>/<day>/…`, else `events`]
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,
    /// Land uploads for the Nth time: what was deleted, truncated or restored away since the last lands again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) again: Option<u64>,
    /// Write nothing: say which tables and columns the uploads would become (`--lake` is optional)
    #[arg(long)]
    pub(crate) plan: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "json_lines")]
    pub(crate) json: bool,
    /// Print one JSON object per upload as it lands, the totals last
    #[arg(long)]
    pub(crate) json_lines: bool,
    /// Exit with 65 when a line was rejected, a value rescued or a row held
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// The lake: a folder or a URL [default: that of the settings]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// Settings to read: a file or an object's URL [default: INLET_SETTINGS, else inlet.toml where it stands]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) settings: Option<OsString>,
    /// For DuckDB (the default)
    #[arg(long, conflicts_with = "spark")]
    pub(crate) duckdb: bool,
    /// For Spark SQL, on Databricks or elsewhere
    #[arg(long)]
    pub(crate) spark: bool,
    /// Only this schema
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Uploads whose bytes are compared with the tables too: files, folders, or URLs, as `ingest` takes them
    #[arg(value_name = "PATH|URL")]
    pub(crate) places: Vec<OsString>,
    /// The lake: a folder or a URL [default: that of the settings]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// Settings to read: a file or an object's URL [default: INLET_SETTINGS, else inlet.toml where it stands]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) settings: Option<OsString>,
    /// Only this schema; with uploads, the schema that they landed in
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The lake: a folder or a URL [default: that of the settings]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// Settings to read: a file or an object's URL [default: INLET_SETTINGS, else inlet.toml where it stands]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) settings: Option<OsString>,
    /// Only this schema
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Evolve {
    /// The settings: a file or a URL [default: INLET_SETTINGS, else ./inlet.toml]
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) settings: Option<OsString>,
    /// The lake: a folder or a URL [default: the settings' own]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// Compare every table of the lake, not only those that changed since the last time
    #[arg(long)]
    pub(crate) all: bool,
    /// Try tables again that failed too often
    #[arg(long)]
    pub(crate) retry: bool,
    /// Do nothing: say which tables the catalog lacks, and the statements that would bring them there
    #[arg(long)]
    pub(crate) plan: bool,
    /// Do nothing: print only the statements
    #[arg(long, conflicts_with = "json")]
    pub(crate) sql: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Where uploads come from, to see that they can be read: folders or URLs, as `ingest` takes them
    #[arg(value_name = "PATH|URL")]
    pub(crate) places: Vec<OsString>,
    /// Start the warehouse, and send a batch all the way: landed, registered, counted, removed
    #[arg(long)]
    pub(crate) wake: bool,
    /// How long rights in the lake's store that are missing are waited for: a new role takes minutes [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u64>,
    /// The settings: a file or a URL [default: INLET_SETTINGS, else ./inlet.toml]
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) settings: Option<OsString>,
    /// The lake: a folder or a URL [default: the settings' own]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// On a page in a browser of this machine: fill in the settings, test, mend, save
    #[arg(long)]
    pub(crate) open: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "open")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunSql {
    /// OPTIMIZE, DELETE FROM, UPDATE or ALTER TABLE of one table that Inlet lands in, as schema.table
    #[arg(value_name = "STATEMENT")]
    pub(crate) statement: String,
    /// The settings: a file or a URL [default: INLET_SETTINGS, else ./inlet.toml]
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) settings: Option<OsString>,
    /// The lake: a folder or a URL [default: the settings' own]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// How long it may take; then it is cancelled
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    pub(crate) minutes: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Mend {
    /// The lake: a folder or a URL [default: that of the settings]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// Settings to read: a file or an object's URL [default: INLET_SETTINGS, else inlet.toml where it stands]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) settings: Option<OsString>,
    /// Only this schema
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Maintain {
    /// Only these schemas [default: all of the lake]
    #[arg(value_name = "SCHEMA")]
    pub(crate) schemas: Vec<String>,
    /// Change nothing: say what would be done
    #[arg(long)]
    pub(crate) plan: bool,
    /// The lake: a folder or a URL [default: that of the settings]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// Settings to read: a file or an object's URL [default: INLET_SETTINGS, else inlet.toml where it stands]
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) settings: Option<OsString>,
    /// Nothing is begun after this
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    pub(crate) minutes: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the lake, the uploads and the settings in this new folder
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Teardown {
    /// The settings: a file or a URL [default: INLET_SETTINGS, else ./inlet.toml]
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) settings: Option<OsString>,
    /// The lake: a folder or a URL [default: the settings' own]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) lake: Option<OsString>,
    /// Only list what would go (the default)
    #[arg(long, conflicts_with = "yes")]
    pub(crate) plan: bool,
    /// Remove it
    #[arg(long)]
    pub(crate) yes: bool,
    /// The tables' files and Inlet's state in the lake too, not only the entries of the catalog
    #[arg(long)]
    pub(crate) data: bool,
    /// With --data: also while rows are held, which no table has yet
    #[arg(long, requires = "data")]
    pub(crate) held: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a run answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Words and tables.
    Words,
    /// One JSON object.
    Json,
    /// One JSON object per upload, then one with the totals.
    JsonLines,
}

impl Form {
    /// The form that was asked for, read without the parser: arguments that it refuses are answered in it too.
    pub(crate) fn asked(arguments: &[OsString]) -> Self {
        let mut options = arguments.iter().take_while(|argument| *argument != "--");
        options
            .find_map(|argument| match argument.to_str() {
                Some("--json") => Some(Self::Json),
                Some("--json-lines") => Some(Self::JsonLines),
                _ => None,
            })
            .unwrap_or(Self::Words)
    }
}

impl Ingest {
    /// The same line with a lake, for those who left it out.
    pub(crate) fn line_with_lake(&self, program: &str) -> String {
        let mut line = format!("{program} ingest");
        for place in &self.places {
            line.push(' ');
            line.push_str(&super::query::shell_word(&place.to_string_lossy()));
        }
        if let Some(schema) = &self.schema {
            line.push_str(" --schema ");
            line.push_str(&super::query::shell_word(schema));
        }
        line.push_str(" --lake ./lake");
        line
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_parser_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_line_to_run_keeps_what_was_said() {
        let line = ["inlet", "ingest", "a b", "-", "--schema", "shop"];
        let Command::Ingest(ingest) = Arguments::try_parse_from(line).unwrap().command else { panic!() };
        assert_eq!(ingest.line_with_lake("inlet"), "inlet ingest 'a b' - --schema shop --lake ./lake");
    }

    #[test]
    fn the_form_is_known_before_the_arguments_are() {
        let form = |line: &[&str]| Form::asked(&line.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(form(&["ingest", "--json", "--nonsense"]), Form::Json);
        assert_eq!(form(&["ingest", "--json-lines"]), Form::JsonLines);
        assert_eq!(form(&["ingest", "--", "--json"]), Form::Words);
    }
}
