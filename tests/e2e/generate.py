#!/usr/bin/env python3
"""generate.py SEED OUTDIR N: N small hostile uploads, the same for the same seed.

Written as OUTDIR/segment-logs/src1/1767225600000/NNNN.(gz|json), mtime = MTIME_US. Every value is made as JSON text, never through
a JSON library, so that white space, escapes, repeated keys and numbers stand as meant. Names and ids come from small pools: uploads meet each
other's columns, with other types. Columns stay far below Inlet's limits (300 new per upload and table, 1,000 per table, 300 tables).
Python 3.11, standard library only. Every `writeKey` holds SECRET: it must never be found in a lake."""
from __future__ import annotations

import gzip
import hashlib
import os
import random
import sys
from pathlib import Path

MTIME_US = 1767312000123456            # 2026-01-02T00:00:00.123456Z
FOLDER = "segment-logs/src1/1767225600000"
SECRET = "wkSECRETkeyNeverStored"

NUMBERS = """0 -0 1 -1 7 12 42 100 -5 3 9007199254740991 9007199254740992 9007199254740993 -9007199254740993 9223372036854775807
9223372036854775806 9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616
12345678901234567890123 1000000000000000000000000000000 1e400 -1e400 1E3 1e3 1e+2 1.0E-2 5.0 -0.0 0.0 0.1 0.30000000000000004 1.501 -1.9
-0.5 2.50 10.5 1e-400 1.7976931348623157e308 1.7976931348623159e308 4.9e-324 2.2250738585072011e-308 123456789.123456789123456789 1e19 -1e19 1e18
9223372036854775807.0 -9223372036854775808.0 9223372036854774784.0 9007199254740993.0 0e0 0e999 123e-2 1767225600000 20260101 3.14159265358979323846264338327950288""".split()
NUMBERS.append("9" * 400)
NUMBERS.append("-1" + "0" * 330)
NUMBERS.append("0." + "1234567890" * 40)

GOOD_TIMES = """2023-06-14|2021-06-01 00:00:00|2025-04-02T01:09:03|2025-04-02 01:09:03.000+0530|2025-04-02T01:09:03.714247+00:00
2025-04-02T01:09:03.000+1000|0001-01-01T00:00:00.000Z|9999-12-31T23:59:59.999Z|9999-12-31T23:59:59.999999Z|2024-02-29|2026-01-15T10:00z
2026-01-15T10:00|2026-01-15 10:00-08|2026-01-15T10:00:00.1Z|2026-01-15T10:00:00.123456Z|1969-12-31T23:59:59.999999Z|1582-10-10T00:00:00Z
2026-01-15T23:59:59-2359|2026-01-15T10:00:00.5+14:00|1970-01-01|2000-02-29T12:00:00.000001+00""".replace("\n", "|").split("|")
ODD_TIMES = """2026-01-15T10:00:00.1234567Z|2026-01-15T10:00:00.999999999Z|2026-01-15T10:00:00.0000001Z""".split("|")      # cut at microseconds
BAD_TIMES = """2022/10-05T|01/02/2024|23-05-2024T10:00:00Z|2026-01-15T25:00:00Z|10:00:00|+2026-01-15|-0001-01-01|1767225600|1767225600000
1988-04-31|2023-02-29|1900-02-29|2026-13-01|2026-00-10|2026-01-00|2026-01-15T10:60:00Z|2026-01-15T10:00:60Z|2026-01-15T24:00:00Z|2026-01-15t10:00:00Z
2026-01-15T10|2026-01-15T10:00:00.Z|2026-01-15T10:00:00,5Z|2026-01-15T10:00:00 Z|2026-01-15T|2026-01-15 |  2026-01-15|2026-01-15T10:00:00Z |2026-1-5
2026-01-15T10:00:00+1|2026-01-15T10:00:00+24:00|2026-01-15T10:00:00+10:60|2026-01-15T10:00:00.5Z07:00|2026-01|2026|20260115|20260115T100000Z|0000-01-01
10000-01-01|2026-W03-4|2026-015|Thu, 15 Jan 2026 10:00:00 GMT|whenever|٢٠٢٦-٠١-١٥|2026-01-15T10:00:00.00000000000000000000000Z|2006-01-02T15:04:05.000Z07:00
2026-01-15T10:00:00.5|2026-01-15T10.5Z|2026-01-15  10:00|2023-06-14Z""".replace("\n", "|").split("|")
EDGE_TIMES = ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]                  # no UTC instant within the years 0001-9999

