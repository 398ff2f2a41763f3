"""The mapping that all peers share: where a call's rows go, and what its fields are called there. As simple as a first version of such a
script is; it agrees with Inlet's on the names that generate.py makes."""
from __future__ import annotations

import re
from functools import lru_cache

CALL_TABLES = {"identify": "identifies", "page": "pages", "screen": "screens", "group": "groups", "alias": "aliases"}
LEFT_OUT = {"type"}
RENAMED = {"messageId": "id"}
MOMENTS = {"timestamp", "originalTimestamp", "sentAt", "receivedAt"}


@lru_cache(None)
def snake(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().strip("_")
