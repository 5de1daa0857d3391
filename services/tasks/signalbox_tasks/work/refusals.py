"""What a refusal of another service means for the step that has met with it."""

from collections.abc import Iterator
from contextlib import contextmanager

from signalbox_common.errors import SignalboxError
from signalbox_common.work import Overtaken
from signalbox_tasks.domain import SANDBOX_LOST
from signalbox_tasks.work.turn import StepFailed, Stopped

_GONE = frozenset({"sandbox_not_found", "sandbox_ended", "process_not_found"})
_OF_GRANTS = (401, 403)
"""Another grant may be had, or none: that is found out when it is asked for."""


@contextmanager
def understood() -> Iterator[None]:
    """Raises what a refusal within means for the step."""
    try:
        yield
    except SignalboxError as error:
        if (known := _meaning(error)) is error:
            raise
        raise known from error


def _meaning(error: SignalboxError) -> Exception:
    """Itself, where it is worth another try."""
    if error.code == "fenced":
        return Overtaken("a later worker has the run")
    if error.code == "run_ended":
        return Stopped()
    if error.code in _GONE:
        return StepFailed(SANDBOX_LOST, "Its sandbox is not there any more.", retryable=True)
    if error.final and error.status not in _OF_GRANTS:
        return StepFailed(error.code, error.detail)
    return error
