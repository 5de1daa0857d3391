"""`signalbox trace`: the whole story of a task."""

import json
from datetime import datetime
from typing import Any

from signalbox_cli.commands.common import JsonOption, UrlOption, console, plain, speaking_http
from signalbox_cli.commands.tasks import TaskId

_LEFT_OUT = frozenset({"run", "task", "number", "version", "attempt", "offset"})
_LONGEST = 200


def trace(task: TaskId, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """What was asked for a task, and what each service has told of it, in its order."""
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.tasks import TaskApi
        from signalbox_cli.trace import Tracer

        with open_client(find_url(url)) as http:
            story = Tracer(http).story(TaskApi(http).find(task))
    if as_json:
        print(json.dumps(story, indent=2))
        return
    begun = datetime.fromisoformat(story[0]["time"]) if story else None
    for each in story:
        after = (datetime.fromisoformat(each["time"]) - begun).total_seconds() if begun else 0.0
        line = f"{after:8.3f} s  {each['who']:<8}  {each['what']:<26}  {_words(each['data'])}"
        console.print(line.rstrip(), markup=False, soft_wrap=True)


def _words(data: dict[str, Any]) -> str:
    known = {name: value for name, value in data.items() if name not in _LEFT_OUT}
    said = [f"{name}={_shown(value)}" for name, value in known.items() if value not in (None, [], {}, "")]
    return " ".join(said)[:_LONGEST]


def _shown(value: Any) -> str:
    return plain(value if isinstance(value, str) else json.dumps(value))
