"""DuckDB: one table of all events with an inferred schema, one SELECT per table of the lake, appended with deltalake."""
import os
import sys
from pathlib import Path

import duckdb
from deltalake import write_deltalake

from mapping import CALL_TABLES, LEFT_OUT, RENAMED, snake

source, lake = Path(sys.argv[1]), Path(sys.argv[2])
db = duckdb.connect()
db.execute(f"SET threads = {int(os.environ['BENCH_THREADS'])}")
db.execute("SET TimeZone = 'UTC'")
files = str(source / "*.ndjson.gz")
db.execute("CREATE TABLE raw AS SELECT * FROM read_json(?, format = 'newline_delimited', sample_size = -1, union_by_name = true, maximum_depth = -1)", [files])


def leaves(name, expression, path):
    kind = db.sql(f"SELECT {expression} AS value FROM raw LIMIT 0").types[0]
    if kind.id == "struct":
        for field, _ in kind.children:
            yield from leaves(field, f'{expression}."{field}"', [*path, field])
    elif kind.id in ("list", "map"):
        yield snake("_".join(path)), f"to_json({expression})::VARCHAR"
    else:
        yield snake("_".join(path)), f"{expression}::TIMESTAMPTZ" if kind.id == "timestamp" else expression


common, bags = [], []
for column, *_ in db.execute("DESCRIBE raw").fetchall():
    if column in ("properties", "traits"):
        bags += leaves(column, f'"{column}"', [])
    elif column not in LEFT_OUT:
        common += leaves(column, f'"{column}"', [RENAMED.get(column, column)])


def append(columns, condition, table):
    unique = {}
    for name, expression in columns:
        unique[name if name not in unique else f"properties_{name}"] = expression
    counts = db.execute(f"SELECT {', '.join(f'count({expression})' for expression in unique.values())} FROM raw WHERE {condition}").fetchone()
    chosen = [f'{expression} AS "{name}"' for (name, expression), count in zip(unique.items(), counts) if count]
    rows = db.sql(f"SELECT {', '.join(chosen)} FROM raw WHERE {condition}").to_arrow_table()
    write_deltalake(lake / table, rows, mode="append")


append(common, "type = 'track'", "tracks")
for (event,) in db.execute("SELECT DISTINCT event FROM raw WHERE type = 'track'").fetchall():
    quoted = event.replace("'", "''")
    append(common + bags, f"type = 'track' AND event = '{quoted}'", snake(event))
for call, table in CALL_TABLES.items():
    append(common + bags, f"type = '{call}'", table)
