"""Secrets at rest behind one interface, wherever they are kept."""

from signalbox_common.secrets.base import (
    RotationResult,
    Secret,
    SecretNotFound,
    SecretStore,
    SecretStoreUnavailable,
    SecretUnreadable,
)
from signalbox_common.secrets.keyfile import KeyFile, KeyFileMissing, KeyFileUnusable
from signalbox_common.secrets.local import LocalSecrets, create_secret_tables

__all__ = [
    "KeyFile",
    "KeyFileMissing",
    "KeyFileUnusable",
    "LocalSecrets",
    "RotationResult",
    "Secret",
    "SecretNotFound",
    "SecretStore",
    "SecretStoreUnavailable",
    "SecretUnreadable",
    "create_secret_tables",
]
