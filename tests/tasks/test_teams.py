"""Tasks that bots and teams of the catalog work on: one after the other, and with a person between them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.installation import Installation
from tests.support.tasks import TaskScene, task_scene
from tests.support.teams import apply, bot, resource, script, team

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TaskScene]:
    async with (
        task_scene(shared_installation, tmp_path_factory.mktemp("tasks")) as scene,
        shared_installation.running_catalog(),
        scene.service(),
    ):
        yield scene


async def test_a_bot_does_what_its_shell_says(there: TaskScene) -> None:
    """What a parameter holds is a value, and nothing else."""
    await apply(there, *bot("greeter", script('echo "$GREETING to $SIGNALBOX_PROMPT"')))
    hostile = "hello'; touch /tmp/x; echo $(id) `id` \\ \n\x1b[2J"
    made = await there.create(bot="greeter", description="you", parameters={"GREETING": hostile})
    await there.ended(made)
    assert await there.log(made["runId"]) == f"{hostile} to you\n"
    run = await there.run(made["runId"])
    assert (run["bots"], run["bot"]) == (["greeter"], "greeter")
    assert await there.steps(made["runId"]) == dict.fromkeys(
        ("authority", "resolve", "sandbox", "shell"), "succeeded"
    )


async def test_a_team_works_one_after_the_other(there: TaskScene) -> None:
    """Each on what the one before has left, and told as much as the team says; a checkpoint after each."""
    await apply(
        there,
        *bot("first", script('echo one >> a.txt; echo "wrote one"; echo "$SIGNALBOX_PREVIOUS" >> told.txt')),
        *bot("second", script('cat a.txt; echo "$SIGNALBOX_PREVIOUS" >> told.txt; echo two >> a.txt')),
        *bot("third", script('echo "$SIGNALBOX_PROMPT/$SIGNALBOX_PREVIOUS/$SIGNALBOX_ROLE" >> told.txt')),
    )
    await team(
        there,
        "line",
        {"botRef": {"name": "first"}},
        {"botRef": {"name": "second"}, "contextPassing": "previous_bot"},
        {"botRef": {"name": "third"}, "contextPassing": "original_user", "role": "reader"},
    )
    repository, remote = await there.repository({"a.txt": "0\n"})
    made = await there.create(team="line", description="Count", repository=repository, branch="counted")
    await there.ended(made)
    assert git(remote, "show", "counted:a.txt") == "0\none\ntwo\n"
    assert git(remote, "show", "counted:told.txt") == "\nwrote one\n\nCount//reader\n"
    assert git(remote, "rev-list", "--count", "main..counted").strip() == "1"
    kept = await there.ask("GET", f"/api/v1/runs/{made['runId']}/artifacts")
    names = [artifact["name"] for artifact in kept["items"]]
    assert names == ["changes.diff", "checkpoint-1.diff", "checkpoint-2.diff"]
    first = await there.ask("GET", f"/api/v1/runs/{made['runId']}/artifacts/checkpoint-1.diff")
    assert ("+one" in first, "+two" in first) == (True, False)
    told = await there.facts("changed", made["runId"])
    at_work = [(fact["bot"], fact["percent"]) for fact in told if fact["step"] == "shell"]
    assert at_work == [("first", 57), ("second", 61), ("third", 66)]
    percents = [fact["percent"] for fact in told]
    assert (percents, percents[-1]) == (sorted(percents), 100)
    await there.nothing_is_left()


async def test_the_last_words_of_the_one_before_are_passed_on(there: TaskScene) -> None:
    """However often it has spoken, and no more than so much of it."""
    say = "head -c 20000 /dev/zero | tr '\\0' x; for n in $(seq 12); do echo; printf $n; sleep 0.1; done"
    await apply(
        there,
        *bot("chatty", script(say)),
        *bot("listener", script('printf %s "$SIGNALBOX_PREVIOUS" | wc -c; printf %s "$SIGNALBOX_PREVIOUS"')),
    )
    listener = {"botRef": {"name": "listener"}, "contextPassing": "previous_bot"}
    await team(there, "talk", {"botRef": {"name": "chatty"}}, listener)
    made = await there.create(team="talk")
    await there.ended(made)
    last = "".join(f"\n{number}" for number in range(1, 13))
    said = await there.log(made["runId"])
    assert said.split("x" + last, 1)[1] == f"16384\n{'x' * (16384 - len(last))}{last}"


async def test_what_was_lost_goes_on_from_the_last_checkpoint(there: TaskScene) -> None:
    """Who has done their part does not do it again, is listened to, and the commit below stays the same."""
    wait = 'echo "told: $SIGNALBOX_PREVIOUS"; while [ ! -e go ]; do sleep 0.1; done; echo two >> a.txt'
    await apply(
        there,
        *bot("idles", {"shellType": "noop"}),
        *bot("begins", script('rm b.txt; ln -s a.txt l; echo one >> a.txt; echo "wrote one"')),
        *bot("waits", script(wait)),
        *bot("ends", script('echo "$SIGNALBOX_PREVIOUS" > told.txt')),
    )
    passes = {"contextPassing": "previous_bot"}
    await team(
        there,
        "unlucky",
        *({"botRef": {"name": name}} | passes for name in ("idles", "begins", "waits", "ends")),
    )
    repository, remote = await there.repository({"a.txt": "0\n", "b.txt": "\n", ".gitignore": "go\n"})
    began = git(remote, "rev-parse", "main").strip()
    made = await there.create(
        team="unlucky", repository=repository, branch="lucky", setup=["echo set up"], retry={"attempts": 3}
    )
    lost = []
    for _ in range(2):
        await there.said(made, "told: wrote one\n")
        newer = git(remote, "commit-tree", "main^{tree}", "-p", "main", "-m", "newer").strip()
        git(remote, "update-ref", "refs/heads/main", newer)
        lost.append(made["runId"])
        await there.kill_keeper(made["runId"])
        made = await there.another_run(made)
    await there.said(made, "told: wrote one\n")
    run = await there.run(made["runId"])
    path = f"/api/v1/sandboxes/{run['sandboxId']}/files"
    await there.ask("PUT", path, status=204, params={"path": "go"}, content=b"")
    await there.ended(made)
    assert await there.log(made["runId"]) == "set up\ntold: wrote one\n\n"
    assert (run["restoredFrom"], run["bots"][1:3]) == (lost[0], ["begins", "waits"])
    assert "resolve" not in await there.steps(made["runId"])
    assert git(remote, "show", "lucky:a.txt") == "0\none\ntwo\n"
    assert git(remote, "show", "lucky:told.txt") == "told: wrote one\n\n\n"
    assert git(remote, "ls-tree", "--name-only", "lucky").split() == [".gitignore", "a.txt", "l", "told.txt"]
    assert git(remote, "rev-parse", "lucky^").strip() == began
    await there.nothing_is_left()


@pytest.fixture
async def asking(there: TaskScene) -> tuple[Any, Any]:
    """A task whose run waits for a person, and where its repository lies."""
    await apply(
        there,
        *bot("maker", script("echo made > made.txt; sleep 600 & echo ready")),
        *bot("ender", script('echo "$SIGNALBOX_ANSWER" >> made.txt')),
    )
    await team(there, "careful", {"botRef": {"name": "maker"}, "requireConfirmation": True}, ENDER)
    repository, remote = await there.repository({"a.txt": "0\n"})
    made = await there.create(
        team="careful", repository=repository, branch="asked", waitTimeout=600, retry=RETRY
    )
    run = await there.until(made, "waiting")
    assert (run["waitingFor"], run["bot"]) == ("confirmation", "maker")
    assert (await there.task(made["id"]))["status"] == "waiting"
    sandbox = await there.ask("GET", f"/api/v1/sandboxes/{run['sandboxId']}")
    assert sandbox["status"] == "paused"
    async with there.installation.sql() as sql:
        assert await sql.fetchval("select state from tasks.work where key = $1", run["id"]) == "waiting"
    return made, remote


ENDER = {"botRef": {"name": "ender"}}


RETRY = {"attempts": 2}


async def answer(there: TaskScene, task: Any, *, status: int = 200, **body: Any) -> Any:
    return await there.ask("POST", f"/api/v1/runs/{task['runId']}/answer", status=status, json=body)


async def test_a_person_lets_it_go_on(there: TaskScene, asking: tuple[Any, Any]) -> None:
    made, remote = asking
    assert (await answer(there, made, approve=True, message="Go on"))["status"] == "running"
    await there.ended(made)
    assert git(remote, "show", "asked:made.txt") == "made\nGo on\n"
    assert (await answer(there, made, status=409, approve=True))["code"] == "not_waiting"
    await there.nothing_is_left()


@pytest.fixture
async def notification(there: TaskScene) -> str:
    """Its address: whether anybody is reached is not what this is about."""
    body = {"name": "n", "url": "http://localhost:1/", "states": ["waiting", "running", "succeeded"]}
    path = f"/api/v1/projects/{there.project}/notifications"
    made = await there.ask("POST", path, status=201, json=body)
    return f"/api/v1/notifications/{made['notification']['id']}"


async def test_others_are_told_that_it_waits(
    there: TaskScene, notification: str, asking: tuple[Any, Any]
) -> None:
    """And that it goes on."""
    made, _ = asking
    await answer(there, made, approve=True)
    await there.ended(made)
    told = (await there.ask("GET", f"{notification}/deliveries"))["items"]
    assert [each["type"].removeprefix("tasks.task.") for each in reversed(told)] == [
        *("running", "waiting", "running", "succeeded")
    ]
    assert {each["runId"] for each in told} == {made["runId"]}
    await there.ask("DELETE", notification, status=204)
    await there.nothing_is_left()


async def test_a_person_refuses(there: TaskScene, asking: tuple[Any, Any]) -> None:
    made, remote = asking
    await answer(there, made, approve=False)
    await there.ended(made, "cancelled")
    assert "+made" in await there.ask("GET", f"/api/v1/runs/{made['runId']}/changes")
    assert git(remote, "for-each-ref", "refs/heads/asked") == ""
    await there.nothing_is_left()


async def test_nobody_answers(there: TaskScene, asking: tuple[Any, Any]) -> None:
    made, _ = asking
    async with there.installation.sql() as sql:
        await sql.execute("update tasks.runs set ends_at = 0 where id = $1", made["runId"])
    await there.ended(made, "timed_out")
    assert "+made" in await there.ask("GET", f"/api/v1/runs/{made['runId']}/changes")
    await there.nothing_is_left()


async def test_who_is_cancelled_while_they_wait(there: TaskScene, asking: tuple[Any, Any]) -> None:
    made, _ = asking
    assert (await there.cancel(made["id"]))["status"] == "cancelled"
    await there.nothing_is_left()


async def test_only_programs_are_lost_while_a_person_thinks(
    there: TaskScene, asking: tuple[Any, Any]
) -> None:
    made, remote = asking
    await there.kill_keeper(made["runId"])
    await answer(there, made, approve=True, message="Go on")
    assert (await there.ended(made))["attempts"] == 1
    assert git(remote, "show", "asked:made.txt") == "made\nGo on\n"
    await there.nothing_is_left()


async def test_what_a_person_removed_is_restored(there: TaskScene, asking: tuple[Any, Any]) -> None:
    """Found out with the answer, which counts for the run that goes on from there."""
    made, remote = asking
    run = await there.run(made["runId"])
    await there.ask("DELETE", f"/api/v1/sandboxes/{run['sandboxId']}")
    await answer(there, made, approve=True, message="Go on")
    again = await there.another_run(made)
    await there.ended(again)
    assert git(remote, "show", "asked:made.txt") == "made\nGo on\n"
    assert await there.log(again["runId"]) == ""
    await there.nothing_is_left()


async def test_what_nobody_does_here_is_refused(there: TaskScene) -> None:
    await apply(there, *bot("foreign", {"shellType": "ClaudeCode"}), *bot("idle", {"shellType": "noop"}))
    await apply(there, *bot("broken", {"shellType": "Exec"}))
    for name, code, words in (
        ("foreign", "unknown_shell", "ClaudeCode"),
        ("broken", "bad_shell", "script"),
        ("nobody", "resource_not_found", "nobody"),
    ):
        status = 404 if code == "resource_not_found" else 422
        body = {"title": "Do it", "projectId": there.project, "bot": name}
        refused = await there.ask("POST", "/api/v1/tasks", status=status, json=body)
        assert (refused["code"], words in refused["detail"]) == (code, True), refused
    await team(there, "talkers", {"botRef": {"name": "idle"}}, model="collaborate")
    body = {"title": "Do it", "projectId": there.project, "team": "talkers"}
    refused = await there.ask("POST", "/api/v1/tasks", status=422, json=body)
    assert (refused["code"], "solo, pipeline" in refused["detail"]) == ("unknown_collaboration", True)
    made = await there.create(bot="idle")
    await there.ended(made)
    assert (await there.run(made["runId"]))["sandboxId"] is None


async def test_what_has_changed_since_counts_when_it_begins(there: TaskScene) -> None:
    await apply(there, *bot("changing", script("echo before")))
    first = await there.create(exec={"script": "sleep 600"})
    made = await there.create(bot="changing", dependsOn=[first["id"]])
    await apply(there, *bot("changing", {"shellType": "Agno"}))
    async with there.installation.sql() as sql:
        await sql.execute("delete from tasks.dependencies where task_id = $1", made["id"])
    await there.cancel(first["id"])

    async def ended() -> bool:
        return bool((await there.task(made["id"]))["status"] == "failed")

    await eventually(ended, what="it has failed")
    assert (await there.task(made["id"]))["error"]["code"] == "unknown_shell"
    await there.nothing_is_left()


async def test_a_task_among_the_documents_that_are_applied(there: TaskScene) -> None:
    """Created after the resources, once however often they are applied; one that cannot be says why."""
    document = {
        "apiVersion": "agent.wecode.io/v1",
        "kind": "Task",
        "metadata": {"name": "greet-them"},
        "spec": {"title": "Greet them", "prompt": "all of you", "teamRef": {"name": "greeters"}},
    }
    team_of_one = {"members": [{"botRef": {"name": "herald"}}], "collaborationModel": "solo"}
    documents = [
        document,
        *bot("herald", script('echo "hail $SIGNALBOX_PROMPT"')),
        resource("Team", "greeters", team_of_one),
        document | {"metadata": {"name": "wrong"}, "spec": {"teamRef": {"name": "nobody"}}},
        document | {"metadata": {"name": "odd"}, "spec": {"title": "x", "timeout": "soon"}},
    ]
    slug = (await there.ask("GET", f"/api/v1/projects/{there.project}"))["slug"]
    content = "\n---\n".join(json.dumps(each) for each in documents)

    async def applied(**more: str) -> list[Any]:
        params = {"namespace": slug} | more
        headers = there.headers | {"Content-Type": "application/yaml"}
        answer = await there.http.post("/api/v1/apply", params=params, content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        return [each for each in answer.json()["items"] if each["kind"] == "Task"]

    assert [each["action"] for each in await applied(dryRun="true")] == ["skipped"] * 3
    for _ in range(2):
        good, wrong, odd = await applied()
        assert (good["action"], wrong["action"], odd["action"]) == ("created", "skipped", "skipped")
        assert "nobody" in wrong["warning"]
        assert "timeout" in odd["warning"]
    listed = await there.ask("GET", "/api/v1/tasks", params={"projectId": there.project, "q": "Greet them"})
    [task] = listed["items"]
    await there.ended(task)
    assert await there.log(task["runId"]) == "hail all of you\n"


async def test_what_a_bot_refers_to_in_another_project_goes(there: TaskScene) -> None:
    """Whoever owns that deletes it; tasks that wait, and new ones, are told what is missing."""
    other = await there.ask("POST", "/api/v1/projects", status=201, json={"name": "Elsewhere"})
    where, slug = {"namespace": other["slug"]}, other["slug"]
    ghost = {"metadata": {"name": "muse"}, "spec": {"systemPrompt": "Sing."}}
    await there.ask("POST", "/api/v1/kinds/ghosts", status=201, params=where, json=ghost)
    documents = bot("singer", script("echo la"))
    documents[-1]["spec"]["ghostRef"] = {"name": "muse", "namespace": slug}
    await apply(there, *documents)
    await team(there, "choir", {"botRef": {"name": "singer"}})
    first = await there.create(exec={"script": "sleep 600"})
    made = await there.create(team="choir", dependsOn=[first["id"]])
    await there.ask("DELETE", "/api/v1/kinds/ghosts/muse", status=204, params=where)
    async with there.installation.sql() as sql:
        await sql.execute("delete from tasks.dependencies where task_id = $1", made["id"])
    await there.cancel(first["id"])
    failed = await there.ended(made, "failed")
    told = (
        f"There is no ghost muse in the namespace {slug} any more: ghostRef of the bot singer refers to it."
    )
    assert (failed["error"]["code"], failed["error"]["detail"]) == ("unresolvable", told)
    body = {"title": "Do it", "projectId": there.project, "bot": "singer"}
    refused = await there.ask("POST", "/api/v1/tasks", status=422, json=body)
    assert (refused["code"], refused["detail"]) == ("unresolvable", told)
    await there.ask("POST", "/api/v1/kinds/ghosts/muse/restore", params=where)
    await there.ended(await there.create(bot="singer"))
    await there.nothing_is_left()
