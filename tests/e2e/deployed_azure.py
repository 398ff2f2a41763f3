#!/usr/bin/env python3
"""deployed_azure.py --inlet EXE --pretend EXE --endpoint URL --queues URL --functions DIR: the way from an upload to the catalog, as infra/azure deploys it.

The function app as it ships (host.json, function.json), in a player of the Functions host (functions_host.py), on blobs and queues of Azurite;
the script sends what Event Grid would. The handler is the executable. A pretend workspace stands over the lake. Steps, one after another:

  follows    an upload lands, its tables are in the catalog, a new column follows; plain and base64 messages, in both schemas of Event Grid
  together   twenty messages that are there at once share commits
  nothing    events of files that were opened, emptied or deleted are done with; those of another account are not
  poison     a message that can never be goes to the poison queue after five deliveries, and takes nothing with it
  doubled    each upload announced twice, to two instances: each event once
  killed     the handler killed in the middle, twice: each event once
  triggers   Event Grid's own trigger lands too; what no event announced lands by the timer of backfill, the catalog follows by that of evolve
  faces      one upload by a terminal, by Lambda and by Azure Functions: the same report, the same rows; landed by one, it is for all
  managed    without a lake: an upload is staged, and the timer of evolve opens a window that loads it, once; the next one opens later or by hand

Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import base64
import collections
import json
import shutil
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import quote

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueServiceClient

import steps
from customer import SCHEMA, Customer, upload
from functions_host import Failed, FunctionsHost
from lambda_runtime import Failed as LambdaFailed
from lambda_runtime import Lambda
from lake import run
from stores import Azure, StoreLake

LANDING, PATIENCE = "landing", 90
UPLOADS, BEHIND = "inlet-uploads", "inlet-behind"
# A message that failed is delivered again after a second here, and after a minute as it ships; a call that hangs ends in time.
HASTE = {"AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01", "AzureFunctionsJobHost__functionTimeout": "00:01:00"}


def created(store, container, key, size, api="FlushWithClose", cloud=False, account=None, **data):
    """What Event Grid says of a blob, in its own schema or as a CloudEvent."""
    account = account or store.ACCOUNT
    source = f"/subscriptions/5eb0/resourceGroups/acme/providers/Microsoft.Storage/storageAccounts/{account}"
    common = {"id": str(uuid.uuid4()), "subject": f"/blobServices/default/containers/{container}/blobs/{key}",
              "data": {"api": api, "contentType": "application/x-ndjson", "contentLength": size, "blobType": "BlockBlob",
                       "url": f"https://{account}.dfs.core.windows.net/{container}/{quote(key)}", "sequencer": "00000000000004420000000000028963", **data}}
    kind, now = "Microsoft.Storage.BlobCreated", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if cloud:
        return {"specversion": "1.0", "type": kind, "source": source, "time": now, **common}
    return {"topic": source, "eventType": kind, "eventTime": now, "dataVersion": "", "metadataVersion": "1", **common}


class Route(Customer):
    """A customer whose uploads are blobs that Event Grid announces to the function app."""

    def __init__(self, exe, pretend, store, queues, functions: Path):
        store.make("lake")
        store.make(LANDING)
        super().__init__(exe, pretend, store, "lakehouse")
        self.queues, self.functions, self.sent = queues, functions, 0
        for name in (UPLOADS, BEHIND):
            queues.create_queue(name)
        self.app = app_root(self.folder / "app", functions, exe)
        self.pretend, self.settings_of_app = pretend, self.settings_of(self.workspace)

    def settings_of(self, w) -> dict:
        """The app's settings for a workspace."""
        return {**self.store.env, **HASTE, "INLET_LAKE": self.store.url("lake", self.root), "INLET_LANDING": self.store.url(LANDING), "INLET_WORKSPACE_URL": w.url,
                "INLET_ALLOW_HOST": "127.0.0.1", "INLET_CATALOG": w.catalog, "INLET_HTTP_PATH": w.http_path, "INLET_AUTH_CLIENT_ID": w.client_id,
                "INLET_AUTH_CLIENT_SECRET": w.client_secret, "INLET_WINDOW": "1s"}

    def host(self, once=False, **settings) -> FunctionsHost:
        return FunctionsHost(self.app, {**self.settings_of_app, **settings}, once)

    def put_blob(self, name, numbers, *columns) -> dict:
        """Puts an upload; its event. Its events are to stand in the lake from now on."""
        self.numbers += numbers
        content = upload(numbers, *columns)
        self.store.put(LANDING, name, content)
        return created(self.store, LANDING, name, len(content))

    def announce(self, event, queue=UPLOADS):
        """Sends a message as Event Grid does; every second in base64."""
        self.sent += 1
        text = json.dumps(event)
        self.queues.get_queue_client(queue).send_message(base64.b64encode(text.encode()).decode() if self.sent % 2 else text)

    def left(self, queue) -> int:
        try:
            return self.queues.get_queue_client(queue).get_queue_properties().approximate_message_count
        except ResourceNotFoundError:
            return 0

    def serve(self, host, what="messages are left", until=None, names=("ingest",)):
        """Has the host serve its queues until nothing is left."""
        end = time.monotonic() + PATIENCE
        queues = [host.functions[name].trigger["queueName"] for name in names]
        done = until or (lambda: not any(map(self.left, queues)))
        host.pump(self.queues, lambda: done() or time.monotonic() > end, *names)
        if not done():
            self.bad.append(f"{what} after {PATIENCE} s: {host.logs[-12:]}")

    def evolve_by_notes(self, host):
        """Sends the events of the notes that lie in the lake, and has them served."""
        notes = f"{self.root}/_inlet/catalog/behind/"
        for key in list(self.store.keys("lake", notes)):
            self.announce(created(self.store, "lake", key, 100, api="PutBlob"), BEHIND)
        self.serve(host, names=("evolve",))

    def errors(self, host, but=()):
        """Lines of the handler that say that something is wrong."""
        faults = [line for level, line in host.logs if '"level":"ERROR"' in line or level == "Error"]
        self.same("errors", [line for line in faults if not any(word in line for word in but)][:5], [])

    def verified(self):
        ran = self.run("verify", self.store.url(LANDING))
        if ran.code != 0 or not json.loads(ran.out).get("proved"):
            self.bad.append(f"verify: {ran}")


