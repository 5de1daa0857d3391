"""Composition root of the tasks service."""

from signalbox_common.runtime import Service, run
from signalbox_tasks.settings import TasksSettings


def build(settings: TasksSettings) -> Service:
    app = Service(settings)
    app.keep_secrets(settings)
    return app


def main() -> None:
    run(lambda: build(TasksSettings()))
