"""`signalbox kinds` and `explain`: what there can be."""

from typing import Annotated

import typer

from signalbox_cli.commands.common import JsonOption, UrlOption, open_catalog


def kinds(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """The kinds of resources."""
    from signalbox_cli.catalog.documents import to_json
    from signalbox_cli.catalog.formatting import lined_up, on_one_line

    with open_catalog(url, None) as catalog:
        found = catalog.kinds()
    if as_json:
        print(to_json([kind.model_dump(mode="json", by_alias=True) for kind in found]))
        return
    rows = [["NAME", "SHORT", "VERSION", "KIND", "DESCRIPTION"]]
    rows += [
        [
            kind.plural,
            ",".join(kind.short_names) or "-",
            kind.api_version,
            kind.kind,
            on_one_line(kind.description),
        ]
        for kind in found
    ]
    print("\n".join(lined_up(rows)))


def explain(
    what: Annotated[str, typer.Argument(metavar="KIND[.FIELD…]", help="As in `bot.spec.ghostRef`.")],
    url: UrlOption = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="With all fields below.")] = False,
) -> None:
    """What a kind is, and which fields it has."""
    from signalbox_cli.catalog import kind_fields
    from signalbox_cli.catalog.kinds import TASK, find

    word, *path = what.split(".")
    with open_catalog(url, None) as catalog:
        if word.lower() in (TASK.singular, TASK.plural):
            kind, schema = TASK, catalog.task_schema()
        else:
            kind = find(catalog.kinds(), word)
            schema = catalog.schema(kind)
        lines = list(kind_fields.lines(kind, schema, path, recursive=recursive))
    print("\n".join(lines).rstrip())
