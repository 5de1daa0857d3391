"""What the gateway does before anybody else is asked."""

import time
from datetime import UTC, datetime

from signalbox_common.contracts.operations import OperationStatus
from signalbox_gateway.clients import operation_body
from signalbox_gateway.identity import TtlCache


def test_what_is_kept_ends_at_its_time_and_the_oldest_makes_room() -> None:
    kept: TtlCache[int] = TtlCache(size=2)
    kept.put("a", 1, time.time() + 60)
    kept.put("over", 2, time.time() - 1)
    assert kept.get("a") == 1
    assert kept.get("over") is None
    kept.put("b", 3, time.time() + 60)
    kept.put("c", 4, time.time() + 60)
    assert kept.get("a") is None
    assert (kept.get("b"), kept.get("c")) == (3, 4)


def test_an_operation_names_its_command_without_the_wiring() -> None:
    body = operation_body("op_x", "cmd.auth.v1.create-project", OperationStatus.PENDING, datetime.now(UTC))
    assert body["command"] == "auth.create-project"
    assert set(body) == {"id", "command", "status", "resource", "error", "createdAt", "finishedAt"}
