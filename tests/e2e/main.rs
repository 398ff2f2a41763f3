//! The cloud tier: the executable that ships, against parts of others. Independent readers (PyPI's deltalake, DuckDB), an
//! independent model of the rules, another writer (Spark with Delta), and stand-ins for S3 (moto's server) and Azure Blob
//! Storage (Azurite) on loopback. What `infra/` deploys runs whole: by ministack, which plays AWS with its rights, and by
//! `functions_host.py`, which plays the host of Azure Functions. The pretend Databricks workspace (`tests/pretend`) meets clients that nobody here wrote
//! (`databricks-sdk`, DuckDB), and stands over lakes that the executable lands in.
//!
//! `cargo test -p e2e` is all there is to do. The first run installs the pinned tools (`requirements.txt`,
//! `package.json`, `spark/`) under `<target>/e2e-tools/` and builds the executable; from then on nothing leaves this
//! machine. Each test runs one script of this folder, which says what differs; faults on the way to S3 are played by the
//! test itself. Where Python 3.11, Node, Java 17 with Maven, or Valgrind is missing the tests name themselves as skipped
//! and pass, unless `CI` is `true`. So it is where no Chromium is, for the page of the connection test.
//! Variables: `INLET_EXE`, an executable to test instead; `E2E_SEED`, the seed that else is drawn from the time;
//! `E2E_RENEW`, set to anything, writes down the instructions that a megabyte costs now (`instructions.json`).
//! `cargo test -p e2e -- --ignored --nocapture` says what a run costs as a lake grows.

mod failure;
mod faults;
mod proxy;
mod script;
mod server;
mod tools;
mod triggers;

use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use failure::Failure;
use faults::Line;
use script::Script;
use server::Server;
use tools::{SCRATCH, Tools, pretend, target};

/// Uploads of one seed of the differential, when each is landed by a run of its own.
const ONE_BY_ONE: &str = "50";
/// The same when one run lands all: what is planned and committed together.
const TOGETHER: &str = "150";

#[test]
fn worked_cases_come_out_as_written() -> Result<(), Failure> {
    let Some(tools) = Tools::python("worked cases")? else { return Ok(()) };
    Script::new("cases.py").inlet(&tools)?.path("--cases", "tests/fixtures/segment-cases.json").run(&tools)
}

#[test]
fn uploads_landed_one_by_one_agree_with_the_model() -> Result<(), Failure> {
    differential("one by one", ONE_BY_ONE, &[])
}

#[test]
fn uploads_landed_together_agree_with_the_model() -> Result<(), Failure> {
    differential("together", TOGETHER, &["--together"])
}

#[test]
fn uploads_landed_in_tables_of_others_agree_with_the_model() -> Result<(), Failure> {
    differential("tables of others", ONE_BY_ONE, &["--existing"])
}

#[test]
fn uploads_delivered_again_land_nothing_and_a_second_lake_is_the_same() -> Result<(), Failure> {
    differential("delivered again", ONE_BY_ONE, &["--again"])
}

#[test]
fn other_engines_see_the_fixtures_as_the_model_does() -> Result<(), Failure> {
    let Some(tools) = Tools::python("independent readers")? else { return Ok(()) };
    Script::new("readers.py").inlet(&tools)?.path("--fixtures", "tests/fixtures").run(&tools)
}

#[test]
fn a_lake_that_another_engine_compacts_stays_right() -> Result<(), Failure> {
    let Some(tools) = Tools::python("compaction by another engine")? else { return Ok(()) };
    Script::new("compacted.py").inlet(&tools)?.path("--fixtures", "tests/fixtures").run(&tools)
}

#[test]
fn duckdb_reads_what_lands_in_tables_as_databricks_makes_them() -> Result<(), Failure> {
    let Some(tools) = Tools::python("tables as Databricks makes them")? else { return Ok(()) };
    Script::new("made.py").inlet(&tools)?.path("--tables", "tests/fixtures/tables").run(&tools)
}

#[test]
fn the_made_tables_are_as_their_generator_writes_them() -> Result<(), Failure> {
    let Some(tools) = Tools::python("made tables")? else { return Ok(()) };
    Script::at("tests/fixtures/capture/tables.py").argument("--check").run(&tools)
}

#[test]
fn spark_makes_and_changes_tables_that_inlet_lands_in() -> Result<(), Failure> {
    let what = "Spark with Delta";
    let Some(tools) = Tools::python(what)? else { return Ok(()) };
    let Some(spark) = tools.spark(what)? else { return Ok(()) };
    let script = Script::new("spark.py").inlet(&tools)?.program("--spark", spark);
    script.path("--tables", "tests/fixtures/tables").run(&tools)
}

#[test]
fn s3_is_a_landing_store_and_a_lake() -> Result<(), Failure> {
    let Some(tools) = Tools::python("S3")? else { return Ok(()) };
    stores("s3", &tools, &Server::s3(&tools)?)
}

