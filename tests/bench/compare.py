#!/usr/bin/env python3
"""compare.py [--inlet EXE] [--events 250000] [--files 8] [--runs 5] [--threads 2] [--readme]: Inlet and scripts that people write instead.

Everybody gets the same made-up gzip files and an empty folder, one process per run, in turn, so that a drifting machine hits all alike; everybody
makes the same tables (a track in `tracks` and in the table of its event) with nested objects as columns, as Delta. Measured: wall time, CPU time
(user and system, children included), peak resident memory, megabytes of Parquet; rows are counted by an independent reader (PyPI's deltalake), and
one that lands another number of rows has failed. results.json keeps machine, versions, medians and extremes; the table in the README is made from
it. --readme only writes that table again.

What peers leave undone: a second run appends everything again; a malformed line stops the run; a value of another type stops the run or turns its
column into text; nothing is committed together with a mark of what was read; new columns are merged only where that is one option.

Needs Python 3.11. Without --inlet the executable is built (`cargo build --profile dist -p inlet`). The peers' packages (requirements.txt) are
installed once in a virtual environment under the target folder, where input and lakes are too."""
from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
WORK = TARGET / "bench"
RESULTS = HERE / "results.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
PEERS = {"Polars": "peer_polars.py", "orjson + PyArrow + deltalake": "peer_orjson.py", "DuckDB + deltalake": "peer_duckdb.py"}
PACKAGES = {"Polars": ["polars", "deltalake"], "orjson + PyArrow + deltalake": ["orjson", "pyarrow", "deltalake"], "DuckDB + deltalake": ["duckdb", "deltalake"]}
COUNT_ROWS = """
import sys; from pathlib import Path; from deltalake import DeltaTable
logs = [log.parent for log in Path(sys.argv[1]).rglob("_delta_log")]
print(sum(DeltaTable(table).to_pyarrow_dataset().count_rows() for table in logs if not table.name.startswith("_")))
"""


