"""YAML is read by the events of its parser."""

import re
from itertools import islice
from typing import Any

import yaml

from signalbox_manifests.builder import Builder
from signalbox_manifests.flaws import Flaw, ManifestError
from signalbox_manifests.scalars import NULLS, plain_scalar
from signalbox_manifests.syntax import BadScalar, BadSyntax, hinted

_MAX_TAG_DIRECTIVES = 100  # libyaml compares each with all before it
_CORE = "tag:yaml.org,2002:"
_NOT_YAML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_TAG_DIRECTIVE = re.compile(r"^%TAG", re.MULTILINE)
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}


def read_yaml(text: str, builder: Builder) -> None:
    bad = _NOT_YAML.search(text)
    if bad is not None:
        message = f"The character U+{ord(bad[0]):04X} may not stand in a document."
        raise ManifestError(Flaw(message, "not_text", line=text.count("\n", 0, bad.start()) + 1))
    if sum(1 for _ in islice(_TAG_DIRECTIVE.finditer(text), _MAX_TAG_DIRECTIVES + 1)) > _MAX_TAG_DIRECTIVES:
        message = f"More than {_MAX_TAG_DIRECTIVES} `%TAG` directives are not read."
        raise ManifestError(Flaw(message, "too_large"))
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            _take(event, builder)
    except yaml.MarkedYAMLError as error:
        raise _in_words(error, text) from None


def _in_words(error: yaml.MarkedYAMLError, text: str) -> BadSyntax:
    mark = error.problem_mark or error.context_mark
    index = mark.index if mark else len(text)
    problem = error.problem or "it ends too early"
    if problem == "did not find expected <document start>":
        problem = "a document ends before this, and the next has to begin with `---`"
    if "tab character" in problem or (
        "cannot start any token" in problem and text[index : index + 1] == "\t"
    ):
        return BadSyntax("bad_yaml", "Tabs may not be used for indentation in YAML; use spaces.", index)
    if error.context == "while scanning a simple key" and error.context_mark:
        # The parser notices only on the next line that a key without a colon was none.
        index = error.context_mark.index
    elif error.context and error.context_mark and error.context_mark.index < index:
        began = text.count("\n", 0, error.context_mark.index) + 1
        problem = f"{problem}, {error.context} that begins on line {began}"
    return BadSyntax("bad_yaml", f"This is not valid YAML: {problem}.", index)


def _take(event: yaml.Event, builder: Builder) -> None:
    index = event.start_mark.index if event.start_mark else 0
    if isinstance(event, yaml.ScalarEvent):
        _take_scalar(event, builder, index)
    elif isinstance(event, yaml.MappingStartEvent):
        _check_tag(event.tag, "map", builder, index)
        builder.open({}, index, event.anchor)
    elif isinstance(event, yaml.SequenceStartEvent):
        _check_tag(event.tag, "seq", builder, index)
        builder.open([], index, event.anchor)
    elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
        builder.close()
    elif isinstance(event, yaml.AliasEvent):
        builder.alias(event.anchor or "", index)
    elif isinstance(event, yaml.DocumentEndEvent):
        builder.end()


def _take_scalar(event: yaml.ScalarEvent, builder: Builder, index: int) -> None:
    text, tag = event.value, event.tag
    plain = tag is None and event.implicit[0]
    if plain and not text and builder.outside:
        return
    is_key = builder.awaits_key
    value: Any = text
    bad = None
    if not is_key or tag is not None or event.anchor is not None:  # a key stays as it is written
        try:
            value = plain_scalar(text) if plain else _tagged(tag, text)
        except BadScalar as error:
            value, bad = None, error
    key = "" if tag == f"{_CORE}null" or (plain and text in NULLS) else text
    if is_key and plain and text == "<<":
        builder.merge_key(index)
    elif is_key:
        builder.key(key, index)
    if bad is not None:
        builder.flaw(bad.code, str(bad), index)
    if not is_key:
        builder.scalar(value, text, index)
    if event.anchor is not None:
        builder.remember(event.anchor, value, key, text)


def _check_tag(tag: str | None, wanted: str, builder: Builder, index: int) -> None:
    if tag in {None, "!", f"{_CORE}{wanted}"}:
        return
    bad = _misfit(tag or "", "a mapping" if wanted == "map" else "a list")
    builder.flaw(bad.code, str(bad), index)


def _misfit(tag: str, what: str) -> BadScalar:
    name = hinted(f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag)
    if tag.removeprefix(_CORE) in {"map", "seq", "str", *_TYPES} and tag.startswith(_CORE):
        return BadScalar("wrong_tag", f"The tag `{name}` does not fit: this is {what}.")
    return BadScalar("unknown_tag", f"The tag `{name}` is not known; only those of YAML's core schema are.")


def _tagged(tag: str | None, text: str) -> Any:
    if tag in {None, "!", f"{_CORE}str"}:
        return text
    name = tag.removeprefix(_CORE) if tag else ""
    types = _TYPES.get(name) if tag != name else None
    value: Any = plain_scalar(text) if types else None
    if types is None or type(value) not in types:
        raise _misfit(tag or "", "what stands here")
    return float(value) if name == "float" else value