def app_root(root: Path, functions: Path, exe) -> Path:
    """The function app: the files that ship, and the executable as its handler."""
    root.mkdir()
    shutil.copy(functions / "host.json", root)
    for file in functions.glob("*/function.json"):
        (root / file.parent.name).mkdir()
        shutil.copy(file, root / file.parent.name)
    (root / "handler").symlink_to(Path(exe).resolve())
    return root


def follows(c: Route):
    for once in (False, True):
        with c.host(once) as host:
            c.announce(c.put_blob(f"web/{once}.gz", range(80 * once, 80 * once + 40)))
            event = c.put_blob(f"web/a b+c%20d é {once}.gz", range(80 * once + 40, 80 * once + 80), f"coupon_{once}".lower())
            c.announce(created(c.store, LANDING, event["subject"].split("/blobs/", 1)[1], event["data"]["contentLength"], cloud=True))
            c.serve(host)
            c.each_once()
            c.evolve_by_notes(host)
            c.holds("the catalog has followed", f"coupon_{once}".lower() in (c.shown("store_event") or []), host.logs[-9:])
            c.errors(host)
            c.holds("the handler logs JSON", all(line.startswith("{") for _, line in host.logs), host.logs[:3])
            c.holds("no secret in the logs", not any(c.workspace.client_secret in line for _, line in host.logs))
    c.catalog_is_the_log()


