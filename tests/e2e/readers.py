#!/usr/bin/env python3
"""readers.py --inlet EXE --fixtures DIR: what other engines see of the fixtures.

The captured uploads are landed, each source in its schema. Then
  - PyPI's deltalake sees the tables, columns, types and rows that the independent model makes of the same bytes, and counts.json's numbers;
  - DuckDB's delta_scan sees in every table, `_rejects` and `_loads` too, what deltalake sees: columns, types, every value;
  - the SQL that `inlet sql --duckdb` prints runs in DuckDB, twice, and every view can be selected from; `<table>__unique` has each id once,
    `users` and `accounts` hold the model's latest state;
  - the damaged uploads become what counts.json says.
Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import argparse
import collections
import json
import shutil
import sys
import tempfile
from pathlib import Path

import duck
import model as m
from differential import Differences, compare_lake, compare_report, compare_schemas, compare_side, content
from lake import Lake, records, run

DUCK_TYPES = {"VARCHAR": "string", "BOOLEAN": "boolean", "BIGINT": "bigint", "DOUBLE": "double", "TIMESTAMP WITH TIME ZONE": "timestamp"}
REPORT_COUNTS = ("events", "landed", "duplicates", "filtered", "rows")


def comparable(rows):
    return collections.Counter(tuple(sorted((c, type(v).__name__, v) for c, v in r.items())) for r in rows)


def as_modelled(diff, root: Path, top: Path, report) -> dict:
    """deltalake's view against the model; returns {schema: {upload: Result}}."""
    entries = {e["upload"]: e for e in report["uploads"]}
    made = collections.defaultdict(dict)
    chain = collections.defaultdict(dict)
    ids = {}
    for name in sorted(entries, key=lambda n: n.encode()):
        path = Path(name)
        schema = path.relative_to(top).parts[1]
        result = m.model(content(path), key=name, modified_us=path.stat().st_mtime_ns // 1000, existing=chain[schema])
        made[schema][name], ids[name] = result, entries[name]["upload_id"]
        for table, t in result.tables.items():
            chain[schema][table] = t.columns
        compare_report(diff, path.name, entries[name], result)
    for schema, results in made.items():
        lake = Lake(root, schema)
        compare_schemas(diff, schema, lake.schemas(), chain[schema])
        compare_lake(diff, lake, results, {n: ids[n] for n in results}, ordered=False)
        compare_side(diff, lake, results, {n: ids[n] for n in results})
    return made


def as_counted(diff, root: Path, counts):
    for source, wanted in counts["sources"].items():
        lake = Lake(root, source)
        rows = {t: lake.table(t).to_pyarrow_dataset().count_rows() for t in lake.schemas()}
        if rows != {**wanted["calls"], **wanted["event_tables"]}:
            diff.add("rows-against-counts", source, ours=rows, model={**wanted["calls"], **wanted["event_tables"]})


def as_duckdb_sees(diff, root: Path, con, made):
    for schema in made:
        lake = Lake(root, schema)
        for t in lake.tables():
            scan = con.execute(f"SELECT * FROM delta_scan('{lake.folder / t}')")
            types = {d[0]: str(d[1]) for d in scan.description}
            rows = records(scan.to_arrow_table())
            ours = {c: DUCK_TYPES.get(k, k) for c, k in types.items()}
            if ours != lake.columns(t):
                diff.add("duckdb-columns", schema, t, ours=ours, model=lake.columns(t))
            mine, theirs = comparable(rows), comparable(lake.rows(t))
            if mine != theirs:
                diff.add("duckdb-rows", schema, t, ours=list((mine - theirs).elements())[:2], model=list((theirs - mine).elements())[:2])


def views(diff, exe, root: Path, con, made):
    ran = run(exe, "sql", "--lake", root, "--duckdb")
    if ran.code != 0:
        return diff.add("sql-exit", ours=f"<{ran}>")
    for _ in range(2):
        con.execute(ran.out)
    found = {}
    for schema, view in con.execute("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal").fetchall():
        found[schema, view] = records(con.execute(f'SELECT * FROM "{schema}"."{view}"').to_arrow_table())
    for schema, results in made.items():
        lake = Lake(root, schema)
        for t in lake.tables():
            rows = lake.rows(t)
            if comparable(found.get((schema, t), [])) != comparable(rows):
                diff.add("view-of-a-table", schema, t, ours=len(found.get((schema, t), [])), model=len(rows))
            if t in lake.schemas():
                unique = collections.Counter(r["id"] for r in found.get((schema, f"{t}__unique"), []))
                if unique != collections.Counter({r["id"] for r in rows}):
                    diff.add("unique-view", schema, t, ours=unique, model=len({r["id"] for r in rows}))
        for view, source, by in (("users", "identifies", "user_id"), ("accounts", "groups", "group_id")):
            whole = m.Table(rows=[row for r in results.values() if source in r.tables for row in r.tables[source].rows])
            if not whole.rows:
                continue
            want = m.latest_state(whole, by)
            have = {r["id"]: {c: v for c, v in r.items() if not c.startswith("_")} for r in found.get((schema, view), [])}
            if have != want:
                odd = [k for k in set(have) | set(want) if have.get(k) != want.get(k)]
                diff.add("state-view", schema, view, ours={k: have.get(k) for k in odd[:1]}, model={k: want.get(k) for k in odd[:1]})
    return None


def damaged(diff, exe, root: Path, folder: Path, counts):
    ran = run(exe, "ingest", folder, "--lake", root, "--schema", "damaged", "--json")
    if ran.code != 65 or ran.report is None:
        return diff.add("damaged-exit", ours=f"<{ran}>", model=65)
    entries = {Path(e["upload"]).name: e for e in ran.report["uploads"]}
    rejects, tables = collections.defaultdict(collections.Counter), Lake(root, "damaged")
    for r in tables.rows("_rejects"):
        rejects[r["upload_id"]][r["reason"]] += 1
    for name, want in counts["damaged"].items():
        entry = entries.get(name, {})
        for c in REPORT_COUNTS:
            if entry.get(c) != want[c]:
                diff.add("damaged", name, column=c, ours=entry.get(c), model=want[c])
        if dict(rejects[entry.get("upload_id")]) != want["rejected"]:
            diff.add("damaged-rejects", name, ours=dict(rejects[entry.get("upload_id")]), model=want["rejected"])
    return None


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--fixtures", required=True, type=Path)
    o = a.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")
    exe = shutil.which(o.inlet) or o.inlet
    base = Path(tempfile.mkdtemp(prefix="inlet-readers-")).resolve()
    fixtures, root = o.fixtures.resolve(), base / "lake"
    counts = json.loads((fixtures / "counts.json").read_text(encoding="utf-8"))
    diff = Differences(60)
    ran = run(exe, "ingest", fixtures / "uploads", "--lake", root, "--json")
    if ran.code != 0 or ran.report is None:
        print(ran)
        return 1
    made = as_modelled(diff, root, fixtures / "uploads", ran.report)
    as_counted(diff, root, counts)
    con = duck.connect(base)
    con.execute("LOAD delta")
    as_duckdb_sees(diff, root, con, made)
    views(diff, exe, root, con, made)
    damaged(diff, exe, base / "damaged", fixtures / "damaged", counts)
    tables = sum(len(Lake(root, s).tables()) for s in made)
    print(f"{len(made)} schemas, {tables} tables, {sum(len(r) for r in made.values())} uploads, read by the model, deltalake and DuckDB")
    failed = diff.summary()
    if failed:
        print(f"kept: {base}")
    else:
        shutil.rmtree(base, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
