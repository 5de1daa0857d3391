"""Recipes of templates: read strictly, and known again by all that they are made from."""

from pathlib import Path

import pytest

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.templates import RECIPE, Recipe, shipped_names

GOOD = "name: tools\nsetup: [make]\n"


def recipe(folder: Path, text: str = GOOD) -> Recipe:
    folder.mkdir(exist_ok=True)
    (folder / RECIPE).write_text(text, encoding="utf-8")
    return Recipe.read(folder)


@pytest.mark.parametrize("name", shipped_names())
def test_those_that_come_along_are_good(name: str) -> None:
    assert shipped_names() == ["node", "python"]
    found = Recipe.read(Path(name))
    assert found.name == name
    assert found.setup
    assert found.included()
    assert len(found.digest()) == 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has a `name`"),
        ("setup: [make]", "has a `name`"),
        ("name: tools", "`setup` is a list"),
        ("name: tools\nsetup: make", "`setup` is a list"),
        ("name: tools\nsetup: [1]", "`setup` is a list"),
        ("name: tools\nsetup: [make]\nfrom: node", "from is nothing"),
        ("name: tools\nsetup: []", "`setup` is a list"),
        ("name: Tools\nsetup: [make]", "no name of a template"),
        ("name: base\nsetup: [make]", "no name of a template"),
        ("name: [", "expected"),
    ],
)
def test_a_bad_one_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Mistake, match=said):
        recipe(tmp_path, text)


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"there is no template\.yaml"):
        Recipe.read(tmp_path / "nowhere")
    with pytest.raises(Mistake, match="is not there"):
        recipe(tmp_path, GOOD + "include: [../nothing]\n").included()


def test_it_is_known_by_all_that_it_is_made_from(tmp_path: Path) -> None:
    folder, beside = tmp_path / "recipe", tmp_path / "beside"
    beside.write_text("1", encoding="utf-8")
    text = GOOD + "include: [../beside]\n"
    digests = [recipe(folder, text).digest()]
    assert recipe(folder, text).digest() == digests[0]
    for path, content in ((folder / "file", "1"), (folder / "file", "2"), (beside, "2")):
        path.write_text(content, encoding="utf-8")
        digests.append(recipe(folder, text).digest())
    (folder / "file").chmod(0o755)
    digests.append(recipe(folder, text).digest())
    digests.append(recipe(folder, text + "env: {A: b}\n").digest())
    assert len(set(digests)) == len(digests)