def together(c: Route):
    for n in range(20):
        c.announce(c.put_blob(f"together/{n}.gz", range(1000 + n * 10, 1010 + n * 10)))
    with c.host() as host:
        c.serve(host)
        c.errors(host)
    c.each_once()
    commits = {row["version"] for row in c.lake().rows("_loads") if row.get("table_name") == "tracks" and "/together/" in str(row.get("upload"))}
    c.holds("twenty uploads share commits", 1 <= len(commits) <= 6, commits)


def nothing(c: Route):
    with c.host() as host:
        event = created(c.store, LANDING, "web/opened.gz", 0, api="CreateFile")
        for fine in (event, {**event, "eventType": "Microsoft.Storage.BlobDeleted", "data": {**event["data"], "api": "DeleteFile"}}, created(c.store, LANDING, "web/never-there.gz", 9)):
            host.message("ingest", json.dumps(fine))
        c.errors(host)
        for foreign in (created(c.store, LANDING, "web/True.gz", 9, account="somebodyelse"), created(c.store, "private", "x.gz", 9)):
            try:
                c.bad.append(f"an event of another place is done with: {host.message('ingest', json.dumps(foreign))}")
            except Failed as failed:
                c.holds("an event of another place is refused", "500" in str(failed) and "no place that uploads come from" in str(failed), failed)
    c.each_once()


def poison(c: Route):
    c.queues.get_queue_client(UPLOADS).send_message("no event at all")
    c.announce(c.put_blob("poison/beside.gz", range(2000, 2040)))
    with c.host() as host:
        c.serve(host, "the message is not given up", lambda: c.left(f"{UPLOADS}-poison") == 1 and not c.left(UPLOADS))
        deliveries = [line for level, line in host.logs if level == "Error" and line.startswith("ingest: status 500")]
        c.same("deliveries of it", len(deliveries), 5)
    given_up = c.queues.get_queue_client(f"{UPLOADS}-poison")
    c.same("what was given up", [m.content for m in given_up.receive_messages()], ["no event at all"])
    given_up.clear_messages()
    c.each_once()


def doubled(c: Route):
    events = [c.put_blob(f"doubled/{n}.gz", range(3000 + n * 40, 3040 + n * 40)) for n in range(12)]
    for event in events * 2:
        c.announce(event)
    with c.host() as one, c.host() as other:
        at_once = [threading.Thread(target=c.serve, args=(host,)) for host in (one, other)]
        for thread in at_once:
            thread.start()
        for thread in at_once:
            thread.join()
        for host in (one, other):
            c.errors(host)
    c.each_once()
    times = collections.Counter(row["upload_id"] for row in c.lake().rows("_loads") if row.get("table_name") is None)
    c.same("uploads that `_loads` calls done more than once", [one for one, count in times.items() if count > 1], [])


def killed(c: Route):
    for n in range(6):
        c.announce(c.put_blob(f"killed/{n}.gz", range(10_000 + n * 4000, 14_000 + n * 4000)))
    with c.host() as host:
        def kill():
            for wait in (.2, .5):
                time.sleep(wait)
                starts = host.starts
                host.crash()
                end = time.monotonic() + PATIENCE
                while host.starts == starts and time.monotonic() < end:
                    time.sleep(.01)
        thread = threading.Thread(target=kill)
        thread.start()
        c.serve(host)
        thread.join()
        c.same("starts of the handler", host.starts, 3)
        c.serve(host)
    c.each_once()
    c.same("messages that were given up", c.left(f"{UPLOADS}-poison"), 0)
    c.verified()


def triggers(c: Route):
    with c.host() as host:
        host.event("ingest_eventgrid", c.put_blob("triggers/pushed.gz", range(40_000, 40_040)))
        c.each_once()
        c.put_blob("triggers/lost.gz", range(40_040, 40_080), "refund")
        host.tick("backfill", past_due=True)
        c.each_once()
        host.tick("evolve_timer")
        c.holds("the catalog has followed", "refund" in (c.shown("store_event") or []), host.logs[-9:])
        c.errors(host)
    c.catalog_is_the_log()
    c.verified()


