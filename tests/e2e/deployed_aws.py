#!/usr/bin/env python3
"""deployed_aws.py --inlet EXE --pretend EXE --endpoint URL --template FILE: the way from an upload to the catalog, as infra/aws deploys it.

The template as it ships, in a stand-in for AWS (ministack) that enforces IAM: what a function may not do by its role fails. The code is the
executable. A pretend workspace stands over the lake. Steps, one after another, the last in a stack without a lake:

  follows    an upload lands, its tables are in the catalog, a new column follows; DuckDB reads what deltalake reads
  parameter  the secret in Parameter Store instead: the same evolve; a parameter that is missing is said
  poison     ten messages in a batch, one of which can never be: nine land together, once, and the tenth is given up
  doubled    each of twelve uploads announced three times, to instances at once: each event once
  killed     the process of ingest killed in the middle, twice: each event once
  ticks      what no event announced lands by the schedule of backfill, and the catalog follows by that of evolve
  connects   the set-up is tested by its function, with what its role allows: no step fails or warns, nothing is left
  rights     no function did what its role does not allow; what is no business of a role's is refused
  managed    without a lake: an upload is staged, its note loaded by the schedule of evolve, once however often it is announced; the next window
             opens later or by hand; DuckDB reads what the catalog keeps; no role has a right to any bucket but that of uploads

Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import collections
import datetime
import io
import json
import os
import re
import shutil
import signal
import sys
import time
import zipfile
from pathlib import Path

import boto3
from botocore.config import Config

import duck
import steps
from customer import SCHEMA, TABLES, Customer, upload
from stores import S3

REGION, LANDING = "eu-west-1", "landing"
# A machine with other work is slow.
PATIENCE = 120
# A message that nobody has done with is delivered again after so many seconds; as it ships, after half an hour.
AGAIN = 10


class Aws(S3):
    """ministack with the keys of the account's root, which may do everything."""

    def __init__(self, endpoint):
        super().__init__(endpoint)
        self.env = {**self.place, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        self.options, self.endpoint = dict(self.env), endpoint
        self.client = self.of("s3")

    def of(self, service):
        how = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test", config=how)


class Stack:
    """The template, deployed with a package."""

    def __init__(self, aws: Aws, name: str, template: Path, **parameters):
        self.sqs, self.functions, self.logs, self.schedules = (aws.of(service) for service in ("sqs", "lambda", "logs", "scheduler"))
        # What `aws cloudformation package` does.
        body, replaced = re.subn(r"CodeUri: \S+", "CodeUri: s3://packages/inlet.zip", template.read_text())
        assert replaced == 1, f"{replaced} packages in the template"
        formation = aws.of("cloudformation")
        asked = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        formation.create_change_set(StackName=name, ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=body, Parameters=asked, Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"])
        formation.get_waiter("change_set_create_complete").wait(StackName=name, ChangeSetName="first", WaiterConfig={"Delay": 1})
        formation.execute_change_set(StackName=name, ChangeSetName="first")
        formation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        self.resources = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in formation.list_stack_resources(StackName=name)["StackResourceSummaries"]}
        for mapping in self.functions.list_event_source_mappings()["EventSourceMappings"]:
            # The stand-in keeps a parameter's number as text here, and then cannot count.
            self.functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(mapping["ScalingConfig"]["MaximumConcurrency"])})
        self.queues = [queue for queue in ("Uploads", "Behind") if queue in self.resources]
        for queue in self.queues:
            self.deliver_again_after(queue, AGAIN)

    def deliver_again_after(self, queue, seconds):
        self.sqs.set_queue_attributes(QueueUrl=self.resources[queue], Attributes={"VisibilityTimeout": str(seconds)})

    def mapping(self, function, enabled):
        """Has a function's queue served, or not."""
        found = self.functions.list_event_source_mappings(FunctionName=self.resources[function])["EventSourceMappings"]
        for mapping in found:
            self.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
        if not enabled:
            time.sleep(1.5)                                                            # a poll that is under way may still take messages

    def invoke(self, function, **payload):
        """Calls a function; its answer."""
        answer = self.functions.invoke(FunctionName=self.resources[function], Payload=json.dumps(payload).encode())
        said = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise RuntimeError(f"{function}: {said}")
        return said

    def waiting(self, queue):
        """Messages in a queue, and of those the ones that somebody has."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self.sqs.get_queue_attributes(QueueUrl=self.resources[queue], AttributeNames=list(names))["Attributes"]
        visible, taken = (int(found[name]) for name in names)
        return visible + taken, taken

    def said(self, function):
        """The lines that a function wrote, those in JSON parsed."""
        group, lines = self.resources[f"{function}Logs"], []
        for stream in self.logs.describe_log_streams(logGroupName=group).get("logStreams", []):
            pages = self.logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True, limit=10_000)
            for event in pages["events"]:
                for line in event["message"].splitlines():
                    lines.append(json.loads(line) if line.startswith("{") else line)
        return lines

    def tick(self, schedule):
        """Has a schedule come due now, once, as it stands."""
        found = self.schedules.get_schedule(Name=self.resources[schedule])
        kept = {key: found[key] for key in ("Name", "GroupName", "FlexibleTimeWindow", "Target")}
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        self.schedules.update_schedule(**kept, State="ENABLED", ScheduleExpression=f"at({now})")


def package(exe) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o100755 << 16
        bootstrap.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(bootstrap, Path(exe).read_bytes())
    return packed.getvalue()


def function_processes(port):
    """The processes of functions that this stand-in runs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            handler = next((v[9:] for v in (folder / "environ").read_bytes().split(b"\0") if v.startswith(b"_HANDLER=")), b"")
        except OSError:                                                                # it has just ended, or is somebody else's
            continue
        if f"ministack-provided-code-{port}/".encode() in line:
            found.append((int(folder.name), handler.decode()))
    return found