# JSON string literals, as text between the quotes
TEXTS = ["", " ", "a", "text", "other text", "12", "-12", "0012", "+12", " 12", "12.5", "1e3", "-0", "007", "9007199254740993", "9223372036854775807",
         "9223372036854775808", "-9223372036854775809", "1e400", ".5", "5.", "true", "TRUE", "False", "tRuE", " true", "truE\\u0020", "null", "NaN", "Infinity", "0x1F", "{}", "[]",
         '{\\"a\\":1}', "日本語", "Grüße", "😀 emoji", "\\ud83d\\ude00", "line\\nbreak", "tab\\there", "quote \\\" back \\\\ slash \\/ /", "\\u0000", "a\\u0000b", "\\b\\f\\r",
         "\\u001f\\u007f", "\u007f", "\\u2028\u2029", "\\u00e9", "e\u0301", "<&>'`", "\\ud800", "x\\udfffy", "\\ude00\\ud83d", "\\ud83d\\ud83d\\ude00", "\\uD83D\\uDE00",
         "\ufeffbom", "\u200b", "v" * 3000, "select * from t; --", "${jndi:x}", "١٢", "１２", "\\u0031\\u0032", "2024-01-0\\u0032"]

BAD_LINES = [b'{"type":"track","userId":"u1","event":"x"', b"{", b"}", b'{"a":1}}', b'{"a":1}{"b":2}', b'{"a":1} x', b'{"a":1,}', b'{,"a":1}', b"{'a':1}", b'{a:1}', b'{"a" 1}', b'{"a":}',
             b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":01}', b'{"a":-01}', b'{"a":1.}', b'{"a":.5}', b'{"a":+1}', b'{"a":0x1F}', b'{"a":1e}', b'{"a":1e+}', b'{"a":-}', b'{"a":1_0}',
             b'{"a":tru}', b'{"a":True}', b'{"a":nulll}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":"\\u12G4"}', b'{"a":"\\"}', b'{"a":"x}', b'{"a":"\x01"}', b'{"a":"tab\there"}', b'{"a":"\x00"}', b'{"a":\x001}',
             b'\x00', b'\x00\x00\x00', b'{"a":1}\x00', b'/* c */ {"a":1}', b'{"a":1} // c', b'[1,2', b'[1 2]', b'"open', b'nul', b'hello world', b'{"a":[1,2}', b'{"a":{"b":1]}', b'\xef\xbb\xbf{"type":"page","userId":"u"}',
             b'{"a":"\\ud8"}', b'\xc2\xa0', b'{"type":"track",\x0b"userId":"u"}', b'{"a"::1}', b'{"a":1,,"b":2}', b'{1:2}', b'{null:1}', b'{"a":1]', b'--', b'{"a":"\x1f"}', b'{"a":1\xc2\xa0}']
BAD_UTF8 = [b"\xff\xfe broken", b'{"type":"track","userId":"u1","event":"\xff"}', b'{"a":"\xc3\x28"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xe2\x82"}', b"\x80", b'{"type":"page","userId":"u","\xfe":1}',
            b'{"broken":\xff', b'{"a":"\xf0\x9f\x98"}']
NOT_OBJECTS = [b"[1,2]", b"5", b"-0.5e3", b"null", b"true", b"false", b'"str"', b"[]", b'[{"type":"track","userId":"u","event":"e"}]', b'  "x"  ', b'""', b"[[[[]]]]"]

