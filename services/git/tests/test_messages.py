"""Messages of commits: templates, and trailers where git finds them again."""

import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from signalbox_common.contracts.git import DeliveryPolicy
from signalbox_git.commits.messages import composed, with_trailers

BY, AGENT = "Signed-off-by: A <a@example.com>", "Co-authored-by: B <b@example.com>"
TEXTS = [
    *("Change it", "Change it\n", "Change it\n\nBecause.", "fix: a title that looks like one"),
    *("Change it\n\nFixes: #1", "Change it\n\nBecause.\n\nFixes: #1\nReviewed-by: C <c@example.com>"),
    *("Change it\n\nSee: one\n  that goes on\nFixes: #2", "Change it\n\nno trailer\nFixes: #1"),
    *("Change it\n\nno trailer\nSigned-off-by: C <c@example.com>", "Change it\n\n  indented: x"),
    *("Change it\n\n(cherry picked from commit abc)\nx\ny\nz\nw", "Change it\n\nhttps://example.com"),
    *(
        "Change it\r\n\r\nFixes: #1\r\n",
        "\n\nChange it\n\n\n",
        "Change it\n \t \nFixes: #1",
        "Ändern\n\nNach: oben",
    ),
    *("Change it\n\n" + "x " * 5000, "Change it\n\nFixes:#1", "Change it\n\nA: b\n\n  \nlast words"),
]


def parsed(folder: Path, text: str) -> list[str]:
    ran = subprocess.run(
        ["git", "interpret-trailers", "--parse", "--no-divider"],
        input=text.encode(),
        cwd=folder,
        capture_output=True,
        check=True,
    )
    return ran.stdout.decode().splitlines()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_trailers_are_added_as_git_would(tmp_path: Path, text: str) -> None:
    plain = text.replace("\r\n", "\n").strip("\n").rstrip() + "\n"
    before = parsed(tmp_path, plain)
    made = with_trailers(text, [AGENT, BY])
    assert parsed(tmp_path, made) == [*before, AGENT, BY]
    assert made.startswith(plain.partition("\n")[0])
    assert with_trailers(made, [AGENT, BY]) == made


def test_without_trailers_it_stays_as_it_is() -> None:
    assert with_trailers("Change it\n\nBecause.\n\n", []) == "Change it\n\nBecause.\n"


def test_templates_are_filled_once() -> None:
    """What a message has in braces is its own."""
    template = "[{run}] {title}\n\n{message}\n\nBranch: {branch}"
    made = composed("Use {run}\n\nand {branch}", template, {"run": "7", "branch": "b{title}"}, [BY])
    assert made == f"[7] Use {{run}}\n\nUse {{run}}\n\nand {{branch}}\n\nBranch: b{{title}}\n{BY}\n"


@pytest.mark.parametrize(
    "template", ["{messages}", "{message} {email}", "no message", "{run}", "{message}" * 11, "x" * 4001, ""]
)
def test_templates_that_are_none(template: str) -> None:
    with pytest.raises(ValidationError):
        DeliveryPolicy(commit_template=template)


@pytest.mark.parametrize("template", ["{message}", "{title} {{}} { run } {0}", "{message}" * 10])
def test_templates_that_are_some(template: str) -> None:
    assert DeliveryPolicy(commit_template=template).commit_template == template
