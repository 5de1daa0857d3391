"""`signalbox template`: build, ls, rm."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from signalbox_cli.commands.common import JsonOption, UrlOption, console, speaking_http

app = typer.Typer(help="What sandboxes are made of.", no_args_is_help=True)

ProjectOption = Annotated[
    str | None, typer.Option("--project", "-p", help="The id of a project; by default your personal one.")
]
_KIB = 1024


@app.command()
def build(
    place: Annotated[
        Path, typer.Argument(metavar="DIR|NAME", help="With a template.yaml; or one that comes along.")
    ],
    project: ProjectOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also where it is there already.")] = False,
    url: UrlOption = None,
) -> None:
    """Run a recipe in a sandbox, and keep what it installs as a template."""
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.templates import Recipe, TemplateApi

        recipe = Recipe.read(place)
        with open_client(find_url(url)) as http:
            api = TemplateApi(http, project)
            if not force and api.is_built(recipe):
                console.print(f"template {recipe.name} is there already, of the same recipe", soft_wrap=True)
                return
            for name, data in api.build(recipe):
                match name:
                    case "step":
                        console.print(data, style="dim", markup=False, soft_wrap=True)
                    case "stdout" | "stderr":
                        sys.stderr.write(data["text"])
                        sys.stderr.flush()
                    case "kept":
                        size = data["sizeBytes"] / _KIB / _KIB
                        console.print(f"template {recipe.name} built: {size:.1f} MiB", soft_wrap=True)


@app.command("ls")
def list_(project: ProjectOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List the templates of a project."""
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.templates import TemplateApi

        with open_client(find_url(url)) as http:
            found = TemplateApi(http, project).every()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("template", "size", "built", "recipe", box=None, header_style="dim")
    for each in found:
        built = (each["createdAt"] or "")[:19].replace("T", " ")
        size = f"{each['sizeBytes'] / _KIB / _KIB:.1f} MiB" if each["createdAt"] else "of the host"
        table.add_row(each["name"], size, built, (each["digest"] or "")[:12])
    console.print(table)


@app.command()
def rm(
    name: Annotated[str, typer.Argument(help="The template.")],
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Delete a template; sandboxes that were made of it go on."""
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.templates import TemplateApi

        with open_client(find_url(url)) as http:
            TemplateApi(http, project).delete(name)
    console.print(f"template {name} deleted")