class Route(Customer):
    """A customer whose uploads are objects that events announce."""

    def __init__(self, exe, pretend, aws: Aws, template: Path, root="lakehouse", managed=False):
        super().__init__(exe, pretend, aws, root, managed=managed)
        self.pretend, self.template, self.landing = pretend, template, f"{LANDING}-{root}" if managed else LANDING
        w, secrets = self.workspace, aws.of("secretsmanager")
        secret = secrets.create_secret(Name=root, SecretString=w.client_secret)["ARN"]
        settings = f"{self.root}/_inlet/inlet.toml"
        aws.put("lake", settings, b'allow_host = ["127.0.0.1"]\n' + b'window = "1s"\n' * (not managed))
        place = {"SettingsObject": f"lake/{settings}"} if managed else {"LakeBucket": "lake", "LakePrefix": self.root}
        self.stack = Stack(aws, root, template, **place, LandingBucket=self.landing, WorkspaceUrl=w.url, Catalog=w.catalog, HttpPath=w.http_path, ClientId=w.client_id,
                           ClientSecretArn=secret, BatchSize="10", Schedules="DISABLED")
        self.port = aws.endpoint.rsplit(":", 1)[1]

    def send(self, name, numbers, *columns):
        """Puts an upload in the landing bucket; its events are to stand in the tables from now on."""
        self.numbers += numbers
        self.store.put(self.landing, name, upload(numbers, *columns))

    def until(self, what, fine):
        """Waits until something is so; what it is. A step that waits in vain ends."""
        end = time.monotonic() + PATIENCE
        while not (seen := fine()):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {PATIENCE} s: {what}")
            time.sleep(.1)
        return seen

    def settle(self):
        """Waits until every message is done with."""
        self.until("all messages are done with", lambda: all(self.stack.waiting(queue)[0] == 0 for queue in self.stack.queues))

    def state(self):
        waiting = {name: self.stack.waiting(name) for queue in self.stack.queues for name in (queue, f"{queue}Dead")}
        faults = [line for function in ("Ingest", "Evolve", "Backfill") for line in self.stack.said(function) if isinstance(line, dict) and line.get("level") in ("WARN", "ERROR")]
        return json.dumps({"waiting": waiting, "faults": faults[-12:]}, default=str)[-4000:]

    def role(self, function):
        return self.stack.functions.get_function_configuration(FunctionName=self.stack.resources[function])["Role"]

    def allowed(self, judged):
        """What roles may do: function, action, on what, and whether."""
        iam = self.store.of("iam")
        for function, action, on, wanted in judged:
            (found,) = iam.simulate_principal_policy(PolicySourceArn=self.role(function), ActionNames=[action], ResourceArns=[on])["EvaluationResults"]
            self.same(f"{function}: {action} on {on}", found["EvalDecision"] == "allowed", wanted)

    def verified(self):
        ran = self.run("verify", self.store.url(LANDING), "--lake", self.store.url("lake", self.root))
        if ran.code != 0 or not json.loads(ran.out).get("proved"):
            self.bad.append(f"verify: {ran}")

    def done_rows(self):
        """Rows of `_loads` that say of an upload as a whole what became of it."""
        return [row for row in self.lake().rows("_loads") if row.get("table_name") is None]


