#!/usr/bin/env python3
"""An independent model of what ONE upload becomes, by the rules (shared/events/README.md).

Written from the rules alone, never from the Rust code: two readings of one text that agree are worth more than one.
Python 3.11, standard library only. `model(...)` is the whole interface; `python3 model.py --cases FILE` checks it against the worked cases.

READINGS: how this model takes the rules where they leave room.
 Lines
  R1  Lines are cut at \\n. White space is space, tab, CR (JSON's own); a line of only that is nothing but is counted in the line number.
  R2  A UTF-8 BOM at the very start of the upload is skipped; anywhere else it is invalid_json.
  R3  Order for one line: line_too_long (> 16 MiB) > invalid_utf8 > invalid_json > not_an_object > empty_batch. JSON is RFC 8259, strict.
  R4  `line` counts from 1, `item` from 0, as the batch is an array. `item` is NULL for lines that are no envelope and for empty_batch.
  R5  not_ndjson: there is a non-blank line, and no line that begins in the first MiB parses as a JSON object (so a file of one broken
      line is rejected whole, with line NULL); or it is a tar (`ustar` at byte 257 and a NUL before it), whatever
      its lines are. A blank or empty upload is zero events and no rejection.
 Envelopes
  R6  A line whose (last) `batch` is an array is an envelope whatever its `type`; an item that holds a `batch` is an ordinary event.
  R7  An item that is no object is rejected not_an_object under its item number.
  R8  Merge by top-level keys, the item's win: an overridden key is not a loser, it just is not part of the event. Order of the merged
      object: envelope's keys first, then the item's. A `context`/`integrations` that is no object (on either side) counts as absent.
  R9  sentAt/receivedAt come from the envelope when the item's is absent (missing, null, ""); an item's invalid one is rescued and NOT replaced.
  R10 An item without `originalTimestamp` (missing, null, "") carries the client's clock in `timestamp`: it moves to original_timestamp and the
      timestamp is computed. An item with one is as a raw record: its valid `timestamp` stays. So no timestamp is lost.
  R11 Nothing else of the envelope (userId, timestamp, repeated envelope keys' losers, ...) reaches the items.
 System fields
  R12 Absent = missing, null or "". `{}` in an id, name or category of the call is text `{}`; an `event` of `{}` is event_not_string.
  R13 Ids, names: string as is; number verbatim, true/false, arrays and objects as compact JSON text.
  R14 `type` is compared without ASCII case and without trimming; a type that is no string is unknown_type.
  R15 An invalid timestamp (also a number, array, bool, object) is rescued under its JSON name in each row and is then as good as missing.
  R16 timestamp column: the call's valid timestamp; else received - (sent - original) when both are valid; else original; else received. A computed
      value outside years 0001-9999 is not used (original instead).
  R17 receivedAt absent or invalid = modified_us (also in the computation).
  R18 Opt-out: `Warehouses.all` is exactly false; or `Warehouses.warehouseIds` is an array without our id (an empty array too; with no id of our
      own every array filters). `Warehouses: false`, a `warehouseIds` that is no array, other-case keys: no opt-out.
  R19 The auto id of an envelope's item is unique per item. Auto ids are `auto-...`; here `auto-<hash of key, event bytes or place, occurrence>`.
  R20 Same id = same landed text (messageId 42 and "42" are one).
 Timestamps (grammar)
  R21 A zone only after a time; `T` upper-case or one space; seconds 00-59; zone hours 00-23, minutes 00-59; ASCII digits.
  R22 More than 6 fraction digits: cut, not rounded; nothing is rescued for it. The instant in UTC must lie in years 0001-9999 as well.
 Objects, collisions, losers
  R23 A path has at most 16 segments inside its bag; an object at segment 16 is compact JSON text. null and {} are nothing: they never
      win, never lose, are never rescued. [null], [], "" are something. An object of nothings flattens to nothing, at segment 16 it is text.
  R24 A repeated JSON key: the last occurrence stands even if it is null or {} (then the column is NULL); each earlier one that is not nothing is a
      loser as a whole value (an object is not flattened) under its path. Keys are compared unescaped.
  R25 Repeated top-level keys: losers are kept for the fields this call stores (messageId, anonymousId, userId, receivedAt, sentAt, timestamp,
      originalTimestamp, context; event | groupId | previousId | name, category; properties or traits) under their JSON name, in each row
      (properties/traits: only in the row that has that bag, so not in `tracks`). null, "" and {} are no losers, nor is a context that is no object. A
      repeated left-out field (type, channel, integrations, the wrong bag, ...) is left out.
  R26 "Already is the column's name": the joined path as written equals the final column name. Several such (a_b and a.b): the last of them.
      "Last in document order" = where the leaf stands.
  R27 A user key on a reserved column always loses and is rescued (also ""). Reserved: id, anonymous_id, user_id, received_at, sent_at, timestamp,
      original_timestamp, uuid_ts + the table's own (event, event_text | group_id | previous_id | name, category).
  R28 pages/screens: `name`, `category` from the call, else from the property of exactly that key (a property of "" counts as absent, and vanishes).
      Any property leaf on that column whose text equals the call's value vanishes; others lose. `Name` never fills `name`. A value that came from
      the property gives no such mercy to a second one.
  R29 Rescued keys: `#2`, `#3`, ... in the order system fields, context, bag (document order within). A taken `<key>#n` (a user's own key) is skipped.
      The differential compares keys without their #n.
  R30 Losers and misfits of context stand in each of the event's rows, those of properties only in the event table's row.
 Names
  R31 Hash input of an empty name: the event name / the joined path (with `context_`), UTF-8, lone surrogates as U+FFFD. Same input for the length rule.
  R32 Over 255 (after the `_` prefixes): first 242 bytes, trailing `_` stripped (else `__` would arise, which the rules forbid), `_`, 12 hex.
  R33 A path's leading-digit rule looks at the whole joined, snaked name.
 Values
  R34 An integer beyond i64, or a non-finite double (1e400), is text for typing. -0 is bigint 0. Underflow (1e-400) is double 0.
  R35 Casts into known types as in `cast`. A number with fraction or exponent is truncated by its decimal text, not by its f64.
  R36 An integer of any size into a double column is the nearest double, rescued if not exact (if infinite: NULL + rescued); text that is an integer
      in digits ("9007199254740993") likewise; this holds for a new double column (bigint with double) too.
  R37 A string with a lone surrogate lands with one U+FFFD for each, the original is rescued; also ids, event, name. Inside compact JSON text
      (arrays, deep objects) the escape is kept, lower-case hex, nothing rescued.
  R38 Compact JSON: escapes are \\" \\\\ \\b \\f \\n \\r \\t and \\u00xx (lower-case) for other controls; repeated keys inside stay.
 Counts
  R39 A table exists only when a row lands in it. Per-table counts (`_loads`) exist for every table that an event was addressed to, also if all of
      its events were filtered or duplicates. A filtered track is addressed to `tracks` and its event table.
  R40 `rescued` = entries of all `_rescued_data` of the landed rows (a bad timestamp of a track counts twice).
"""
from __future__ import annotations

