#!/usr/bin/env python3
"""credentials.py --store s3|azure --inlet EXE --pretend EXE --endpoint URL [--certificate FILE]: as whom a lake is written.

The real executable with a pretend workspace, on a stand-in for a cloud's store. Each step has a lake and a workspace of its own:

  refused      Unity Catalog lends no credentials: each reason is named with the line that mends it, and the store is not touched
  same_shape   with lent credentials an upload of the same shape costs at most three calls of Unity Catalog, and no statement
  short_lived  lent credentials that die within seconds, before a slow store: they are renewed in the middle, each event stands once
  expired      (Azure) a signature that the store refuses, and a store that is away: said, and never with the signature
  lent_token   (Azure) a lent token of Entra instead of a signature
  blank        (Azure, over TLS) the client fields left blank: the installation's own principal signs in at Entra, for the workspace and for
               storage; each set-up step that was left out is named

No lent credential stands in anything that was said, or in any file of the lake. Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import datetime
import json
import secrets
import shutil
import sys
import time
import urllib.parse
import urllib.request

import steps
from customer import STORES, Customer
from gate import Gate, Lender
from stores import Azure

VENDED, LIFE = 'method = "vended"', 2
DATABRICKS, STORAGE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d", "https://storage.azure.com"


class World:
    """The store, the executables, and how a lake's credentials are made there."""

    def __init__(self, o):
        self.exe, self.pretend, self.certificate = shutil.which(o.inlet) or o.inlet, o.pretend, o.certificate
        self.endpoint, self.is_azure = o.endpoint, o.store == "azure"
        self.store = Azure(o.endpoint, o.certificate) if self.is_azure else STORES[o.store](o.endpoint)
        self.store.make("lake")
        self.bad: list[str] = []

    def customer(self, root, **how) -> Customer:
        customer = Customer(self.exe, self.pretend, self.store, root, **{"env": self.store.place, **how})
        customer.bad = self.bad
        return customer

    def borrower(self, root, gate: Gate) -> Customer:
        """Somebody who has no credentials but those that are lent, and reaches the store by a gate."""
        name = "AZURE_STORAGE_ENDPOINT" if self.is_azure else "AWS_ENDPOINT_URL"
        place = {**self.store.place, name: self.store.place[name].replace(self.endpoint, gate.endpoint)}
        customer = self.customer(root, storage=VENDED, env=place)
        customer.workspace.grant("EXTERNAL USE LOCATION", "external_location", "segment_lake")
        return customer

    def gate(self, delay=0) -> Gate:
        return Gate(self.endpoint, delay, self.certificate)

    def make(self):
        """A maker of credentials, each another one, and how each is vended."""
        return self.signature if self.is_azure else self.keys

    def keys(self):
        token = secrets.token_urlsafe(60)
        return token, {"aws": {"access_key_id": "ASIA" + secrets.token_hex(8).upper(), "secret_access_key": secrets.token_urlsafe(30), "session_token": token}}

    def signature(self, minutes=10):
        from azure.storage.blob import ContainerSasPermissions, generate_container_sas
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes, seconds=secrets.randbelow(200))
        sas = generate_container_sas(self.store.ACCOUNT, "lake", account_key=self.store.KEY, expiry=until, permission=ContainerSasPermissions.from_string("racwdl"))
        return urllib.parse.parse_qs(sas)["sig"][0], {"azure_sas": sas}


def entra_token(c: Customer, resource) -> dict:
    """What Entra answers to the principal."""
    w = c.workspace
    form = {"grant_type": "client_credentials", "client_id": w.client_id, "client_secret": w.entra_secret, "scope": f"{resource}/.default"}
    with urllib.request.urlopen(f"{w.url}/{w.tenant_id}/oauth2/v2.0/token", urllib.parse.urlencode(form).encode(), timeout=30) as answer:
        return json.loads(answer.read())


