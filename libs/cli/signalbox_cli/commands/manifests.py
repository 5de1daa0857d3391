"""`signalbox apply` and `diff`: many documents at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from signalbox_cli.commands.common import (
    NamespaceOption,
    UrlOption,
    console,
    errors,
    fail,
    open_catalog,
    print_differences,
)
from signalbox_cli.commands.resources import Output

if TYPE_CHECKING:
    from signalbox_cli.catalog.api import Catalog
    from signalbox_common.contracts.catalog import ApplyResult, ApplyResultItem

TROUBLE = 2
"""What `diff` ends with where it cannot tell: 1 says that there are differences."""

FilesOption = Annotated[
    list[str],
    typer.Option("--filename", "-f", help="A file, a directory with all below it, or - for stdin."),
]
IntoOption = Annotated[
    str | None,
    typer.Option(
        "--into",
        metavar="PROJECT",
        help="The project for all of it: also for documents that name the namespace `default`.",
    ),
]
PruneOption = Annotated[
    bool, typer.Option("--prune", help="Also delete what -l finds and the documents do not have.")
]
PrunedOption = Annotated[
    str | None, typer.Option("--selector", "-l", help="With --prune: the labels of what belongs together.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse fields that are unknown, instead of a warning.")
]


def apply(
    files: FilesOption,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    into: IntoOption = None,
    create_namespace: Annotated[
        bool, typer.Option("--create-namespace", help="Make that project where there is none of that name.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    prune: PruneOption = False,
    selector: PrunedOption = None,
    strict: StrictOption = False,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="`name`, or `json` for scripts.")
    ] = None,
) -> None:
    """Make it so as documents say: all of them, or none.

    A folder with a SKILL.md becomes the package of a skill that is called as the folder is.
    """
    from signalbox_cli.catalog.documents import to_json

    if output not in (None, Output.JSON, Output.NAME):
        raise fail("apply writes -o name and -o json", 2)
    with open_catalog(url, namespace) as catalog:
        if create_namespace:
            _create_namespace(catalog, into or namespace, dry_run=dry_run)
        applied = _applied(
            catalog, files, dry_run=dry_run, prune=prune, selector=selector, into=into, strict=strict
        )
    if output is Output.JSON:
        print(to_json(applied.model_dump(mode="json", by_alias=True, exclude_none=True)))
        return
    several = len({item.namespace for item in applied.items if item.namespace is not None}) > 1
    for item in applied.items:
        what = _called(item, namespaces=several)
        if output is Output.NAME:
            print(what)
            continue
        warning = f" ({item.warning})" if item.warning else ""
        tried = " (dry run)" if applied.dry_run else ""
        console.print(f"{what} {item.action}{warning}{tried}", markup=False, soft_wrap=True)


def diff(
    files: FilesOption,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    into: IntoOption = None,
    prune: PruneOption = False,
    selector: PrunedOption = None,
    strict: StrictOption = False,
) -> None:
    """Show what `apply` would change; exit code 0 for nothing, 1 for something, 2 for trouble."""
    with open_catalog(url, namespace, TROUBLE) as catalog:
        applied = _applied(
            catalog,
            files,
            dry_run=True,
            prune=prune,
            selector=selector,
            into=into,
            strict=strict,
            code=TROUBLE,
        )
    several = len({item.namespace for item in applied.items if item.namespace is not None}) > 1
    untold = [item for item in applied.items if _only_keys(item)]
    changed = [
        item for item in applied.items if item.action not in ("unchanged", "skipped") and item not in untold
    ]
    for item in untold:
        errors.print(f"{_called(item)}: {item.warning}", markup=False, soft_wrap=True)
    for item in applied.items:
        if item.action == "skipped":
            errors.print(f"{_called(item)} skipped ({item.warning})", markup=False, soft_wrap=True)
    for item in changed:
        console.print(
            f"{_called(item, namespaces=several)} would be {item.action}",
            style="bold",
            markup=False,
            soft_wrap=True,
        )
        if item.warning:
            console.print(f"  {item.warning}", markup=False, soft_wrap=True)
        print_differences(item.diff or ())
    if changed:
        raise typer.Exit(1)


def _applied(
    catalog: "Catalog",
    files: Sequence[str],
    *,
    dry_run: bool,
    prune: bool,
    selector: str | None,
    into: str | None,
    strict: bool,
    code: int = 1,
) -> "ApplyResult":
    """Refusals and warnings name the lines of the files that the person has."""
    from signalbox_cli.catalog import packages, sources
    from signalbox_common.errors import SignalboxError

    if prune != bool(selector):
        raise fail("--prune and -l go together: the labels say what may be deleted", TROUBLE)
    found = sources.gather(files)
    joined = sources.join([each for each in found if isinstance(each, sources.Source)])
    folders = packages.by_name([each for each in found if isinstance(each, sources.SkillFolder)])
    archive = packages.archived(joined.text, folders) if folders else None
    try:
        applied = catalog.apply(
            joined.text,
            archive=archive,
            dry_run=dry_run,
            prune=prune,
            selector=selector,
            into=into,
            strict=strict,
        )
    except SignalboxError as error:
        if all(each.line is None for each in error.errors):
            raise
        for each in error.errors:
            errors.print(joined.located(each), markup=False, soft_wrap=True)
        more = f"{len(error.errors)} things do not fit; " if len(error.errors) > 1 else ""
        raise fail(f"{more}nothing was changed", code) from None
    for item in applied.items:
        for each in item.warnings:
            errors.print(f"warning: {joined.located(each)}", markup=False, soft_wrap=True)
    return applied


def _create_namespace(catalog: "Catalog", slug: str | None, *, dry_run: bool) -> None:
    """A project that is made stays, whatever becomes of the documents."""
    if slug is None:
        raise fail("--create-namespace needs --into PROJECT or -n PROJECT", TROUBLE)
    if slug in catalog.namespaces():
        return
    if dry_run:
        console.print(f"project/{slug} created (dry run)", markup=False)
        raise fail("nothing can be tried in a project that is not there yet", TROUBLE)
    catalog.create_namespace(slug)
    console.print(f"project/{slug} created", markup=False)


def _only_keys(item: "ApplyResultItem") -> bool:
    """Whether nothing but keys would change, of which a dry run does not tell if they are others."""
    changes = item.diff or ()
    return bool(item.warning and changes) and all(
        change.op == "replace" and change.old == change.new for change in changes
    )


def _called(item: "ApplyResultItem", *, namespaces: bool = False) -> str:
    from signalbox_cli.catalog.formatting import called, on_one_line

    what = called(on_one_line(item.kind), item.name or "?")
    return f"{what} in {item.namespace}" if namespaces and item.namespace else what
