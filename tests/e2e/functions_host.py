"""The Azure Functions host, as far as a custom handler meets it: its process, its invocations, storage queues and timers.

Written from the host's published source and documents, not from what Inlet expects. An app root holds host.json, a folder with a
function.json for each function, and the handler that host.json names.

functions_host.py: tries itself with a handler that does what it is told. Exit 1 with what differs. Needs nothing."""
from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

VERSION = "4.1037.0.0"
READY_WITHIN, ASKED_EVERY = 30, .025
# Restarts that were no success within half an hour, after which the host gives up.
ERRORS, ERRORS_WITHIN = 3, 30 * 60
# The exit code by which a handler asks to be started again.
RESTART = 200


class Failed(Exception):
    """An invocation that the host counts as failed."""


class Function:
    def __init__(self, folder: Path):
        self.name = folder.name
        self.bindings = json.loads((folder / "function.json").read_text())["bindings"]
        self.trigger = next(binding for binding in self.bindings if binding["type"].lower().endswith("trigger"))


class FunctionsHost:
    """A started host. `settings` are the app's, `AzureFunctionsJobHost__…` among them, which win over host.json. `once` has texts encoded
    once, as some versions of the host do, instead of twice."""

    def __init__(self, root: Path, settings=None, once=False):
        self.root, self.settings, self.once = root, settings or {}, once
        self.config = configured(json.loads((root / "host.json").read_text()), self.settings)
        self.functions = {f.parent.name: Function(f.parent) for f in sorted(root.glob("*/function.json"))}
        self.timeout = seconds(self.config.get("functionTimeout", "00:30:00"))
        self.logs, self.stopped, self.closing, self.errors, self.starts = [], False, False, [], 0
        self.lock, self.process, self.generation = threading.Lock(), None, 0
        with self.lock:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing = True
        with self.lock:
            self.kill()

    # ---- the process

    def start(self):
        description = self.config["customHandler"]["description"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        worker = str(uuid.uuid4())
        given = {"FUNCTIONS_CUSTOMHANDLER_PORT": str(self.port), "FUNCTIONS_HTTPWORKER_PORT": str(self.port), "FUNCTIONS_CUSTOMHANDLER_WORKER_ID": worker,
                 "FUNCTIONS_HTTPWORKER_ID": worker, "FUNCTIONS_APP_ROOT_PATH": str(self.root)}
        line = [str(self.root / description["defaultExecutablePath"]), *description.get("arguments", [])]
        folder = self.root / description.get("workingDirectory", "")
        self.process = subprocess.Popen(line, cwd=folder, env={**os.environ, **self.settings, **given}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.generation += 1
        for stream, level in ((self.process.stdout, "Information"), (self.process.stderr, "Error")):
            threading.Thread(target=self.read, args=(stream, level), daemon=True).start()
        self.wait_until_ready()
        self.starts += 1
        threading.Thread(target=self.watch, args=(self.process, self.generation), daemon=True).start()

    def read(self, stream, level):
        for line in stream:
            self.logs.append((level, line.rstrip("\n")))

    def wait_until_ready(self):
        """Any answer will do; only a socket that does not answer means that it is not there yet."""
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(ASKED_EVERY)
        raise Failed(f"the handler did not answer GET / within {READY_WITHIN} s: exit {self.process.poll()}, {self.logs[-9:]}")

    def watch(self, process, generation):
        code = process.wait()
        with self.lock:
            if self.closing or generation != self.generation:
                return
            if code == 0:
                # Ended on purpose: nobody starts it again.
                self.generation += 1
                return
            if code != RESTART:
                now = time.monotonic()
                self.errors = [at for at in self.errors if now - at < ERRORS_WITHIN] + [now]
                if len(self.errors) >= ERRORS:
                    self.stopped = True
                    return
            self.start()

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def crash(self):
        """SIGKILL by somebody else."""
        self.process.kill()

    # ---- invocations

    def invoke(self, name, data, metadata=None):
        """Calls a function; its outputs, log lines and return value. Failed: as the host sees it."""
        body = json.dumps({"Data": data, "Metadata": {**(metadata or {}), "sys": self.sys(name)}}).encode()
        headers = {"content-type": "application/json; charset=utf-8", "x-azure-functions-invocationid": str(uuid.uuid4()),
                   "x-azure-functions-hostversion": VERSION, "user-agent": f"Azure-Functions-Host/{VERSION}"}
        # A handler that is being started is waited for.
        with self.lock:
            generation, port, stopped = self.generation, self.port, self.stopped
        if stopped:
            raise Failed("the host has stopped")
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{name}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                kind, said = answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            raise Failed(f"status {error.code}: {error.read()[:2000].decode(errors='replace')}") from None
        except TimeoutError:
            self.time_out(generation)
            raise Failed(f"timed out after {self.timeout} s") from None
        except OSError as error:
            raise Failed(f"the handler is gone: {error}") from None
        if kind != "application/json" and not kind.endswith("+json"):
            raise Failed(f"Invalid HttpResponseMessage: content type {kind}")
        if not said.strip() or said.strip() == b"null":
            # The host makes nothing of it, and waits for a result that never comes.
            time.sleep(self.timeout)
            self.time_out(generation)
            raise Failed("an empty answer: the invocation never ended")
        try:
            answer = json.loads(said)
            answer = {key.lower(): value for key, value in answer.items()}
        except (ValueError, AttributeError):
            raise Failed(f"Invalid HttpResponseMessage: {said[:500]!r}") from None
        outputs = {binding: bytes_or_text(value) for binding, value in (answer.get("outputs") or {}).items()}
        self.logs += [("Information", line) for line in answer.get("logs") or []]
        return outputs, answer.get("returnvalue")

    def time_out(self, generation):
        """A function that takes too long takes the process, and all calls in flight, with it."""
        with self.lock:
            if generation == self.generation and not self.closing:
                self.generation += 1
                self.kill()
                self.start()

    def sys(self, name):
        return {"MethodName": name, "UtcNow": time.strftime("%Y-%m-%dT%H:%M:%S.0000000Z", time.gmtime()), "RandGuid": str(uuid.uuid4())}

    def encoded(self, text: str):
        """A text as a value of Data or Metadata: JSON in JSON."""
        return text if self.once else json.dumps(text)

    # ---- triggers

    def message(self, name, text, dequeue_count=1):
        """Calls a function for a message of its queue."""
        binding = self.functions[name].trigger["name"]
        now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        metadata = {"DequeueCount": str(dequeue_count), "ExpirationTime": now, "Id": self.encoded(str(uuid.uuid4())), "InsertionTime": now,
                    "NextVisibleTime": now, "PopReceipt": self.encoded("AgAAAAMAAAAAAAAAAgtnj8x+1QE=")}
        try:
            members = json.loads(text)
            if isinstance(members, dict):
                # Members of a message that is a JSON object stand among the metadata, and win.
                for key, value in members.items():
                    known = next((k for k in metadata if k.lower() == key.lower()), key)
                    if not isinstance(value, list) and value is not None:
                        metadata[known] = value if isinstance(value, dict) else self.encoded(value) if isinstance(value, str) else json.dumps(value)
        except ValueError:
            pass
        return self.invoke(name, {binding: self.encoded(text)}, metadata)

    def event(self, name, event):
        """Calls a function for an event of Event Grid, as an object or as indented text."""
        binding = self.functions[name].trigger["name"]
        return self.invoke(name, {binding: event if self.once else json.dumps(json.dumps(event, indent=2))}, {"data": event["data"]})

    def tick(self, name, past_due=False):
        """Calls a function as its timer does."""
        binding = self.functions[name].trigger["name"]
        status = {"Last": "2026-01-02T03:00:00+00:00", "Next": "2026-01-02T04:00:00+00:00", "LastUpdated": "2026-01-02T03:00:00+00:00"}
        return self.invoke(name, {binding: {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": past_due}})

    def pump(self, queues, until, *names):
        """Serves the functions' queues until `until()` is true: as many at once as host.json says, failures again after its time, and what failed too
        often to the poison queue. `queues` is a QueueServiceClient."""
        config = self.config["extensions"]["queues"]
        at_once, again, attempts = config["batchSize"] + config["newBatchThreshold"], seconds(config["visibilityTimeout"]), config["maxDequeueCount"]

        def serve(name, queue, message):
            try:
                self.message(name, message.content, message.dequeue_count)
                queue.delete_message(message)
            except Failed as failed:
                self.logs.append(("Error", f"{name}: {failed}"))
                if message.dequeue_count >= attempts:
                    poison = queues.get_queue_client(f"{queue.queue_name}-poison")
                    try:
                        poison.create_queue()
                    except Exception as error:                                         # it is there
                        if getattr(error, "status_code", None) != 409:
                            raise
                    poison.send_message(message.content)
                    queue.delete_message(message)
                else:
                    queue.update_message(message, visibility_timeout=again)

        with ThreadPoolExecutor(at_once) as pool:
            running = set()
            while not until():
                for one in [one for one in running if one.done()]:
                    running.remove(one)
                    one.result()                                                       # raises what it raised
                for name in names:
                    queue = queues.get_queue_client(self.functions[name].trigger["queueName"])
                    room = min(config["batchSize"], at_once - len(running), 32)
                    if room > 0:
                        page = queue.receive_messages(max_messages=room, visibility_timeout=600)
                        running |= {pool.submit(serve, name, queue, message) for message in page}
                time.sleep(.05)


def configured(config: dict, settings: dict) -> dict:
    """host.json with the app settings that say otherwise."""
    for name, value in settings.items():
        first, *path = name.split("__")
        if first == "AzureFunctionsJobHost":
            place = config
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = int(value) if value.isdigit() else value
    return config


def seconds(span: str) -> int:
    hours, minutes, rest = re.fullmatch(r"(\d+):(\d+):(\d+)", span).groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(rest)


def bytes_or_text(value):
    """The host takes an output's text for base64 whenever it can."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            return value
    return value


HANDLER = """#!{python}
import http.server, json, os, time
class Told(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def say(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.say(404, b"")
    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        told = json.loads(json.loads(call["Data"]["message"]))
        print(self.path, flush=True)
        if "exit" in told:
            os._exit(told["exit"])
        time.sleep(told.get("sleep", 0))
        right = json.dumps(dict(outputs={{"b": "abcd"}}, returnValue=call))
        self.say(told.get("status", 200), told.get("body", right).encode(), told.get("kind", "application/json"))
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["FUNCTIONS_CUSTOMHANDLER_PORT"])), Told).serve_forever()
"""


def check() -> list[str]:
    root, bad = Path(tempfile.mkdtemp(prefix="functions-host-")), []
    (root / "handler").write_text(HANDLER.format(python=sys.executable))
    (root / "handler").chmod(0o755)
    (root / "host.json").write_text(json.dumps({"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}}}))
    (root / "tell").mkdir()
    (root / "tell/function.json").write_text(json.dumps({"bindings": [{"type": "queueTrigger", "direction": "in", "name": "message", "queueName": "told"}]}))

    def same(what, ours, wanted):
        if ours != wanted:
            bad.append(f"{what}: {ours!r}, not {wanted!r}")

    with FunctionsHost(root, {"AzureFunctionsJobHost__functionTimeout": "00:00:02"}) as host:
        def fails(what, told, words):
            try:
                same(what, host.message("tell", json.dumps(told)), "a failure")
            except Failed as failed:
                if words not in str(failed):
                    bad.append(f"{what}: {failed}")

        def started(times):
            until = time.monotonic() + READY_WITHIN
            while host.starts < times and not host.stopped and time.monotonic() < until:
                time.sleep(.01)
            same("starts", host.starts, times)

        outputs, called = host.message("tell", '{"id":"other","n":1}', 3)
        same("a text that is base64", outputs, {"b": b"i\xb7\x1d"})
        same("a message", called["Data"], {"message": json.dumps('{"id":"other","n":1}')})
        same("its metadata", [called["Metadata"][key] for key in ("DequeueCount", "Id", "n")], ["3", '"other"', "1"])
        fails("a status that is none of success", {"status": 503}, "503")
        fails("an answer that is no JSON", {"body": "{"}, "Invalid HttpResponseMessage")
        fails("an answer of another kind", {"kind": "text/plain"}, "Invalid HttpResponseMessage")
        same("starts so far", host.starts, 1)
        fails("an empty answer", {"body": ""}, "never ended")
        fails("a null", {"body": "null"}, "never ended")
        fails("an answer that takes too long", {"sleep": 9}, "timed out")
        started(4)
        fails("an end on purpose", {"exit": RESTART}, "gone")
        started(5)
        for starts in (6, 7):
            fails("an end with an error", {"exit": 70}, "gone")
            started(starts)
        fails("the third error", {"exit": 70}, "gone")
        time.sleep(.2)
        fails("a host that has stopped", {}, "stopped")
    with FunctionsHost(root) as host:
        fails("an end without an error", {"exit": 0}, "gone")
        time.sleep(.2)
        fails("a handler that nobody starts again", {}, "gone")
        same("starts", host.starts, 1)
    shutil.rmtree(root)
    return bad


if __name__ == "__main__":
    found = check()
    print("\n".join(found) or "the host is played as it is written down")
    sys.exit(1 if found else 0)
