"""What is done with each delivery to a repository: what stops it, and what its commit says."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from signalbox_common.contracts.base import Message, Text

PLACEHOLDERS = frozenset({"message", "title", "run", "author", "branch"})
MOST_PLACEHOLDERS = 10
LARGEST_FILE = 10
"""MiB, where a policy does not say otherwise."""
PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")


def _template(text: str) -> str:
    named = PLACEHOLDER.findall(text)
    unknown = sorted(set(named) - PLACEHOLDERS)
    if unknown:
        raise ValueError(f"there is no placeholder {{{unknown[0]}}}")
    if not {"message", "title"} & set(named):
        raise ValueError("a template has {message} or {title}")
    if len(named) > MOST_PLACEHOLDERS:
        raise ValueError(f"a template has no more than {MOST_PLACEHOLDERS} placeholders")
    return text


CommitTemplate = Annotated[Text, StringConstraints(min_length=1, max_length=4000), AfterValidator(_template)]
"""A message with `{message}`, `{title}`, `{run}`, `{author}` and `{branch}`."""


class DeliveryPolicy(Message):
    """Is given as a whole: what it does not name is as by default."""

    findings: Literal["refuse", "warn"] = "refuse"
    """Whether secrets, large and binary files, and many deletions stop a delivery, or are told with it."""
    largest_file: Annotated[int, Field(ge=1, le=100)] = LARGEST_FILE
    """MiB, beyond which a file is large."""
    sign_off: bool = False
    """Whether each commit says that its author has signed it off."""
    commit_template: CommitTemplate | None = None

    def lets_out_more(self, before: "DeliveryPolicy") -> bool:
        """Than another one: whoever changes it so has to be one who may."""
        warns = self.findings == "warn" and before.findings != "warn"
        return warns or self.largest_file > before.largest_file
