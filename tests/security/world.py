"""What the matrix is about: a project with members of every role, somebody else's, and what is theirs."""

import asyncio
import json
import re
from collections import ChainMap
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.security.matrix import BELOW, ROWS, SKILL_PACKAGE, WORDS, ZIP, Row, Words
from tests.support.factories import Person, bearer, registered, signed_in
from tests.support.forgery import Signer
from tests.support.installation import ADMIN_PASSWORD, PASSWORD, Http, Installation
from tests.support.pace import promptly
from tests.support.remotes import new_repository

KINDS = "/api/v1/kinds"
ROLES = ("maintainer", "developer", "viewer")
RIGHT = sorted({row.right for row in ROWS} - {"nobody"})
NAMES = ("namespace", "name")
"""What stands for itself: whoever asks for one may be told what they have asked for."""
UNCOVERING = "auth:read"
"""A scope that there is, and that covers nothing of what the routes need."""


class Things(dict[str, str]):
    """Ids and words that stand for `{name}`; some are good once, so each use takes another."""

    def __init__(self) -> None:
        super().__init__(password=PASSWORD)
        self._numbers = count()
        self.pools: dict[str, list[str]] = {}

    def __missing__(self, name: str) -> str:
        return str(next(self._numbers)) if name == "number" else self.pools[name].pop()

    def fill(self, value: Any, ids: dict[str, str]) -> Any:
        """With those ids before what else there is."""
        if isinstance(value, dict):
            return {key: self.fill(item, ids) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, ids) for item in value]
        return value.format_map(ChainMap(ids, self)) if isinstance(value, str) else value

    def filled(self, words: Words, ids: dict[str, str]) -> dict[str, Any]:
        """What a request sends beside its address, as the HTTP client takes it."""
        sent: dict[str, Any] = {"params": self.fill(words.query, ids), "json": self.fill(words.body, ids)}
        if words.content is None:
            return sent
        return sent | {"json": None, "content": self.fill(words.content, ids)}


