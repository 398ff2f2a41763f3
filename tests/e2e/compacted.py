#!/usr/bin/env python3
"""compacted.py --inlet EXE --fixtures DIR: another engine tidies the lake between two landings.

The first day's uploads and an upload of our own land; then PyPI's deltalake compacts every table, checkpoints it, and vacuums what it replaced
at once. Then the second day lands, our upload's file is written again with 90 % old and 10 % new events, and all is delivered again: every row
stands once, with the same values as in a lake that nobody tidied. Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import argparse
import collections
import shutil
import sys
import tempfile
from pathlib import Path

import steps
from lake import Lake, run
from stores import upload

CHANGES_EACH_RUN = ("uuid_ts",)


def days(top: Path):
    """Uploads by day, the earlier first."""
    out = collections.defaultdict(list)
    for path in sorted(top.rglob("*.gz")):
        if not path.name.startswith("."):
            out[path.parent.name].append(path)
    return [out[d] for d in sorted(out)]


def rows(root: Path):
    out = {}
    for schema in sorted(p.name for p in root.iterdir() if not p.name.startswith("_inlet")):
        lake = Lake(root, schema)
        for t in lake.schemas():
            out[f"{schema}.{t}"] = collections.Counter(tuple(sorted((c, v) for c, v in r.items() if c not in CHANGES_EACH_RUN)) for r in lake.rows(t))
    return out


def tidied(root: Path) -> int:
    """Compacts, checkpoints and vacuums every table; returns how many files went."""
    gone = 0
    for schema in sorted(p.name for p in root.iterdir() if not p.name.startswith("_inlet")):
        lake = Lake(root, schema)
        for t in lake.tables():
            table = lake.table(t)
            table.optimize.compact()
            table.create_checkpoint()
            gone += len(table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False))
    return gone


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--fixtures", required=True, type=Path)
    o = a.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")
    exe = shutil.which(o.inlet) or o.inlet
    base = Path(tempfile.mkdtemp(prefix="inlet-compacted-")).resolve()
    first, second = days(o.fixtures.resolve() / "uploads")
    own = base / "segment-logs/own/1773446400000/rewritten.gz"
    own.parent.mkdir(parents=True)
    bad = []

    def ingest(root, *paths, **wanted):
        ran = run(exe, "ingest", *paths, "--lake", root, "--json")
        totals = (ran.report or {}).get("totals") or {}
        if ran.code != 0 or {k: totals.get(k) for k in wanted} != wanted:
            bad.append(f"wanted {wanted}: {ran}")

    lakes = {"tidied": base / "tidied", "untouched": base / "untouched"}
    gone = 0
    for name, root in lakes.items():
        own.write_bytes(upload(range(100)))
        for path in [*first, own]:                                                      # a commit each: something to compact
            ingest(root, path)
        if name == "tidied":
            gone = tidied(root)
        for path in second:
            ingest(root, path)
        own.write_bytes(upload(range(10, 110)))
        ingest(root, own, events=100, landed=10, duplicates=90)
        if name == "tidied":
            gone += tidied(root)
        ingest(root, *first, *second, own, events=0, landed=0, rows=0)
    have, want = rows(lakes["tidied"]), rows(lakes["untouched"])
    for table in sorted(set(have) | set(want)):
        more, less = have.get(table, collections.Counter()) - want.get(table, collections.Counter()), want.get(table, collections.Counter()) - have.get(table, collections.Counter())
        if more or less:
            bad.append(f"{table}: {sum(more.values())} rows too many, {sum(less.values())} missing: {[*more, *less][:1]}")
    twice = {t: n for t, c in have.items() for n in [sum(c.values()) - len(c)] if n}
    if twice:
        bad.append(f"rows that stand twice: {twice}")
    if gone == 0:
        bad.append("nothing was compacted: this proves nothing")
    print(f"{len(have)} tables, {sum(sum(c.values()) for c in have.values())} rows; compaction and VACUUM took {gone} files away")
    return steps.ended(bad, base)


if __name__ == "__main__":
    sys.exit(main())
