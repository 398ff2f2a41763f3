#!/usr/bin/env python3
"""spark.py --inlet EXE --spark HOME --tables DIR: Spark with Delta makes tables, changes them and reads them back; Inlet lands in them.

  made      a table with each feature that Spark can give one: Inlet lands in it, Spark reads every row once; Spark adds a column, sets properties, deletes,
            merges and compacts; Inlet lands again, one column more; every row stands once, the first upload is known to have landed
  ways_out  tables that Inlet refuses (DIR, as Databricks makes them): the SQL of the hint runs in Spark, and then the same upload lands; what the hint
            says that no SQL drops, Spark does not drop
  at_once   Spark deletes, merges and compacts while uploads land: nothing is lost, doubled or undone

Exit 1 with what differs. HOME holds PySpark (python/), Delta (jars/) and a log store that puts if absent (classes/)."""
from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import steps
from lake import run

NAME = "order_completed"
COLUMNS = "id STRING, received_at TIMESTAMP, timestamp TIMESTAMP, user_id STRING, anonymous_id STRING, event STRING, event_text STRING, original_timestamp TIMESTAMP, " \
          "sent_at TIMESTAMP, uuid_ts TIMESTAMP, _rescued_data STRING, _upload_id STRING, order_id STRING, total DOUBLE"
TRACKING = "'delta.enableRowTracking'='true'"
VECTORS = "'delta.enableDeletionVectors'='true'"
# What Spark gives a table: columns of its own, clustering and properties, and what it changes before anything lands.
MADE = {
    "plain": ("", "", "", ""),
    "conservative": ("", "", "'delta.enableDeletionVectors'='false', 'delta.enableRowTracking'='false', 'delta.checkpointPolicy'='classic', "
                     "'delta.columnMapping.mode'='none', 'delta.enableInCommitTimestamps'='false'", ""),
    "tracked": ("", "", f"{TRACKING}, 'delta.enableInCommitTimestamps'='true'", ""),
    "clustered": ("", "CLUSTER BY (received_at, order_id)", VECTORS, ""),
    "mapped": ("", "", "'delta.columnMapping.mode'='name'", ""),
    "mapped_by_id": ("", "", "'delta.columnMapping.mode'='id'", ""),
    "widened": (", items INT", "", "'delta.enableTypeWidening'='true'", "ALTER COLUMN items TYPE BIGINT"),
    "checkpoints": ("", "", "'delta.checkpointPolicy'='v2', 'delta.checkpointInterval'='1'", ""),
    "everything": (", payload VARIANT, day DATE", "CLUSTER BY (received_at)", f"{TRACKING}, {VECTORS}, 'delta.enableInCommitTimestamps'='true', 'delta.columnMapping.mode'='name', "
                   "'delta.checkpointPolicy'='v2', 'delta.checkpointInterval'='1', 'delta.enableTypeWidening'='true', 'delta.enableChangeDataFeed'='true'", ""),
}
MENDED = ("check_in_use", "checks_listed", "default_in_use", "defaults_listed", "iceberg_compat_v2", "legacy_1_3", "not_null_date")
FOR_GOOD = {"generated_listed": "generatedColumns", "identity_listed": "identityColumns"}
CHANGES, EACH, AT_ONCE = 6, 5, 4
# Delta's errors for a commit that lost to another: the next try reads what is new.
CONFLICT = re.compile(r"DELTA_(CONCURRENT|METADATA_CHANGED|PROTOCOL_CHANGED)|Concurrent\w+Exception")


class Bad(Exception):
    pass


def check(what, have, want):
    if have != want:
        raise Bad(f"{what}:\n  have {have}\n  want {want}")


class Spark:
    """A session whose every table is a path."""

    def __init__(self, home: Path, base: Path):
        sys.path.append(str(home / "python"))
        from pyspark.sql import SparkSession
        path = ":".join(str(p) for p in [*sorted((home / "jars").glob("*.jar")), home / "classes"])
        settings = {
            "spark.driver.extraClassPath": path, "spark.driver.memory": "1g", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false",
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension", "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.warehouse.dir": str(base / "warehouse"), "spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "2", "spark.databricks.delta.snapshotPartitions": "2",
            "spark.delta.logStore.file.impl": "PutIfAbsent", "spark.log.level": "ERROR",
            # Tables of ten rows: what compiles longest runs longest.
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC", "spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.sql.adaptive.enabled": "false",
        }
        builder = SparkSession.builder.master("local[2]").appName("inlet")
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()

    def sql(self, text):
        return self.session.sql(text).collect()

    def rows(self, path, columns="id, order_id, total"):
        """{id: the other columns}; every id once."""
        rows = [tuple(r) for r in self.sql(f"SELECT {columns} FROM {table(path)}")]
        twice = [i for i, n in collections.Counter(r[0] for r in rows).items() if n > 1]
        check(f"{path}: ids that stand twice", twice, [])
        return {r[0]: r[1:] for r in rows}


