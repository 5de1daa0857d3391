"""Composition root of the git service."""

from signalbox_common.runtime import Service, run
from signalbox_git.settings import GitSettings


def build(settings: GitSettings) -> Service:
    return Service(settings)


def main() -> None:
    run(lambda: build(GitSettings()))
