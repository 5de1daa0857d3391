"""Good clients: they speak HTTP, and repeat a command until it is settled."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from tests.chaos.ledger import Command, Ledger, Success

PASSWORD = "correct horse battery staple"
ANSWER_WITHIN = 90.0
"""Seconds that one command may take, repeats included."""
REPEAT_SHARE = 0.1
"""So many commands are sent once more after their final answer."""

_TIMEOUT = httpx.Timeout(12.0, connect=3.0, pool=60.0)
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=4)
_POOLS = 32
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class NoFinalAnswer(Exception):
    """The bounded time of a command is over."""


class Patience:
    """Growing pauses with jitter, until the time is over."""

    def __init__(self, within: float, rng: random.Random) -> None:
        self._deadline = time.monotonic() + within
        self._rng = rng
        self._pause = _FIRST_PAUSE

    async def wait(self) -> None:
        if time.monotonic() > self._deadline:
            raise NoFinalAnswer
        await asyncio.sleep(self._pause * self._rng.uniform(0.5, 1.0))
        self._pause = min(self._pause * 1.6, _LONGEST_PAUSE)


class Clients:
    """Sends commands as a good client does: the same key again until there is a final answer."""

    def __init__(self, pools: list[httpx.AsyncClient], ledger: Ledger, rng: random.Random) -> None:
        self._pools = pools
        self._ledger = ledger
        self._rng = rng

    @staticmethod
    @asynccontextmanager
    async def of(url: str, ledger: Ledger, rng: random.Random) -> AsyncIterator["Clients"]:
        no_tls = ssl.SSLContext(
            ssl.PROTOCOL_TLS_CLIENT
        )  # made once: it takes longer than all else of a client
        async with AsyncExitStack() as opened:
            pools = [
                await opened.enter_async_context(
                    httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=_LIMITS, verify=no_tls)
                )
                for _ in range(_POOLS)
            ]
            yield Clients(pools, ledger, rng)

    @property
    def _http(self) -> httpx.AsyncClient:
        """One of many pools: the work of a single one grows with the square of its connections."""
        return self._rng.choice(self._pools)

    async def sign_up(self, count: int) -> list[dict[str, str]]:
        return [await self._sign_up(f"chaos-{number}") for number in range(count)]

    async def _sign_up(self, name: str) -> dict[str, str]:
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        registered = await self._http.post("/api/v1/auth/register", json=body)
        assert registered.status_code == 201, registered.text
        session = await self._http.post("/api/v1/auth/login", json={"username": name, "password": PASSWORD})
        assert session.status_code == 200, session.text
        return {"Authorization": f"Bearer {session.json()['accessToken']}"}

    async def create(self, command: Command) -> None:
        """Until the final answer; now and then once more, as after an answer that got lost."""
        began = time.monotonic()
        self._ledger.commands += 1
        try:
            await self._until_final(command, began)
            self._ledger.latencies.append(time.monotonic() - began)
            if self._rng.random() < REPEAT_SHARE:
                await self._until_final(command, began)
        except NoFinalAnswer:
            self._ledger.broken.append(f"{command.key}: no final answer within {ANSWER_WITHIN:.0f} s")

    async def _until_final(self, command: Command, began: float) -> None:
        patience = Patience(ANSWER_WITHIN, self._rng)
        while True:
            self._ledger.attempts += 1
            answer = await self._request("POST", "/api/v1/projects", command.headers, command.body)
            if answer is not None and await self._is_final(command, answer):
                self._ledger.successes.append(Success(began, time.monotonic()))
                return
            await patience.wait()

    async def _is_final(self, command: Command, answer: httpx.Response) -> bool:
        operation = answer.headers.get("X-Operation-ID")
        if operation is not None:
            self._ledger.operations[operation] = command
        if answer.status_code == 201:
            self._note_project(command, answer.json()["id"])
            return True
        if answer.status_code == 202:
            return await self._followed(command, answer.json()["id"])
        if answer.status_code < 500:
            # A sound command of a known user has no reason to be refused; it is tried on all the same,
            # because what comes of it tells more about the cause.
            self._ledger.broken.append(f"{command.key}: refused with {answer.status_code} {answer.text}")
        return False

    async def _followed(self, command: Command, operation: str) -> bool:
        """Polls an accepted command's operation until it is settled."""
        patience = Patience(ANSWER_WITHIN, self._rng)
        while True:
            await patience.wait()
            self._ledger.polls += 1
            answer = await self._request("GET", f"/api/v1/operations/{operation}", command.user)
            if answer is None or answer.status_code >= 500:
                continue
            if answer.status_code != 200:
                self._ledger.broken.append(f"{command.key}: its operation answers {answer.status_code}")
                return False
            found = answer.json()
            if found["status"] == "succeeded":
                self._note_project(command, found["resource"])
                return True
            if found["status"] != "pending":
                self._ledger.broken.append(f"{command.key}: accepted with 202, but then {answer.text}")
                return False

    def _note_project(self, command: Command, project: str) -> None:
        known = self._ledger.projects.setdefault(command.key, project)
        if known != project:
            self._ledger.broken.append(f"{command.key}: answered with {known} and with {project}")

    async def _request(
        self, method: str, path: str, headers: dict[str, str], body: object = None
    ) -> httpx.Response | None:
        """None where there was no answer at all."""
        try:
            answer = await self._http.request(method, path, headers=headers, json=body)
        except httpx.TransportError as error:
            self._ledger.lost[type(error).__name__] += 1
            return None
        self._ledger.answers[answer.status_code] += 1
        return answer

    async def settled(self, operation: str, command: Command) -> None:
        """After the storm: an operation id that was ever given names the command's project."""
        answer = await self._request("GET", f"/api/v1/operations/{operation}", command.user)
        wanted = {"status": "succeeded", "resource": self._ledger.projects.get(command.key)}
        if answer is None or answer.status_code != 200 or not wanted.items() <= answer.json().items():
            seen = answer.text if answer is not None else "no answer"
            self._ledger.broken.append(f"{command.key}: its operation is not {wanted}: {seen}")
