#!/usr/bin/env python3
"""memory.py --inlet EXE [--megabytes 200] [--limit 400]: what one large upload costs.

Writes one gzip of that many megabytes of plausible events (seven calls and event tables, nested context, text that does not compress away), lands
it in an embedded lake and says the peak of resident memory and the time. Exit 1 when the peak is over the limit or an event is missing.
Standard library only; POSIX."""
from __future__ import annotations

import argparse
import gzip
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


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--megabytes", type=int, default=200)
    a.add_argument("--limit", type=int, default=400, help="megabytes of resident memory")
    o = a.parse_args()
    exe = shutil.which(o.inlet) or o.inlet
    with tempfile.TemporaryDirectory(prefix="inlet-memory-") as base:
        path, events, raw = Path(base) / "large.ndjson.gz", 0, 0
        with gzip.open(path, "wt", compresslevel=1, encoding="ascii", newline="\n") as out:
            for line in lines(o.megabytes * 1_000_000, random.Random(20260315)):
                out.write(line)
                events += 1
                raw += len(line)
        began = time.monotonic()
        done = subprocess.run([exe, "ingest", str(path), "--lake", str(Path(base) / "lake"), "--json"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KIND / 1_000_000
        print(f"an upload of {raw / 1e6:.0f} MB ({path.stat().st_size / 1e6:.0f} MB as gzip), {events} events: peak {peak:.0f} MB of at most {o.limit}, {seconds:.1f} s", flush=True)
        if done.returncode != 0 or f'"landed":{events},' not in done.stdout.replace(" ", "").rsplit('"totals"', 1)[-1]:
            print(f"exit {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
            return 1
        return 0 if peak <= o.limit else 1


if __name__ == "__main__":
    sys.exit(main())
