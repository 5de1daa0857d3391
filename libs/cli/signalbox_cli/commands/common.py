"""What all commands share: consoles, options, and one way to fail."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="SIGNALBOX_HOME", help="The folder that holds all state."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]


def fail(message: str, code: int = 1) -> typer.Exit:
    """Says why, on standard error, and gives the exception to raise."""
    errors.print(f"[bold red]signalbox:[/] {escape(message)}", soft_wrap=True)
    return typer.Exit(code)
