"""Packages of skills: their front matter, bombs, and any package that is well formed."""

import hashlib
import io
import json
import struct
import time
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from signalbox_catalog.domain.archives import CHUNK
from signalbox_catalog.domain.packages import (
    MAX_FILES,
    MAX_FRONT_MATTER,
    MAX_SKILL_MD,
    Package,
    inspect,
)
from signalbox_catalog.errors import BadInput
from tests.support.archives import (
    END,
    MD,
    MIB,
    SKILL,
    UNICODE_PATH,
    UNIX_TIME,
    WIDE,
    Part,
    both,
    central_of,
    deflated,
    described,
    flaw_of,
    zip64,
    zipped,
)


def skill_md(front_matter: str | bytes) -> bytes:
    text = front_matter if isinstance(front_matter, bytes) else front_matter.encode()
    return zipped(Part("SKILL.md", b"---\n" + text + b"\n---\n"))


# -- front matter -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "root"),
    [
        (["SKILL.md"], ""),
        (["SKILL.md", "sub/SKILL.md"], ""),
        (["sub/SKILL.md", "SKILL.md", "other/a"], ""),
        (["sub/SKILL.md", "sub/a/b"], "sub/"),
        (["sub/SKILL.md", "sub/sub/SKILL.md"], "sub/"),
        (["sub/SKILL.md", "__MACOSX/sub/._SKILL.md", ".DS_Store", "sub/.DS_Store"], "sub/"),
        (["SKILL.md/SKILL.md"], "SKILL.md/"),
        (["sub/a/SKILL.md"], None),
        (["sub/SKILL.md", "other/a"], None),
        (["sub/SKILL.md", "a"], None),
        (["skill.md"], None),
        (["sub/Skill.md"], None),
        (["SKILL.md/"], None),
        (["__MACOSX/SKILL.md"], None),
        (["README.md"], None),
        ([], None),
    ],
)
def test_the_skill_lies_at_the_top_or_in_the_single_folder(names: list[str], root: str | None) -> None:
    raw = zipped(*(Part(name, b"" if name.endswith("/") else MD, mode=0) for name in names))
    if root is None:
        assert flaw_of(raw)[:2] == ("no_skill_md", "SKILL.md")
        return
    package = inspect(raw)
    assert package.root == root
    litter = {name for name in names if "__MACOSX" in name or ".DS_Store" in name}
    assert [file.path for file in package.files] == sorted(set(names) - litter)
    assert all(file.path.startswith(root) for file in package.files)


