"""Pages, names, and what was created after the answer."""

import httpx
import pytest

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.client import Client
from signalbox_cli.records import find, made, pages
from signalbox_cli.tasks import TaskApi

URL = "http://signalbox.example"
TASKS = "/api/v1/tasks"


def test_all_pages_in_their_order() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        after = int(params.pop("cursor", "0"))
        assert params == {"limit": "200", "status": "failed"}
        following = str(after + 2) if after < 4 else None
        return httpx.Response(
            200, json={"items": [{"id": after}, {"id": after + 1}], "nextCursor": following}
        )

    http = Client(URL, transport=httpx.MockTransport(handle))
    found = list(pages(http, TASKS, status="failed", label=None))
    assert [each["id"] for each in found] == list(range(6))


def test_a_name_comes_before_a_part_of_an_id() -> None:
    known = [
        {"id": "aa-11", "name": "Ada"},
        {"id": "ab-22", "name": "aa"},
        {"id": "cc-11", "name": "Cleo"},
    ]
    assert find(known, "AA", "agents")["id"] == "ab-22"
    assert find(known, "ada", "agents")["id"] == "aa-11"
    assert find(known, "22", "agents")["id"] == "ab-22"
    with pytest.raises(Mistake, match="2 agents are called '11'"):
        find(known, "11", "agents")
    with pytest.raises(Mistake, match="no agents are called 'Eve'"):
        find(known, "Eve", "agents")


def slowly(request: httpx.Request) -> httpx.Response:
    """A gateway that answers before the task is there."""
    operation = {"id": "an-operation", "status": "succeeded", "resource": "a-task", "error": None}
    if request.method == "POST":
        return httpx.Response(202, json=operation | {"status": "pending", "resource": None})
    if request.url.path == "/api/v1/operations/an-operation":
        return httpx.Response(200, json=operation)
    assert request.url.path == f"{TASKS}/a-task"
    return httpx.Response(200, json={"id": "a-task", "runId": "a-run"})


def test_what_outlasts_its_answer_is_looked_up() -> None:
    http = Client(URL, transport=httpx.MockTransport(slowly))
    assert TaskApi(http).create({"title": "Late"})["runId"] == "a-run"
    assert made(http, "/api/v1/schedules/a-schedule/run", below=TASKS)["runId"] == "a-run"
