"""Polars: all lines as one column, grouped by call and event name before they are parsed, so that each table has a schema of its own."""
import sys
from pathlib import Path

import polars as pl

from mapping import CALL_TABLES, LEFT_OUT, MOMENTS, RENAMED, snake

source, lake = Path(sys.argv[1]), Path(sys.argv[2])
read = [pl.read_csv(path, has_header=False, separator="\x01", quote_char=None, new_columns=["line"], schema_overrides=[pl.String]) for path in sorted(source.glob("*.gz"))]
lines = pl.concat(read).with_columns(
    call=pl.col("line").str.json_path_match("$.type"),
    event=pl.col("line").str.json_path_match("$.event"),
)


def parse(column):
    frame = pl.read_ndjson("\n".join(column).encode(), infer_schema_length=None)
    return frame.drop([name for name in LEFT_OUT if name in frame.columns])


def flat(frame):
    while structs := [name for name, kind in frame.schema.items() if isinstance(kind, pl.Struct)]:
        for name in structs:
            prefix = "" if name in ("properties", "traits") else name + "_"
            taken = set(frame.columns)
            fields = [prefix + field.name if prefix + field.name not in taken else f"{name}_{field.name}" for field in frame.schema[name].fields]
            frame = frame.with_columns(pl.col(name).struct.rename_fields(fields)).unnest(name)
    lists = [pl.struct(name).struct.json_encode().str.json_path_match(f"$.{name}").alias(name) for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    moments = [pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC") for name in frame.columns if name in MOMENTS]
    frame = frame.with_columns(lists + moments).rename(lambda name: snake(RENAMED.get(name, name)))
    return frame.select([name for name in frame.columns if frame[name].null_count() < frame.height])


def append(frame, table):
    frame.write_delta(str(lake / table), mode="append")


tracks = []
for (call, event), group in lines.group_by("call", "event"):
    frame = parse(group["line"])
    if call == "track":
        tracks.append(flat(frame.drop("properties")))
        append(flat(frame), snake(event))
    else:
        append(flat(frame), CALL_TABLES[call])
append(pl.concat(tracks, how="diagonal"), "tracks")