OK = "description: x\n"
DEEP = OK + "a: " + "[" * 16 + "]" * 16
FRONT_MATTER: list[tuple[str, bytes, int | None]] = [
    ("skill_md_too_large", zipped(Part("SKILL.md", MD + bytes(MAX_SKILL_MD))), None),
    ("skill_md_not_utf8", zipped(Part("SKILL.md", MD + b"\xff")), None),
    ("skill_md_not_utf8", zipped(Part("SKILL.md", MD.decode().encode("utf-16"))), None),
    ("no_front_matter", zipped(Part("SKILL.md", b"")), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"# Greeter\n")), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"---\ndescription: x\n")), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"\n" + MD)), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"\xef\xbb\xbf" + MD)), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b"----\ndescription: x\n----\n")), 1),
    ("no_front_matter", zipped(Part("SKILL.md", b" ---\ndescription: x\n ---\n")), 1),
    ("front_matter_not_mapping", skill_md(""), 2),
    ("front_matter_not_mapping", skill_md("# only a comment"), 2),
    ("front_matter_not_mapping", skill_md("- description"), 2),
    ("front_matter_not_mapping", skill_md("description"), 2),
    ("front_matter_bad_yaml", skill_md(OK + "a: [1"), 4),
    ("front_matter_bad_yaml", skill_md(OK + "a: b: c"), 3),
    ("front_matter_bad_yaml", skill_md(OK + "\ta: 1"), 3),
    ("front_matter_bad_yaml", skill_md(OK + "a: \x07"), None),
    ("front_matter_bad_yaml", skill_md(OK + 'a: "\\ud800"'), 3),
    ("front_matter_bad_yaml", skill_md(OK + "...\na: 1"), 4),
    ("front_matter_bad_yaml", skill_md(OK + "--- {a: 1}"), 3),
    ("front_matter_bad_yaml", skill_md(OK + "\r---\ra: 1"), 4),
    ("front_matter_alias", skill_md(OK + "a: &a [1]\nb: *a"), 3),
    ("front_matter_alias", skill_md("&a description: x"), 2),
    ("front_matter_alias", skill_md(OK + "a: *nowhere"), 3),
    ("front_matter_bad_key", skill_md(OK + "<<: {a: 1}"), 3),
    ("front_matter_bad_key", skill_md(OK + "? [a]\n: 1"), 3),
    ("front_matter_bad_key", skill_md(OK + "a: {{b: 1}: 2}"), 3),
    ("front_matter_duplicate_key", skill_md(OK + "description: y"), 3),
    ("front_matter_duplicate_key", skill_md(OK + "a:\n  b: 1\n  'b': 2"), 5),
    ("front_matter_tag", skill_md(OK + "a: !!python/object/apply:os.system [id]"), 3),
    ("front_matter_tag", skill_md(OK + "a: !!binary aGk="), 3),
    ("front_matter_tag", skill_md(OK + "a: !!set {b}"), 3),
    ("front_matter_tag", skill_md(OK + "a: ! b"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: .nan"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: -.inf"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: 1.0e+999"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: 9223372036854775808"), 3),
    ("front_matter_bad_value", skill_md(OK + "a: " + "9" * 5000), 3),
    ("front_matter_bad_value", skill_md(OK + "a: 0x" + "f" * 5000), 3),
    ("front_matter_bad_value", skill_md(OK + "a: 0x_"), 3),
    ("front_matter_bad_value", skill_md(OK + 'a: "\\0"'), 3),
    ("front_matter_bad_value", skill_md(OK + '"\\0": a'), 3),
    ("front_matter_too_deep", skill_md(DEEP), 3),
    ("front_matter_too_deep", skill_md(OK + "a: " + "[" * 60_000), 3),
    ("front_matter_too_deep", skill_md(OK + "a:\n  " + "- " * 30_000), 4),
    ("front_matter_too_large", skill_md(OK + "#" * (MAX_FRONT_MATTER - len(OK) + 1)), 1),
    ("front_matter_too_large", skill_md(OK + "a: [" + "1," * 3993 + "]"), 4),
    ("front_matter_no_description", skill_md("name: x"), 1),
    ("front_matter_no_description", skill_md("{}"), 1),
    ("front_matter_bad_description", skill_md("description:"), None),
    ("front_matter_bad_description", skill_md("description: ' '"), None),
    ("front_matter_bad_description", skill_md("description: [x]"), None),
    ("front_matter_bad_description", skill_md("description: 1"), None),
    ("front_matter_bad_name", skill_md(OK + "name: ''"), None),
    ("front_matter_bad_name", skill_md(OK + "name: yes"), None),
    ("front_matter_bad_name", skill_md(OK + "name: ~"), None),
]


@pytest.mark.parametrize(
    ("code", "raw", "line"),
    [pytest.param(*case, id=f"{case[0]}-{number}") for number, case in enumerate(FRONT_MATTER)],
)
def test_a_skill_md_that_nobody_could_use_is_refused(code: str, raw: bytes, line: int | None) -> None:
    found, path, message, where = flaw_of(raw)
    assert (found, path, where) == (code, "SKILL.md", line), message
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2024-01-01", "2024-01-01"),
        ("a: 2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
        ("a: 1.5", 1.5),
        ("a: -9223372036854775807", -9223372036854775807),
        ("a: [yes, no, ~, '1', =]", [True, False, None, "1", "="]),
        ("a: {on: 1, 2: x, ~: y}", {"on": 1, "2": "x", "~": "y"}),
        ("a: |\n  one\n  two\n", "one\ntwo\n"),
        ("a: " + "[" * 15 + "]" * 15, json.loads("[" * 15 + "]" * 15)),
        ("a: [" + "1," * 3992 + "]", [1] * 3992),
        ("a: 1\n" + "#" * (MAX_FRONT_MATTER - len(OK) - 5), 1),
        ('a: "\\ud83d"'.replace("\\ud83d", "\\U0001F600"), "😀"),
    ],
)
def test_front_matter_is_what_json_can_say(text: str, value: Any) -> None:
    assert inspect(skill_md(f"{OK}{text}")).front_matter["a"] == value