def hidden(c: Customer, *planted):
    """Nothing that was lent stands in what was said, asked, or written."""
    spellings = {spelling for one in planted for spelling in (one, urllib.parse.quote(one, safe=""))}
    asked = json.dumps([(seen["path"], seen["query"], seen["body"]) for seen in c.workspace.control("GET", "requests")])
    files = {key: c.store.get("lake", key) for key in c.store.keys("lake", f"{c.root}/")}
    lake = c.lake()
    rows = "".join(str(lake.rows(table)) for table in lake.tables())
    for spelling in spellings:
        places = [f"what was said: {said[:300]}" for said in c.said if spelling in said]
        places += [place for place, text in (("requests", asked), ("rows", rows)) if spelling in text]
        places += [key for key, content in files.items() if spelling.encode() in content]
        c.same("places where a lent credential stands", places, [])


def refused(world: World):
    gate = world.gate()
    with world.borrower("refused", gate) as c:
        first = c.put("1", range(40))
        land = lambda: c.run("ingest", first)
        with Lender(gate, c.workspace, world.make(), 3600) as lender:
            c.workspace.revoke("EXTERNAL USE LOCATION", "external_location", "segment_lake")
            grant = f"GRANT EXTERNAL USE LOCATION ON EXTERNAL LOCATION `segment_lake` TO `{c.workspace.client_id}`"
            c.fails("without EXTERNAL USE LOCATION", land(), 78, grant)
            c.workspace.grant("EXTERNAL USE LOCATION", "external_location", "segment_lake")
            c.workspace.control("PATCH", "knobs", {"external_access": False})
            c.fails("without external access", land(), 78, "External data access")
            c.workspace.control("PATCH", "knobs", {"external_access": True})
            c.same("requests to the store", gate.seen, [])
            c.same("afterwards", land().code, 0)
        hidden(c, *lender.lent)
        other = {"azure_sas": "sig=planted"} if not world.is_azure else world.keys()[1]
        c.workspace.control("PATCH", "knobs", {"vended": other})
        c.fails("credentials of another cloud", land(), 78, "Unity Catalog lent credentials for", "external location")
        c.workspace.control("PATCH", "knobs", {"vended": "nothing"})
        c.fails("no credentials in the answer", land(), 78, "got an answer that is not the documented one")
        hidden(c, "planted")


def same_shape(world: World):
    gate = world.gate()
    with world.borrower("same_shape", gate) as c, Lender(gate, c.workspace, world.make(), 3600) as lender:
        c.land("1", range(40))
        c.evolve()
        c.asked()
        c.land("2", range(40, 80))
        asked = c.asked()
        of_catalog = [one for one in asked if "/unity-catalog/" in one]
        c.same("calls of Unity Catalog", of_catalog, ["POST /api/2.0/unity-catalog/temporary-path-credentials"])
        c.same("calls of the SQL API", [one for one in asked if "/api/2.0/sql" in one], [])
        c.land("3", range(80, 120), "coupon")
        c.same("one evolve later", (c.status(c.evolve(), "store_event"), "coupon" in c.shown("store_event")), ("synced", True))
        c.each_once()
        hidden(c, *lender.lent)


def short_lived(world: World):
    gate = world.gate()
    with world.borrower("short_lived", gate) as c, Lender(gate, c.workspace, world.make(), LIFE) as lender:
        for name, numbers, column in (("1", range(40), "a"), ("2", range(40, 80), "b"), ("3", range(80, 120), "c")):
            c.put(name, numbers, column)
        # Few requests of an ingest follow each other: it outlasts a credential only before a very slow store.
        for delay, line in ((.4, ["ingest", c.folder / "uploads"]), (.1, ["evolve"]), (.1, ["verify", c.folder / "uploads"])):
            gate.seen, gate.refused, gate.delay = [], 0, delay
            ran = c.run(*line)
            c.same(f"{line[0]}: exit", ran.code, 0)
            if ran.code:
                c.bad.append(str(ran))
            lasted = gate.seen[-1][0] - gate.seen[0][0]
            c.holds(f"{line[0]} outlasts a credential", line[0] != "ingest" or lasted > LIFE + Lender.EVERY, f"{lasted:.1f} s")
            c.holds(f"{line[0]} renews", lasted < LIFE + Lender.EVERY or len({shown for _, shown in gate.seen}) > 1, f"{lasted:.1f} s with one credential")
            c.same(f"{line[0]}: requests with a credential that was dead", gate.refused, 0)
        c.each_once()
        c.catalog_is_the_log()
        hidden(c, *lender.lent)


