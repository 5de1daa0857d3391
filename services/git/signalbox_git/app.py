"""Composition root of the git service."""

from signalbox_common.runtime import Service, run
from signalbox_git.settings import GitSettings


def build(settings: GitSettings) -> Service:
    app = Service(settings)
    app.keep_secrets(settings)
    return app


def main() -> None:
    run(lambda: build(GitSettings()))
