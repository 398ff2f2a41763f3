"""The steps of a script: one after another, each with its time and what differs in it."""
from __future__ import annotations

import argparse
import shutil
import sys
import time
import traceback

# So much of a difference is shown.
SHOWN = 4000


def asked(doc, *needed, may=(), store=()):
    """What a script is told: options that it needs, that it may have, the stores that it knows; and `--only`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if store:
        parser.add_argument("--store", choices=store, required=True)
    for name in (*needed, *may):
        parser.add_argument(f"--{name}", required=name in needed)
    parser.add_argument("--only", help="steps whose name holds this")
    sys.stdout.reconfigure(errors="backslashreplace")
    return parser.parse_args()


def run(title, steps, subject, only=None, state=lambda: "") -> int:
    """Runs each step with the subject, to whose `bad` it adds what differs; `state` tells more of one that broke off. The exit code."""
    failed = 0
    for step in steps:
        if only and only not in step.__name__:
            continue
        began, before = time.monotonic(), len(subject.bad)
        try:
            step(subject)
        except Exception:                                                              # one step must not hide the others
            subject.bad.append(f"{traceback.format_exc()}{state()}")
        bad = subject.bad[before:]
        failed += bool(bad)
        print(f"{'FAIL' if bad else 'ok  '} {title} {step.__name__} {time.monotonic() - began:.1f} s", flush=True)
        for one in bad:
            print("     " + str(one)[:SHOWN])
    return 1 if failed else 0


def ended(bad, folder) -> int:
    """Says what differs, and keeps the folder then. The exit code."""
    for one in bad:
        print("DIFF " + str(one)[:SHOWN])
    if bad:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0