#[test]
fn a_bad_line_to_s3_changes_nothing() -> Result<(), Failure> {
    let Some(tools) = Tools::python("a bad line to S3")? else { return Ok(()) };
    Line::new(&tools, &Server::s3(&tools)?)?.try_all()
}

#[test]
fn azure_blob_storage_is_a_landing_store_and_a_lake() -> Result<(), Failure> {
    let Some(tools) = Tools::python_and_node("Azure Blob Storage")? else { return Ok(()) };
    stores("azure", &tools, &Server::azure(&tools)?)
}

#[test]
fn a_function_runs_on_this_machine_as_the_documents_say() -> Result<(), Failure> {
    let Some(tools) = Tools::python("cargo-lambda")? else { return Ok(()) };
    // Built first, as for every other test: what is watched is the same build.
    tools.inlet()?;
    let server = Server::s3(&tools)?;
    let script = Script::new("watched.py").option("--endpoint", &server.endpoint());
    script.path("--workspace", "").program("--target", target()).run(&tools)
}

#[test]
fn the_pretend_workspace_works_with_databricks_own_client() -> Result<(), Failure> {
    let Some(tools) = Tools::python("databricks-sdk")? else { return Ok(()) };
    Script::new("sdk.py").program("--pretend", pretend()?).run(&tools)
}

#[test]
fn duckdb_reads_a_table_by_the_pretend_workspace() -> Result<(), Failure> {
    let Some(tools) = Tools::python("DuckDB's unity_catalog")? else { return Ok(()) };
    Script::new("unity.py").program("--pretend", pretend()?).run(&tools)
}

#[test]
fn statements_of_the_pretend_workspace_work_on_s3() -> Result<(), Failure> {
    let Some(tools) = Tools::python("statements on S3")? else { return Ok(()) };
    statements("s3", &tools, &Server::s3(&tools)?)
}

#[test]
fn statements_of_the_pretend_workspace_work_on_azure_blob_storage() -> Result<(), Failure> {
    let Some(tools) = Tools::python_and_node("statements on Azure Blob Storage")? else { return Ok(()) };
    statements("azure", &tools, &Server::azure(&tools)?)
}

#[test]
fn the_catalog_follows_a_lake_in_a_folder() -> Result<(), Failure> {
    let Some(tools) = Tools::python("a workspace over a folder")? else { return Ok(()) };
    with_a_workspace("catalog.py", "folder", &tools)?.run(&tools)
}

#[test]
fn the_catalog_follows_a_lake_on_s3() -> Result<(), Failure> {
    let Some(tools) = Tools::python("a workspace over S3")? else { return Ok(()) };
    let server = Server::s3(&tools)?;
    with_a_workspace("catalog.py", "s3", &tools)?.option("--endpoint", &server.endpoint()).run(&tools)
}

#[test]
fn the_catalog_follows_a_lake_on_azure_blob_storage() -> Result<(), Failure> {
    let Some(tools) = Tools::python_and_node("a workspace over Azure Blob Storage")? else { return Ok(()) };
    let server = Server::azure(&tools)?;
    with_a_workspace("catalog.py", "azure", &tools)?.option("--endpoint", &server.endpoint()).run(&tools)
}

#[test]
fn a_set_up_on_s3_is_tested_step_by_step() -> Result<(), Failure> {
    let Some(tools) = Tools::python("the connection test on S3")? else { return Ok(()) };
    let server = Server::s3(&tools)?;
    with_a_workspace("connect.py", "s3", &tools)?.option("--endpoint", &server.endpoint()).run(&tools)
}

#[test]
fn a_set_up_on_azure_blob_storage_is_tested_step_by_step() -> Result<(), Failure> {
    let Some(tools) = Tools::python_and_node("the connection test on Azure Blob Storage")? else { return Ok(()) };
    let server = Server::azure(&tools)?;
    with_a_workspace("connect.py", "azure", &tools)?.option("--endpoint", &server.endpoint()).run(&tools)
}

#[test]
fn lent_credentials_of_s3_are_renewed_and_never_shown() -> Result<(), Failure> {
    let Some(tools) = Tools::python("lent credentials of S3")? else { return Ok(()) };
    let server = Server::s3(&tools)?;
    with_a_workspace("credentials.py", "s3", &tools)?.option("--endpoint", &server.endpoint()).run(&tools)
}

#[test]
fn azure_is_written_as_whoever_the_settings_name() -> Result<(), Failure> {
    let Some(tools) = Tools::python_and_node("identities of Azure")? else { return Ok(()) };
    let folder = Path::new(SCRATCH).join("e2e-certificate");
    Script::new("certificate.py").program("--to", folder.clone()).run(&tools)?;
    let server = Server::azure_over_tls(&tools, &folder)?;
    let endpoint = server.endpoint().replacen("http:", "https:", 1);
    let script = with_a_workspace("credentials.py", "azure", &tools)?.option("--endpoint", &endpoint);
    script.program("--certificate", folder.join("certificate.pem")).run(&tools)
}

