"""orjson, pyarrow and deltalake: a loop over the lines, one list of rows per table, one append per table."""
import gzip
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import orjson
import pyarrow as pa
from deltalake import write_deltalake

from mapping import CALL_TABLES, LEFT_OUT, MOMENTS, RENAMED, snake

source, lake = Path(sys.argv[1]), Path(sys.argv[2])
tables = defaultdict(list)


def flatten(value, prefix, row):
    for key, inner in value.items():
        if inner is None:
            continue
        name = snake(prefix + key)
        if isinstance(inner, dict):
            flatten(inner, name + "_", row)
        else:
            row[name] = orjson.dumps(inner).decode() if isinstance(inner, list) else inner


for path in sorted(source.glob("*.gz")):
    for line in gzip.open(path):
        event = orjson.loads(line)
        bag = event.pop("properties", None) or event.pop("traits", None) or {}
        row = {}
        flatten(event.pop("context"), "context_", row)
        for key, value in event.items():
            if key not in LEFT_OUT and value is not None:
                row[snake(RENAMED.get(key, key))] = datetime.fromisoformat(value) if key in MOMENTS else value
        if event["type"] == "track":
            tables["tracks"].append(row)
            own = dict(row)
            flatten(bag, "", own)
            tables[snake(event["event"])].append(own)
        else:
            flatten(bag, "", row)
            tables[CALL_TABLES[event["type"]]].append(row)

for name, rows in tables.items():
    columns = {column: None for row in rows for column in row}
    table = pa.table({column: [row.get(column) for row in rows] for column in columns})
    write_deltalake(lake / name, table, mode="append", schema_mode="merge")
