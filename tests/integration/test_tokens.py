"""API tokens, service accounts, and signing in on a device."""

import asyncio
from datetime import UTC, datetime, timedelta

from signalbox_auth.domain.tokens import new_token
from tests.support.installation import Installation
from tests.support.pace import promptly

TOKENS, PROJECTS = "/api/v1/auth/tokens", "/api/v1/projects"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_an_api_token_speaks_for_its_holder_until_it_is_revoked(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        created = await http.post(TOKENS, json={"name": "build"}, headers=me)
        assert created.status_code == 201
        assert created.headers["Cache-Control"] == "no-store"
        token = created.json()["token"]
        assert token.startswith("sbx_pat_")
        assert created.json()["hint"] == token[-4:]
        project = await http.project(bearer(token))
        assert (await http.get(f"{PROJECTS}/{project}", headers=bearer(token))).status_code == 200

        listed = (await http.get(TOKENS, headers=me)).json()["items"]
        assert [item["name"] for item in listed] == ["build"]
        assert "token" not in listed[0]
        assert listed[0]["lastUsedAt"] is not None
        async with installation.sql() as connection:
            assert token not in str(await connection.fetch("select * from auth.api_tokens"))

        for method, path, body in (
            ("POST", TOKENS, {"name": "child"}),
            ("POST", "/api/v1/auth/password", {"currentPassword": "x", "newPassword": "x" * 12}),
            ("POST", "/api/v1/auth/logout", None),
        ):
            refused = await http.request(method, path, json=body, headers=bearer(token))
            assert (refused.status_code, refused.json()["code"]) == (403, "session_required"), path

        assert (await http.delete(f"{TOKENS}/{listed[0]['id']}", headers=me)).status_code == 204

        async def refused_now() -> bool:
            return (await http.get(PROJECTS, headers=bearer(token))).status_code == 401

        await promptly(refused_now)
        assert (await http.delete(f"{TOKENS}/{listed[0]['id']}", headers=me)).status_code == 404


async def test_scopes_limit_and_time_ends(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        reading = {"name": "reading", "scopes": ["projects:read"]}
        token = (await http.post(TOKENS, json=reading, headers=me)).json()["token"]
        assert (await http.get(PROJECTS, headers=bearer(token))).status_code == 200
        refused = await http.post(PROJECTS, json={"name": "x"}, headers=bearer(token))
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        assert (await http.get("/api/v1/auth/me", headers=bearer(token))).status_code == 403
        may = (await http.get("/api/v1/info", headers=bearer(token))).json()["may"]
        assert may == ["auth.get-quotas", "auth.list-projects"]

        unknown = await http.post(TOKENS, json={"name": "x", "scopes": ["rockets:write"]}, headers=me)
        assert unknown.status_code == 422
        past = {"name": "x", "expiresAt": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}
        assert (await http.post(TOKENS, json=past, headers=me)).status_code == 422

        soon = {"name": "soon", "expiresAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
        short = (await http.post(TOKENS, json=soon, headers=me)).json()["token"]
        async with installation.sql() as connection:
            await connection.execute("update auth.api_tokens set expires_at = now() where name = 'soon'")
        assert (await http.get(PROJECTS, headers=bearer(short))).status_code == 401
        assert (await http.get(PROJECTS, headers=bearer(new_token()))).status_code == 401


async def test_a_service_account_works_in_its_project_alone(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        owner = await http.sign_up()
        project, other = await http.project(owner, "One"), await http.project(owner, "Two")
        accounts = f"{PROJECTS}/{project}/service-accounts"
        made = await http.post(accounts, json={"name": "builder", "role": "developer"}, headers=owner)
        assert made.status_code == 201, made.text
        account = made.json()["id"]
        owning = await http.post(accounts, json={"name": "boss", "role": "owner"}, headers=owner)
        assert owning.json()["code"] == "service_account"

        token = (await http.post(f"{accounts}/{account}/tokens", json={"name": "ci"}, headers=owner)).json()
        machine = bearer(token["token"])
        assert (await http.get(f"{PROJECTS}/{project}", headers=machine)).json()["role"] == "developer"
        assert (await http.get(f"{PROJECTS}/{other}", headers=machine)).status_code == 404
        assert (await http.get("/api/v1/auth/me", headers=machine)).json()["email"] is None
        taken = {"userId": account, "role": "viewer"}
        lent = await http.post(f"{PROJECTS}/{other}/members", json=taken, headers=owner)
        assert lent.json()["code"] == "user_not_found"

        everything = {"name": "all", "scopes": []}
        unlimited = (await http.post(f"{accounts}/{account}/tokens", json=everything, headers=owner)).json()
        beyond = await http.post(PROJECTS, json={"name": "Mine"}, headers=bearer(unlimited["token"]))
        assert (beyond.status_code, beyond.json()["code"]) == (403, "service_account")
        up = await http.patch(
            f"{PROJECTS}/{project}/members/{account}", json={"role": "owner"}, headers=owner
        )
        assert up.json()["code"] == "service_account"

        elsewhere = f"{PROJECTS}/{other}/service-accounts/{account}"
        assert (await http.get(f"{elsewhere}/tokens", headers=owner)).status_code == 404
        assert (await http.post(f"{elsewhere}/tokens", json={"name": "x"}, headers=owner)).status_code == 404
        assert (await http.delete(elsewhere, headers=owner)).status_code == 404

        listed = (await http.get(accounts, headers=owner)).json()["items"]
        assert [item["name"] for item in listed] == ["builder"]
        assert (await http.delete(f"{accounts}/{account}", headers=owner)).status_code == 204

        async def out() -> bool:
            return (await http.get(PROJECTS, headers=machine)).status_code == 401

        await promptly(out)


async def test_a_device_is_approved_by_whoever_sees_its_code(installation: Installation) -> None:
    device, poll = "/api/v1/auth/device", "/api/v1/auth/device/token"
    async with installation.running_auth(), installation.gateway() as http:
        started = await http.post(f"{device}/code", data={"client_name": "signalbox on laptop"})
        assert started.status_code == 200, started.text
        codes = started.json()
        assert codes["verification_uri_complete"].endswith(f"/device?user_code={codes['user_code']}")
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": codes["device_code"],
        }
        pending = await http.post(poll, data=form)
        assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
        fast = await http.post(poll, data=form)
        assert (fast.status_code, fast.json()["error"]) == (400, "slow_down")

        me = await http.sign_up()
        shown = codes["user_code"].lower().replace("-", " ")
        info = await http.get(device, params={"userCode": shown}, headers=me)
        assert info.json()["clientName"] == "signalbox on laptop"
        decided = {"userCode": shown, "approve": True}
        assert (await http.post(f"{device}/decision", json=decided, headers=me)).status_code == 204
        again = await http.post(f"{device}/decision", json=decided, headers=me)
        assert (again.status_code, again.json()["code"]) == (404, "device_not_found")

        async with installation.sql() as connection:
            await connection.execute("update auth.devices set polled_at = null")
        answers = await asyncio.gather(*(http.post(poll, data=form) for _ in range(8)))
        good = [answer.json() for answer in answers if answer.status_code == 200]
        assert len(good) == 1, "one session, however often it is asked for"
        assert (await http.me(bearer(good[0]["access_token"])))["id"] == (await http.me(me))["id"]
        renewed = await http.post("/api/v1/auth/refresh", json={"refreshToken": good[0]["refresh_token"]})
        assert renewed.status_code == 200

        refused_codes = (await http.post(f"{device}/code")).json()
        decided = {"userCode": refused_codes["user_code"], "approve": False}
        await http.post(f"{device}/decision", json=decided, headers=me)
        denied = await http.post(poll, json={"device_code": refused_codes["device_code"]})
        assert denied.json()["error"] == "access_denied"
        unknown = await http.post(poll, json={"device_code": "sbx_dev_nothing"})
        assert unknown.json()["error"] == "expired_token"