import hashlib
import json
import decimal
import math
import re
import sys
from dataclasses import dataclass, field
from datetime import date, timedelta, datetime

sys.set_int_max_str_digits(0)
MAX_DEPTH = 16
MAX_NAME = 255
LINE_LIMIT = 16 * 1024 * 1024
PROBE = 1024 * 1024
I64_MIN, I64_MAX = -(2**63), 2**63 - 1

CALLS = {"track": "tracks", "identify": "identifies", "page": "pages", "screen": "screens", "group": "groups", "alias": "aliases"}
SYSTEM_TABLES = {"tracks", "pages", "screens", "groups", "aliases", "accounts", "users", "identifies"}
COMMON = {"id": "string", "received_at": "timestamp", "timestamp": "timestamp", "user_id": "string", "anonymous_id": "string",
          "original_timestamp": "timestamp", "sent_at": "timestamp", "uuid_ts": "timestamp"}
OWN = {"track": ("event", "event_text"), "identify": (), "page": ("name", "category"), "screen": ("name", "category"),
       "group": ("group_id",), "alias": ("previous_id",)}
OURS = {"_rescued_data": "string", "_upload_id": "string"}
BAG = {"track": "properties", "page": "properties", "screen": "properties", "identify": "traits", "group": "traits", "alias": "traits"}
# JSON name -> column, per call: text fields
TEXT_FIELDS = {"track": (("event", "event_text"),), "identify": (), "page": (("name", "name"), ("category", "category")),
               "screen": (("name", "name"), ("category", "category")), "group": (("groupId", "group_id"),), "alias": (("previousId", "previous_id"),)}
TIMES = ("receivedAt", "sentAt", "timestamp", "originalTimestamp")


def own_columns(table: str) -> tuple:
    """The system columns of a table beyond the common set."""
    for call, name in CALLS.items():
        if name == table:
            return OWN[call]
    return OWN["track"]


def system_columns(table: str) -> dict:
    return {**COMMON, **{c: "string" for c in own_columns(table)}, **OURS}


# ---------------------------------------------------------------- JSON

class Num(str):
    """A number's source text."""


class Obj(list):
    """Pairs (key, value) in document order, repeated keys and all."""

    def last(self, key):
        for k, v in reversed(self):
            if k == key:
                return v
        return None

    def all(self, key):
        return [v for k, v in self if k == key]


class BadJson(ValueError):
    pass


