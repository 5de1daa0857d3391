"""What all commands share: consoles, options, and one way to fail."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from signalbox_cli.stack.home import Home

if TYPE_CHECKING:
    from nats.aio.client import Client

    from signalbox_cli.catalog.api import Catalog
    from signalbox_common.contracts.catalog import Change
    from signalbox_common.errors import SignalboxError

T = TypeVar("T")
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="SIGNALBOX_HOME", help="The folder that holds all state."),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="SIGNALBOX_URL", help="Where Signalbox is; by default the running stack."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        envvar="SIGNALBOX_NAMESPACE",
        help="The slug of a project; by default your personal one.",
    ),
]


ProjectOption = Annotated[
    str | None, typer.Option("--project", "-p", help="The id of a project; by default your personal one.")
]
EnvOption = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="In the environment.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="HOST[:PORT]", help="It may reach this host; `*.name` for all below."),
]
PublicOption = Annotated[bool, typer.Option("--public", help="It may reach every public host.")]


def network_of(allow: list[str] | None, *, public: bool) -> Any:
    if allow and public:
        raise fail("--public is more than --allow: say one of them", 2)
    return {"allow": allow} if allow else "public" if public else "none"


def pairs(given: list[str] | None) -> dict[str, str]:
    found = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals:
            raise fail(f"{each!r} is not NAME=VALUE", 2)
        found[name] = value
    return found


def fail(message: str, code: int = 1) -> typer.Exit:
    """Says why, on standard error, and gives the exception to raise."""
    errors.print(f"[bold red]signalbox:[/] {escape(message)}", soft_wrap=True)
    return typer.Exit(code)


@contextmanager
def speaking_http(code: int = 1) -> Iterator[None]:
    """What goes wrong between here and the gateway ends the command in words, with that exit code."""
    import httpx
    from pydantic import ValidationError

    from signalbox_cli.catalog.errors import Mistake
    from signalbox_cli.session import SessionError
    from signalbox_common.errors import SignalboxError

    try:
        yield
    except (SessionError, Mistake) as error:
        raise fail(str(error), code) from None
    except SignalboxError as error:
        raise fail(_words(error), code) from None
    except ValidationError:
        raise fail("the answer is not one of Signalbox: is the address right?", code) from None
    except httpx.RequestError as error:
        url = error.request.url
        raise fail(f"{url.scheme}://{url.netloc.decode()} is not reachable: {error}", code) from None


@contextmanager
def open_catalog(url: str | None, namespace: str | None, code: int = 1) -> Iterator["Catalog"]:
    """The catalog as whoever is logged in sees it; what goes wrong with it ends the command in words."""
    with speaking_http(code):
        from signalbox_cli.catalog.api import Catalog
        from signalbox_cli.client import find_url, open_client

        with open_client(find_url(url)) as http:
            yield Catalog(http, namespace or None)


def print_differences(changes: "Sequence[Change]") -> None:
    """In colours, where somebody looks."""
    from signalbox_cli.catalog import differences

    for style, line in differences.lines(changes):
        console.print(f"  {line}", style=style or None, markup=False, soft_wrap=True)


def as_operator(home: HomeOption, work: "Callable[[Client], Awaitable[T]]") -> T:
    """Works on the bus with the operator's rights; what goes wrong there ends the command in words."""
    import nats.errors

    from signalbox_cli.operator import NoStack, Operator
    from signalbox_common.errors import SignalboxError

    async def run() -> T:
        async with Operator(Home.find(home)).nats() as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except NoStack as error:
        raise fail(str(error)) from None
    except SignalboxError as error:
        raise fail(_words(error)) from None
    except (TimeoutError, nats.errors.NoRespondersError):
        raise fail("no answer: is the service that owns it running? `signalbox status` tells") from None
    except (OSError, nats.errors.Error) as error:
        raise fail(f"NATS is not reachable: {error or type(error).__name__}") from None


def _words(error: "SignalboxError") -> str:
    """Where only one thing is wrong, the sentence often says all of it."""
    told = [each for each in error.errors if each.message not in error.detail]
    return "\n".join(
        [error.detail, *(f"  {each.field}: {each.message}" if each.field else each.message for each in told)]
    )


def plain(text: str) -> str:
    """On one line, without what would speak to the terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def cell(text: str) -> Text:
    """In a table, where words of others would be read as markup."""
    return Text(plain(text))
