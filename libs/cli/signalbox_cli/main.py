"""The `signalbox` command."""

import typer

from signalbox_cli.commands import account, audit, demo, dlq, installation, keys, secrets, stack

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
    account.login,
    account.logout,
    account.whoami,
    installation.credentials,
    installation.provision,
):
    app.command()(command)
for name, group in {"dlq": dlq, "keys": keys, "secrets": secrets, "audit": audit}.items():
    app.add_typer(group.app, name=name)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