WS = re.compile(r"[ \t\r\n]*")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
HEX4 = re.compile(r"[0-9a-fA-F]{4}")
ESC = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Reader:
    def __init__(self, text: str):
        self.t, self.i = text, 0

    def document(self):
        self.ws()
        v = self.value()
        self.ws()
        if self.i != len(self.t):
            raise BadJson("trailing")
        return v

    def ws(self):
        self.i = WS.match(self.t, self.i).end()

    def peek(self):
        return self.t[self.i] if self.i < len(self.t) else ""

    def take(self, c):
        if self.peek() != c:
            raise BadJson(f"expected {c} at {self.i}")
        self.i += 1

    def value(self):
        c = self.peek()
        if c == "{":
            return self.object()
        if c == "[":
            return self.array()
        if c == '"':
            return self.string()
        for word, v in (("true", True), ("false", False), ("null", None)):
            if self.t.startswith(word, self.i):
                self.i += len(word)
                return v
        m = NUMBER.match(self.t, self.i)
        if not m:
            raise BadJson(f"no value at {self.i}")
        self.i = m.end()
        return Num(m.group())

    def object(self):
        out = Obj()
        self.take("{")
        self.ws()
        if self.peek() == "}":
            self.i += 1
            return out
        while True:
            self.ws()
            k = self.string()
            self.ws()
            self.take(":")
            self.ws()
            out.append((k, self.value()))
            self.ws()
            if self.peek() == ",":
                self.i += 1
                continue
            self.take("}")
            return out

    def array(self):
        out = []
        self.take("[")
        self.ws()
        if self.peek() == "]":
            self.i += 1
            return out
        while True:
            self.ws()
            out.append(self.value())
            self.ws()
            if self.peek() == ",":
                self.i += 1
                continue
            self.take("]")
            return out

    def hex4(self):
        m = HEX4.match(self.t, self.i)
        if not m:
            raise BadJson("bad \\u")
        self.i += 4
        return int(m.group(), 16)

    def string(self):
        self.take('"')
        out = []
        while True:
            m = PLAIN.match(self.t, self.i)
            out.append(m.group())
            self.i = m.end()
            c = self.peek()
            if c == '"':
                self.i += 1
                return "".join(out)
            if c != "\\":
                raise BadJson("control character or end in string")
            self.i += 1
            e = self.peek()
            self.i += 1
            if e == "u":
                u = self.hex4()
                if 0xD800 <= u < 0xDC00 and self.t.startswith("\\u", self.i):
                    mark = self.i
                    self.i += 2
                    low = self.hex4()
                    if 0xDC00 <= low < 0xE000:
                        u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00)
                    else:
                        self.i = mark
                out.append(chr(u))
            elif e in ESC and e:
                out.append(ESC[e])
            else:
                raise BadJson("bad escape")


def read_json(text: str):
    try:
        return Reader(text).document()
    except RecursionError:
        raise BadJson("too deep") from None


SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
NEEDS = re.compile('["\\\\\x00-\x1f\ud800-\udfff]')
LONE = re.compile("[\ud800-\udfff]")


def quote(s: str) -> str:
    return '"' + NEEDS.sub(lambda m: SHORT.get(m.group()) or "\\u%04x" % ord(m.group()), s) + '"'


def compact(v) -> str:
    if v is None:
        return "null"
    if v is True:
        return "true"
    if v is False:
        return "false"
    if isinstance(v, Num):
        return str(v)
    if isinstance(v, str):
        return quote(v)
    if isinstance(v, Obj):
        return "{" + ",".join(quote(k) + ":" + compact(x) for k, x in v) + "}"
    return "[" + ",".join(compact(x) for x in v) + "]"


def text_of(v) -> str:
    """A value as text: strings as they are, everything else as its JSON text."""
    return v if isinstance(v, str) and not isinstance(v, Num) else compact(v)


def tree(v):
    """A value in a form that == compares strictly: 1, 1.0, "1" and true are four things; key order and repeated keys count."""
    if v is None or v is True or v is False:
        return ("word", v)
    if isinstance(v, Num):
        return ("number", str(v))
    if isinstance(v, str):
        return ("string", v)
    if isinstance(v, Obj):
        return ("object", tuple((k, tree(x)) for k, x in v))
    return ("array", tuple(tree(x) for x in v))


def is_nothing(v) -> bool:
    return v is None or (isinstance(v, Obj) and not v)


def is_absent(v) -> bool:
    return v is None or (isinstance(v, str) and not isinstance(v, Num) and v == "")


def is_text(v) -> bool:
    return isinstance(v, str) and not isinstance(v, Num)


def mend(s: str) -> str:
    return LONE.sub("\ufffd", s)


# ---------------------------------------------------------------- names

def _u(c): return 65 <= c <= 90
def _l(c): return 97 <= c <= 122
def _d(c): return 48 <= c <= 57


def snakecase(name: bytes) -> bytes:
    """go-snakecase, byte for byte."""
    n, i = len(name), 0
    has_lower = has_underscore = lower_since = False
    while i < n:
        c = name[i]
        if _l(c):
            has_lower = lower_since = True
        elif _d(c):
            pass
        elif c == 95 and 0 < i < n - 1 and (_l(name[i + 1]) or _d(name[i + 1])):
            has_underscore, lower_since = True, False
        else:
            break
        i += 1
    if i == n:
        return name
    out = bytearray(name[:i])

    def word(i):
        while i < n and (_u(name[i]) or _d(name[i])):
            out.append(name[i] + 32 if _u(name[i]) else name[i])
            i += 1
        while i < n and (_l(name[i]) or _d(name[i])):
            out.append(name[i])
            i += 1
        return i

    if _u(name[i]) and (not has_lower or (has_underscore and not lower_since)):
        i = word(i)
    while i < n:
        c = name[i]
        if not (_u(c) or _l(c) or _d(c)):
            i += 1
            continue
        if out:
            out.append(95)
        i = word(i)
    return bytes(out)


