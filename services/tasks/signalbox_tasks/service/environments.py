"""Variables of tasks: kept before the task is created, in no stream and in no row."""

import hmac
import json
import uuid

from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import derive, uuid7
from signalbox_common.outcomes import Outcome
from signalbox_common.secrets import SecretStore
from signalbox_tasks.replies import environment_name
from signalbox_tasks.store import environments


class Environments:
    def __init__(self, database: Database, secrets: SecretStore, *, secret_key: str) -> None:
        self._database = database
        self._secrets = secrets
        self._key = derive(secret_key, "tasks/environments")

    async def keep(self, call: Call, ask: contract.KeepEnvironment) -> Outcome[contract.EnvironmentKept]:
        """Stored before the row that says that it is there."""
        values = {name: value.get_secret_value() for name, value in ask.env.items()}
        encoded = json.dumps(values, sort_keys=True).encode()
        call = call.about(hmac.digest(self._key, encoded, "sha256").hex()[:32])
        answered = await call.replayed()
        identifier = uuid7()
        if answered is None:
            await self._secrets.put(environment_name(identifier), encoded)

        async def work(transaction: Transaction) -> contract.EnvironmentKept:
            await environments.add(transaction, call.principal.project(), identifier)
            return contract.EnvironmentKept(environment=identifier)

        outcome = await call.once(work)
        if answered is None and (outcome.failed or _kept(outcome) != identifier):
            await self._secrets.delete(environment_name(identifier))
        return outcome

    async def read(self, environment: uuid.UUID) -> dict[str, str]:
        found: dict[str, str] = json.loads((await self._secrets.get(environment_name(environment))).value)
        return found

    async def forget(self) -> None:
        """Those that nobody refers to."""
        async with self._database.reading() as connection:
            unused = await environments.unused(connection)
        for each in unused:
            async with self._database.transaction() as transaction:
                gone = await environments.remove(transaction, each)
            if gone:
                await self._secrets.delete(environment_name(each))


def _kept(outcome: Outcome[contract.EnvironmentKept]) -> uuid.UUID:
    return contract.EnvironmentKept.model_validate_json(outcome.body).environment