def test_what_is_wrong_with_the_yaml_is_said() -> None:
    assert "not good YAML: mapping values are not allowed" in flaw_of(skill_md(OK + "a: b: c"))[2]
    assert "a character that YAML does not allow" in flaw_of(skill_md(OK + "a: \x07"))[2]


def test_a_comment_is_no_zip64_locator() -> None:
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 1, 0, 1)
    assert flaw_of(zipped(comment=locator))[0] == "no_skill_md"


def test_front_matter_may_have_the_line_ends_of_windows_and_text_around_it_that_is_cut() -> None:
    package = inspect(
        zipped(Part("SKILL.md", b"--- \r\ndescription: |\r\n  Greets.\r\n\r\n---\t\r\nbody\n---\n"))
    )
    assert (package.name, package.description) == (None, "Greets.")
    assert package.front_matter == {"description": "Greets.\n"}


# -- bombs ------------------------------------------------------------------------------------------------


def bomb_that_lies() -> bytes:
    """Says that it is small, and has sixty MiB in it."""
    return zipped(SKILL, replace(both(Part(), size=1000), packed=deflated(bytes(60 * MIB))))


def directory_without_end() -> bytes:
    """A central directory of nine MiB that says that it is short."""
    entry = central_of(Part("", b""), 0)
    directory = entry * (9 * MIB // len(entry))
    return directory + END.pack(b"PK\x05\x06", 0, 0, MAX_FILES, MAX_FILES, len(directory), 0, 0)


def longest_paths() -> bytes:
    stem = "/".join(["ΐ" * 30] * 15)
    return zipped(SKILL, *(Part(f"{n:04}{stem}", b"", mode=0) for n in range(MAX_FILES - 1)))


@pytest.mark.parametrize(
    ("build", "code", "most"),
    [
        (bomb_that_lies, "zip_wrong_size", 6 * CHUNK),
        (directory_without_end, "zip_headers_disagree", CHUNK),
        (lambda: zipped(SKILL, *(Part(f"f{n}", bytes(MIB)) for n in range(63))), None, 8 * CHUNK),
        (longest_paths, None, 12 * MIB),  # the names alone are three MiB
        (lambda: skill_md(OK + "a: [" + "[]," * 20_000 + "]"), "front_matter_too_large", 8 * MIB),
    ],
)
def test_a_bomb_takes_little_memory_and_time(build: Callable[[], bytes], code: str | None, most: int) -> None:
    raw = build()
    tracemalloc.start()
    started = time.process_time()
    try:
        before, _ = tracemalloc.get_traced_memory()
        if code is None:
            inspect(raw)
        else:
            assert flaw_of(raw)[0] == code
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < most
    assert time.process_time() - started < 10  # far more than it takes, far less than a bomb wants


# -- any package ------------------------------------------------------------------------------------------
CHARACTERS = st.characters(categories=("L", "M", "N", "P", "S"), exclude_characters="/\\:")
NAMES = st.text(CHARACTERS | st.just(" "), min_size=1, max_size=12).filter(
    lambda name: name.strip(" ") == name and not name.endswith(".") and name not in {".DS_Store", "__MACOSX"}
)
PATHS_OF_FILES = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
CONTENTS = st.binary(max_size=200) | st.binary(min_size=1, max_size=4).map(lambda seed: seed * 100_000)


def folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def fitting(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those that can lie beside each other everywhere."""
    spelled: dict[str, str] = {}
    chosen: dict[str, bytes] = {}
    for path, content in files.items():
        prefixes = [path[:at] + "/" for at, c in enumerate(path) if c == "/"]
        as_folder, as_file = folded(path) + "/", folded(path)
        clash = as_folder in spelled or as_file in spelled
        for prefix in prefixes:
            clash |= spelled.get(folded(prefix), prefix) != prefix or folded(prefix[:-1]) in spelled
        if not clash:
            spelled |= {folded(prefix): prefix for prefix in prefixes} | {as_file: path}
            chosen[path] = content
    return chosen


@given(
    st.dictionaries(PATHS_OF_FILES, st.tuples(CONTENTS, st.booleans()), max_size=8),
    st.just("") | NAMES.map(lambda name: f"{name}/"),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_every_well_formed_skill_is_listed_as_it_is(
    given_files: dict[str, tuple[bytes, bool]], root: str, method: int, streamed: bool
) -> None:
    executable = {f"{root}{path}": flag for path, (_, flag) in given_files.items()}
    wanted = {f"{root}{path}": content for path, (content, _) in given_files.items()}
    wanted.pop(f"{root}SKILL.md", None)
    files = fitting({f"{root}SKILL.md": MD} | wanted)
    buffer = Pipe() if streamed else io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, content in files.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = (0o100755 if executable.get(path) else 0o100644) << 16
            archive.writestr(info, content, method)
    package = inspect(buffer.getvalue())
    assert package.root == root
    assert package.unpacked == sum(map(len, files.values()))
    assert [(f.path, f.size, f.executable, f.sha256) for f in package.files] == [
        (path, len(files[path]), bool(executable.get(path)), hashlib.sha256(files[path]).hexdigest())
        for path in sorted(files)
    ]


class Pipe(io.BytesIO):
    """Somewhere to write to without going back, so that data descriptors are needed."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise io.UnsupportedOperation

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise io.UnsupportedOperation


def outcome(raw: bytes) -> Package | str:
    """The package, or the code of its flaw."""
    try:
        return inspect(raw)
    except BadInput as refused:
        return refused.flaws[0].code


def agrees(raw: bytes) -> None:
    """Refused with a flaw, or accepted and seen by `zipfile` just the same."""
    package = outcome(raw)
    if isinstance(package, str):
        return
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        found = {i.filename: archive.read(i) for i in archive.infolist() if not i.is_dir()}
    assert {file.path: file.sha256 for file in package.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in found.items()
    }


GOOD = [
    zipped(SKILL, Part("a/b.sh", b"echo " * 9, mode=0o100755), both(Part(), extra=UNIX_TIME + UNICODE_PATH)),
    zip64(described(Part(), "<3L", b"PK\x07\x08"), Part("é/", b"", mode=0o040755), SKILL),
    zipped(both(Part(), **WIDE), replace(SKILL, method=0), comment=b"comment"),
]


@given(st.binary(max_size=500), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06"]))
@settings(max_examples=300)
def test_random_bytes_are_only_ever_refused(noise: bytes, mark: bytes) -> None:
    for raw in (mark + noise, noise + mark + noise[:18]):
        with pytest.raises(BadInput):
            inspect(raw)


@pytest.mark.parametrize("good", GOOD)
def test_every_single_byte_that_is_changed_or_missing_is_noticed_or_does_not_matter(good: bytes) -> None:
    inspect(good)
    for at in range(len(good)):
        for changed in (0x00, 0x01, 0x80, 0xFF):
            agrees(good[:at] + bytes([good[at] ^ changed or changed]) + good[at + 1 :])
        agrees(good[:at] + good[at + 1 :])
        with pytest.raises(BadInput):
            inspect(good[:at])


@given(
    st.sampled_from(GOOD),
    st.lists(
        st.tuples(st.integers(0, 2**16), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=6
    ),
)
@settings(max_examples=500)
@example(GOOD[0], [(0, b"", 0)])
def test_what_was_tampered_with_is_refused_or_read_as_others_read_it(
    good: bytes, changes: list[tuple[int, bytes, int]]
) -> None:
    raw = good
    for at, put, length in changes:
        place = at % len(good)
        raw = raw[:place] + put + raw[place + length :]
    agrees(raw)


class Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-1e18, 1e18) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(TEXTS.filter(lambda key: key not in {"name", "description"}), VALUES, max_size=5))
@settings(max_examples=200)
def test_front_matter_comes_back_as_it_was_written(values: dict[str, Any]) -> None:
    values = {"description": "x", **values}
    text = yaml.dump(values, Dumper=Plain, allow_unicode=True, sort_keys=False)
    assert inspect(skill_md(text)).front_matter == values


@given(st.text(max_size=200) | st.text("-:[]{}&*!|>'\"%@`#,? \n\tab1.<=~", max_size=60))
@settings(max_examples=500)
def test_any_text_is_front_matter_or_flawed(text: str) -> None:
    package = outcome(skill_md(f"{OK}{text}".encode("utf-8", "replace")))
    if isinstance(package, str):
        assert package.startswith("front_matter_")
    else:
        assert json.loads(json.dumps(package.front_matter, allow_nan=False)) == package.front_matter
