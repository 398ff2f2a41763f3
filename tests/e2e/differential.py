#!/usr/bin/env python3
"""differential.py --inlet EXE --seed S --uploads N [--together] [--ordered] [--again]

Generates N hostile uploads, lands them with the real executable, and compares everything that came out of it (every value of every row,
`_rescued_data`, columns and types, `_rejects`, `_loads`, the JSON report, the exit code) with the independent model. Exit 1 on any difference.

  default      one `ingest FILE` per upload, in key order; the model is told the columns that really exist then (a difference does not spread)
  --together   one `ingest DIR` for all; the model plans them one after another, as the rules say the executable does
  --ordered    also the order of the rows of one upload in a table (one worker)
  --existing   some tables stand there before, with columns of every type and of types that are not Inlet's
  --again      then deliver all again (nothing may land), and land all in a second lake (same ids, same schemas)
Needs requirements.txt."""
from __future__ import annotations

import argparse
import base64
import collections
import gzip
import hashlib
import shlex
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

import generate
import model as m
from lake import Lake, run, type_name

COUNTS = ("events", "landed", "rows", "held", "duplicates", "filtered", "rejected", "rescued")
SECRET = generate.SECRET[:8]


class Differences:
    def __init__(self, limit):
        self.limit, self.kinds = limit, collections.Counter()

    def add(self, kind, upload="", table="", row="", column="", ours=None, model=None):
        self.kinds[kind] += 1
        if sum(self.kinds.values()) <= self.limit:
            place = " ".join(f"{k}={v}" for k, v in (("upload", upload), ("table", table), ("row", row), ("column", column)) if v != "")
            print(f"DIFF {kind}: {place}\n     ours:  {short(ours)}\n     model: {short(model)}", flush=True)

    def summary(self) -> int:
        n = sum(self.kinds.values())
        for kind, k in self.kinds.most_common():
            print(f"{k:6} {kind}")
        return 1 if n else 0


def short(v) -> str:
    s = v if isinstance(v, str) and v.startswith("<") else repr(v)
    return s if len(s) <= 400 else s[:300] + f"... ({len(s)} characters) ..." + s[-60:]


def content(path: Path):
    """The decompressed bytes, or None when they are unreadable."""
    b = path.read_bytes()
    if b[:2] != b"\x1f\x8b":
        return b
    try:
        return gzip.decompress(b)
    except (EOFError, OSError, zlib.error):
        return None


# ---------------------------------------------------------------- one row, in comparable form

def base_key(k):
    """A rescued key without the `#n` that tells losers of one key apart."""
    while True:
        head, mark, n = k.rpartition("#")
        if not mark or not (n.isascii() and n.isdigit()):
            return k
        k = head


def show(tree):
    kind, v = tree
    if kind == "object":
        return "{" + ",".join(m.quote(k) + ":" + show(x) for k, x in v) + "}"
    if kind == "array":
        return "[" + ",".join(map(show, v)) + "]"
    return m.quote(v) if kind == "string" else {None: "null", True: "true", False: "false"}.get(v, v) if kind == "word" else v


def rescued_form(pairs):
    out = collections.defaultdict(list)
    for k, v in pairs:
        out[base_key(k)].append(show(m.tree(v)))
    return {k: sorted(v) for k, v in out.items()}


def stamp(v, kind):
    return "<" + m.show_us(v) + ">" if kind == "timestamp" and isinstance(v, int) else v


def our_row(r: dict, columns: dict, bad) -> dict:
    out = {c: stamp(v, columns.get(c)) for c, v in r.items() if c not in ("_upload_id", "_rescued_data", "uuid_ts")}
    text = r.get("_rescued_data")
    if text is not None:
        try:
            v = m.read_json(text)
            if not isinstance(v, m.Obj):
                raise m.BadJson("no object")
            if not v:
                bad("rescued-empty", text)
            keys = [k for k, _ in v]
            if len(set(keys)) != len(keys):
                bad("rescued-repeated-key", text)
            for k, vals in rescued_form(v).items():
                out["_rescued_data." + k] = tuple(vals)
        except m.BadJson:
            bad("rescued-is-no-json-object", text)
    return out


def model_row(r: m.Row, columns: dict) -> dict:
    out = {c: stamp(v, columns.get(c)) for c, v in r.values.items()}
    for k, vals in rescued_form(r.rescued.items()).items():
        out["_rescued_data." + k] = tuple(vals)
    return out


