import json
from pathlib import Path

import pytest

from tests.recipe.conftest import MINIMAL
from tunecli.errors import RecipeError
from tunecli.recipe import Recipe, load_recipe
from tunecli.recipe.trust import UntrustedRecipeError, code_of, require_trust, trust
from tunecli.recipe.trust_store import store_path

OWN = MINIMAL.replace(
    "model: {name: cnn}", "model: {import: 'nets:build', args: {width: 3, name: x}}"
)
COMMAND = """\
version: 1
name: script
command: [python, train it.py, "--lr={learning_rate}"]
metrics: {f1: {maximize: true}}
schedule: {batch_size: 32, steps: 10}
search: {grid: [0.1, 0.2], metric: f1}
"""


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def written(folder: Path, text: str, *overrides: str) -> tuple[Recipe, Path]:
    path = folder / "r.yaml"
    path.write_text(text, "utf-8")
    return load_recipe(path, overrides), path


def test_code_of_tells_call_arguments_and_folder(tmp_path: Path) -> None:
    text = OWN + "optimizer: {import: 'opt.py:Adam', folder: sub dir}\n"
    text += "loss: {import: 'torch.nn:CrossEntropyLoss'}\n"
    text += "metrics: {f1: {import: 'mine:F1'}}\n"
    recipe, _ = written(tmp_path, text)
    assert code_of(recipe) == (
        f'model: nets:build(width=3, name="x") in {tmp_path}',
        f"loss: torch.nn:CrossEntropyLoss() in {tmp_path}",
        f"optimizer: opt.py:Adam() in '{tmp_path}/sub dir'",
        f"metrics.f1: mine:F1() in {tmp_path}",
    )


def test_code_of_quotes_a_command_for_the_shell(tmp_path: Path) -> None:
    recipe, _ = written(tmp_path, COMMAND)
    (line,) = code_of(recipe)
    assert line == f"command: python 'train it.py' '--lr={{learning_rate}}' in {tmp_path}"


def test_code_of_hides_nothing_from_a_terminal(tmp_path: Path) -> None:
    recipe, _ = written(tmp_path, COMMAND.replace("train it.py", '"x\\e[2K\\r\\u202E.py"'))
    (line,) = code_of(recipe)
    assert line.isprintable()
    assert "x\\u{1b}[2K\\u{d}\\u{202e}.py" in line


def test_recipe_without_code_never_touches_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))  # looking would be an error
    recipe, path = written(tmp_path, MINIMAL)
    assert code_of(recipe) == ()
    require_trust(recipe, path, trusted=False)
    require_trust(recipe, tmp_path / "nowhere", trusted=False)


@pytest.mark.parametrize("text", [OWN, COMMAND], ids=["import", "command"])
def test_code_needs_trust_until_the_file_changes(tmp_path: Path, text: str) -> None:
    recipe, path = written(tmp_path, text)
    with pytest.raises(UntrustedRecipeError) as caught:
        require_trust(recipe, path, trusted=False)
    message = str(caught.value)
    assert code_of(recipe)[0] in message
    assert "--trust" in message
    assert f"tunecli trust {path}" in message
    assert caught.value.exit_code == RecipeError.exit_code == 3
    assert not store_path().exists()

    require_trust(recipe, path, trusted=True)
    assert not store_path().exists()  # --trust is for once

    trust(path)
    require_trust(recipe, path, trusted=False)

    changed, _ = written(tmp_path, text + "# a comment\n")
    with pytest.raises(UntrustedRecipeError, match="was changed since you trusted it on 2"):
        require_trust(changed, path, trusted=False)


@pytest.mark.parametrize(
    "override",
    [
        "model={import: 'evil:build'}",
        "model.import=evil:build",
        "model.args.width=4",
        "model.folder=/",
        "loss={import: 'evil:loss'}",
        "metrics.f1={import: 'evil:f1'}",
    ],
)
def test_override_that_changes_what_runs_is_not_covered(tmp_path: Path, override: str) -> None:
    _, path = written(tmp_path, OWN)
    trust(path)
    recipe = load_recipe(path, [override])
    with pytest.raises(UntrustedRecipeError, match="an override on the command line changes"):
        require_trust(recipe, path, trusted=False)
    require_trust(recipe, path, trusted=True)


def test_override_of_a_recipe_without_code_is_not_covered(tmp_path: Path) -> None:
    _, path = written(tmp_path, MINIMAL)
    trust(path)
    recipe = load_recipe(path, ["model={import: 'evil:build'}"])
    with pytest.raises(UntrustedRecipeError, match="evil:build"):
        require_trust(recipe, path, trusted=False)


def test_override_of_numbers_is_covered(tmp_path: Path) -> None:
    _, path = written(tmp_path, OWN)
    trust(path)
    recipe = load_recipe(path, ["schedule.epochs=1", "search.seeds=[3]", "name=other"])
    require_trust(recipe, path, trusted=False)


def test_file_that_takes_an_override_to_be_valid_is_not_covered(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(OWN.replace("  epochs: 3\n", ""), "utf-8")
    trust(path)
    recipe = load_recipe(path, ["schedule.epochs=1"])
    with pytest.raises(UntrustedRecipeError, match="override"):
        require_trust(recipe, path, trusted=False)


def test_file_that_changed_after_it_was_loaded_is_not_covered(tmp_path: Path) -> None:
    loaded, path = written(tmp_path, OWN.replace("nets:build", "evil:build"))
    written(tmp_path, OWN)  # harmless again, and trusted
    trust(path)
    with pytest.raises(UntrustedRecipeError, match="evil:build"):
        require_trust(loaded, path, trusted=False)


def test_arguments_that_look_equal_are_not(tmp_path: Path) -> None:
    _, path = written(tmp_path, OWN.replace("width: 3", "width: 1"))
    trust(path)
    recipe = load_recipe(path, ["model.args.width=true"])
    assert json.dumps(True) in code_of(recipe)[0]
    with pytest.raises(UntrustedRecipeError):
        require_trust(recipe, path, trusted=False)
