#!/usr/bin/env python3
"""unity.py --pretend EXE: DuckDB's `unity_catalog` extension against the pretend workspace.

An external table with rows is registered by a statement; DuckDB attaches the catalog, lists the table with its columns, and
reads its rows from the Delta log. Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import pyarrow
from deltalake import write_deltalake

import duck
from workspace import Workspace


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--pretend", required=True)
    o = a.parse_args()
    with tempfile.TemporaryDirectory(prefix="pretend-unity-") as folder:
        base = Path(folder).resolve()
        place = base / "lake" / "web" / "tracks"
        write_deltalake(str(place), pyarrow.table({"id": ["a", "b"], "n": [1, 2]}))
        with Workspace(o.pretend, (base / "lake").as_uri()) as w:
            w.run("CREATE SCHEMA segment.web")
            w.run(f"CREATE TABLE segment.web.tracks USING DELTA LOCATION '{place.as_uri()}'")
            con = duck.connect(base, "httpfs", "delta", "unity_catalog")
            con.execute("LOAD httpfs; LOAD delta; LOAD unity_catalog")
            con.execute(f"CREATE SECRET (TYPE UNITY_CATALOG, TOKEN '{w.token}', ENDPOINT '{w.url}', AWS_REGION 'us-east-1')")
            con.execute("ATTACH 'segment' AS segment (TYPE UNITY_CATALOG)")
            rows = con.execute("SELECT id, n FROM segment.web.tracks ORDER BY id").fetchall()
            # Before anything of it was read, the extension lists the catalog only sometimes.
            tables = con.execute("SELECT schema, name, column_names FROM (SHOW ALL TABLES) WHERE database = 'segment'").fetchall()
            seen = {s["path"].rsplit("/", 1)[1]: s["principal"] for s in w.control("GET", "requests") if s["path"].startswith("/api/2.1")}
    bad = []
    if tables != [("web", "tracks", ["id", "n"])]:
        bad.append(f"tables: {tables}")
    if rows != [("a", 1), ("b", 2)]:
        bad.append(f"rows: {rows}")
    if seen != {"schemas": w.client_id, "tables": w.client_id}:
        bad.append(f"it asked {seen}")
    for line in bad:
        print(line)
    print(f"DuckDB's unity_catalog: {len(tables)} tables, {len(rows)} rows, {len(bad)} differences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