def expired(world: World):
    with world.customer("expired", storage=VENDED) as c:
        c.workspace.grant("EXTERNAL USE LOCATION", "external_location", "segment_lake")
        first = c.put("1", range(40))
        for minutes in (-30, 10):
            signature, vended = world.signature(minutes)
            c.workspace.control("PATCH", "knobs", {"vended": vended})
            if minutes < 0:
                c.fails("a signature that the store refuses", c.run("ingest", first), 78, "network into storage account")
            else:
                away = c.run("ingest", first, AZURE_STORAGE_ENDPOINT=f"https://127.0.0.1:1/{world.store.ACCOUNT}")
                c.fails("a store that is away", away, 75)
            for said in c.said:
                c.holds("no signature is said", signature not in said and urllib.parse.quote(signature, safe="") not in said, said[:500])
        c.same("afterwards", c.run("ingest", first).code, 0)
        c.each_once()
        hidden(c, signature)


def lent_token(world: World):
    with world.customer("lent_token", storage=VENDED) as c:
        c.workspace.grant("EXTERNAL USE LOCATION", "external_location", "segment_lake")
        token = entra_token(c, STORAGE)["access_token"]
        c.workspace.control("PATCH", "knobs", {"vended": {"azure_aad": token}})
        c.land("1", range(40))
        c.evolve()
        c.right()
        hidden(c, token)


def blank(world: World):
    with world.customer("blank", auth='authority = "{url}"', words=["--not-in-workspace"]) as c:
        env = ids(c)
        c.land("1", range(40), **env)
        c.fails("not added to the workspace", c.run("evolve", **env), 78, "add the service principal to the workspace")
    with world.customer("blank2", auth='authority = "{url}"') as c:
        env, first = ids(c), c.put("1", range(40))
        land = lambda **more: c.run("ingest", first, **{**env, **more})
        c.fails("an installation without a principal", c.run("ingest", first), 78, "INLET_PRINCIPAL_CLIENT_ID")
        nobody = "11111111-2222-4333-8444-555555555555"
        c.fails("not created in the tenant", land(INLET_PRINCIPAL_CLIENT_ID=nobody), 78, f"az ad sp create --id {nobody}")
        c.fails("a wrong secret", land(INLET_PRINCIPAL_CLIENT_SECRET="planted-secret"), 78, "copy the secret's value")
        for what, token in tokens_without_use(c):
            answer = {"answer": {"status": 200, "body": token}}
            c.workspace.control("POST", "faults", {"method": "POST", "path": "*/oauth2/v2.0/token", "times": 1, "wrong": answer})
            c.fails(what, land(), 78, "az role assignment create")
            c.workspace.control("DELETE", "faults")
        c.asked()
        c.same("afterwards", land().code, 0)
        c.same("asked of workspace and Entra", c.asked(), ["GET /aad/auth", f"POST /{c.workspace.tenant_id}/oauth2/v2.0/token"])
        c.evolve(**env)
        c.land("2", range(40, 80), "coupon", **env)
        c.evolve(**env)
        c.env = {**c.env, **env}
        c.right()
        hidden(c, c.workspace.entra_secret, "planted-secret")


def ids(c: Customer) -> dict:
    return {"INLET_PRINCIPAL_CLIENT_ID": c.workspace.client_id, "INLET_PRINCIPAL_CLIENT_SECRET": c.workspace.entra_secret}


def tokens_without_use(c: Customer):
    """Tokens that storage does not take, as it does not take one of a principal without a role."""
    yield "a token for something else than storage", entra_token(c, DATABRICKS)
    c.workspace.control("PATCH", "knobs", {"token_seconds": 1})
    old = entra_token(c, STORAGE)
    c.workspace.control("PATCH", "knobs", {"token_seconds": 3600})
    time.sleep(2)
    yield "a token that is over", {**old, "expires_in": 3600}


def main() -> int:
    o = steps.asked(__doc__, "inlet", "pretend", "endpoint", may=("certificate",), store=("s3", "azure"))
    world = World(o)
    return steps.run(o.store, (refused, same_shape, short_lived, *((expired, lent_token, blank) if world.is_azure else ())), world, o.only)


if __name__ == "__main__":
    sys.exit(main())