def faces(c: Route):
    event, place, reports = c.put_blob("faces/one.gz", range(50_000, 50_040), "face"), c.store.url(LANDING, "faces/one.gz"), []
    for first in ("terminal", "lambda", "azure"):
        env = {**c.store.env, "INLET_LAKE": c.store.url("lake", f"faces-{first}"), "INLET_LANDING": c.store.url(LANDING)}
        with FunctionsHost(c.app, env) as host, Lambda(c.exe, "ingest", env) as function, Lambda(c.exe, "bootstrap", env) as any_function:
            ways = {"terminal": lambda: run(c.exe, "ingest", place, "--lake", env["INLET_LAKE"], "--json", env=env).report,
                    "lambda": lambda: function.invoke(event), "azure": lambda: host.message("ingest", json.dumps(event))[1]}
            reports.append(comparable(ways.pop(first)()))
            c.same(f"{first}: the upload", [(one["status"], one["events"]) for one in reports[-1]["uploads"]], [("landed", 40)])
            c.same(f"what {first} reports", reports[-1], reports[0])
            others = [comparable(way()) for way in ways.values()]
            c.same(f"landed by {first}: for the others", [[one["status"] for one in other["uploads"]] for other in others], [["already landed"]] * 2)
            c.same(f"landed by {first}: what the others report", others[0], others[1])
            try:
                c.bad.append(f"a call that says nothing is answered: {any_function.invoke({'hello': 1})}")
            except LambdaFailed as failed:
                c.holds("a call that says nothing fails", str(failed).startswith("Inlet."), failed)
        lake = StoreLake(c.store, "lake", f"faces-{first}", SCHEMA)
        c.same(f"{first}: rows", lake.counts(), {"tracks": 40, "store_event": 40})


def comparable(report) -> dict:
    """A report without what tells one run, or one place, from another."""
    return {"totals": report["totals"], "uploads": [{key: value for key, value in one.items() if key != "upload"} for one in report["uploads"]]}


def managed(c: Route):
    with Customer(c.exe, c.pretend, c.store, "managed", managed=True) as m:
        m.bad = c.bad
        settings = {name: value for name, value in c.settings_of(m.workspace).items() if name not in ("INLET_LAKE", "INLET_WINDOW")}
        with FunctionsHost(c.app, {**settings, "INLET_EVERY": "15m"}) as host:
            def send(name, *more):
                m.numbers += (numbers := range(60_000 + len(m.numbers), 60_040 + len(m.numbers)))
                content = upload(numbers, *more)
                c.store.put(LANDING, name, content)
                return host.message("ingest", json.dumps(created(c.store, LANDING, name, len(content))))[1]["uploads"][0]["status"]

            m.same("an upload, and the same again", [send("managed/1.gz"), host.message("ingest", json.dumps(created(c.store, LANDING, "managed/1.gz", 1)))[1]["uploads"][0]["status"]],
                   ["staged", "already staged"])
            m.same("tables and wakes before a window", (m.lake().tables(), m.wakes()), ([], 0))
            host.tick("evolve_timer")
            m.each_once()
            m.same("the next upload", send("managed/2.gz", "coupon"), "staged")
            host.tick("evolve_timer")
            m.same("rows while the next window is not open", m.lake().ids("tracks").total(), 40)
            m.evolve()
            m.each_once()
            m.catalog_is_the_log()
            c.errors(host)


def main() -> int:
    o = steps.asked(__doc__, "inlet", "pretend", "endpoint", "queues", "functions")
    exe, store = shutil.which(o.inlet) or o.inlet, Azure(o.endpoint)
    queues = QueueServiceClient(f"{o.queues}/{store.ACCOUNT}", credential={"account_name": store.ACCOUNT, "account_key": store.KEY})
    with Route(exe, o.pretend, store, queues, Path(o.functions)) as c:
        return steps.run("azure", (follows, together, nothing, poison, doubled, killed, triggers, faces, managed), c, o.only)


if __name__ == "__main__":
    sys.exit(main())