EVENTS = ["Signed Up", "signed_up", "SignedUp", "Order Completed", "order completed", "Order-Completed", "HTTPServer", "HTTP Server", "orderV2Completed", "2FA Enabled", "101 Account Update",
          "3", "_5TEst", "iOSVersion", "Tracks", "tracks", "PAGES", "screens!", "Users", "accounts", "identifies", "groups", "aliases", "購入完了", "Заказ", "😀", "___", " ", "Café Visité", "select",
          "order", "a.b.c", "x" * 255, "x" * 256, "Long " + "Event Name " * 40, "y" * 242 + "_" + "z" * 40, "y" * 241 + " " + "z" * 40, "9" * 300, "event", "_rejects", "_loads", "tracks__unique", "日本 Sales",
          "a\\u0000b", "Emoji \\ud83d\\ude00", "lone \\ud800 one", "\\ud800", "a/b\\\\c", "../../etc/passwd", "id; drop table", "`quoted`", "CON", "events", "name"]

LONG_KEYS = ["k" * 255, "k" * 256, "k" * 300, "m" * 242 + "_" + "n" * 30, "m" * 241 + "_" + "n" * 30, "LongKey" * 60, "長" * 90 + "a" * 260]
DEEP = tuple("abcdefghijklmnopqrst")
PATHS = [("price",), ("price",), ("qty",), ("total",), ("email",), ("plan",), ("zip",), ("active",), ("when",), ("note",), ("products",), ("value",), ("mixed",), ("n",),
         # spellings of one column
         ("fooBar",), ("foo_bar",), ("FooBar",), ("foo bar",), ("foo.bar",), ("foo", "bar"), ("Foo", "Bar"), ("foo_bar", ""), ("", "foo_bar"),
         ("a_b",), ("a", "b"), ("a", "B"), ("A b",), ("a__b",), ("a",), ("A",), ("a#2",), ("a", "b#2"), ("a_b#2",),
         # reserved
         ("id",), ("ID",), ("userId",), ("user_id",), ("User ID",), ("user", "id"), ("anonymousId",), ("timestamp",), ("@timestamp",), ("receivedAt",), ("received_at",), ("sent_at",), ("sentAt",), ("originalTimestamp",),
         ("uuid_ts",), ("uuidTs",), ("uuid", "ts"), ("event",), ("Event",), ("event_text",), ("event", "text"), ("groupId",), ("group_id",), ("previousId",), ("messageId",), ("type",), ("writeKeyish",),
         ("name",), ("name",), ("Name",), ("NAME",), ("name", "first"), ("name_first",), ("category",), ("category",), ("Category",), ("category", "x"), ("loaded_at",),
         ("_rescued_data",), ("_upload_id",), ("rescued_data",), ("upload_id",), ("__unique",),
         # context's name space
         ("context",), ("context_ip",), ("contextIp",), ("context", "ip"), ("context_page_url",), ("context", "page", "url"), ("context_foo_bar",), ("context_note",),
         # words, digits, empties, bytes
         ("HTTPServer",), ("HttpServer",), ("iOSVersion",), ("orderV2",), ("2FA Enabled",), ("3dSecure",), ("3d_secure",), ("_5TEst",), ("5test",), ("userIDNumber",), ("edf_6N",), ("p_z9Rg",), ("f_pX9",), ("a_7B",), ("A7_b8C",), ("select",), ("Group",), ("order", "position"), ("from",),
         ("",), ("_",), ("__",), ("$%#",), (" ",), ("日本",), ("Заказ",), ("😀",), ("é",), ("Café",), ("日本", "x"), ("x", "日本"), ("x",), ("\x00",), ("a\x00b",), ("tab\there",), ('quo"te',), ("back\\slash",), ("\ud800",), ("q\udfff",), ("q",),
         # nesting
         ("shipping", "type"), ("shipping", "cost"), ("shipping", "address", "city"), ("address", "postalCode"), ("nested", "a", "b", "c", "d"), DEEP[:15], DEEP[:16], DEEP[:17], DEEP, ("deep", "X") * 10]