def environment() -> Path:
    """The interpreter that knows the peers' packages; installed anew when requirements.txt changes."""
    wanted = HERE / "requirements.txt"
    home = WORK / f"python-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]}"
    mark = home / ".finished"
    if not mark.exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.check_call([sys.executable, "-m", "venv", home])
        subprocess.check_call([home / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", wanted])
        mark.touch()
    return home / "bin/python"


def executable() -> Path:
    subprocess.check_call(["cargo", "build", "--locked", "--profile", "dist", "-p", "inlet", "--target-dir", TARGET], cwd=ROOT)
    return TARGET / "dist/inlet"


def the_input(python: Path, events: int, files: int) -> tuple[Path, dict]:
    """The folder of uploads and what is in it; kept for the next run."""
    key = hashlib.sha256((HERE / "generate.py").read_bytes() + f"{events} {files}".encode()).hexdigest()[:16]
    folder, facts = WORK / f"input-{key}", WORK / f"input-{key}.json"
    if not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        code = "import json, sys; from pathlib import Path; from generate import generate\nprint(json.dumps(generate(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))"
        made = subprocess.run([python, "-c", code, folder, str(events), str(files)], cwd=HERE, check=True, capture_output=True, text=True)
        facts.write_text(made.stdout, encoding="utf-8")
    return folder, json.loads(facts.read_text(encoding="utf-8"))


def measure(command: list, threads: int) -> dict:
    """One process to its end."""
    variables = {**os.environ, "INLET_WORKERS": threads, "POLARS_MAX_THREADS": threads, "BENCH_THREADS": threads, "PYTHONDONTWRITEBYTECODE": 1}
    began = time.monotonic()
    with open(WORK / "said", "w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, env={name: str(value) for name, value in variables.items()}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            raise SystemExit(f"{command}: exit {process.returncode}\n{said.read()[-2000:]}")
    return {"wall_seconds": wall, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_megabytes": usage.ru_maxrss * 1024 / 1e6}


def race(inlet: Path, events: int, files: int, runs: int, threads: int) -> dict:
    python = environment()
    source, facts = the_input(python, events, files)
    version = subprocess.run([inlet, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    listed = json.loads(subprocess.run([python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"], capture_output=True, text=True, check=True).stdout)
    versions = {package["name"]: package["version"] for package in listed}
    contenders = {"Inlet": [inlet, "ingest", source, "--json", "--lake"]} | {name: [python, HERE / script, source] for name, script in PEERS.items()}
    measured: dict[str, list[dict]] = {name: [] for name in contenders}
    for run in range(runs):
        for name, command in contenders.items():
            lake = WORK / "lake"
            shutil.rmtree(lake, ignore_errors=True)
            lake.mkdir()
            found = measure([*command, lake], threads)
            found["parquet_megabytes"] = sum(path.stat().st_size for path in lake.rglob("*.parquet")) / 1e6
            rows = int(subprocess.run([python, "-c", COUNT_ROWS, lake], capture_output=True, text=True, check=True).stdout)
            if rows != facts["rows"]:
                raise SystemExit(f"{name} landed {rows} rows and not {facts['rows']}")
            measured[name].append(found)
            print(f"run {run + 1} of {runs}: {name:32} {found['wall_seconds']:7.2f} s, {found['cpu_seconds']:7.2f} CPU seconds, {found['peak_megabytes']:6.0f} MB", flush=True)
    shutil.rmtree(WORK / "lake", ignore_errors=True)
    results = []
    for name, found in measured.items():
        numbers = {key: {"median": round(statistics.median(values), 3), "least": round(min(values), 3), "most": round(max(values), 3)} for key in found[0] for values in [[run[key] for run in found]]}
        uses = {"inlet": version} if name == "Inlet" else {package: versions[package] for package in PACKAGES[name]}
        results.append({"name": name, "versions": uses, "rows": facts["rows"], **numbers})
    return {"date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(), "machine": machine(), "python": platform.python_version(), "threads": threads, "runs": runs, "input": facts, "results": results}


def machine() -> dict:
    said = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*: (.*)$", said, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model[1].strip() if model else platform.processor(), "cores": os.cpu_count(), "memory_gigabytes": round(memory / 1e9, 1), "system": f"{platform.system()} {platform.machine()}"}


def table(said: dict) -> str:
    """The README's table; tests/it/bench.rs makes the same."""
    source, machine = said["input"], said["machine"]
    lines = [
        f"{source['events']} events, {source['json_bytes'] / 1e6:.0f} MB of JSON in {source['files']} gzip files, {source['rows']} rows; medians of {said['runs']} runs with {said['threads']} threads",
        f"on {machine['cores']} cores ({machine['cpu']}, {machine['memory_gigabytes']:.0f} GB), {said['date']}.",
        "",
        "| | wall | CPU | JSON per CPU second | peak memory | Parquet |",
        "|---|---|---|---|---|---|",
    ]
    for found in said["results"]:
        versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
        cpu = found["cpu_seconds"]["median"]
        lines.append(f"| {found['name']} ({versions}) | {found['wall_seconds']['median']:.1f} s | {cpu:.1f} s | {source['json_bytes'] / 1e6 / cpu:.0f} MB | {found['peak_megabytes']['median']:.0f} MB | {found['parquet_megabytes']['median']:.0f} MB |")
    return "\n".join(lines)


def write_readme(said: dict) -> None:
    page = README.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{table(said)}\n{END}{after}", encoding="utf-8")


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", type=Path)
    a.add_argument("--events", type=int, default=250_000)
    a.add_argument("--files", type=int, default=8)
    a.add_argument("--runs", type=int, default=5)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--readme", action="store_true")
    o = a.parse_args()
    if not o.readme:
        WORK.mkdir(parents=True, exist_ok=True)
        said = race((o.inlet or executable()).resolve(), o.events, o.files, o.runs, o.threads)
        RESULTS.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    said = json.loads(RESULTS.read_text(encoding="utf-8"))
    write_readme(said)
    print(table(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
