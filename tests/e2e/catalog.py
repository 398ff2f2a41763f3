#!/usr/bin/env python3
"""catalog.py --store folder|s3|azure --inlet EXE --pretend EXE [--endpoint URL]: the whole route with a workspace.

The real executable, a settings file, the pretend workspace, and a lake in a folder or in a stand-in for a cloud's store. Steps, each
with a lake and a workspace of its own:

  follows      a first upload, one of the same shape, one with a new property: each lands at once and asks the workspace nothing; one
               evolve for each change registers and syncs what changed, in one wake; DuckDB reads what deltalake reads
  killed       ingest and evolve killed at random moments, twenty times: the next runs make everything right
  copied       a table whose protocol came to want what only Databricks writes: its rows are held, and evolve has the warehouse add
               their column and copy them; on S3 behind the table's gate
  overwritten  (S3) Databricks overwrites a commit of ours, as it can there: one of `_loads` is made again by the next run of the uploads;
               one of an event table is named by `verify` and landed again by `mend`
  gated        (S3) an upload that comes while OPTIMIZE works behind the table's gate is held, and lands after it; a `run-sql` that is
               killed meanwhile is run again

Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import functools
import json
import random
import shutil
import sys
import time
import types

import duck
import steps
from customer import SCHEMA, STORES, TABLES, Customer

ROUNDS = 20
# The latest kill, seconds: on a machine where runs take longer, all come early.
LATEST = 3


def follows(c: Customer):
    c.land("1", range(40))
    c.same("asked for the first upload", c.asked(), [])
    c.same("wakes before evolve", c.wakes(), 0)
    report = c.evolve()
    c.same("the first evolve", [c.status(report, table) for table in (*TABLES, "_loads")], ["registered"] * 3)
    c.same("its wakes", c.wakes(), 1)
    c.catalog_is_the_log()

    c.workspace.control("POST", f"warehouses/{c.workspace.warehouse_id}/stop")
    c.asked()
    said = len(c.workspace.control("GET", "statements"))
    c.land("2", range(40, 80))
    c.same("evolve after the same shape", c.evolve().get("tables"), [])
    c.same("asked for an upload of the same shape", c.asked(), [])

    c.land("3", range(80, 120), "coupon")
    c.same("asked for a new property", c.asked(), [])
    c.same("statements and wakes meanwhile", (len(c.workspace.control("GET", "statements")), c.wakes()), (said, 1))
    c.holds("the log has the new column", "coupon" in c.lake().columns("store_event"))
    c.holds("the catalog lags", "coupon" not in c.shown("store_event"))
    c.each_once()
    report = c.evolve()
    c.same("the second evolve", c.status(report, "store_event"), "synced")
    c.same("all wakes", c.wakes(), 2)
    c.holds("GET tables shows the new column", "coupon" in c.shown("store_event"), c.shown("store_event"))
    again = c.run("ingest", c.folder / "uploads")
    c.same("all uploads again", {key: again.report["totals"][key] for key in ("uploads", "landed", "rows")}, {"uploads": 3, "landed": 0, "rows": 0})
    c.right()
    if c.store.options.get("AWS_ENDPOINT_URL") or not c.store.options:
        by_duckdb(c)


def by_duckdb(c: Customer):
    con = duck.connect(c.folder, "httpfs", "delta")
    con.execute("LOAD httpfs; LOAD delta")
    if c.store.options:
        at = c.store.options["AWS_ENDPOINT_URL"].removeprefix("http://")
        con.execute(f"CREATE SECRET (TYPE S3, KEY_ID 'testing', SECRET 'testing', REGION 'eu-west-1', ENDPOINT '{at}', URL_STYLE 'path', USE_SSL false)")
    for table in TABLES:
        ids = con.execute(f"SELECT id FROM delta_scan('{c.store.url('lake', f'{c.root}/{SCHEMA}/{table}')}') ORDER BY id").fetchall()
        c.same(f"{table}: ids that DuckDB reads", [id for id, in ids], sorted(f"e{n}" for n in c.numbers))


def killed(c: Customer):
    began = time.monotonic()
    c.land("usual", range(50))
    latest = min(1.5 * (time.monotonic() - began), LATEST)
    c.evolve()
    chance, moments = random.Random(), []
    for n in range(1, ROUNDS + 1):
        c.put(f"{n:02}", range(n * 50, n * 50 + 50), f"own_{n}")
        moments += [chance.uniform(0, latest), chance.uniform(0, latest)]
        c.kill({c.begin("ingest", c.folder / "uploads"): moments[-2], c.begin("evolve"): moments[-1]})
        c.let_leases_go()
    before, seconds = len(c.bad), time.monotonic() - began
    first, second = (c.run("ingest", c.folder / "uploads") for _ in range(2))
    c.same("ingest after the kills, and again", (first.code, second.code, (second.report or {}).get("totals", {}).get("landed")), (0, 0, 0))
    c.evolve()
    c.same("evolve again", c.evolve().get("tables"), [])
    c.right()
    if len(c.bad) > before:
        c.bad.append(f"killed after {[round(moment, 3) for moment in moments]} s")
    landed = sum(upload["status"] == "already landed" for upload in (first.report or {}).get("uploads", []))
    print(f"     {ROUNDS} rounds of kills in {seconds:.1f} s; {landed} of {ROUNDS + 1} uploads had landed")


def copied(c: Customer):
    c.land("1", range(40))
    c.evolve()
    refuse(c, "store_event")
    held = c.run("ingest", c.put("2", range(40, 80), "coupon"))
    parts = {part["table"]: (part["status"], part.get("waits_for")) for part in held.report["uploads"][0]["tables"]}
    c.same("what a table that refuses rows holds up", parts, {f"{SCHEMA}.store_event": ("held", "load"), f"{SCHEMA}.tracks": ("landed", None)})
    report = c.evolve()
    loaded = [one.get("held", {}).get("rows") for one in report.get("tables", []) if one["table"] == f"{SCHEMA}.store_event"]
    c.same("rows that the warehouse loaded", loaded, [40])
    words = [text.split()[0] for text in report["statements"]]
    c.same("its statements, but for views", [word for word in words if word != "CREATE"], ["ALTER", "COPY"])
    c.holds("the log has the new column", "coupon" in c.lake().columns("store_event"))
    c.same("files that are left of them", [key for folder in ("held", "held-rows") for key in c.store.keys("lake", f"{c.root}/_inlet/{folder}/")], [])
    c.same("evolve again", c.evolve().get("tables"), [])
    c.right()


def overwritten(c: Customer):
    c.land("1", range(40))
    c.evolve()
    c.land("2", range(40, 80))
    overwrite(c, "_loads")
    c.holds("verify after a lost commit of _loads", c.run("verify").code == 65)
    again = c.run("ingest", c.folder / "uploads")
    c.same("the uploads again", (again.code, [upload["status"] for upload in again.report["uploads"]]), (0, ["already landed", "landed"]))
    c.each_once()
    c.proved()

    lost = c.put("3", range(80, 120))
    c.run("ingest", lost)
    overwrite(c, "store_event")
    ran = c.run("verify")
    found = [(one["table"], one["upload"], one["expected"], one["found"]) for one in json.loads(ran.out)["differences"] if one["check"] == "rows"]
    c.same("verify after a lost commit of an event table", (ran.code, found), (65, [("store_event", str(lost), 40, 0)]))
    mended = c.run("mend")
    said = json.loads(mended.out)
    c.same("mend", (mended.code, [(one["table"], one["uploads"], one["rows"]) for one in said["mended"]], said["lost"]), (0, [(f"{SCHEMA}.store_event", 1, 40)], []))
    c.same("mend again", json.loads(c.run("mend").out)["mended"], [])
    c.land("4", range(120, 160))
    c.each_once()
    c.proved()


def gated(c: Customer):
    c.land("1", range(40))
    c.evolve()
    knobs = {"unconditional_put": 0, "commit_ms": 120_000}
    c.workspace.control("PATCH", "knobs", knobs)
    statement = f"OPTIMIZE {SCHEMA}.store_event"
    killed = c.begin("run-sql", statement)
    works(c)
    killed.kill()
    killed.wait()
    # It is taken for dead after a minute; nobody waits for that here. Its statement goes on, and its gate stays closed.
    held = c.run("ingest", c.put("2", range(40, 80), "coupon"))
    parts = {part["table"]: (part["status"], part.get("waits_for")) for part in held.report["uploads"][0]["tables"]}
    c.same("what is held behind the gate of a dead owner", parts, {f"{SCHEMA}.store_event": ("held", "gate"), f"{SCHEMA}.tracks": ("landed", None)})
    again = c.run("run-sql", statement)
    c.holds("a gate that is closed is not closed twice", again.code == 75 and "is closed" in again.out, again)
    c.workspace.control("PATCH", "knobs", {"commit_ms": 0})
    for key in list(c.store.keys("lake", f"{c.root}/_inlet/gates/")):
        c.store.remove("lake", key)
    ran = c.run("run-sql", statement)
    report = json.loads(ran.out)
    c.same("run-sql again", (ran.code, report["gated"], report["mended"], (report.get("held") or {}).get("rows")), (0, True, [], 40))
    c.evolve()
    c.right()


def refuse(c: Customer, table):
    """A commit that has a table want writers who check constraints, as Databricks makes it for an old protocol."""
    log = f"{c.root}/{SCHEMA}/{table}/_delta_log/"
    version = sum(key.endswith(".json") for key in c.store.keys("lake", log))
    actions = ({"commitInfo": {"timestamp": 1773446400000, "operation": "SET TBLPROPERTIES"}}, {"protocol": {"minReaderVersion": 1, "minWriterVersion": 3}})
    c.store.put("lake", f"{log}{version:020}.json", "".join(json.dumps(action) + "\n" for action in actions).encode())


def works(c: Customer):
    """Waits until an OPTIMIZE is at work."""
    for _ in range(900):
        if any(one["text"].startswith("OPTIMIZE") for one in c.workspace.control("GET", "statements")):
            return
        time.sleep(0.1)
    raise SystemExit("no OPTIMIZE was said")


def overwrite(c: Customer, table):
    """Databricks changes a table that it has read before our last commit to it, and puts its own in the same place."""
    c.workspace.control("PATCH", "knobs", {"unconditional_put": 1})
    c.workspace.run(f"ALTER TABLE {c.workspace.catalog}.{SCHEMA}.{table} ADD COLUMNS (theirs STRING)")
    c.workspace.control("PATCH", "knobs", {"unconditional_put": None})


def of_its_own(step, o, store):
    """A step with a lake and a workspace of its own."""
    @functools.wraps(step)
    def alone(told):
        with Customer(shutil.which(o.inlet) or o.inlet, o.pretend, store, step.__name__) as customer:
            customer.bad = told.bad
            step(customer)
    return alone


def main() -> int:
    o = steps.asked(__doc__, "inlet", "pretend", may=("endpoint",), store=tuple(STORES))
    store = STORES[o.store](o.endpoint)
    store.make("lake")
    told = types.SimpleNamespace(bad=[])
    of_all = (follows, killed, copied, *((overwritten, gated) if o.store == "s3" else ()))
    failed = steps.run(o.store, [of_its_own(step, o, store) for step in of_all], told, o.only)
    if not failed and o.store == "folder":
        shutil.rmtree(store.folder)
    return failed


if __name__ == "__main__":
    sys.exit(main())
