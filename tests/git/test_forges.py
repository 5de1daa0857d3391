"""What every forge does, by the same tests: a small one in all runs, and real ones in the proofs."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest

from signalbox_common.contracts.git import PullRequestState
from signalbox_git.forges import gitea as of_gitea
from signalbox_git.forges import github as of_github
from signalbox_git.forges.base import PullRequestText
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.remotes.credentials import Credential
from tests.support import forges
from tests.support.forge_simulator import ForgeSimulator
from tests.support.forges import REACH, TOOLS, ForgeOfTest, SimulatorOfTest
from tests.support.remotes import TOKEN, HttpRemote

TEXT = PullRequestText("Change it", "As asked.\n\n<!-- signalbox:1 -->")
OPEN, DRAFT, MERGED, CLOSED = (
    PullRequestState.OPEN,
    PullRequestState.DRAFT,
    PullRequestState.MERGED,
    PullRequestState.CLOSED,
)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeSimulator]:
    with HttpRemote.serving(tmp_path_factory.mktemp("served")) as remote:
        yield ForgeSimulator.beside(remote)


@pytest.fixture(scope="module")
async def gitea_server() -> AsyncIterator[forges.GiteaServer]:
    async with forges.gitea() as found:
        yield found


@pytest.fixture(scope="module")
async def emulated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[forges.ServedForge]:
    async with forges.github_simulator(tmp_path_factory.mktemp("emulate")) as found:
        yield found


@pytest.fixture(
    params=[
        "simulator",
        pytest.param("emulate", marks=pytest.mark.proof),
        pytest.param("gitea", marks=pytest.mark.proof),
    ]
)
def there(request: pytest.FixtureRequest) -> ForgeOfTest:
    if request.param == "simulator":
        return SimulatorOfTest.make(request.getfixturevalue("simulator"))
    if request.param == "emulate":
        found: ForgeOfTest = request.getfixturevalue("emulated")
        return found
    server: forges.GiteaServer = request.getfixturevalue("gitea_server")
    return asyncio.run(server.repository())


def _knows_commits(there: ForgeOfTest) -> bool:
    """The simulator of others does not tell which pull requests have a commit."""
    return not isinstance(there, forges.ServedForge) or there.is_gitea


def a_name() -> str:
    return f"task/{uuid.uuid4().hex[:8]}"


# -- what all of them do -----------------------------------------------------------------------------------


async def test_opened_found_changed_and_closed(there: ForgeOfTest) -> None:
    ours, name = there.ours(), a_name()
    commit = await there.branch(name)
    assert await ours.find(name, "main") == []
    made = await ours.open(name, "main", TEXT)
    assert (made.state, made.head, made.base, made.head_commit) == (OPEN, name, "main", commit)
    assert (made.title, made.body) == (TEXT.title, TEXT.body)
    assert made.url.startswith("http")
    assert await ours.find(name, "main") == [made]
    assert await ours.find(name, "other") == []
    assert await ours.find(a_name(), "main") == []
    assert await ours.get(made.number) == made
    if _knows_commits(there):
        assert [each.number for each in await ours.of_commit(commit)] == [made.number]
    changed = await ours.update(made.number, PullRequestText("Otherwise", "Bücher & <b>ships</b> 🚢"))
    assert (changed.title, changed.body) == ("Otherwise", "Bücher & <b>ships</b> 🚢")
    assert await ours.get(made.number) == changed
    assert (await ours.close(made.number)).state is CLOSED
    assert [each.state for each in await ours.find(name, "main")] == [CLOSED]
    await there.reopen(made.number)
    assert (await ours.get(made.number)).state is OPEN


async def test_a_draft_is_one(there: ForgeOfTest) -> None:
    ours, name = there.ours(), a_name()
    await there.branch(name)
    made = await ours.open(name, "main", PullRequestText("Not yet", "x", draft=True))
    assert (made.state, made.title) == (DRAFT, "Not yet")
    assert [each.state for each in await ours.find(name, "main")] == [DRAFT]
    changed = await ours.update(made.number, PullRequestText("Not quite yet", "x", draft=True))
    assert (changed.state, changed.title) == (DRAFT, "Not quite yet")


@pytest.mark.parametrize("squash", [False, True])
async def test_merged_is_told_from_closed(there: ForgeOfTest, squash: bool) -> None:
    ours, name = there.ours(), a_name()
    commit = await there.branch(name)
    made = await ours.open(name, "main", TEXT)
    await there.merge(made.number, squash=squash)
    found = await ours.find(name, "main")
    assert [(each.state, each.number, each.head_commit) for each in found] == [(MERGED, made.number, commit)]
    if _knows_commits(there):
        assert [each.number for each in await ours.of_commit(commit)] == [made.number]
    assert (await ours.close(made.number)).state is MERGED


async def test_one_that_is_there_is_not_opened_twice(there: ForgeOfTest) -> None:
    """Somebody was faster than our look: then theirs is the one."""
    if not _knows_commits(there):
        return  # it takes a second one
    ours, name = there.ours(), a_name()
    await there.branch(name)
    made = await ours.open(name, "main", TEXT)
    again = await ours.open(name, "main", TEXT)
    assert again.number == made.number
    assert len(await ours.find(name, "main")) == 1


async def test_whom_nobody_knows_is_left_out(there: ForgeOfTest) -> None:
    """So is a label that cannot be given: the work is there all the same."""
    ours, name = there.ours(), a_name()
    await there.branch(name)
    text = PullRequestText("Look", "x", labels=("agent",), reviewers=("nobody-of-this-name",))
    made = await ours.open(name, "main", text)
    assert [each.number for each in await ours.find(name, "main")] == [made.number]


async def test_one_whom_nobody_knows_costs_nobody_else(simulator: ForgeSimulator) -> None:
    there = SimulatorOfTest.make(simulator)
    await there.branch("task/1")
    text = PullRequestText("Look", "x", reviewers=("nobody-of-this-name", "alice"))
    await there.ours().open("task/1", "main", text)
    (pull,) = simulator.pulls[there.name]
    assert [each["login"] for each in pull["requested_reviewers"]] == ["alice"]


async def test_texts_as_long_as_they_get(there: ForgeOfTest) -> None:
    ours, name = there.ours(), a_name()
    await there.branch(name)
    long = PullRequestText("t" * 250, "Zeile ü\n" * 6_000)
    made = await ours.open(name, "main", long)
    assert (len(made.title), made.body.strip()) == (250, long.body.strip())


async def test_what_is_not_there(there: ForgeOfTest) -> None:
    with pytest.raises(RemoteRefused) as refused:
        await there.ours().get(999_999)
    assert (refused.value.reason, refused.value.passes) == ("not_found", False)


async def test_a_token_that_does_not_count(there: ForgeOfTest) -> None:
    if not _knows_commits(there):
        return  # it takes every token
    with pytest.raises(RemoteRefused) as refused:
        await there.ours("wrong-token-of-test").open(a_name(), "main", TEXT)
    assert refused.value.reason in ("unauthorized", "not_found")
    assert "wrong-token-of-test" not in str(refused.value)


async def test_what_a_token_can_see(there: ForgeOfTest) -> None:
    if isinstance(there, SimulatorOfTest):
        seen = await of_github.visible(Credential(TOKEN), REACH, base=there.url, limit=1000)
        assert f"acme/{there.name}" in [each.name for each in seen]
        assert len(await of_github.visible(Credential(TOKEN), REACH, base=there.url, limit=1)) == 1
        return
    assert isinstance(there, forges.ServedForge)
    visible = of_gitea.visible if there.is_gitea else of_github.visible
    seen = await visible(Credential(there.token), REACH, base=there.url, limit=1000)
    assert f"{there.owner}/{there.name}" in [each.name for each in seen]


# -- faults ------------------------------------------------------------------------------------------------


def _answers(status: int, body: bytes, headers: dict[str, str], handler: Any) -> bool:
    handler.answer(status, body, **headers)
    return True


def _drops(handler: Any) -> bool:
    handler.close_connection = True
    handler.connection.shutdown(2)
    return True


SECONDARY = b'{"message": "You have exceeded a secondary rate limit. Please wait."}'
LONG_AGO = {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1"}
FAULTS: dict[str, tuple[Any, tuple[str, bool, float | None]]] = {
    "500": (partial(_answers, 500, b"oops", {}), ("busy", True, None)),
    "503 with a wish": (partial(_answers, 503, b"", {"Retry_After": "7"}), ("busy", True, 7.0)),
    "a secondary limit": (
        partial(_answers, 403, SECONDARY, {"Retry_After": "30"}),
        ("rate_limited", True, 30.0),
    ),
    "one that says not how long": (partial(_answers, 403, SECONDARY, {}), ("rate_limited", True, 60.0)),
    "a primary limit": (partial(_answers, 403, b"{}", LONG_AGO), ("rate_limited", True, 1.0)),
    "too many": (partial(_answers, 429, b"", {}), ("rate_limited", True, None)),
    "no rights": (
        partial(_answers, 403, b'{"message": "Must have rights"}', {}),
        ("unauthorized", False, None),
    ),
    "not GitHub": (partial(_answers, 200, b"<html>", {}), ("busy", True, None)),
    "other JSON": (partial(_answers, 200, b'{"a": 1}', {}), ("busy", True, None)),
    "a list of something": (partial(_answers, 200, b"[1]", {}), ("busy", True, None)),
    "too much": (partial(_answers, 200, b'"' + b"a" * (9 << 20) + b'"', {}), ("too_large", False, None)),
    "dropped": (_drops, ("unreachable", True, None)),
    "elsewhere": (
        partial(_answers, 302, b"", {"Location": "http://127.0.0.1:9/"}),
        ("redirected", False, None),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_forge_in_trouble(simulator: ForgeSimulator, fault: str) -> None:
    there = SimulatorOfTest.make(simulator)
    behave, expected = FAULTS[fault]
    simulator.before.append(behave)
    try:
        with pytest.raises(RemoteRefused) as refused:
            await there.ours().find("task/1", "main")
    finally:
        simulator.before.remove(behave)
    found = refused.value
    assert (found.reason, found.passes, found.retry_after) == expected
    assert TOKEN not in f"{found!r} {found.detail}"


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("http://127.0.0.1:1/api", "unreachable"),
        ("http://169.254.169.254/api", "private_address"),
        ("http://[::1]:1/api", "private_address"),
        ("https://nowhere.invalid/api", "unresolved"),
    ],
)
async def test_where_no_forge_is_asked(base: str, reason: str) -> None:
    ours = of_github.GitHub("acme", "app", Credential(TOKEN), REACH, base=base)
    with pytest.raises(RemoteRefused) as refused:
        await ours.find("task/1", "main")
    assert refused.value.reason == reason


# -- against what GitHub says of its API -------------------------------------------------------------------


@pytest.mark.proof
async def test_every_request_is_as_github_describes_it(tmp_path: Path) -> None:
    """Method, path, query and body of all that the adapter asks."""
    document = TOOLS / "github/node_modules/@octokit/openapi/generated/api.github.com.json"
    assert document.exists(), "what GitHub says of its API is not there: run `make tools`"
    described = json.loads(document.read_text(encoding="utf-8"))
    with HttpRemote.serving(tmp_path) as remote:
        simulator = ForgeSimulator.beside(remote)
        there = SimulatorOfTest.make(simulator)
        text = PullRequestText("T", "B", draft=True, labels=("agent",), reviewers=("alice",))
        commit = await there.branch("task/1")
        made = await there.ours().open("task/1", "main", text)
        await there.ours().open("task/1", "main", text)
        await there.ours().update(made.number, text)
        await there.ours().find("task/1", "main")
        await there.ours().of_commit(commit)
        await there.ours().get(made.number)
        await there.ours().close(made.number)
        await of_github.visible(Credential(TOKEN), REACH, base=simulator.url, limit=10)
    seen = {_checked(described, *asked) for asked in simulator.asked}
    assert len(seen) == 8, seen
    print(f"\nrequests to GitHub: {len(simulator.asked)}, of {len(seen)} operations, all as described")


def _checked(described: dict[str, Any], method: str, address: str, body: Any) -> str:
    """The name of its operation."""
    url = urlsplit(address)
    path = url.path.removeprefix("/api/v3")
    fits = [
        template
        for template in described["paths"]
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path)
        and method.lower() in described["paths"][template]
    ]
    assert fits, f"{method} {path} is not described"
    template = min(fits, key=lambda each: each.count("{"))
    operation = described["paths"][template][method.lower()]
    named = [_resolved(described, each) for each in operation.get("parameters", ())]
    known = {each["name"]: each["schema"] for each in named if each["in"] == "query"}
    for name, values in parse_qs(url.query).items():
        assert name in known, f"{operation['operationId']} has no {name}"
        value: Any = int(values[0]) if known[name].get("type") == "integer" else values[0]
        _validated(described, value, known[name])
    if body:
        content = operation["requestBody"]["content"]["application/json"]["schema"]
        _validated(described, body, content)
        assert set(body) <= _properties(described, content), f"{operation['operationId']} takes {set(body)}"
    found: str = operation["operationId"]
    return found


def _resolved(described: dict[str, Any], schema: Any) -> Any:
    while "$ref" in schema:
        found: Any = described
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    return schema


def _properties(described: dict[str, Any], schema: Any) -> set[str]:
    schema = _resolved(described, schema)
    found = set(schema.get("properties", ()))
    for each in (*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())):
        found |= _properties(described, each)
    return found


def _validated(described: dict[str, Any], value: Any, schema: Any) -> None:
    jsonschema.validate(value, schema | {"components": described["components"]})


async def test_branches_of_forks_are_not_ours(simulator: ForgeSimulator) -> None:
    """Anybody may have one of the same name, and open it with our mark."""
    there = SimulatorOfTest.make(simulator)
    commit = await there.branch("task/1")
    made = await there.ours().open("task/1", "main", TEXT)
    for stranger in ({"full_name": f"mallory/{there.name}"}, None):  # a fork, and one that is deleted
        simulator.pulls[there.name][0]["head"]["repo"] = stranger
        assert await there.ours().find("task/1", "main") == []
        assert await there.ours().of_commit(commit) == []
    assert made.number == 1


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'[{"number": 1e400, "head": {"repo": {"full_name": "a"}}, "base": {"repo": {"full_name": "a"}}}]',
        b'[{"number": 1, "head": {}, "base": {}}]',
    ],
)
async def test_answers_that_are_none(simulator: ForgeSimulator, body: bytes) -> None:
    there = SimulatorOfTest.make(simulator)
    behave = partial(_answers, 200, body, {})
    simulator.before.append(behave)
    try:
        with pytest.raises(RemoteRefused) as refused:
            await there.ours().find("task/1", "main")
    finally:
        simulator.before.remove(behave)
    assert (refused.value.reason, refused.value.passes) == ("busy", True)


async def test_a_forge_that_repeats_the_token(simulator: ForgeSimulator) -> None:
    there = SimulatorOfTest.make(simulator)
    behave = partial(_answers, 422, json.dumps({"message": f"no {TOKEN} here"}).encode(), {})
    simulator.before.append(behave)
    try:
        with pytest.raises(RemoteRefused) as refused:
            await there.ours().find("task/1", "main")
    finally:
        simulator.before.remove(behave)
    assert TOKEN not in refused.value.detail
    assert refused.value.reason == "refused"
