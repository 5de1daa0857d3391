"""`signalbox edit` with editors that do as they are told."""

import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from signalbox_cli.catalog.documents import export, to_yaml
from signalbox_cli.catalog.editor import EditNotSaved, edit, editor_of, open_in
from signalbox_cli.catalog.errors import Mistake
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.catalog import Resource
from signalbox_common.errors import Conflict, Forbidden, Invalid, Unavailable

GHOST = Resource.model_validate(
    {
        "apiVersion": "signalbox.dev/v1",
        "kind": "Ghost",
        "metadata": {
            "name": "g",
            "namespace": "me",
            "uid": "0198c0de-0000-7000-8000-000000000000",
            "createdBy": "0198c0de-0000-7000-8000-000000000001",
            "createdAt": "2026-01-02T03:04:05Z",
            "updatedAt": "2026-01-02T03:04:05Z",
            "generation": 1,
            "resourceVersion": "7",
        },
        "spec": {"systemPrompt": "# Be kind\nand quick", "env": {"KEY": "***"}, "no": "no"},
        "status": {"state": "Available"},
    }
)
AS_IT_IS = to_yaml(export(GHOST))


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Editor:
    """Does one step each time that it is opened."""

    def __init__(self, *steps: Callable[[str], str]) -> None:
        self.steps = list(steps)
        self.shown: list[str] = []
        self.file: Path | None = None

    def __call__(self, file: Path) -> None:
        self.file = file
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        self.shown.append(file.read_text())
        file.write_text(self.steps.pop(0)(self.shown[-1]))


class Server:
    """Takes what it is given after refusing a few times."""

    def __init__(self, *refusals: Exception) -> None:
        self.refusals = list(refusals)
        self.saved: list[dict[str, Any]] = []

    def __call__(self, document: dict[str, Any]) -> Resource:
        self.saved.append(document)
        if self.refusals:
            raise self.refusals.pop(0)
        return GHOST.model_copy(update={"spec": document["spec"]})


def changed(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def same(text: str) -> str:
    return text


def test_what_is_saved_is_what_was_written(tmp_path: Path) -> None:
    server, editor = Server(), Editor(changed("quick", "quiet\n    - and brief"))
    done = edit(GHOST, server, editor)
    assert done is not None
    assert done.spec["systemPrompt"] == "# Be kind\nand quiet\n- and brief"
    assert server.saved[0]["spec"]["env"] == {"KEY": "***"}
    assert server.saved[0]["spec"]["no"] == "no", "YAML as the server reads it"
    assert server.saved[0]["metadata"] == {"name": "g"}
    assert "*** stands for a stored key" in editor.shown[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [same, lambda _text: "", lambda _text: "# gone\n", lambda _text: AS_IT_IS])
def test_without_a_change_nothing_happens(step: Callable[[str], str], tmp_path: Path) -> None:
    server = Server()
    assert edit(GHOST, server, Editor(step)) is None
    assert server.saved == []
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_opens_it_again_with_the_reason() -> None:
    refusal = Invalid(
        errors=[
            FieldError(field="spec.systemPrompt", message="Too quiet.", code="x"),
            FieldError(field="", message="Two\nlines.", code="x"),
        ]
    )
    server = Server(refusal)
    editor = Editor(changed("quick", "quiet"), changed("quiet", "loud"))
    done = edit(GHOST, server, editor)
    assert done is not None
    assert done.spec["systemPrompt"] == "# Be kind\nand loud"
    lines = editor.shown[1].split("\n")
    told = next(line for line in lines if "Too quiet." in line)
    number = int(told.split("line ")[1].split(":")[0])
    assert lines[number - 1].strip().startswith("systemPrompt:")
    assert [line for line in lines if line.startswith("#")][-2:] == ["#   lines.", "#"]
    assert "stands for a stored key" not in editor.shown[1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("systemPrompt: |", "systemPrompt: [", "This is not valid YAML"),
        ("kind: Ghost", "kind: Bot", "kind: The kind stays Ghost."),
        ("name: g", "name: h", "metadata.name: The name stays g: resources are not renamed."),
        ("name: g", "name: g\n  namespace: other", "metadata.namespace: The namespace stays me."),
        ("spec:", "---\nspec:", "There are 2 documents; an edit is about one."),
        ("  'no': 'no'", "  'no': 'no'\n  no: twice", "The key `no` stands twice"),
    ],
)
def test_what_makes_no_sense_is_not_sent(old: str, new: str, said: str) -> None:
    server = Server()
    editor = Editor(changed(old, new), lambda _text: AS_IT_IS)
    assert edit(GHOST, server, editor) is None
    assert said in editor.shown[1]
    assert server.saved == []


def test_the_named_line_is_the_line_in_the_editor() -> None:
    editor = Editor(changed("kind: Ghost", "kind: Bot"), lambda _text: AS_IT_IS)
    edit(GHOST, Server(), editor)
    lines = editor.shown[1].split("\n")
    number = next(n for n, line in enumerate(lines, 1) if line == "kind: Bot")
    assert f"#   line {number}: kind: The kind stays Ghost." in lines


class VersionConflict(Conflict):
    code = "version_conflict"


@pytest.mark.parametrize(
    "error",
    [
        VersionConflict("Somebody else has changed it."),
        Forbidden("You may not."),
        Unavailable("Away."),
        httpx.ConnectError("Unplugged."),
    ],
)
def test_what_cannot_be_saved_is_kept(error: Exception) -> None:
    with pytest.raises(EditNotSaved, match=str(error)) as caught:
        edit(GHOST, Server(error), Editor(changed("quick", "quiet")))
    file = caught.value.file
    assert file.read_text() == AS_IT_IS.replace("quick", "quiet")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_who_gives_up_after_a_refusal_keeps_the_text() -> None:
    server = Server(Invalid("No."))
    with pytest.raises(EditNotSaved, match="does not fit") as caught:
        edit(GHOST, server, Editor(changed("quick", "quiet"), same))
    assert caught.value.file.read_text() == AS_IT_IS.replace("quick", "quiet")
    assert len(server.saved) == 1


def test_which_editor() -> None:
    assert editor_of({}) == ["vi"]
    assert editor_of({"EDITOR": "nano"}) == ["nano"]
    assert editor_of({"EDITOR": "nano", "VISUAL": "code --wait 'a b'"}) == ["code", "--wait", "a b"]
    with pytest.raises(Mistake, match="cannot be started as an editor"):
        editor_of({"EDITOR": "'open"})


def test_an_editor_that_fails_changes_nothing() -> None:
    server = Server()
    failing = open_in([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(Mistake, match="ended with 3: nothing was changed"):
        edit(GHOST, server, failing)
    with pytest.raises(Mistake, match="no-such-editor cannot be started"):
        edit(GHOST, server, open_in(["no-such-editor"]))
    removing = open_in([sys.executable, "-c", "import os, sys; os.remove(sys.argv[1])"])
    with pytest.raises(Mistake, match="cannot be read"):
        edit(GHOST, server, removing)
    assert server.saved == []