def follows(c: Route):
    c.send("web/first.gz", range(40))
    c.until("the tables are in the catalog", lambda: c.shown("store_event"))
    c.settle()
    c.each_once()
    c.send("web/a b+c%20d é.gz", range(40, 80), "coupon")
    c.until("the new column is in the catalog", lambda: "coupon" in (c.shown("store_event") or []))
    c.settle()
    c.each_once()
    c.catalog_is_the_log()
    c.same("uploads that were given up", c.stack.waiting("UploadsDead"), (0, 0))
    con = duck.connect(c.folder, "httpfs", "delta")
    con.execute("LOAD httpfs; LOAD delta")
    at = c.store.endpoint.removeprefix("http://")
    con.execute(f"CREATE SECRET (TYPE S3, KEY_ID 'test', SECRET 'test', REGION '{REGION}', ENDPOINT '{at}', URL_STYLE 'path', USE_SSL false)")
    for table in TABLES:
        (rows,) = con.execute(f"SELECT count(*) FROM delta_scan('s3://lake/{c.root}/{SCHEMA}/{table}')").fetchone()
        c.same(f"{table}: rows by DuckDB", rows, len(c.numbers))


def parameter(c: Route):
    c.store.of("ssm").put_parameter(Name="/inlet/client_secret", Type="SecureString", Value=c.workspace.client_secret)
    evolve = lambda name: c.run("evolve", "--all", INLET_AUTH_CLIENT_SECRET=f"ssm:{name}")
    c.same("evolve with the parameter", evolve("/inlet/client_secret").code, 0)
    c.same("evolve with a version of it", evolve("/inlet/client_secret:1").code, 0)
    c.fails("a parameter that is missing", evolve("/inlet/other"), 78, "`ssm:/inlet/other`, which cannot be read: no such parameter")
    c.store.of("ssm").put_parameter(Name="/inlet/client_secret", Type="SecureString", Value="planted", Overwrite=True)
    c.fails("a parameter with another secret", evolve("/inlet/client_secret"), 78)
    c.holds("no secret is said", not any(secret in said for said in c.said for secret in ("planted", c.workspace.client_secret)))


def poison(c: Route):
    c.stack.mapping("Ingest", False)
    for n in range(9):
        c.send(f"poison/{n}.gz", range(1000 + n * 10, 1010 + n * 10))
    c.stack.sqs.send_message(QueueUrl=c.stack.resources["Uploads"], MessageBody='{"poison": true}')
    c.until("ten messages wait", lambda: c.stack.waiting("Uploads") == (10, 0))
    c.stack.deliver_again_after("Uploads", 3)
    c.stack.mapping("Ingest", True)
    c.until("the tenth is given up", lambda: c.stack.waiting("UploadsDead")[0] == 1)
    c.stack.deliver_again_after("Uploads", AGAIN)
    c.settle()
    c.each_once()
    versions = {row.get("upload"): row.get("version") for row in c.lake().rows("_loads") if row.get("table_name") == "tracks" and "/poison/" in str(row.get("upload"))}
    c.same("uploads of the batch, and their commits to `tracks`", (len(versions), len(set(versions.values()))), (9, 1))
    c.same("what was given up", [m["Body"] for m in c.stack.sqs.receive_message(QueueUrl=c.stack.resources["UploadsDead"])["Messages"]], ['{"poison": true}'])
    c.stack.sqs.purge_queue(QueueUrl=c.stack.resources["UploadsDead"])


def doubled(c: Route):
    c.stack.mapping("Ingest", False)
    for n in range(12):
        c.send(f"doubled/{n}.gz", range(2000 + n * 40, 2040 + n * 40))
    queue = c.stack.resources["Uploads"]
    c.until("twelve messages wait", lambda: c.stack.waiting("Uploads") == (12, 0))
    bodies = {}
    while len(bodies) < 12:
        bodies |= {m["MessageId"]: m["Body"] for m in c.stack.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=1).get("Messages", [])}
    # The same order twice more: a batch, its neighbour and the next hold the same uploads.
    for body in [*bodies.values()] * 2:
        c.stack.sqs.send_message(QueueUrl=queue, MessageBody=body)
    c.until("all messages wait", lambda: c.stack.waiting("Uploads") == (36, 0))
    c.stack.mapping("Ingest", True)
    c.until("two instances run at once", lambda: len({pid for pid, handler in function_processes(c.port) if handler == "ingest"}) >= 2)
    c.settle()
    c.each_once()
    times = collections.Counter(row["upload_id"] for row in c.done_rows())
    c.same("uploads that `_loads` calls done more than once", [one for one, count in times.items() if count > 1], [])