PATHS += [(k,) for k in LONG_KEYS]
CONTEXT_PATHS = [("ip",), ("ip",), ("Ip",), ("IP",), ("userAgent",), ("user_agent",), ("library", "name"), ("library", "version"), ("page", "url"), ("page", "url"), ("page_url",), ("pageUrl",), ("page", "path"), ("locale",), ("timezone",), ("active",),
                 ("screen", "width"), ("screen", "density"), ("os", "version"), ("groupId",), ("traits", "email"), ("traits", "id"), ("traits", "userId"), ("campaign", "name"), ("device", "adTrackingEnabled"), ("userAgentData", "brands"),
                 ("id",), ("timestamp",), ("note",), ("fooBar",), ("foo_bar",), ("foo", "bar"), ("foo bar",), ("日本",), ("",), ("Заказ", "é"), ("2x",), ("when",), ("mixed",), ("n",), ("HTTPServer",), DEEP[:16], DEEP, ("\ud800",), ("k" * 250,), ("m" * 233 + "_" + "n" * 30,)]


class O:
    """An object as (key text, value) pairs; a value is O or JSON text."""

    def __init__(self, pairs=()):
        self.pairs = list(pairs)


class Gen:
    def __init__(self, seed):
        self.r = random.Random(f"inlet-{seed}")
        r = self.r
        self.paths = [p for p in PATHS if r.random() < .75]                 # a seed knows three quarters of the names
        self.context_paths = [p for p in CONTEXT_PATHS if r.random() < .8]
        self.events = r.sample(EVENTS, 34) + [self.identifier() for _ in range(8)]
        self.paths += [tuple(self.identifier() for _ in range(r.choice([1, 1, 1, 2, 3]))) for _ in range(24)]
        self.context_paths += [tuple(self.identifier() for _ in range(r.choice([1, 1, 2]))) for _ in range(8)]
        self.ids = [f"m{i}" for i in range(60)]
        self.users = [f"u{i}" for i in range(12)]
        self.n = self.uploads = 0
        self.space = .0

    def identifier(self):
        """Capitals, small letters, digits and underscores in every order: food for the snake-case scan."""
        r = self.r
        return "".join(r.choice(["A", "B", "Cd", "E7", "f", "gh", "7", "_", "_", "__", "9k", "kX", "$", " ", "é"]) for _ in range(r.randrange(2, 8)))

    # ---- JSON text
    def chance(self, p): return self.r.random() < p

    def esc(self, s: str) -> str:
        out = []
        for c in s:
            if c in '"\\':
                out.append("\\" + c)
            elif ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 or (c.isascii() and self.chance(.004)):
                out.append("\\u%04x" % ord(c))
            else:
                out.append(c)
        return '"' + "".join(out) + '"'

    def ws(self):
        return self.r.choice(["", " ", "  ", "\t", " \t "]) if self.space and self.chance(self.space) else ""

    def emit(self, v) -> str:
        if not isinstance(v, O):
            return v
        w = self.ws
        return "{" + w() + ",".join(w() + self.esc(k) + w() + ":" + w() + self.emit(x) + w() for k, x in v.pairs) + "}"

    # ---- values
    def number(self):
        r = self.r
        x = r.random()
        if x < .3:
            return str(r.randrange(-1000, 10**6))
        if x < .45:
            return repr(round(r.random() * 1000, r.randrange(1, 6)))
        return r.choice(NUMBERS)

    def time(self, good=.6):
        r = self.r
        x = r.random()
        if x < good:
            return '"' + r.choice(GOOD_TIMES) + '"'
        if x < good + .03:
            return '"' + r.choice(ODD_TIMES) + '"'
        if x < good + .032:
            return '"' + r.choice(EDGE_TIMES) + '"'
        return '"' + r.choice(BAD_TIMES) + '"'

    def text(self):
        return '"' + (self.r.choice(TEXTS) if self.chance(.7) else "t%d" % self.r.randrange(50)) + '"'

    def array(self, depth=0):
        r = self.r
        if depth == 0 and self.chance(.15):
            return r.choice(["[]", "[ ]", "[null]", "[{}]", "[[]]", "[[],[[]],{}]", '["a","a"]', "[" * 30 + "]" * 30, '[{"a":1,"a":2}]', '[ 1 , 2.50,\t1E3 ,-0 ]', '["\\u0041\\/\\u00e9\\ud83d\\ude00 \\u001f"]', '["\\ud800"]', '[{"\\u0061":[true,false,null]}]'])
        return "[" + self.ws() + ",".join(self.ws() + self.any(depth + 1) + self.ws() for _ in range(r.randrange(4))) + "]"

    def any(self, depth=0):
        r = self.r
        x = r.random()
        if depth and x < .2 and depth < 4:
            return self.array(depth)
        if depth and x < .4 and depth < 4:
            return self.emit(O((r.choice(["a", "b", "sku", "日本", "a"]), self.any(depth + 1)) for _ in range(r.randrange(4))))
        return self.scalar()

    def scalar(self):
        x = self.r.random()
        if x < .34:
            return self.number()
        if x < .56:
            return self.text()
        if x < .70:
            return self.time()
        if x < .80:
            return self.r.choice(["true", "false"])
        if x < .87:
            return "null"
        return self.text()

    def leaf(self, path):
        """Usually the kind of value that this name usually holds, so that columns have types; sometimes anything."""
        r = self.r
        x = r.random()
        if x < .55:
            kind = hashlib.sha256(repr(path).encode()).digest()[0] % 6
            if path in (("name",), ("category",)) and self.chance(.5):
                return r.choice(['"Home"', '"Home"', '"Retail"', '"text"', '""', "5", "5.0", '"5"', "[]", '["a",1]', '[ "a" , 1 ]', "true", '"12"', "12", '"\\ud800"'])
            if kind in (0, 5):
                x = r.random()
                return str(r.randrange(10**6)) if x < .6 else r.choice(NUMBERS) if x < .9 else r.choice(['"12"', '"-7"', '"1.5"', '"007"', '"9007199254740993"', "true"])
            if kind == 1:
                x = r.random()
                return r.choice(["1.5", "2.25", "10", "-3.0", "1e2", "0.1", "7"]) if x < .6 else r.choice(NUMBERS) if x < .9 else r.choice(['"12"', '"1e3"', '"9007199254740993"', '"1e400"', '"01"', "true"])
            if kind == 2:
                return r.choice(["true", "false"]) if self.chance(.85) else r.choice(['"TRUE"', '"False"', '"true"', '" true"', "1", '"1"', '"yes"'])
            if kind == 3:
                return self.time(.9)
            return self.text()
        if x < .64:
            return self.array()
        if x < .68:
            return "null"
        if x < .72:
            return "{}" if self.chance(.7) else '{ }'
        if x < .75:
            return '{"n":null,"o":{}}'
        return self.scalar()

    def bag(self, paths, size, extra=True):
        r, root = self.r, O()
        for _ in range(size):
            path = r.choice(paths)
            here = root
            for at, seg in enumerate(path):
                if at == len(path) - 1:
                    if not any(k == seg for k, _ in here.pairs):
                        here.pairs.append((seg, self.leaf(path)))
                else:
                    old = [x for k, x in here.pairs if k == seg]
                    if old and not isinstance(old[-1], O) and self.chance(.7):
                        break                                                     # a scalar stands there; sometimes the key is repeated instead
                    if old and isinstance(old[-1], O) and self.chance(.93):
                        here = old[-1]
                    else:
                        new = O()
                        here.pairs.append((seg, new))
                        here = new
        for o in self.objects(root):
            if o.pairs and self.chance(.07):                                    # a repeated key, here or deep
                k, v = r.choice(o.pairs)
                for _ in range(r.choice([1, 1, 2, 3])):
                    again = r.choice([self.scalar, self.array, lambda: O([(r.choice(["x", "a", "b"]), self.scalar())]), lambda: "null", lambda: "{}"])()
                    o.pairs.insert(r.randrange(len(o.pairs) + 1), (k, again))
            if self.chance(.5):
                r.shuffle(o.pairs)
        if extra and self.chance(.04):
            root.pairs.append((self.wild(), self.scalar()))
        return root

    def objects(self, o):
        yield o
        for _, v in list(o.pairs):
            if isinstance(v, O):
                yield from self.objects(v)

    def wild(self):
        """A name that no pool holds."""
        alphabet = "abcXYZ019_ -.$éß日😀\u0000\n\"\\'`%/"
        return "".join(self.r.choice(alphabet) for _ in range(self.r.randrange(1, 14)))

    # ---- system fields
    def identity(self, pool, missing):
        r = self.r
        x = r.random()
        if x < missing:
            return r.choice([None, None, "null", '""'])
        if x < missing + .05:
            return r.choice(["42", "1.50", "-0", "1e3", "true", "false", "[]", "[1, 2]", '{"a": 1}', "{}", "12345678901234567890123", '" "', '"\\u0000"', '"lone \\ud800"', '"日本"', '"\\u006d1"', '{"a":"\\ud800"}'])
        return self.esc(r.choice(pool))

    def clock(self, missing):
        r = self.r
        x = r.random()
        if x < missing:
            return r.choice([None, None, None, "null", '""'])
        if x < missing + .06:
            return r.choice(["1767225600000", "5.5", "{}", "[]", "true", "false", '{"a":1}', '["2026-01-01"]', "-1"])
        if x < missing + .16:
            return self.time(.4)
        return '"2026-01-%02dT%02d:%02d:%02d.%03dZ"' % (r.randrange(1, 29), r.randrange(24), r.randrange(60), r.randrange(60), r.randrange(1000))

    def integrations(self):
        r = self.r
        lists = ['["wh_1"]', '["wh_2"]', '["wh_2","wh_1"]', "[]", "null", '"wh_1"', "[1]", '["WH_1"]', "{}"]
        houses = ["{}", "null", "false", "true", '"x"', "[]", '{"all":false}', '{"all":true}', '{"all":null}', '{"all":"false"}', '{"all":0}', '{"All":false}', '{"all":false,"all":true}', '{"all":true,"all":false}']
        houses += ['{"warehouseIds":%s}' % l for l in lists] + ['{"all":true,"warehouseIds":["wh_2"]}', '{"all":false,"warehouseIds":["wh_1"]}', '{"warehouseids":["wh_2"]}']
        x = r.random()
        if x < .5:
            return r.choice(["{}", '{"All":true}', '{"All":false}', "null", '"x"', "[]", "5", '{"Mixpanel":false}', '{"warehouses":{"all":false}}'])
        h = r.choice(houses)
        return r.choice(['{"All":true,"Warehouses":%s}', '{"Warehouses":%s}', '{"Warehouses":{"all":false},"Warehouses":%s}', '{"Wareho\\u0075ses":%s}']) % h

    def context(self):
        if self.chance(.06):
            return self.r.choice(["null", '"x"', "5", "[]", "{}", '[{"ip":"1.1.1.1"}]', "true", '""'])
        return self.bag(self.context_paths, self.r.choice([0, 1, 2, 3, 5, 8]))

    def event(self, in_batch=False) -> O:
        r = self.r
        e = O()
        put = lambda k, v: v is not None and e.pairs.append((k, v))
        call = r.choices(["track", "identify", "page", "screen", "group", "alias"], [52, 14, 12, 7, 9, 6])[0]
        x = r.random()
        if x < .03:
            put("type", r.choice(['"delete"', '""', "null", "5", '" track"', '"tracks"', "{}", '["track"]', None, '"Page "', "true"]))
        elif x < .15:
            put("type", '"' + "".join(r.choice((c, c.upper())) for c in call) + '"')
        elif x < .17:
            put("type", '"%s"' % (call[0].upper() + "".join("\\u%04x" % ord(c) for c in call[1:])))
        else:
            put("type", '"%s"' % call)
        self.n += 1
        put("messageId", self.identity(self.ids if self.chance(.4) else [f"unique-{self.n}"], .1))
        put("userId", self.identity(self.users, .25))
        put("anonymousId", self.identity(["anon-1", "anon-2", "anon-3"], .3))
        if self.chance(.3) and not any(k in ("userId", "anonymousId") for k, _ in e.pairs):
            put("userId", '"u1"')
        if call == "track" or self.chance(.05):
            x = r.random()
            if x < .03:
                put("event", r.choice([None, "null", '""', "42", "true", "[]", "{}", '["x"]', '{"a":1}']))
            elif x < .05:
                put("event", self.esc(self.wild()[:3]))
            else:
                put("event", '"Fresh Event %d"' % (self.uploads % 90) if self.chance(.3) else '"%s"' % r.choice(self.events if self.chance(.5) else self.events[:5]))
        if (call in ("page", "screen") and self.chance(.6)) or self.chance(.04):
            put("name", r.choice(['"Home"', '"Home"', '"text"', '"12"', '""', "null", "5", "[]", '["a", 1]', '{"a":1}', "{}", "true", '"\\ud800"', "12"]))
        if (call in ("page", "screen") and self.chance(.6)) or self.chance(.04):
            put("category", r.choice(['"Home"', '"Retail"', '"text"', '""', "null", "5.0", "[]", '{"a": "b"}', "false"]))
        if call == "group" or self.chance(.04):
            put("groupId", self.identity(["g1", "g2"], .15))
        if call == "alias" or self.chance(.04):
            put("previousId", self.identity(["p1", "p2"], .15))
        own, other = ("properties", "traits") if call in ("track", "page", "screen") else ("traits", "properties")
        if self.chance(.9):
            x = r.random()
            if x < .04:
                put(own, r.choice(["null", '""', "{}", '"x"', "5", "[]", '["x"]', "false"]))
            else:
                bag = self.bag(self.paths, r.choice([0, 1, 2, 3, 4, 6, 9, 14]))
                if call in ("page", "screen"):
                    for k in ("name", "category", "Name"):
                        if self.chance(.4):
                            bag.pairs.insert(r.randrange(len(bag.pairs) + 1), (k, self.leaf((k.lower(),))))
                put(own, bag)
        if self.chance(.06):
            put(other, r.choice(["null", '""', "{}", '"x"', "[]", '{"left":"out"}', "0"]))
        if self.chance(.8):
            put("context", self.context())
        if self.chance(.12):
            put("integrations", self.integrations())
        for k, missing in (("receivedAt", .15), ("sentAt", .2), ("timestamp", .25), ("originalTimestamp", .3)):
            put(k, self.clock(missing))
        for k, v, p in (("channel", '"client"', .2), ("version", "2", .2), ("projectId", '"p"', .1), ("_metadata", '{"bundled":["x"]}', .1), ("writeKey", '"%s"' % SECRET, .2), ("custom", '{"x":1}', .05), ("batch", '"no array"', .02), ("Type", '"page"', .02), ("userid", '"zz"', .02)):
            if self.chance(p):
                put(k, v)
        if self.chance(.01):
            e.pairs += [("properties", r.choice(['"x"', "[]", "1"])), ("traits", r.choice(['"x"', "[]", "false"]))]
        if in_batch and self.chance(.03):
            put("batch", "[1]")
        if self.chance(.05) and e.pairs:                                         # a repeated top-level key
            k, v = r.choice(e.pairs)
            if k != "batch":
                again = {"userId": '"again"', "messageId": '"again-%d"' % self.n, "event": '"Signed Up"', "context": r.choice([self.bag(self.context_paths, 2), self.bag(self.context_paths, 3), "null", '"x"', "[1]", "7"]), own: self.bag(self.paths, 2)}.get(k, r.choice(["null", '""', '"x"', "{}", "7", '"2026-01-01T00:00:00Z"']))
                e.pairs.insert(r.randrange(len(e.pairs) + 1), (k, again))
        if self.chance(.4):
            r.shuffle(e.pairs)
        return e

    def envelope(self) -> O:
        r = self.r
        e = O()
        items = []
        if not self.chance(.08):
            for _ in range(r.randrange(1, 6)):
                items.append(r.choice(["5", "null", '"x"', "[]", "{}", "[1]"]) if self.chance(.08) else self.emit(self.event(True)))
            if self.chance(.1):
                items.append(items[-1])
        e.pairs.append(("batch", "[" + self.ws() + ",".join(items) + "]"))
        for k, v, p in (("context", self.context, .6), ("integrations", self.integrations, .15), ("sentAt", lambda: self.clock(.1), .8), ("receivedAt", lambda: self.clock(.1), .4), ("writeKey", lambda: '"%s"' % SECRET, .5),
                        ("type", lambda: '"track"', .05), ("userId", lambda: '"outer"', .05), ("timestamp", lambda: '"2020-01-01T00:00:00Z"', .05)):
            if self.chance(p):
                x = v()
                if x is not None:
                    e.pairs.append((k, x))
        r.shuffle(e.pairs)
        return e

    # ---- uploads
    def line(self) -> bytes:
        r = self.r
        x = r.random()
        if x < .02:
            return r.choice(BAD_LINES)
        if x < .028:
            return r.choice(BAD_UTF8)
        if x < .036:
            return r.choice(NOT_OBJECTS)
        if x < .046:
            return r.choice([b"", b" ", b"\t", b"  \t ", b"\r"])
        if x < .049:
            return r.choice([b"{}", b"{ }", b'{"batch":[]}', b'{"batch":{}}', b'{"batch":null}', b'{"batch":[{}]}', b'{"batch":[[]]}', b'{"type":"track","batch":[]}'])
        if x < .054:
            b = self.emit(self.event()).encode()
            return b[: r.randrange(1, len(b))]                                     # cut anywhere, perhaps inside a character
        if x < .11:
            return (self.ws() + self.emit(self.envelope()) + self.ws()).encode()
        return (self.ws() + self.emit(self.event()) + self.ws()).encode()

    def upload(self) -> bytes:
        r = self.r
        x = r.random()
        self.space = r.choice([0, 0, 0, .3])
        self.uploads += 1                                                        # 90 fresh event tables at most: there every column is typed anew
        if x < .012:
            return r.choice([b"", b"\n", b"\n\r\n \t\n", b" ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
        if x < .035:
            n = r.randrange(1, 5)
            return b"\n".join(r.choice(BAD_LINES + BAD_UTF8 + NOT_OBJECTS) for _ in range(n)) + r.choice([b"", b"\n"])      # not_ndjson
        lines = []
        if self.chance(.006):                                                    # the first MiB holds no object
            lines = [b"[" + b"1," * 600_000 + b"1]"]
        for _ in range(r.choice([1, 2, 3, 5, 8, 13, 20, 30, 45, 60])):
            l = self.line()
            lines.append(l)
            if self.chance(.04):
                lines += [l] * r.randrange(1, 4)                                   # the same bytes again
        lines = lines[:60]
        if self.chance(.25):
            for i in range(len(lines)):
                if self.chance(.1):
                    lines[i] = r.choice(lines)
        end = b"\r\n" if self.chance(.15) else b"\n"
        out = end.join(lines) + (b"" if self.chance(.2) else end)
        if self.chance(.05):
            out = b"\xef\xbb\xbf" + out
        return out


def pack(data: bytes, r: random.Random) -> tuple[str, bytes]:
    """(extension, bytes of the object). The name does not always tell the truth: readers look at the first bytes."""
    x = r.random()
    if x < .4:
        return "json", data
    if x < .42 and data[:1] == b"{":
        return "gz", data                                                        # plain under a gz name (a client that had inflated it)
    level = r.choice([1, 6, 9])
    if x < .52 and len(data) > 1:
        cut = r.randrange(1, len(data))
        packed = gzip.compress(data[:cut], level, mtime=0) + gzip.compress(data[cut:], level, mtime=0)      # two members
    else:
        packed = gzip.compress(data, level, mtime=0)
    if x > .985 and len(packed) > 40:
        packed = packed[: r.randrange(20, len(packed) - 1)]                          # cut off: `unreadable`
    return ("json" if x > .96 else "gz"), packed


def generate(seed, outdir, n) -> list[Path]:
    g = Gen(seed)
    folder = Path(outdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    seen, paths = set(), []
    while len(paths) < n:
        ext, body = pack(g.upload(), g.r)
        digest = hashlib.sha256(body).digest()
        if digest in seen and not (body and g.chance(.3)):
            continue                                                             # local uploads are known by content: a copy is a second delivery
        if paths and g.chance(.01):
            body = g.r.choice(paths).read_bytes()                                   # ... now and then on purpose
        seen.add(digest)
        path = folder / f"{len(paths):04d}.{ext}"
        path.write_bytes(body)
        os.utime(path, ns=(MTIME_US * 1000, MTIME_US * 1000))
        paths.append(path)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: generate.py SEED OUTDIR N")
    for p in generate(sys.argv[1], sys.argv[2], int(sys.argv[3])):
        print(p)
