"""Pages of lists: cursors, and as many items as fit."""

import base64
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic_core import to_json

from signalbox_common.contracts.base import MAX_BODY, FieldError, Reply
from signalbox_common.errors import Invalid

R = TypeVar("R", bound=Reply)
PAGE_BYTES = MAX_BODY


class BadCursor(Invalid):
    """It is none that a list of ours has answered."""

    code = Invalid.code
    errors = (FieldError(field="cursor", message="is not one of ours", code="bad_cursor"),)


def cut(found: Sequence[R], limit: int, place: Callable[[R], str]) -> tuple[tuple[R, ...], str | None]:
    """The items of a page and the cursor of the next; one more than the limit was looked for."""
    items = list(found[:limit])
    if len(to_json(items, by_alias=True)) > PAGE_BYTES:
        items = _fitting(items)
    return tuple(items), place(items[-1]) if len(found) > len(items) else None


def _fitting(found: Sequence[R]) -> list[R]:
    """As many as a body may have; one at least."""
    size = 0
    items: list[R] = []
    for item in found:
        size += len(item.encode())
        if items and size > PAGE_BYTES:
            break
        items.append(item)
    return items


def id_cursor(last: uuid.UUID) -> str:
    return _encoded(last.bytes)


def read_id_cursor(cursor: str | None) -> uuid.UUID | None:
    if cursor is None:
        return None
    try:
        return uuid.UUID(bytes=_decoded(cursor))
    except ValueError as error:
        raise BadCursor from error


def number_cursor(last: int) -> str:
    return _encoded(last.to_bytes(8, "big"))


def read_number_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        raw = _decoded(cursor)
    except ValueError as error:
        raise BadCursor from error
    if len(raw) != 8 or raw[0] & 0x80:
        raise BadCursor
    return int.from_bytes(raw, "big")


def words_cursor(*words: str) -> str:
    """Of a list that is in the order of several texts."""
    return _encoded("\0".join(words).encode())


def read_words_cursor(cursor: str | None, count: int) -> list[str] | None:
    if cursor is None:
        return None
    try:
        words = _decoded(cursor).decode().split("\0")
    except ValueError as error:
        raise BadCursor from error
    if len(words) != count:
        raise BadCursor
    return words


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    if not text.isascii():
        raise BadCursor
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
