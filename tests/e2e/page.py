"""The page of the connection test, driven in a real browser (`page.mjs`), over a pretend workspace.

A person fills in the settings by keyboard, sees what fails, runs the line that the page gives to copy as an admin, sees it pass, and saves. With
`--shots` pictures of the page are kept there."""
from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from customer import STORES
from workspace import Workspace


def admin(workspace: Workspace, statement: str):
    """Does what a GRANT says, as an admin: through the pretend workspace's controls."""
    privileges, on = statement.removeprefix("GRANT ").split(" TO ")[0].split(" ON ")
    kind, name = on.split(" `", 1)
    for privilege in privileges.split(", "):
        workspace.grant(privilege, kind.lower().replace(" ", "_"), name.replace("`", ""))


def main():
    parser = argparse.ArgumentParser()
    for name in ("--inlet", "--pretend", "--chromium", "--playwright"):
        parser.add_argument(name, required=True)
    parser.add_argument("--shots")
    asked = parser.parse_args()
    store = STORES["folder"](None)
    store.make("lake")
    folder = Path(tempfile.mkdtemp(prefix="inlet-page-")).resolve()
    empty = folder / "no-programs"
    empty.mkdir()
    with Workspace(asked.pretend, store.url("lake", "bronze"), store.env) as workspace:
        settings = folder / "inlet.toml"
        text = f'# ours\nworkspace_url = "{workspace.url}"\nallow_host = ["127.0.0.1"]\n'
        settings.write_text(text)
        # Nothing is on its path: the test's own browser is the only one.
        server = subprocess.Popen([asked.inlet, "connect", "--open", "--wait", "0", "--settings", settings], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, env={**os.environ, "PATH": str(empty)})
        browser = None
        try:
            link = server.stdout.readline().strip()
            told = {
                "link": link, "origin": link.split("#")[0], "workspace_url": workspace.url, "catalog": workspace.catalog,
                "http_path": workspace.http_path, "client_id": workspace.client_id, "client_secret": workspace.client_secret,
                "wrong_secret": "dose" + "f" * 32, "lake": store.url("lake", "bronze"), "text": text,
            }
            script = Path(__file__).with_name("page.mjs")
            browser = subprocess.Popen(["node", script, shutil.which(asked.chromium), asked.playwright, asked.shots or ""], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
            answer = lambda said: (browser.stdin.write(json.dumps(said) + "\n"), browser.stdin.flush())
            answer(told)
            bad = None
            for line in browser.stdout:
                said = json.loads(line)
                if "bad" in said:
                    bad = said["bad"]
                    break
                if said["ask"] == "revoke":
                    workspace.revoke("ALL PRIVILEGES", "catalog", workspace.catalog)
                    for privilege in ("USE CATALOG", "USE SCHEMA"):
                        workspace.grant(privilege, "catalog", workspace.catalog)
                    answer({})
                elif said["ask"] == "settings":
                    answer({"text": settings.read_text()})
                else:
                    admin(workspace, said["ask"].removeprefix("run "))
                    answer({})
            if bad is None:
                raise SystemExit("the browser's script broke off")
            saved, secret = settings.read_text(), folder / "inlet.client-secret"
            if not saved.startswith("# ours\n") or workspace.client_secret in saved or 'client_secret = "file:inlet.client-secret"' not in saved:
                bad.append(f"what was saved: {saved}")
            if secret.read_text() != workspace.client_secret or secret.stat().st_mode & 0o777 != 0o600:
                bad.append("the secret's file is not as it should be")
            server.terminate()
            said, code = server.communicate(timeout=30)[0], server.returncode
            if code != 78 or "ended" not in said or workspace.client_secret in said:
                bad.append(f"the server ends with the code of its last test: {code}, {said}")
        finally:
            for process in (browser, server):
                if process and process.poll() is None:
                    process.kill()
                    process.wait()
    if bad:
        raise SystemExit("\n".join(bad))
    shutil.rmtree(folder)
    shutil.rmtree(store.folder)
    print("the page: filled in by keyboard, failed, mended, passed, saved; no secret to be seen")


if __name__ == "__main__":
    main()