def sha12(b: bytes) -> str:
    return hashlib.sha256(b).hexdigest()[:12]


def make_name(written: str, kind: str) -> str:
    raw = mend(written).encode()
    s = snakecase(raw).decode("ascii")
    if not s:
        s = f"{kind}_{sha12(raw)}"
    if s[0].isdigit():
        s = "_" + s
    if kind == "event" and s in SYSTEM_TABLES:
        s = "_" + s
    if len(s) > MAX_NAME:
        s = s[:242].rstrip("_") + "_" + sha12(raw)
    return s


def table_name(event: str) -> str:
    return make_name(event, "event")


def column_name(path: str) -> str:
    return make_name(path, "column")


# ---------------------------------------------------------------- timestamps

STAMP = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
                   r"(?:([Zz])|([+-])([0-9]{2})(?::?([0-9]{2}))?)?)?")
EPOCH = date(1970, 1, 1).toordinal()
DAY = 86_400_000_000
TS_MIN = (date(1, 1, 1).toordinal() - EPOCH) * DAY
TS_MAX = (date(9999, 12, 31).toordinal() - EPOCH + 1) * DAY - 1


def timestamp_us(v):
    """Microseconds since 1970 UTC of a JSON value, or None when it is no timestamp."""
    if not is_text(v) or len(v) > 40:
        return None
    m = STAMP.fullmatch(v)
    if not m:
        return None
    y, mo, d, h, mi, s, frac, _z, sign, zh, zm = m.groups()
    try:
        days = date(int(y), int(mo), int(d)).toordinal() - EPOCH
    except ValueError:
        return None
    h, mi, s = int(h or 0), int(mi or 0), int(s or 0)
    if h > 23 or mi > 59 or s > 59:
        return None
    us = days * DAY + ((h * 60 + mi) * 60 + s) * 1_000_000 + int(((frac or "") + "000000")[:6])
    if sign:
        zh, zm = int(zh), int(zm or 0)
        if zh > 23 or zm > 59:
            return None
        off = (zh * 60 + zm) * 60_000_000
        us += -off if sign == "+" else off
    return us if TS_MIN <= us <= TS_MAX else None


def show_us(us) -> str:
    if us is None:
        return "NULL"
    try:
        return (datetime(1970, 1, 1) + timedelta(microseconds=us)).isoformat(timespec="microseconds") + "Z"
    except OverflowError:
        return f"{us}us"


# ---------------------------------------------------------------- types and casts

INTEGER = re.compile(r"-?[0-9]+")


def is_integer_text(n: str) -> bool:
    return not any(c in n for c in ".eE")


def value_type(v) -> str:
    if v is True or v is False:
        return "boolean"
    if isinstance(v, Num):
        if is_integer_text(v):
            return "bigint" if I64_MIN <= int(v) <= I64_MAX else "string"
        return "double" if math.isfinite(float(v)) else "string"
    if isinstance(v, str):
        return "timestamp" if timestamp_us(v) is not None else "string"
    return "string"


def join_types(a, b):
    if a is None or a == b:
        return b
    if {a, b} == {"bigint", "double"}:
        return "double"
    return "string"


def int_to_double(text):
    """(value, must be rescued)"""
    n = int(text)
    try:
        f = float(n)
    except OverflowError:
        return None, True
    return f, int(f) != n


def cast(v, kind):
    """(value, must be rescued) of one non-nothing JSON value in a column of type `kind`."""
    miss = (None, True)
    text = v if is_text(v) else None
    if kind == "string":
        s = text_of(v)
        return (mend(s), True) if LONE.search(s) else (s, False)
    if kind == "boolean":
        if v is True or v is False:
            return v, False
        if text is not None and text.isascii() and text.lower() in ("true", "false"):
            return text.lower() == "true", False
        return miss
    if kind == "bigint":
        if isinstance(v, Num):
            if is_integer_text(v):
                return (int(v), False) if I64_MIN <= int(v) <= I64_MAX else miss
            exact = decimal.Decimal(v)
            if exact and exact.adjusted() > 20:
                return miss
            whole = int(exact)
            return (whole, exact != whole) if I64_MIN <= whole <= I64_MAX else miss
        if text is not None and INTEGER.fullmatch(text) and I64_MIN <= int(text) <= I64_MAX:
            return int(text), False
        return miss
    if kind == "double":
        n = v if isinstance(v, Num) else text if text is not None and NUMBER.fullmatch(text) else None
        if n is None:
            return miss
        if is_integer_text(n):
            return int_to_double(n)
        f = float(n)
        return (f, False) if math.isfinite(f) else miss
    if kind == "timestamp":
        us = timestamp_us(v)
        return miss if us is None else (us, False)
    return miss  # a foreign type


