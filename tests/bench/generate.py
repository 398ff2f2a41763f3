"""Plain events, the same for the same seed: all six calls, 32 event names, a nested context, about a kilobyte each. No malformed line, no
repeated id, one type per property: what peers stop at is not part of a race."""
from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

SEED = 20260315
SHOP = [
    ("Product Viewed", 30, {"product_id": "word", "sku": "word", "price": "money", "quantity": "count", "currency": "word", "position": "count"}),
    ("Product Added", 15, {"cart_id": "word", "product_id": "word", "price": "money", "quantity": "count", "coupon": "word"}),
    ("Order Completed", 8, {"order_id": "word", "total": "money", "tax": "money", "currency": "word", "products": "items", "shipping": "object"}),
    ("Button Clicked", 20, {"label": "word", "screen_name": "word", "index": "count", "is_primary": "flag"}),
    ("Video Started", 8, {"video_id": "word", "duration": "count", "quality": "word", "autoplay": "flag", "position": "money"}),
    ("Search Performed", 10, {"query": "word", "results": "count", "filters": "object"}),
    ("Signed Up", 2, {"plan": "word", "method": "word", "referrer": "word"}),
    ("Experiment Viewed", 5, {"experiment_id": "word", "variant": "word", "score": "money"}),
]
KINDS = ["word", "count", "money", "flag"]
TRACKS = SHOP + [(f"Custom Event {k}", 2, {f"prop{j}": KINDS[(j + k) % 4] for j in range(4 + k % 8)}) for k in range(24)]
WEIGHTS = [weight for _, weight, _ in TRACKS]


def value(chance, kind):
    match kind:
        case "word":
            return f"v{chance.getrandbits(24):06x}"
        case "count":
            return chance.randrange(100_000)
        case "money":
            return chance.randrange(100_000) / 100 + 0.005
        case "flag":
            return chance.random() < 0.5
        case "items":
            return [{"product_id": f"p{chance.randrange(5000)}", "price": chance.randrange(9900) / 100, "quantity": 1} for _ in range(chance.randrange(1, 4))]
        case "object":
            return {"type": f"v{chance.randrange(9)}", "cost": chance.randrange(2000) / 100 + 0.005}


def moment(number, milliseconds):
    total = number * 37 + milliseconds
    seconds, millis = divmod(total, 1000)
    day, rest = divmod(seconds, 86_400)
    return f"2026-03-{1 + day % 28:02d}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}.{millis:03d}Z"


def context(chance):
    page = chance.randrange(999)
    return {
        "ip": f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}",
        "library": {"name": "analytics.js", "version": f"4.{chance.randrange(9)}.0"},
        "userAgent": f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/{chance.randrange(90, 130)}.0 Safari/537.36",
        "locale": chance.choice(["en-US", "de-DE", "fr-FR"]),
        "timezone": "Europe/Berlin",
        "page": {"path": f"/p/{page}", "referrer": "https://search.example", "title": f"Title {page}", "url": f"https://shop.example/p/{page}"},
        "campaign": {"name": f"c{chance.randrange(20)}", "source": "search", "medium": "cpc"},
        "device": {"id": f"{chance.getrandbits(128):032x}", "type": "ios", "model": "iPhone14,2"},
        "os": {"name": "iOS", "version": f"17.{chance.randrange(6)}"},
        "screen": {"width": 1170, "height": 2532, "density": 3},
    }


def event(chance, number):
    made = {
        "messageId": f"ajs-{chance.getrandbits(128):032x}",
        "anonymousId": f"{chance.getrandbits(128):032x}",
        "userId": f"u{chance.randrange(50_000)}" if chance.random() < 0.7 else None,
        "timestamp": moment(number, 20),
        "originalTimestamp": moment(number, 0),
        "sentAt": moment(number, 200),
        "receivedAt": moment(number, 400),
        "context": context(chance),
    }
    drawn = chance.random()
    if drawn < 0.70:
        name, _, properties = chance.choices(TRACKS, WEIGHTS)[0]
        return made | {"type": "track", "event": name, "properties": {key: value(chance, kind) for key, kind in properties.items()}}
    if drawn < 0.82:
        return made | {"type": "page", "name": "Home", "properties": {"path": "/p", "title": "T", "url": "https://x.example/p"}}
    if drawn < 0.94:
        traits = {"email": f"u{number}@x.example", "firstName": "A", "plan": "pro", "age": chance.randrange(90), "address": {"city": "Berlin", "postalCode": "10115"}}
        return made | {"type": "identify", "traits": traits | {"createdAt": moment(number, 0)}}
    if drawn < 0.97:
        return made | {"type": "screen", "name": "Main", "properties": {"variant": "b"}}
    if drawn < 0.99:
        return made | {"type": "group", "groupId": f"g{chance.randrange(900)}", "traits": {"company": "Acme", "employees": chance.randrange(900)}}
    return made | {"type": "alias", "previousId": f"anon-{number}"}


def generate(folder: Path, events: int, files: int) -> dict:
    """Writes `files` gzip files of `events` events in all; answers how many rows they become, and the bytes of JSON."""
    chance, raw, rows = random.Random(SEED), 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    for file in range(files):
        with gzip.GzipFile(folder / f"batch-{file:03d}.ndjson.gz", "wb", compresslevel=6, mtime=0) as out:
            for number in range(events * file // files, events * (file + 1) // files):
                made = event(chance, number)
                line = json.dumps(made, separators=(",", ":")).encode() + b"\n"
                rows += 2 if made["type"] == "track" else 1
                raw += len(line)
                out.write(line)
    return {"events": events, "files": files, "json_bytes": raw, "rows": rows}
