"""What others are told of a sandbox."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from signalbox_common import outbox
from signalbox_common.contracts import sandbox as contract
from signalbox_common.db import Transaction
from signalbox_sandbox.domain import Sandbox, Template

SCHEMA = "sandbox"
SECRETS = "sandboxes/"
"""What the names of their environments begin with."""


def reply_of(sandbox: Sandbox) -> contract.Sandbox:
    return contract.Sandbox(
        id=sandbox.id,
        project_id=sandbox.project_id,
        template=sandbox.template,
        status=sandbox.status,
        reason=sandbox.reason,
        network=network_of(sandbox.network),
        doors=tuple(contract.Door.model_validate(door) for door in sandbox.doors),
        limits=contract.Limits.model_validate(sandbox.limits),
        not_enforced=sandbox.not_enforced,
        at_end=sandbox.at_end,
        labels=dict(sandbox.labels),
        owner=owner_of(sandbox),
        checkout=sandbox.checkout,
        repo_url=(sandbox.workspace or {}).get("url"),
        branch_name=(sandbox.workspace or {}).get("branch"),
        node=sandbox.node,
        created_by=sandbox.created_by,
        created_at=sandbox.created_at,
        deadline=sandbox.deadline,
        destroyed_at=sandbox.since if sandbox.ended else None,
    )


def template_reply(template: Template) -> contract.SandboxTemplate:
    return contract.SandboxTemplate(
        name=template.name,
        digest=template.digest,
        env=dict(template.env),
        size_bytes=template.size_bytes,
        created_by=template.created_by,
        created_at=template.created_at,
    )


def network_of(known: Mapping[str, Any]) -> contract.Network:
    """As it was asked for."""
    if known.get("public"):
        return "public"
    hosts = tuple(known.get("hosts", ()))
    return contract.AllowedHosts(allow=hosts) if hosts else "none"


def known_network(asked: contract.Network) -> dict[str, Any]:
    """As a node knows it."""
    if isinstance(asked, contract.AllowedHosts):
        return {"hosts": list(asked.allow)}
    return {"public": True} if asked == "public" else {}


def owner_of(sandbox: Sandbox) -> contract.SandboxOwner | None:
    if sandbox.owner_run is None:
        return None
    return contract.SandboxOwner(run=sandbox.owner_run, name=sandbox.owner_name or "main")


def tell(transaction: Transaction, sandbox: Sandbox) -> None:
    """In the transaction that makes it true."""
    event = contract.SandboxChanged(
        sandbox=sandbox.id,
        owner=owner_of(sandbox),
        checkout=sandbox.checkout,
        state=sandbox.status,
        reason=sandbox.reason,
        node=sandbox.node,
        deadline=sandbox.deadline,
        version=sandbox.version,
    )
    outbox.emit(transaction, SCHEMA, event, project=sandbox.project_id)


def secret_name(sandbox: uuid.UUID) -> str:
    """Where its environment is kept."""
    return f"{SECRETS}{sandbox.hex}"


def encoded(env: dict[str, str]) -> bytes:
    return json.dumps(env, sort_keys=True, separators=(",", ":")).encode()
