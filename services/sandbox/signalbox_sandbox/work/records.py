"""What was seen of a sandbox becomes its record, in one place, and is told to all who want to know."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_common.db import Transaction
from signalbox_common.secrets import SecretStore
from signalbox_sandbox.domain import Sandbox
from signalbox_sandbox.replies import secret_name, tell
from signalbox_sandbox.service.news import News
from signalbox_sandbox.store import sandboxes


class Records:
    def __init__(self, secrets: SecretStore, news: News) -> None:
        self._secrets = secrets
        self._news = news

    async def write(self, transaction: Transaction, seen: Sandbox, now: datetime) -> Sandbox:
        """In the transaction that has it locked; `now` is by the clock of the database."""
        runs = seen.status is SandboxStatus.RUNNING
        deadline = now + timedelta(seconds=seen.lifetime) if runs else None
        sandbox = replace(seen, since=now, deadline=deadline)
        if sandbox.owner_run is not None:
            transaction.operation = str(sandbox.owner_run)
        await sandboxes.save(transaction, sandbox)
        tell(transaction, sandbox)
        transaction.after_commit.append(partial(self._news.tell, sandbox.id))
        if sandbox.ended and sandbox.has_env:  # what is lost here goes when the service tidies up
            transaction.after_commit.append(partial(self._secrets.delete, secret_name(sandbox.id)))
        return sandbox
