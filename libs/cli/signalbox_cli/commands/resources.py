"""`signalbox get`, `describe` and `history`: resources as they are, and as they were."""

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from signalbox_cli.commands.common import (
    NamespaceOption,
    UrlOption,
    errors,
    fail,
    open_catalog,
    print_differences,
)

if TYPE_CHECKING:
    from signalbox_cli.catalog.api import Catalog
    from signalbox_cli.catalog.kinds import Selection
    from signalbox_cli.catalog.tables import Layout
    from signalbox_common.contracts.catalog import KindEntry, Resource, WatchedChange

What = Annotated[
    list[str],
    typer.Argument(metavar="KIND [NAME…]", help="Or KIND/NAME…; `signalbox kinds` lists the kinds."),
]
WhatOne = Annotated[list[str], typer.Argument(metavar="KIND NAME", help="Or KIND/NAME.")]
SelectorOption = Annotated[
    str | None, typer.Option("--selector", "-l", help="Labels, as in `app=x,tier!=test,env in (a, b)`.")
]


USUAL_NAME = 24


class Output(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    YAML = "yaml"
    JSON = "json"
    NAME = "name"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to write it.")]


def get(
    what: What,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    selector: SelectorOption = None,
    search: Annotated[str | None, typer.Option("--search", "-q", help="A part of the name.")] = None,
    everywhere: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="In all of your projects.")
    ] = False,
    output: OutputOption = Output.TABLE,
    show_labels: Annotated[bool, typer.Option("--show-labels")] = False,
    export: Annotated[
        bool,
        typer.Option("--export", help="YAML or JSON without what the server has made, to apply elsewhere."),
    ] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that can be restored, instead.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on with every change; Ctrl-C ends it.")
    ] = False,
) -> None:
    """Show resources of one kind, of several (`bots,teams`) or of `all`."""
    from signalbox_cli.catalog.kinds import select
    from signalbox_cli.catalog.tables import Layout

    if watch and (search or deleted or export):
        raise fail("--watch goes with neither --search, --deleted nor --export", 2)
    if export and output not in (Output.YAML, Output.JSON):
        raise fail("--export goes with -o yaml and -o json", 2)
    with open_catalog(url, namespace) as catalog:
        asked = select(catalog.kinds(), what)
        if everywhere and any(each.names for each in asked):
            raise fail("--all-namespaces goes without names: one name may be there in each", 2)
        places = [catalog.within(each) for each in catalog.namespaces()] if everywhere else [catalog]

        def layout(kind: str) -> Layout:
            return Layout(
                kind,
                wide=output is Output.WIDE,
                namespaces=everywhere,
                labels=show_labels,
                kinds=len(asked) > 1,
                deleted=deleted,
                events=watch,
            )

        if watch:
            _follow(places, asked, selector, output, layout("" if len(asked) > 1 else asked[0].kind.kind))
            return
        missing: list[str] = []
        found = [
            (each.kind, list(_found(places, each, selector, search, missing, deleted=deleted)))
            for each in asked
        ]
        resources = [resource for _, group in found for resource in group]
        if output in (Output.TABLE, Output.WIDE):
            _print_tables([(layout(kind.kind), group) for kind, group in found if group])
            if not resources and not missing:
                errors.print("nothing was found", style="dim")
        else:
            single = len(asked) == 1 and len(asked[0].names) == 1
            _print_documents(resources, output, export=export, namespaces=everywhere, single=single)
    for words in missing:
        errors.print(f"signalbox: {words}", markup=False, soft_wrap=True)
    if missing:
        raise typer.Exit(1)


def _found(
    places: "Sequence[Catalog]",
    asked: "Selection",
    selector: str | None,
    search: str | None,
    missing: list[str],
    *,
    deleted: bool,
) -> "Iterator[Resource]":
    """What is not there is noted, and does not hide the rest."""
    from signalbox_cli.catalog.formatting import called
    from signalbox_common.errors import SignalboxError

    if not asked.names or deleted or selector or search:
        present = set()
        for place in places:
            for resource in place.resources(asked.kind, selector=selector, search=search, deleted=deleted):
                if not asked.names or resource.metadata.name in asked.names:
                    present.add(resource.metadata.name)
                    yield resource
        missing += [
            f"there is no {called(asked.kind.kind, name)} like that"
            for name in asked.names
            if name not in present
        ]
        return
    for name in asked.names:
        try:
            yield places[0].get(asked.kind, name)
        except SignalboxError as error:
            if error.code != "resource_not_found":
                raise
            missing.append(error.detail)


