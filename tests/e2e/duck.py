"""DuckDB with its extensions from wheels: INSTALL and LOAD work as printed SQL says them, and nothing is fetched."""
from __future__ import annotations

import glob
import importlib
import os
import shutil
from pathlib import Path

import duckdb


def connect(folder: Path, *extensions: str):
    """A connection whose extension directory, made under `folder`, already holds the extensions: `delta`, if none is named."""
    platform = duckdb.connect().execute("PRAGMA platform").fetchone()[0]
    to = folder / "duckdb" / f"v{duckdb.__version__}" / platform
    for name in extensions or ("delta",):
        wheel = importlib.import_module(f"duckdb_extension_{name}")
        found = glob.glob(os.path.join(os.path.dirname(wheel.__file__), "extensions", f"v{duckdb.__version__}", f"{name}.duckdb_extension"))
        if not found:
            raise SystemExit(f"the wheel duckdb-extension-{name.replace('_', '-')} has no extension for duckdb {duckdb.__version__}: pin both to one version")
        if not (to / Path(found[0]).name).exists():
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(found[0], to)
    return duckdb.connect(config={"extension_directory": str(folder / "duckdb"), "autoinstall_known_extensions": "false"})
