"""A customer: a lake in a store, a pretend workspace over it, a settings file, and the executable as they run it.

What is in the lake is read by PyPI's deltalake and by the store's own client, what is in the catalog by its API."""
from __future__ import annotations

import collections
import gzip
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from lake import Lake, Ran, records, run
from stores import S3, Azure, StoreLake
from workspace import Workspace

SCHEMA, TABLES = "events", ("tracks", "store_event")
M2M = 'client_id = "{client_id}"\nclient_secret = "file:client-secret"'


class Folder:
    """A store that is a folder."""

    env, place, options = {}, {}, {}

    def __init__(self, _endpoint):
        self.folder = Path(tempfile.mkdtemp(prefix="inlet-customer-")).resolve()

    def make(self, bucket):
        (self.folder / bucket).mkdir()

    def keys(self, bucket, prefix):
        top = self.folder / bucket
        found = (p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file())
        return (key for key in sorted(found) if key.startswith(prefix))

    def get(self, bucket, key):
        return (self.folder / bucket / key).read_bytes()

    def put(self, bucket, key, data):
        (self.folder / bucket / key).write_bytes(data)

    def remove(self, bucket, key):
        (self.folder / bucket / key).unlink()

    def url(self, bucket, key=""):
        return (self.folder / bucket / key).as_uri()


STORES = {"folder": Folder, "s3": S3, "azure": Azure}


def upload(numbers, *columns) -> bytes:
    """A track for each number, with columns of its own."""
    more = "".join(f',"{column}":"x"' for column in columns)
    line = '{"type":"track","messageId":"e%d","userId":"u%d","event":"Store Event","receivedAt":"2026-03-15T12:00:00.500Z","properties":{"n":%d%s}}\n'
    return gzip.compress("".join(line % (n, n % 7, n, more) for n in numbers).encode(), mtime=0)


class CatalogLake(Lake):
    """The tables that a catalog keeps, where it says that they are: in folders of this machine."""

    def __init__(self, workspace: Workspace, schema):
        self.workspace, self.schema, self.open = workspace, schema, {}

    def tables(self):
        told = self.workspace.asked(f"tables?catalog_name={self.workspace.catalog}&schema_name={self.schema}") or {}
        return sorted(one["name"] for one in told.get("tables", []) if one["table_type"] == "MANAGED")

    def place(self, name):
        return self.workspace.asked(f"tables/{self.workspace.catalog}.{self.schema}.{name}")["storage_location"].removeprefix("file://")

    def open_table(self, name):
        return DeltaTable(self.place(name))

    def rows(self, name):
        # They may have deletion vectors, which the way by a data set does not read.
        return records(pa.table(QueryBuilder().register("rows", self.table(name)).execute("SELECT * FROM rows").read_all()))

    def ids(self, table):
        return collections.Counter(row["id"] for row in self.rows(table))


