#!/usr/bin/env python3
"""sdk.py --pretend EXE: Databricks' own client against the pretend workspace.

The SDK signs in (OAuth M2M, a personal access token), reads who it is, starts a warehouse and waits, runs statements that write
a real Delta log, reads schemas, tables, permissions, locations and credentials, moves files, and raises its own classes
for what fails. PyPI's deltalake reads the table back. Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

from databricks.sdk import WorkspaceClient
from databricks.sdk import errors
from databricks.sdk.core import Config
from databricks.sdk.service import catalog as uc
from databricks.sdk.service import sql
from deltalake import DeltaTable

from workspace import Workspace

bad: list[str] = []


def same(what, ours, wanted):
    if ours != wanted:
        bad.append(f"{what}: {ours!r}, not {wanted!r}")


def raises(what, kind, call):
    try:
        bad.append(f"{what}: no error, but {call()!r}")
    except Exception as error:
        # The very class: its parents would say too little.
        if type(error) is not kind:
            bad.append(f"{what}: {type(error).__name__}, not {kind.__name__}: {error}")


def client_of(w: Workspace, **how) -> WorkspaceClient:
    """A client that gives up soon."""
    return WorkspaceClient(config=Config(host=w.url, retry_timeout_seconds=3, **how))


def m2m(w: Workspace, secret: str) -> WorkspaceClient:
    return client_of(w, client_id=w.client_id, client_secret=secret, auth_type="oauth-m2m")


def pat(w: Workspace, token: str) -> WorkspaceClient:
    return client_of(w, token=token, auth_type="pat")


def run(client: WorkspaceClient, w: Workspace, statement: str):
    answer = client.statement_execution.execute_statement(statement=statement, warehouse_id=w.warehouse_id, wait_timeout="30s")
    if answer.status.state != sql.StatementState.SUCCEEDED:
        bad.append(f"{statement}: {answer.status}")
    return answer


def signed_in(w: Workspace, client: WorkspaceClient):
    for one in (client, pat(w, w.token)):
        me = one.current_user.me()
        same("me", (me.user_name, sorted(e.value for e in me.entitlements)), (w.client_id, ["allow-cluster-create", "databricks-sql-access"]))
    raises("an unknown token", errors.Unauthenticated, lambda: pat(w, "dapi-unknown").current_user.me())
    try:
        m2m(w, "wrong").current_user.me()
        bad.append("a wrong secret signs in")
    except Exception as error:
        if "invalid_client" not in str(error):
            bad.append(f"a wrong secret: {type(error).__name__}: {error}")


def warehouses(w: Workspace, client: WorkspaceClient):
    same("the warehouses", [one.id for one in client.warehouses.list()], [w.warehouse_id])
    same("its state", client.warehouses.get(w.warehouse_id).state, sql.State.STOPPED)
    same("its state when it is up", client.warehouses.start_and_wait(w.warehouse_id).state, sql.State.RUNNING)
    raises("a malformed id", errors.InvalidParameterValue, lambda: client.warehouses.get("wh-0001"))
    raises("an unknown id", errors.ResourceDoesNotExist, lambda: client.warehouses.get("0123456789abcdef"))
    raises("no right to stop it", errors.PermissionDenied, lambda: client.warehouses.stop(w.warehouse_id))
    shape = dict(name="ours", cluster_size="2X-Small", min_num_clusters=1, max_num_clusters=1, auto_stop_mins=10, enable_serverless_compute=True,
                 warehouse_type=sql.CreateWarehouseRequestWarehouseType.PRO,
                 tags=sql.EndpointTags(custom_tags=[sql.EndpointTagPair(key="made-by", value="us")]))
    made = client.warehouses.create_and_wait(**shape)
    same("the tags of a new one", made.tags.custom_tags[0].value, "us")
    raises("the same name again", errors.InvalidParameterValue, lambda: client.warehouses.create(**shape))
    same("stopped", client.warehouses.stop_and_wait(made.id).state, sql.State.STOPPED)
    client.warehouses.delete(made.id)
    raises("a deleted one", errors.ResourceDoesNotExist, lambda: client.warehouses.get(made.id))
    same("the wakes", [(one["warehouse"], one["cause"]) for one in w.control("GET", "wakes")], [(w.warehouse_id, "start"), (made.id, "create")])


def tables(w: Workspace, client: WorkspaceClient, lake: Path):
    made = client.schemas.create(name="Web", catalog_name=w.catalog, comment="events")
    same("a schema", (made.full_name, made.owner), ("segment.web", w.client_id))
    raises("the same schema again", errors.BadRequest, lambda: client.schemas.create(name="web", catalog_name=w.catalog))
    place = lake / "web" / "tracks"
    run(client, w, f"CREATE TABLE IF NOT EXISTS `segment`.`web`.`tracks` (`id` STRING COMMENT 'message id') USING DELTA LOCATION '{place.as_uri()}' "
                   "TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')")
    run(client, w, "ALTER TABLE segment.web.tracks ADD COLUMNS (`n` BIGINT, `at` TIMESTAMP)")
    run(client, w, "COMMENT ON TABLE segment.web.tracks IS 'all calls'")
    table = client.tables.get("segment.web.tracks", include_delta_metadata=True)
    same("the columns", [(c.name, c.type_text, c.type_name) for c in table.columns],
         [("id", "string", uc.ColumnTypeName.STRING), ("n", "bigint", uc.ColumnTypeName.LONG), ("at", "timestamp", uc.ColumnTypeName.TIMESTAMP)])
    same("the table", (table.table_type, table.data_source_format, table.storage_location, table.comment),
         (uc.TableType.EXTERNAL, uc.DataSourceFormat.DELTA, place.as_uri(), "all calls"))
    read = DeltaTable(str(place))
    same("the log", (read.version(), [f.name for f in read.schema().fields], read.metadata().description), (2, ["id", "n", "at"], "all calls"))
    answer = run(client, w, "SELECT count(*) FROM segment.web.tracks")
    same("the count", answer.result.data_array, [["0"]])
    same("the list", [t.name for t in client.tables.list(w.catalog, "web")], ["tracks"])
    same("the summaries", [t.full_name for t in client.tables.list_summaries(w.catalog)], ["segment.web.tracks"])
    same("exists", client.tables.exists("segment.web.tracks").table_exists, True)
    raises("a table that is not there", errors.NotFound, lambda: client.tables.get("segment.web.none"))
    failed = client.statement_execution.execute_statement(statement="INSER INTO t", warehouse_id=w.warehouse_id, wait_timeout="30s")
    same("a failed statement", (failed.status.state, failed.status.error.error_code), (sql.StatementState.FAILED, sql.ServiceErrorCode.BAD_REQUEST))
    raises("a wait that is none", errors.InvalidParameterValue,
           lambda: client.statement_execution.execute_statement(statement="SELECT 1", warehouse_id=w.warehouse_id, wait_timeout="3s"))
    raises("what it has not", errors.NotImplemented, lambda: run(client, w, "ANALYZE TABLE segment.web.tracks COMPUTE STATISTICS"))
    w.control("PATCH", "knobs", {"rows_per_chunk": 1})
    run(client, w, "CREATE VIEW segment.web.latest AS SELECT id, max(n) AS n FROM segment.web.tracks GROUP BY id")
    first = run(client, w, "SHOW TABLES IN segment.web")
    rows = list(first.result.data_array)
    while first.result is not None and (first.result if rows else first).next_chunk_index is not None and len(rows) < 10:
        chunk = client.statement_execution.get_statement_result_chunk_n(first.statement_id, first.result.next_chunk_index)
        rows += chunk.data_array
        first.result = chunk
    same("rows in chunks", [row[1] for row in rows], ["latest", "tracks"])


def rights(w: Workspace, client: WorkspaceClient, admin: WorkspaceClient):
    held = client.grants.get_effective("catalog", w.catalog, principal=w.client_id)
    same("effective permissions", [(a.principal, [p.privilege for p in a.privileges]) for a in held.privilege_assignments],
         [(w.client_id, [uc.Privilege.ALL_PRIVILEGES])])
    same("the metastore", client.metastores.summary().external_access_enabled, True)
    same("its assignment", client.metastores.current().default_catalog_name, w.catalog)
    same("the catalog", client.catalogs.get(w.catalog).catalog_type, uc.CatalogType.MANAGED_CATALOG)
    same("the credentials", [c.name for c in client.storage_credentials.list()], ["segment_storage"])
    admin.grants.update("external_location", "segment_lake", changes=[uc.PermissionsChange(principal=w.client_id, add=[uc.Privilege.EXTERNAL_USE_LOCATION])])
    same("the locations", [c.name for c in client.external_locations.list()], ["segment_lake"])
    table = client.tables.get("segment.web.tracks").table_id
    vend = lambda: client.temporary_table_credentials.generate_temporary_table_credentials(table_id=table, operation=uc.TableOperation.READ_WRITE)
    raises("no EXTERNAL USE SCHEMA", errors.PermissionDenied, vend)
    w.grant("EXTERNAL USE SCHEMA", "schema", "segment.web")
    w.control("PATCH", "knobs", {"vended": {"aws": {"access_key_id": "AK", "secret_access_key": "S", "session_token": "T"}}})
    same("vended", vend().aws_temp_credentials.access_key_id, "AK")
    w.revoke("ALL PRIVILEGES", "catalog", w.catalog)
    raises("no USE CATALOG", errors.PermissionDenied, lambda: client.catalogs.get(w.catalog))
    w.grant("ALL PRIVILEGES", "catalog", w.catalog)
    raises("no such catalog", errors.NotFound, lambda: client.catalogs.get("none"))


def moved(w: Workspace, client: WorkspaceClient):
    client.volumes.create(catalog_name=w.catalog, schema_name="web", name="stage", volume_type=uc.VolumeType.MANAGED)
    same("the volumes", [v.full_name for v in client.volumes.list(w.catalog, "web")], ["segment.web.stage"])
    same("a volume", client.volumes.read("segment.web.stage").volume_type, uc.VolumeType.MANAGED)
    again = lambda: client.volumes.create(catalog_name=w.catalog, schema_name="web", name="stage", volume_type=uc.VolumeType.MANAGED)
    raises("the same volume again", errors.ResourceConflict, again)
    at = "/Volumes/segment/web/stage/a b/one.parquet"
    client.files.upload(at, io.BytesIO(b"PAR1"), overwrite=False)
    same("a file", client.files.download(at).contents.read(), b"PAR1")
    same("its length", client.files.get_metadata(at).content_length, 4)
    raises("the same file again", errors.AlreadyExists, lambda: client.files.upload(at, io.BytesIO(b"x"), overwrite=False))
    same("a folder", [e.name for e in client.files.list_directory_contents("/Volumes/segment/web/stage/a b")], ["one.parquet"])
    folder = lambda: client.files.get_directory_metadata("/Volumes/segment/web/stage/a b")
    same("a folder's metadata", folder(), None)
    raises("a folder with a file in it", errors.BadRequest, lambda: client.files.delete_directory("/Volumes/segment/web/stage/a b"))
    client.files.delete(at)
    raises("a file that is gone", errors.NotFound, lambda: client.files.download(at))
    client.files.delete_directory("/Volumes/segment/web/stage/a b")
    raises("a folder that is gone", errors.NotFound, folder)
    client.files.create_directory("/Volumes/segment/web/stage/made/deep")
    same("a folder made", [e.is_directory for e in client.files.list_directory_contents("/Volumes/segment/web/stage/made")], [True])
    client.volumes.delete("segment.web.stage")
    raises("a volume that is gone", errors.NotFound, lambda: client.volumes.read("segment.web.stage"))


def limited(w: Workspace, client: WorkspaceClient):
    busy = {"method": "GET", "path": "/api/2.1/*", "times": 100,
            "wrong": {"answer": {"status": 429, "body": {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}, "headers": [["retry-after", "1"]]}}}
    w.control("POST", "faults", {**busy, "times": 1})
    same("once too many", client.catalogs.get(w.catalog).name, w.catalog)
    w.control("POST", "faults", busy)
    try:
        client.catalogs.get(w.catalog)
        bad.append("too many requests: no error")
    except TimeoutError as error:
        if not isinstance(error.__cause__, errors.RequestLimitExceeded):
            bad.append(f"too many requests: {error.__cause__!r}")
    except errors.TooManyRequests:
        pass
    w.control("DELETE", "faults")
    w.control("POST", "tokens/expire")
    raises("a token that is forgotten", errors.PermissionDenied, client.current_user.me)


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--pretend", required=True)
    o = a.parse_args()
    with tempfile.TemporaryDirectory(prefix="pretend-sdk-") as folder:
        lake = Path(folder).resolve() / "lake"
        managed = Path(folder).resolve() / "managed"
        with Workspace(o.pretend, lake.as_uri(), None, "--managed", managed.as_uri()) as w:
            client, admin = m2m(w, w.client_secret), pat(w, w.admin_token)
            signed_in(w, client)
            warehouses(w, client)
            tables(w, client, lake)
            rights(w, client, admin)
            moved(w, client)
            limited(w, client)
            asked = len(w.control("GET", "requests"))
    for line in bad:
        print(line)
    print(f"databricks-sdk: {asked} requests, {len(bad)} differences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
