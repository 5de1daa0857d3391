"""Steps that a walk may take, and sets of documents, as somebody fancies them."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from random import Random
from typing import Any

import httpx
import yaml
from hypothesis import given, settings

from tests.support.catalog_model import (
    HOME,
    KIND_OF,
    MASK,
    ONCE_EACH,
    OTHER,
    SELECTORS,
    Doc,
    Key,
    Spec,
    T,
)
from tests.support.catalog_person import Person
from tests.support.catalog_walk import Walk

FIRST, SECOND = "sk-live-first-5d1f", "sk-live-second-77ab"
NAMES = ("a", "b")


def model_spec(model: str, api_key: str | None) -> Spec:
    env = {"model": "openai", "model_id": model}
    return {"modelConfig": {"env": env | ({"api_key": api_key} if api_key is not None else {})}}


EVERYTHING = [
    Doc(space, plural, name, spec)
    for space in (HOME, OTHER)
    for name in NAMES
    for plural, spec in (
        ("skills", {"description": "one"}),
        ("shells", {"shellType": "one"}),
        ("models", model_spec("one", FIRST)),
        ("ghosts", {"systemPrompt": "one", "skills": ["a"]}),
        ("bots", {"ghostRef": {"name": "a"}, "shellRef": {"name": "a"}, "modelRef": {"name": "a"}}),
        ("teams", {"members": [{"botRef": {"name": "a"}}], "collaborationModel": "solo"}),
    )
]


class Fancy:
    """What somebody comes up with next: mostly what makes sense, sometimes not."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def of(self, *options: T) -> T:
        return self.random.choice(options)

    def maybe(self, how_likely: float = 0.5) -> bool:
        return self.random.random() < how_likely

    def mostly(self) -> bool:
        return self.maybe(0.85)

    def key(self, among: Iterable[Key] = ()) -> Key:
        """Mostly one of those."""
        found = sorted(among)
        if found and self.mostly():
            return self.random.choice(found)
        return self.of(HOME, OTHER), self.of(*KIND_OF), self.of(*NAMES)

    def version(self) -> str:
        return self.of("none", "none", "none", "none", "current", "current", "stale")

    def addressed(self) -> str:
        return self.of("query", "body", "default")

    def ref(self) -> Spec:
        namespace = self.of(None, None, None, "@home", "@other", "default")
        return {"name": self.of(*NAMES)} | ({"namespace": namespace} if namespace else {})

    def api_key(self) -> str | None:
        return self.of(None, FIRST, FIRST, SECOND, SECOND, MASK)

    def skills(self) -> list[str]:
        return self.random.sample(NAMES, self.of(0, 1, 1, 2))

    def members(self) -> list[Spec]:
        return [{"botRef": self.ref()} for _ in range(self.of(0, 1, 1, 2))]

    def word(self) -> str:
        return self.of("one", "two")

    def labels(self) -> dict[str, str]:
        some = {"tier": self.of("x", "x", "y", "z"), "team": self.of("a", "b", "")}
        return {key: value for key, value in some.items() if self.maybe()}

    def spec(self, plural: str) -> Spec:
        match plural:
            case "skills":
                return {"description": self.word()}
            case "shells":
                return {"shellType": self.word()}
            case "models":
                return model_spec(self.word(), self.api_key())
            case "ghosts":
                where = {name: {"namespace": self.of("@home", "@other")} for name in self.skills()}
                more: Spec = {"skill_refs": where} if self.maybe() else {}
                return {"systemPrompt": self.word(), "skills": self.skills()} | more
            case "bots":
                spec = {"ghostRef": self.ref(), "shellRef": self.ref()}
                return spec | ({"modelRef": self.ref()} if self.maybe() else {})
            case _:
                return {"members": self.members(), "collaborationModel": self.of("solo", "pipeline")}

    def patch(self, plural: str) -> Spec:
        patch: Spec = {}
        if self.maybe(2 / 3):
            patch["spec"] = self._spec_patch(plural)
        if self.maybe():
            patch["metadata"] = {"labels": {"tier": self.of(None, "x", "y")}}
        return patch

    def _spec_patch(self, plural: str) -> Spec:
        match plural:
            case "models":
                return {"modelConfig": {"env": {"api_key": self.api_key()}}}
            case "ghosts":
                return self.of({"systemPrompt": self.word()}, {"skills": self.of(None, self.skills())})
            case "bots":
                at = self.of("ghostRef", "shellRef", "modelRef", "modelRef")
                return {at: None if self.maybe(0.15) or at == "modelRef" else self.ref()}
            case "teams":
                return self.of(
                    {"members": self.members()}, {"collaborationModel": self.of("solo", "pipeline")}
                )
            case _:
                return self.spec(plural)

    def doc(self, among: Iterable[Key] = ()) -> Doc:
        key = self.key(among)
        return Doc(*key, self.spec(key[1]), self.labels())

    def docs(self) -> list[tuple[Doc, str]]:
        docs = [self.doc() for _ in range(self.of(1, 2, 3, 4))]
        if self.mostly():
            docs = list({doc.key: doc for doc in docs}.values())
        return [(doc, self.version()) for doc in docs]

    async def step(self, walk: Walk) -> None:
        """One more change."""
        living, graves = walk.world.living, {thing.key for thing in walk.world.graves}
        name = self.of(*STEPS)
        match name:
            case "create":
                everywhere = {doc.key for doc in EVERYTHING}
                await walk.create(self.doc(everywhere - living.keys()), self.addressed())
            case "replace":
                await walk.replace(self.doc(living), self.addressed(), self.version(), self.version())
            case "patch":
                key = self.key(living)
                await walk.patch(key, self.patch(key[1]), self.version(), self.version())
            case "delete":
                among = (walk.world.referred_from_elsewhere() if self.maybe() else None) or living
                await walk.delete(self.key(among), self.version(), cascade=self.maybe())
            case "restore":
                await walk.restore(self.key(graves - living.keys() or graves))
            case "roll back":
                key = self.key(living)
                there = living[key].generation if key in living else 1
                await walk.roll_back(
                    key, self.of(*range(1, there + 1), there + self.of(0, 1)), self.version()
                )
            case _:
                prune = self.of(None, None, None, *SELECTORS)
                await walk.apply(self.docs(), dry_run=self.maybe(1 / 3), prune=prune)


