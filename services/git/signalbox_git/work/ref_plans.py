"""What a branch or a tag is to lead to: looked up, or made, in a quarantine beside the mirror."""

from collections.abc import Mapping
from dataclasses import dataclass

from signalbox_common.contracts.git import FastForward, GitOperationType
from signalbox_git import errors
from signalbox_git.command import GitDirectory
from signalbox_git.commits import combining
from signalbox_git.commits.quarantine import Authorship, Person
from signalbox_git.domain import HEADS, TAGS
from signalbox_git.mirrors import reading
from signalbox_git.mirrors.partial import Complete, files_of_change, files_of_merge
from signalbox_git.operations.record import Operation
from signalbox_git.work.operation_journal import CannotOperate


@dataclass(frozen=True)
class RefPlan:
    """From what it leads to, to what it is to lead to; None is nothing at all."""

    value: str | None
    commit: str | None
    source: str | None = None
    """The commit that was meant."""
    made: bool = False
    """Whether it is a commit that nobody else has."""


class RefPlanner:
    """For one operation, as the remote is at one moment."""

    def __init__(
        self,
        mirror: GitDirectory,
        git: GitDirectory,
        found: Operation,
        refs: Mapping[str, str],
        head: str | None,
        committer: Person,
        complete: Complete,
    ) -> None:
        """`git` is where objects are made, and sees all of the mirror; `head` is the main branch."""
        self._complete = complete
        self._mirror = mirror
        self._git = git
        self._found = found
        self._refs = refs
        self._head = head
        self._committer = committer
        self._action = found.action

    async def plan(self) -> RefPlan:
        """Raises CannotOperate."""
        try:
            match self._found.type:
                case GitOperationType.BRANCH:
                    return await self._branch()
                case GitOperationType.TAG:
                    return await self._tag()
                case GitOperationType.DELETE_BRANCH | GitOperationType.DELETE_TAG:
                    return self._deleted()
                case GitOperationType.MERGE:
                    return await self._merge()
                case GitOperationType.REVERT:
                    return await self._revert()
                case GitOperationType.CHERRY_PICK:
                    return await self._cherry_pick()
        except combining.Conflicting as conflict:
            raise CannotOperate(
                "conflict", "Both sides have changed the same.", paths=conflict.paths
            ) from conflict
        except combining.Unrelated as error:
            raise CannotOperate("unrelated", "They have no commit in common.") from error
        except combining.TooLargeToCombine as error:
            raise CannotOperate("too_large", "This is more than is put together here.") from error
        raise TypeError(f"{self._found.type} is not about a branch or a tag")

    # -- names -----------------------------------------------------------------------------------------------

    async def _branch(self) -> RefPlan:
        self._check_free()
        commit = await self._resolved(self._action["revision"])
        return RefPlan(commit, commit, commit)

    async def _tag(self) -> RefPlan:
        self._check_free()
        commit = await self._resolved(self._action["revision"])
        message = self._action["message"]
        if message is None:
            return RefPlan(commit, commit, commit)
        authorship = self._authorship(message)
        made = await combining.tag(self._git, self._action["name"], commit, authorship)
        return RefPlan(made, commit, commit)

    def _deleted(self) -> RefPlan:
        there = self._there()
        if {self._action["expected"], self._found.previous} - {None, there}:
            raise CannotOperate("moved", "It leads to something else by now.", retryable=True)
        return RefPlan(None, None)

    def _check_free(self) -> None:
        """No ref of that name, none below it, and none that it would be below of."""
        name = str(self._found.ref)
        above = {name[:end] for end in range(len(name)) if name[end] == "/"}
        for each in self._refs:
            if each == name or each in above or each.startswith(f"{name}/"):
                short = each.removeprefix(HEADS).removeprefix(TAGS)
                shown = short.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                raise CannotOperate("ref_exists", f"There is {shown} already.")

    def _there(self) -> str:
        there = self._refs.get(str(self._found.ref))
        if there is None:
            raise CannotOperate("ref_not_found", "The remote has no such branch, or no such tag.")
        return there

    # -- commits ---------------------------------------------------------------------------------------------

    async def _merge(self) -> RefPlan:
        tip, source = self._there(), await self._resolved(self._action["source"])
        mode = self._action["fast_forward"]
        if await combining.is_ancestor(self._git, source, tip):
            return RefPlan(tip, tip, source)
        if mode != FastForward.NEVER and await combining.is_ancestor(self._git, tip, source):
            return RefPlan(source, source, source)
        if mode == FastForward.ONLY:
            raise CannotOperate("not_fast_forward", "The branch has commits that the source has not.")
        await self._complete(files_of_merge(tip, source))
        tree = await combining.merged(self._git, tip, source)
        message = self._action["message"] or f"Merge {self._action['source']} into {self._action['branch']}"
        made = await combining.commit(self._git, tree, (tip, source), self._authorship(message))
        return RefPlan(made, made, source, made=True)

    async def _revert(self) -> RefPlan:
        commit, parent = await self._changed()
        text = await combining.text_of(self._git, commit)
        message = self._action["message"] or (f'Revert "{text.subject}"\n\nThis reverts commit {commit}.')
        tree = await self._applied(f"{commit}^{{tree}}", parent, f"{self._there()}^{{tree}}")
        return await self._on_top(tree, commit, message)

    async def _cherry_pick(self) -> RefPlan:
        commit, parent = await self._changed()
        text = await combining.text_of(self._git, commit)
        tip = self._there()
        tree = await self._applied(parent, f"{commit}^{{tree}}", f"{tip}^{{tree}}")
        if await self._tree_of(tip) == tree:
            return RefPlan(tip, tip, commit)
        message = self._action["message"] or f"{text.message}\n(cherry picked from commit {commit})"
        authorship = self._authorship(message)
        made = await combining.commit_again(self._git, tree, tip, text, authorship)
        return RefPlan(made, made, commit, made=True)

    async def _applied(self, before: str, after: str, onto: str) -> str:
        await self._complete(files_of_change(before, after, onto))
        return await combining.applied(self._git, before, after, onto)

    async def _changed(self) -> tuple[str, str]:
        """A commit, and the tree that it has changed."""
        commit = await self._resolved(self._action["commit"])
        parents = await combining.parents_of(self._git, commit)
        mainline = self._action["mainline"]
        if mainline is None and len(parents) > 1:
            raise CannotOperate("mainline_needed", "This is a merge: say which of its parents counts.")
        if mainline is not None and mainline > len(parents):
            raise CannotOperate("mainline_unknown", f"The commit has no parent {mainline}.")
        if not parents:
            return commit, reading.EMPTY_TREE
        return commit, f"{parents[(mainline or 1) - 1]}^{{tree}}"

    async def _on_top(self, tree: str, source: str, message: str) -> RefPlan:
        tip = self._there()
        if await self._tree_of(tip) == tree:
            return RefPlan(tip, tip, source)
        made = await combining.commit(self._git, tree, (tip,), self._authorship(message))
        return RefPlan(made, made, source, made=True)

    async def _tree_of(self, commit: str) -> str:
        return await self._git.line("rev-parse", "--verify", f"{commit}^{{tree}}")

    async def _resolved(self, revision: str | None) -> str:
        """Looked up once: what a branch leads to later is another commit, and would be another operation."""
        source = self._found.source
        if source is not None:
            if await combining.is_commit(self._mirror, source):
                return source
            raise CannotOperate(errors.RevisionNotFound.code, "The commit that was meant is gone.")
        try:
            return await reading.resolve(self._mirror, revision, self._head)
        except errors.RevisionNotFound as error:
            raise CannotOperate(error.code, error.detail) from error

    def _authorship(self, message: str) -> Authorship:
        """The same each time: so is what is made of it."""
        author = Person(self._found.author["name"], self._found.author["email"])
        return Authorship(author, self._committer, self._found.created_at, message.rstrip("\n") + "\n")
