"""DuckDB with its `delta` extension from a wheel: INSTALL and LOAD work as printed SQL says them, and nothing is fetched."""
from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

import duckdb
import duckdb_extension_delta as wheel


def connect(folder: Path):
    """A connection whose extension directory, made under `folder`, already holds `delta`."""
    found = glob.glob(os.path.join(os.path.dirname(wheel.__file__), "extensions", f"v{duckdb.__version__}", "delta.duckdb_extension"))
    if not found:
        raise SystemExit(f"the wheel duckdb-extension-delta has no extension for duckdb {duckdb.__version__}: pin both to one version")
    platform = duckdb.connect().execute("PRAGMA platform").fetchone()[0]
    to = folder / "duckdb" / f"v{duckdb.__version__}" / platform
    if not (to / Path(found[0]).name).exists():
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(found[0], to)
    return duckdb.connect(config={"extension_directory": str(folder / "duckdb"), "autoinstall_known_extensions": "false"})