def same(a, b) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or type(a) is not type(b):
        return type(a) is type(b) and a == b
    return a == b


def frozen(row):
    return tuple(sorted((k, type(v).__name__, v if not isinstance(v, float) else v + 0.0) for k, v in row.items()))


def compare_rows(diff, upload, table, ours, theirs, columns, ordered):
    """ours: dicts as read; theirs: model rows."""
    mine = [our_row(r, columns, lambda kind, text: diff.add(kind, upload, table, r.get("id"), "_rescued_data", text)) for r in ours]
    want = [model_row(r, columns) for r in theirs]
    lines = {}
    for r, w in zip(theirs, want):
        if r.auto_id:
            w["id"] = "auto-*"
        lines[id(w)] = f"{w['id']!r} (line {r.line}" + (f" item {r.item})" if r.item is not None else ")")
    autos = []
    for r in mine:
        if str(r.get("id", "")).startswith("auto-"):
            autos.append(r["id"])
            r["id"] = "auto-*"
    if len(set(autos)) != len(autos):
        diff.add("auto-id-repeated", upload, table, ours=[a for a, n in collections.Counter(autos).items() if n > 1])
    if len(mine) != len(want):
        diff.add("row-count", upload, table, ours=len(mine), model=len(want))
    if ordered and [r.get("id") for r in mine] != [w["id"] for w in want] and len(mine) == len(want):
        diff.add("row-order", upload, table, ours=[r.get("id") for r in mine], model=[w["id"] for w in want])
    # take away what is equal, pair the rest by id
    left = collections.defaultdict(list)
    for r in mine:
        left[frozen(r)].append(r)
    rest = []
    for w in want:
        if left[frozen(w)]:
            left[frozen(w)].pop()
        else:
            rest.append(w)
    over = [r for rs in left.values() for r in rs]
    for w in rest:
        near = [r for r in over if r.get("id") == w["id"]]
        if not near:
            diff.add("row-missing", upload, table, lines[id(w)], model=w)
            continue
        r = min(near, key=lambda r: sum(not same(r.get(c), w.get(c)) for c in set(r) | set(w)))
        over.remove(r)
        for c in sorted(set(r) | set(w)):
            if not same(r.get(c), w.get(c)):
                diff.add("rescued" if c.startswith("_rescued_data.") else "value", upload, table, lines[id(w)], f"{c} ({columns.get(c, 'no column')})" if not c.startswith("_") else c, r.get(c), w.get(c))
    for r in over:
        diff.add("row-extra", upload, table, repr(r.get("id")), ours=r)
    return set(autos)


# ---------------------------------------------------------------- report, schemas, side tables

def counts_of(result: m.Result) -> dict:
    return {**vars(result.counts), "held": 0}


def compare_report(diff, name, entry, result: m.Result):
    if entry is None:
        return diff.add("report-entry-missing", name)
    want = counts_of(result)
    for c in COUNTS:
        if entry.get(c) != want[c]:
            diff.add("report-count", name, column=c, ours=entry.get(c), model=want[c])
    tables = {str(t.get("table", "")).rsplit(".", 1)[-1]: t for t in entry.get("tables") or []}
    for t in sorted(set(tables) | set(result.tables)):
        mine, theirs = tables.get(t), result.tables.get(t)
        if theirs is None:
            if mine.get("rows"):
                diff.add("report-table-extra", name, t, ours=mine)
            continue
        if mine is None:
            diff.add("report-table-missing", name, t, model=len(theirs.rows))
            continue
        for c, w in (("rows", len(theirs.rows)), ("rescued", theirs.rescued)):
            if mine.get(c) != w:
                diff.add("report-table-count", name, t, column=c, ours=mine.get(c), model=w)
        system = m.system_columns(t)
        new = {c.get("name"): type_name(c.get("type")) for c in mine.get("new_columns") or [] if c.get("name") not in system}
        if new != theirs.new_columns:
            odd = {c for c in set(new) | set(theirs.new_columns) if new.get(c) != theirs.new_columns.get(c)}
            diff.add("report-new-columns", name, t, ours={c: new.get(c) for c in odd}, model={c: theirs.new_columns.get(c) for c in odd})