# ---------------------------------------------------------------- the result

@dataclass
class Counts:
    events: int = 0
    landed: int = 0
    rows: int = 0
    duplicates: int = 0
    filtered: int = 0
    rejected: int = 0
    rescued: int = 0


@dataclass
class Row:
    values: dict            # column -> value; a timestamp is an int (microseconds); NULLs are left out
    rescued: dict           # key (with #n) -> JSON value (Num for numbers, Obj for objects)
    line: int
    item: int | None
    auto_id: bool = False


@dataclass
class Table:
    columns: dict = field(default_factory=dict)        # every column after this upload -> type
    new_columns: dict = field(default_factory=dict)    # non-system columns that this upload added
    created: bool = False
    rows: list = field(default_factory=list)
    events: int = 0
    duplicates: int = 0
    filtered: int = 0

    @property
    def rescued(self):
        return sum(len(r.rescued) for r in self.rows)


@dataclass
class Result:
    tables: dict = field(default_factory=dict)         # only tables in which a row landed
    addressed: dict = field(default_factory=dict)      # every table that an event was addressed to (same objects)
    rejections: list = field(default_factory=list)     # (line, item, reason)
    counts: Counts = field(default_factory=Counts)


# ---------------------------------------------------------------- one event

@dataclass
class Draft:
    """A row before its columns have types."""
    table: str
    system: dict
    winners: dict           # column -> (key, value)
    losers: list            # (key, value), already in order
    line: int
    item: int | None
    auto_id: bool


def flatten(obj: Obj, path=()):
    """(leaves, losers): (path, value) in document order."""
    leaves, losers = [], []
    final = {k: i for i, (k, _) in enumerate(obj)}
    for i, (k, v) in enumerate(obj):
        p = path + (k,)
        if is_nothing(v):
            continue
        if final[k] != i:
            losers.append((p, v))
        elif isinstance(v, Obj) and len(p) < MAX_DEPTH:
            a, b = flatten(v, p)
            leaves += a
            losers += b
        else:
            leaves.append((p, v))
    return leaves, losers


def settle(leaves, blocked=frozenset()):
    """leaves: (key, value). -> winners {column: (key, value)}, losers [(key, value)]"""
    by_column = {}
    for at, (key, v) in enumerate(leaves):
        by_column.setdefault(column_name(key), []).append((at, key, v))
    winners, losers = {}, []
    for column, here in by_column.items():
        if column in blocked:
            losers += here
            continue
        best = max(here, key=lambda c: (c[1] == column, c[0]))
        winners[column] = (best[1], best[2])
        losers += [c for c in here if c is not best]
    return winners, [(k, v) for _, k, v in sorted(losers, key=lambda c: c[0])]


def judge(event: Obj, warehouse_id, integrations):
    """-> (verdict, call): verdict is a reject reason, "filtered" or None."""
    kind = event.last("type")
    call = "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in kind) if is_text(kind) else None
    if call not in CALLS:
        return "unknown_type", None
    if is_absent(event.last("userId")) and is_absent(event.last("anonymousId")):
        return "no_user_anon_id", call
    if call == "track":
        name = event.last("event")
        if is_absent(name):
            return "event_not_defined", call
        if not is_text(name):
            return "event_not_string", call
    for bag in ("properties", "traits"):
        b = event.last(bag)
        if not is_absent(b) and not isinstance(b, Obj):
            return bag + "_not_object", call
    w = integrations.last("Warehouses") if integrations is not None else None
    if isinstance(w, Obj):
        if w.last("all") is False:
            return "filtered", call
        ids = w.last("warehouseIds")
        if isinstance(ids, list) and not isinstance(ids, Obj) and not any(is_text(x) and x == warehouse_id for x in ids):
            return "filtered", call
    return None, call


def addressed_tables(event, call):
    return ["tracks", table_name(event.last("event"))] if call == "track" else [CALLS[call]]


def merged(outer, inner):
    outer = outer if isinstance(outer, Obj) else Obj()
    inner = inner if isinstance(inner, Obj) else Obj()
    mine = {k for k, _ in inner}
    return Obj([(k, v) for k, v in outer if k not in mine] + list(inner))


