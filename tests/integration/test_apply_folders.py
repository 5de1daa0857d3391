"""`signalbox apply -f DIR` with skills in it: all of it, or nothing, and into the project that was meant."""

import io
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.contracts.streams import PACKAGES
from tests.security.matrix import archived, packaged
from tests.support.catalog import KINDS
from tests.support.installation import Installation
from tests.support.shopkeeper import Person, person_of
from tests.support.skill_folders import RESULT, shipped

SKILL_MD = "---\ndescription: x\n---\n"


@pytest.fixture
async def person(installation: Installation, tmp_path: Path) -> AsyncIterator[Person]:
    async with person_of(installation, tmp_path) as person:
        yield person


async def listed(person: Person, *more: str) -> set[str]:
    return set((await person.out("get", "all", "-o", "name", *more)).split())


async def test_a_shipped_folder_is_imported_whole(person: Person, tmp_path: Path) -> None:
    folder = str(shipped(tmp_path / "init_data"))
    tried = await person.out("apply", "-f", folder, "--dry-run")
    assert tried.count(" created (dry run)") == len(RESULT)
    assert await listed(person) == set(), "nothing was done"
    done = await person.out("apply", "-f", folder)
    assert {line.split()[0] for line in done.splitlines() if line.endswith(" created")} == RESULT
    assert "workspace/their-own skipped" in done
    assert await listed(person) == RESULT
    files = await person.out("skill", "files", "interactive")
    assert "provider.py" in files
    assert "examples/package.json" in files
    skill = await person.json("get", "skill", "interactive")
    assert skill["metadata"]["displayName"] == "Interactive form"
    assert skill["spec"]["bindShells"] == ["ClaudeCode"]
    assert skill["spec"]["provider"]["class"] == "FormProvider"
    again = (await person.out("apply", "-f", folder)).splitlines()
    assert sum(line.endswith(" unchanged") for line in again) == len(RESULT)
    (Path(folder) / "skills/interactive/new.txt").write_text("new")
    once_more = await person.out("apply", "-f", folder)
    assert "skill/interactive updated" in once_more
    assert "skill/wiki_submit unchanged" in once_more
    assert "new.txt" in await person.out("skill", "files", "interactive")


async def test_what_is_wrong_with_one_part_keeps_all_away(person: Person, tmp_path: Path) -> None:
    folder = shipped(tmp_path / "init_data")
    broken = folder / "skills/wiki_submit/SKILL.md"
    text = broken.read_text()
    broken.write_text("no front matter")
    told = await person.err("apply", "-f", str(folder))
    assert "wiki_submit" in told
    assert await listed(person) == set()
    broken.write_text(text)
    resources = folder / "02-public-resources.yaml"
    good = resources.read_text()
    resources.write_text(good.replace("name: ClaudeCode", "name: Nobody"))
    told = await person.err("apply", "-f", str(folder))
    assert "There is no shell Nobody" in told
    assert await listed(person) == set(), "no skill either"
    resources.write_text(good)
    await person.out("apply", "-f", str(folder))


async def test_all_of_it_goes_into_the_project_that_is_named(person: Person, tmp_path: Path) -> None:
    """Also what says `default`, as documents of other systems do."""
    folder = str(shipped(tmp_path / "init_data"))
    slug = f"import-{person.username[-10:]}"
    missing = await person.err("apply", "-f", folder, "--into", slug)
    assert "no such project" in missing
    tried = await person.run("apply", "-f", folder, "--into", slug, "--create-namespace", "--dry-run", code=2)
    assert f"project/{slug} created (dry run)" in tried.stdout
    done = await person.out("apply", "-f", folder, "--into", slug, "--create-namespace")
    assert f"project/{slug} created\n" in done
    assert await listed(person) == set(), "the personal project has none of it"
    assert await listed(person, "-n", slug) == RESULT
    bot = (await person.json("get", "bot", "spec-bot", "-n", slug))["spec"]
    assert bot["ghostRef"] == {"name": "spec-ghost", "namespace": slug}
    again = await person.out("apply", "-f", folder, "--into", slug, "--create-namespace")
    assert "project/" not in again
    assert " created" not in again
    assert await person.out("diff", "-f", folder, "--into", slug) == ""
    deleted = await person.out("delete", "-y", "-f", str(Path(folder) / "skills"), "-n", slug, code=1)
    assert deleted == "", "they are still referred to"
    other = await person.err("apply", "-f", folder, "--create-namespace", code=2)
    assert "--into PROJECT" in other


async def test_a_document_counts_beside_its_package(person: Person, tmp_path: Path) -> None:
    folder = shipped(tmp_path / "init_data")
    text = "\n---\napiVersion: signalbox.dev/v1\nkind: Skill\nmetadata: {name: interactive, labels: {a: b}}\n"
    with (folder / "01-public-shells.yaml").open("a") as file:
        file.write(text + "spec: {description: As the document says.}\n")
    await person.out("apply", "-f", str(folder))
    skill = await person.json("get", "skill", "interactive")
    assert skill["spec"] == {"description": "As the document says."}
    assert skill["metadata"]["labels"] == {"a": "b"}
    assert "provider.py" in await person.out("skill", "files", "interactive")


async def test_a_skill_of_a_document_keeps_what_its_package_is_called_elsewhere(
    person: Person, tmp_path: Path
) -> None:
    skill = tmp_path / "here"
    skill.mkdir()
    (skill / "SKILL.md").write_text("---\nname: elsewhere\ndescription: x\n---\n")
    assert "Its SKILL.md calls it elsewhere" in await person.out("apply", "-f", str(skill))
    assert await listed(person) == {"skill/here"}


