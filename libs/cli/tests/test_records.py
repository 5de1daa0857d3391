"""What was created after the answer."""

import httpx

from signalbox_cli.client import Client
from signalbox_cli.records import made
from signalbox_cli.tasks import TaskApi

URL = "http://signalbox.example"
TASKS = "/api/v1/tasks"


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
