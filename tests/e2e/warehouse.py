#!/usr/bin/env python3
"""warehouse.py --pretend EXE --store s3|azure --endpoint URL: the pretend workspace's statements on a lake in an object store.

What its statements write is read back by PyPI's deltalake, and what deltalake writes is adopted, synced, counted and
optimized by statements. With an unconditional PUT a statement overwrites somebody's commit, as Databricks can on S3. Exit 1 with what
differs. Needs requirements.txt."""
from __future__ import annotations

import argparse
import sys

import pyarrow
from deltalake import DeltaTable, write_deltalake

from stores import S3, Azure
from workspace import Workspace

bad: list[str] = []


def same(what, ours, wanted):
    if ours != wanted:
        bad.append(f"{what}: {ours!r}, not {wanted!r}")


class Lake:
    def __init__(self, store, w: Workspace):
        self.store, self.w = store, w

    def url(self, table):
        return self.store.url("lake", f"tables/web/{table}")

    def read(self, table) -> DeltaTable:
        return DeltaTable(self.url(table), storage_options=self.store.options)

    def append(self, table, rows, **how):
        write_deltalake(self.url(table), pyarrow.table(rows), mode="append", storage_options=self.store.options, **how)

    def columns(self, table):
        return [f.name for f in self.read(table).schema().fields]


def created_by_a_statement(lake: Lake):
    lake.w.run(f"CREATE TABLE segment.web.made (id STRING) LOCATION '{lake.url('made')}' TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')")
    lake.w.run("ALTER TABLE segment.web.made ADD COLUMNS (n BIGINT)")
    lake.append("made", {"id": ["a", "b"], "n": [1, 2]})
    lake.append("made", {"id": ["c"], "n": [3]})
    same("rows", lake.w.run("SELECT count(*) FROM segment.web.made"), [["3"]])
    lake.w.run("OPTIMIZE segment.web.made")
    read = lake.read("made")
    same("the last operation", read.history(1)[0]["operation"], "OPTIMIZE")
    same("rows after OPTIMIZE", sorted(read.to_pyarrow_table().column("id").to_pylist()), ["a", "b", "c"])
    same("rows by a statement", lake.w.run("SELECT count(*) FROM segment.web.made"), [["3"]])


def adopted(lake: Lake):
    lake.append("found", {"id": ["a"]})
    lake.w.run(f"CREATE TABLE IF NOT EXISTS segment.web.found USING DELTA LOCATION '{lake.url('found')}'")
    lake.append("found", {"id": ["b"], "late": [1]}, schema_mode="merge")
    lake.w.run("REPAIR TABLE segment.web.found SYNC METADATA")
    lake.w.run("CREATE VIEW segment.web.latest AS SELECT late FROM segment.web.found")
    same("columns", lake.columns("found"), ["id", "late"])


def overwritten(lake: Lake):
    lake.append("found", {"id": ["lost"], "late": [2]})
    lake.w.control("PATCH", "knobs", {"unconditional_put": 1})
    lake.w.run("ALTER TABLE segment.web.found ADD COLUMNS (theirs STRING)")
    lake.w.control("PATCH", "knobs", {"unconditional_put": None})
    same("what an unconditional PUT leaves", (lake.columns("found"), sorted(lake.read("found").to_pyarrow_table().column("id").to_pylist())),
         (["id", "late", "theirs"], ["a", "b"]))


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--pretend", required=True)
    a.add_argument("--store", choices=("s3", "azure"), required=True)
    a.add_argument("--endpoint", required=True)
    o = a.parse_args()
    store = {"s3": S3, "azure": Azure}[o.store](o.endpoint)
    store.make("lake")
    with Workspace(o.pretend, store.url("lake", "tables"), store.env) as w:
        lake = Lake(store, w)
        w.run("CREATE SCHEMA segment.web")
        for step in (created_by_a_statement, adopted, overwritten):
            step(lake)
        said = len(w.control("GET", "statements"))
    for line in bad:
        print(line)
    print(f"{o.store}: {said} statements, {len(bad)} differences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
