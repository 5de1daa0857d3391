"""`signalbox skill`: push, pull, files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from signalbox_cli.commands.common import (
    JsonOption,
    NamespaceOption,
    UrlOption,
    console,
    fail,
    open_catalog,
)

STDOUT = "-"

app = typer.Typer(help="Packages of skills: a SKILL.md, and the files that go with it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The skill.")]


@app.command()
def push(
    name: Name,
    source: Annotated[Path, typer.Argument(metavar="DIR|ZIP", help="With a SKILL.md in it.")],
    url: UrlOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Make this the package of a skill, and the skill where there is none of that name."""
    from signalbox_cli.catalog.packages import packed

    with open_catalog(url, namespace) as catalog:
        content = packed(source)
        catalog.put_package(name, content)
        package = catalog.package_info(name)
    console.print(
        f"skill/{name} pushed: {len(package.files)} files, {package.size:,} bytes, sha256 {package.sha256}",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def pull(
    name: Name,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Where to; - is stdout, NAME.zip the default.")
    ] = None,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Download the package of a skill, as it came."""
    target = Path(output or f"{name}.zip")
    if output is None and target.exists():
        raise fail(f"{target} is there already: -o says where to write instead")
    with open_catalog(url, namespace) as catalog:
        content = catalog.get_package(name)
    if output == STDOUT:
        sys.stdout.buffer.write(content)
        return
    try:
        target.write_bytes(content)
    except OSError as error:
        raise fail(f"{target} cannot be written: {error.strerror}") from None
    console.print(f"{target}: {len(content):,} bytes", markup=False, soft_wrap=True)


@app.command()
def files(
    name: Name, url: UrlOption = None, namespace: NamespaceOption = None, as_json: JsonOption = False
) -> None:
    """List what is in the package of a skill."""
    from signalbox_cli.catalog import details
    from signalbox_cli.catalog.documents import to_json

    with open_catalog(url, namespace) as catalog:
        package = catalog.package_info(name)
    if as_json:
        print(to_json(package.model_dump(mode="json", by_alias=True)))
    else:
        print("\n".join(details.files(package)))
