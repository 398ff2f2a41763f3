"""A slow gate before a store that admits only lent credentials while they live, and a lender that changes them every second.

moto asks nobody for credentials, and Azurite tells times by the second: here it is known exactly until when each may be used."""
from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


def credential(headers, query):
    """What a request shows: a session's token (S3), a signature or a bearer token (Azure); None: nothing."""
    shown = headers.get("x-amz-security-token") or parse_qs(query).get("sig", [None])[0]
    bearer = re.fullmatch("Bearer (.*)", headers.get("authorization") or "")
    return shown or (bearer and bearer[1])


class Gate:
    """Listens on loopback; `seen` is when each credential came, `refused` how many requests were."""

    def __init__(self, endpoint, delay, certificate=None):
        self.to, self.delay, self.seen, self.refused, self.ends = urlsplit(endpoint), delay, [], 0, {}
        self.trust = ssl.create_default_context(cafile=certificate) if certificate else None
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, headers, content = gate.pass_on(self.command, self.path, self.headers, body)
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def pass_on(self, method, path, headers, body):
        shown, now = credential(headers, urlsplit(path).query), time.monotonic()
        self.seen.append((now, shown))
        if shown not in self.ends or now > self.ends[shown]:
            self.refused += 1
            said = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
            return 403, [("content-type", "application/xml"), ("content-length", str(len(said)))], said
        return self.forward(method, path, headers, body)

    def forward(self, method, path, headers, body):
        """What the store behind answers: status, headers and content."""
        time.sleep(self.delay)
        kind, more = (http.client.HTTPSConnection, {"context": self.trust}) if self.trust else (http.client.HTTPConnection, {})
        line = kind(self.to.hostname, self.to.port, timeout=60, **more)
        try:
            line.request(method, path, body or None, {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP})
            answer = line.getresponse()
            content = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP | {"content-length"}]
            # The length of what HEAD asks about is not that of its answer.
            length = answer.getheader("content-length") if method == "HEAD" else str(len(content))
            return answer.status, kept + [("content-length", length or "0")], content
        finally:
            line.close()


class Lender:
    """Turns a workspace's knob `vended` every second while it is open. `make` gives a credential and how it is vended; each may be used
    until `life` seconds after it was vended for the last time."""

    EVERY = 1.0

    def __init__(self, gate: Gate, workspace, make, life):
        self.gate, self.workspace, self.make, self.life = gate, workspace, make, life
        self.lent, self.over, self.thread = [], threading.Event(), None

    def lend(self):
        shown, vended = self.make()
        self.gate.ends[shown] = float("inf")
        self.workspace.control("PATCH", "knobs", {"vended": vended, "vended_seconds": self.life})
        for before in self.lent[-1:]:
            self.gate.ends[before] = time.monotonic() + self.life
        self.lent.append(shown)

    def __enter__(self):
        def renew():
            while not self.over.wait(self.EVERY):
                self.lend()
        self.lend()
        self.thread = threading.Thread(target=renew, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
