"""Composition root of the sandbox service."""

from signalbox_common.runtime import Service, run
from signalbox_sandbox.settings import SandboxSettings


def build(settings: SandboxSettings) -> Service:
    app = Service(settings)
    app.keep_secrets(settings)
    return app


def main() -> None:
    run(lambda: build(SandboxSettings()))
