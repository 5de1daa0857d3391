"""Composition root of the tasks service."""

from signalbox_common.runtime import Service, run
from signalbox_tasks.settings import TasksSettings


def build(settings: TasksSettings) -> Service:
    return Service(settings)


def main() -> None:
    run(lambda: build(TasksSettings()))
