"""A resource in an editor, until it is taken, given up or left as it was."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from signalbox_cli.catalog.documents import DocumentError, export, read, to_yaml
from signalbox_cli.catalog.errors import Mistake
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.catalog import Resource
from signalbox_common.errors import SignalboxError
from signalbox_manifests import Document

REMARK = "#"
CORRECTABLE = frozenset({400, 409, 413, 422})
"""Refusals that another text may avoid."""
VERSION_CONFLICT = "version_conflict"
_INTRODUCTION = (
    "Save and quit to change this resource; without a change, nothing happens.",
    "*** stands for a stored key: leave it, and the key stays as it is.",
)

Save = Callable[[dict[str, Any]], Resource]
Open = Callable[[Path], None]


class BadEdit(Exception):
    """What the editor has left is no such resource."""

    def __init__(self, errors: Sequence[FieldError], lines: Mapping[int, int]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors
        self.lines = lines
        """Of each error, by its number."""


class EditNotSaved(Exception):
    """It was not saved, and lies in a file."""

    def __init__(self, why: str, file: Path) -> None:
        super().__init__(why)
        self.file = file


def edit(resource: Resource, save: Save, editor: Open) -> Resource | None:
    """What became of it; None where nothing was changed."""
    before = to_yaml(export(resource))
    remarks: list[str] = [f"{REMARK} {line}" for line in _INTRODUCTION]
    text = before
    with tempfile.TemporaryDirectory(prefix="signalbox-") as folder:
        file = Path(folder) / f"{resource.kind.lower()}.yaml"
        tried: str | None = None
        while True:
            _write(file, "\n".join([*remarks, text]))
            editor(file)
            text = _without_remarks(_read(file))
            if not text.strip() or text == before:
                return None
            if text == tried:
                raise EditNotSaved("it was not changed any more, and does not fit as it is", keep(text))
            tried = text
            try:
                return save(_document(text, resource))
            except BadEdit as bad:
                remarks = _remarks(bad)
            except SignalboxError as error:
                if error.code == VERSION_CONFLICT or error.status not in CORRECTABLE:
                    raise EditNotSaved(error.detail, keep(text)) from error
                remarks = _remarks(_located(error, text))
            except Exception as error:
                raise EditNotSaved(str(error), keep(text)) from error


def editor_of(environment: Mapping[str, str]) -> list[str]:
    """The program, and what it is started with."""
    named = environment.get("VISUAL") or environment.get("EDITOR") or "vi"
    try:
        return shlex.split(named)
    except ValueError as error:
        raise Mistake(f"{named!r} cannot be started as an editor: {error}") from None


def open_in(command: Sequence[str]) -> Open:
    def run(file: Path) -> None:
        try:
            done = subprocess.run([*command, str(file)], check=False)
        except OSError as error:
            raise Mistake(f"{command[0]} cannot be started: {error.strerror}; set EDITOR") from None
        if done.returncode:
            raise Mistake(f"{command[0]} ended with {done.returncode}: nothing was changed")

    return run


def keep(text: str) -> Path:
    """Where it lies, for its owner only, until somebody removes it."""
    descriptor, name = tempfile.mkstemp(prefix="signalbox-edit-", suffix=".yaml")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    return Path(name)


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as opened:
        opened.write(text)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise Mistake(f"what was edited cannot be read: {error.strerror}") from None


def _without_remarks(text: str) -> str:
    """Those at the top are ours, or were made for one attempt only."""
    lines = text.split("\n")
    while lines and lines[0].startswith(REMARK):
        del lines[0]
    return "\n".join(lines)


def _document(text: str, resource: Resource) -> dict[str, Any]:
    try:
        found = read(text)
    except DocumentError as error:
        raise BadEdit(error.errors, {n: e.line for n, e in enumerate(error.errors) if e.line}) from None
    if len(found) != 1:
        raise BadEdit([_wrong("", f"There are {len(found)} documents; an edit is about one.")], {})
    content: dict[str, Any] = found[0].content
    _check_same(found[0], resource)
    return content


def _check_same(document: Document, resource: Resource) -> None:
    """Under another name or elsewhere, it would be another resource."""
    content, own = document.content, resource.metadata
    metadata = content.get("metadata")
    said = metadata if isinstance(metadata, dict) else {}
    wrong: list[tuple[tuple[str, ...], str]] = []
    if content.get("kind", resource.kind) != resource.kind:
        wrong.append((("kind",), f"The kind stays {resource.kind}."))
    if said.get("name", own.name) != own.name:
        wrong.append((("metadata", "name"), f"The name stays {own.name}: resources are not renamed."))
    if said.get("namespace") not in (None, "", own.namespace):
        wrong.append((("metadata", "namespace"), f"The namespace stays {own.namespace}."))
    if wrong:
        errors = [_wrong(".".join(path), message) for path, message in wrong]
        raise BadEdit(errors, {n: document.line_of(path) for n, (path, _) in enumerate(wrong)})


def _wrong(field: str, message: str) -> FieldError:
    return FieldError(field=field, message=message, code="unfit")


def _located(error: SignalboxError, text: str) -> BadEdit:
    """With the lines of the fields that the server has named."""
    if not error.errors:
        return BadEdit([_wrong("", error.detail)], {})
    document = read(text)[0]
    lines = {}
    for number, each in enumerate(error.errors):
        path = tuple(int(step) if step.isdecimal() else step for step in each.field.split(".") if step)
        lines[number] = document.line_of(path)
    return BadEdit(error.errors, lines)


def _remarks(bad: BadEdit) -> list[str]:
    """What is wrong, with the lines that things will stand on below it."""
    heading = "This was not taken. Change it and save, or leave it as it is to give up:"
    before = 2 + sum(1 + each.message.count("\n") for each in bad.errors)
    remarks = [f"{REMARK} {heading}"]
    for number, each in enumerate(bad.errors):
        line = f"line {bad.lines[number] + before}: " if number in bad.lines else ""
        field = f"{each.field}: " if each.field else ""
        remarks += [f"{REMARK}   {part}" for part in f"{line}{field}{each.message}".split("\n")]
    return [*remarks, REMARK]