def compare_schemas(diff, name, real, expected):
    """expected: {table: {column: type}} that the lake must hold."""
    for t in sorted(set(real) | set(expected)):
        if t not in real or t not in expected:
            diff.add("table-missing" if t in expected else "table-extra", name, t, ours=t in real, model=t in expected)
            continue
        for c in sorted(set(real[t]) | set(expected[t])):
            if real[t].get(c) != expected[t].get(c):
                diff.add("column", name, t, column=c, ours=real[t].get(c), model=expected[t].get(c))


def compare_side(diff, lake: Lake, results: dict, ids: dict):
    """_rejects and _loads. results: {upload name: Result}; ids: {upload name: upload id}."""
    tables = lake.tables()
    by_id = lambda rows: (lambda d: [d[r.get("upload_id")].append(r) for r in rows] and d or d)(collections.defaultdict(list))
    rejects = by_id(lake.rows("_rejects")) if "_rejects" in tables else {}
    loads = by_id(lake.rows("_loads")) if "_loads" in tables else {}
    if "_loads" not in tables:
        diff.add("no-loads-table")
    for name, result in results.items():
        uid = ids.get(name)
        key = lambda x: tuple((v is None, v or 0) for v in x[:2]) + (x[2] or "",)
        mine = sorted(((r.get("line"), r.get("item"), r.get("reason")) for r in rejects.get(uid, [])), key=key)
        want = sorted(result.rejections, key=key)
        if mine != want:
            a, b = collections.Counter(mine), collections.Counter(want)
            diff.add("rejects", name, ours=sorted((a - b).elements(), key=key), model=sorted((b - a).elements(), key=key))
        for r in rejects.get(uid, []):
            raw = r.get("raw") or ""
            plain = raw
            if raw.startswith("base64:"):
                plain = base64.b64decode(raw[7:] + "===").decode("utf-8", "replace")
            if SECRET in plain:
                diff.add("secret-in-rejects", name, row=f"line {r.get('line')} item {r.get('item')} {r.get('reason')}", ours=plain[max(0, plain.index(SECRET) - 60):][:120])
        here = collections.defaultdict(list)
        for r in loads.get(uid, []):
            here[(r.get("table_name") or "").rsplit(".", 1)[-1]].append(r)
        for t, rows in here.items():
            if len(rows) > 1:
                diff.add("loads-row-repeated", name, t, ours=len(rows), model=1)
        whole, want = (here.pop("", None) or [None])[0], counts_of(result)
        want["rows"] = want.pop("landed")
        if whole is None:
            diff.add("loads-whole-missing", name)
        else:
            for c, w in want.items():
                if (whole.get(c) or 0) != w:
                    diff.add("loads-whole", name, column=c, ours=whole.get(c), model=w)
        for t in sorted(set(here) | set(result.addressed)):
            mine, theirs = (here.get(t) or [None])[0], result.addressed.get(t)
            if mine is None or theirs is None:
                diff.add("loads-table-missing" if mine is None else "loads-table-extra", name, t, ours=mine and {c: mine.get(c) for c in COUNTS if c in mine},
                         model=theirs and dict(events=theirs.events, rows=len(theirs.rows), duplicates=theirs.duplicates, filtered=theirs.filtered))
                continue
            for c, w in (("events", theirs.events), ("rows", len(theirs.rows)), ("held", 0), ("duplicates", theirs.duplicates), ("filtered", theirs.filtered), ("rescued", theirs.rescued)):
                if (mine.get(c) or 0) != w:
                    diff.add("loads-table", name, t, column=c, ours=mine.get(c), model=w)


def compare_lake(diff, lake: Lake, results, ids, ordered):
    names = {uid: n for n, uid in ids.items()}
    autos = collections.defaultdict(lambda: collections.defaultdict(set))
    event_tables = [t for t in lake.tables() if t not in ("_rejects", "_loads")]
    for t in event_tables:
        columns = lake.columns(t)
        here = collections.defaultdict(list)
        for r in lake.rows(t):
            here[r.get("_upload_id")].append(r)
            if any(isinstance(v, str) and SECRET in v for v in r.values()):
                diff.add("secret-in-table", names.get(r.get("_upload_id")), t, r.get("id"))
        for uid in set(here) - set(names):
            diff.add("rows-of-an-unknown-upload", table=t, ours=(uid, len(here[uid])))
        for n, result in results.items():
            want = result.tables[t].rows if t in result.tables else []
            if want or here.get(ids.get(n)):
                autos[n][t] = compare_rows(diff, n, t, here.get(ids.get(n), []), want, columns, ordered)
    for t in sorted({t for r in results.values() for t in r.tables} - set(event_tables)):
        diff.add("table-missing", table=t)
    for n, tables in autos.items():
        from_events = set().union(*(a for t, a in tables.items() if t not in m.CALLS.values()))
        if from_events != tables.get("tracks", set()):
            diff.add("auto-ids-of-tracks-and-event-tables", n, ours=sorted(from_events ^ tables.get("tracks", set())))


