"""Who works on it: the bot or the team as it is now, and stays for this run."""

from signalbox_common import teams
from signalbox_common.contracts.catalog import ResolveResource
from signalbox_common.errors import SignalboxError
from signalbox_tasks.domain import without_workspace
from signalbox_tasks.work.turn import Done, Outcome, StepFailed, Turn


class TeamStep:
    async def do(self, turn: Turn) -> Outcome:
        spec = turn.task.spec
        plural, name = ("bots", spec.bot) if spec.bot is not None else ("teams", spec.team)
        try:
            found = await turn.peers.query(ResolveResource(plural=plural, name=name or ""))
        except SignalboxError as error:
            if error.final and error.status not in (401, 403):
                raise StepFailed("unresolvable", error.detail) from error
            raise
        try:
            members = teams.read(found.root.model_dump(mode="json", by_alias=True))
        except teams.BadTeam as error:
            raise StepFailed(error.code, error.detail) from error
        idle = all(member.shell_type == teams.NOOP for member in members)
        return Done(
            ", ".join(member.bot for member in members),
            {"members": [member.record() for member in members], "version": found.version},
            plan=without_workspace(turn.run.plan) if idle else None,
        )