def draft_rows(event: Obj, call, envelope, modified_us, auto_id, line, item):
    losers = []          # of system fields: in each row

    def repeated(name, skip=lambda v: False):
        for v in event.all(name)[:-1]:
            if not is_nothing(v) and not is_absent(v) and not skip(v):
                losers.append((name, v))

    system = {}
    # ids and names of the call
    for name, column in (("messageId", "id"), ("userId", "user_id"), ("anonymousId", "anonymous_id")) + TEXT_FIELDS[call]:
        repeated(name)
        v = event.last(name)
        if is_absent(v):
            continue
        s, lossy = cast(v, "string") if is_text(v) else (compact(v), False)
        system[column] = s
        if lossy:
            losers.append((name, v))
    is_auto = "id" not in system
    if is_auto:
        system["id"] = auto_id

    # the four clocks
    raw = {}
    for name in TIMES:
        repeated(name)
        raw[name] = event.last(name)
        if envelope is not None and name in ("sentAt", "receivedAt") and is_absent(raw[name]):
            raw[name] = envelope.last(name)
    us = {}
    for name in TIMES:
        us[name] = timestamp_us(raw[name])
        if us[name] is None and not is_absent(raw[name]):
            losers.append((name, raw[name]))
    received = us["receivedAt"] if us["receivedAt"] is not None else modified_us
    sent, original, stamp = us["sentAt"], us["originalTimestamp"], us["timestamp"]
    if envelope is not None:
        if is_absent(raw["originalTimestamp"]):
            original, stamp = stamp, None
    if stamp is None:
        stamp = original if original is not None else received
        if sent is not None and original is not None:
            computed = received - (sent - original)
            if TS_MIN <= computed <= TS_MAX:
                stamp = computed
    system["received_at"], system["timestamp"] = received, stamp
    if sent is not None:
        system["sent_at"] = sent
    if original is not None:
        system["original_timestamp"] = original

    # context
    repeated("context", skip=lambda v: not isinstance(v, Obj))
    context = merged(envelope.last("context") if envelope is not None else None, event.last("context"))
    leaves, lost = flatten(context)
    key = lambda p: "_".join(("context",) + p)
    context_winners, lost_names = settle([(key(p), v) for p, v in leaves])
    common_losers = losers + [(key(p), v) for p, v in lost] + lost_names

    # the bag
    bag_name = BAG[call]
    bag_losers = [(bag_name, v) for v in event.all(bag_name)[:-1] if not is_nothing(v) and not is_absent(v)]
    bag = event.last(bag_name)
    leaves, lost = flatten(bag if isinstance(bag, Obj) else Obj())
    bag_losers += [("_".join(p), v) for p, v in lost]
    own = dict(system)
    rest = []
    for p, v in leaves:
        k = "_".join(p)
        column = column_name(k)
        if call in ("page", "screen") and column in ("name", "category"):
            from_call = event.last(column)
            if is_absent(from_call):
                if p == (column,):
                    if not is_absent(v):
                        s, lossy = cast(v, "string") if is_text(v) else (compact(v), False)
                        own[column] = s
                        if lossy:
                            bag_losers.append((k, v))
                    continue
            elif text_of(v) == text_of(from_call):
                continue
        rest.append((k, v))
    reserved = frozenset(COMMON) | frozenset(OWN[call]) | frozenset(context_winners)
    bag_winners, lost_names = settle(rest, reserved)
    bag_losers += lost_names

    tables = addressed_tables(event, call)
    full = Draft(tables[-1], own, {**context_winners, **bag_winners}, common_losers + bag_losers, line, item, is_auto)
    if call != "track":
        return [full]
    for s in (system, own):
        s["event"] = tables[-1]
    return [Draft("tracks", system, dict(context_winners), list(common_losers), line, item, is_auto), full]


# ---------------------------------------------------------------- one upload

def rejected_whole(reason) -> Result:
    r = Result()
    r.rejections.append((None, None, reason))
    r.counts.events = r.counts.rejected = 1
    return r


