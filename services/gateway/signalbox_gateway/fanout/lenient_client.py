"""Keeps a NATS client reading, whatever somebody outside has sent."""

from typing import Any

from nats.aio.client import Client


def parse_leniently(client: Client) -> None:
    """nats-py stops reading from its connection at a subject that is no UTF-8, or at headers that are none.

    The server takes both. Here such a subject is read with escapes in it, and such headers are none.
    """
    if "_build_message" in vars(client):
        return
    build, process = client._build_message, client._process_headers  # noqa: SLF001 - there is no other way in

    def build_lenient(sid: int, subject: bytes, *rest: Any) -> Any:
        return build(sid, subject.decode(errors="backslashreplace").encode(), *rest)

    async def process_lenient(headers: Any) -> Any:
        try:
            return await process(headers)
        except Exception:  # noqa: BLE001 - whatever it stumbles over, the message has no headers to believe
            return None

    vars(client).update(_build_message=build_lenient, _process_headers=process_lenient)
