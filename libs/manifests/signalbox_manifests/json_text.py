"""JSON is read with every value's place, which the reader of the standard library does not tell."""

import json
import re
from typing import Any

from signalbox_manifests.builder import Builder
from signalbox_manifests.scalars import plain_scalar
from signalbox_manifests.syntax import BadScalar, BadSyntax

_BLANK = re.compile(r"[ \t\n]*")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null|NaN|-?Infinity")
_MEANT = re.compile(r'[\s\[{]*"')
_STRING = json.JSONDecoder()


def may_be_json(text: str) -> bool:
    return text.lstrip(" \t\n").startswith(("{", "["))


def is_meant_as_json(text: str) -> bool:
    """Few begin YAML with a bracket and go on with a double quote."""
    return _MEANT.match(text) is not None


def read_json(text: str, builder: Builder) -> None:
    at = _after_blank(text, 0)
    while at < len(text):
        at = _read_document(text, at, builder)
        builder.end()


def _read_document(text: str, at: int, builder: Builder) -> int:
    closings: list[str] = []
    while True:
        opening = text[at : at + 1]
        if opening in {"{", "["}:
            builder.open({} if opening == "{" else [], at)
            closings.append("}" if opening == "{" else "]")
            at = _after_blank(text, at + 1)
            if text[at : at + 1] != closings[-1]:
                if opening == "{":
                    at = _read_key(text, at, builder)
                continue
        else:
            at = _after_blank(text, _read_scalar(text, at, builder))
        while closings and text[at : at + 1] == closings[-1]:
            closings.pop()
            builder.close()
            at = _after_blank(text, at + 1)
        if not closings:
            return at
        if text[at : at + 1] != ",":
            message = f"This is not valid JSON: a comma or `{closings[-1]}` has to stand here."
            # YAML would silently read `{"a": 1 "b":2}` as one key with the text `1 "b":2`.
            raise BadSyntax("bad_json", message, at, surely=text[at : at + 1] == '"')
        at = _after_blank(text, at + 1)
        if closings[-1] == "}":
            at = _read_key(text, at, builder)


def _read_key(text: str, at: int, builder: Builder) -> int:
    """To where its value stands."""
    if text[at : at + 1] != '"':
        raise BadSyntax("bad_json", "This is not valid JSON: a key in double quotes has to stand here.", at)
    key, end = _string(text, at)
    builder.key(key, at)
    at = _after_blank(text, end)
    if text[at : at + 1] != ":":
        raise BadSyntax("bad_json", "This is not valid JSON: a colon has to stand here.", at)
    return _after_blank(text, at + 1)


def _read_scalar(text: str, at: int, builder: Builder) -> int:
    if text[at : at + 1] == '"':
        string, end = _string(text, at)
        builder.scalar(string, string, at)
        return end
    found = _PLAIN.match(text, at)
    if found is None:
        raise BadSyntax("bad_json", "This is not valid JSON: a value has to stand here.", at)
    value: Any = None
    try:
        value = _value(found[0])
    except BadScalar as error:
        builder.flaw(error.code, str(error), at)
    builder.scalar(value, found[0], at)
    return found.end()


def _value(written: str) -> Any:
    """As YAML has it, where alone `NaN` and `Infinity` are texts."""
    value = plain_scalar(written)
    if isinstance(value, str):
        raise BadScalar("bad_number", f"`{written}` is not a number that JSON can hold.")
    return value


def _string(text: str, at: int) -> tuple[str, int]:
    try:
        return _STRING.raw_decode(text, at)
    except json.JSONDecodeError as error:
        problem = error.msg.removesuffix(" at").removesuffix(":")
        problem = problem[0].lower() + problem[1:]
        raise BadSyntax("bad_json", f"This is not valid JSON: {problem}.", error.pos) from None


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
