#!/usr/bin/env python3
"""connect.py --store s3|azure --inlet EXE --pretend EXE --endpoint URL: the connection test with landing and lake in a cloud's store.

The real executable, a pretend workspace, and a stand-in for the store behind a line that can answer in its place, as the cloud does. Steps:

  passes    a right set-up, asleep and awake: every step passes, and buckets and catalog are as they were before
  refused   one thing refused after the other: exactly its step is blamed, by its cause, with the line to run; without it all pass again
  missing   a bucket that is not there: made as the hint says, the test passes
  lent      Unity Catalog lends credentials: not before the right is granted that the hint grants
  versioned (S3) a bucket that keeps old versions; the hint's rule is one that the store takes
  least     (Azure) with what the roles allow that infra/azure assigns, and nothing else; deployed_aws.py does the same for S3

Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import datetime
import json
import re
import shutil
import sys
from urllib.parse import parse_qs, urlsplit

import steps
from customer import STORES, Customer, upload
from gate import Gate
from stores import Azure

LAKE, LANDING = "lake", "landing"


class Line(Gate):
    """A line to a store; `rule` answers in its place: (method, bucket, key, query) to (status, code, message), or nothing."""

    def __init__(self, endpoint):
        super().__init__(endpoint, 0)
        self.rule, self.drops = None, ()

    def pass_on(self, method, path, headers, body):
        split = urlsplit(path)
        bucket, _, key = split.path.removeprefix(f"/{Azure.ACCOUNT}").lstrip("/").partition("/")
        query = parse_qs(split.query, keep_blank_values=True)
        if refused := self.rule and self.rule(method, bucket, key, query):
            status, code, message = refused
            said = f"<?xml version='1.0' encoding='utf-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            return status, [("content-type", "application/xml"), ("x-ms-error-code", code), ("content-length", str(len(said)))], said
        for name in self.drops:
            del headers[name]
        return self.forward(method, path, headers, body)


class Renamed:
    """A store in which the lake is another bucket."""

    def __init__(self, store, lake):
        self.store, self.lake = store, lake

    def __getattr__(self, name):
        return getattr(self.store, name)

    def url(self, bucket, key=""):
        return self.store.url(self.lake if bucket == LAKE else bucket, key)


class World:
    def __init__(self, o):
        self.exe, self.pretend = shutil.which(o.inlet) or o.inlet, o.pretend
        self.is_azure, self.line, self.bad = o.store == "azure", Line(o.endpoint), []
        self.store = STORES[o.store](o.endpoint)
        name = "AZURE_STORAGE_ENDPOINT" if self.is_azure else "AWS_ENDPOINT_URL"
        through = {name: self.store.place[name].replace(o.endpoint, self.line.endpoint)}
        self.place, self.env = {**self.store.place, **through}, {**self.store.env, **through}
        for bucket in (LAKE, LANDING):
            self.store.make(bucket)
        self.store.put(LANDING, "segment-logs/web/1.gz", upload(range(3)))

    def customer(self, root, lake=LAKE, **how) -> Customer:
        # A step that broke off has left its own behind.
        self.line.rule, self.line.drops = None, ()
        store = self.store if lake == LAKE else Renamed(self.store, lake)
        customer = Customer(self.exe, self.pretend, store, root, **{"env": self.env, **how})
        customer.bad = self.bad
        return customer

    def test(self, c: Customer, *more):
        """Runs the test; the steps that are not as they should be, and the report."""
        ran = c.run("connect", self.store.url(LANDING, "segment-logs/"), "--wait", "0", *more)
        try:
            report = json.loads(ran.out)
        except ValueError:
            raise SystemExit(f"no report: {ran}")
        return [(step["step"], step["status"]) for step in report["steps"] if step["status"] in ("failed", "warning")], report

    def passes(self, c: Customer, what, *more):
        blamed, report = self.test(c, *more)
        c.same(f"{what}: blamed", blamed, [])
        if blamed:
            self.bad.append(json.dumps([step for step in report["steps"] if step.get("fault")])[:1500])
        return report

    def blames(self, c: Customer, what, wanted, *words):
        """Exactly these steps are blamed; the first one's hint, in which these words stand."""
        blamed, report = self.test(c)
        c.same(f"{what}: blamed", blamed, wanted)
        fault = next((step["fault"] for step in report["steps"] if step["step"] == wanted[0][0] and "fault" in step), {})
        hint = fault.get("hint", "")
        c.holds(f"{what}: {words} in the hint", all(word in hint for word in words), fault)
        return hint