# -- hostile folders --------------------------------------------------------------------------------------


def _link_in_package(folder: Path) -> str:
    (folder / "skills/interactive/passwd").symlink_to("/etc/passwd")
    return "symbolic link"


def _linked_skill_md(folder: Path) -> str:
    (folder / "skills/x").mkdir()
    (folder / "skills/x/SKILL.md").symlink_to("/etc/hostname")
    return "symbolic link"


def _linked_skill(folder: Path) -> str:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "SKILL.md").write_text(SKILL_MD)
    (folder / "skills/x").symlink_to(elsewhere)
    return "symbolic link"


def _linked_document(folder: Path) -> str:
    (folder.parent / "secret.yaml").write_text("secret: hunter2")
    (folder / "x.yaml").symlink_to(folder.parent / "secret.yaml")
    return "leads out of"


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "skills/interactive/pipe")
    return "neither a file nor a folder"


def _huge(folder: Path) -> str:
    with (folder / "skills/interactive/huge").open("wb") as file:
        file.truncate(3 * 1024**3)
    return "64 MiB"


def _many(folder: Path) -> str:
    for number in range(1001):
        (folder / f"skills/interactive/{number}").touch()
    return "1000 files"


def _deep(folder: Path) -> str:
    path = folder / "skills/interactive" / "/".join("d" * 40)
    path.mkdir(parents=True)
    return "16 folders deep"


def _twice(folder: Path) -> str:
    (folder / "other/interactive").mkdir(parents=True)
    (folder / "other/interactive/SKILL.md").write_text(SKILL_MD)
    return "called the same"


HOSTILE = [
    *(_link_in_package, _linked_skill_md, _linked_skill, _linked_document),
    *(_pipe, _huge, _many, _deep, _twice),
]


async def test_hostile_folders_are_refused(person: Person, tmp_path: Path, subtests: pytest.Subtests) -> None:
    for number, spoil in enumerate(HOSTILE):
        with subtests.test(spoil.__name__):
            top = tmp_path / str(number)
            folder = shipped(top / "init_data")
            expected = spoil(folder)
            told = " ".join((await person.err("apply", "-f", str(folder))).split())
            assert expected in told
            assert "hunter2" not in told
    assert await listed(person) == set()


async def test_a_pipe_among_documents_stops_nobody(person: Person, tmp_path: Path) -> None:
    folder = shipped(tmp_path / "init_data")
    os.mkfifo(folder / "pipe.yaml")
    (folder / "skills/loop").symlink_to(folder)
    await person.out("apply", "-f", str(folder))
    assert await listed(person) == RESULT


# -- hostile archives -------------------------------------------------------------------------------------

SKILL = packaged(SKILL_MD)


def _deflated() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("documents.yaml", " " * 1_000_000)
    return packed.getvalue()


def _claims_to_be_larger() -> bytes:
    whole = bytearray(archived({"packages/a.zip": SKILL}))
    at = whole.rindex(b"PK\x01\x02")
    whole[at + 20 : at + 28] = (9_000_000).to_bytes(4, "little") * 2
    return bytes(whole)


ARCHIVES: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 422, "bad_apply_archive"),
    "no ZIP": (b"x" * 100, 422, "bad_apply_archive"),
    "cut": (archived({"packages/a.zip": SKILL})[:-1], 422, "bad_apply_archive"),
    "another file": (archived({"../x": b"x"}), 422, "bad_apply_archive"),
    "a path as a name": (archived({"packages/a/b.zip": SKILL}), 422, "bad_apply_archive"),
    "compressed": (_deflated(), 422, "bad_apply_archive"),
    "too many": (archived({f"packages/{n}.zip": b"" for n in range(102)}), 422, "bad_apply_archive"),
    "table of contents": (
        archived({f"packages/{n}.zip": b"" for n in range(5000)}),
        422,
        "bad_apply_archive",
    ),
    "twice": (
        archived({"packages/a.zip": SKILL, "packages/b.zip": SKILL}).replace(b"s/b.zip", b"s/a.zip"),
        422,
        "bad_apply_archive",
    ),
    "larger than it is": (_claims_to_be_larger(), 422, "bad_apply_archive"),
    "no text": (archived({"documents.yaml": b"\xff"}), 422, "not_utf8"),
    "no package": (archived({"packages/a.zip": b"x"}), 422, "validation_failed"),
    "a reserved name": (archived({"packages/schema.zip": SKILL}), 422, "validation_failed"),
}


@pytest.mark.fresh
async def test_hostile_archives_are_refused(
    installation: Installation, person: Person, subtests: pytest.Subtests
) -> None:
    async def sent(body: bytes) -> Any:
        headers = person.headers | {"content-type": "application/zip"}
        return await person.http.post("/api/v1/apply/archive", content=body, headers=headers)

    for name, (body, status, code) in ARCHIVES.items():
        with subtests.test(name):
            answer = await sent(body)
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await sent(archived({"packages/good.zip": SKILL}))).status_code == 200
    found = await person.http.get(f"{KINDS}/skills/good/package", headers=person.headers)
    assert found.content == SKILL
    again = (await sent(archived({"packages/good.zip": SKILL}))).json()
    assert [item["action"] for item in again["items"]] == ["unchanged"]
    assert (await person.http.get(f"{KINDS}/skills/good/package", headers=person.headers)).content == SKILL

    stored = [message.subject or "" for message in await installation.messages(PACKAGES.name)]
    assert sum(".C." in subject for subject in stored) == 1, (
        "nothing is left of what was refused, or there already"
    )
