#!/usr/bin/env python3
"""cases.py --inlet EXE --cases FILE: every worked case through the real executable.

Tables of `existing` are written first (deltalake, with the system columns); the file's mtime is `batch_received_at`; the warehouse id is wh_1.
`expect_discards` is met by `_rescued_data`, `expect_rejects` by `_rejects` (index = event in file order), `expect_views` by running what
`inlet sql --lake L --duckdb` prints in DuckDB with its `delta` extension. Needs requirements.txt."""
from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

import duck
import model as m
from lake import Lake, records, run

ARROW = {"string": pa.string(), "bigint": pa.int64(), "double": pa.float64(), "boolean": pa.bool_(), "timestamp": pa.timestamp("us", "UTC")}


def run_views(sql: str, con, wanted) -> dict:
    """{view: {id: row}} after running the printed SQL."""
    con.execute(sql)
    out = {}
    for schema, view in con.execute("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal").fetchall():
        if view in wanted:
            rows = records(con.execute(f'SELECT * FROM "{schema}"."{view}"').to_arrow_table())
            out[view] = {r.get("id"): {c: v for c, v in r.items() if not c.startswith("_")} for r in rows}
    return out


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--cases", required=True)
    a.add_argument("--schema", default="src")
    a.add_argument("--args", help="more words for `inlet ingest` (default: --warehouse-id wh_1 if its help knows that)")
    a.add_argument("--only", help="cases whose name holds this")
    a.add_argument("--first-item", type=int, default=0)
    a.add_argument("--keep", help="work here and keep it")
    o = a.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")
    exe = shutil.which(o.inlet) or o.inlet
    if not Path(exe).is_file():
        print(f"no executable at {o.inlet}", file=sys.stderr)
        return 2
    env = {"INLET_WAREHOUSE_ID": "wh_1"}
    extra = shlex.split(o.args) if o.args is not None else []
    if o.args is None and "--warehouse-id" in (lambda r: r.out + r.err)(run(exe, "ingest", "--help")):
        extra = ["--warehouse-id", "wh_1"]
    base = Path(o.keep or tempfile.mkdtemp(prefix="inlet-cases-")).resolve()
    base.mkdir(parents=True, exist_ok=True)
    failed = done = 0
    for case in m.read_json(Path(o.cases).read_text(encoding="utf-8")):
        name = case.last("name")
        if o.only and o.only not in name:
            continue
        done += 1
        bad = one_case(exe, extra, env, base / name, duck.connect(base), case, o)
        failed += bool(bad)
        print(("FAIL " if bad else "ok   ") + name, flush=True)
        for b in bad:
            print("     " + b[:1500])
    print(f"{done} cases, {failed} failures")
    if failed:
        print(f"kept: {base}")
    elif not o.keep:
        shutil.rmtree(base, ignore_errors=True)
    return 1 if failed else 0


def one_case(exe, extra, env, here: Path, con, case, o) -> list:
    data, modified, existing = m.case_parts(case)
    shutil.rmtree(here, ignore_errors=True)
    root = here / "lake"
    root.mkdir(parents=True)
    upload = here / "in" / "segment-logs" / "src1" / "1767225600000" / "0000.json"
    upload.parent.mkdir(parents=True)
    upload.write_bytes(data)
    os.utime(upload, ns=(modified * 1000, modified * 1000))
    for t, columns in existing.items():
        schema = pa.schema([pa.field(c, ARROW[k]) for c, k in columns.items()])
        write_deltalake(str(root / o.schema / t), schema.empty_table())
    ran = run(exe, "ingest", upload, "--lake", root, "--schema", o.schema, "--json", *extra, env=env)
    bad = []
    if ran.report is None:
        bad.append(f"no JSON report: {ran}")
    if ran.code != 0:
        bad.append(f"exit {ran.code}")
    lake = Lake(root, o.schema)
    got, views = m.Result(), None
    try:
        for t in lake.tables():
            if t.startswith("_re") or t == "_loads":
                continue
            table = m.Table(columns=lake.columns(t))
            for r in lake.rows(t):
                kept = {}
                if "_rescued_data" in r:
                    kept = dict(m.read_json(r["_rescued_data"]))
                table.rows.append(m.Row({c: v for c, v in r.items() if c not in ("_rescued_data", "_upload_id", "uuid_ts")}, kept, 0, None))
                if "_upload_id" not in r:
                    bad.append(f"{t}: a row without _upload_id")
            if table.rows or t in dict(case.last("expect")):
                got.tables[t] = table
        if "_rejects" in lake.tables():
            got.rejections = [(r.get("line"), None if r.get("item") is None else r["item"] - o.first_item, r.get("reason")) for r in lake.rows("_rejects")]
        if case.last("expect_views"):
            sql = run(exe, "sql", "--lake", root, "--duckdb", env=env)
            if sql.code != 0:
                sql = run(exe, "sql", "--lake", root, "--schema", o.schema, "--duckdb", env=env)
            try:
                views = run_views(sql.out, con, dict(case.last("expect_views")))
            except Exception as e:                                                   # a bad view must not hide the other cases
                bad.append(f"views: {type(e).__name__}: {e}\n{sql}")
                views = {}
        return bad + m.check_case(case, got, views)
    except Exception as e:
        return bad + [f"{type(e).__name__}: {e}"]


if __name__ == "__main__":
    sys.exit(main())
