"""Composition root of the sandbox service."""

from signalbox_common.runtime import Service, run
from signalbox_sandbox.settings import SandboxSettings


def build(settings: SandboxSettings) -> Service:
    return Service(settings)


def main() -> None:
    run(lambda: build(SandboxSettings()))