def table(path):
    return f"delta.`{path}`"


def each(work, names):
    """Tables are nobody else's business: a few at once."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(work, name) for name in names]:
            done.result()


def event(i, more=None):
    properties = {"order_id": f"o-{i}", "total": 1.5, **(more or {})}
    return {"type": "track", "messageId": i, "userId": "u1", "event": "Order Completed", "receivedAt": "2026-03-15T12:00:00.500Z", "properties": properties}


def write(path: Path, events):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    return path


def landed(ran, uploads, already=0):
    entries = (ran.report or {}).get("uploads") or []
    statuses = collections.Counter(e["status"] for e in entries)
    want = {k: n for k, n in (("landed", uploads), ("already landed", already)) if n}
    if ran.code != 0 or dict(statuses) != want:
        raise Bad(f"wanted {want}: {ran}")


def made(exe, spark, base, _tables):
    """All tables in one run of Inlet each time: a source, so a schema, per table."""
    lake = base / "made"
    first, second = lake / "first", lake / "second"
    root = lambda name: lake / "lake" / name / NAME                                       # noqa: E731
    ids = [f"first-{n}" for n in range(4)]

    def create(name):
        columns, layout, properties, then = MADE[name]
        spark.sql(f"CREATE TABLE {table(root(name))} ({COLUMNS}{columns}) USING DELTA {layout}" + (f" TBLPROPERTIES ({properties})" if properties else ""))
        if then:
            spark.sql(f"ALTER TABLE {table(root(name))} {then}")
        write(first / f"segment-logs/{name}/1773446400000/1.ndjson", [event(i, {"items": 2} if "items" in columns else None) for i in ids])

    def change(name):
        path = root(name)
        check(f"{name}: first", spark.rows(path), {i: (f"o-{i}", 1.5) for i in ids})
        if "items" in MADE[name][0]:
            check(f"{name}: widened", spark.rows(path, "id, items"), {i: (2,) for i in ids})
        spark.sql(f"ALTER TABLE {table(path)} ADD COLUMNS (coupon STRING COMMENT 'by Spark')")
        spark.sql(f"ALTER TABLE {table(path)} SET TBLPROPERTIES ('analysts.team'='shop')")
        spark.sql(f"DELETE FROM {table(path)} WHERE id = 'first-3'")
        spark.sql(f"MERGE INTO {table(path)} t USING (SELECT 'first-1' AS id, 9.5 AS total) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET total = s.total")
        spark.sql(f"OPTIMIZE {table(path)}")
        write(second / f"segment-logs/{name}/1773532800000/2.ndjson", [event(f"second-{n}", {"coupon": "c", "gift": True}) for n in range(2)])

    def read(name):
        old = {i: (f"o-{i}", 9.5 if i == "first-1" else 1.5, None, None) for i in ids if i != "first-3"}
        new = {f"second-{n}": (f"o-second-{n}", 1.5, "c", True) for n in range(2)}
        check(f"{name}: second", spark.rows(root(name), "id, order_id, total, coupon, gift"), {**old, **new})
        check(f"{name}: property", spark.sql(f"DESCRIBE DETAIL {table(root(name))}")[0]["properties"].get("analysts.team"), "shop")

    each(create, MADE)
    landed(run(exe, "ingest", first, "--lake", lake / "lake", "--json"), len(MADE))
    each(change, MADE)
    landed(run(exe, "ingest", second, first, "--lake", lake / "lake", "--json"), len(MADE), len(MADE))
    each(read, MADE)
    logs = {name: list((root(name) / "_delta_log").iterdir()) for name in MADE}
    for name in ("checkpoints", "everything"):
        if not any(".checkpoint." in p.name for p in logs[name]):
            raise Bad(f"{name}: Spark wrote no checkpoint: this proves nothing")
    row_ids = [r[0] for r in spark.sql(f"SELECT _metadata.row_id FROM {table(root('everything'))}")]
    check("everything: row ids are distinct", (len(row_ids), None in row_ids), (len(set(row_ids)), False))
    return f"{len(MADE)} tables"


def refused(exe, lake, upload, schema):
    ran = run(exe, "ingest", upload, "--lake", lake, "--schema", schema, "--json")
    fault = ((ran.report or {}).get("uploads") or [{}])[0].get("fault")
    if ran.code != 78 or not fault:
        raise Bad(f"{schema} was not refused: {ran}")
    return fault


def ways_out(exe, spark, base, tables):
    lake = base / "ways_out"

    def mend(name):
        path = lake / name / NAME
        shutil.copytree(tables / name, path)
        upload = write(base / f"{name}.ndjson", [event(name, {"gift": True} if name in ("defaults_listed", "iceberg_compat_v2") else None)])
        hint = refused(exe, lake, upload, name).get("hint") or ""
        if name in FOR_GOOD:
            check(f"{name}: the hint", f"no SQL drops {FOR_GOOD[name]}" in hint, True)
            try:
                spark.sql(f"ALTER TABLE {table(path)} DROP FEATURE {FOR_GOOD[name]}")
            except Exception as error:
                check(f"{name}: Spark refuses", "DELTA_FEATURE_DROP_NONREMOVABLE_FEATURE" in str(error), True)
                return
            raise Bad(f"{name}: Spark drops {FOR_GOOD[name]}: the hint may say so")
        statements = re.sub(r"^run: ", "", hint).split(" -- ")[0].split("; ")
        for statement in statements:
            spark.sql(statement.replace(f"`{name}`.`{NAME}`", table(path)))
        landed(run(exe, "ingest", upload, "--lake", lake, "--schema", name, "--json"), 1)
        check(f"{name}: rows", spark.rows(path), {name: (f"o-{name}", 1.5)})

    each(mend, (*MENDED, *FOR_GOOD))
    return f"{len(MENDED)} hints run"


def at_once(exe, spark, base, _tables):
    lake = base / "at_once"
    path = lake / "lake/events" / NAME
    spark.sql(f"CREATE TABLE {table(path)} ({COLUMNS}) USING DELTA CLUSTER BY (received_at) TBLPROPERTIES ({VECTORS}, {TRACKING})")
    before = [f"before-{n}" for n in range(CHANGES)]
    landed(run(exe, "ingest", write(lake / "before.ndjson", [event(i) for i in before]), "--lake", lake / "lake", "--schema", "events", "--json"), 1)
    changes = [
        lambda i: f"DELETE FROM {table(path)} WHERE id = 'before-{i}'",
        lambda i: f"MERGE INTO {table(path)} t USING (SELECT 'before-{i}' AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET total = 9.5",
        lambda _: f"OPTIMIZE {table(path)}",
    ]
    lost = 0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for n in range(CHANGES):
            # An append fails a DELETE and a MERGE of open-source Delta, which isolates them wholly: they are tried again, beside nothing.
            changing = pool.submit(spark.sql, changes[n % 3](n))
            upload = write(lake / f"{n}.ndjson", [event(f"{n}-{m}") for m in range(EACH)])
            landed(run(exe, "ingest", upload, "--lake", lake / "lake", "--schema", "events", "--json"), 1)
            try:
                changing.result()
            except Exception as error:
                if not CONFLICT.search(str(error)):
                    raise
                lost += 1
                spark.sql(changes[n % 3](n))
    want = {f"{n}-{m}": (f"o-{n}-{m}", 1.5) for n in range(CHANGES) for m in range(EACH)}
    want |= {i: (f"o-{i}", 9.5 if n % 3 == 1 else 1.5) for n, i in enumerate(before) if n % 3 != 0}
    check("rows", spark.rows(path), want)
    return f"{CHANGES} uploads beside as many changes, {lost} of which lost a race"


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--spark", required=True, type=Path)
    a.add_argument("--tables", required=True, type=Path)
    a.add_argument("--only")
    o = a.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")
    base = Path(tempfile.mkdtemp(prefix="inlet-spark-")).resolve()
    began = time.monotonic()
    spark = Spark(o.spark, base)
    said, bad = [f"up in {time.monotonic() - began:.0f} s"], []
    for step in (made, ways_out, at_once):
        if o.only and step.__name__ != o.only:
            continue
        began = time.monotonic()
        try:
            what = step(shutil.which(o.inlet) or o.inlet, spark, base, o.tables)
            said.append(f"{step.__name__}: {what}, {time.monotonic() - began:.0f} s")
        except Exception as error:
            bad.append(f"{step.__name__}: {type(error).__name__}: {error}")
    with contextlib.suppress(Exception):
        spark.session.stop()
    print("Spark " + "; ".join(said))
    return steps.ended(bad, base)


if __name__ == "__main__":
    sys.exit(main())
