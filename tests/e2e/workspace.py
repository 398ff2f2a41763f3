"""A pretend workspace (tests/pretend) as a process, and its controls."""
from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request


class Workspace:
    """Starts the executable over a lake, with more words for it; `said` is what it prints: where it is and how to sign in. `env` is how its
    store is reached."""

    def __init__(self, exe: str, lake: str, env=None, *words: str):
        self.process = subprocess.Popen([exe, "--lake", lake, *words], stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.said = json.loads(self.process.stdout.readline())

    def __getattr__(self, name):
        return self.said[name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def run(self, statement: str):
        """Runs a statement with the token, to its end; its rows. One that fails ends the script."""
        body = json.dumps({"statement": statement, "warehouse_id": self.warehouse_id, "wait_timeout": "50s"}).encode()
        request = urllib.request.Request(f"{self.url}/api/2.0/sql/statements", data=body, headers={"authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = json.loads(answer.read())
        if said["status"]["state"] != "SUCCEEDED":
            raise SystemExit(f"{statement}: {said}")
        return said["result"].get("data_array")

    def asked(self, path: str):
        """What Unity Catalog answers to a GET with the token; None: there is no such thing."""
        request = urllib.request.Request(f"{self.url}/api/2.1/unity-catalog/{path}", headers={"authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def control(self, method: str, path: str, body=None):
        request = urllib.request.Request(f"{self.said['control']}/{path}", method=method, data=json.dumps(body or {}).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def grant(self, privilege: str, kind: str, on: str):
        self.control("POST", "grants", {"to": self.client_id, "privilege": privilege, "kind": kind, "on": on})

    def revoke(self, privilege: str, kind: str, on: str):
        self.control("DELETE", "grants", {"to": self.client_id, "privilege": privilege, "kind": kind, "on": on})
