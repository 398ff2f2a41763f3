#!/usr/bin/env python3
"""watched.py --endpoint URL --workspace DIR --target DIR: a function on one's own machine, as docs/functions.md says.

`cargo lambda watch` plays Lambda for the release build of the workspace, and `cargo lambda invoke` calls it; S3 is a stand-in on loopback
(moto's server). Steps:

  announced  an upload that an event tells of lands, and is known when the event comes again; deltalake reads its rows
  asked      a person asks for the status
  failed     what cannot be done is an error with its kind and its hint, and invoke's exit code says so

Exit 1 with what differs. Needs requirements.txt, and cargo."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import steps
from stores import S3, StoreLake, event

# The first call builds what is not built yet.
PATIENCE = 600


class Watched:
    def __init__(self, o):
        self.bad, self.store = [], S3(o.endpoint)
        self.store.make("landing")
        self.store.make("lake")
        # What cargo tells a test about its package would have build scripts run anew.
        told = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO_PKG_", "CARGO_MANIFEST_"))}
        self.env = {**told, **self.store.env, "CARGO_TARGET_DIR": o.target, "INLET_LAKE": self.store.url("lake", "bronze"), "INLET_LANDING": self.store.url("landing")}
        self.cargo_lambda, self.workspace = str(Path(sys.executable).parent / "cargo-lambda"), o.workspace
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.place = ["--invoke-address", "127.0.0.1", "--invoke-port", str(free.getsockname()[1])]
        self.log = open(Path(os.environ["TMPDIR"]) / f"watched-{os.getpid()}.log", "w+")
        # In a group of its own: it leaves the function behind.
        self.process = subprocess.Popen([self.cargo_lambda, "lambda", "watch", "--release", "--ignore-changes", *self.place], cwd=self.workspace, env=self.env,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)
        until = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", int(self.place[3]))) != 0 and time.monotonic() < until:
            time.sleep(.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def said(self) -> str:
        self.log.flush()
        return "\n" + Path(self.log.name).read_text(errors="replace")[-6000:]

    def invoke(self, event):
        line = [self.cargo_lambda, "lambda", "invoke", "inlet", *self.place, "--data-ascii", json.dumps(event)]
        done = subprocess.run(line, cwd=self.workspace, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    def same(self, what, found, wanted):
        if found != wanted:
            self.bad.append(f"{what}: {found!r}, not {wanted!r}")

    def tell(self, key):
        record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "awsRegion": "eu-west-1",
                  "s3": {"bucket": {"name": "landing"}, "object": {"key": key}}}
        return self.invoke({"Records": [record]})


def announced(w: Watched):
    w.store.put("landing", "day 1/a.json", event(1) + event(2))
    for status in ("landed", "already landed"):
        code, out, err = w.tell("day+1/a.json")
        w.same(f"exit code, {err}", code, 0)
        w.same("what became of it", [one["status"] for one in json.loads(out)["uploads"]], [status])
    w.same("rows", StoreLake(w.store, "lake", "bronze", "events").counts().get("tracks"), 2)


def asked(w: Watched):
    code, out, err = w.invoke({"action": "status"})
    w.same(f"exit code, {err}", code, 0)
    w.same("the answer", json.loads(out)["function"], "status")


def failed(w: Watched):
    code, _, err = w.invoke({"action": "evolve"})
    w.same("exit code", code != 0, True)
    w.same("kind and hint", ("Inlet.Setup" in err, "INLET_WORKSPACE_URL" in err), (True, True))


def main() -> int:
    o = steps.asked(__doc__, "endpoint", "workspace", "target")
    with Watched(o) as w:
        return steps.run("watched", (announced, asked, failed), w, o.only, w.said)


if __name__ == "__main__":
    sys.exit(main())