#[test]
fn what_aws_deploys_lands_each_upload_once_and_the_catalog_follows() -> Result<(), Failure> {
    let Some(tools) = Tools::python("the way through AWS")? else { return Ok(()) };
    let server = Server::aws(&tools)?;
    let script = Script::new("deployed_aws.py").inlet(&tools)?.program("--pretend", pretend()?);
    script.option("--endpoint", &server.endpoint()).path("--template", "infra/aws/template.yaml").run(&tools)
}

#[test]
fn what_azure_deploys_lands_each_upload_once_and_the_catalog_follows() -> Result<(), Failure> {
    let Some(tools) = Tools::python_and_node("the way through Azure")? else { return Ok(()) };
    let (server, queues) = Server::azure_with_queues(&tools)?;
    let script = Script::new("deployed_azure.py")
        .inlet(&tools)?
        .program("--pretend", pretend()?)
        .path("--functions", "functions");
    script.option("--endpoint", &server.endpoint()).option("--queues", &queues).run(&tools)
}

#[test]
fn the_page_of_the_connection_test_works_in_a_browser() -> Result<(), Failure> {
    let what = "the page in a browser";
    let Some(tools) = Tools::python_and_node(what)? else { return Ok(()) };
    let Some(browser) = Tools::browser(what)? else { return Ok(()) };
    let script = Script::new("page.py").inlet(&tools)?.program("--pretend", pretend()?);
    script.program("--chromium", browser).program("--playwright", tools.node_package("playwright-core")?).run(&tools)
}

#[test]
fn the_functions_host_is_played_as_it_is_written_down() -> Result<(), Failure> {
    let Some(tools) = Tools::python("the Functions host")? else { return Ok(()) };
    Script::new("functions_host.py").run(&tools)
}

#[test]
fn the_infrastructure_is_as_its_makers_check_it() -> Result<(), Failure> {
    let Some(tools) = Tools::python("infrastructure")? else { return Ok(()) };
    let script = Script::new("infrastructure.py").program("--cfn-lint", tools.python_program("cfn-lint"));
    script.path("--infra", "infra").path("--functions", "functions").run(&tools)
}

#[test]
fn large_uploads_stay_within_the_memory() -> Result<(), Failure> {
    let Some(tools) = Tools::python("memory of large uploads")? else { return Ok(()) };
    Script::new("memory.py").inlet(&tools)?.run(&tools)
}

#[test]
fn a_megabyte_costs_the_instructions_that_are_written_down() -> Result<(), Failure> {
    let what = "instructions of a megabyte";
    let Some(tools) = Tools::python(what)? else { return Ok(()) };
    let Some(valgrind) = tools.valgrind(what)? else { return Ok(()) };
    let script = Script::new("instructions.py").inlet(&tools)?.program("--valgrind", valgrind);
    let script = if std::env::var_os("E2E_RENEW").is_some() { script.argument("--write") } else { script };
    script.run(&tools)
}

#[test]
#[ignore = "figures, not a verdict: minutes on a quiet machine"]
fn what_a_run_costs_as_a_lake_grows() -> Result<(), Failure> {
    let Some(tools) = Tools::python("figures of scale")? else { return Ok(()) };
    Script::new("scale.py").inlet(&tools)?.aloud().run(&tools)
}

#[test]
fn the_fixtures_hold_what_their_counts_say() -> Result<(), Failure> {
    let Some(tools) = Tools::python("counts of the fixtures")? else { return Ok(()) };
    Script::at("tests/fixtures/capture/count.py").argument("--check").run(&tools)
}

fn stores(kind: &str, tools: &Tools, server: &Server) -> Result<(), Failure> {
    let script = Script::new("stores.py").inlet(tools)?.path("--fixtures", "tests/fixtures");
    script.option("--store", kind).option("--endpoint", &server.endpoint()).run(tools)
}

fn statements(kind: &str, tools: &Tools, server: &Server) -> Result<(), Failure> {
    let script = Script::new("warehouse.py").program("--pretend", pretend()?);
    script.option("--store", kind).option("--endpoint", &server.endpoint()).run(tools)
}

/// A script of the executable and a pretend workspace over a lake.
fn with_a_workspace(script: &str, kind: &str, tools: &Tools) -> Result<Script, Failure> {
    Ok(Script::new(script).inlet(tools)?.program("--pretend", pretend()?).option("--store", kind))
}

/// Lands hostile uploads of some seeds, and compares every value of every row with the model.
fn differential(name: &str, uploads: &str, mode: &[&str]) -> Result<(), Failure> {
    let Some(tools) = Tools::python(&format!("differential, {name}"))? else { return Ok(()) };
    for seed in ["1", "2", drawn_seed()] {
        let script = Script::new("differential.py").inlet(&tools)?.option("--seed", seed).option("--uploads", uploads);
        mode.iter().fold(script, |script, word| script.argument(word)).run(&tools)?;
    }
    Ok(())
}

/// One seed that no run had before; a failure names it.
fn drawn_seed() -> &'static str {
    static SEED: OnceLock<String> = OnceLock::new();
    SEED.get_or_init(|| {
        std::env::var("E2E_SEED").unwrap_or_else(|_| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_millis().to_string()
        })
    })
}