class World:
    def __init__(self, installation: Installation, http: Http, repositories: Path) -> None:
        """Below that folder lie repositories that may be given as paths."""
        self._installation = installation
        self._http = http
        self._repositories = repositories
        self.people: dict[str, Person] = {}
        self.things = Things()
        self.strangers = Things()
        """What of the same names belongs to the stranger."""
        self._headers: dict[tuple[str, str], dict[str, str]] = {}

    async def build(self) -> None:
        names = ("owner", *ROLES, "somebody", "stranger", "leaver", "newcomer", "victim")
        found = await asyncio.gather(*(registered(self._http, name) for name in names))
        self.people = dict(zip(names, found, strict=True))
        self.people["admin"] = await signed_in(self._http, "admin", ADMIN_PASSWORD)
        await self._build_projects()
        await self._build_belongings()
        await self._build_askers()

    def headers(self, asker: str, row: Row) -> dict[str, str]:
        """What an asker of that kind shows."""
        if asker in ("expired", "ended", "narrow"):
            return self._headers[asker, "somebody" if row.right == "nobody" else row.right]
        name = {"right": row.right, "low": BELOW.get(row.right, "")}.get(asker, asker)
        return {} if name in ("anonymous", "nobody") else self.people[name].headers

    def ids(self, row: Row) -> dict[str, str]:
        """What stands for each id of its address, in their order."""
        about = WORDS.get(row.route, Words()).about
        return {name: self.things[about.get(name, name)] for name in [*ids_of(row), *about]}

    async def ask(
        self, row: Row, headers: dict[str, str], ids: dict[str, str] | None = None
    ) -> httpx.Response:
        words = WORDS.get(row.route, Words())
        ids = self.ids(row) if ids is None else ids
        media = {"Content-Type": words.media} if words.media else {}
        answer = await self._http.request(
            row.method,
            row.path.format_map(ids | words.path),
            headers=headers | media,
            **self.things.filled(words, ids),
        )
        self._http.cookies.clear()
        return answer

    async def opened(self, row: Row, headers: dict[str, str], address: str) -> str:
        """How a stream begins, which only a real server has."""
        ids = self.ids(row)
        path, words = row.path.format_map(ids), self.things.filled(WORDS.get(row.route, Words()), ids)
        async with (
            httpx.AsyncClient(base_url=f"http://{address}") as http,
            http.stream(row.method, path, headers=headers, **words) as answer,
        ):
            return str(answer.status_code)

    async def state(self) -> list[Any]:
        """What the refused must not have changed."""
        owner, admin = self.people["owner"].headers, self.people["admin"].headers
        project = f"/api/v1/projects/{self.things['project_id']}"
        account = f"{project}/service-accounts/{self.things['account_id']}"
        theirs = [
            await self._get(path, owner) for path in (project, f"{project}/members", f"{account}/tokens")
        ]
        where = {"namespace": self.things["namespace"]}
        theirs += [await self._get(f"{KINDS}/{plural}", owner, **where) for plural in ("ghosts", "skills")]
        lists = ("sandboxes", "repositories", "tasks")
        theirs += [await self._get(f"{project}/{things}", owner) for things in lists]
        return [*theirs, await self._get(f"/api/v1/users/{self.things['user_id']}", admin)]

    # -- how it comes to be ----------------------------------------------------------------------------

    async def _build_projects(self) -> None:
        owner, stranger = self.people["owner"].headers, self.people["stranger"].headers
        project, theirs, deleted = (
            await self._http.project(owner, "Ours"),
            await self._http.project(stranger, "Theirs"),
            await self._http.project(owner, "Deleted"),
        )
        for role in ROLES:
            added = await self._add_member(project, self.people[role], role)
        await self._add_member(project, self.people["leaver"], "developer")
        await self._add_member(deleted, self.people["maintainer"], "maintainer")
        gone = await self._http.delete(f"/api/v1/projects/{deleted}", headers=owner)
        assert gone.status_code == 204
        self.things |= {
            "project_id": project,
            "deleted_id": deleted,
            "operation_id": added,
            "member_id": self.people["leaver"].id,
            "newcomer_id": self.people["newcomer"].id,
            "user_id": self.people["victim"].id,
        }
        self.strangers |= {"project_id": theirs, "user_id": self.people["stranger"].id}
        for things, headers, names in (
            (self.things, owner, ("account_id", "account_token_id")),
            (self.strangers, stranger, ("account_id", "token_id")),
        ):
            account, token = await self._account(things["project_id"], headers)
            things |= dict(zip(names, (account, token), strict=True))
            for name in ("invitation_id", "other_invitation_id"):
                path = f"/api/v1/projects/{things['project_id']}/invitations"
                made = await self._http.post(path, json={}, headers=headers)
                assert made.status_code == 201, made.text
                things[name] = made.json()["id"]
        for things, headers, prefix in ((self.things, owner, "our"), (self.strangers, stranger, "their")):
            await self._build_resources(things, headers, prefix)
            await self._build_sandbox(things, headers)
            await self._build_repository(things, headers, prefix)
            await self._build_tasks(things, headers)
            await self._build_agents(things, headers)
            await self._build_schedules(things, headers)
            await self._build_triggers(things, headers)
            await self._build_notifications(things, headers)

    async def _build_resources(self, things: Things, headers: dict[str, str], prefix: str) -> None:
        """A ghost, and a skill with a package."""
        where = {"namespace": (await self._get(f"/api/v1/projects/{things['project_id']}", headers))["slug"]}
        ghost = {"metadata": {"name": f"{prefix}-ghost"}, "spec": {"systemPrompt": "You write code."}}
        made = await self._http.post(f"{KINDS}/ghosts", json=ghost, params=where, headers=headers)
        assert made.status_code == 201, made.text
        made = await self._http.put(
            f"{KINDS}/skills/{prefix}-skill/package",
            content=SKILL_PACKAGE,
            params=where,
            headers=headers | {"Content-Type": ZIP},
        )
        assert made.status_code == 200, made.text
        things |= where | {"ghost_name": f"{prefix}-ghost", "skill_name": f"{prefix}-skill"}

    async def _build_sandbox(self, things: Things, headers: dict[str, str]) -> None:
        """With a process in it that waits to be ended."""
        body = {"projectId": things["project_id"]}
        made = await self._http.post("/api/v1/sandboxes", json=body, headers=headers)
        assert made.status_code == 201, made.text
        things["sandbox_id"] = made.json()["id"]
        started = await self._http.post(
            f"/api/v1/sandboxes/{things['sandbox_id']}/processes",
            json={"argv": ["sleep", "600"], "key": "waits"},
            headers=headers,
        )
        assert started.status_code == 201, started.text

    async def _build_repository(self, things: Things, headers: dict[str, str], prefix: str) -> None:
        """One that has been fetched."""
        path = new_repository(self._repositories / f"{prefix}.git")
        body = {"projectId": things["project_id"], "url": str(path)}
        made = await self._http.post("/api/v1/repositories", json=body, headers=headers)
        assert made.status_code == 201, made.text
        things["repository_id"] = made.json()["id"]

        async def fetched() -> bool:
            found = await self._get(f"/api/v1/repositories/{things['repository_id']}", headers)
            return bool(found["status"] == "ready")

        await eventually(fetched, what="the repository is fetched")
        await self._build_git_operation(things, headers)
        await self._build_pull_request(things)
        await self._build_delivery(things)
        kept = {"projectId": things["project_id"], "host": f"{prefix}.example", "token": "a-token"}
        made = await self._http.post("/api/v1/git-credentials", json=kept, headers=headers)
        assert made.status_code == 201, made.text
        things["credential_id"] = made.json()["id"]

    async def _build_tasks(self, things: Things, headers: dict[str, str]) -> None:
        """Two that have done nothing, and succeeded; and a file for another one."""
        file = {"projectId": things["project_id"], "name": "notes.txt"}
        given = await self._http.post("/api/v1/attachments", params=file, content=b"Notes", headers=headers)
        assert given.status_code == 201, given.text
        things["attachment_id"] = given.json()["id"]
        for name in ("task_id", "other_task_id"):
            body = {"title": "Do nothing", "noop": {}, "projectId": things["project_id"]}
            made = await self._http.post("/api/v1/tasks", json=body, headers=headers)
            assert made.status_code == 201, made.text
            things |= {name: made.json()["id"], "run_id": made.json()["runId"]}

            async def ended() -> bool:
                found = await self._get(f"/api/v1/tasks/{things[name]}", headers)  # noqa: B023 - at once
                return bool(found["status"] == "succeeded")

            await eventually(ended, what="the task has ended")

    async def _build_agents(self, things: Things, headers: dict[str, str]) -> None:
        """Two that do nothing."""
        where = {"namespace": things["namespace"]}
        specs: dict[str, dict[str, object]] = {
            "ghosts": {"systemPrompt": "You do nothing."},
            "shells": {"shellType": "noop"},
            "bots": {"ghostRef": {"name": "idler"}, "shellRef": {"name": "idler"}},
        }
        for plural, spec in specs.items():
            body = {"metadata": {"name": "idler"}, "spec": spec}
            made = await self._http.post(f"{KINDS}/{plural}", json=body, params=where, headers=headers)
            assert made.status_code == 201, made.text
        for name in ("agent_id", "other_agent_id"):
            body = {"name": name, "bot": "idler", "projectId": things["project_id"]}
            made = await self._http.post("/api/v1/agents", json=body, headers=headers)
            assert made.status_code == 201, made.text
            things[name] = made.json()["id"]

    async def _build_schedules(self, things: Things, headers: dict[str, str]) -> None:
        """Two whose time is far."""
        for name in ("schedule_id", "other_schedule_id"):
            body: dict[str, object] = {"name": name, "cron": "@yearly", "projectId": things["project_id"]}
            body |= {"task": {"title": "Do nothing", "noop": {}}}
            made = await self._http.post("/api/v1/schedules", json=body, headers=headers)
            assert made.status_code == 201, made.text
            things[name] = made.json()["id"]

    async def _build_triggers(self, things: Things, headers: dict[str, str]) -> None:
        for name in ("trigger_id", "other_trigger_id"):
            body: dict[str, object] = {"name": name, "projectId": things["project_id"]}
            body |= {"task": {"title": "Do nothing", "noop": {}}}
            made = await self._http.post("/api/v1/triggers", json=body, headers=headers)
            assert made.status_code == 201, made.text
            things[name] = made.json()["trigger"]["id"]

    async def _build_notifications(self, things: Things, headers: dict[str, str]) -> None:
        """Of which one has sent something, to nobody."""
        path = "/api/v1/notifications"
        for name in ("other_notification_id", "notification_id"):
            body = {"name": name, "projectId": things["project_id"], "states": ["failed"], "paused": True}
            body |= {"url": "https://example.invalid/hook"}
            made = await self._http.post(path, json=body, headers=headers)
            assert made.status_code == 201, made.text
            things[name] = made.json()["notification"]["id"]
        sent = await self._http.post(f"{path}/{things['notification_id']}/test", headers=headers)
        assert sent.status_code == 201, sent.text
        things["notice_id"] = sent.json()["id"]

    async def _build_git_operation(self, things: Things, headers: dict[str, str]) -> None:
        """One that has ended."""
        path = f"/api/v1/repositories/{things['repository_id']}/operations"
        begun = await self._http.post(path, json={"type": "fetch"}, headers=headers)
        assert begun.status_code == 201, begun.text
        things["git_operation_id"] = begun.json()["id"]

        async def ended() -> bool:
            found = await self._get(f"{path}/{things['git_operation_id']}", headers)
            return bool(found["status"] == "succeeded")

        await eventually(ended, what="the operation has ended")

    async def _build_pull_request(self, things: Things) -> None:
        """As if a forge had one: there is none at a path."""
        things["pull_request_id"] = str(uuid7())
        names = ("pull_request_id", "project_id", "repository_id")
        async with self._installation.sql() as connection:
            await connection.execute(
                "insert into git.pull_requests (id, project_id, repository_id, number, url, state, head, "
                "base, title, commit, created_by, created_at, seen_at, version) values ($1, $2, $3, 1, '', "
                "'closed', 'topic', 'main', 'Change it', '', $1, now(), now(), 1)",
                *(things[name] for name in names),
            )

    async def _build_delivery(self, things: Things) -> None:
        """As if a run had made one, which came to nothing."""
        things["delivery_id"] = str(uuid7())
        wanted: dict[str, Any] = {
            "message": "Change it",
            "author": {"name": "Alice", "email": "alice@example.com"},
            "co_authors": [],
            "branch": "task/1",
            "expected": None,
            "workflow_files": "refuse",
            "findings": "refuse",
        }
        async with self._installation.sql() as connection:
            await connection.execute(
                "insert into git.changes (project_id, sha256, size, stored_at) values ($1, $2, 1, now())",
                things["project_id"],
                "0" * 64,
            )
            await connection.execute(
                "insert into git.change_deliveries (id, project_id, repository_id, ordinal, wanted, changes, "
                "base, created_by, created_at, state, branch, push_begun, rebased, findings, version) values "
                "($1, $2, $3, 0, $4, $5, $6, $1, now(), 'refused', 'task/1', false, false, '[]', 1)",
                *(things[name] for name in ("delivery_id", "project_id", "repository_id")),
                json.dumps(wanted),
                "0" * 64,
                "1" * 40,
            )

    async def _add_member(self, project: str, person: Person, role: str) -> str:
        """The operation that it was."""
        added = await self._http.post(
            f"/api/v1/projects/{project}/members",
            json={"userId": person.id, "role": role},
            headers=self.people["owner"].headers,
        )
        assert added.status_code == 201, added.text
        return str(added.headers["X-Operation-ID"])

    async def _account(self, project: str, headers: dict[str, str]) -> tuple[str, str]:
        accounts = f"/api/v1/projects/{project}/service-accounts"
        account = (await self._http.post(accounts, json={"name": "machine"}, headers=headers)).json()["id"]
        token = await self._http.post(f"{accounts}/{account}/tokens", json={"name": "t"}, headers=headers)
        return str(account), str(token.json()["id"])

    async def _build_belongings(self) -> None:
        somebody = self.people["somebody"]
        other = await signed_in(self._http, "somebody")
        token = await self._http.post("/api/v1/auth/tokens", json={"name": "old"}, headers=somebody.headers)
        waiting = await self._device()
        self.things |= {
            "username": "newcomer",
            "session_id": other.session_id,
            "token_id": token.json()["id"],
            "user_code": waiting["user_code"],
        }
        approved = [await self._device() for _ in range(3)]
        for device in approved:
            decision = {"userCode": device["user_code"], "approve": True}
            done = await self._http.post(
                "/api/v1/auth/device/decision", json=decision, headers=somebody.headers
            )
            assert done.status_code == 204
        sessions = [await signed_in(self._http, "newcomer") for _ in range(3)]
        self.things.pools = {
            "device_code": [device["device_code"] for device in approved],
            "refresh_token": [session.refresh_token for session in sessions],
        }

    async def _device(self) -> dict[str, Any]:
        started: dict[str, Any] = (await self._http.post("/api/v1/auth/device/code")).json()
        return started

    async def _build_askers(self) -> None:
        """Of every right person: an expired token, an ended session, and a token with another scope."""
        signer = Signer()
        await signer.publish(self._installation)
        for name in RIGHT:
            person = self.people[name]
            self._headers["expired", name] = bearer(signer.access(person, {"exp": 1_000_000_000}))
            ended = await signed_in(self._http, name, ADMIN_PASSWORD if name == "admin" else PASSWORD)
            assert (await self._http.post("/api/v1/auth/logout", headers=ended.headers)).status_code == 204
            self._headers["ended", name] = ended.headers
            narrow = {"name": "narrow", "scopes": [UNCOVERING]}
            made = await self._http.post("/api/v1/auth/tokens", json=narrow, headers=person.headers)
            self._headers["narrow", name] = bearer(made.json()["token"])
        await promptly(self._all_ended, what="every ended session is known to have ended")

    async def _all_ended(self) -> bool:
        answers = [await self._http.get("/api/v1/auth/me", headers=self._headers["ended", n]) for n in RIGHT]
        return {answer.status_code for answer in answers} == {401}

    async def _get(self, path: str, headers: dict[str, str], **query: str) -> Any:
        answer = await self._http.get(path, params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


def ids_of(row: Row) -> list[str]:
    """The ids that a request names, in its address or behind it; a name after the namespace that it is in."""
    words = WORDS.get(row.route, Words())
    ids = re.findall(r"{(\w+_id)}", row.path + str(words.query))
    if "{namespace}" in f"{words.query} {words.body} {words.content!r}":
        ids.append("namespace")
    return ids if words.makes else ids + re.findall(r"{(name)}", row.path)


def missing(name: str, there: str) -> str:
    """An id, or a name, of the same form that nobody has."""
    if name == "operation_id":
        return there[:-1] + ("A" if there[-1] != "A" else "B")
    return there[::-1] if name in NAMES else str(uuid7())
