"""What others are told of operations."""

from datetime import timedelta

from signalbox_common.contracts import git as contract
from signalbox_common.contracts.git import GitOperationStatus
from signalbox_common.db import Transaction
from signalbox_git.operations.record import Operation
from signalbox_git.replies import tell

_MILLISECOND = timedelta(milliseconds=1)


def operation_reply(found: Operation) -> contract.GitOperation:
    error = contract.GitOperationError.model_validate(found.error) if found.error is not None else None
    took = None
    if found.ended_at is not None and found.started_at is not None:
        took = (found.ended_at - found.started_at) // _MILLISECOND
    return contract.GitOperation.model_validate(
        {
            "id": found.id,
            "project_id": found.project_id,
            "repository_id": found.repository_id,
            "operation_type": found.type,
            "status": found.status,
            "action": found.action,
            "previous": found.previous,
            "commit_sha": found.commit if found.status is GitOperationStatus.SUCCEEDED else None,
            "changed": found.changed,
            "freed_bytes": found.freed_bytes,
            "error": error,
            "error_message": error.detail if error is not None else None,
            "progress": found.progress,
            "cancelling": found.cancelling and not found.final,
            "created_by": found.created_by,
            "created_at": found.created_at,
            "started_at": found.started_at,
            "ended_at": found.ended_at,
            "duration_ms": took,
            "version": found.version,
        }
    )


def tell_of_operation(transaction: Transaction, found: Operation) -> None:
    reply = operation_reply(found)
    names = contract.GitOperationChanged.model_fields.keys()
    values = {name: value for name, value in reply.model_dump().items() if name in names}
    event = contract.GitOperationChanged(**values, operation=found.id, repository=found.repository_id)
    tell(transaction, found.project_id, event)
