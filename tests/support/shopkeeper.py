"""Somebody at the command line."""

import asyncio
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from signalbox_cli.main import app
from signalbox_common import telemetry
from tests.support.installation import Http, Installation

PROMPT = "You are a bot.\n\n- be kind  \n- be quick\n"
GHOST = f"""\
apiVersion: signalbox.dev/v1
kind: Ghost
metadata:
  name: helper
  labels: {{app: shop, tier: front}}
spec:
  systemPrompt: {json.dumps(PROMPT)}
  mcpServers:
    github:
      command: npx
      env: {{GITHUB_TOKEN: ghp_0123456789abcdef, VERSION: '1e5'}}
"""
SHELL = """\
{"apiVersion": "signalbox.dev/v1", "kind": "Shell",
 "metadata": {"name": "chat", "labels": {"app": "shop"}}, "spec": {"shellType": "Chat"}}
"""
BOT = """\
apiVersion: signalbox.dev/v1
kind: Bot
metadata: {name: clerk, labels: {app: shop}}
spec: {ghostRef: {name: helper}, shellRef: {name: chat}, description: Sells.}
"""
TEAM = """\
apiVersion: signalbox.dev/v1
kind: Team
metadata: {name: staff}
spec:
  collaborationModel: pipeline
  members:
  - botRef: {name: clerk}
"""


@dataclass
class Person:
    """Somebody who is logged in, with a folder of their own."""

    http: Http
    headers: dict[str, str]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    username: str = ""

    async def run(self, *words: str, stdin: str | None = None, code: int = 0) -> Result:
        done = await asyncio.to_thread(
            CliRunner().invoke, app, list(words), input=stdin, env=self.env, catch_exceptions=False
        )
        assert done.exit_code == code, (words, done.exit_code, done.stdout, done.stderr)
        return done

    async def out(self, *words: str, stdin: str | None = None, code: int = 0) -> str:
        return str((await self.run(*words, stdin=stdin, code=code)).stdout)

    async def err(self, *words: str, stdin: str | None = None, code: int = 1) -> str:
        return str((await self.run(*words, stdin=stdin, code=code)).stderr)

    async def json(self, *words: str) -> Any:
        return json.loads(await self.out(*words, "-o", "json"))

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    async def shop(self) -> None:
        """A bot with all that it is made of."""
        for name, text in {"b/ghost.yaml": GHOST, "b/shell.json": SHELL, "a.yaml": BOT}.items():
            self.write(f"shop/{name}", text)
        await self.run("apply", "-f", str(self.folder / "shop"))

    def editor(self, script: str) -> None:
        """Is run with the text of the file as `text`, and what it makes of it is saved."""
        lines = ("import sys, pathlib", "p = pathlib.Path(sys.argv[1])", "text = p.read_text()")
        path = self.write("editor.py", "\n".join([*lines, script, "p.write_text(text)"]))
        self.env["EDITOR"] = f"{sys.executable} {path}"


@asynccontextmanager
async def person_of(installation: Installation, tmp_path: Path, **gateway: Any) -> AsyncIterator[Person]:
    with (
        (tmp_path / "services.log").open("w", encoding="utf-8") as file,
        pytest.MonkeyPatch.context() as patch,
    ):
        # The services share our process, and must not log into what a command prints.
        patch.setattr(telemetry, "write", lambda line: file.write(line + "\n"))
        async with (
            installation.running_auth(),
            installation.running_catalog(),
            installation.served_gateway(**gateway) as (http, address),
        ):
            username = f"shopkeeper-{uuid.uuid4().hex[:10]}"
            headers = await http.sign_up(username)
            env = {
                "SIGNALBOX_URL": f"http://{address}",
                "SIGNALBOX_TOKEN": headers["Authorization"].removeprefix("Bearer "),
                "SIGNALBOX_CONFIG_DIR": str(tmp_path / "config"),
            }
            folder = tmp_path / "work"
            folder.mkdir()
            yield Person(http, headers, folder, env, username)


def rows(table: str) -> list[list[str]]:
    return [re.split(r" {3,}", line.strip()) for line in table.splitlines()]
