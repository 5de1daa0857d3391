"""What a task does: each shell says how."""

import uuid
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from signalbox_common.contracts.base import Ask, GrantScope, Message, Reply, Text
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox.base import Environment

MAX_FILES = 256 * 1024
"""Characters of all files together."""

Script = Annotated[Text, StringConstraints(min_length=1, max_length=100_000)]
ShellPath = Annotated[Text, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f]+$")]


class ExecFile(Message):
    """Laid out before the program begins; below the workspace, unless its path begins with `/`."""

    path: ShellPath
    content: Annotated[Text, StringConstraints(max_length=MAX_FILES)]
    executable: bool = False


class ExecShell(Message):
    """A program in the sandbox: a script for a shell, or the words of a command."""

    script: Script | None = None
    argv: Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)] | None = None
    cwd: ShellPath | None = None
    """From the workspace on."""
    environment: uuid.UUID | None = None
    """Its variables, which were kept before (`KeepEnvironment`)."""
    files: Annotated[tuple[ExecFile, ...], Field(max_length=50)] = ()
    expected_exit: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(max_length=50)] = (0,)
    """With which codes it has done what it should."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.script is None) == (self.argv is None):
            raise ValueError("say either `script` or `argv`")
        if sum(len(file.content) for file in self.files) > MAX_FILES:
            raise ValueError(f"the files have at most {MAX_FILES} characters together")
        return self


class NoopShell(Message):
    """Does nothing, and has done it at once."""


class EnvironmentKept(Reply):
    environment: uuid.UUID


class KeepEnvironment(Ask[EnvironmentKept]):
    """Variables of a task that is created next: it says their id, and they are in no stream.

    What no task has named within a day goes.
    """

    subject = "ask.tasks.v1.keep-environment"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER

    env: Environment
