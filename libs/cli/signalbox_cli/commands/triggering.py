"""What others tell starts something: which of it, and what is taken from it, as options say that."""

from typing import Annotated, Any, Literal

import typer

from signalbox_cli.commands.common import fail

TOLD = "Trigger"

HookOption = Annotated[
    Literal["token", "github", "standard"] | None,
    typer.Option(
        "--hook",
        help="When something is sent to an address of its own; how that is signed.",
        rich_help_panel=TOLD,
    ),
]
EventOption = Annotated[
    str | None,
    typer.Option(
        "--event", metavar="TYPE", help="When others publish that, like ext.ci.>.", rich_help_panel=TOLD
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PATH=VALUE",
        help="Where that stands there; may be repeated.",
        rich_help_panel=TOLD,
    ),
]
TakeOption = Annotated[
    list[str] | None,
    typer.Option("--take", metavar="NAME=PATH", help="A parameter, like REF=$.ref.", rich_help_panel=TOLD),
]
PerMinuteOption = Annotated[
    int | None,
    typer.Option("--per-minute", min=1, help="How often at most.", rich_help_panel=TOLD),
]


def rules(only: list[str] | None, take: list[str] | None, per_minute: int | None) -> dict[str, Any]:
    """What is named."""
    found: dict[str, Any] = {}
    if only:
        found["when"] = _when(only)
    if take:
        found["parameters"] = dict(_halves("--take", each) for each in take)
    if per_minute is not None:
        found["perMinute"] = per_minute
    return found


def _when(only: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in only:
        path, value = _halves("--only", each)
        found.setdefault(path, []).append(value)
    return found


def _halves(option: str, text: str) -> tuple[str, str]:
    first, equals, second = text.partition("=")
    if not equals or not first:
        raise fail(f"{option}: {text!r} has no = in it", 2)
    return first, second
