"""What goes wrong around a run: remotes and forges in trouble, sandboxes that are lost, too many changes."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.checkouts import git
from tests.support.forge_simulator import OWNER, ForgeSimulator
from tests.support.sandboxes import node_of, process_of
from tests.support.tasks import TaskScene

pytestmark = pytest.mark.usefixtures("patient")


async def test_a_remote_in_trouble_is_asked_again(there: TaskScene) -> None:
    """For the push alone: the script has run, and does not run again for it."""
    repository, remote = await there.repository({"a.txt": "1\n"})
    refused = 0

    def refuse(handler: Any) -> bool:
        nonlocal refused
        if "git-receive-pack" not in handler.path or refused >= 2:
            return False
        refused += 1
        handler.answer(503)
        return True

    there.remote.behaviours.append(refuse)
    try:
        made = await there.create(repository=repository, branch="t", exec={"script": "echo ran >> ran.txt"})
        await there.ended(made)
    finally:
        there.remote.behaviours.remove(refuse)
    assert refused == 2
    assert git(remote, "show", "t:ran.txt") == "ran\n"


async def test_only_the_delivery_is_tried_again_by_itself(there: TaskScene) -> None:
    """Where that is what has failed: the script of a run that asks for more attempts does not run again."""
    repository, remote = await there.repository({"a.txt": "1\n"})
    refused = 0

    def refuse(handler: Any) -> bool:
        nonlocal refused
        if "git-receive-pack" not in handler.path or refused >= 1:
            return False
        refused += 1
        handler.answer(403)
        return True

    there.remote.behaviours.append(refuse)
    try:
        made = await there.create(
            repository=repository, branch="t", exec={"script": "date +%N > ran.txt"}, retry={"attempts": 2}
        )
        found = await there.ended(made)
    finally:
        there.remote.behaviours.remove(refuse)
    assert (refused, found["attempts"]) == (1, 2)
    assert await there.steps(found["runId"]) == {"authority": "succeeded", "deliver": "succeeded"}
    changes = await there.ask("GET", f"/api/v1/runs/{made['runId']}/changes")
    assert f"+{git(remote, 'show', 't:ran.txt')}" in changes
    await there.nothing_is_left()


async def test_a_forge_that_is_down_for_a_while(there: TaskScene) -> None:
    """One pull request, which says what was done since as well."""
    forge = ForgeSimulator.beside(there.remote)
    repository, remote = await there.repository({"a.txt": "1\n"}, owner=f"{OWNER}/", forge="github")
    down = 0

    def refuse(handler: Any) -> bool:
        nonlocal down
        if "/pulls" not in handler.path or down >= 3:
            return False
        down += 1
        handler.answer(503)
        return True

    there.remote.behaviours.insert(0, refuse)
    try:
        made = await there.create(title="Two", repository=repository, exec={"script": "echo 2 >> a.txt"})
        found = await there.ended(made, within=90)
    finally:
        there.remote.behaviours.remove(refuse)
    assert down == 3
    [pull] = forge.pulls[remote.stem]
    assert (pull["title"], found["pullRequestUrl"]) == ("Two", pull["html_url"])
    more = {"message": "Three", "exec": {"script": "echo 3 >> a.txt"}}
    await there.ask("POST", f"/api/v1/tasks/{made['id']}/follow-up", status=201, json=more)
    await there.ended(made)
    assert len(forge.pulls[remote.stem]) == 1
    assert git(remote, "show", f"{found['gitBranch']}:a.txt") == "1\n2\n3\n"


async def test_a_protected_branch_is_not_written(there: TaskScene) -> None:
    repository, remote = await there.repository({"a.txt": "1\n"})
    before = git(remote, "rev-parse", "main")
    made = await there.create(repository=repository, branch="main", exec={"script": "echo 2 > a.txt"})
    found = await there.ended(made, "failed")
    assert found["error"]["code"] == "delivery_refused"
    assert git(remote, "rev-parse", "main") == before


async def test_the_branch_was_moved_by_somebody_else(there: TaskScene) -> None:
    """Nothing of theirs is written over: ours goes beside it."""
    repository, remote = await there.repository({"a.txt": "1\n"})
    git(remote, "branch", "taken", "main")
    tree = git(remote, "commit-tree", "main^{tree}", "-p", "main", "-m", "theirs").strip()
    git(remote, "update-ref", "refs/heads/taken", tree)
    made = await there.create(repository=repository, branch="taken", exec={"script": "echo 2 > a.txt"})
    found = await there.ended(made)
    assert git(remote, "merge-base", "--is-ancestor", tree, "taken") == ""
    assert git(remote, "show", f"{found['gitBranch']}:a.txt") == "2\n"


async def test_a_failing_setup_says_which_command(there: TaskScene) -> None:
    made = await there.create(setup=["echo one", "echo two; exit 4"], exec={"script": "echo never"})
    found = await there.ended(made, "failed")
    assert found["error"] == {
        "code": "setup_failed",
        "detail": "exit code 4: echo two; exit 4",
        "retryable": False,
    }
    assert await there.log(made["runId"]) == "one\ntwo\n"
    assert (await there.steps(made["runId"]))["shell"] == "skipped"


async def test_too_much_has_changed(there: TaskScene) -> None:
    """It is not lost: the sandbox stays for an hour."""
    repository, _ = await there.repository({"a.txt": "1\n"})
    made = await there.create(
        repository=repository, exec={"script": "head -c 120000000 /dev/zero > large.bin"}
    )
    found = await there.ended(made, "failed")
    assert found["error"]["code"] == "changes_too_large"
    sandbox = (await there.run(made["runId"]))["sandboxId"]
    assert (await there.ask("GET", f"/api/v1/sandboxes/{sandbox}"))["status"] == "running"
    await there.ask("DELETE", f"/api/v1/sandboxes/{sandbox}")


async def test_a_sandbox_that_is_lost(there: TaskScene) -> None:
    """With a keeper that is killed its sandbox ends; where the task says so, another run follows."""
    made = await there.create(exec={"script": "echo in; test -e /tmp/x && exit 0; sleep 600"})
    await there.said(made, "in")
    await there.kill_keeper(made["runId"])
    found = await there.ended(made, "failed")
    assert found["error"]["code"] == "sandbox_lost"
    again = await there.create(
        exec={"script": "echo in; sleep 3; echo out"}, retry={"attempts": 3}, title="Once more"
    )
    await there.said(again, "in")
    await there.kill_keeper(again["runId"])
    assert (await there.ended(again))["attempts"] == 2
    await there.nothing_is_left()


async def test_a_node_that_is_lost(there: TaskScene, tmp_path: Path) -> None:
    """Its machine is gone, with all that ran there: another run follows, where there is a node yet."""
    wait = "echo in; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo out"
    async with node_of() as other:
        service = process_of(there.installation, other, tmp_path / "sandbox.log")
        await service.start()
        try:
            made = [
                await there.create(exec={"script": wait}, retry={"attempts": 2}, title=f"Here or there {n}")
                for n in range(6)
            ]
            for task in made:
                await there.said(task, "in")
            runs = [await there.run(task["runId"]) for task in made]
            path = "/api/v1/sandboxes"
            nodes = [(await there.ask("GET", f"{path}/{run['sandboxId']}"))["node"] for run in runs]
            gone = [task for task, node in zip(made, nodes, strict=True) if node != nodes[0]]
            stayed = [task for task, node in zip(made, nodes, strict=True) if node == nodes[0]]
            if (other.folder / runs[0]["sandboxId"]).exists():
                gone, stayed = stayed, gone
            assert gone, "none of them is on the other node"
            service.kill()
            again = [await there.another_run(task, within=60) for task in gone]
            for task in again:
                await there.said(task, "in")
            for task in (*again, *stayed):
                run = await there.run(task["runId"])
                where = f"{path}/{run['sandboxId']}/files"
                await there.ask("PUT", where, status=204, params={"path": "/tmp/go"}, content=b"")
            ended = [await there.ended(task) for task in (*again, *stayed)]
            assert [task["attempts"] for task in ended] == [2] * len(again) + [1] * len(stayed)
            await there.nothing_is_left()
        finally:
            await service.stop()


async def test_a_long_log_keeps_its_ends(there: TaskScene) -> None:
    """The first and the last part of it, whole, with a gap between that says how long it is."""
    script = f'awk \'BEGIN {{ for (i = 0; i < 300000; i++) print "line", i, "{"." * 60}" }}\''
    made = await there.create(exec={"script": script})
    await there.ended(made, within=120)
    run = await there.run(made["runId"])
    text = await there.log(made["runId"])
    assert run["logBytes"] > 20_000_000
    assert text.startswith("line 0 .")
    assert text.endswith(f"line 299999 {'.' * 60}\n")
    assert "bytes are not kept]" in text
    assert 15 * 1024 * 1024 < len(text) < 18 * 1024 * 1024
    headers = there.headers | {"Accept": "text/event-stream"}
    path = f"/api/v1/runs/{made['runId']}/log"
    rest = await there.http.get(path, params={"from": run["logBytes"] - 10}, headers=headers)
    assert rest.text.count("event: stdout") == 1
    assert rest.text.rstrip().endswith('data: {"state": "succeeded"}')
