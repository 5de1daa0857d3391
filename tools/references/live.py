"""AsyncAPI of what clients follow: the WebSocket, server-sent events, and events from outside."""

from typing import Any

from pydantic import BaseModel

from signalbox_common import __version__
from signalbox_common.contracts.streams import EXTERNAL, INGEST_LETTERS
from signalbox_gateway import closing
from signalbox_gateway.external import MAX_DATA
from signalbox_gateway.live.protocol import FROM_CLIENT, FROM_SERVER, ListedEvent
from signalbox_gateway.live.subscription import MAX_SUBSCRIPTIONS

_CLOSES = {
    closing.NOT_AUTHENTICATED: "no token, or one that is not good any more; the reason says which",
    closing.TOKEN_EXPIRED: "the token has ended and no newer one came in time",
    closing.TOO_SLOW: "the client did not take what it was sent: come again with `resumeFrom`",
    closing.TRY_LATER: "something that is needed is away at the moment",
    closing.UNSUPPORTED: "messages are text, not binary",
    1009: "a message of more than 64 KiB",
    1011: "no answer to a ping within 30 s",
    1012: "the server stops: come again with `resumeFrom`",
}
_SSE = (
    "Server-sent events (GET). `id` is the position in the stream, which `Last-Event-ID` or `?lastEventId=`"
    " names when a client comes again; `event` is the type. The first `id` comes without an event. An event"
    " `resync` says which events to ask for in pages. A comment every 15 s; the end after 5 minutes, or with"
    " the token."
)
_OUTSIDE = (
    f"CloudEvents 1.0 into {EXTERNAL.name}, in binary or structured mode, data as JSON of at most"
    f" {MAX_DATA // 1024} KiB; the type is `ext.` and the rest of the subject. What is none goes to"
    f" `{INGEST_LETTERS}.<subject>`. Its source is told as who published it, then, behind `#`, the"
    " source that it names."
)


def live() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    spoken: tuple[type[BaseModel], ...] = (*FROM_CLIENT, *FROM_SERVER)
    described: tuple[type[BaseModel], ...] = (ListedEvent, *spoken)
    for model in described:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    closes = "; ".join(f"{code}: {why}" for code, why in sorted(_CLOSES.items()))
    project = {"project": {"description": "The project's id."}}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Signalbox live events", "version": __version__},
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {"host": "localhost:8000", "protocol": "ws"},
            "streams": {"host": "localhost:8000", "protocol": "http"},
            "nats": {"host": "localhost:4222", "protocol": "nats"},
        },
        "channels": {
            "socket": {
                "address": "/api/v1/ws",
                "servers": [{"$ref": "#/servers/gateway"}],
                "description": f"JSON as text; {MAX_SUBSCRIPTIONS} subscriptions. Closed with {closes}.",
                "messages": {model.__name__: _message(model) for model in spoken},
            },
            "stream": {
                "address": "/api/v1/sse",
                "servers": [{"$ref": "#/servers/streams"}],
                "description": _SSE,
                "messages": {"ListedEvent": _message(ListedEvent)},
            },
            "outside": {
                "address": "ext.{project}.{type}",
                "servers": [{"$ref": "#/servers/nats"}],
                "description": _OUTSIDE,
                "parameters": project | {"type": {"description": "One to four words with dots between."}},
                "messages": {"Data": {"name": "Data", "payload": {}}},
            },
        },
        "operations": {
            "hear": _operation("receive", "socket", *FROM_CLIENT),
            "tell": _operation("send", "socket", *FROM_SERVER),
            "stream": _operation("send", "stream", ListedEvent),
            "takeIn": {"action": "receive", "channel": {"$ref": "#/channels/outside"}},
        },
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "name": model.__name__,
        "summary": (model.__doc__ or "").strip(),
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _operation(action: str, channel: str, *models: type[BaseModel]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{model.__name__}"} for model in models],
    }
