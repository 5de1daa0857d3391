"""Templates, built from a folder with a recipe: `template.yaml`, and what it needs."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_cli.copying import Copying
from signalbox_cli.sandboxes import SandboxApi
from signalbox_common.errors import SignalboxError

RECIPE = "template.yaml"
SHIPPED = Path(__file__).parent / "recipes"
"""Recipes that come along, each in a folder of its name."""
TIMEOUT = 1800
"""Seconds that a build may take."""
_FIELDS = frozenset({"name", "setup", "env", "network", "limits", "include"})
BASE = "base"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VERSION = b"1"
"""Of how recipes are run: a digest of another one says nothing."""


def shipped_names() -> list[str]:
    """Of the recipes that come along."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{RECIPE}"))


@dataclass(frozen=True)
class Recipe:
    folder: Path
    name: str
    setup: list[str]
    env: dict[str, str] = field(default_factory=dict)
    network: Any = "public"
    limits: dict[str, Any] = field(default_factory=dict)
    include: list[str] = field(default_factory=list)
    """Files outside of its folder that are laid into it, too."""

    @staticmethod
    def read(place: Path) -> "Recipe":
        """A folder, or the name of one that comes along."""
        shipped = SHIPPED / place.name
        folder = shipped if not (place / RECIPE).exists() and place.name == str(place) else place
        path = folder / RECIPE
        try:
            said = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeError) as error:
            names = ", ".join(shipped_names())
            raise Mistake(f"there is no {RECIPE} in {place}; those that come along are {names}") from error
        except yaml.YAMLError as error:
            raise Mistake(f"{path}: {error}") from error
        if not isinstance(said, dict) or not isinstance(said.get("name"), str):
            raise Mistake(f"{path}: a recipe has a `name`")
        if unknown := said.keys() - _FIELDS:
            raise Mistake(f"{path}: {', '.join(map(str, sorted(unknown)))} is nothing that a recipe says")
        if not _NAME.fullmatch(said["name"]) or said["name"] == BASE:
            raise Mistake(f"{path}: {said['name']!r} is no name of a template")
        setup = said.get("setup")
        if not isinstance(setup, list) or not setup or not all(isinstance(each, str) for each in setup):
            raise Mistake(f"{path}: `setup` is a list of commands")
        env = {str(name): str(value) for name, value in (said.get("env") or {}).items()}
        rest = {name: said[name] for name in ("network", "limits", "include") if name in said}
        return Recipe(folder, said["name"], setup, env, **rest)

    def included(self) -> list[Path]:
        """Raises Mistake."""
        found = [self.folder / name for name in self.include]
        for path in found:
            if not path.is_file():
                raise Mistake(f"{path} is not there")
        return found

    def digest(self) -> str:
        """Of all that it is made from: the same again needs no work."""
        found = hashlib.sha256(_VERSION)
        for path in sorted(self.folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                content, mode = str(path.readlink() if path.is_symlink() else "").encode(), 0
            else:
                content, mode = path.read_bytes(), path.stat().st_mode & 0o111
            head = json.dumps([str(path.relative_to(self.folder)), mode, len(content)])
            found.update(head.encode() + content)
        for path in self.included():
            found.update(json.dumps([path.name, path.stat().st_size]).encode() + path.read_bytes())
        return found.hexdigest()


class TemplateApi:
    """Of one project; the personal one, if none is named."""

    def __init__(self, http: Client, project: str | None) -> None:
        self.http = http
        self._sandboxes = SandboxApi(http)
        self._project = project

    def every(self) -> list[dict[str, Any]]:
        params = {"projectId": self._project} if self._project else {}
        found: list[dict[str, Any]] = self.http.get("/api/v1/templates", params=params).json()["items"]
        return found

    def delete(self, name: str) -> None:
        params = {"projectId": self._project} if self._project else {}
        wait_for(self.http, self.http.delete(f"/api/v1/templates/{name}", params=params))

    def is_built(self, recipe: Recipe) -> bool:
        digest = recipe.digest()
        return any(each["name"] == recipe.name and each["digest"] == digest for each in self.every())

    def build(self, recipe: Recipe) -> Iterator[tuple[str, Any]]:
        """What happens, as it happens: `step`, what its programs say, `kept`."""
        digest = recipe.digest()
        body = {"builds": True, "network": recipe.network, "limits": recipe.limits, "timeout": TIMEOUT}
        body |= {"projectId": self._project} if self._project else {}
        sandbox = self._sandboxes.create(body)["id"]
        try:
            copying = Copying(self.http, sandbox)
            copying.put_folder(recipe.folder, ".")
            for path in recipe.included():
                copying.upload(path, path.name)
            for number, command in enumerate(recipe.setup, 1):
                yield "step", f"{number}/{len(recipe.setup)} {command.strip().splitlines()[0]}"
                yield from self._run(sandbox, command)
            route = f"/api/v1/sandboxes/{sandbox}/template"
            keep = {"name": recipe.name, "digest": digest, "env": recipe.env}
            wait_for(self.http, self.http.post(route, json=keep))
        except BaseException:
            self._end(sandbox)
            raise
        yield "kept", next(each for each in self.every() if each["name"] == recipe.name)

    def _run(self, sandbox: str, command: str) -> Iterator[tuple[str, Any]]:
        asked = {"argv": ["/bin/sh", "-ec", command], "timeout": TIMEOUT}
        for _, name, data in self._sandboxes.execute(sandbox, asked):
            yield name, data
            if name == "end":
                if data["exitCode"] != 0:
                    said = data["exitCode"] if data["exitCode"] is not None else f"signal {data['signal']}"
                    raise Mistake(f"`{command.strip().splitlines()[0]}` has ended with {said}")
                return
        raise Mistake("the sandbox ended before the command did")

    def _end(self, sandbox: str) -> None:
        try:
            self._sandboxes.destroy(sandbox)
        except SignalboxError:  # its time ends it
            return
