"""A server in a sandbox, and what is asked of it from outside."""

from typing import Any

import httpx

from signalbox_common.testing import eventually
from tests.support.sandboxes import SANDBOXES, SandboxScene

PORT = 8000
# Says what it was asked, with headers that would be dangerous outside; /slow never ends, /large is large.
SERVER = r"""
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if self.path.startswith("/slow"):
            self.send_response(200); self.send_header("Content-Type", "text/event-stream"); self.end_headers()
            while True:
                self.wfile.write(b"data: tick\n\n"); self.wfile.flush(); time.sleep(0.05)
        if self.path.startswith("/later"):
            self.send_response(200); self.send_header("Content-Type", "text/event-stream"); self.end_headers()
            time.sleep(3600)
        if self.path.startswith("/silent"):
            time.sleep(3600)
        if self.path.startswith("/large"):
            self.send_response(200); self.send_header("Content-Length", str(64 << 20)); self.end_headers()
            for _ in range(64): self.wfile.write(b"x" * (1 << 20))
            return
        if self.path.startswith("/short"):
            self.send_response(200); self.send_header("Content-Length", "1000"); self.end_headers()
            self.wfile.write(b"x"); self.close_connection = True
            return
        if self.path.startswith("/moved"):
            self.send_response(302); self.send_header("Location", "http://localhost:8000/there?a=1")
            self.send_header("Content-Length", "0"); self.end_headers()
            return
        said = json.dumps({"method": self.command, "path": self.path, "length": len(body),
                           "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(said))),
                            ("Set-Cookie", "signalbox=stolen; Path=/"), ("Clear-Site-Data", '"*"'),
                            ("Content-Security-Policy", "default-src *"), ("X-Own", "kept"),
                            ("Access-Control-Allow-Origin", "https://evil.example")):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer
    def log_message(self, *_): pass
ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


async def served(scene: SandboxScene) -> str:
    """A sandbox with a server in it."""
    made = await scene.create()
    identifier: str = made["id"]
    await serve(scene, identifier)
    return identifier


async def serve(scene: SandboxScene, sandbox: str, host: str = "127.0.0.1", port: int = PORT) -> None:
    started = await scene.http.post(
        f"{SANDBOXES}/{sandbox}/processes",
        json={"argv": ["python3", "-c", SERVER, host, str(port)]},
        headers=scene.headers,
    )
    assert started.status_code == 201, started.text

    async def listens() -> bool:
        return (await at(scene, sandbox, "", port)).status_code == 200

    await eventually(listens, what="the server in the sandbox listens")


async def at(
    scene: SandboxScene, sandbox: str, path: str, port: int = PORT, method: str = "GET", **more: Any
) -> httpx.Response:
    more.setdefault("headers", scene.headers)
    return await scene.http.request(method, f"{SANDBOXES}/{sandbox}/ports/{port}/{path}", **more)
