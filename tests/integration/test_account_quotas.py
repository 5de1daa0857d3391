"""What people and projects may have at auth: API tokens, service accounts, projects."""

import asyncio
from typing import Any

import pytest

from signalbox_auth.app import build
from signalbox_auth.settings import AuthSettings
from signalbox_common.testing import running
from tests.support.installation import Http, Installation

MOST = 4
TOKENS = "/api/v1/auth/tokens"
PROJECTS = "/api/v1/projects"


def refused_by(answer: Any) -> str:
    assert answer.status_code == 429, answer.text
    assert answer.json()["code"] == "quota_exceeded"
    return str(answer.json()["errors"][0]["field"])


async def crowd(http: Http, path: str, headers: dict[str, str], **body: Any) -> list[Any]:
    """Twenty that ask at once, as they were answered."""
    return await asyncio.gather(
        *(http.post(path, json={"name": f"n{number}"} | body, headers=headers) for number in range(20))
    )


@pytest.mark.fresh
async def test_a_person_has_so_many_tokens(installation: Installation) -> None:
    settings = installation.settings(AuthSettings, quota_api_tokens=MOST)
    async with running(build(settings)), running(build(settings)), installation.gateway() as http:
        one, other = await http.sign_up(), await http.sign_up()
        answers = await crowd(http, TOKENS, one)
        made = [answer for answer in answers if answer.status_code == 201]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert len(made) == MOST
        assert {refused_by(answer) for answer in refused} == {"apiTokens"}
        assert refused[0].json()["detail"] == "You have a quota of 4 for apiTokens, and 4 are used."
        assert (await http.post(TOKENS, json={"name": "theirs"}, headers=other)).status_code == 201
        gone = await http.delete(f"{TOKENS}/{made[0].json()['id']}", headers=one)
        assert gone.status_code == 204
        assert (await http.post(TOKENS, json={"name": "again"}, headers=one)).status_code == 201


async def test_a_project_has_so_many_service_accounts_and_tokens_of_them(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        owner = await http.sign_up()
        project = await http.project(owner)
        limits = await http.put(
            f"{PROJECTS}/{project}/quotas", json={"apiTokens": MOST}, headers=await http.administrator()
        )
        assert limits.status_code == 200, limits.text
        where = f"{PROJECTS}/{project}/service-accounts"
        answers = await crowd(http, where, owner, role="developer")
        accounts = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        assert len(accounts) == MOST
        assert {refused_by(answer) for answer in answers if answer.status_code != 201} == {"apiTokens"}
        for account in accounts[:2]:
            answers = await crowd(http, f"{where}/{account}/tokens", owner)
        assert {refused_by(answer) for answer in answers} == {"apiTokens"}, "all accounts count together"
        assert (await http.delete(f"{where}/{accounts[0]}", headers=owner)).status_code == 204
        made = await http.post(f"{where}/{accounts[1]}/tokens", json={"name": "n"}, headers=owner)
        assert made.status_code == 201, "those of the account that is gone count no more"


@pytest.mark.fresh
async def test_somebody_makes_so_many_projects(installation: Installation) -> None:
    """Each has quotas of its own: without a bound for them there were none at all."""
    settings = installation.settings(AuthSettings, projects_per_person=MOST)
    async with running(build(settings)), running(build(settings)), installation.gateway() as http:
        headers, other = await http.sign_up(), await http.sign_up()
        answers = await crowd(http, PROJECTS, headers)
        made = [answer for answer in answers if answer.status_code == 201]
        assert len(made) == MOST - 1, "the personal one counts"
        assert {refused_by(answer) for answer in answers if answer.status_code != 201} == {"projects"}
        gone = await http.delete(f"{PROJECTS}/{made[0].json()['id']}", headers=headers)
        assert gone.status_code == 204
        again = await http.post(PROJECTS, json={"name": "again"}, headers=headers)
        assert refused_by(again) == "projects", "a deleted one counts for a day"
        async with installation.sql() as connection:
            await connection.execute(
                "update auth.projects set deleted_at = deleted_at - interval '1 day 1 second' where id = $1",
                made[0].json()["id"],
            )
        again = await http.post(PROJECTS, json={"name": "again"}, headers=headers)
        assert again.status_code == 201
        assert (await http.post(PROJECTS, json={"name": "theirs"}, headers=other)).status_code == 201