def kill(pid) -> bool:
    """Kills a process; whether it was still there."""
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def killed(c: Route):
    c.settle()
    kills, sent = 0, 0
    # On a quick machine the work may be over before it is seen, or killed: then there is more of it.
    for moment in (.1, .4, .05, 0, .2, 0, .1, 0):
        if kills == 2:                                                                 # a message that is taken five times in vain is given up
            break
        if c.stack.waiting("Uploads")[0] == 0:
            c.stack.mapping("Ingest", False)
            for _ in range(6):
                first = 1_000_000 + sent * 4_000
                c.send(f"killed/{sent}.gz", range(first, first + 4_000))
                sent += 1
            c.until("the events are there", lambda: c.stack.waiting("Uploads")[0] == 6)
            c.stack.mapping("Ingest", True)

        def at_work():
            waiting, taken = c.stack.waiting("Uploads")
            found = [pid for pid, handler in function_processes(c.port) if handler == "ingest"] if taken else []
            return found or waiting == 0

        started = c.until("ingest is at work", at_work)
        if started is True:
            continue
        time.sleep(moment)
        kills += any([kill(pid) for pid in started])
        time.sleep(1)                                                                  # until the stand-in has seen it
    c.holds("ingest was killed", kills > 0)
    c.settle()
    c.each_once()
    c.same("uploads that were given up", c.stack.waiting("UploadsDead"), (0, 0))


def ticks(c: Route):
    c.stack.mapping("Ingest", False)
    c.stack.mapping("Evolve", False)
    c.send("lost/1.gz", range(40_000, 40_040), "refund")
    c.until("the event is there", lambda: c.stack.waiting("Uploads")[0] == 1)
    c.stack.sqs.purge_queue(QueueUrl=c.stack.resources["Uploads"])
    c.stack.tick("BackfillTick")
    c.until("the upload has landed", lambda: "refund" in c.lake().columns("store_event"))
    c.until("the note's event is there", lambda: c.stack.waiting("Behind")[0] > 0)
    c.stack.sqs.purge_queue(QueueUrl=c.stack.resources["Behind"])
    c.stack.tick("EvolveTick")
    c.until("the catalog has followed", lambda: "refund" in (c.shown("store_event") or []))
    c.stack.mapping("Ingest", True)
    c.stack.mapping("Evolve", True)
    c.settle()
    c.each_once()
    c.catalog_is_the_log()
    c.verified()


def connects(c: Route):
    report = c.stack.invoke("Connect")
    c.same("steps that did not pass", [step for step in report["steps"] if step["status"] in ("failed", "warning")], [])
    c.same("what it left", (report["left"], [key for key in c.store.keys("lake", "") if "inlet_connect_" in key]), ([], []))
    c.holds("the steps that need no warehouse", sum(step["status"] == "passed" for step in report["steps"]) >= 12, report)
    told = next(step for step in report["steps"] if step["step"] == "events")
    c.holds("the queue of uploads is seen", "Uploads" in told.get("found", ""), told)


