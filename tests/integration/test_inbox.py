"""The inbox by itself, at the moments that a race would have to hit."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from signalbox_common.contracts.events import AuditRecorded
from signalbox_common.contracts.operations import OperationStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import Conflict, SignalboxError
from signalbox_common.inbox import Inbox, RequestKey
from signalbox_common.outcomes import Outcome
from tests.support.installation import Installation
from tests.support.lab import LabSettings, Noted


class Refused(Conflict):
    code = "lab_refused"
    detail = "Not now."


@pytest.fixture
async def inbox(installation: Installation) -> AsyncIterator[Inbox]:
    database = Database(installation.settings(LabSettings, "tasks"))
    yield Inbox(database)
    await database.close()


@dataclass
class Told:
    """What the audit log is told."""

    codes: list[str] = field(default_factory=list)

    def note(self, _transaction: Transaction, error: SignalboxError | None, _resource: str | None) -> None:
        self.codes.append(error.code if error is not None else "succeeded")

    def entry(self, _transaction: Transaction, _resource: str | None) -> AuditRecorded | None:
        return None


def new_key() -> RequestKey:
    return RequestKey(uuid.uuid4(), "cmd.tasks.v1.lab-note", "digest", None, None)


async def refused(_transaction: Transaction) -> Noted:
    raise Refused


async def done(_transaction: Transaction) -> Noted:
    return Noted(id="done", handled=1)


async def test_a_duplicate_between_the_rollback_and_the_stored_refusal(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes effect; both are answered with that, and the audit log is told of one."""
    key, told = new_key(), Told()
    refuse = inbox.refuse
    duplicates: list[Outcome[Noted]] = []

    async def overtaken(*arguments: Any, **more: Any) -> Outcome[Any]:
        duplicates.append(await inbox.once(key, done, told))
        return await refuse(*arguments, **more)

    monkeypatch.setattr(inbox, "refuse", overtaken)
    first = await inbox.once(key, refused, told)
    assert (first.body, first.failed, first.replayed) == (duplicates[0].body, False, True)
    assert told.codes == ["succeeded"]
    report = await inbox.report(key.command_id)
    assert report is not None
    assert report.status is OperationStatus.SUCCEEDED


async def test_a_refusal_is_answered_again_and_again(inbox: Inbox) -> None:
    key, told = new_key(), Told()
    first = await inbox.once(key, refused, told)
    again = await inbox.once(key, done, told)
    assert first.failed
    assert (again.body, again.failed, again.replayed) == (first.body, True, True)
    assert told.codes == ["lab_refused"]