# ---------------------------------------------------------------- the run

def stand_before(folder: Path):
    """Empty tables that somebody made before: Inlet's types, and types that are not Inlet's (decimal, date, int, float, binary, struct, list)."""
    ts, s = pa.timestamp("us", "UTC"), pa.string()
    inlet = {"string": s, "timestamp": ts}
    own = {"price": pa.int64(), "qty": pa.float64(), "total": s, "when": ts, "active": pa.bool_(), "n": ts, "mixed": pa.bool_(), "value": pa.int64(), "note": pa.float64(), "foo_bar": pa.int64(), "context_n": pa.float64(), "context_mixed": pa.int64()}
    foreign = {"price": pa.decimal128(10, 2), "qty": pa.int32(), "total": pa.float32(), "when": pa.date32(), "active": pa.int8(), "n": pa.binary(), "mixed": pa.struct([("a", s)]), "value": pa.list_(s),
               "note": pa.timestamp("us"), "context_ip": pa.int16(), "context_n": pa.decimal128(38, 0)}
    for table, columns in (("signed_up", own), ("pages", own), ("order_completed", foreign), ("identifies", foreign)):
        system = {c: inlet[k] for c, k in m.system_columns(table).items()}
        write_deltalake(str(folder / table), pa.schema([pa.field(c, t) for c, t in {**system, **columns}.items()]).empty_table())


def entry_for(report, path: Path):
    entries = (report or {}).get("uploads") or []
    fit = [e for e in entries if str(e.get("upload", "")).replace("\\", "/").endswith(path.name)]
    return fit[0] if fit else None


