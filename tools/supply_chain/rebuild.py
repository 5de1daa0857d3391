"""Builds nats-server from the source that the Go checksum database vouches for, and compares every byte.

The compiler, the module and what it needs come through the module proxy; Go refuses what the checksum
database knows otherwise. Two texts that are no code are copied from the binary that is compared: what it
says of its build (`go version -m`: the commit, which the module's archive does not have) and its build id.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MODULE = "github.com/nats-io/nats-server/v2"
COMMIT = "pypi"
"""What the publisher of the wheel names as the commit (`server.gitCommit`)."""
_BEGIN = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
_END = bytes.fromhex("f932433186182072008242104116d8f2")
"""Between them stands what a Go program says of its build."""


@dataclass(frozen=True)
class Comparison:
    built: str
    installed: str

    @property
    def is_same(self) -> bool:
        return self.built == self.installed

    def __str__(self) -> str:
        said = "the same" if self.is_same else "NOT the same"
        return f"{said}\n  built     {self.built}\n  installed {self.installed}"


def rebuilt_nats_server(binary: Path | None = None) -> Comparison:
    binary = binary or Path(sys.executable).parent / "nats-server"
    target = binary.read_bytes()
    info = target[target.index(_BEGIN) : target.index(_END) + len(_END)]
    said = subprocess.run(["go", "version", "-m", binary], capture_output=True, text=True, check=True).stdout
    toolchain = said.split()[1]
    version = next(line.split()[2] for line in said.splitlines() if line.split()[:2] == ["mod", MODULE])
    defaults = next(line.split("=", 1)[1] for line in said.splitlines() if "DefaultGODEBUG=" in line)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        inherited = ("PATH", "HOME", "GOPROXY", "HTTPS_PROXY")
        kept = {name: os.environ[name] for name in inherited if name in os.environ}
        environment = kept | {
            "GOTOOLCHAIN": toolchain,
            "GOENV": "off",  # with the checksum database that Go comes with
            "GOPATH": str(here / "path"),
            "GOCACHE": str(here / "cache"),
            "GOTMPDIR": str(here),
            "GOFLAGS": "-modcacherw",
            "GOWORK": "off",
            "CGO_ENABLED": "0",
        }

        def run(*command: str | Path, at: Path = here, **more: str) -> str:
            done = subprocess.run(
                command, cwd=at, env=environment | more, capture_output=True, text=True, check=True
            )
            return done.stdout + done.stderr

        run("go", "mod", "download", f"{MODULE}@{version}")
        source = here / "source"
        shutil.copytree(here / "path" / "pkg" / "mod" / f"{MODULE}@{version}", source)
        run("go", "mod", "verify", at=source)
        told = run(
            "go", "build", "-trimpath", "-buildvcs=false", "-work", "-o", here / "plain", ".", at=source
        )
        work = re.findall(r"^WORK=(.+)$", told, re.MULTILINE)[0]
        linking = (Path(work) / "b001" / "importcfg.link").read_text("utf-8").replace("$WORK", work)
        linking = re.sub(r"^modinfo .*$", lambda _: f"modinfo {_quoted(info)}", linking, flags=re.MULTILINE)
        (here / "linking").write_text(linking, "utf-8")
        build_id = run("go", "tool", "buildid", binary.absolute(), at=source).strip().splitlines()[-1]
        first, second, third, _ = build_id.split("/")
        linker = run("go", "tool", "-n", "link", at=source).strip().splitlines()[-1]
        before = f"{first}/{second}/{third}/{first}"
        run(
            *(linker, "-o", here / "out", "-importcfg", here / "linking"),
            *(f"-X=runtime.godebugDefault={defaults}", "-buildmode=exe", f"-buildid={before}", "-w"),
            *("-X", f"{MODULE}/server.gitCommit={COMMIT}", "-X", f"{MODULE}/server.serverVersion={version}"),
            Path(work) / "b001" / "_pkg_.a",
            at=source,
            GOROOT="",  # paths of the builder's machine are no part of it
        )
        built = (here / "out").read_bytes().replace(before.encode(), build_id.encode())
    return Comparison(hashlib.sha256(built).hexdigest(), hashlib.sha256(target).hexdigest())


def _quoted(text: bytes) -> str:
    """As Go's linker reads it."""
    plain = {ord('"'): '\\"', ord("\\"): "\\\\"}
    shown = (plain.get(each) or (chr(each) if 32 <= each < 127 else f"\\x{each:02x}") for each in text)
    return f'"{"".join(shown)}"'
