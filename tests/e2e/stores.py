#!/usr/bin/env python3
"""stores.py --store s3|azure --inlet EXE --endpoint URL --fixtures DIR: landing and lake in an object store.

The store is a stand-in on loopback (moto's server, Azurite). Uploads are put by the cloud's own client, landed by the real executable, and
read back by PyPI's deltalake: nothing of Inlet's code tells what stands there. Steps, each in prefixes of its own:

  fixtures     the captured uploads land as counts.json says; run again there is nothing to do, by prefix and by object
  odd_keys     keys with spaces, `+`, `=`, `%`, `#`, `?`, slashes in a row, and letters beyond ASCII, each by listing and by its own URL
  leading      keys that begin with a slash, the same
  overwritten  one key, written again with 90 % old and 10 % new events: the new ones land
  at_once      three processes with overlapping sets of uploads: every event once
  killed       processes killed at random moments, then one that is not: every event once

After each step `inlet verify` must prove the lake, with the uploads as they stand in the landing store.

Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import collections
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from deltalake import DeltaTable

import steps
from lake import SIDE_TABLES, Lake, find_report, run

ODD_KEYS = ["a b/c d.gz", "plus+plus/x+y.gz", "day=2026-03-14/hour=07/part=0.gz", "percent/100%.gz", "percent/already%20encoded.gz", "Grüße/日本語.gz", "smile/😀.gz",
            "hash#tag/q?x=1&y.gz", "brackets/[1](2){3}.gz", "quote'/it's.gz", "tilde~/star*/at@.gz", "comma,semi;colon:.gz", "dots/a..b.gz", "dollar$/x!.gz",
            "double//slash.gz", "/slash.gz", "three///slashes//x.gz", "double/slash.gz"]
LEADING_KEYS = ["/leading/a.gz", "/leading//b.gz"]


class S3:
    """moto's server, driven by boto3. `place` is where it is, `env` with a key to it."""

    def __init__(self, endpoint):
        import boto3
        self.place = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "eu-west-1"}
        self.env = {**self.place, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        self.client = boto3.client("s3", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="testing", aws_secret_access_key="testing")
        self.options = dict(self.env)

    def make(self, bucket):
        self.client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def put(self, bucket, key, data):
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def get(self, bucket, key):
        return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def remove(self, bucket, key):
        self.client.delete_object(Bucket=bucket, Key=key)

    def keys(self, bucket, prefix):
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from (o["Key"] for o in page.get("Contents", []))

    def url(self, bucket, key=""):
        return f"s3://{bucket}/{quote(key)}"


class Azure:
    """Azurite, driven by azure-storage-blob, under its published account and key. `place` is where it is, `env` with the key;
    `certificate` is the one that is trusted, by this process too."""

    ACCOUNT = "devstoreaccount1"
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, endpoint, certificate=None):
        from azure.storage.blob import BlobServiceClient
        account = f"{endpoint}/{self.ACCOUNT}"
        self.place = {"AZURE_STORAGE_ACCOUNT_NAME": self.ACCOUNT, "AZURE_STORAGE_ENDPOINT": account, "AZURE_ALLOW_HTTP": "true"}
        self.env = {**self.place, "AZURE_STORAGE_ACCOUNT_KEY": self.KEY}
        trust = {"SSL_CERT_FILE": str(certificate)} if certificate else {}
        self.place, self.env = {**self.place, **trust}, {**self.env, **trust}
        os.environ.update(trust)
        self.client = BlobServiceClient(account, credential=self.KEY, connection_verify=str(certificate) if certificate else True)
        self.options = {**{k.lower(): v for k, v in self.env.items() if k.startswith("AZURE")}, "allow_http": "true"}

    def make(self, bucket):
        self.client.create_container(bucket)

    def put(self, bucket, key, data):
        self.client.get_blob_client(bucket, key).upload_blob(data, overwrite=True)

    def get(self, bucket, key):
        return self.client.get_blob_client(bucket, key).download_blob().readall()

    def remove(self, bucket, key):
        self.client.get_blob_client(bucket, key).delete_blob()

    def keys(self, bucket, prefix):
        return (b.name for b in self.client.get_container_client(bucket).list_blobs(name_starts_with=prefix))

    def url(self, bucket, key=""):
        return f"abfss://{bucket}@{self.ACCOUNT}.dfs.core.windows.net/{quote(key)}"


class StoreLake(Lake):
    """One schema of a lake in a store; its tables are what the store's own client lists."""

    def __init__(self, store, bucket, root, schema):
        self.store, self.bucket, self.prefix, self.open = store, bucket, f"{root}/{schema}/", {}

    def tables(self):
        below = (k[len(self.prefix):].split("/") for k in self.store.keys(self.bucket, self.prefix))
        return sorted({parts[0] for parts in below if parts[1:2] == ["_delta_log"]})

    def open_table(self, name):
        return DeltaTable(self.store.url(self.bucket, self.prefix + name), storage_options=self.store.options)

    def counts(self):
        return {t: len(self.rows(t)) for t in self.tables() if t not in SIDE_TABLES}

    def ids(self, table):
        return collections.Counter(r["id"] for r in self.rows(table))


