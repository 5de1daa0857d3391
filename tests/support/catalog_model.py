"""A simple model of the catalog: what each change leaves, and what is refused."""

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings

T = TypeVar("T")
Spec = dict[str, Any]
Key = tuple[str, str, str]
"""Which of the two namespaces, the plural of the kind, the name."""
Empty = list[tuple[str, "Thing"]]
"""What has become of which: created, updated, unchanged, deleted, restored."""
Act = Callable[["World"], Empty]
HOME, OTHER = "home", "other"
MASK = "***"
KIND_OF = {
    "models": "Model",
    "shells": "Shell",
    "skills": "Skill",
    "ghosts": "Ghost",
    "bots": "Bot",
    "teams": "Team",
}
PLURAL_OF = {kind: plural for plural, kind in KIND_OF.items()}
BOT_FIELDS = {"ghostRef": "ghosts", "shellRef": "shells", "modelRef": "models"}
NEEDED = {"bots": ("ghostRef", "shellRef"), "teams": ("members",)}
SELECTORS: dict[str, Callable[[Mapping[str, str]], bool]] = {
    "": lambda _labels: True,
    "tier=x": lambda labels: labels.get("tier") == "x",
    "tier!=x": lambda labels: labels.get("tier") != "x",
    "tier": lambda labels: "tier" in labels,
    "!tier": lambda labels: "tier" not in labels,
    "tier in (x, y),team=a": lambda labels: labels.get("tier") in ("x", "y") and labels.get("team") == "a",
    "team notin (a),tier": lambda labels: labels.get("team") != "a" and "tier" in labels,
}
ONCE_EACH = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # what fails is shown as it came: making it smaller takes longer than a run may
    suppress_health_check=list(HealthCheck),
)


class Refused(Exception):
    """What the model would answer instead of doing it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


MISSING = Refused(404, "resource_not_found")
MOVED = Refused(409, "version_conflict")
UNFIT = Refused(422, "validation_failed")


@dataclass(frozen=True)
class Doc:
    """What somebody writes; `@home` and `@other` stand for the names of the namespaces."""

    space: str
    plural: str
    name: str
    spec: Spec
    labels: dict[str, str] = field(default_factory=dict)
    version: str | None = None

    @property
    def key(self) -> Key:
        return self.space, self.plural, self.name


@dataclass
class Thing:
    """A resource, living or deleted, and all that it was."""

    key: Key
    uid: str
    spec: Spec
    secret: str | None
    labels: dict[str, str]
    generation: int = 0
    version: int = 0
    history: dict[int, tuple[Spec, str | None]] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The first and the last version of each generation."""
    bound: dict[str, int] = field(default_factory=dict)
    """What it refers to, by field: a name that was taken over since is another number."""
    number: int = 0
    """Given once, so that no two things have it."""
    deleted_by: int = 0
    """Which of all changes has deleted it."""

    def note(self) -> None:
        self.history[self.generation] = (self.spec, self.secret)
        first = self.spans.get(self.generation, (self.version, 0))[0]
        self.spans[self.generation] = (first, self.version)


def named(plural: str, spec: Spec) -> dict[str, tuple[str, str, str | None]]:
    """What a spec refers to, by field: plural, name, namespace."""
    if plural == "ghosts":
        where = spec.get("skill_refs", {})
        return {
            f"skills.{n}": ("skills", name, where.get(name, {}).get("namespace"))
            for n, name in enumerate(spec.get("skills", []))
        }
    if plural == "bots":
        given = {name: spec[name] for name in BOT_FIELDS if name in spec}
        return {f: (BOT_FIELDS[f], ref["name"], ref.get("namespace")) for f, ref in given.items()}
    if plural == "teams":
        members = [member["botRef"] for member in spec["members"]]
        return {
            f"members.{n}.botRef": ("bots", ref["name"], ref.get("namespace"))
            for n, ref in enumerate(members)
        }
    return {}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, as its own pseudocode has it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _check_needed(doc: Doc) -> None:
    if any(needed not in doc.spec for needed in NEEDED.get(doc.plural, ())):
        raise UNFIT


