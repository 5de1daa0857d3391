"""`signalbox edit`, `delete`, `restore` and `rollback`: one resource, or a few."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from rich.markup import escape

from signalbox_cli.commands.common import NamespaceOption, UrlOption, console, errors, fail, open_catalog
from signalbox_cli.commands.resources import SelectorOption, WhatOne

if TYPE_CHECKING:
    from signalbox_cli.catalog.api import Catalog
    from signalbox_common.contracts.catalog import KindEntry

    Doomed: TypeAlias = tuple[Catalog, KindEntry, str]

SHOWN = 20


def edit(what: WhatOne, url: UrlOption = None, namespace: NamespaceOption = None) -> None:
    """Change a resource in your editor (VISUAL, EDITOR or vi)."""
    from signalbox_cli.catalog import editor
    from signalbox_cli.catalog.formatting import called
    from signalbox_cli.catalog.kinds import one

    with open_catalog(url, namespace) as catalog:
        kind, name = one(catalog.kinds(), what)
        current = catalog.get(kind, name)
        place = catalog.within(current.metadata.namespace)
        version = current.metadata.resource_version
        try:
            done = editor.edit(
                current,
                lambda document: place.replace(kind, name, document, version),
                editor.open_in(editor.editor_of(os.environ)),
            )
        except editor.EditNotSaved as error:
            raise fail(f"{error}\nnothing was changed; your text is in {error.file}") from None
    if done is None:
        console.print("edit cancelled, nothing changed")
    else:
        _say(called(kind.kind, name), "unchanged" if done.metadata.resource_version == version else "edited")


def delete(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="KIND NAME…", help="Or KIND/NAME…, or KIND with -l.")
    ] = None,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    selector: SelectorOption = None,
    files: Annotated[
        list[str] | None, typer.Option("--filename", "-f", help="What these documents name; - is stdin.")
    ] = None,
    cascade: Annotated[bool, typer.Option("--cascade", help="Also whatever refers to them.")] = False,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="What is not there is fine, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
) -> None:
    """Delete resources; `signalbox restore` brings them back for 30 days, if not set otherwise."""
    from signalbox_cli.catalog.formatting import called
    from signalbox_common.errors import SignalboxError

    if bool(what) == bool(files) or (files and selector):
        raise fail("say what to delete: KIND NAME…, KIND -l SELECTOR, or -f FILE", 2)
    failed = False
    with open_catalog(url, namespace) as catalog:
        doomed = _named_in(catalog, files) if files else _named_by(catalog, what or [], selector)
        if not doomed:
            errors.print("nothing was found", style="dim")
        if len(doomed) > 1 and not yes and sys.stdin.isatty():
            _ask(doomed)
        for place, kind, name in doomed:
            try:
                place.delete(kind, name, cascade=cascade)
            except SignalboxError as error:
                if error.code == "resource_not_found" and ignore_not_found:
                    continue
                if error.status not in (404, 409):
                    raise
                failed = True
                errors.print(
                    f"[bold red]signalbox:[/] {escape(called(kind.kind, name))}: {escape(error.detail)}",
                    soft_wrap=True,
                )
            else:
                _say(called(kind.kind, name), "deleted")
    if failed:
        raise typer.Exit(1)


def _named_by(catalog: "Catalog", what: Sequence[str], selector: str | None) -> "list[Doomed]":
    from signalbox_cli.catalog import kinds

    known = catalog.kinds()
    if selector is None:
        return [(catalog, kind, name) for kind, name in kinds.named(known, what)]
    asked = kinds.select(known, what)
    if any(each.names for each in asked):
        raise fail("say either names or a selector", 2)
    found = [
        (catalog, each.kind, resource.metadata.name)
        for each in asked
        for resource in catalog.resources(each.kind, selector=selector)
    ]
    return sorted(found, key=lambda one: -kinds.depth(known, one[1].kind))


def _named_in(catalog: "Catalog", files: Sequence[str]) -> "list[Doomed]":
    """Whoever refers to others comes before them."""
    from signalbox_cli.catalog import documents, kinds, sources

    known = catalog.kinds()
    by_kind = {kind.kind: kind for kind in known}
    gathered = sources.gather(files)
    joined = sources.join([each for each in gathered if isinstance(each, sources.Source)])
    try:
        found = documents.read(joined.text) if joined.lines else []
    except documents.DocumentError as wrong:
        for error in wrong.errors:
            errors.print(joined.located(error), markup=False, soft_wrap=True)
        raise fail("nothing was deleted") from None
    folders = [each for each in gathered if isinstance(each, sources.SkillFolder)]
    doomed: list[Doomed] = [(catalog, by_kind["Skill"], each.name) for each in folders]
    for document in found:
        content = document.content
        metadata = content.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        place = joined.place(document.line_of(()))
        kind = by_kind.get(str(content.get("kind")))
        if kind is None or content.get("apiVersion") not in documents.API_VERSIONS | {kind.api_version}:
            errors.print(f"{place}: skipped: this is no kind of the catalog", markup=False, soft_wrap=True)
        elif not isinstance(name, str):
            raise fail(f"{place}: the document does not say its metadata.name; nothing was deleted")
        else:
            where = metadata.get("namespace") if isinstance(metadata, dict) else None
            doomed.append(
                (catalog.within(where) if isinstance(where, str) and where else catalog, kind, name)
            )
    return sorted(doomed, key=lambda one: -kinds.depth(known, one[1].kind))


def _ask(doomed: "Sequence[Doomed]") -> None:
    from signalbox_cli.catalog.formatting import called

    for _, kind, name in doomed[:SHOWN]:
        errors.print(f"  {called(kind.kind, name)}", markup=False, soft_wrap=True)
    if len(doomed) > SHOWN:
        errors.print(f"  and {len(doomed) - SHOWN} more")
    errors.print(f"Delete these {len(doomed)}? (y/N) ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise fail("nothing was deleted")


def restore(what: WhatOne, url: UrlOption = None, namespace: NamespaceOption = None) -> None:
    """Bring back what was deleted last under that name."""
    from signalbox_cli.catalog.formatting import called
    from signalbox_cli.catalog.kinds import one

    with open_catalog(url, namespace) as catalog:
        kind, name = one(catalog.kinds(), what)
        catalog.restore(kind, name)
    _say(called(kind.kind, name), "restored")


def rollback(
    what: WhatOne,
    to: Annotated[int, typer.Option("--to", min=1, help="A generation; `signalbox history` lists them.")],
    url: UrlOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Make the spec of an older generation a new one, stored keys included."""
    from signalbox_cli.catalog.formatting import called
    from signalbox_cli.catalog.kinds import one

    with open_catalog(url, namespace) as catalog:
        kind, name = one(catalog.kinds(), what)
        now = catalog.roll_back(kind, name, to).metadata.generation
    _say(called(kind.kind, name), f"rolled back to generation {to}; it is generation {now} now")


def _say(what: str, became: str) -> None:
    console.print(f"{what} {became}", markup=False, soft_wrap=True)