def rights(c: Route):
    for function in ("Ingest", "Evolve", "Backfill", "Connect"):
        said = c.stack.said(function)
        # A test without a failure has nothing to say but its answer.
        c.holds(f"{function} says what it does", function == "Connect" or any(isinstance(line, dict) for line in said), said[-3:])
        faults = [line for line in said if isinstance(line, dict) and line.get("level") == "ERROR" and "poison" not in str(line)]
        c.same(f"faults of {function}", [line for line in faults if "AccessDenied" in str(line) or "not authorized" in str(line)], [])
        everything = "".join(map(str, said))
        c.holds(f"{function} keeps the secret to itself", c.workspace.client_secret not in everything)
    c.same("roles", len({c.role(function) for function in ("Ingest", "Evolve", "Backfill", "Maintain", "Connect")}), 5)
    lake, landing = f"arn:aws:s3:::lake/{c.root}", f"arn:aws:s3:::{LANDING}"
    c.allowed([("Ingest", "s3:PutObject", f"{lake}/events/tracks/x", True), ("Ingest", "s3:DeleteObject", f"{lake}/events/tracks/x", False),
               ("Ingest", "s3:DeleteObject", f"{lake}/_inlet/underway/x", True), ("Ingest", "s3:PutObject", f"{landing}/x", False), ("Ingest", "s3:DeleteObject", f"{landing}/x", False),
               ("Evolve", "s3:GetObject", f"{landing}/x", False), ("Evolve", "s3:DeleteObject", f"{lake}/events/_delta_log/x", False),
               ("Backfill", "s3:PutObject", f"{landing}/x", False), ("Backfill", "s3:PutObject", "arn:aws:s3:::lake/other/x", False),
               ("Maintain", "s3:DeleteObject", f"{lake}/events/tracks/x", True), ("Maintain", "s3:GetObject", f"{landing}/x", False),
               ("Maintain", "s3:DeleteObject", "arn:aws:s3:::lake/other/x", False)])


def managed(c: Route):
    with Route(c.exe, c.pretend, c.store, c.template, root="managed", managed=True) as m:
        m.bad = c.bad
        m.same("resources of a lake", sorted({"LakeRights", "Notes", "Behind", "Maintain"} & set(m.stack.resources)), [])
        m.send("web/first.gz", range(40))
        staged = lambda: sum(1 for note in (m.folder / "managed").rglob("_inlet/pending/**/*") if note.is_file())
        m.until("the upload is staged", staged)
        m.settle()
        m.same("tables and wakes before a window", (m.lake().tables(), m.wakes()), ([], 0))
        m.stack.tick("EvolveTick")
        m.until("a window has loaded it", lambda: m.shown("store_event") and not staged())
        m.each_once()
        again = {"action": "ingest", "places": [m.store.url(m.landing, "web/first.gz")]}
        m.same("announced again", [one["status"] for one in m.stack.invoke("Ingest", **again)["uploads"]], ["already landed"])
        m.send("web/second.gz", range(40, 80), "coupon")
        m.until("the next upload is staged", staged)
        m.holds("the next window is not open yet", "next window opens in" in str(m.stack.invoke("Evolve").get("postponed")))
        m.same("rows that wait for it", m.lake().ids("tracks").total(), 40)
        m.evolve()
        m.each_once()
        m.same("wakes", m.wakes(), 1)
        m.catalog_is_the_log()
        con = duck.connect(m.folder)
        con.execute("LOAD delta")
        for table in TABLES:
            (rows,) = con.execute(f"SELECT count(*) FROM delta_scan('{m.lake().place(table)}')").fetchone()
            m.same(f"{table}: rows by DuckDB", rows, len(m.numbers))
        report = m.stack.invoke("Connect")
        # Smaller than managed tables want it: the workspace's one warehouse.
        m.same("steps that did not pass", [step["step"] for step in report["steps"] if step["status"] in ("failed", "warning")], ["warehouse_size"])
        may = [("Ingest", "s3:GetObject", f"arn:aws:s3:::{m.landing}/x", True), *((function, action, "arn:aws:s3:::lake/managed/x", False)
               for function in ("Ingest", "Evolve", "Backfill", "Connect") for action in ("s3:PutObject", "s3:GetObject", "s3:DeleteObject"))]
        m.allowed(may)
        for function in ("Ingest", "Evolve", "Connect"):
            m.holds(f"{function} keeps the secret to itself", m.workspace.client_secret not in "".join(map(str, m.stack.said(function))))


def main() -> int:
    o = steps.asked(__doc__, "inlet", "pretend", "endpoint", "template")
    exe, aws = shutil.which(o.inlet) or o.inlet, Aws(o.endpoint)
    aws.make("packages")
    aws.put("packages", "inlet.zip", package(exe))
    aws.make("lake")
    aws.client.put_bucket_notification_configuration(Bucket="lake", NotificationConfiguration={"EventBridgeConfiguration": {}})
    with Route(exe, o.pretend, aws, Path(o.template)) as c:
        return steps.run("aws", (follows, parameter, poison, doubled, killed, ticks, connects, rights, managed), c, o.only, lambda: f"\n{c.state()}")


if __name__ == "__main__":
    sys.exit(main())