def failed(step):
    return [(step, "failed")]


def traces(world: World, c: Customer):
    """Keys of both buckets, but records of wakes; schemas of the catalog."""
    keys = [f"{bucket}/{key}" for bucket in (LAKE, LANDING) for key in world.store.keys(bucket, "") if "/_inlet/wakes/" not in key]
    schemas = c.workspace.asked(f"schemas?catalog_name={c.workspace.catalog}")
    return sorted(keys), sorted(one["name"] for one in schemas.get("schemas", []))


def passes(world: World):
    with world.customer("passes") as c:
        before = traces(world, c)
        asleep = world.passes(c, "asleep")
        landing = next(step for step in asleep["steps"] if step["step"] == "landing")
        c.holds("an upload is read", "1.gz" in landing["found"], landing)
        c.same("what there is after the test", traces(world, c), before)
        awake = world.passes(c, "awake", "--wake")
        c.same("steps that were not tried awake", [step["step"] for step in awake["steps"] if step["status"] == "skipped"], ["staging", "events"])
        c.same("what there is after the test awake", traces(world, c), before)
        c.land("1", range(40))
        world.passes(c, "with tables that are there")


def refusals(is_azure):
    """What is refused: its name, the rule, the steps that are blamed, words of the hint."""
    writes, reads = ("PUT", "POST"), ("GET", "HEAD")
    is_listing = lambda key, query: "list-type" in query or query.get("comp") == ["list"]
    lake = lambda fine: lambda method, bucket, key, query: None if bucket != LAKE else fine(method, key, query)
    landing = lambda fine: lambda method, bucket, key, query: None if bucket != LANDING else fine(method, key, query)
    state = lambda key: "/_inlet/" in key
    if is_azure:
        mismatch, firewall = (403, "AuthorizationPermissionMismatch", "not authorized"), (403, "AuthorizationFailure", "not authorized")
        unknown = lambda why: (401, "InvalidAuthenticationInfo", f"{why} validation failed.")
        role = ("az role assignment create", "Storage Blob Data Contributor", "/containers/lake ")
        yield "32, no role", lake(lambda *_: mismatch), failed("storage"), role
        yield "32, a reader", lake(lambda method, key, query: mismatch if method in ("PUT", "DELETE") else None), failed("storage"), role
        yield "32, not for state", lake(lambda method, key, query: mismatch if method in writes and state(key) else None), failed("state"), role
        yield "33, the firewall", lake(lambda *_: firewall), failed("storage"), ("network into storage account",)
        yield "34, the container", lake(lambda *_: (404, "ContainerNotFound", "no")), failed("storage"), ("az storage container create", "--name lake")
        yield "35, the tenant", lake(lambda *_: unknown("Issuer")), failed("storage"), ("storage.tenant_id",)
        yield "35, the audience", lake(lambda *_: unknown("Audience")), failed("storage"), ("https://storage.azure.com/.default",)
        yield "landing, no role", landing(lambda *_: mismatch), failed("landing"), ("Storage Blob Data Reader",)
        yield "landing, the container", landing(lambda *_: (404, "ContainerNotFound", "no")), failed("landing"), ()
        return
    denied = (403, "AccessDenied", "Access Denied")
    yield "32, lists", lake(lambda method, key, query: denied if is_listing(key, query) else None), failed("storage"), ("s3:ListBucket",)
    yield "32, puts", lake(lambda method, key, query: denied if method in writes and key else None), failed("storage"), ("s3:PutObject", "arn:aws:s3:::lake/*")
    yield "32, reads", lake(lambda method, key, query: denied if method in reads and "inlet_connect_" in key else None), failed("storage"), ("s3:GetObject",)
    yield "32, not for state", lake(lambda method, key, query: denied if method in writes and state(key) else None), failed("state"), ("s3:PutObject",)
    yield "34, the bucket", lake(lambda *_: (404, "NoSuchBucket", "no")), failed("storage"), ("aws s3 mb s3://lake",)
    region = (400, "AuthorizationHeaderMalformed", "the region 'eu-west-1' is wrong; expecting 'eu-central-1'")
    yield "another region", lake(lambda *_: region), failed("storage"), ("AWS_REGION=eu-central-1",)
    yield "35, the key", lake(lambda *_: (403, "InvalidAccessKeyId", "no")), failed("storage"), ("did not accept the credentials",)
    yield "landing, lists", landing(lambda method, key, query: denied if is_listing(key, query) else None), failed("landing"), ("s3:ListBucket",)
    yield "landing, reads", landing(lambda method, key, query: denied if not is_listing(key, query) else None), failed("landing"), ("s3:GetObject",)