def expect_exit(diff, name, ran, results):
    want = 65 if any((None, None) == r.rejections[0][:2] for r in results if r.rejections) else 0
    if ran.code != want:
        diff.add("exit", name, ours=f"<{ran}>", model=want)


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--inlet", required=True)
    a.add_argument("--seed", default="1")
    a.add_argument("--uploads", type=int, default=30)
    a.add_argument("--together", action="store_true")
    a.add_argument("--ordered", action="store_true")
    a.add_argument("--again", action="store_true")
    a.add_argument("--existing", action="store_true")
    a.add_argument("--schema", default="src")
    a.add_argument("--warehouse-id", help="what the model takes as ours (tell the executable by --args or the environment)")
    a.add_argument("--args", default="", help="more words for `inlet ingest`")
    a.add_argument("--first-item", type=int, default=0, help="number of the first item of an envelope")
    a.add_argument("--dir", help="work here (kept); default: a temporary directory, kept when there are differences")
    a.add_argument("--limit", type=int, default=200, help="differences to print")
    o = a.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")
    exe = shutil.which(o.inlet) or o.inlet
    if not Path(exe).is_file():
        print(f"no executable at {o.inlet}", file=sys.stderr)
        return 2
    base = Path(o.dir or tempfile.mkdtemp(prefix="inlet-diff-")).resolve()
    landing, root = base / "in", base / "lake"
    for p in (landing, root):
        shutil.rmtree(p, ignore_errors=True)
    root.mkdir(parents=True)
    paths = sorted(generate.generate(o.seed, landing, o.uploads))
    diff, lake, extra = Differences(o.limit), Lake(root, o.schema), shlex.split(o.args)
    ingest = lambda what, to=root: run(exe, "ingest", what, "--lake", to, "--schema", o.schema, "--json", *extra)

    def expected(path, existing):
        data = content(path)
        if data is None:
            return m.rejected_whole("unreadable")
        return m.model(data, key=str(path), modified_us=generate.MTIME_US, warehouse_id=o.warehouse_id, existing=existing, first_item=o.first_item)

    if o.existing:
        stand_before(root / o.schema)
    results, ids, first, chain = {}, {}, {}, lake.schemas()
    totals = collections.Counter()

    def take(path, entry, existing):
        """Model one upload, compare its report entry; a copy of an earlier upload must report zeros."""
        n, digest = path.name, hashlib.sha256(path.read_bytes()).digest()
        if path.stat().st_size == 0:                                            # an object of no bytes is no upload: skipped and counted
            totals["skipped"] += 1
            if entry is not None:
                diff.add("empty-file-reported", n, ours=entry)
            return m.Result()
        if digest in first:
            if entry is not None:
                for c in COUNTS:
                    if entry.get(c):
                        diff.add("copy-reports-counts", f"{n} (a copy of {first[digest]})", column=c, ours=entry.get(c), model=0)
                if entry.get("upload_id") != ids.get(first[digest]):
                    diff.add("copy-has-another-upload-id", n, ours=entry.get("upload_id"), model=ids.get(first[digest]))
            return m.Result()
        first[digest] = n
        results[n] = r = expected(path, existing)
        if entry is not None and entry.get("upload_id"):
            ids[n] = entry["upload_id"]
        compare_report(diff, n, entry, r)
        totals.update(counts_of(r))
        return r

    if o.together:
        ran = ingest(landing)
        if ran.report is None:
            diff.add("no-report", ours=f"<{ran}>")
        made = []
        for path in paths:
            r = take(path, entry_for(ran.report, path), chain)
            made.append(r)
            for t, table in r.tables.items():
                chain[t] = table.columns
        expect_exit(diff, "all", ran, made)
        have = (ran.report or {}).get("totals") or {}
        for c in (*COUNTS, "skipped"):
            if have.get(c) != totals[c]:
                diff.add("totals", column=c, ours=have.get(c), model=totals[c])
        compare_schemas(diff, "at the end", lake.schemas(), chain)
    else:
        for path in paths:
            ran = ingest(path)
            if ran.report is None:
                diff.add("no-report", path.name, ours=f"<{ran}>")
            r = take(path, entry_for(ran.report, path), chain)
            expect_exit(diff, path.name, ran, [r])
            want = {**chain, **{t: table.columns for t, table in r.tables.items()}}
            chain = lake.schemas()
            compare_schemas(diff, path.name, chain, want)
    for r in lake.rows("_loads") if "_loads" in lake.tables() else []:       # a report without ids: by name
        n = str(r.get("upload", "")).rsplit("/", 1)[-1]
        if n in results and r.get("upload_id"):
            ids.setdefault(n, r["upload_id"])
    for n in results:
        if n not in ids:
            diff.add("no-upload-id", n)
            ids[n] = f"?{n}"
    compare_lake(diff, lake, results, ids, o.ordered)
    compare_side(diff, lake, results, ids)

    if o.again:
        rows = lambda l: {t: collections.Counter((r.get("_upload_id"), r.get("id")) for r in l.rows(t)) for t in l.schemas()}
        before = rows(lake)
        ran = ingest(landing)
        for c in COUNTS:
            if ((ran.report or {}).get("totals") or {}).get(c) != 0:
                diff.add("again-reports-counts", column=c, ours=((ran.report or {}).get("totals") or {}).get(c), model=0)
        if rows(lake) != before:
            diff.add("again-landed-rows", table=str([t for t, c in rows(lake).items() if c != before.get(t)]))
        second = Lake(base / "lake2", o.schema)
        shutil.rmtree(base / "lake2", ignore_errors=True)
        (base / "lake2").mkdir()
        if o.existing:
            stand_before(base / "lake2" / o.schema)
        ingest(landing, base / "lake2")
        compare_schemas(diff, "second lake against the first", second.schemas(), lake.schemas())
        if rows(second) != before:
            diff.add("second-lake-has-other-ids", table=str([t for t, c in before.items() if rows(second).get(t) != c]))

    print(f"seed {o.seed}: {len(paths)} uploads, {totals['events']} events, {totals['rows']} rows, {totals['rejected']} rejected, {totals['rescued']} values rescued")
    failed = diff.summary()
    if failed or o.dir:
        print(f"kept: {base}")
    else:
        shutil.rmtree(base, ignore_errors=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
