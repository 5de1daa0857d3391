"""nginx with nchan, as Debian has it, to measure beside: one worker that tells many subscribers."""

import http.client
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.crowd import HOST
from signalbox_cli.stack.program import free_port

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_PATIENCE = 10.0

_CONFIG = """\
load_module {module};
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    keepalive_timeout 1h;
    nchan_shared_memory_size 256M;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port} backlog=4096;
        nchan_subscriber_first_message newest;
        location = /tell {{ nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 2; }}
        location = /sse {{ nchan_subscriber eventsource; nchan_channel_id $arg_id; }}
        location = /ws {{ nchan_subscriber websocket; nchan_channel_id $arg_id; }}
    }}
}}
"""


class Nchan:
    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port = port
        self.process = process
        self._http = http.client.HTTPConnection(HOST, port, timeout=_PATIENCE)

    def close(self) -> None:
        self._http.close()

    def tell(self, channel: str, body: bytes) -> None:
        self._http.request("POST", f"/tell?id={channel}", body)
        answer = self._http.getresponse()
        answer.read()
        if answer.status not in (200, 201, 202):
            raise RuntimeError(f"nchan answers {answer.status}")


def missing() -> str | None:
    """Why there is none here."""
    if shutil.which("nginx") is None:
        return "nginx is not installed"
    return None if MODULE.exists() else "nginx has no nchan (libnginx-mod-nchan)"


@contextmanager
def nchan(connections: int) -> Iterator[Nchan]:
    folder = Path(tempfile.mkdtemp(prefix="signalbox-bench-nchan-"))
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            module=MODULE,
            folder=folder,
            host=HOST,
            port=port,
            connections=connections * 5 // 4 + 100,  # it gives up idle ones where few are left
            files=connections * 5 // 4 + 300,
        ),
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [shutil.which("nginx") or "nginx", "-c", str(config), "-e", str(folder / "error.log")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    made = Nchan(port, process)
    try:
        _wait(made, folder)
        yield made
    finally:
        made.close()
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(made: Nchan, folder: Path) -> None:
    ends = time.monotonic() + _PATIENCE
    while True:
        try:
            made.tell("nobody", b"-")
        except OSError:
            made.close()
            if made.process.poll() is not None or time.monotonic() > ends:
                said = (folder / "error.log").read_text(encoding="utf-8") if folder.exists() else ""
                raise RuntimeError(f"nginx does not start: {said[-500:]}") from None
            time.sleep(0.05)
        else:
            return
