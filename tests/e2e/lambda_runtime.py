"""Lambda's Runtime API for one process of a function: events in, answers out."""
from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Failed(Exception):
    """The function answered with an error: its type and message."""


class Lambda:
    """A started function. `handler` is what its configuration names; `env` are its variables."""

    TIMEOUT, MEMORY = 60, 1769

    def __init__(self, exe: str, handler: str, env: dict):
        calls, answers = queue.Queue(), queue.Queue()

        class Api(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):                                                          # /2018-06-01/runtime/invocation/next
                headers, body = calls.get()
                self.answer(200, body, {"content-type": "application/json", **headers})

            def do_POST(self):                                                         # /2018-06-01/runtime/invocation/ID/response, …/error, …/init/error
                length, body = self.headers.get("content-length"), b""
                if length is not None:
                    body = self.rfile.read(int(length))
                else:
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                answers.put((self.path.rsplit("/", 1)[1], json.loads(body)))
                self.answer(202, b"")

            def answer(self, status, body, headers=None):
                self.send_response(status)
                for name, value in {**(headers or {}), "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.calls, self.answers = calls, answers
        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """The function has ended."""

        self.server = Server(("127.0.0.1", 0), Api)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        given = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server.server_port}", "_HANDLER": handler, "AWS_LAMBDA_FUNCTION_NAME": "inlet",
                 "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.MEMORY)}
        self.process = subprocess.Popen([exe], env={**os.environ, **env, **given}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.logs: list[str] = []
        threading.Thread(target=lambda: self.logs.extend(self.process.stdout), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def invoke(self, event):
        """Calls the function; what it answers. Failed: its error."""
        until = int((time.time() + self.TIMEOUT) * 1000)
        headers = {"lambda-runtime-aws-request-id": str(uuid.uuid4()), "lambda-runtime-deadline-ms": str(until),
                   "lambda-runtime-invoked-function-arn": "arn:aws:lambda:eu-west-1:111122223333:function:inlet"}
        self.calls.put((headers, json.dumps(event).encode()))
        try:
            how, said = self.answers.get(timeout=self.TIMEOUT)
        except queue.Empty:
            raise Failed(f"no answer; {self.logs[-9:]}") from None
        if how != "response":
            raise Failed(f"{said.get('errorType')}: {said.get('errorMessage')}")
        return said
