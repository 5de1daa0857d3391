"""What others are told of repositories, checkouts and deliveries."""

import uuid

from signalbox_common import outbox
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.events import Event
from signalbox_common.db import Transaction
from signalbox_git.domain import Checkout, Delivery, HostCredential, PullRequest, Repository

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
        api_url=found.api_url,
        default_branch=found.main_branch,
        has_credential=found.credential is not None,
        setup=found.setup,
        protected=found.protected,
        policy=found.policy,
        signed_by=found.signed_by,
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
    link = contract.PullRequestLink.model_validate(found.pull_request) if found.pull_request else None
    return contract.ChangeDelivery(
        delivery=found.id,
        repository=found.repository_id,
        run=found.run,
        ordinal=found.ordinal,
        state=found.state,
        final=found.final,
        title=str(found.wanted["message"]).strip().partition("\n")[0],
        base=found.base,
        commit=found.commit,
        branch=found.branch,
        findings=tuple(contract.Finding.model_validate(each) for each in found.findings),
        pull_request=link,
        note=found.note,
        error=contract.GitError.model_validate(found.error) if found.error is not None else None,
        created_at=found.created_at,
        version=found.version,
    )


def tell_of_delivery(transaction: Transaction, found: Delivery) -> None:
    reply = delivery_reply(found)
    names = contract.DeliveryChanged.model_fields.keys()
    values = {name: value for name, value in reply.model_dump().items() if name in names}
    tell(transaction, found.project_id, contract.DeliveryChanged(**values))


def pull_request_reply(found: PullRequest) -> contract.PullRequest:
    return contract.PullRequest(
        id=found.id,
        project_id=found.project_id,
        repository_id=found.repository_id,
        number=found.number,
        url=found.url,
        state=found.state,
        head=found.head,
        base=found.base,
        title=found.title,
        commit=found.commit,
        run=found.run,
        task_id=found.task,
        created_by=found.created_by,
        created_at=found.created_at,
        seen_at=found.seen_at,
        version=found.version,
    )


def tell_of_pull_request(transaction: Transaction, found: PullRequest) -> None:
    event = contract.PullRequestChanged(
        pull_request=found.id,
        repository=found.repository_id,
        run=found.run,
        number=found.number,
        url=found.url,
        state=found.state,
        head=found.head,
        base=found.base,
        version=found.version,
    )
    tell(transaction, found.project_id, event)


def host_credential_reply(found: HostCredential) -> contract.GitCredential:
    return contract.GitCredential(
        id=found.id,
        project_id=found.project_id,
        host=found.host,
        forge=found.forge,
        api_url=found.api_url,
        username=found.username,
        created_by=found.created_by,
        created_at=found.created_at,
    )