def model(lines: bytes, *, key: str, modified_us: int, warehouse_id=None, existing=None, first_line=1, first_item=0) -> Result:
    existing = existing or {}
    if lines[257:262] == b"ustar" and b"\0" in lines[:257]:
        return rejected_whole("not_ndjson")
    if lines.startswith(b"\xef\xbb\xbf"):
        lines = lines[3:]
    parsed, offset, any_line, any_object = [], 0, False, False
    for number, raw in enumerate(lines.split(b"\n"), first_line):
        begin, offset = offset, offset + len(raw) + 1
        if not raw.strip(b" \t\r"):
            continue
        any_line = True
        value, reason = None, None
        if len(raw) > LINE_LIMIT:
            reason = "line_too_long"
        else:
            try:
                value = read_json(raw.decode("utf-8"))
            except UnicodeDecodeError:
                reason = "invalid_utf8"
            except BadJson:
                reason = "invalid_json"
        if reason is None and not isinstance(value, Obj):
            reason = "not_an_object"
        if reason is None and begin < PROBE:
            any_object = True
        parsed.append((number, raw, value, reason))
    if any_line and not any_object:
        return rejected_whole("not_ndjson")

    result = Result()
    counts = result.counts
    drafts = []
    seen = set()                # (table, id)
    occurrences = {}

    def addressed(name):
        return result.addressed.setdefault(name, Table())

    def event(value, envelope, number, item, token):
        counts.events += 1
        if not isinstance(value, Obj):
            return reject(number, item, "not_an_object")
        integrations = value.last("integrations")
        if envelope is not None:
            integrations = merged(envelope.last("integrations"), integrations)
        verdict, call = judge(value, warehouse_id, integrations if isinstance(integrations, Obj) else None)
        if verdict == "filtered":
            counts.filtered += 1
            for t in addressed_tables(value, call):
                addressed(t).events += 1
                addressed(t).filtered += 1
            return
        if verdict:
            return reject(number, item, verdict)
        for at, d in enumerate(draft_rows(value, call, envelope, modified_us, token, number, item)):
            t = addressed(d.table)
            t.events += 1
            if (d.table, d.system["id"]) in seen:
                t.duplicates += 1
                if at == 0:
                    counts.duplicates += 1
                continue
            seen.add((d.table, d.system["id"]))
            if at == 0:
                counts.landed += 1
            drafts.append(d)

    def reject(number, item, reason):
        counts.rejected += 1
        result.rejections.append((number, item, reason))

    for number, raw, value, reason in parsed:
        if reason:
            counts.events += 1
            reject(number, None, reason)
            continue
        n = occurrences[raw] = occurrences.get(raw, 0) + 1
        token = lambda place: "auto-" + hashlib.sha256(b"\0".join((key.encode(), raw, str(n).encode(), str(place).encode()))).hexdigest()[:32]
        batch = value.last("batch")
        if isinstance(batch, list) and not isinstance(batch, Obj):
            if not batch:
                counts.events += 1
                reject(number, None, "empty_batch")
            for place, it in enumerate(batch, first_item):
                event(it, value, number, place, token(place))
        else:
            event(value, None, number, None, token(""))

    # types: what this upload adds
    kinds = {}
    for d in drafts:
        known = existing.get(d.table, {})
        mine = kinds.setdefault(d.table, {})
        for column, (_, v) in d.winners.items():
            if column not in known:
                mine[column] = join_types(mine.get(column), value_type(v))

    for d in drafts:
        t = result.addressed[d.table]
        if d.table not in result.tables:
            result.tables[d.table] = t
            t.created = d.table not in existing
            t.new_columns = dict(kinds[d.table])
            t.columns = {**system_columns(d.table), **existing.get(d.table, {}), **kinds[d.table]}
        values, kept = dict(d.system), list(d.losers)
        for column, (k, v) in d.winners.items():
            out, misfit = cast(v, t.columns[column])
            if out is not None:
                values[column] = out
            if misfit:
                kept.append((k, v))
        rescued = {}
        for k, v in kept:
            k = k.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
            name, n = k, 1
            while name in rescued:
                n += 1
                name = f"{k}#{n}"
            rescued[name] = v
        t.rows.append(Row(values, rescued, d.line, d.item, d.auto_id))
    counts.rows = sum(len(t.rows) for t in result.tables.values())
    counts.rescued = sum(t.rescued for t in result.tables.values())
    assert counts.events == counts.landed + counts.duplicates + counts.rejected + counts.filtered
    return result


# ---------------------------------------------------------------- views, and the worked cases

def latest_state(table: Table, key_column: str):
    """users / accounts: per column the newest non-null value, by received_at."""
    skip = {"id", "anonymous_id", "user_id", "group_id", "received_at", "sent_at", "timestamp", "original_timestamp", "uuid_ts", *OURS}
    out = {}
    for row in sorted(table.rows, key=lambda r: r.values["received_at"]):
        who = row.values.get(key_column)
        if who is None:
            continue
        state = out.setdefault(who, {"id": who})
        state["received_at"] = row.values["received_at"]
        state.update({c: v for c, v in row.values.items() if c not in skip})
    return out


def same_value(got, want, kind):
    if isinstance(want, Obj):
        return isinstance(got, str) and re.search(want.last("$match"), got) is not None
    if want is None or got is None:
        return want is None and got is None
    if kind == "timestamp":
        return got == timestamp_us(want)
    if kind == "bigint":
        return got == int(want)
    if kind == "double":
        return got == float(want)
    return got == want


def case_parts(case: Obj):
    """(upload bytes, arrival in microseconds, existing columns with the system's)"""
    lines = "".join(compact(e) + "\n" for e in case.last("input")).encode()
    modified = timestamp_us(case.last("batch_received_at") or "2026-01-01T00:00:00Z")
    existing = {t: {**system_columns(t), **dict(cols)} for t, cols in case.last("existing") or Obj()}
    return lines, modified, existing