def _print_tables(groups: "Sequence[tuple[Layout, Sequence[Resource]]]") -> None:
    from signalbox_cli.catalog.formatting import lined_up

    for number, (layout, resources) in enumerate(groups):
        if number:
            print()
        print("\n".join(lined_up([layout.header(), *(layout.row(resource) for resource in resources)])))


def _print_documents(
    resources: "Sequence[Resource]", output: Output, *, export: bool, namespaces: bool, single: bool
) -> None:
    from signalbox_cli.catalog import documents
    from signalbox_cli.catalog.formatting import called

    if output is Output.NAME:
        for resource in resources:
            print(called(resource.kind, resource.metadata.name))
        return
    found = [
        documents.export(each, namespace=namespaces) if export else documents.document(each)
        for each in resources
    ]
    if output is Output.YAML:
        print(documents.all_to_yaml(found), end="")
    elif single:
        print("\n".join(documents.to_json(each) for each in found))
    else:
        print(documents.all_to_json(found))


def _follow(
    places: "Sequence[Catalog]",
    asked: "Sequence[Selection]",
    selector: str | None,
    output: Output,
    layout: "Layout",
) -> None:
    from signalbox_cli.catalog.watch import Watch, merged

    def note(words: str) -> None:
        errors.print(words, style="dim", markup=False, soft_wrap=True)

    watches = [Watch(place, each.kind, selector=selector, note=note) for place in places for each in asked]
    names = {each.kind.kind: each.names for each in asked}
    changes = (
        change
        for change in merged(watches)
        if not names.get(change.object.kind) or change.object.metadata.name in names[change.object.kind]
    )
    try:
        _print_changes(changes, output, layout)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _print_changes(changes: "Iterator[WatchedChange]", output: Output, layout: "Layout") -> None:
    import json

    from signalbox_cli.catalog import documents
    from signalbox_cli.catalog.formatting import Columns, called

    columns = Columns()
    if output in (Output.TABLE, Output.WIDE):
        room = {"EVENT": len("MODIFIED"), "NAME": USUAL_NAME}  # what comes later should not be wider
        columns.make_room([[name.ljust(room.get(name, 0)) for name in layout.header()]])
    for number, change in enumerate(changes):
        resource = change.object
        match output:
            case Output.JSON:
                print(json.dumps({"type": change.type, "object": documents.document(resource)}))
            case Output.YAML:
                print(f"---\n{documents.to_yaml(documents.document(resource))}", end="")
            case Output.NAME:
                print(called(resource.kind, resource.metadata.name))
            case _:
                row = layout.row(resource, event=change.type)
                columns.make_room([row])
                if number == 0:
                    print(columns.line(layout.header()))
                print(columns.line(row))
        sys.stdout.flush()


def describe(what: What, url: UrlOption = None, namespace: NamespaceOption = None) -> None:
    """Show resources with what they refer to, their last generations and their files."""
    from signalbox_cli.catalog.details import described
    from signalbox_cli.catalog.kinds import named

    with open_catalog(url, namespace) as catalog:
        for number, (kind, name) in enumerate(named(catalog.kinds(), what)):
            text = "\n".join(described(catalog, kind, name))
            print(f"\n{text}" if number else text)


def history(
    what: WhatOne,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    generation: Annotated[
        int | None, typer.Option("--generation", min=1, help="Show what this one has changed.")
    ] = None,
    against: Annotated[
        int | None, typer.Option("--against", min=1, help="Compare with this one, not the one before.")
    ] = None,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="With --generation: the resource as it was.")
    ] = Output.TABLE,
) -> None:
    """Show the generations of a resource, newest first: one for every change of its spec."""
    from signalbox_cli.catalog import details
    from signalbox_cli.catalog.kinds import one

    if generation is None and (against is not None or output is not Output.TABLE):
        raise fail("--against and -o go with --generation", 2)
    with open_catalog(url, namespace) as catalog:
        kind, name = one(catalog.kinds(), what)
        if generation is None:
            print("\n".join(details.history(list(catalog.generations(kind, name)))))
        else:
            _show_generation(catalog, kind, name, generation, against, output)


def _show_generation(
    catalog: "Catalog",
    kind: "KindEntry",
    name: str,
    generation: int,
    against: int | None,
    output: Output,
) -> None:
    from datetime import UTC, datetime

    from signalbox_cli.catalog.formatting import moment

    found = catalog.generation(kind, name, generation, against)
    if output in (Output.YAML, Output.JSON, Output.NAME):
        _print_documents([found.resource], output, export=False, namespaces=False, single=True)
        return
    other = f"against generation {found.against}" if found.against is not None else "against nothing"
    print(f"generation {generation} of {moment(found.changed_at, datetime.now(UTC))}, {other}")
    print_differences(found.diff)
    if not found.diff:
        print("no difference")
