#!/usr/bin/env python3
"""instructions.py --inlet EXE --valgrind EXE [--megabytes 4] [--write]: how many instructions a megabyte of JSON costs.

Lands one made-up upload, always the same, with one worker under callgrind, and compares the instructions per megabyte of JSON with
instructions.json. Time on a busy machine says little; this number hardly moves from run to run. Exit 1 when it is more than the tolerance above
the committed one (the profile is kept), and also when it is as far below: then the figure is renewed, so that it cannot creep back.
--write renews it. The executable must be the release build on x86-64 Linux. Standard library only."""
from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from memory import lines

COMMITTED = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.03                          # runs differ by less than a tenth of it: ids of files, time stamps, hash seeds
RENEW = "E2E_RENEW=1 cargo test -p e2e a_megabyte"


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--valgrind", required=True)
    a.add_argument("--megabytes", type=int, default=4)
    a.add_argument("--write", action="store_true")
    o = a.parse_args()
    with tempfile.TemporaryDirectory(prefix="inlet-instructions-") as base:
        upload, profile = Path(base) / "upload.ndjson.gz", Path(base) / "callgrind.out"
        events = list(lines(o.megabytes * 1_000_000, random.Random(20260315)))
        megabytes = sum(map(len, events)) / 1e6
        with gzip.GzipFile(upload, "wb", compresslevel=6, mtime=0) as out:
            out.write("".join(events).encode("ascii"))
        os.utime(upload, (1_767_312_000, 1_767_312_000))
        # Beside the program, wherever its package was unpacked.
        valgrind = Path(shutil.which(o.valgrind) or o.valgrind)
        environment = {**os.environ, "INLET_WORKERS": "1", "VALGRIND_LIB": str(valgrind.parents[1] / "libexec/valgrind")}
        done = subprocess.run([str(valgrind), "--tool=callgrind", f"--callgrind-out-file={profile}", shutil.which(o.inlet) or o.inlet, "ingest", str(upload), "--lake", str(Path(base) / "lake"), "--json"],
                              env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        counted = re.search(r"^==\d+== Collected : (\d+)$", done.stderr, re.MULTILINE)
        if done.returncode != 0 or counted is None or json.loads(done.stdout)["totals"]["landed"] != len(events):
            print(f"exit {done.returncode}: {done.stdout[-1500:]}{done.stderr[-3000:]}")
            return 1
        found = int(counted[1]) / megabytes / 1e6
        if o.write:
            COMMITTED.write_text(json.dumps({"million_instructions_per_megabyte": round(found, 2)}, indent=2) + "\n", encoding="utf-8")
        wanted = json.loads(COMMITTED.read_text(encoding="utf-8"))["million_instructions_per_megabyte"]
        said = f"{found:.2f} million instructions per megabyte of JSON ({megabytes:.1f} MB, {len(events)} events); the committed figure is {wanted:.2f}, {found / wanted - 1:+.2%}"
        if found > wanted * (1 + TOLERANCE):
            kept = shutil.copy(profile, Path(tempfile.gettempdir()) / "instructions.callgrind.out")
            print(f"{said}: more than {TOLERANCE:.0%} above it.\nWhere they go: callgrind_annotate {kept}\nIf they are worth it: {RENEW}")
            return 1
        if found < wanted * (1 - TOLERANCE):
            print(f"{said}: more than {TOLERANCE:.0%} below it. Keep what was gained: {RENEW}")
            return 1
        print(said)
        return 0


if __name__ == "__main__":
    sys.exit(main())
