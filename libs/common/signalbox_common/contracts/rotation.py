"""New keys for the secret stores, as operators make them."""

from signalbox_common.contracts.base import Ask, GrantScope, Reply


class RotationReport(Reply):
    key_id: str
    rewrapped: int


class RotateSecrets(Ask[RotationReport]):
    """A new key for the secret store of a service; every secret is wrapped with it."""

    subject = "ask.*.v1.rotate-secrets"
    grant = GrantScope.NONE
    operator = True
