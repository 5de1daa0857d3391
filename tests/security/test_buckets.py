"""The signing keys and the note of the audit log, against the holder of auth's credential for the bus."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signalbox_auth.service import keys as keys_of_auth
from signalbox_common.contracts.auth import CheckAudit, RotateKeys
from signalbox_common.contracts.streams import AUDIT_BUCKET, HISTORY, KEY_BUCKET
from signalbox_common.entries import Entry, RootKey
from signalbox_common.testing import eventually
from signalbox_common.tokens import PublishedKey
from tests.support.factories import bearer, registered
from tests.support.forgery import Signer
from tests.support.installation import Http, Installation

pytestmark = pytest.mark.fresh  # keys are distrusted, and the buckets are spoilt

ME, DETAILED = "/api/v1/auth/me", "/api/v1/health/detailed"


def key_of(kid: str) -> str:
    return f"$KV.{KEY_BUCKET}.{kid}"


async def put(installation: Installation, subject: str, *bodies: bytes) -> None:
    """By the one program that NATS lets write there."""
    async with installation.nats("auth") as client:
        for body in bodies:
            await client.jetstream().publish(subject, body)


async def stored_keys(installation: Installation) -> dict[str, bytes]:
    return {each.subject: each.data for each in await installation.messages(f"KV_{KEY_BUCKET}")}


async def degraded(http: Http, where: str) -> Any:
    """What a program says of itself."""
    report = (await http.get(DETAILED)).json()
    return report["degraded"] if where == "gateway" else report["services"][where]["degraded"]


FORGERIES = {
    "rubbish": lambda _kid, _public: b"rubbish",
    "unsigned": lambda _kid, _public: b'{"x": "AAAA", "retiredAt": null, "distrusted": false}',
    "by another key": lambda kid, public: RootKey.new().sign(
        KEY_BUCKET, kid, PublishedKey(public, distrusted=True).entry
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_what_is_not_auths_changes_nothing_and_is_reported(
    installation: Installation, forgery: Any
) -> None:
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    async with installation.running_auth():
        async with installation.gateway() as http:
            me = await http.sign_up()
        for subject in await stored_keys(installation):
            await put(installation, subject, forgery(subject.rpartition(".")[2], public))
        async with installation.gateway() as started_after:  # it has never seen the keys without
            assert (await started_after.get(ME, headers=me)).status_code == 200
            assert (await started_after.post("/api/v1/projects", json={"name": "x"}, headers=me)).is_success
            assert "not auth's" in (await degraded(started_after, "gateway"))["keys"]


async def test_a_key_of_somebody_else_signs_nothing(installation: Installation) -> None:
    stranger = Signer(kid="kforged")
    async with installation.running_auth(), installation.gateway() as http:
        person = await registered(http)
        entry = PublishedKey(stranger.public).entry
        await put(installation, key_of(stranger.kid), RootKey.new().sign(KEY_BUCKET, stranger.kid, entry))
        answer = await http.get(ME, headers=bearer(stranger.access(person)))
        assert (answer.status_code, answer.json()["code"]) == (401, "unknown_key")
        assert "kforged" in (await degraded(http, "gateway"))["keys"]


async def test_a_distrusted_key_does_not_come_back(installation: Installation) -> None:
    """What auth itself once said of it is put there again, as often as the bucket keeps."""
    async with installation.running_auth():
        async with installation.gateway() as http:
            me = await http.sign_up()
        before = await stored_keys(installation)
        await installation.operator(RotateKeys(distrust_old=True))
        for subject, body in before.items():
            await put(installation, subject, *[body] * (HISTORY // 2))
        async with installation.gateway() as started_after:
            answer = await started_after.get(ME, headers=me)
            assert (answer.status_code, answer.json()["code"]) == (401, "key_retired")


async def test_a_key_that_was_pushed_out_is_still_known_and_comes_back(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_of_auth, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(keys_of_auth, "MEND_EVERY", 0.1)
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        keys = await stored_keys(installation)
        for subject in keys:
            await put(installation, subject, *[b"rubbish"] * HISTORY)

        async def mended() -> bool:
            return (await stored_keys(installation)).items() >= keys.items()

        await eventually(mended, what="auth has said its keys again")
        assert (await http.get(ME, headers=me)).status_code == 200
        async with installation.gateway() as started_after:
            assert (await started_after.get(ME, headers=me)).status_code == 200
        assert "put back" in (await degraded(http, "auth"))["signing-keys"]


async def test_the_note_of_the_audit_log_is_not_rolled_back(installation: Installation) -> None:
    subject = f"$KV.{AUDIT_BUCKET}.head"

    async def heads() -> list[bytes]:
        return [each.data for each in await installation.messages(f"KV_{AUDIT_BUCKET}")]

    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()

        async def noted_once() -> list[bytes]:
            return await heads()

        first = (await eventually(noted_once))[-1]
        await http.project(me, "One more")

        async def noted_again() -> bool:
            return (await heads())[-1] != first

        await eventually(noted_again)
        sound = await installation.operator(CheckAudit())
        assert (sound.broken_at, sound.warnings) == (None, ())
        forged = RootKey.new().sign(AUDIT_BUCKET, "head", Entry(10_000, {"hash": "00"}))
        for each in (b"rubbish", forged, first):
            await put(installation, subject, each)
            found = await installation.operator(CheckAudit())
            assert found.broken_at is None
            assert "not auth's" in found.warnings[0]
        assert "audit" in await degraded(http, "auth")
        # And the log is noted further.
        before = len(await heads())
        await http.project(me, "And another")

        async def goes_on() -> bool:
            return len(await heads()) > before

        await eventually(goes_on)
