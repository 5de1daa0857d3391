"""From a document to a manifest: every rule that can be checked without looking anything up."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from signalbox_catalog.domain import kinds
from signalbox_catalog.domain.kinds import Kind
from signalbox_catalog.domain.kinds.base import Spec
from signalbox_catalog.domain.labels import check_labels
from signalbox_catalog.domain.masks import mask
from signalbox_catalog.domain.resources import Manifest
from signalbox_catalog.errors import BadInput, refusal_of
from signalbox_common.spelling import CODE, UnknownField, names_of, unknown_fields, unknown_names
from signalbox_manifests import API_VERSION, FOREIGN_API_VERSIONS, Document, Flaw

MAX_SPEC = 256 * 1024
MAX_ANNOTATIONS = 64 * 1024
MAX_REFERENCES = 500
MAX_NUMBER = 2**63
MAX_KEYS = 60 * 1024
RESERVED_NAMES = frozenset({"schema"})

_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ANY_NAME = re.compile(r"\w(?:[\w .-]{0,98}\w)?")
"""Other systems allow more; what was made there keeps its name."""
_LONGEST = 300
"""Characters of a part of a path that are repeated."""
NAME_RULE = (
    "A name has at most 63 lower-case letters, digits and dashes, and begins and ends with a letter or digit."
)


def _no_nulls(value: Any) -> Any:
    """Empty values are often written as null."""
    if not isinstance(value, dict):
        return value
    return {name: text for name, text in value.items() if text is not None}


_Texts = Annotated[dict[str, str], BeforeValidator(_no_nulls)]


class Header(BaseModel):
    """What the metadata of a document may say."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)

    name: str
    namespace: str | None = Field(default=None, max_length=63)
    display_name: str | None = Field(default=None, max_length=200)
    labels: _Texts | None = None
    annotations: _Texts | None = None
    resource_version: str | int | None = None


_MADE_HERE = ("uid", "createdBy", "createdAt", "updatedAt", "deletedAt", "generation")
"""What else stands in the metadata of a resource that somebody has read, and sends again."""
_DOCUMENT = ("apiVersion", "kind", "metadata", "spec", "status", "warnings")


