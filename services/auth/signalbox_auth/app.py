"""Composition root of the auth service."""

from datetime import timedelta

from signalbox_auth import handlers
from signalbox_auth.errors import translate
from signalbox_auth.passwords import Passwords
from signalbox_auth.service import AuthService
from signalbox_auth.settings import AuthSettings
from signalbox_auth.store import Store
from signalbox_common.inbox import Checkpoint, no_checkpoint
from signalbox_common.keys import Sealer
from signalbox_common.runtime import Service, run


def build(settings: AuthSettings, *, checkpoint: Checkpoint = no_checkpoint) -> Service:
    app = Service(settings, translate=translate, checkpoint=checkpoint)
    service = AuthService(
        app.database,
        Store(),
        Passwords(settings),
        Sealer(settings.secret_key.get_secret_value(), "auth/signing-keys"),
        app.bus.keys,
        access_life=timedelta(minutes=settings.access_token_minutes),
    )
    handlers.register(app.bus, service)

    async def publish_keys() -> None:
        await service.load_keys(app.bus.publish_key)

    async def prepare() -> None:
        await publish_keys()
        # A broker that lost its data must not make everybody's tokens unknown.
        app.bus.connection.after_reconnect = publish_keys
        if settings.admin_password is not None:
            await service.ensure_admin(settings.admin_password.get_secret_value())

    app.prepare = prepare
    return app


def main() -> None:
    run(lambda: build(AuthSettings()))


if __name__ == "__main__":
    main()
