"""What a commit says: the message in the repository's template, and who is named below it."""

import re
from collections.abc import Iterable, Mapping

from signalbox_common.contracts.git import PLACEHOLDER
from signalbox_git.domain import Delivery

_TRAILER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*[ \t]*:.*")
_OF_GIT = ("Signed-off-by: ", "(cherry picked from commit ")
"""git knows a block of trailers by these, though something else is in it."""
_BLANK = re.compile(r"\n[ \t]*\n")


def of_delivery(found: Delivery) -> str:
    """The same each time, whatever the repository's policy has become meanwhile."""
    wanted, policy = found.wanted, found.policy
    author = wanted["author"]
    trailers = [f"Co-authored-by: {each['name']} <{each['email']}>" for each in wanted["co_authors"]]
    asked = wanted.get("sign_off")
    if policy.sign_off if asked is None else asked:
        trailers.append(f"Signed-off-by: {author['name']} <{author['email']}>")
    values = {
        "run": str(found.run) if found.run is not None else "",
        "author": author["name"],
        "branch": wanted["branch"],
    }
    return composed(wanted["message"], policy.commit_template, values, trailers)


def composed(message: str, template: str | None, values: Mapping[str, str], trailers: Iterable[str]) -> str:
    """`values` are those of the placeholders beside the message and its title."""
    text = _plain(message)
    if template is not None:
        given = {**values, "message": text, "title": text.partition("\n")[0]}
        text = _plain(PLACEHOLDER.sub(lambda found: given.get(found[1], found[0]), template)) or text
    return with_trailers(text, trailers)


def with_trailers(text: str, trailers: Iterable[str]) -> str:
    """In the block that it ends with, where it does so; what is there already stays alone."""
    body, block = _split(_plain(text))
    lines = block.split("\n") if block else []
    there = set(lines)
    added = [line for line in dict.fromkeys(trailers) if line not in there]
    whole = "\n".join((*lines, *added))
    return f"{body}\n\n{whole}\n" if whole else f"{body}\n"


def _plain(text: str) -> str:
    """Without NUL, line ends of others, and blank lines around it."""
    return text.replace("\0", "").replace("\r\n", "\n").strip("\n").rstrip()


def _split(text: str) -> tuple[str, str]:
    """The text, and the trailers that it ends with; the title is none of them."""
    last = None
    for last in _BLANK.finditer(text):  # noqa: B007 - the last one counts
        pass
    if last is None or not _are_trailers(text[last.end() :].split("\n")):
        return text, ""
    return text[: last.start()].rstrip("\n"), text[last.end() :]


def _are_trailers(lines: list[str]) -> bool:
    """As `git interpret-trailers` has it: all of them, or a quarter where one is of git's own."""
    trailers = others = 0
    of_git = goes_on = False
    for line in lines:
        if line.startswith(_OF_GIT):
            trailers, of_git, goes_on = trailers + 1, True, True
        elif _TRAILER.fullmatch(line):
            trailers, goes_on = trailers + 1, True
        elif not (goes_on and line[:1] in (" ", "\t")):
            others, goes_on = others + 1, False
    return trailers > 0 and (others == 0 or (of_git and trailers * 3 >= others))
