"""What others are told of repositories, checkouts and deliveries."""

import uuid

from signalbox_common import outbox
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.events import Event
from signalbox_common.db import Transaction
from signalbox_git.domain import Checkout, Delivery, Repository

SCHEMA = "git"
SECRETS = "repositories/"
"""What the names of their credentials begin with."""


def repository_reply(found: Repository) -> contract.Repository:
    return contract.Repository(
        id=found.id,
        project_id=found.project_id,
        name=found.name,
        url=found.url,
        forge=found.forge,
        default_branch=found.main_branch,
        has_credential=found.credential is not None,
        setup=found.setup,
        protected=found.protected,
        status=found.status,
        reason=found.reason,
        detail=found.detail,
        host_keys=tuple(line.partition(" ")[2] for line in (found.host_keys or "").splitlines()),
        fetched_at=found.fetched_at,
        size_bytes=found.size_bytes,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def checkout_reply(found: Checkout) -> contract.Checkout:
    return contract.Checkout(
        checkout=found.id,
        state=found.state,
        repository=found.repository_id,
        run=found.run,
        commit=found.commit,
        branch=found.branch,
        base=found.base,
        error=contract.GitError.model_validate(found.error) if found.error is not None else None,
        version=found.version,
    )


def tell(transaction: Transaction, project: uuid.UUID, event: Event) -> None:
    """In the transaction that makes it true."""
    outbox.emit(transaction, SCHEMA, event, project=project)


def tell_of_repository(transaction: Transaction, found: Repository) -> None:
    event = contract.RepositoryChanged(
        repository=found.id, name=found.name, status=found.status, reason=found.reason
    )
    tell(transaction, found.project_id, event)


def tell_of_checkout(transaction: Transaction, found: Checkout) -> None:
    event = contract.CheckoutChanged(**checkout_reply(found).model_dump())
    tell(transaction, found.project_id, event)


def secret_name(credential: uuid.UUID) -> str:
    """Where it is kept."""
    return f"{SECRETS}{credential.hex}"


def delivery_reply(found: Delivery) -> contract.ChangeDelivery:
    return contract.ChangeDelivery(
        delivery=found.id,
        repository=found.repository_id,
        run=found.run,
        ordinal=found.ordinal,
        state=found.state,
        final=found.final,
        base=found.base,
        commit=found.commit,
        branch=found.branch,
        findings=tuple(contract.Finding.model_validate(each) for each in found.findings),
        error=contract.GitError.model_validate(found.error) if found.error is not None else None,
        created_at=found.created_at,
        version=found.version,
    )


def tell_of_delivery(transaction: Transaction, found: Delivery) -> None:
    reply = delivery_reply(found)
    names = contract.DeliveryChanged.model_fields.keys()
    values = {name: value for name, value in reply.model_dump().items() if name in names}
    tell(transaction, found.project_id, contract.DeliveryChanged(**values))
