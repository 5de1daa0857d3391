"""What a real browser makes of the streams: through a page of the gateway, cookies, its rules and all."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.support import chromium
from tests.support.chromium import Page, browser
from tests.support.installation import PASSWORD, Http, Installation
from tests.support.live import Teller, fanout, telling
from tests.support.relay import Relay, relay

CHROMIUM = chromium.find()
pytestmark = [
    pytest.mark.fresh,  # its person has the same name in each test
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here: install it, or name it in SIGNALBOX_TEST_CHROMIUM"
    ),
]
SOURCE = """
window.seen = {texts: [], ids: [], opened: 0, closed: false};
window.follow = (query, last) => {
    const source = new EventSource('/api/v1/sse?' + new URLSearchParams(
        last ? {...query, lastEventId: last} : query));
    source.onopen = () => { seen.opened += 1; };
    source.onerror = () => { seen.closed = source.readyState === EventSource.CLOSED; };
    source.addEventListener('tasks.lab.taken', event => {
        seen.texts.push(JSON.parse(event.data).data.text);
        seen.ids.push(event.lastEventId);
    });
    window.source = source;
};
window.ticket = async () => (await (await fetch('/api/v1/auth/ws-ticket', {method: 'POST'})).json()).ticket;
"""
SOCKET = """
window.seen = {texts: [], ids: [], opened: 0, refused: []};
window.open_socket = (project, query) => {
    const socket = new WebSocket(`ws://${location.host}/api/v1/ws${query}`);
    socket.onmessage = ({data}) => {
        const message = JSON.parse(data);
        if (message.type === 'ready') {
            const last = seen.ids.at(-1) ?? seen.at;
            const resume = last ? {resumeFrom: last} : {};
            socket.send(JSON.stringify({type: 'subscribe', ref: 'r', project, ...resume}));
        } else if (message.type === 'subscribed') {
            seen.at = message.at;
            seen.opened += 1;
        } else if (message.type === 'event') {
            seen.texts.push(message.event.data.text);
            seen.ids.push(message.id);
        }
    };
    socket.onclose = ({code}) => {
        seen.refused.push(code);
        if (code < 4400 && !query) setTimeout(() => open_socket(project, query), 50);
    };
    window.socket = socket;
};
window.ticket = async () => (await (await fetch('/api/v1/auth/ws-ticket', {method: 'POST'})).json()).ticket;
"""


@dataclass
class Scene:
    """Somebody logged in with cookies, on a page of the gateway that is reached through a relay."""

    page: Page
    relay: Relay
    project: str
    teller: Teller
    gateways: AsyncExitStack
    installation: Installation

    async def restart(self) -> None:
        """For the browser on the same port: it ends its connections and is away, and another one comes."""
        self.relay.target = None
        await self.gateways.aclose()
        await self.start()

    async def start(self) -> Http:
        http, self.relay.target = await self.gateways.enter_async_context(self.installation.served_gateway())
        return http

    async def texts(self, *wanted: str) -> None:
        await self.page.until(f"seen.texts.length >= {len(wanted)}")
        assert await self.page.evaluate("seen.texts") == list(wanted)

    async def do(self, script: str) -> None:
        await self.page.evaluate(f"{script}; undefined")


BOTH_PAGES = pytest.mark.parametrize("scene", ["/docs", "/device"], indirect=True)
"""Each has rules of its own about what it may connect to."""


@pytest.fixture
async def scene(installation: Installation, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with (
        installation.running_auth(),
        fanout(installation),
        telling(installation) as teller,
        relay(None) as between,
        _stack() as gateways,
        browser(CHROMIUM or "") as page,
    ):
        made = Scene(page, between, "", teller, gateways, installation)
        http = await made.start()
        me = await http.sign_up("browsing")
        made.project = await http.project(me)
        await page.goto(f"http://{between.address}{getattr(request, 'param', '/device')}")
        await _log_in(page)
        yield made


@asynccontextmanager
async def _stack() -> AsyncIterator[AsyncExitStack]:
    stack = AsyncExitStack()
    try:
        yield stack
    finally:
        await stack.aclose()


async def _log_in(page: Page) -> None:
    body = json.dumps({"username": "browsing", "password": PASSWORD})
    status = await page.evaluate(
        "fetch('/api/v1/auth/login', {method: 'POST', headers: {'content-type': 'application/json'}, "
        f"body: {json.dumps(body)}}}).then(answer => answer.status)"
    )
    assert status == 200
    assert "sbx_access" not in await page.evaluate("document.cookie"), "no script reads it"


@BOTH_PAGES
async def test_an_event_source_goes_on_by_itself(scene: Scene) -> None:
    await scene.do(SOURCE)
    await scene.do(f"follow({{project: '{scene.project}'}})")
    await scene.page.until("seen.opened === 1")
    await scene.teller.tell(scene.project, 2)
    await scene.texts("1", "2")
    scene.relay.cut()
    await scene.teller.tell(scene.project, 2)
    await scene.texts("1", "2", "3", "4")
    await scene.restart()
    await scene.teller.tell(scene.project, 2)
    await scene.texts("1", "2", "3", "4", "5", "6")
    assert await scene.page.evaluate("seen.opened") >= 3
    assert await scene.page.evaluate("new Set(seen.ids).size") == 6


async def test_an_event_source_that_was_idle_misses_nothing(scene: Scene) -> None:
    """It knows where it is before anything has happened."""
    await scene.do(SOURCE)
    await scene.do(f"follow({{project: '{scene.project}'}})")
    await scene.page.until("seen.opened === 1")
    scene.relay.target, target = None, scene.relay.target
    scene.relay.cut()
    await scene.teller.tell(scene.project, 3)
    scene.relay.target = target
    await scene.texts("1", "2", "3")


async def test_a_ticket_opens_an_event_source_once(scene: Scene) -> None:
    await scene.do(SOURCE)
    await scene.do(f"ticket().then(ticket => follow({{project: '{scene.project}', ticket}}))")
    await scene.page.until("seen.opened === 1")
    await scene.teller.tell(scene.project)
    await scene.texts("1")
    scene.relay.cut()
    await scene.page.until("seen.closed")  # the browser shows the same ticket again, and gives up
    await scene.teller.tell(scene.project)
    await scene.do(
        f"ticket().then(ticket => follow({{project: '{scene.project}', ticket}}, seen.ids.at(-1)))"
    )
    await scene.texts("1", "2")


@BOTH_PAGES
async def test_a_websocket_goes_on_where_its_page_says(scene: Scene) -> None:
    await scene.do(SOCKET)
    await scene.do(f"open_socket('{scene.project}', '')")
    await scene.page.until("seen.opened === 1")
    scene.relay.cut()
    await scene.teller.tell(scene.project, 2)
    await scene.texts("1", "2")
    await scene.restart()
    await scene.teller.tell(scene.project, 2)
    await scene.texts("1", "2", "3", "4")
    assert await scene.page.evaluate("seen.opened") >= 3
    assert await scene.page.evaluate("new Set(seen.ids).size") == 4


async def test_a_ticket_opens_a_websocket_once(scene: Scene) -> None:
    await scene.do(SOCKET)
    await scene.do(
        f"ticket().then(ticket => {{ window.used = ticket; open_socket('{scene.project}', "
        "'?ticket=' + ticket); })"
    )
    await scene.page.until("seen.opened === 1")
    await scene.teller.tell(scene.project)
    await scene.texts("1")
    await scene.do("socket.close()")
    await scene.page.until("seen.refused.length === 1")
    await scene.do(f"open_socket('{scene.project}', '?ticket=' + used)")
    await scene.page.until("seen.refused.length === 2")
    assert await scene.page.evaluate("seen.opened") == 1
