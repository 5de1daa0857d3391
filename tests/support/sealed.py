"""Keys in specs: where they could show, and what belongs to a resource."""

import json
from typing import Any

from signalbox_catalog.service.vault import Vault
from signalbox_catalog.store.rows import secrets_of
from signalbox_common.runtime import Service
from signalbox_common.secrets import KeyFile, LocalSecrets
from tests.support import factories
from tests.support.catalog import Catalog
from tests.support.factories import text_of
from tests.support.installation import Installation

API_KEY = "/modelConfig/env/api_key"


def model(key: Any, **env: Any) -> dict[str, Any]:
    return {"modelConfig": {"env": {"model": "openai", "api_key": key} | env}}


def secret_key_of(installation: Installation) -> str:
    return installation.servers.credentials.secret_key_of("catalog")


def vault_of(installation: Installation, service: Service) -> Vault:
    """As another process would open it."""
    secret_key = secret_key_of(installation)
    keys = KeyFile(installation.folder / "catalog.keys", secret_key)
    return Vault(LocalSecrets(service.database, keys), secret_key)


async def keys_of(
    installation: Installation, catalog: Catalog, plural: str, name: str, **query: Any
) -> dict[str, Any]:
    """The keys of a resource, as whoever runs it will get them."""
    uid = (await catalog.get(f"{plural}/{name}", **query))["metadata"]["uid"]
    async with installation.sql() as connection:
        stored = await connection.fetchval("select secrets from catalog.resources where uid = $1", uid)
    return await vault_of(installation, catalog.service).reveal(secrets_of(json.loads(stored)))


async def applied(catalog: Catalog, *documents: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    return await factories.applied(catalog, text_of(*documents), **query)


def ghost_with_keys(number: str) -> dict[str, Any]:
    """Keys in all the places where MCP servers have them."""
    return {
        "systemPrompt": "marker-of-a-prompt",
        "mcpServers": {
            "gh": {
                "command": "docker",
                "args": ["run", "-e", f"GITHUB_TOKEN=argKey{number}aaaa", "--api-key", f"flagKey{number}bb"],
                "env": {"GITHUB_TOKEN": f"envKey{number}cccc", "PLACE": f"ghp_looksLikeOne{number}"},
            },
            "web": {"type": "http", "headers": {"Authorization": f"Bearer headerKey{number}d"}},
        },
        "env": [{"name": "DB_PASSWORD", "value": f"pairKey{number}eeee"}],
        "database": {"password": f"nestedKey{number}f", "dsn": f"postgres://u:dsnKey{number}g@db/x"},
    }
