"""What paths and imports of a recipe mean: relative to the recipe, absolute in a run's copy."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunecli.errors import RecipeError
from tunecli.recipe import Recipe, dump_recipe, load_recipe

REST = {
    "version": 1,
    "name": "own",
    "schedule": {"batch_size": 8, "steps": 3},
    "search": {"grid": [0.1, 0.2]},
}
OWN: dict[str, Any] = {"import": "nets.py:make"}


def load(folder: Path, *overrides: str, **keys: Any) -> Recipe:
    file = folder / "own.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**REST, "model": {"name": "mlp"}, "data": OWN, **keys}))
    return load_recipe(file, overrides)


def test_imports_are_looked_up_beside_the_recipe_by_default(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        model=OWN,
        loss=OWN,
        augmentation=OWN,
        optimizer=OWN,
        metrics={"f1": OWN},
    )
    sections = [recipe.model, recipe.data, recipe.loss, recipe.augmentation, recipe.optimizer]
    for section in [*sections, recipe.metrics["f1"]]:
        assert section is not None
        assert getattr(section, "folder") == str(tmp_path)  # noqa: B009  # of a union
    assert [each.name for each in (recipe.model, recipe.data, recipe.loss)] == ["import"] * 3


def test_folder_is_relative_to_the_recipe_unless_it_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    recipe = load(
        tmp_path / "sub",
        model={**OWN, "folder": "src"},
        augmentation={**OWN, "folder": str(elsewhere)},
        optimizer={**OWN, "folder": "../src"},
    )
    assert recipe.model.name == "import"
    assert recipe.model.folder == str(tmp_path / "sub" / "src")
    assert recipe.augmentation is not None
    assert recipe.augmentation.folder == str(elsewhere)
    assert recipe.optimizer is not None
    assert recipe.optimizer.folder is not None
    assert Path(recipe.optimizer.folder).resolve() == tmp_path / "src"


def test_recipe_that_is_named_by_a_relative_path_gets_absolute_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path / "sub", model={"name": "mlp", "checkpoint": "weights/w.pt"})
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("sub/own.yaml")
    assert recipe.data.name == "import"
    assert recipe.data.folder == str(tmp_path / "sub")
    assert recipe.model.checkpoint == str(tmp_path / "sub" / "weights" / "w.pt")


def test_what_is_typed_is_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    recipe = load(tmp_path / "sub", "model.checkpoint=w.pt", "data.folder=src")
    assert recipe.model.checkpoint == str(here / "w.pt")
    assert recipe.data.name == "import"
    assert recipe.data.folder == str(here / "src")


def test_home_and_the_standard_library_are_places_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = {"name": "text", "path": "{stdlib}/json", "pattern": "*.py"}
    recipe = load(tmp_path, model={"name": "decoder", "checkpoint": "~/w.pt"}, data=text)
    assert recipe.model.checkpoint == str(tmp_path / "home" / "w.pt")
    assert recipe.data.name == "text"
    assert recipe.data.path == "{stdlib}/json"


def test_resolved_recipe_means_the_same_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load(
        tmp_path / "sub",
        model={"name": "mlp", "checkpoint": "w.pt", "skip": ["head.*"], "freeze": ["body.*"]},
        metrics={"f1": {**OWN, "args": {"average": "macro"}, "maximize": True}},
    )
    copy = tmp_path / "runs" / "recipe.yaml"
    copy.parent.mkdir()
    copy.write_text(dump_recipe(recipe))
    monkeypatch.chdir(tmp_path / "runs")
    assert load_recipe("recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"model": {"import": "nets"}}, "model.import must be module:attribute"),
        ({"model": {"import": "nets.py"}}, "model.import must be module:attribute"),
        ({"model": {"import": "my nets:make"}}, "model.import must be module:attribute"),
        ({"model": {"import": 3}}, "model.import"),
        ({"model": {**OWN, "folder": 3}}, "model.folder"),
        ({"model": {**OWN, "name": "mlp"}}, "import"),
        ({"model": {**OWN, "args": [1]}}, "model.args"),
        ({"metrics": {"f1": {**OWN, "folder": 3}}}, "metrics.f1.folder"),
        ({"metrics": {"f1": {"maximize": True}}}, "metrics must have an import in f1"),
        ({"metrics": {"loss": OWN}}, "loss"),
        ({"metrics": [OWN]}, "metrics"),
        ({"loss": "mse"}, "loss"),
        ({"augmentation": "nets:make"}, "augmentation"),
    ],
)
def test_sections_that_are_wrong_are_refused_with_their_key(
    tmp_path: Path, keys: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, **keys)
    assert sentence in str(caught.value)


def test_one_key_of_the_named_loss_needs_no_name(tmp_path: Path) -> None:
    recipe = load(tmp_path, loss={"label_smoothing": 0.1})
    assert recipe.loss.model_dump() == {"name": "cross_entropy", "label_smoothing": 0.1}
