"""Labels and their selectors."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_catalog.domain.labels import (
    MOST_LABELS,
    Operator,
    Requirement,
    check_labels,
    format_selector,
    matches,
    parse_selector,
)
from signalbox_catalog.errors import BadInput

ALPHANUMERIC = string.ascii_letters + string.digits
NAMES = st.from_regex(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,8}[A-Za-z0-9])?", fullmatch=True)
PREFIXES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,4}[a-z0-9])?(\.[a-z]{1,4}){0,2}", fullmatch=True)
KEYS = st.one_of(
    NAMES, st.builds("{}/{}".format, PREFIXES, NAMES), st.sampled_from(["in", "notin", "exists"])
)
VALUES = st.one_of(st.just(""), NAMES)
REQUIREMENTS = st.one_of(
    st.builds(
        Requirement,
        KEYS,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.frozensets(VALUES, min_size=1, max_size=3),
    ),
    st.builds(Requirement, KEYS, st.sampled_from([Operator.EXISTS, Operator.ABSENT])),
)


def one(key: str, operator: Operator, *values: str) -> Requirement:
    return Requirement(key, operator, frozenset(values))


@pytest.mark.parametrize(
    "key",
    ["a", "A1", "app.kubernetes.io/name", "a-b_c.d", "a" * 63, f"{'a' * 253}/x", "1/2", "a--b.c/x"],
)
def test_good_keys(key: str) -> None:
    assert check_labels({key: "x"}, "metadata.labels") == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "-a",
        "a-",
        "a b",
        "a\n",
        "ä",
        "a" * 64,
        "/a",
        "a/",
        "a/b/c",
        "A.b/c",
        "a..b/c",
        "-a/c",
        f"{'a' * 254}/x",
    ],
)
def test_bad_keys(key: str) -> None:
    (flaw,) = check_labels({key: "x"}, "metadata.labels")
    assert flaw.code == "bad_label_key"
    assert flaw.field.startswith("metadata.labels.")
    assert len(flaw.message) < 400


@pytest.mark.parametrize("value", ["", "x", "1.2", "a_b-c", "a" * 63])
def test_good_values(value: str) -> None:
    assert check_labels({"a": value}, "metadata.labels") == []


@pytest.mark.parametrize("value", [" ", "-", "a-", "a\n", "ü", "a/b", "a" * 64, "x" * 10_000, 1, True, None])
def test_bad_values(value: object) -> None:
    (flaw,) = check_labels({"a": value}, "metadata.labels")
    assert (flaw.code, flaw.field) == ("bad_label_value", "metadata.labels.a")
    assert len(flaw.message) < 400


def test_every_flaw_is_told() -> None:
    flaws = check_labels({"-": "-", "a": "b", "c": "-"}, "labels")
    assert [(flaw.field, flaw.code) for flaw in flaws] == [
        ("labels.-", "bad_label_key"),
        ("labels.-", "bad_label_value"),
        ("labels.c", "bad_label_value"),
    ]


def test_there_is_a_most_of_labels() -> None:
    labels = {f"l{number}": "" for number in range(MOST_LABELS + 1)}
    (flaw,) = check_labels(labels, "metadata.labels")
    assert (flaw.code, flaw.field) == ("too_many_labels", "metadata.labels")
    labels.popitem()
    assert check_labels(labels, "metadata.labels") == []


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("", ()),
        ("  \n", ()),
        ("a=b", (one("a", Operator.IN, "b"),)),
        ("a==b", (one("a", Operator.IN, "b"),)),
        (" a = b ", (one("a", Operator.IN, "b"),)),
        ("a=", (one("a", Operator.IN, ""),)),
        ("a!=b", (one("a", Operator.NOT_IN, "b"),)),
        ("a != b", (one("a", Operator.NOT_IN, "b"),)),
        ("a in (x,y)", (one("a", Operator.IN, "x", "y"),)),
        ("a  in( x , y )", (one("a", Operator.IN, "x", "y"),)),
        ("a in (x,)", (one("a", Operator.IN, "x", ""),)),
        ("a in ()", (one("a", Operator.IN, ""),)),
        ("a notin (x,y)", (one("a", Operator.NOT_IN, "x", "y"),)),
        ("a", (one("a", Operator.EXISTS),)),
        ("! a", (one("a", Operator.ABSENT),)),
        ("in in (in)", (one("in", Operator.IN, "in"),)),
        ("notin", (one("notin", Operator.EXISTS),)),
        (
            "a in (x,y),!b , x.io/c!=d,e",
            (
                one("a", Operator.IN, "x", "y"),
                one("b", Operator.ABSENT),
                one("x.io/c", Operator.NOT_IN, "d"),
                one("e", Operator.EXISTS),
            ),
        ),
    ],
)
def test_selectors(text: str, requirements: tuple[Requirement, ...]) -> None:
    assert parse_selector(text) == requirements


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a,", "'a,'"),
        (",a", "',a'"),
        ("a,,b", "'a,,b'"),
        ("a b", "'a b'"),
        ("x,a>1", "'a>1'"),
        ("a===b", "'a===b'"),
        ("!a=b", "'!a=b'"),
        ("!!a", "'!!a'"),
        ("=b", "'=b'"),
        ("a in x", "'a in x'"),
        ("a in (x", "'a in (x'"),
        ("a in (x,y", "'a in (x'"),
        ("ok,a in (x))", "'a in (x))'"),
        ("a in (x y)", "'x y'"),
        ("a ni (x)", "'a ni (x)'"),
        ("-a=b", "'-a'"),
        ("a=-b", "'-b'"),
        ("a/b/c", "'a/b/c'"),
        ("ä", "'ä'"),
        ("a" * 1001, "1000"),
        (",".join("a" * 21), "20"),
    ],
)
def test_what_is_not_understood_is_shown(text: str, shown: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_selector(text)
    (flaw,) = raised.value.flaws
    assert (flaw.code, flaw.field) == ("bad_selector", "labelSelector")
    assert shown in flaw.message
    assert flaw.message.endswith(".")


@given(st.text(alphabet="ab,!=() \nin/-", max_size=40))
def test_anything_else_is_flawed(text: str) -> None:
    try:
        requirements = parse_selector(text)
    except BadInput:
        return
    assert parse_selector(format_selector(requirements)) == requirements


@given(st.lists(REQUIREMENTS, max_size=6).map(tuple))
def test_what_is_written_reads_the_same(requirements: tuple[Requirement, ...]) -> None:
    assert parse_selector(format_selector(requirements)) == requirements


def test_the_canonical_form() -> None:
    text = "a in (y,x,x), b in (z), c notin (z), d notin (y,x), !e, f, g=="
    assert format_selector(parse_selector(text)) == "a in (x,y),b=z,c!=z,d notin (x,y),!e,f,g="


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {"a": "c"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a!=b", {}, True),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in (b,c)", {"a": "d"}, False),
        ("a in (b,c)", {}, False),
        ("a notin (b,c)", {"a": "d"}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a notin (b,c)", {}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("!a", {"a": ""}, False),
        ("a=b,!c", {"a": "b"}, True),
        ("a=b,!c", {"a": "b", "c": ""}, False),
    ],
)
def test_matching(selector: str, labels: dict[str, str], expected: bool) -> None:
    assert matches(parse_selector(selector), labels) is expected


@given(st.dictionaries(KEYS, VALUES, max_size=4), KEYS, st.frozensets(VALUES, min_size=1, max_size=3))
def test_one_operator_holds_where_its_opposite_does_not(
    labels: dict[str, str], key: str, values: frozenset[str]
) -> None:
    def holds(operator: Operator) -> bool:
        return matches([Requirement(key, operator, values)], labels)

    assert holds(Operator.IN) != holds(Operator.NOT_IN)
    assert holds(Operator.EXISTS) != holds(Operator.ABSENT)
