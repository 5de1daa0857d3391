"""What the contracts of git have in common."""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from signalbox_common.contracts.base import Message, Text

AREA = "repositories"
"""What an API token's scope calls all this."""
REPOSITORY_NOT_FOUND = {"repository_not_found": 404}

_FORBIDDEN_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")
_STEPS = re.compile(r"(.*?)((?:[~^][0-9]{0,4})*)", re.DOTALL)


def _ref_name(text: str) -> str:
    """As `git check-ref-format --branch` has it."""
    bad = _FORBIDDEN_IN_REFS.search(text) or text.startswith(("-", "/", ".")) or text.endswith(("/", "."))
    if bad or text == "@":
        raise ValueError("that is no name of a branch or a tag")
    return text


def _revision(text: str) -> str:
    name, steps = split_revision(text)
    if not name:
        raise ValueError("steps are counted from a branch, a tag or a commit")
    _ref_name(name)
    if len(steps) > 100:
        raise ValueError("these are too many steps back")
    return text


def split_revision(text: str) -> tuple[str, str]:
    """A name, and the steps from there: `main` and `~2` of `main~2`."""
    found = _STEPS.fullmatch(text)
    return (found[1], found[2]) if found is not None else (text, "")


RefName = Annotated[Text, StringConstraints(min_length=1, max_length=240), AfterValidator(_ref_name)]
"""A branch or a tag."""
Revision = Annotated[Text, StringConstraints(min_length=1, max_length=240), AfterValidator(_revision)]
"""A branch, a tag or a commit, and steps back from there: `main~2`."""
CommitId = Annotated[Text, StringConstraints(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")]


def _tree_path(text: str) -> str:
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("a path in a tree has no empty parts, no . and no ..")
    return text


TreePath = Annotated[Text, StringConstraints(min_length=1, max_length=4000), AfterValidator(_tree_path)]
"""From the root of a tree, without a slash at its ends."""


class GitError(Message):
    """Why something has failed, in a word and in a sentence."""

    code: str
    detail: str
    retryable: bool = False
