"""Reading a lake and running the executable: what the other scripts share. Needs deltalake and pyarrow."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

TYPES = {"string": "string", "boolean": "boolean", "long": "bigint", "double": "double", "timestamp": "timestamp"}
SIDE_TABLES = ("_loads", "_rejects")


def type_name(t) -> str:
    """A Delta (or SQL) type in the model's words; anything else is foreign and keeps its own name."""
    t = getattr(t, "type", t)
    t = str(t).strip('"').lower()
    return TYPES.get(t, t)


class Lake:
    """<root>/<schema>/<table>, each table opened once and brought up to date."""

    def __init__(self, root, schema):
        self.folder, self.open = Path(root) / schema, {}

    def open_table(self, name) -> DeltaTable:
        return DeltaTable(str(self.folder / name))

    def tables(self) -> list:
        return sorted(p.name for p in self.folder.iterdir() if (p / "_delta_log").is_dir()) if self.folder.is_dir() else []

    def table(self, name) -> DeltaTable:
        dt = self.open.get(name)
        if dt is None:
            dt = self.open[name] = self.open_table(name)
        else:
            dt.update_incremental()
        return dt

    def columns(self, name) -> dict:
        return {f.name: type_name(f.type) for f in self.table(name).schema().fields}

    def schemas(self) -> dict:
        """{event table: {column: type}}"""
        return {t: self.columns(t) for t in self.tables() if t not in SIDE_TABLES}

    def rows(self, name) -> list:
        return records(self.table(name).to_pyarrow_table())


def records(table: pa.Table) -> list:
    """Rows as dicts without NULLs; timestamps as microseconds (years that Python's datetime cannot hold included)."""
    columns = {}
    for name, column in zip(table.column_names, table.columns):
        t = column.type
        if pa.types.is_dictionary(t):
            column = pc.cast(column, t.value_type)
            t = t.value_type
        if pa.types.is_timestamp(t):
            column = pc.cast(pc.cast(column, pa.timestamp("us", t.tz)), pa.int64())
        columns[name] = column.to_pylist()
    return [{c: v[i] for c, v in columns.items() if v[i] is not None} for i in range(table.num_rows)]


class Ran:
    def __init__(self, argv, done):
        self.argv, self.code, self.out, self.err = argv, done.returncode, done.stdout, done.stderr
        self.report = find_report(self.out)

    def __str__(self):
        return f"$ {' '.join(map(str, self.argv))}\nexit {self.code}\n{self.out[-1500:]}\n{self.err[-1500:]}"


def run(exe, *args, env=None, timeout=600) -> Ran:
    argv = [str(exe), *map(str, args)]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    return Ran(argv, done)


def find_report(out: str):
    """The JSON report in what was printed: all of it, a line of it, or from the first brace."""
    tries = [out, *reversed(out.splitlines())]
    if "{" in out:
        tries.append(out[out.index("{"):])
    for t in tries:
        try:
            v = json.loads(t)
        except ValueError:
            continue
        if isinstance(v, dict) and "uploads" in v:
            return v
    return None
