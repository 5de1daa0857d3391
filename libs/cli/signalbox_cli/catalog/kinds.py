"""The kinds that the server has, by whatever people call them."""

from collections.abc import Sequence
from dataclasses import dataclass

from signalbox_cli.catalog.errors import Mistake
from signalbox_common.contracts.catalog import KindEntry
from signalbox_manifests import API_VERSION

ALL = "all"
TASK = KindEntry(
    kind="Task",
    plural="tasks",
    singular="task",
    short_names=(),
    api_version=API_VERSION,
    description="Work to be done: a document of it among those that are applied creates it, once.",
    refers_to=("Bot", "Team"),
)
"""No kind of the catalog: what is applied of it is no resource afterwards."""


@dataclass(frozen=True)
class Selection:
    """Resources of one kind: all of them where no name is said."""

    kind: KindEntry
    names: tuple[str, ...] = ()


def find(kinds: Sequence[KindEntry], word: str) -> KindEntry:
    """By its plural, its singular, its own name or a short one, in capitals or not."""
    wanted = word.lower()
    for kind in kinds:
        names = (kind.plural, kind.singular, kind.kind, *kind.short_names)
        if wanted in (name.lower() for name in names):
            return kind
    known = ", ".join(kind.plural for kind in kinds)
    raise Mistake(f"there is no kind {word!r}; there are {known}")


def select(kinds: Sequence[KindEntry], words: Sequence[str]) -> list[Selection]:
    """What `KIND [NAME…]` or `KIND/NAME…` asks for; `KIND,KIND` are several kinds, `all` is every one."""
    if any("/" in word for word in words):
        return _by_pairs(kinds, words)
    if not words:
        raise Mistake("say of which kind: `signalbox kinds` lists what there is")
    head, *names = words
    if head.lower() == ALL:
        found = list(kinds)
    else:
        found = list(dict.fromkeys(find(kinds, word) for word in head.split(",") if word))
    if not found:
        raise Mistake(f"{head!r} names no kind")
    return [Selection(kind, tuple(dict.fromkeys(names))) for kind in found]


def _by_pairs(kinds: Sequence[KindEntry], words: Sequence[str]) -> list[Selection]:
    found: dict[KindEntry, dict[str, None]] = {}
    for word in words:
        kind, slash, name = word.partition("/")
        if not (kind and slash and name):
            raise Mistake(f"{word!r} is not KIND/NAME, as the others are")
        found.setdefault(find(kinds, kind), {})[name] = None
    return [Selection(kind, tuple(names)) for kind, names in found.items()]


def named(kinds: Sequence[KindEntry], words: Sequence[str]) -> list[tuple[KindEntry, str]]:
    """The same, where names have to be said."""
    pairs = [(each.kind, name) for each in select(kinds, words) for name in each.names]
    if not pairs:
        raise Mistake("say which one: KIND NAME, or KIND/NAME")
    return pairs


def one(kinds: Sequence[KindEntry], words: Sequence[str]) -> tuple[KindEntry, str]:
    pairs = named(kinds, words)
    if len(pairs) > 1:
        raise Mistake("this is done to one resource at a time")
    return pairs[0]


def depth(kinds: Sequence[KindEntry], kind: str) -> int:
    """Higher for what refers to others: to be deleted before them."""
    refers = {each.kind: each.refers_to for each in kinds}

    def below(name: str, above: frozenset[str]) -> int:
        others = [each for each in refers.get(name, ()) if each not in above]
        return 1 + max((below(each, above | {name}) for each in others), default=0)

    return below(kind, frozenset({kind}))
