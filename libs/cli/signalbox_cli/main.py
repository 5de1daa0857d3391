"""The `signalbox` command."""

import typer

from signalbox_cli.commands import demo, dlq, installation, stack

app = typer.Typer(
    name="signalbox",
    help="A self-hosted control plane for AI coding agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    stack.up,
    stack.down,
    stack.status,
    demo.demo,
    installation.credentials,
    installation.provision,
):
    app.command()(command)
app.add_typer(dlq.app, name="dlq")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
