#!/usr/bin/env python3
"""memory.py --inlet EXE [--megabytes 300] [--limit 256]: what large uploads cost.

Writes three gzip files and lands each in an embedded lake, by one worker and by two, under a hard limit on the memory that the process may ask for:
- large: that many megabytes of plausible events (seven calls and event tables, nested context, text that does not compress away);
- wide: tracks of 300 events with 30 properties each, so that 300 tables are open at once;
- many: more small events than ids are remembered, some of them repeated, some without an id; `inlet verify` then counts them anew.
Exit 1 when the peak of resident memory is over the limit, an event is missing or a count is wrong. Standard library only; POSIX."""
from __future__ import annotations

import argparse
import gzip
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EVENTS = ["Order Completed", "Product Viewed", "Product Added", "Signed Up", "Checkout Started"]
KIND = 1024 if sys.platform.startswith("linux") else 1                                  # ru_maxrss is kilobytes there, bytes elsewhere


def lines(size, chance):
    """Yields events until `size` bytes are made."""
    made = n = 0
    while made < size:
        noise = f"{chance.getrandbits(256):064x}"
        stamp = f"2026-03-{1 + n % 28:02d}T{n // 3600 % 24:02d}:{n // 60 % 60:02d}:{n % 60:02d}.{n % 1000:03d}Z"
        context = (f'{{"ip":"203.0.113.{n % 250}","userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{100 + n % 40}.0 Safari/537.36",'
                   f'"locale":"en-GB","library":{{"name":"analytics.js","version":"2.{n % 9}.0"}},"page":{{"path":"/p/{n % 5000}","title":"Product {n % 5000}","url":"https://shop.example.com/p/{n % 5000}?s={noise[:8]}"}}}}')
        common = f'"messageId":"{noise[:32]}","anonymousId":"{noise[32:]}","userId":"user-{chance.randrange(200000)}","context":{context},"receivedAt":"{stamp}","sentAt":"{stamp}","originalTimestamp":"{stamp}","timestamp":"{stamp}"'
        if n % 10 == 0:
            line = f'{{"type":"identify",{common},"traits":{{"email":"{noise[:12]}@example.com","plan":"pro","logins":{n % 90},"createdAt":"{stamp}"}}}}\n'
        elif n % 10 == 1:
            line = f'{{"type":"page",{common},"name":"Product","properties":{{"path":"/p/{n % 5000}","referrer":"https://search.example.com/?q={noise[40:50]}","width":{n % 2000}}}}}\n'
        else:
            line = (f'{{"type":"track",{common},"event":"{EVENTS[n % 5]}","properties":{{"order_id":"{noise[:20]}","revenue":{chance.randrange(100000) / 100},"quantity":{n % 9},"currency":"EUR",'
                    f'"products":[{{"sku":"{noise[20:28]}","price":{n % 300}.5}}],"coupon":null,"is_gift":{"true" if n % 3 else "false"}}}}}\n')
        made += len(line)
        n += 1
        yield line


def wide(events, chance):
    """Tracks of 300 events, each with properties of its own."""
    for n in range(events):
        table = chance.randrange(300)
        properties = ",".join(f'"p{table}_{at}":"v{chance.getrandbits(24):06x}"' if at % 3 else f'"p{table}_{at}":{chance.randrange(10**6)}' for at in range(30))
        yield f'{{"type":"track","event":"Event {table}","messageId":"m{n}","userId":"u{n % 5000}","receivedAt":"2026-03-01T10:00:00Z","properties":{{{properties}}}}}\n'


REPEATED, NAMELESS = 997, 10                                                            # every such event has an id of long ago; every such event has none


def many(events):
    """Small pages. The ids of some came a million events before; those without an id are the same few lines again and again, and all land."""
    for n in range(events):
        if n % NAMELESS == 0:
            yield f'{{"type":"page","userId":"u{n % 700}"}}\n'
        elif n % REPEATED == 0 and n > 1_000_000:
            yield f'{{"type":"page","userId":"u","messageId":"m{n - 1_000_000}"}}\n'
        else:
            yield f'{{"type":"page","userId":"u{n % 700}","messageId":"m{n}"}}\n'


def duplicates(events):
    """How many events of `many` have an id that came before."""
    return sum(1 for n in range(0, events, REPEATED) if n > 1_000_000 and n % NAMELESS != 0)


def pack(path, lines):
    """Writes lines; answers how many and how many bytes."""
    events = raw = 0
    with gzip.open(path, "wt", compresslevel=1, encoding="ascii", newline="\n") as out:
        for line in lines:
            out.write(line)
            events += 1
            raw += len(line)
    return events, raw


def run(command, workers, limit):
    """Runs a command under a limit on its memory; answers exit code, output, peak of resident memory in megabytes, seconds."""
    def bound():
        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=bound, env={**os.environ, "INLET_WORKERS": str(workers)})
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
        for stream in (out, err):
            stream.seek(0)
        text = out.read().decode(errors="replace") + err.read().decode(errors="replace")[-1500:]
        return os.waitstatus_to_exitcode(status), text, usage.ru_maxrss * KIND / 1_000_000, seconds


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--megabytes", type=int, default=300)
    a.add_argument("--limit", type=int, default=256, help="megabytes of resident memory")
    o = a.parse_args()
    exe = shutil.which(o.inlet) or o.inlet
    hard = o.limit << 20 if sys.platform.startswith("linux") else 0                      # elsewhere the limit means something else
    bad = 0
    with tempfile.TemporaryDirectory(prefix="inlet-memory-") as base:
        many_events = 1_700_000
        uploads = {"large": lines(o.megabytes * 1_000_000, random.Random(20260315)), "wide": wide(150_000, random.Random(20260316)), "many": many(many_events)}
        for name, made in uploads.items():
            path = Path(base) / f"{name}.ndjson.gz"
            events, raw = pack(path, made)
            repeated = duplicates(many_events) if name == "many" else 0
            for workers in (1, 2):
                lake = Path(base) / f"{name}-{workers}"
                code, text, peak, seconds = run([exe, "ingest", str(path), "--lake", str(lake), "--json"], workers, hard)
                print(f"{name}, {raw / 1e6:.0f} MB ({path.stat().st_size / 1e6:.0f} MB as gzip), {events} events, {workers} worker(s): peak {peak:.0f} MB of at most {o.limit}, {seconds:.1f} s", flush=True)
                totals = text.replace(" ", "").rsplit('"totals"', 1)[-1]
                if code != 0 or f'"landed":{events - repeated},' not in totals or f'"duplicates":{repeated},' not in totals or peak > o.limit:
                    print(f"exit {code}: {text[-1500:]}")
                    bad = 1
                if name == "many" and workers == 2:
                    code, text, _, seconds = run([exe, "verify", "--lake", str(lake), str(path)], workers, 0)
                    print(f"verify: {seconds:.1f} s", flush=True)
                    if code != 0:
                        print(f"exit {code}: {text[-3000:]}")
                        bad = 1
                shutil.rmtree(lake, ignore_errors=True)
            path.unlink()
    return bad


if __name__ == "__main__":
    sys.exit(main())
