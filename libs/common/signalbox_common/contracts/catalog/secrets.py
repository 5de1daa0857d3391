"""The secret store of this service, as its operator handles it."""

from signalbox_common.contracts.auth import RotationReport
from signalbox_common.contracts.base import Ask, GrantScope


class RotateCatalogSecrets(Ask[RotationReport]):
    """A new key for the secret store of the catalog; every secret is wrapped with it."""

    subject = "ask.catalog.v1.rotate-secrets"
    grant = GrantScope.NONE
    operator = True
