"""Who works on a task: a bot or a team as the catalog resolves it, read and frozen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from signalbox_common.contracts.tasks import ExecShell
from signalbox_common.errors import field_errors

MODELS = ("solo", "pipeline")
"""How the members of a team may work together here."""
EXEC, NOOP = "Exec", "noop"
SHELLS = (EXEC, NOOP)
_OF_EXEC = ("script", "argv", "cwd", "files", "expectedExit")


class BadTeam(Exception):
    """Nobody here does this; with a code and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class TeamMember:
    """A bot in its place."""

    bot: str
    shell_type: str
    exec: ExecShell | None = None
    role: str | None = None
    prompt: str | None = None
    confirm: bool = False
    """Whether a person says, when it has done its part, that the others go on."""
    passes: str = "none"
    """What it is told: of the task, of the one before it, both or nothing."""

    def record(self) -> dict[str, Any]:
        shell = self.exec.model_dump(mode="json", by_alias=True) if self.exec is not None else None
        return {**asdict(self), "exec": shell}

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> "TeamMember":
        shell = ExecShell.model_validate(record["exec"]) if record["exec"] is not None else None
        return TeamMember(**{**record, "exec": shell})


def read(root: Mapping[str, Any]) -> tuple[TeamMember, ...]:
    """Those who work, in their order; raises BadTeam."""
    _check_whole(root)
    if root["kind"] == "Bot":
        return (_member(root, {}),)
    spec, references = root["spec"], root["references"]
    model = spec.get("collaborationModel", "solo")
    if model not in MODELS:
        raise BadTeam(
            "unknown_collaboration",
            f"The team {_name(root)} works as {model}; those that are there are {', '.join(MODELS)}.",
        )
    found = tuple(
        _member(references.get(f"members.{number}.botRef"), member)
        for number, member in enumerate(spec["members"])
    )
    if not found:
        raise BadTeam("unresolvable", f"The team {_name(root)} has no members.")
    return found[:1] if model == "solo" else found


def _check_whole(resource: Mapping[str, Any]) -> None:
    for field, below in resource["references"].items():
        if below.get("broken"):
            missing = f"{below['kind'].lower()} {below['name']} in the namespace {below['namespace']}"
            holder = f"{resource['kind'].lower()} {_name(resource)}"
            raise BadTeam(
                "unresolvable", f"There is no {missing} any more: {field} of the {holder} refers to it."
            )
        if not below.get("unreadable"):
            _check_whole(below)


def _member(bot: Mapping[str, Any] | None, member: Mapping[str, Any]) -> TeamMember:
    if bot is None or bot.get("unreadable"):
        raise BadTeam("unresolvable", "The team has a bot that cannot be read.")
    shell = bot["references"].get("shellRef")
    if shell is None or shell.get("unreadable"):
        raise BadTeam("unresolvable", f"The shell of the bot {_name(bot)} cannot be read.")
    shell_type = str(shell["spec"].get("shellType", ""))
    if shell_type not in SHELLS:
        raise BadTeam(
            "unknown_shell",
            f"The bot {_name(bot)} has a shell of the type {shell_type}, which nobody runs here; "
            f"those that are there are {', '.join(SHELLS)}.",
        )
    return TeamMember(
        bot=_name(bot),
        shell_type=shell_type,
        exec=_exec(bot, shell["spec"]) if shell_type == EXEC else None,
        role=member.get("role"),
        prompt=member.get("prompt"),
        confirm=bool(member.get("requireConfirmation")),
        passes=member.get("contextPassing") or "none",
    )


def _exec(bot: Mapping[str, Any], spec: Mapping[str, Any]) -> ExecShell:
    try:
        return ExecShell.model_validate({name: spec[name] for name in _OF_EXEC if name in spec})
    except ValidationError as error:
        wrong = field_errors(error)[0]
        words = f"{wrong.field}: {wrong.message}" if wrong.field else wrong.message
        raise BadTeam("bad_shell", f"The shell of the bot {_name(bot)}: {words}") from error


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["metadata"]["name"])
