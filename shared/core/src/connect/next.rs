//! What to do once a set-up is right: a first upload, a first query, and where to look from then on.

use serde::Serialize;
use url::Url;

use super::Parts;
use super::to_run::ToRun;
use crate::databricks::Warehouse;
use crate::managed::{SCHEMA, VOLUME};
use crate::settings::Settings;

/// One thing to do or to know.
#[derive(Debug, Serialize)]
pub struct NextStep {
    /// What it is about.
    pub title: &'static str,
    /// What to know.
    pub text: String,
    /// What to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_run: Option<ToRun>,
}

/// An event that everybody can send.
const EVENT: &str = r#"{"type":"track","event":"First Upload","userId":"me","properties":{"works":true}}"#;

/// DBU that a warehouse's cluster costs in an hour, by its size.
const DBU_PER_HOUR: [(&str, u32); 9] = [
    ("2X-Small", 4),
    ("X-Small", 6),
    ("Small", 12),
    ("Medium", 24),
    ("Large", 40),
    ("X-Large", 80),
    ("2X-Large", 144),
    ("3X-Large", 272),
    ("4X-Large", 528),
];

/// In the order in which a person goes on.
pub(super) fn steps(parts: &Parts, warehouse: Option<&Warehouse>) -> Vec<NextStep> {
    if parts.tables().is_none() {
        return Vec::new();
    }
    let settings = &parts.settings;
    let lake = parts.lake.as_ref().map(Url::as_str).unwrap_or_default();
    let schema = settings.sources.first().map_or("events", |source| &source.schema);
    let catalog = settings.destination.as_ref().map(|destination| destination.catalog.as_str());
    let named = |table: &str| match catalog {
        Some(catalog) => format!("{}.{}.{}", quoted(catalog), quoted(schema), quoted(table)),
        None => format!("delta_scan('{lake}{schema}/{table}')"),
    };
    let mut next = vec![NextStep {
        title: "Send a first upload",
        text: match parts.landing.first() {
            Some(landing) => format!("Or put a file of such lines, plain or gzip, below {}.", landing.name),
            None => "Or name a file of such lines, plain or gzip.".to_owned(),
        },
        to_run: Some(ToRun::new("shell", format!("echo '{EVENT}' | inlet ingest - --schema {schema}"))),
    }];
    if parts.lake.is_none() {
        next.push(NextStep {
            title: "Load it into its tables",
            text: "Functions do this by themselves, once in `every`: the warehouse copies what is staged. By hand it is done \
                   at once."
                .to_owned(),
            to_run: Some(ToRun::new("shell", "inlet evolve")),
        });
    } else if catalog.is_some() {
        next.push(NextStep {
            title: "Show its tables in Unity Catalog",
            text: "Functions do this by themselves. It wakes the warehouse only when a table or a column is new."
                .to_owned(),
            to_run: Some(ToRun::new("shell", "inlet evolve")),
        });
    }
    next.push(NextStep {
        title: "Ask a first query",
        text: "Each call stands in the table of its kind; each track event has a table of its own name too.".to_owned(),
        to_run: Some(ToRun::new("sql", format!("SELECT event, count(*) FROM {} GROUP BY event", named("tracks")))),
    });
    next.push(NextStep {
        title: "See what became of each upload",
        text: "`_loads` counts every event of every upload; `_rejects` keeps the lines that are no events, with the reason."
            .to_owned(),
        to_run: Some(ToRun::new(
            "sql",
            format!(
                "SELECT upload, events, rows, rejected, lag FROM {} WHERE table_name IS NULL ORDER BY finished_at DESC",
                named("_loads")
            ),
        )),
    });
    next.push(NextStep {
        title: "Where the tables are",
        text: match catalog {
            Some(catalog) if parts.lake.is_none() => format!(
                "In the catalog `{catalog}`, a schema for each source. Rows wait in its volume `{SCHEMA}.{VOLUME}` until \
                 they are loaded."
            ),
            Some(catalog) => format!("In the catalog `{catalog}`, a schema for each source; their files below {lake}"),
            None => format!("Below {lake}, a folder for each source; no catalog shows them."),
        },
        to_run: None,
    });
    next.push(NextStep {
        title: "Where alarms are",
        text: "`infra/aws` and `infra/azure` bring alarms for uploads that were given up, late or half done, and say where \
               they go. On a terminal:"
            .to_owned(),
        to_run: Some(ToRun::new("shell", "inlet status")),
    });
    next.extend(warehouse.map(|warehouse| NextStep {
        title: "What the warehouse costs",
        text: cost(warehouse, settings),
        to_run: None,
    }));
    next
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Path, size, and what a wake comes to.
fn cost(warehouse: &Warehouse, settings: &Settings) -> String {
    let Warehouse { id, name, size, kind, serverless, min_clusters, max_clusters, auto_stop, .. } = warehouse;
    let kind = if *serverless { "serverless".to_owned() } else { kind.to_lowercase() };
    let clusters = if min_clusters == max_clusters {
        format!("{max_clusters}")
    } else {
        format!("{min_clusters} to {max_clusters}")
    };
    let mut text = format!("`{name}`, HTTP path /sql/1.0/warehouses/{id}: {size}, {kind}, clusters: {clusters}. ");
    let per_hour = DBU_PER_HOUR.iter().find(|(named, _)| named == size).map(|(_, dbu)| dbu * (*min_clusters).max(1));
    text.push_str(&match (per_hour, *auto_stop) {
        (Some(dbu), 0) => format!("It never stops by itself: {dbu} DBU each hour."),
        (Some(dbu), minutes) => {
            let tenths = (f64::from(dbu) * f64::from(minutes + 1) / 6.0).round() / 10.0;
            format!(
                "It stops after {minutes} idle minutes, so a wake costs about {tenths} DBU ({dbu} DBU an hour, a minute of work)."
            )
        }
        (None, 0) => "It never stops by itself.".to_owned(),
        (None, minutes) => format!("It stops after {minutes} idle minutes."),
    });
    let minutes = settings.budget().window.as_secs().div_ceil(60);
    text.push_str(&match settings.has_managed_tables() {
        true => format!(" Inlet has it load what is staged at most once in {minutes} minutes; `every` says so."),
        false => format!(" Inlet wakes it at most once in {minutes} minutes, and never for rows alone."),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warehouse(size: &str, auto_stop: u32) -> Warehouse {
        let of = serde_json::json!({
            "id": "dd43ee29fedd958d", "name": "starter", "state": "RUNNING", "cluster_size": size, "warehouse_type": "PRO",
            "enable_serverless_compute": true, "min_num_clusters": 1, "max_num_clusters": 1, "auto_stop_mins": auto_stop,
        });
        serde_json::from_value(of).unwrap()
    }

    /// What is next after a test of these settings, as one text.
    fn next(more: &str) -> String {
        let text = format!(
            "workspace_url = 'https://adb-1.2.azuredatabricks.net'\ncatalog = 'shop'\nhttp_path = 'dd43ee29fedd958d'\n{more}\n\
             [auth]\ntoken = 'env:TOKEN'\n[[source]]\nid = 'a'\nschema = 'web'\n"
        );
        let token = |name: &str| (name == "TOKEN").then(|| "dapi0".to_owned());
        let settings = Settings::load(Some(("inlet.toml", &text)), token).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lake = settings.lake.as_deref().map(|lake| Url::parse(lake).unwrap());
        let parts = Parts { settings, lake, landing: Vec::new(), on_function: false, handle: runtime.handle().clone() };
        let line = |step: &NextStep| {
            let to_run = step.to_run.as_ref().map(|line| line.text.as_str()).unwrap_or_default();
            format!("{}: {} {to_run}\n", step.title, step.text)
        };
        steps(&parts, Some(&warehouse("Small", 10))).iter().map(line).collect()
    }

    #[test]
    fn managed_tables_are_loaded_by_a_window_and_stand_in_the_catalog() {
        let managed = next("every = '30m'");
        for said in [
            "--schema web\n",
            "Load it into its tables: Functions do this by themselves, once in `every`",
            " inlet evolve\n",
            "FROM `shop`.`web`.`tracks` GROUP BY event",
            "Where the tables are: In the catalog `shop`, a schema for each source. Rows wait in its volume `_inlet.staging`",
            "load what is staged at most once in 30 minutes; `every` says so.",
        ] {
            assert!(managed.contains(said), "{said}: {managed}");
        }
        for of_a_lake in ["files below", "Show its tables in Unity Catalog", "never for rows alone"] {
            assert!(!managed.contains(of_a_lake), "{of_a_lake}: {managed}");
        }
        let external = next("lake = 'abfss://lake@acme.dfs.core.windows.net/bronze'");
        assert!(external.contains("their files below abfss://lake@acme.dfs.core.windows.net/bronze"), "{external}");
        assert!(external.contains("Show its tables in Unity Catalog") && !external.contains("_inlet"), "{external}");
    }

    #[test]
    fn a_wake_costs_its_work_and_the_minutes_until_the_warehouse_stops() {
        let settings = Settings::default();
        let small = cost(&warehouse("Small", 10), &settings);
        assert!(small.contains("/sql/1.0/warehouses/dd43ee29fedd958d: Small, serverless, clusters: 1."), "{small}");
        assert!(small.contains("about 2.2 DBU (12 DBU an hour"), "{small}");
        assert!(small.contains("at most once in 15 minutes"), "{small}");
        assert!(cost(&warehouse("2X-Small", 0), &settings).contains("never stops by itself: 4 DBU each hour"));
        assert!(cost(&warehouse("Gigantic", 5), &settings).contains("It stops after 5 idle minutes. Inlet"));
    }
}