class World:
    """Two namespaces of one person, as they must be."""

    def __init__(self, slugs: dict[str, str]) -> None:
        self.slugs = slugs
        self.living: dict[Key, Thing] = {}
        self.graves: list[Thing] = []
        self.heads = {HOME: 0, OTHER: 0}
        self.log: dict[str, list[tuple[str, str, str, int, int]]] = {HOME: [], OTHER: []}
        self.acts = 0
        self.made = 0
        self.tried = False
        """A dry run does not tell whether a key is the one that is there."""

    def settled(self, spec: Spec) -> Spec:
        """With the own namespace called by its name, wherever `default` stands for it."""
        text = json.dumps(spec).replace('"namespace": "default"', f'"namespace": "{self.slugs[HOME]}"')
        settled: Spec = json.loads(text)
        return settled

    def targets(self, key: Key, spec: Spec) -> dict[str, Key]:
        space_of = {slug: space for space, slug in self.slugs.items()}
        return {
            at: (space_of[namespace] if namespace else key[0], plural, name)
            for at, (plural, name, namespace) in named(key[1], spec).items()
        }

    def referrers(self, keys: Iterable[Key]) -> list[Thing]:
        """Of the same namespace: from elsewhere nothing is kept here."""
        wanted = set(keys)
        return [
            thing
            for thing in self.living.values()
            if any(
                target in wanted and target[0] == thing.key[0]
                for target in self.targets(thing.key, thing.spec).values()
            )
        ]

    def bind(self, thing: Thing, there: Mapping[Key, Thing]) -> None:
        """To what has the names that it names, which must be there."""
        targets = self.targets(thing.key, thing.spec)
        if set(targets.values()) - there.keys():
            raise UNFIT
        thing.bound = {at: there[target].number for at, target in targets.items()}

    def held(self, thing: Thing) -> dict[str, Thing | None]:
        """What it refers to, as far as that lives."""
        living = {each.number: each for each in self.living.values()}
        return {at: living.get(number) for at, number in thing.bound.items()}

    def referred_from_elsewhere(self) -> set[Key]:
        """Living ones that may go, and leave something broken."""
        living = {thing.number: thing for thing in self.living.values()}
        found = {
            living[number].key
            for holder in self.living.values()
            for number in holder.bound.values()
            if number in living and living[number].key[0] != holder.key[0]
        }
        return {key for key in found if not self.referrers([key])}

    def _is_renewed(self, now: Thing, wished: set[Key]) -> bool:
        """Whether what it names elsewhere is all there, and not all what it refers to."""
        elsewhere = {at: key for at, key in self.targets(now.key, now.spec).items() if key[0] != now.key[0]}
        made = wished - self.living.keys()
        return set(elsewhere.values()) <= self.living.keys() | made and any(
            key in made or self.living[key].number != now.bound[at] for at, key in elsewhere.items()
        )

    def selected(self, space: str, plural: str, selector: str) -> list[Thing]:
        fits = SELECTORS[selector]
        found = [t for t in self.living.values() if t.key[:2] == (space, plural) and fits(t.labels)]
        return sorted(found, key=lambda thing: thing.key)

    # -- changes: what they change, or Refused -----------------------------------------------------------

    def write(
        self,
        docs: Sequence[Doc],
        *,
        exists: bool | None = None,
        version: str | None = None,
        many: bool = False,
    ) -> Empty:
        """What becomes of each document: created, updated, unchanged."""
        decided: Empty = []
        refused: list[Refused] = []
        for doc in docs:
            try:
                decided.append(self._decided(doc, exists, version, {each.key for each in docs}))
            except Refused as no:
                refused.append(Refused(409, "conflict") if many and no is MOVED else no)
        if refused:
            raise next((no for no in refused if no.status == 422), refused[0])
        there = {**self.living, **{thing.key: thing for _, thing in decided}}
        for action, thing in decided:
            if action != "unchanged":
                self.bind(thing, there)
        self.living = there
        return decided

    def _decided(
        self, doc: Doc, exists: bool | None, version: str | None, wished: set[Key]
    ) -> tuple[str, Thing]:
        now = self.living.get(doc.key)
        if now is None and exists:
            raise MISSING
        if now is not None and exists is False:
            raise Refused(409, "already_exists")
        if now is not None and version not in (None, str(now.version)):
            raise MOVED
        spec, secret = self._kept_apart(doc, now)
        after = Thing(doc.key, "", spec, secret, doc.labels)
        if now is None:
            after.generation = 1
            self.made += 1
            after.number = self.made
            return "created", after
        sent = secret is not None and MASK not in doc.spec["modelConfig"]["env"].values()
        same = (spec, secret, doc.labels) == (now.spec, now.secret, now.labels)
        same = same and not self._is_renewed(now, wished)
        if doc.version not in (None, str(now.version)) and (sent or not same):
            raise MOVED
        if same and not (sent and self.tried):
            return "unchanged", now
        after = copy.deepcopy(now)
        after.spec, after.secret, after.labels = spec, secret, doc.labels
        after.generation += (spec, secret) != (now.spec, now.secret) or (sent and self.tried)
        return "updated", after

    def _kept_apart(self, doc: Doc, now: Thing | None) -> tuple[Spec, str | None]:
        """The spec with `***` for its key, and the key."""
        _check_needed(doc)
        spec = self.settled(doc.spec)
        given = spec["modelConfig"]["env"].get("api_key") if doc.plural == "models" else None
        if given is None:
            return spec, None
        spec["modelConfig"]["env"]["api_key"] = MASK
        if given != MASK:
            return spec, given
        if now is None or now.secret is None:
            raise UNFIT
        return spec, now.secret

    def patch(self, key: Key, patch: Spec, version: str | None) -> Empty:
        now = self.living.get(key)
        if now is None:
            raise MISSING
        if version not in (None, str(now.version)):
            raise MOVED
        said = merged({"metadata": {"labels": now.labels}, "spec": now.spec}, patch)
        metadata = said["metadata"]
        doc = Doc(*key, said["spec"], metadata.get("labels", {}), metadata.get("resourceVersion"))
        _check_needed(doc)
        if doc.version not in (None, str(now.version)):
            raise MOVED
        return self.write([doc], exists=True)

    def delete(self, key: Key, *, cascade: bool, version: str | None) -> list[Thing]:
        now = self.living.get(key)
        if now is None:
            raise MISSING
        if version not in (None, str(now.version)):
            raise MOVED
        doomed = [now]
        while more := [t for t in self.referrers(t.key for t in doomed) if t not in doomed]:
            if not cascade:
                raise Refused(409, "still_referenced")
            doomed += more
        return self._buried(doomed)

    def prune(self, spaces: set[str], selector: str, wished: set[Key]) -> list[Thing]:
        doomed = [
            thing
            for key, thing in self.living.items()
            if key[0] in spaces and key not in wished and SELECTORS[selector](thing.labels)
        ]
        if any(thing not in doomed for thing in self.referrers(t.key for t in doomed)):
            raise Refused(409, "still_referenced")
        return self._buried(doomed)

    def _buried(self, doomed: list[Thing]) -> list[Thing]:
        for thing in doomed:
            del self.living[thing.key]
            thing.deleted_by = self.acts
        self.graves += doomed
        return doomed

    def restore(self, key: Key) -> Thing:
        if key in self.living:
            raise Refused(409, "already_exists")
        found = [thing for thing in self.graves if thing.key == key]
        if not found:
            raise Refused(404, "nothing_deleted")
        last = max(found, key=lambda thing: thing.deleted_by)
        self.bind(last, self.living)
        self.graves.remove(last)
        self.living[key] = last
        return last

    def roll_back(self, key: Key, generation: int, version: str | None) -> tuple[str, Thing]:
        now = self.living.get(key)
        if now is None:
            raise MISSING
        if generation not in now.history:
            raise Refused(404, "generation_not_found")
        if version not in (None, str(now.version)):
            raise MOVED
        spec, secret = now.history[generation]
        if (spec, secret) == (now.spec, now.secret):
            return "unchanged", now
        if set(self.targets(key, spec).values()) - self.living.keys():
            raise UNFIT
        now.spec, now.secret = spec, secret
        self.bind(now, self.living)
        now.generation += 1
        return "updated", now

    def number(self, changed: Sequence[tuple[str, Thing]], versions: Mapping[str, int]) -> None:
        """Takes the numbers that were given, if they are the next ones, and in a good order."""
        for space, head in self.heads.items():
            ours = [(change, thing) for change, thing in changed if thing.key[0] == space]
            given = sorted(versions[thing.uid] for _, thing in ours)
            assert given == list(range(head + 1, head + 1 + len(ours))), "each change has the next number"
            self.heads[space] += len(ours)
            for change, thing in sorted(ours, key=lambda each: versions[each[1].uid]):
                thing.version = versions[thing.uid]
                thing.note()
                _, plural, name = thing.key
                self.log[space].append((change, KIND_OF[plural], name, thing.version, thing.generation))
        self._check_order(changed)

    def _check_order(self, changed: Sequence[tuple[str, Thing]]) -> None:
        at = {thing.key: (change, thing.version) for change, thing in changed}
        for change, thing in changed:
            for target in self.targets(thing.key, thing.spec).values():
                if target[0] != thing.key[0] or target not in at:
                    continue  # numbers of two namespaces say nothing about each other
                other, version = at[target]
                if (change == "deleted") == (other == "deleted"):
                    first = thing.version < version
                    assert first == (change == "deleted"), "what is referred to comes first, and goes last"