STEPS = (
    *("create",) * 4,
    *("replace",) * 4,
    *("patch",) * 5,
    *("delete",) * 3,
    *("restore",) * 3,
    *("roll back",) * 3,
    *("apply",) * 5,
)


async def tried(examine: Callable[..., Coroutine[Any, Any, None]], examples: int, **given_as: Any) -> None:
    """Lets hypothesis call what is asynchronous, in the loop of the test."""
    loop = asyncio.get_running_loop()

    def one(**values: Any) -> None:
        asyncio.run_coroutine_threadsafe(examine(**values), loop).result(60)

    await asyncio.to_thread(settings(ONCE_EACH, max_examples=examples)(given(**given_as)(one)))


class Author(Fancy):
    """Writes sets of good documents: whatever they refer to is among them, in any of its spellings."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.there: dict[str, list[tuple[str, str]]] = {plural: [] for plural in KIND_OF}
        """By plural: namespace and name."""

    def good(self) -> list[Doc]:
        docs = []
        for plural in KIND_OF:
            for space in (HOME, OTHER):
                for name in ("a", "b", "c"):
                    if self.maybe(0.6) and self._possible(plural):
                        docs.append(Doc(space, plural, name, self.good_spec(plural, space), self.labels()))
                        self.there[plural].append((space, name))
        return docs

    def _possible(self, plural: str) -> bool:
        return plural != "bots" or bool(self.there["ghosts"] and self.there["shells"])

    def good_spec(self, plural: str, space: str) -> Spec:
        """Also in short, with what is not known, and with keys in several places."""
        match plural:
            case "models":
                return self._model()
            case "shells":
                return {
                    self.of("shellType", "type", "runtime"): self.word(),
                    "description": self.of(None, "d"),
                }
            case "skills":
                version = self.of(1, 2.5, "3")
                return {"description": self.word(), "version": version, "mcpServers": self._servers()}
            case "ghosts":
                return self._ghost(space)
            case "bots":
                more = {"modelRef": self._to("models", space)} if self.there["models"] else {"modelRef": None}
                return {"ghostRef": self._to("ghosts", space), "shellRef": self._to("shells", space)} | more
            case _:
                return self._team(space)

    def _to(self, plural: str, space: str) -> Any:
        where, name = self.random.choice(self.there[plural])
        if where == space and self.maybe():
            return self.of(
                name, {"name": name}, {"name": name, "namespace": ""}, {"name": name, "namespace": None}
            )
        return {"name": name, "namespace": f"@{where}"}

    def _model(self) -> Spec:
        key = self.of(None, f"sk-live-{self.random.getrandbits(40):x}")
        if self.maybe():
            short = {"provider": "openai", "model": self.word(), "temperature": self.of(0, 1, 1.0, 0.1, 1.5)}
            return short | ({"apiKey": key} if key else {})
        odd = {"isCustomConfig": self.maybe(), "odd": [1, 2.5, None, {"deep": [True, "x\u2028y"]}]}
        return model_spec(self.word(), key) | odd

    def _servers(self) -> Any:
        if self.maybe():
            return None
        secret = f"ghp_{self.random.getrandbits(120):030x}"
        env = {"GITHUB_TOKEN": secret, "COUNT": 1, "NOTHING": None, "PLAIN": "x"}
        headers = {"Authorization": f"Bearer {secret}"}
        return {
            "one": {"command": "serve", "args": ["--api-key", secret, "-v"], "env": env},
            "two/~": {"url": "https://example.com/mcp", "headers": headers},
        }

    def _ghost(self, space: str) -> Spec:
        skills = self.random.sample(self.there["skills"], min(len(self.there["skills"]), self.of(0, 1, 2)))
        by_name = {name: where for where, name in skills}
        named: Spec = {
            name: {"namespace": f"@{w}"} for name, w in by_name.items() if w != space or self.maybe()
        }
        more = {"skills": list(by_name), "skill_refs": named} if by_name else {}
        return {"systemPrompt": "One.\n\nTwo: “three”.", "mcpServers": self._servers()} | more

    def _team(self, space: str) -> Spec:
        bots = [self._to("bots", space) for _ in range(self.of(0, 1, 2))] if self.there["bots"] else []
        if self.maybe():
            return {"bots": bots}
        members = [{"botRef": bot, "role": self.word()} for bot in bots]
        return {"members": members, "collaborationModel": self.of("solo", "pipeline")}

    def text(self, person: Person, docs: Iterable[Doc]) -> str:
        """YAML or a stream of JSON."""
        filled = [person.document(person.written_doc(doc), person.slugs[doc.space]) for doc in docs]
        if self.maybe():
            return "\n".join(json.dumps(document) for document in filled)
        return yaml.safe_dump_all(filled, sort_keys=self.maybe(), allow_unicode=self.maybe())


def actions(answer: httpx.Response) -> Counter[str]:
    assert answer.status_code == 200, answer.text
    return Counter(item["action"] for item in answer.json()["items"])


def changed(author: Author, doc: Doc) -> Doc:
    """The same, or with other labels, or another spec."""
    if author.maybe(0.3):
        return replace(doc, labels=author.labels())
    return replace(doc, spec=author.good_spec(doc.plural, doc.space)) if author.maybe(0.4) else doc