class Customer:
    """Over `<store>/lake/<root>`, or without a lake, where the catalog keeps the tables: `managed`. `auth` and `storage` are lines of the
    settings' tables (`{url}` is the workspace's), `env` is what the executable is given, `words` are more words for the pretend workspace."""

    def __init__(self, exe, pretend, store, root, auth=M2M, storage="", env=None, words=(), managed=False):
        self.exe, self.store, self.root, self.managed, self.bad, self.said = exe, store, root, managed, [], []
        self.folder = Path(tempfile.mkdtemp(prefix=f"inlet-{root}-")).resolve()
        (self.folder / "uploads").mkdir()
        self.env = store.env if env is None else env
        words = (*words, "--managed", (self.folder / "managed").as_uri()) if managed else words
        self.workspace = w = Workspace(pretend, store.url("lake", root), store.env, *words)
        (self.folder / "client-secret").write_text(w.client_secret)
        self.settings = self.folder / "inlet.toml"
        self.settings.write_text(f'''
workspace_url = "{w.url}"
allow_host = ["127.0.0.1"]
catalog = "{w.catalog}"
http_path = "{w.http_path}"
{"" if managed else f'lake = "{store.url("lake", root)}"'}
[auth]
{auth.format(**w.said)}
{storage and "[storage]"}
{storage}
''')
        self.numbers: list[int] = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.workspace.__exit__(*error)
        if not self.bad and error == (None, None, None):
            shutil.rmtree(self.folder)

    # ---- what they run

    def command(self, *line):
        return [self.exe, *map(str, line), "--settings", str(self.settings), "--json"]

    def run(self, *line, **env) -> Ran:
        exe, *line = self.command(*line)
        ran = run(exe, *line, env={**self.env, **env})
        self.said.append(ran.out + ran.err)
        return ran

    def fails(self, what, ran: Ran, code, *words):
        """A run ends with this code and says these words."""
        said = ran.out + ran.err
        if ran.code != code or any(word not in said for word in words):
            self.bad.append(f"{what}: not exit {code} with {words}: {ran}")

    def put(self, name, numbers, *columns) -> Path:
        """Writes an upload; its events are to stand in the lake from now on."""
        path = self.folder / "uploads" / f"{name}.gz"
        path.write_bytes(upload(numbers, *columns))
        self.numbers += numbers
        return path

    def land(self, name, numbers, *columns, **env) -> Ran:
        """Lands one upload; all of it must have landed when it returns."""
        ran = self.run("ingest", self.put(name, numbers, *columns), **env)
        totals = (ran.report or {}).get("totals") or {}
        if ran.code != 0 or totals.get("landed") != len(numbers):
            self.bad.append(f"{name} did not land: {ran}")
        return ran

    def evolve(self, *more, **env) -> dict:
        """Runs evolve to its end; its report."""
        ran = self.run("evolve", *more, **env)
        if ran.code != 0:
            self.bad.append(f"evolve: {ran}")
        return json.loads(ran.out) if ran.out.startswith("{") else {}

    def begin(self, *line) -> subprocess.Popen:
        return subprocess.Popen(self.command(*line), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **self.env})

    def kill(self, moments) -> None:
        """Kills processes, each so many seconds from now."""
        began = time.monotonic()
        for process, moment in sorted(moments.items(), key=lambda one: one[1]):
            time.sleep(max(0, began + moment - time.monotonic()))
            process.kill()
            process.wait()

    def let_leases_go(self) -> None:
        """A killed run's lease expires after a minute; nobody waits for it here."""
        for key in list(self.store.keys("lake", f"{self.root}/_inlet/leases/")):
            self.store.remove("lake", key)

    # ---- what there is

    def lake(self) -> Lake:
        return CatalogLake(self.workspace, SCHEMA) if self.managed else StoreLake(self.store, "lake", self.root, SCHEMA)

    def shown(self, table):
        """The columns that `GET tables` shows; None: the catalog does not know it."""
        told = self.workspace.asked(f"tables/{self.workspace.catalog}.{SCHEMA}.{table}")
        return told and [column["name"] for column in told["columns"]]

    def asked(self) -> list:
        """What the workspace was asked since the last look: method and path."""
        requests = self.workspace.control("GET", "requests")
        self.workspace.control("DELETE", "requests")
        return [f"{seen['method']} {seen['path']}" for seen in requests]

    def wakes(self) -> int:
        return len(self.workspace.control("GET", "wakes"))

    # ---- what must be so

    def same(self, what, ours, wanted):
        if ours != wanted:
            self.bad.append(f"{what}: {ours!r}, not {wanted!r}")

    def holds(self, what, fine, told=""):
        if not fine:
            self.bad.append(f"{what}: {told}")

    def status(self, report, table):
        return next((one["status"] for one in report.get("tables", []) if one["table"] == f"{SCHEMA}.{table}"), None)

    def each_once(self, tables=TABLES):
        lake, wanted = self.lake(), collections.Counter(f"e{n}" for n in self.numbers)
        for table in tables:
            ours = lake.ids(table)
            self.same(f"{table}: ids too many and ids missing", [sorted((ours - wanted).items())[:9], sorted((wanted - ours).items())[:9]], [[], []])

    def proved(self):
        ran = self.run("verify", self.folder / "uploads")
        if ran.code != 0 or not json.loads(ran.out).get("proved"):
            self.bad.append(f"verify: {ran}")

    def catalog_is_the_log(self):
        lake = self.lake()
        for table in lake.tables():
            self.same(f"{table}: columns in the catalog and in the log", self.shown(table), list(lake.columns(table)))

    def right(self):
        """Everything is as it must be in the end."""
        self.each_once()
        self.proved()
        self.catalog_is_the_log()
