#!/usr/bin/env python3
"""made.py --inlet EXE --tables DIR: what DuckDB reads of tables as Databricks makes them, after Inlet has landed in them.

Each table of DIR stands in a lake, in a schema of its own, and two uploads land in all of them by one run each. What a table takes DuckDB reads, once; of what
it refuses nothing stands there; rows that a deletion vector removed stay removed. Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import duck
import steps
from lake import run
from spark import NAME, event, write

# DuckDB cannot open it: its commits are a catalog's.
UNREADABLE = "catalog_managed"
ROWS_BEFORE = {"deletion_vectors_in_use": {f"before-{n:02}" for n in (1, 2, 5, 6, 7, 8, 9, 10)}}


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--tables", required=True, type=Path)
    o = a.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")
    exe = shutil.which(o.inlet) or o.inlet
    base = Path(tempfile.mkdtemp(prefix="inlet-made-")).resolve()
    con = duck.connect(base)
    con.execute("LOAD delta")
    bad, names, took = [], sorted(p.name for p in o.tables.iterdir() if p.is_dir()), {}
    for name in names:
        shutil.copytree(o.tables / name, base / "lake" / name / NAME)
    for number, more in enumerate(({}, {"coupon": "c", "gift": True})):
        uploads = base / f"uploads{number}"
        for name in names:
            write(uploads / f"segment-logs/{name}/177344640000{number}/1.ndjson", [event(f"{number}-{n}", more) for n in range(3)])
        ran = run(exe, "ingest", uploads, "--lake", base / "lake", "--json")
        for entry in (ran.report or {}).get("uploads") or []:
            took[Path(entry["upload"]).parts[-3], number] = entry["status"]
    if len(took) != 2 * len(names) or set(took.values()) != {"landed", "failed"}:
        bad.append(f"not every upload is reported: {ran}")
    for name in names:
        want = ROWS_BEFORE.get(name, set()) | {f"{number}-{n}" for number in (0, 1) if took.get((name, number)) == "landed" for n in range(3)}
        if name == UNREADABLE:
            bad += [f"{name}: Inlet landed in it"] if want else []
            continue
        columns = "id" if took.get((name, 1)) != "landed" else "id, coupon, gift, total"
        rows = con.execute(f"SELECT {columns} FROM delta_scan('{base / 'lake' / name / NAME}')").fetchall()
        if sorted(r[0] for r in rows) != sorted(want):
            bad.append(f"{name}: have {sorted(r[0] for r in rows)}, want {sorted(want)}")
        odd = [r for r in rows if len(r) > 1 and not r[0].startswith("before") and r[1:] != (("c", True, 1.5) if r[0].startswith("1-") else (None, None, 1.5))]
        bad += [f"{name}: {odd[:2]}"] if odd else []
    whole, rows_only = (sum(took.get((n, 0)) == "landed" and (took.get((n, 1)) == "landed") == both for n in names) for both in (True, False))
    print(f"{len(names)} tables: {whole} take rows and columns, {rows_only} rows alone; DuckDB reads each row once")
    return steps.ended(bad, base)


if __name__ == "__main__":
    sys.exit(main())