def event(n, name="Store Event") -> bytes:
    return b'{"type":"track","messageId":"e%d","userId":"u%d","event":"%s","receivedAt":"2026-03-15T12:00:00.500Z","properties":{"n":%d}}\n' % (n, n % 7, name.encode(), n)


def upload(numbers) -> bytes:
    return gzip.compress(b"".join(map(event, numbers)), mtime=0)


class Bench:
    def __init__(self, store, exe, fixtures: Path):
        self.store, self.exe, self.fixtures, self.bad = store, exe, fixtures, []
        store.make("landing")
        store.make("lake")

    def command(self, key, lake, *more):
        return ["ingest", self.store.url("landing", key), "--lake", self.store.url("lake", lake), "--json", *more]

    def ingest(self, key, lake, *more):
        ran = run(self.exe, *self.command(key, lake, *more), env=self.store.env)
        if ran.code != 0 or ran.report is None:
            self.bad.append(f"{key}: {ran}")
        return ran

    def same(self, what, ours, wanted):
        if ours != wanted:
            self.bad.append(f"{what}: {ours} instead of {wanted}")

    def totals(self, what, ran, **wanted):
        have = (ran.report or {}).get("totals") or {}
        self.same(f"{what}: totals", {k: have.get(k) for k in wanted}, wanted)

    def each_once(self, schema_lake, numbers):
        for table in ("tracks", "store_event"):
            ours, wanted = schema_lake.ids(table), collections.Counter(f"e{n}" for n in numbers)
            self.same(f"{table}: ids too many and ids missing", [sorted((ours - wanted).items())[:9], sorted((wanted - ours).items())[:9]], [[], []])

    def proved(self, key, lake):
        ran = run(self.exe, "verify", self.store.url("landing", key), "--lake", self.store.url("lake", lake), "--json", env=self.store.env)
        if ran.code != 0 or not (ran.report or {}).get("proved"):
            self.bad.append(f"verify {lake}: {ran}")

    # ---- steps

    def fixtures_land_as_counted(self):
        counts = json.loads((self.fixtures / "counts.json").read_text(encoding="utf-8"))
        top = self.fixtures / "uploads"
        for path in sorted(p for p in top.rglob("*") if p.is_file()):
            self.store.put("landing", f"fixtures/{path.relative_to(top).as_posix()}", path.read_bytes())
        whole, nothing = counts["total"], dict(landed=0, rows=0, events=0, rejected=0, duplicates=0)
        ran = self.ingest("fixtures/", "fixtures")
        self.totals("first run", ran, uploads=len(counts["uploads"]), events=whole["events"], landed=whole["landed"], rows=whole["rows"], duplicates=whole["duplicates"],
                    filtered=whole["filtered"], rejected=sum(whole["rejected"].values()), held=0)
        for source, wanted in counts["sources"].items():
            lake = StoreLake(self.store, "lake", "fixtures", source)
            self.same(f"{source}: rows", lake.counts(), {**wanted["calls"], **wanted["event_tables"]})
            self.same(f"{source}: rejects", len(lake.rows("_rejects")) if "_rejects" in lake.tables() else 0, sum(wanted["rejected"].values()))
        self.totals("second run", self.ingest("fixtures/", "fixtures"), **nothing)
        one = f"fixtures/{next(iter(counts['uploads']))}"
        again = self.ingest(one, "fixtures")
        self.totals("one object again", again, uploads=1, **nothing)
        self.same("one object again: status", [u["status"] for u in (again.report or {}).get("uploads", [])], ["already landed"])
        words = subprocess.run([self.exe, *self.command("fixtures/", "fixtures")[:-1]], capture_output=True, text=True, env={**os.environ, **self.store.env})
        if "nothing to do" not in words.stdout + words.stderr:
            self.bad.append(f"a second run does not say that there is nothing to do: {words.stdout[-500:]}{words.stderr[-500:]}")
        self.proved("fixtures/", "fixtures")

    def odd_keys(self):
        for n, key in enumerate(ODD_KEYS):
            self.store.put("landing", f"odd/{key}", upload([n]))
        first = self.ingest(f"odd/{ODD_KEYS[0]}", "odd")
        self.totals("one object by its URL", first, uploads=1, landed=1)
        ran = self.ingest("odd/", "odd")
        self.totals("all by their prefix", ran, uploads=len(ODD_KEYS), landed=len(ODD_KEYS) - 1)
        named = sorted(u["upload"] for u in (ran.report or {}).get("uploads", []))
        missing = [k for k in ODD_KEYS if not any(u.endswith(f"odd/{k}") for u in named)]
        if missing:
            self.bad.append(f"keys that the report does not name as they are: {missing}; it says {named}")
        for key in ODD_KEYS:
            self.totals(f"{key} by its URL", self.ingest(f"odd/{key}", "odd"), uploads=1, landed=0)
        lake = StoreLake(self.store, "lake", "odd", "events")
        self.each_once(lake, range(len(ODD_KEYS)))
        done = collections.Counter(r["upload"] for r in lake.rows("_loads") if r.get("table_name") is None)
        self.same("_loads names each key once", [k for k in ODD_KEYS if sum(n for u, n in done.items() if u.endswith(f"odd/{k}")) != 1], [])
        self.proved("odd/", "odd")

    def leading(self):
        for n, key in enumerate(LEADING_KEYS):
            self.store.put("landing", key, upload([n]))
        self.totals("one object by its URL", self.ingest(LEADING_KEYS[1], "leading"), uploads=1, landed=1)
        self.totals("all by their prefix", self.ingest("/leading/", "leading"), uploads=len(LEADING_KEYS), landed=len(LEADING_KEYS) - 1)
        ran = run(self.exe, *self.command("leading/", "leading"), env=self.store.env)
        self.same("without the slash: exit", ran.code, 78)
        self.each_once(StoreLake(self.store, "lake", "leading", "events"), range(len(LEADING_KEYS)))
        self.proved("/leading/", "leading")

    def overwritten(self):
        for place, key in (("over/", "over/key.gz"), ("over//+ é%.gz", "over//+ é%.gz")):
            lake = f"over-{len(key)}"
            self.store.put("landing", key, upload(range(100)))
            self.totals("the first form", self.ingest(place, lake), landed=100)
            self.store.put("landing", key, upload(range(10, 110)))
            self.totals("the second form", self.ingest(place, lake), events=100, landed=10, duplicates=90)
            self.totals("the second form again", self.ingest(place, lake), events=0, landed=0)
            self.each_once(StoreLake(self.store, "lake", lake, "events"), range(110))
            self.proved(place, lake)
            self.store.remove("landing", key)

    def many(self, prefix, uploads=12, size=400):
        for n in range(uploads):
            self.store.put("landing", f"{prefix}/{'abc'[n % 3]}/{n:03d}.gz", upload(range(n * size, (n + 1) * size)))
        return range(uploads * size)

    def at_once(self):
        numbers = self.many("once")
        places = [["once/"], ["once/a/", "once/b/"], ["once/c/", "once/b/"]]
        lake = self.store.url("lake", "once")
        started = [subprocess.Popen([self.exe, "ingest", *(self.store.url("landing", p) for p in place), "--lake", lake, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True, env={**os.environ, **self.store.env}) for place in places]
        landed = 0
        for process in started:
            out, err = process.communicate(timeout=300)
            if process.returncode != 0:
                self.bad.append(f"one of three at once: exit {process.returncode}: {out[-800:]}{err[-800:]}")
            landed += ((find_report(out) or {}).get("totals") or {}).get("landed", 0)
        self.same("events that the three say they landed", landed, len(numbers))
        self.totals("afterwards", self.ingest("once/", "once"), events=0, landed=0)
        lake = StoreLake(self.store, "lake", "once", "events")
        self.each_once(lake, numbers)
        done = collections.Counter(r["upload_id"] for r in lake.rows("_loads") if r.get("table_name") is None)
        self.same("rows of _loads for an upload", sorted(set(done.values())), [1])
        self.proved("once/", "once")

    def killed(self):
        numbers, chance = self.many("killed", 24, 2000), random.Random()
        moments = [chance.uniform(.02, .6) for _ in range(5)]
        for moment in moments:
            process = subprocess.Popen([self.exe, *self.command("killed/", "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **self.store.env})
            time.sleep(moment)
            process.kill()
            process.wait()
        self.ingest("killed/", "killed")
        self.totals("afterwards", self.ingest("killed/", "killed"), events=0, landed=0)
        before = len(self.bad)
        self.each_once(StoreLake(self.store, "lake", "killed", "events"), numbers)
        if len(self.bad) > before:
            self.bad.append(f"killed after {moments} s")
        self.proved("killed/", "killed")


def main() -> int:
    o = steps.asked(__doc__, "inlet", "endpoint", "fixtures", store=("s3", "azure"))
    bench = Bench({"s3": S3, "azure": Azure}[o.store](o.endpoint), shutil.which(o.inlet) or o.inlet, Path(o.fixtures))
    return steps.run(o.store, (Bench.fixtures_land_as_counted, Bench.odd_keys, Bench.leading, Bench.overwritten, Bench.at_once, Bench.killed), bench, o.only)


if __name__ == "__main__":
    sys.exit(main())
