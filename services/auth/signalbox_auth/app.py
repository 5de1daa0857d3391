"""Composition root of the auth service."""

from datetime import UTC, datetime, timedelta

from signalbox_auth import handlers
from signalbox_auth.domain.audit import Chain
from signalbox_auth.domain.mail import Relay
from signalbox_auth.domain.sessions import RefreshTokens
from signalbox_auth.passwords import Passwords
from signalbox_auth.service.anchor import Anchor
from signalbox_auth.service.audit import Audit
from signalbox_auth.service.devices import Devices
from signalbox_auth.service.grants import Grants
from signalbox_auth.service.invitations import Invitations
from signalbox_auth.service.keys import Keys
from signalbox_auth.service.letters import Letters
from signalbox_auth.service.members import Members
from signalbox_auth.service.projects import Projects
from signalbox_auth.service.quotas import QuotaDesk
from signalbox_auth.service.recovery import Recovery
from signalbox_auth.service.sessions import Lives, Sessions
from signalbox_auth.service.tokens import Tokens
from signalbox_auth.service.users import Users
from signalbox_auth.settings import AuthSettings
from signalbox_auth.store import access, attempts, devices, links, sessions
from signalbox_auth.store import invitations as invitation_rows
from signalbox_auth.store import letters as letter_rows
from signalbox_auth.store.tables import SCHEMA
from signalbox_auth.work.postman import Postman
from signalbox_common.db import Transaction
from signalbox_common.entries import RootKey
from signalbox_common.keys import Sealer
from signalbox_common.outcomes import Checkpoint, no_checkpoint
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.runtime import Service, run


def build(settings: AuthSettings, *, checkpoint: Checkpoint = no_checkpoint) -> Service:
    app = Service(settings, checkpoint=checkpoint)
    secret_key = settings.secret_key.get_secret_value()
    store = app.keep_secrets(settings)
    known_quotas = ProjectQuotas(SCHEMA, settings.limits())
    passwords = Passwords(settings)
    root, buckets = RootKey.parse(settings.root_key.get_secret_value()), app.bus.buckets
    keys = Keys(app.database, store, buckets.keys, root, Sealer(secret_key, "auth/signing-keys"))
    letters = Letters(app.work, sends=settings.smtp_url is not None)
    invitations = Invitations(app.database, letters, settings.registers())
    users = Users(app.database, passwords, invitations, letters)
    handlers.register_links(app.bus, invitations, Recovery(app.database, passwords, letters))
    if settings.smtp_url is not None and settings.public_url is not None:
        relay = Relay.parse(settings.smtp_url.get_secret_value())
        Postman(relay, settings.mail_from, settings.public_url).register(app.work)
    sessions_of_people = Sessions(app.database, passwords, keys, RefreshTokens(secret_key), _lives(settings))
    handlers.register_users(app.bus, users, sessions_of_people, Devices(app.database, sessions_of_people))
    handlers.register_tokens(
        app.bus, Tokens(app.database, known_quotas), Grants(app.database, keys, app.bus.keys, app.bus.revoked)
    )
    handlers.register_projects(
        app.bus,
        Projects(app.database, settings.projects_per_person),
        Members(app.database, known_quotas),
        QuotaDesk(app.database, known_quotas),
    )
    anchor = Anchor(app.database, buckets.audit, root)
    app.health.degraded_by |= {"audit": anchor.degraded, "signing-keys": keys.degraded}
    audit = Audit(app.database, Chain(secret_key), anchor)
    handlers.register_operation(app.bus, keys, audit)

    async def prepare() -> None:
        await store.check()
        await keys.load()
        # A broker that lost its data must not make everybody's tokens unknown.
        app.bus.connection.after_reconnect = keys.publish_all
        if settings.admin_password is not None:
            await users.ensure_admin(settings.admin_password.get_secret_value())
        await users.ensure_personal_projects()
        keys.follow()
        anchor.start()

    async def finish() -> None:
        await keys.stop()
        await anchor.stop()

    app.prepare = prepare
    app.finish = finish
    app.tidy = _tidy
    return app


def _lives(settings: AuthSettings) -> Lives:
    return Lives(
        access=timedelta(minutes=settings.access_token_minutes),
        idle=timedelta(days=settings.session_idle_days),
        longest=timedelta(days=settings.session_longest_days),
    )


async def _tidy(transaction: Transaction) -> None:
    await sessions.tidy(transaction)
    await devices.tidy(transaction)
    await attempts.tidy(transaction, datetime.now(UTC))
    await links.tidy(transaction)
    await invitation_rows.tidy(transaction)
    await letter_rows.tidy(transaction)
    await access.tidy(transaction)


def main() -> None:
    run(lambda: build(AuthSettings()))
