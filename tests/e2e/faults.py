#!/usr/bin/env python3
"""faults.py --endpoint URL (--put | --compare CLEAN LAKE...): what the runs over a bad line begin from, and what they left.

`--put` makes the buckets and puts the uploads of two batches. `--compare` reads lakes in the store with PyPI's deltalake: each must hold what the
clean one holds, value by value, and each event once. Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import argparse
import collections
import gzip
import json
import sys

from lake import SIDE_TABLES
from stores import S3, StoreLake

OF_RUN = {"uuid_ts", "loaded_at", "version", "started_at", "finished_at", "lag", "new_columns"}
BATCHES = {"first": ("a", "b"), "second": ("c", "d", "e")}


def upload(name) -> bytes:
    """Events of one name, a column of the upload's own, an identify and two lines that are rejected."""
    line = '{"type":"track","messageId":"%s%d","userId":"u%d","event":"Kept","receivedAt":"2026-03-15T12:00:00.500Z","properties":{"n":%d,"own_%s":true}}'
    events = [line % (name, n, n, n, name) for n in range(40)]
    events.append('{"type":"identify","messageId":"%s-i","userId":"u","receivedAt":"2026-03-15T12:00:00Z","traits":{"plan":"pro"}}' % name)
    return gzip.compress("\n".join([*events, "{}", "no json"]).encode(), mtime=0)


def put(store):
    store.make("landing")
    store.make("lake")
    for batch, names in BATCHES.items():
        for name in names:
            store.put("landing", f"{batch}/{name}.gz", upload(name))


def content(store, root):
    """{table: (columns, rows as often as they stand there)}, without what is of a run."""
    lake = StoreLake(store, "lake", root, "events")
    rows = lambda t: collections.Counter(json.dumps({c: v for c, v in r.items() if c not in OF_RUN}, sort_keys=True, default=str) for r in lake.rows(t))
    return {t: (lake.columns(t), rows(t)) for t in lake.tables()}


def differences(lake, clean):
    if sorted(lake) != sorted(clean):
        yield f"tables {sorted(lake)} instead of {sorted(clean)}"
        return
    for table, (columns, rows) in clean.items():
        ours, have = lake[table]
        if ours != columns:
            yield f"{table}: columns {ours} instead of {columns}"
        if have != rows:
            yield f"{table}: too many {list((have - rows).items())[:3]}, missing {list((rows - have).items())[:3]}"


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--endpoint", required=True)
    a.add_argument("--put", action="store_true")
    a.add_argument("--compare", nargs="+", metavar="LAKE", default=[])
    o = a.parse_args()
    store = S3(o.endpoint)
    if o.put:
        put(store)
    failed = 0
    clean = content(store, o.compare[0]) if o.compare else {}
    if o.compare:
        counts = {t: sum(rows.values()) for t, (_, rows) in clean.items() if t not in SIDE_TABLES}
        uploads = sum(len(names) for names in BATCHES.values())
        if counts != {"identifies": uploads, "kept": 40 * uploads, "tracks": 40 * uploads}:
            failed += 1
            print(f"the clean lake holds {counts}")
    for root in o.compare[1:]:
        bad = list(differences(content(store, root), clean))
        failed += bool(bad)
        for what in bad:
            print(f"{root}: {what}"[:2500])
    print(f"{len(o.compare)} lakes, {failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
