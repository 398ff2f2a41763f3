"""A pretend workspace (tests/pretend) as a process, and its controls."""
from __future__ import annotations

import json
import subprocess
import urllib.request


class Workspace:
    """Starts the executable over a lake; `said` is what it prints: where it is and how to sign in."""

    def __init__(self, exe: str, lake: str):
        self.process = subprocess.Popen([exe, "--lake", lake], stdout=subprocess.PIPE, text=True)
        self.said = json.loads(self.process.stdout.readline())

    def __getattr__(self, name):
        return self.said[name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def control(self, method: str, path: str, body=None):
        request = urllib.request.Request(f"{self.said['control']}/{path}", method=method, data=json.dumps(body or {}).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def grant(self, privilege: str, kind: str, on: str):
        self.control("POST", "grants", {"to": self.client_id, "privilege": privilege, "kind": kind, "on": on})

    def revoke(self, privilege: str, kind: str, on: str):
        self.control("DELETE", "grants", {"to": self.client_id, "privilege": privilege, "kind": kind, "on": on})