def check_case(case: Obj, got: Result = None, views=None) -> list:
    """Differences of one worked case, as texts. `got` and `views` ({view: {id: row}}): what something else made of it; default the model."""
    plain = lambda o: {k: plain(v) for k, v in o} if isinstance(o, Obj) else o
    if got is None:
        lines, modified, existing = case_parts(case)
        got = model(lines, key=case.last("name"), modified_us=modified, warehouse_id="wh_1", existing=existing)
    bad = []
    expect = case.last("expect")
    if set(got.tables) != {t for t, _ in expect}:
        bad.append(f"tables {sorted(got.tables)} != {sorted(t for t, _ in expect)}")
    kept = []
    for t, want in expect:
        if t not in got.tables:
            continue
        table, columns = got.tables[t], plain(want.last("columns"))
        allowed = set(columns) | set(system_columns(t))
        if {c for c in table.columns if c not in allowed} or {c: table.columns.get(c) for c in columns} != columns:
            bad.append(f"{t}: columns {table.columns} != {columns}")
        rows = want.last("rows")
        if len(rows) != len(table.rows):
            bad.append(f"{t}: {len(table.rows)} rows, {len(rows)} wanted")
        for have, w in zip(table.rows, rows):
            w = dict(w)
            for c in set(have.values) | set(w):
                if not same_value(have.values.get(c), w.get(c), columns.get(c)):
                    bad.append(f"{t}/{have.values['id']}/{c}: {have.values.get(c)!r} != {w.get(c)!r}")
            kept += [(t, have.values["id"], column_name(k.split("#")[0]), text_of(v)) for k, v in have.rescued.items()]
    wanted = [tuple(d.last(k) for k in ("table", "row_id", "column", "value")) for d in case.last("expect_discards") or []]
    if sorted(kept) != sorted(wanted):
        bad.append(f"rescued {sorted(kept)} != {sorted(wanted)}")
    places = [(e, i) for e, v in enumerate(case.last("input"), 1)
              for i in (range(1, len(v.last("batch")) + 1) if isinstance(v.last("batch"), list) and v.last("batch") else [None])]
    rejects = [(places.index((line, item)), reason) for line, item, reason in got.rejections]
    wanted = [(int(r.last("index")), r.last("reason")) for r in case.last("expect_rejects") or []]
    if sorted(rejects) != sorted(wanted):
        bad.append(f"rejects {rejects} != {wanted}")
    for view, want in case.last("expect_views") or Obj():
        source, by = {"users": ("identifies", "user_id"), "accounts": ("groups", "group_id")}[view]
        have = views.get(view) if views is not None else latest_state(got.tables[source], by)
        if have is None:
            bad.append(f"view {view}: missing")
            continue
        columns = plain(want.last("columns"))
        if len(have) != len(want.last("rows")):
            bad.append(f"view {view}: {len(have)} rows")
        for w in map(dict, want.last("rows")):
            h = have.get(w["id"], {})
            for c in set(h) | set(w):
                if not same_value(h.get(c), w.get(c), columns.get(c)):
                    bad.append(f"view {view}/{w['id']}/{c}: {h.get(c)!r} != {w.get(c)!r}")
    return bad


NAMES = """sample-text sample_text|sample___text sample_text|   $#$sample   2    Text    sample_2_text|SAMPLE 2 TEXT sample_2_text
___$$Base64Encode base64_encode|FOO:BAR$BAZ foo_bar_baz|something.com something_com|$something% something|•¶§ƒ˚foo˙∆˚¬ foo
inviteYourCustomersAddInvites invite_your_customers_add_invites|samPLE text sam_ple_text|CStringRef cstring_ref|THE5r the5r|5test 5test
5TEst 5test|_5TEst 5test|@%#&5TEst 5test|edf_6N edf_6n|f_pX9 f_p_x9|p_z9Rg p_z9_rg|2FA Enabled 2fa_enabled|Enabled 2FA enabled_2fa
lk0B@bFmjrLQ_Z6YL lk0_b_b_fmjr_lq_z6yl|@49L0S145_¬fwHƒ0TSLNVp 49l0s145_fw_h_0tslnvp|userID user_id|USER_ID user_id|user id user_id
userIDNumber user_idnumber|HTTPServer httpserver|XMLHttpRequest xmlhttp_request|iOSVersion i_osversion|isISO8601 is_iso8601|MD5hash md5hash
LETTERSAeiouAreVowels lettersaeiou_are_vowels|orderV2Completed order_v2completed|fooBARbaz foo_barbaz|CamelCase123Key camel_case123_key
omega v2 omega_v2|1CComega 1ccomega|&4yasdfa(84224_fs9##_____*3q 4yasdfa_84224_fs9_3q|path to $1,00,000 path_to_1_00_000
abc123def456 abc123def456|_foo foo|foo_ foo|foo__bar foo_bar|Cízǔ c_z|Café Visité caf_visit|I'm Here i_m_here|Signed Up signed_up
context_userAgentData_uaFullVersion context_user_agent_data_ua_full_version"""


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] != "--cases":
        print("usage: model.py --cases FILE", file=sys.stderr)
        return 2
    failed = 0
    for sample in re.split(r"[|\n]", NAMES):
        name, want = sample.rsplit(" ", 1)
        if snakecase(name.encode()).decode() != want:
            failed += 1
            print(f"FAIL name {name!r}: {snakecase(name.encode())!r} != {want!r}")
    with open(sys.argv[2], encoding="utf-8") as f:
        cases = read_json(f.read())
    for case in cases:
        bad = check_case(case)
        failed += bool(bad)
        print(("FAIL " if bad else "ok   ") + case.last("name"))
        for b in bad:
            print("     " + b)
    print(f"{len(cases)} cases, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
