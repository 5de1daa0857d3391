"""Kinds by whatever people call them, and resources as rows."""

from datetime import UTC, datetime, timedelta

import pytest

from signalbox_cli.catalog import kinds
from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.formatting import Columns, age, harmless, lined_up, on_one_line
from signalbox_cli.catalog.kinds import Selection
from signalbox_cli.catalog.tables import Layout, cell
from signalbox_common.contracts.catalog import KindEntry, Resource

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def kind(name: str, *short: str, refers_to: tuple[str, ...] = ()) -> KindEntry:
    return KindEntry(
        kind=name,
        plural=f"{name.lower()}s",
        singular=name.lower(),
        short_names=short,
        api_version="signalbox.dev/v1",
        description="",
        refers_to=refers_to,
    )


GHOST, BOT = kind("Ghost", "gh", refers_to=("Skill",)), kind("Bot", refers_to=("Ghost", "Shell"))
SKILL, TEAM = kind("Skill", "sk"), kind("Team", refers_to=("Bot",))
KINDS = (TEAM, SKILL, GHOST, BOT)


def bot(name: str = "b", **spec: object) -> Resource:
    return Resource.model_validate(
        {
            "apiVersion": "signalbox.dev/v1",
            "kind": "Bot",
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": "0198c0de-0000-7000-8000-000000000000",
                "labels": {"b": "2", "a": "1"},
                "createdBy": "0198c0de-0000-7000-8000-000000000001",
                "createdAt": (NOW - timedelta(hours=3)).isoformat(),
                "updatedAt": NOW.isoformat(),
                "generation": 3,
                "resourceVersion": "17",
            },
            "spec": spec,
            "status": {"state": "Available"},
        }
    )


@pytest.mark.parametrize("word", ["ghosts", "ghost", "Ghost", "GHOSTS", "gh", "GH"])
def test_a_kind_has_many_names(word: str) -> None:
    assert kinds.find(KINDS, word) is GHOST


def test_what_is_no_kind_is_told_with_those_that_there_are() -> None:
    with pytest.raises(Mistake, match="there is no kind 'bott'; there are teams, skills, ghosts, bots"):
        kinds.find(KINDS, "bott")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["bots"], [Selection(BOT)]),
        (["bot", "a", "b", "a"], [Selection(BOT, ("a", "b"))]),
        (["bots,gh,ghosts"], [Selection(BOT), Selection(GHOST)]),
        (["ALL"], [Selection(each) for each in KINDS]),
        (["bot/a", "gh/x", "bots/b"], [Selection(BOT, ("a", "b")), Selection(GHOST, ("x",))]),
    ],
)
def test_what_people_ask_for(words: list[str], found: list[Selection]) -> None:
    assert kinds.select(KINDS, words) == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say of which kind"),
        ([","], "names no kind"),
        (["bot/a", "b"], "'b' is not KIND/NAME"),
        (["bot/"], "'bot/' is not KIND/NAME"),
    ],
)
def test_what_people_cannot_mean(words: list[str], said: str) -> None:
    with pytest.raises(Mistake, match=said):
        kinds.select(KINDS, words)


def test_one_is_one() -> None:
    assert kinds.one(KINDS, ["bot/a"]) == (BOT, "a")
    for words, said in ((["bots"], "say which one"), (["bot", "a", "b"], "one resource at a time")):
        with pytest.raises(Mistake, match=said):
            kinds.one(KINDS, words)


def test_who_refers_lies_deeper() -> None:
    ordered = sorted(KINDS, key=lambda each: -kinds.depth(KINDS, each.kind))
    assert ordered == [TEAM, BOT, GHOST, SKILL]
    circle = (kind("A", refers_to=("B",)), kind("B", refers_to=("A", "B")))
    assert kinds.depth(circle, "A") > 0, "it comes to an end"


def test_rows_have_what_says_most() -> None:
    one = bot(ghostRef={"name": "g"}, shellRef={"name": "s"})
    plain = Layout("Bot")
    assert plain.header() == ["NAME", "GHOST", "SHELL", "MODEL", "AGE"]
    assert plain.row(one, NOW) == ["b", "g", "s", "-", "3h"]
    full = Layout("Bot", wide=True, namespaces=True, labels=True, kinds=True, deleted=True, events=True)
    assert dict(zip(full.header(), full.row(one, NOW, "ADDED"), strict=True)) == {
        "EVENT": "ADDED",
        "NAMESPACE": "team",
        "NAME": "bot/b",
        "GHOST": "g",
        "SHELL": "s",
        "MODEL": "-",
        "DISPLAY NAME": "-",
        "GENERATION": "3",
        "VERSION": "17",
        "STATE": "Available",
        "DESCRIPTION": "-",
        "AGE": "3h",
        "DELETED": "-",
        "LABELS": "a=1,b=2",
    }


def test_a_kind_that_nobody_knows_has_a_description() -> None:
    assert Layout("Gadget").header() == ["NAME", "DESCRIPTION", "AGE"]
    assert Layout("Gadget").row(bot(description="of use"), NOW) == ["b", "of use", "3h"]


@pytest.mark.parametrize(
    ("pointer", "shown"),
    [
        ("/a/*/b", "x,y"),
        ("/list", "1,true"),
        ("/none", "-"),
        ("/absent/deep", "-"),
        ("/zero", "0"),
        ("/long", "aaaaa…"),
        ("/list/x", "-"),
    ],
)
def test_cells_are_short(pointer: str, shown: str) -> None:
    document = {
        "a": [{"b": "x"}, {}, {"b": "y"}, "z"],
        "list": [1, True],
        "none": None,
        "zero": 0,
        "long": "aaaaaaaaaa",
    }
    assert cell(document, pointer, 6) == shown


def test_columns_stand_below_each_other() -> None:
    assert lined_up([["NAME", "AGE"], ["数字", "1d"], ["long-name", "2d"]]) == [
        "NAME        AGE",
        "数字        1d",
        "long-name   2d",
    ]
    columns = Columns()
    columns.make_room([["NAME", "AGE"]])
    assert columns.line(["a", "1d"]) == "a      1d"
    assert columns.line(["longer", "1d"]) == "longer   1d"
    assert columns.line(["a", "1d"]) == "a        1d"


def test_what_others_wrote_moves_no_cursor() -> None:
    assert harmless("a\x1b[2J\x9bb\n\tc") == "a�[2J�b\n\tc"
    assert on_one_line("  a\n\n b\x07 ") == "a b�"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 120, "3h2m"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (400 * 86400, "400d"),
        (3 * 365 * 86400 + 86400, "3y1d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_ages_are_as_kubectl_writes_them(seconds: int, shown: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == shown
