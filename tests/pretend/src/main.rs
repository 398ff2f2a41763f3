//! A pretend Databricks workspace for scripts: prints one line of JSON that says where it is and how to sign in, and
//! serves until it is killed.
//!
//! ```text
//! pretend [--port N] [--setup FILE] [--lake URL] [--managed URL] [--storage KEY=VALUE]... [--not-in-workspace]
//! ```
//! Without `--setup`: a customer's workspace after the set-up guide, over `--lake`, whose catalog keeps managed tables and volumes below `--managed`;
//! with `--not-in-workspace` the step
//! that adds the service principal to it was left out.

use std::process::ExitCode;

use pretend::{ADMIN_TOKEN, CATALOG, CLIENT_ID, CLIENT_SECRET, ENTRA_SECRET, Pretend, Setup, TENANT, TOKEN, WAREHOUSE};

fn main() -> ExitCode {
    match setup().and_then(|setup| Pretend::start(setup).map_err(|error| error.to_string())) {
        Ok(pretend) => {
            announce(&pretend);
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a program says why it ends")]
            {
                eprintln!("pretend: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn setup() -> Result<Setup, String> {
    let mut arguments = std::env::args().skip(1);
    let (mut port, mut file, mut lake, mut managed) = (0, None, None, None);
    let (mut storage, mut in_workspace) = (Vec::new(), true);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--port" => port = value()?.parse::<u16>().map_err(|error| format!("--port: {error}"))?,
            "--setup" => file = Some(value()?),
            "--lake" => lake = Some(value()?),
            "--managed" => managed = Some(value()?),
            "--storage" => storage.push(value()?),
            "--not-in-workspace" => in_workspace = false,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    let mut setup = match (file, lake) {
        (Some(file), None) => {
            let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
            serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?
        }
        (None, Some(lake)) => Setup::seeded(&lake),
        _ => return Err("one of --lake URL and --setup FILE is needed".to_owned()),
    };
    setup.port = port;
    if let Some(root) = managed {
        setup = setup.managed_storage(&root);
    }
    if !in_workspace {
        setup = setup.not_in_workspace();
    }
    for pair in storage {
        let (key, value) = pair.split_once('=').ok_or(format!("--storage {pair}: KEY=VALUE"))?;
        setup = setup.store(key, value);
    }
    Ok(setup)
}

fn announce(pretend: &Pretend) {
    let line = serde_json::json!({
        "url": pretend.url(), "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "entra_secret": ENTRA_SECRET,
        "tenant_id": TENANT, "token": TOKEN, "admin_token": ADMIN_TOKEN, "catalog": CATALOG, "warehouse_id": WAREHOUSE,
        "http_path": format!("/sql/1.0/warehouses/{WAREHOUSE}"), "control": format!("{}/_pretend", pretend.url()),
    });
    #[allow(clippy::print_stdout, reason = "whoever started it reads this line")]
    {
        println!("{line}");
    }
}