def refused(world: World):
    with world.customer("refused") as c:
        for what, rule, wanted, words in refusals(world.is_azure):
            before = traces(world, c)
            world.line.rule = rule
            world.blames(c, what, wanted, *words)
            world.line.rule = None
            world.passes(c, f"without: {what}")
            c.same(f"what there is after: {what}", traces(world, c), before)
        if not world.is_azure:
            # Azurite would not know its own signature any more.
            world.line.drops = ("if-none-match",)
            world.blames(c, "conditions that are forgotten", failed("storage"), "If-None-Match")
            world.line.drops = ()
            rule = lambda method, bucket, key, query: (403, "AccessDenied", "no") if bucket == LAKE and (method == "DELETE" or "delete" in query) else None
            world.line.rule = rule
            world.blames(c, "32, deletes", [("state", "failed"), ("clean_up", "warning")], "s3:DeleteObject")
            world.line.rule = None


def missing(world: World):
    with world.customer("missing", lake="not-yet") as c:
        hint = world.blames(c, "a lake that is not there", failed("storage"), "az storage container create" if world.is_azure else "aws s3 mb")
        made = re.search(r"--name (\S+)" if world.is_azure else r"s3://(\S+)", hint)
        world.store.make(made[1])
        world.passes(c, "once it is made")


def lent(world: World):
    with world.customer("lent", storage='method = "vended"', env=world.place) as c:
        c.workspace.control("PATCH", "knobs", {"vended": vended(world)})
        # Uploads are read as whoever this place says.
        landing = {name: value for name, value in world.env.items() if name not in world.place}
        c.env = {**c.env, **landing}
        hint = world.blames(c, "38, not lent", failed("credentials"), "GRANT EXTERNAL USE LOCATION ON EXTERNAL LOCATION")
        on = re.search(r"GRANT (EXTERNAL USE LOCATION) ON EXTERNAL LOCATION `?(\w+)", hint)
        c.workspace.grant(on[1], "external_location", on[2])
        world.passes(c, "once it is granted")


def vended(world: World):
    if not world.is_azure:
        return {"aws": {"access_key_id": "ASIAX", "secret_access_key": "x", "session_token": "x"}}
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=30)
    return {"azure_sas": generate_container_sas(Azure.ACCOUNT, LAKE, account_key=Azure.KEY, expiry=until, permission=ContainerSasPermissions.from_string("racwdl"))}


def versioned(world: World):
    world.store.make("versioned")
    keep = lambda status: world.store.client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": status})
    keep("Enabled")
    with world.customer("versioned", lake="versioned") as c:
        hint = world.blames(c, "old versions", [("versioning", "warning")], "put-bucket-lifecycle-configuration --bucket versioned")
        rules = json.loads(re.search(r"--lifecycle-configuration '(.*)'", hint)[1])
        world.store.client.put_bucket_lifecycle_configuration(Bucket="versioned", LifecycleConfiguration=rules)
        keep("Suspended")
        world.passes(c, "without versions")


def least(world: World):
    """Storage Blob Data Contributor on the lake's container, Storage Blob Data Reader on the landing container."""
    def rule(method, bucket, key, query):
        of_blobs = key or query.get("comp") in (["list"], ["batch"])
        if of_blobs and (bucket == LAKE or (bucket == LANDING and method in ("GET", "HEAD"))):
            return None
        return 403, "AuthorizationPermissionMismatch", f"{method} {bucket} {key} {query}"

    with world.customer("least") as c:
        before = traces(world, c)
        world.line.rule = rule
        world.passes(c, "asleep")
        world.passes(c, "awake", "--wake")
        world.line.rule = None
        c.same("what there is after the test", traces(world, c), before)


def main() -> int:
    o = steps.asked(__doc__, "inlet", "pretend", "endpoint", store=("s3", "azure"))
    world = World(o)
    return steps.run(o.store, (passes, refused, missing, lent, least if world.is_azure else versioned), world, o.only)


if __name__ == "__main__":
    sys.exit(main())
