"""Files of documents, joined into the text that is sent: every line finds back to its file."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import signalbox_manifests
from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.sources import JoinedText, Source, collect, join
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.catalog import MAX_TEXT
from signalbox_manifests import Document, ManifestError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc-é/", min_size=1, max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


def read(whole: JoinedText) -> list[Document]:
    """As the server does."""
    return signalbox_manifests.read(whole.text.encode())


def where(whole: JoinedText, name: str) -> str:
    """The file and line of the document with that name."""
    found = next(each for each in read(whole) if each.content["name"] == name)
    return str(whole.place(found.line_of(("name",))))


def test_every_line_finds_back_to_its_file() -> None:
    whole = join(
        [
            Source("a.yaml", "# about\nname: one\n---\n\nname: two\n"),
            Source("b.yaml", "---\nname: three"),
            Source("c.json", '{\n  "name":\n    "four"\n}\n{"name": "five"}\n'),
            Source("d.yaml", "name: six\ntext: |\n  long\n\n"),
            Source("empty.yaml", "# nothing but remarks\n\n"),
            Source("e.yaml", "name: seven\n...\n\n# that is all\n"),
            Source("f.yaml", "%YAML 1.2\n---\nname: eight\n"),
            Source("g.yaml", "name: nine\n"),
        ]
    )
    places = {each.content["name"]: where(whole, each.content["name"]) for each in read(whole)}
    assert places == {
        "one": "a.yaml:2",
        "two": "a.yaml:5",
        "three": "b.yaml:2",
        "four": "c.json:2",
        "five": "c.json:5",
        "six": "d.yaml:1",
        "seven": "e.yaml:1",
        "eight": "f.yaml:3",
        "nine": "g.yaml:1",
    }


def test_directives_may_begin_any_file() -> None:
    directive = "%YAML 1.2\n---\nname: x\n"
    whole = join([Source(f"{n}.yaml", directive) for n in range(3)])
    assert [str(whole.place(each.line_of(()))) for each in read(whole)] == [
        "0.yaml:3",
        "1.yaml:3",
        "2.yaml:3",
    ]


def test_one_file_alone_is_sent_as_it_is() -> None:
    text = "# first\nname: a\n---\nname: b\n"
    assert join([Source("x.yaml", text)]).text == text


def test_what_is_broken_is_found_in_its_own_file() -> None:
    whole = join([Source("good.yaml", "name: a\n"), Source("bad.yaml", "name: b\n\tother: [\n")])
    with pytest.raises(ManifestError) as caught:
        read(whole)
    line = caught.value.flaws[0].line
    assert line is not None
    assert str(whole.place(line)) == "bad.yaml:2"


@given(value=st.dictionaries(st.text("ab", min_size=1), JSON, min_size=1), indent=st.sampled_from([None, 2]))
def test_json_says_the_same_between_yaml(value: dict[str, object], indent: int | None) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        found = read(join([Source("a.yaml", "name: first\n"), Source("b.json", text)]))
        assert found[1].content == value


def test_what_only_json_allows_is_written_for_yaml() -> None:
    text = '{\n\t"a"\n\t:\t"\\ud83d\\ude00 \\/ \\u2028",\r\n"b": "\x7f\u2028"}'
    found = read(join([Source("a.yaml", "name: x"), Source("b.json", text.replace("\r\n", "\n"))]))
    assert found[1].content == {"a": "😀 / \u2028", "b": "\x7f\u2028"}


def test_a_list_is_what_is_in_it() -> None:
    items = [{"name": "one", "text": "a\nb"}, {"name": "two", "when": "2024-01-01"}]
    text = json.dumps({"kind": "List", "items": items}, indent=1)
    whole = join([Source("a.yaml", "name: zero\n"), Source("list.json", text)])
    assert [each.content for each in read(whole)][1:] == items
    assert where(whole, "two") == "list.json:9"
    assert text.split("\n")[8].strip() == '"name": "two",'


@pytest.mark.parametrize(
    ("text", "line"), [('{"a": 1\n,}', 2), ('{"a": 1}\n\n{"b" 2}', 3), ('{"a": NaN}', 1), ("[1, 2", 1)]
)
def test_broken_json_is_named(text: str, line: int) -> None:
    with pytest.raises(Mistake, match=f"^x.json:{line}: this is not valid JSON"):
        join([Source("x.json", text)])
    as_yaml = join([Source("x.yaml", text)])
    assert as_yaml.text == f"{text}\n", "elsewhere it may be YAML, which is for the server to say"


def test_errors_name_file_and_line() -> None:
    whole = join([Source("a.yaml", "x: 1\ny: 2"), Source("teams.yaml", "x: 1\ny: 2\n")])
    error = FieldError(field="spec.members.0.botRef", message="There is no bot x.", code="c", line=5)
    assert whole.located(error) == "teams.yaml:2: spec.members.0.botRef: There is no bot x."
    assert whole.located(FieldError(field="", message="No.", code="c", line=99)) == "teams.yaml:2: No."
    assert whole.located(FieldError(field="labelSelector", message="No.", code="c")) == "labelSelector: No."


def test_too_much_is_not_sent(tmp_path: Path) -> None:
    half = Source("half.yaml", f"text: {'é' * (MAX_TEXT // 4)}\n")
    assert join([half]).lines
    with pytest.raises(Mistake, match="1,048,576 is the most at once: apply them in parts"):
        join([half, half])
    (tmp_path / "big.yaml").write_bytes(b"a" * (MAX_TEXT + 1))
    with pytest.raises(Mistake, match=r"big\.yaml is larger than 1 MiB"):
        collect([str(tmp_path / "big.yaml")])


def test_directories_are_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.yaml", "a/z.yml", "a/b/c.json", "notes.md", "c.yaml~"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    found = collect([str(tmp_path)])
    assert [Path(source.name).relative_to(tmp_path).as_posix() for source in found] == [
        "a/b/c.json",
        "a/z.yml",
        "b.yaml",
    ]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfname: x\r\nb: 1\r")))
    assert collect(["-"]) == [Source("stdin", "name: x\nb: 1\n")]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "empty").mkdir()
    for name, words in {
        "latin.yaml": r"latin\.yaml:2: the text is not UTF-8",
        "absent.yaml": r"absent\.yaml cannot be read: No such file",
        "empty": r"there is no \.yaml, \.yml, \.json file in",
    }.items():
        with pytest.raises(Mistake, match=words):
            collect([str(tmp_path / name)])
    with pytest.raises(Mistake, match="once only"):
        collect(["-", "-"])
    with pytest.raises(Mistake, match=r"no documents in a\.yaml, b\.yaml"):
        join([Source("a.yaml", ""), Source("b.yaml", "# nothing\n")])
