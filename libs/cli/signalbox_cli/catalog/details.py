"""One resource with everything around it, for people to read."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

from signalbox_cli.catalog.api import Catalog
from signalbox_cli.catalog.documents import to_yaml
from signalbox_cli.catalog.formatting import age, called, harmless, lined_up, moment, on_one_line
from signalbox_common.contracts.catalog import (
    BrokenReference,
    Generation,
    HiddenReference,
    KindEntry,
    PackageInfo,
    Resource,
    ResourceTree,
)
from signalbox_common.errors import SignalboxError

LAST = 5
PACKAGED = "skills"
_WIDTH = 14
_References = Mapping[str, ResourceTree | HiddenReference | BrokenReference]


def described(catalog: Catalog, kind: KindEntry, name: str) -> Iterator[str]:
    resource = catalog.get(kind, name)
    references: _References = {}
    status = resource.status
    try:
        tree = catalog.resolved(kind, name)
        references, status = tree.references, tree.status
    except SignalboxError as error:
        if error.status != 404:
            raise
        # It was deleted in this moment.
    yield from _itself(resource, str(status.get("state", "-")))
    if references:
        yield "References:"
        yield from _references(references, resource.metadata.namespace, "  ")
    generations = list(islice(catalog.generations(kind, name), LAST))
    yield "History:"
    yield from (f"  {line}" for line in history(generations))
    if kind.plural == PACKAGED and "package" in resource.status:
        yield "Package:"
        yield from (f"  {line}" for line in files(catalog.package_info(name)))


def history(generations: list[Generation]) -> list[str]:
    now = datetime.now(UTC)
    rows = [["GENERATION", "VERSION", "CHANGED", "BY"]]
    rows += [
        [str(each.generation), each.resource_version, moment(each.changed_at, now), str(each.changed_by)]
        for each in generations
    ]
    return lined_up(rows)


def files(package: PackageInfo) -> list[str]:
    rows = [["SIZE", "MODE", "PATH"]]
    rows += [
        [f"{file.size:,}", "executable" if file.executable else "-", on_one_line(file.path)]
        for file in package.files
    ]
    total = f"{len(package.files)} files, {package.unpacked_size:,} bytes; {package.size:,} as a ZIP"
    return [*lined_up(rows), total]


def _itself(resource: Resource, state: str) -> Iterator[str]:
    metadata, now = resource.metadata, datetime.now(UTC)
    yield _line("Name", metadata.name)
    yield _line("Namespace", metadata.namespace)
    yield _line("Kind", f"{resource.kind} ({resource.api_version})")
    if metadata.display_name:
        yield _line("Display name", metadata.display_name)
    yield from _pairs("Labels", metadata.labels)
    yield from _pairs("Annotations", metadata.annotations)
    yield _line("Created", f"{moment(metadata.created_at, now)} by {metadata.created_by}")
    yield _line("Changed", f"{age(metadata.updated_at, now)} ago")
    yield _line("Generation", f"{metadata.generation} (resourceVersion {metadata.resource_version})")
    yield _line("State", state)
    yield "Spec:"
    yield from (f"  {harmless(line)}" for line in to_yaml(resource.spec).splitlines())


def _line(name: str, text: str) -> str:
    return f"{name + ':':<{_WIDTH}} {on_one_line(text)}"


def _pairs(name: str, pairs: Mapping[str, str]) -> Iterator[str]:
    if not pairs:
        yield _line(name, "-")
    for number, (key, value) in enumerate(sorted(pairs.items())):
        label = f"{name}:" if number == 0 else ""
        yield f"{label:<{_WIDTH}} {on_one_line(f'{key}={value}', 120)}"


def _references(references: _References, namespace: str, indent: str) -> Iterator[str]:
    for field, found in references.items():
        if isinstance(found, HiddenReference):
            where = f" (in {found.namespace}, which you may not read)"
            yield f"{indent}{harmless(field)}: {called(found.kind, found.name)}{where}"
            continue
        if isinstance(found, BrokenReference):
            where = f" (not there any more in {found.namespace})"
            yield f"{indent}{harmless(field)}: {called(found.kind, found.name)}{where}"
            continue
        own = found.metadata.namespace
        where = f" (in {own})" if own != namespace else ""
        yield f"{indent}{harmless(field)}: {called(found.kind, found.metadata.name)}{where}"
        yield from _references(found.references, own, indent + "  ")
