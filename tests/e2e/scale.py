#!/usr/bin/env python3
"""scale.py --inlet EXE [--only NAME]: what a run costs as a lake grows, in milliseconds and megabytes of resident memory.

Lakes in a local folder are made long by writing their logs directly: commits of one id each, 300,000 upload ids, 50,000 live files. Each figure is
the median of some runs of the executable, its start included. Figures, not verdicts: exit 1 only when a run fails. Standard library only; POSIX."""
from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

TABLES = ("_loads", "kept", "tracks")
PER_CHECKPOINT = 100
KIND = 1024 if sys.platform.startswith("linux") else 1                                  # ru_maxrss is kilobytes there, bytes elsewhere
TIMES = '"receivedAt":"2026-03-15T12:00:00.500Z","timestamp":"2026-03-15T12:00:00.100Z"'


class Ran:
    def __init__(self, ms, mb):
        self.ms, self.mb = ms, mb


class Folder:
    """Uploads and a lake, one after another."""

    def __init__(self, exe, base: Path):
        self.exe, self.base, self.lake, self.made, self.versions = exe, base, base / "lake", 0, {}
        (base / "in").mkdir(parents=True)

    def upload(self, properties='{"a":1}') -> Path:
        self.made += 1
        path = self.base / "in" / f"{self.made:06}.gz"
        line = '{"type":"track","messageId":"m%d","userId":"u","event":"Kept",%s,"properties":%s}\n' % (self.made, TIMES, properties)
        path.write_bytes(gzip.compress(line.encode(), mtime=0))
        return path

    def run(self, *paths) -> Ran:
        paths = paths or (self.upload(),)
        self.versions.clear()
        with tempfile.TemporaryFile() as said:
            began = time.monotonic()
            child = subprocess.Popen([self.exe, "ingest", *map(str, paths), "--lake", str(self.lake), "--json"], stdout=said, stderr=said, stdin=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            ms = (time.monotonic() - began) * 1000
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode != 0:
                said.seek(0)
                raise RuntimeError(f"exit {child.returncode}: {said.read()[-3000:].decode(errors='replace')}")
        return Ran(ms, usage.ru_maxrss * KIND / 1e6)

    def median(self, runs=5) -> Ran:
        all = [self.run() for _ in range(runs)]
        return Ran(statistics.median(r.ms for r in all), statistics.median(r.mb for r in all))

    def log(self, table) -> Path:
        return self.lake / "events" / table / "_delta_log"

    def version(self, table) -> int:
        """The last, looked up anew only after a run."""
        if table not in self.versions:
            self.versions[table] = max(int(p.stem) for p in self.log(table).glob("*.json"))
        return self.versions[table]

    def commit(self, table, actions):
        info = {"commitInfo": {"timestamp": 1773576000000, "operation": "WRITE"}}
        self.versions[table] = self.version(table) + 1
        path = self.log(table) / f"{self.versions[table]:020}.json"
        # Line by line: what this process holds when it starts another counts as the other's memory.
        with path.open("w", encoding="ascii") as out:
            out.writelines(json.dumps(a, separators=(",", ":")) + "\n" for a in itertools.chain([info], actions))

    def lengthen(self, commits, tables=TABLES):
        for table in tables:
            for _ in range(commits):
                self.commit(table, [txn(uuid.uuid4().hex)])

    def checkpoint(self, table) -> Path:
        return max(self.log(table).glob("*.checkpoint.parquet"))


def txn(id):
    return {"txn": {"appId": f"inlet/{id}", "version": 1, "lastUpdated": int(time.time() * 1000)}}


def add(n):
    low, high = "2026-03-15T12:00:00.500Z", "2026-03-15T12:59:59.500Z"
    columns = {"received_at": (low, high), "timestamp": (low, high), "user_id": (f"user-{n}", f"user-{n}-z"), "event": ("Kept", "Viewed"), "_upload_id": (f"{n:032x}", f"{n:032x}")}
    stats = {"numRecords": 1000, "minValues": {c: v[0] for c, v in columns.items()}, "maxValues": {c: v[1] for c, v in columns.items()}, "nullCount": {c: 0 for c in columns}, "tightBounds": True}
    return {"add": {"path": f"part-{uuid.uuid4()}.zstd.parquet", "partitionValues": {}, "size": 100_000, "modificationTime": 1773576000000, "dataChange": True,
                    "stats": json.dumps(stats, separators=(",", ":"))}}


def say(what, ran, note=""):
    print(f"{what:62} {ran.ms:8.0f} ms {ran.mb:6.0f} MB  {note}", flush=True)


def versions(new):
    for behind in (10, 100, 1_000, 10_000):
        lake = new()
        lake.run()
        lake.lengthen(behind)
        say(f"{behind} commits, no checkpoint: the first run, which writes one" if behind >= PER_CHECKPOINT else f"{behind} commits, no checkpoint", lake.run())
        if behind >= PER_CHECKPOINT:
            say(f"behind the checkpoint at version {lake.version('tracks')}", lake.median())


def ids(new):
    for tables in ((), ("tracks",), TABLES):
        lake = new()
        lake.run()
        for table in tables:
            lake.commit(table, (txn(uuid.uuid4().hex) for _ in range(300_000)))
        lake.lengthen(PER_CHECKPOINT + 1)
        name = f"300,000 ids in {len(tables)} tables"
        say(f"{name}: the run that writes the checkpoint", lake.run())
        say(f"{name}: behind the checkpoint", lake.median(7), f"checkpoint {lake.checkpoint('tracks').stat().st_size / 1e6:.1f} MB")


def properties(new):
    lake = new()
    lake.run()
    wide = "{" + ",".join(f'"p{n:04}":{n}' for n in range(5_000)) + "}"
    say("one event of 5,000 properties", lake.run(lake.upload(wide)))


def uploads(new):
    lake = new()
    all = [lake.run() for _ in range(1_000)]
    tenths = [statistics.median(r.ms for r in all[n:n + 101]) for n in range(0, 1_000 - 101, 101)]
    say("1,000 uploads, each a run: median", Ran(statistics.median(r.ms for r in all), max(r.mb for r in all)), "by 101 runs: " + " ".join(f"{ms:.0f}" for ms in tenths))
    lake = new()
    say("1,000 uploads in one run", lake.run(*[lake.upload() for _ in range(1_000)]))


def files(new):
    for count in (50_000, 100_000):
        lake = new()
        lake.run()
        for n in range(10):
            lake.commit("tracks", (add(n * count // 10 + m) for m in range(count // 10)))
        lake.lengthen(PER_CHECKPOINT - 5, ("tracks",))
        log_mb = sum(p.stat().st_size for p in lake.log("tracks").glob("*.json")) / 1e6
        ran = lake.run()
        written = list(lake.log("tracks").glob("*.checkpoint.parquet"))
        note = f"log {log_mb:.0f} MB, " + (f"checkpoint {written[0].stat().st_size / 1e6:.1f} MB" if written else "no checkpoint: over its memory")
        say(f"{count:,} live files: the run that writes the checkpoint", ran, note)
        say(f"{count:,} live files: the next runs", lake.median(3))
        old = time.time() - 40 * 86_400
        for path in lake.log("tracks").iterdir():
            os.utime(path, (old, old))
        lake.lengthen(PER_CHECKPOINT + 1, ("tracks",))
        before = len(list(lake.log("tracks").iterdir()))
        say(f"{count:,} live files: the next checkpoint", lake.run(), f"files of the log {before} -> {len(list(lake.log('tracks').iterdir()))}")


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--only", help="figures whose name holds this")
    o = a.parse_args()
    exe = shutil.which(o.inlet) or o.inlet
    for figures in (versions, ids, properties, uploads, files):
        if o.only and o.only not in figures.__name__:
            continue
        with tempfile.TemporaryDirectory(prefix="inlet-scale-") as base:
            lakes = iter(range(100))
            figures(lambda: Folder(exe, Path(base) / str(next(lakes))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
