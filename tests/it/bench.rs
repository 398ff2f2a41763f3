//! The README's benchmark table says what `tests/bench/results.json` does; `compare.py --readme` writes it again.

use std::fs;

use crate::json::Json;
use crate::support::tests_folder;

const MARKS: [&str; 2] = ["<!-- benchmark:begin -->\n", "\n<!-- benchmark:end -->"];

#[test]
fn the_readme_says_what_the_benchmark_measured() {
    let folder = tests_folder("bench");
    let read = |path| fs::read_to_string(path).expect("it is part of the repository");
    let page = read(folder.join("../../README.md"));
    let (_, rest) = page.split_once(MARKS[0]).expect("the README has the table's beginning");
    let (shown, _) = rest.split_once(MARKS[1]).expect("the README has the table's end");
    assert_eq!(shown, table(&Json::parse(&read(folder.join("results.json")))));
}

fn table(said: &Json) -> String {
    let plain = |object: &Json, key: &str| object.get(key).expect("it is measured").plain();
    let number = |object: &Json, key: &str| plain(object, key).parse::<f64>().expect("it is a number");
    let [input, machine] = ["input", "machine"].map(|key| said.get(key).expect("it is measured"));
    let json = number(input, "json_bytes") / 1e6;
    let mut lines = vec![
        format!(
            "{} events, {json:.0} MB of JSON in {} gzip files, {} rows; medians of {} runs with {} threads",
            plain(input, "events"),
            plain(input, "files"),
            plain(input, "rows"),
            plain(said, "runs"),
            plain(said, "threads"),
        ),
        format!(
            "on {} cores ({}, {:.0} GB), {}.",
            plain(machine, "cores"),
            plain(machine, "cpu"),
            number(machine, "memory_gigabytes"),
            plain(said, "date"),
        ),
        String::new(),
        "| | wall | CPU | JSON per CPU second | peak memory | Parquet |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for found in said.get("results").expect("it is measured").items() {
        let median = |key: &str| number(found.get(key).expect("it is measured"), "median");
        let versions = found.get("versions").expect("it is measured").entries().iter();
        let versions: Vec<_> = versions.map(|(package, version)| format!("{package} {}", version.plain())).collect();
        let cpu = median("cpu_seconds");
        lines.push(format!(
            "| {} ({}) | {:.1} s | {cpu:.1} s | {:.0} MB | {:.0} MB | {:.0} MB |",
            plain(found, "name"),
            versions.join(", "),
            median("wall_seconds"),
            json / cpu,
            median("peak_megabytes"),
            median("parquet_megabytes"),
        ));
    }
    lines.join("\n")
}
