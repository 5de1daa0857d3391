"""The `signalbox` command."""

import sys
from collections.abc import Callable

import typer

from signalbox_cli.commands import (
    account,
    agents,
    audit,
    changes,
    demo,
    dlq,
    events,
    installation,
    keys,
    kinds,
    manifests,
    notifications,
    pull_requests,
    repositories,
    repository_deliveries,
    repository_operations,
    resources,
    sandboxes,
    schedules,
    secrets,
    skills,
    stack,
    tasks,
    templates,
    trace,
    triggers,
    usage,
    users,
    work,
)
from signalbox_cli.env_file import read_env_file

RESOURCES = "Resources"
_OF_A_STACK = frozenset({"up", "down", "status", "credentials", "provision"})
"""Commands that are configured where they are called; others would believe any folder that came along."""

app = typer.Typer(
    name="signalbox",
    help="A self-hosted control plane for AI coding agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_OF_THE_INSTALLATION: tuple[Callable[..., None], ...] = (
    stack.up,
    stack.down,
    stack.status,
    demo.demo,
    account.login,
    account.logout,
    account.whoami,
    installation.credentials,
    installation.provision,
    events.tail,
    events.nats_context,
)
_OF_RESOURCES: tuple[Callable[..., None], ...] = (
    resources.get,
    resources.describe,
    manifests.apply,
    manifests.diff,
    changes.edit,
    changes.delete,
    changes.restore,
    resources.history,
    changes.rollback,
    kinds.kinds,
    kinds.explain,
)
for command in _OF_THE_INSTALLATION:
    app.command()(command)
for command in _OF_RESOURCES:
    app.command(rich_help_panel=RESOURCES)(command)
app.command("api-resources", hidden=True)(kinds.kinds)  # as kubectl calls it
app.add_typer(skills.app, name="skill", rich_help_panel=RESOURCES)
app.add_typer(sandboxes.app, name="sandbox")
app.add_typer(templates.app, name="template")
app.command(context_settings={"allow_interspersed_args": False})(tasks.run)
app.add_typer(tasks.app, name="tasks")
app.add_typer(schedules.app, name="schedules")
app.add_typer(triggers.app, name="triggers")
app.add_typer(notifications.app, name="notifications")
app.add_typer(agents.app, name="agents")
app.command()(usage.usage)
app.add_typer(usage.app, name="quotas")
app.command()(trace.trace)
repositories.app.add_typer(repository_operations.app)
repositories.app.add_typer(repository_deliveries.app)
app.add_typer(repositories.app, name="repo")
app.add_typer(pull_requests.app, name="pr")
app.add_typer(pull_requests.credentials, name="credential")
app.add_typer(users.app, name="users")
for name, group in {"dlq": dlq, "work": work, "keys": keys, "secrets": secrets, "audit": audit}.items():
    app.add_typer(group.app, name=name)
app.add_typer(events.publisher, name="publisher")


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in _OF_A_STACK:
        read_env_file()
    app()


if __name__ == "__main__":
    main()
