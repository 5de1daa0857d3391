"""`signalbox audit verify` over a log that takes more than one answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nats.aio.msg import Msg
from typer.testing import CliRunner

from signalbox_cli.commands import audit
from signalbox_cli.main import app
from signalbox_common.bus import headers as h
from signalbox_common.contracts.auth import AuditReport, CheckAudit


class Log:
    """A chain of 12,000 lines behind the bus, good until one of them."""

    def __init__(self, broken_at: int | None = None, warnings: tuple[str, ...] = ()) -> None:
        self.broken_at = broken_at
        self.warnings = warnings

    async def request(self, subject: str, body: bytes, **_options: Any) -> Msg:
        assert subject == CheckAudit.subject
        asked = CheckAudit.model_validate_json(body)
        last = min(asked.after + asked.limit, 12_000)
        answer = AuditReport(
            checked=last - asked.after, last=last, done=last == 12_000, warnings=self.warnings
        )
        if self.broken_at is not None and last >= self.broken_at:
            good = self.broken_at - asked.after - 1
            answer = AuditReport(
                checked=good, last=asked.after, done=True, broken_at=self.broken_at, reason="it was changed"
            )
        return Msg(None, data=answer.encode(), headers={h.STATUS: h.OK})  # type: ignore[arg-type]


def verify(log: Log, monkeypatch: pytest.MonkeyPatch, *options: str) -> Any:
    def as_operator(_home: Any, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await work(log)

        return asyncio.run(run())

    monkeypatch.setattr(audit, "as_operator", as_operator)
    return CliRunner().invoke(app, ["audit", "verify", *options])


def test_a_long_log_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    done = verify(Log(), monkeypatch)
    assert (done.exit_code, done.stdout) == (0, "12000 lines, unbroken\n")


@pytest.mark.parametrize("line", [1, 5_000, 5_001, 12_000])
def test_the_first_broken_line_is_named(line: int, monkeypatch: pytest.MonkeyPatch) -> None:
    done = verify(Log(line), monkeypatch)
    assert done.exit_code == 1
    assert f"broken at line {line}: it was changed ({line - 1} lines before it are good)" in done.stderr
    done = verify(Log(line), monkeypatch, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "lines": line - 1,
        "unbroken": False,
        "brokenAt": line,
        "reason": "it was changed",
        "warnings": [],
    }


def test_what_should_not_be_there_is_told_and_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    done = verify(Log(warnings=("2 notes are not auth's",)), monkeypatch)
    assert (done.exit_code, done.stdout) == (0, "12000 lines, unbroken\n")
    assert "2 notes are not auth's" in done.stderr