def header_of(document: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """What it says of itself: `apiVersion` and `kind`."""
    version, kind = document.get("apiVersion"), document.get("kind")
    return (
        version if isinstance(version, str) else None,
        kind if isinstance(kind, str) else None,
    )


def of_kind(kind: Kind, document: dict[str, Any], *, strict: bool = False) -> Manifest:
    """Of a document that was sent to the routes of one kind, where its header may be left out."""
    version, own = document.get("apiVersion"), document.get("kind")
    if version is not None and version != API_VERSION and not _is_foreign(version):
        raise BadInput(Flaw(f"The apiVersion here is {API_VERSION}.", "wrong_api_version", "apiVersion"))
    if own is not None and own != kind.name:
        raise BadInput(Flaw(f"Here are resources of the kind {kind.name}.", "wrong_kind", "kind"))
    return checked(kind, Document(1, document, {(): 1}), named=False, strict=strict)


def _is_foreign(version: Any) -> bool:
    return isinstance(version, str) and version in FOREIGN_API_VERSIONS


class _Flaws:
    """What is wrong with one document; `named` where it is one of many."""

    def __init__(self, document: Document, *, named: bool) -> None:
        self._document = document
        self._named = named
        self.all: list[Flaw] = []
        self.warnings: list[Flaw] = []

    def add(self, message: str, code: str, *path: str | int) -> None:
        self.all.append(self._flaw(message, code, *path))

    def add_unknown(self, found: Iterable[UnknownField], *base: str, refused: bool) -> None:
        """As a flaw, or as a warning where the field is allowed."""
        to = self.all if refused else self.warnings
        to += [self._flaw(each.message, CODE, *base, *each.path) for each in found]

    def _flaw(self, message: str, code: str, *path: str | int) -> Flaw:
        number, line = (self._document.number, self._document.line_of(path)) if self._named else (None, None)
        return Flaw(message, code, ".".join(str(part)[:_LONGEST] for part in path), number, line)

    def add_all(self, error: ValidationError, base: str) -> None:
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            path = _path(item["loc"], self._document.content.get(base, {}))
            self.add(item["msg"].removeprefix("Value error, "), item["type"], base, *path)


def checked(kind: Kind, document: Document, *, named: bool = True, strict: bool = False) -> Manifest:
    """The manifest that a document stands for; `named` where flaws say which document they are in.

    What is misspelt beside the spec would be lost, and is refused; in a spec it is kept with a warning, or
    refused where that is wished for. Documents from elsewhere may have more than is known here.
    """
    flaws = _Flaws(document, named=named)
    foreign = _is_foreign(document.content.get("apiVersion"))
    flaws.add_unknown(unknown_names(_DOCUMENT, document.content), refused=strict or not foreign)
    metadata = _checked_metadata(document.content, flaws, strict=strict or not foreign)
    given = document.content.get("spec", {})
    spec = _checked_spec(kind, given, flaws, strict=strict)
    if flaws.all or metadata is None or spec is None:
        raise refusal_of(*flaws.all)
    masked = mask(spec.model_dump(mode="json", by_alias=True, exclude_unset=True))
    if _size(masked.found) > MAX_KEYS:
        flaws.add(f"The keys of a resource have at most {MAX_KEYS} bytes together.", "too_large", "spec")
        raise BadInput(*flaws.all)
    return Manifest(
        kind=kind,
        name=metadata.name,
        namespace=metadata.namespace or None,
        labels=metadata.labels or {},
        annotations=metadata.annotations or {},
        display_name=metadata.display_name or None,
        spec=masked.spec,
        found=masked.found,
        kept=masked.kept,
        references=tuple(spec.references()),
        version=_version(metadata.resource_version),
        short=kind.short_in(given),
        may_be_new=foreign or _DNS_LABEL.fullmatch(metadata.name) is not None,
        source=document if named else None,
        warnings=tuple(flaws.warnings),
    )


def _checked_metadata(content: Mapping[str, Any], flaws: _Flaws, *, strict: bool) -> Header | None:
    given = content.get("metadata", {})
    if isinstance(given, dict):
        flaws.add_unknown(unknown_names((*names_of(Header), *_MADE_HERE), given), "metadata", refused=strict)
    try:
        metadata = Header.model_validate(given)
    except ValidationError as error:
        flaws.add_all(error, "metadata")
        return None
    for found in check_labels(metadata.labels or {}, "metadata.labels"):
        flaws.add(found.message, found.code, "metadata", "labels")
    if not _ANY_NAME.fullmatch(metadata.name):
        flaws.add(NAME_RULE, "bad_name", "metadata", "name")
    if metadata.name in RESERVED_NAMES:
        flaws.add(f"The name {metadata.name} is reserved.", "reserved", "metadata", "name")
    if _size(metadata.annotations) > MAX_ANNOTATIONS:
        flaws.add(
            f"Annotations have at most {MAX_ANNOTATIONS} bytes.", "too_large", "metadata", "annotations"
        )
    return metadata


def _checked_spec(kind: Kind, given: Any, flaws: _Flaws, *, strict: bool) -> Spec | None:
    if not isinstance(given, dict):
        flaws.add("The spec must be a mapping.", "dict_type", "spec")
        return None
    if _size(given) > MAX_SPEC:
        flaws.add(f"A spec has at most {MAX_SPEC} bytes.", "too_large", "spec")
        return None
    for path in _numbers_out_of_range(given, ()):
        flaws.add(f"A number here is less than {MAX_NUMBER}.", "bad_number", "spec", *path)
    for name in kind.contradicted(given):
        whole = ".".join(kind.replaces[name])
        message = f"This is short for {whole}, which says something else: send one of them, or both the same."
        flaws.add(message, "said_twice", "spec", name)
    canonical = kind.canonical(given)
    flaws.add_unknown(unknown_fields(kind.spec, canonical, kept=True), "spec", refused=strict)
    try:
        spec = kind.spec.model_validate(canonical)
    except ValidationError as error:
        flaws.add_all(error, "spec")
        return None
    if len(list(islice(spec.references(), MAX_REFERENCES + 1))) > MAX_REFERENCES:
        flaws.add(f"A resource refers to at most {MAX_REFERENCES} others.", "too_large", "spec")
    return spec


def _numbers_out_of_range(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Where numbers are that would come back from the database as others."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers_out_of_range(item, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _numbers_out_of_range(item, (*path, number))
    elif isinstance(value, int | float) and abs(value) >= MAX_NUMBER:
        yield path


def _size(value: Any) -> int:
    """Bytes of the JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def _path(loc: tuple[str | int, ...], given: Any) -> list[str | int]:
    """Without the branches of unions, which are no parts of the document."""
    path: list[str | int] = []
    for number, part in enumerate(loc):
        there = _below(given, part)
        if there is _NOTHING and not (
            isinstance(given, dict) and number == len(loc) - 1 and part not in _BRANCHES
        ):
            continue
        given = there
        path.append(part)
    return path


def _below(given: Any, part: str | int) -> Any:
    if isinstance(given, dict):
        return given.get(part, _NOTHING)
    if isinstance(given, list) and isinstance(part, int) and part < len(given):
        return given[part]
    return _NOTHING


_NOTHING = object()
_BRANCHES = frozenset({"str", "int", "float", "bool", "none"})


def _version(given: str | int | None) -> str | None:
    return None if given in (None, "", "0", 0) else str(given)


def kind_of(document: Document) -> Kind | None:
    """The kind of one document of many; None where it is one of another system, which is skipped."""
    version, name = header_of(document.content)
    line = document.line_of(("kind",))
    if version is None or name is None:
        missing = "apiVersion" if version is None else "kind"
        message = f"The document does not say its {missing}."
        raise BadInput(Flaw(message, "missing", missing, document.number, document.line_of((missing,))))
    kind = kinds.by_name(name)
    if version == API_VERSION and kind is None:
        known = ", ".join(sorted(each.name for each in kinds.all_kinds()))
        message = f"There is no kind {name[:100]!r}; there are {known}."
        raise BadInput(Flaw(message, "unknown_kind", "kind", document.number, line))
    return kind if version == API_VERSION or version in FOREIGN_API_VERSIONS else None
